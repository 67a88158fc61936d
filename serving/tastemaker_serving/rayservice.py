"""What a RayService's `serveConfigV2` imports: the application of `serve models`, for a Ray that somebody else started.

Settings come from the environment of Ray's pods; the bundle lies at the same path in each of them (the registry's
download is an init container).
"""

from __future__ import annotations

from ray import serve

from tastemaker import bundle, config
from tastemaker.embedded import connect_url
from tastemaker.features.definitions import schema_hash
from tastemaker.registry import Registry
from tastemaker_serving.application import build_app


def build(args: dict[str, str]) -> serve.Application:
    """The application of `args["model"]`, a version number or alias.

    Raises:
        NotFound, BundleMismatch: it cannot be served by this installation.
    """
    settings = config.load()
    registry = Registry(settings)
    ref = registry.resolve(args["model"])
    path = registry.download(ref)
    bundle.read(path, feature_schema=schema_hash())
    return build_app(settings, path.absolute(), str(ref), connect_url(settings))
