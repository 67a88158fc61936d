"""Write feature_store.yaml for `feast serve`, from the settings that everything else uses."""

from pathlib import Path

import yaml

from tastemaker import config
from tastemaker.features.store import PROJECT, SQL_SCHEMES, connection_string

settings = config.load()
registry = settings.feast_registry
is_sql = registry.split("://")[0].split("+")[0] in SQL_SCHEMES
document = {
    "project": PROJECT,
    "provider": "local",
    "registry": {"registry_type": "sql", "path": registry} if is_sql else registry,
    "online_store": {"type": "redis", "connection_string": connection_string(settings.redis_url)},
    "offline_store": {"type": "dask"},
    "entity_key_serialization_version": 3,
}
Path("feature_store.yaml").write_text(yaml.safe_dump(document))
