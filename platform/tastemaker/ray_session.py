"""A connection to Ray for batch work: training, features, digests. (Ray Serve's own start is in serving.)"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tastemaker.config import Settings
from tastemaker.errors import Unavailable

ENVIRONMENT = {
    # Threads that spin while they wait cost tenfold on a machine that does anything else besides.
    "OMP_WAIT_POLICY": "passive",
}


@contextmanager
def session(settings: Settings, workers: int = 1) -> Iterator[None]:
    """A connection to Ray for the time of a run; a local one is started, and stopped at the end.

    Args:
        workers: more of them than this machine has cores share the cores of a local Ray.

    Raises:
        Unavailable: no cluster answers at `ray_address`.
    """
    # Imported here: Ray takes seconds.
    import ray
    from ray.data import DataContext

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray.data.context")  # Ray's own business
    local: dict[str, Any] = {
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "num_cpus": max(os.cpu_count() or 1, workers),
        # Somebody waits for a local run: Ray would have its workers yield to everything else.
        "_system_config": {"worker_niceness": 0},
    }
    try:
        ray.init(
            address=settings.ray_address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": ENVIRONMENT},
            **({} if settings.ray_address else local),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise Unavailable(
            f"Ray at {settings.ray_address or 'this machine'} does not answer: {str(error)[:200]}",
            "Check RAY_ADDRESS, or unset it for a local Ray",
        ) from error
    # Whoever asked for the run tells how it goes.
    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
