"""Runs the Ray Serve deployments: starts Ray, deploys a bundle, waits, and leaves nothing behind.

Ray reads its switches when it is first imported, so they are set here, and `deployments` is imported after.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

import psutil

from tastemaker import bundle
from tastemaker.config import Settings
from tastemaker.features.definitions import schema_hash
from tastemaker.ray_env import OBJECT_STORE_BYTES, SWITCHES

APP = "tastemaker"
STOP_TIMEOUT_S = 10.0

SHORT_TEMPORARY = "/tmp"  # noqa: S108 - HAProxy's socket paths end at 97 characters, of which Ray takes 68


def run_models(
    settings: Settings, bundle_path: Path, model_version: str, redis_url: str, stop: threading.Event
) -> None:
    """Serve the bundle at `settings.serving.host:port` until `stop` is set, or SIGINT or SIGTERM comes.

    Every process that this one started has ended when it returns.

    Raises:
        NotFound, BundleMismatch: the bundle cannot be served by this installation.
    """
    bundle.read(bundle_path, feature_schema=schema_hash())
    scratch = Path(tempfile.mkdtemp(prefix="tm-", dir=SHORT_TEMPORARY))
    os.environ.update(SWITCHES | _haproxy_places(scratch))
    try:
        _start_ray(settings)
        # Ray's own handler for SIGTERM ends this process at once and leaves its children, so ours comes after it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        _deploy(settings, bundle_path, model_version, redis_url)
        stop.wait()
    finally:
        _shut_down()
        shutil.rmtree(scratch, ignore_errors=True)


def _start_ray(settings: Settings) -> None:
    import ray

    if settings.ray_address:
        ray.init(settings.ray_address, log_to_driver=False)
    else:
        # "local": one of its own, whatever a Ray that was killed has left behind.
        ray.init(
            "local",
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
        )


def _deploy(settings: Settings, bundle_path: Path, model_version: str, redis_url: str) -> None:
    from ray import serve

    from tastemaker_serving.deployments import build_app

    serve.start(
        http_options={"host": settings.serving.host, "port": settings.serving.port},
        logging_config={"enable_access_log": False, "log_level": settings.log_level.upper()},
    )
    serve.run(build_app(settings, bundle_path.absolute(), model_version, redis_url), name=APP)


def _shut_down() -> None:
    import ray
    from ray import serve

    started = psutil.Process().children(recursive=True)
    if ray.is_initialized():
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
    # HAProxy outlives the actor that started it when that actor is killed.
    _, left = psutil.wait_procs(started, timeout=STOP_TIMEOUT_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=STOP_TIMEOUT_S)


def _haproxy_places(scratch: Path) -> dict[str, str]:
    """Files and ports of HAProxy that no other instance on this machine uses."""
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
