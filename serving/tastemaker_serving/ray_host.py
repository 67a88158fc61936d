"""Runs the Ray Serve deployments: starts Ray, deploys a bundle, waits, and leaves nothing behind.

Ray reads its switches when it is first imported, so they are set here, and `deployments` is imported after.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import psutil

from tastemaker import bundle
from tastemaker.config import Settings
from tastemaker.features.definitions import schema_hash
from tastemaker.ray_env import OBJECT_STORE_BYTES, SWITCHES
from tastemaker_serving import ports

APP = "tastemaker"
STOP_TIMEOUT_S = 10.0
PORTS = 100
"""Of one Ray Serve: a few of its own, one of each replica of the ingress, and those of replicas that died lately."""

SHORT_TEMPORARY = "/tmp"  # noqa: S108 - HAProxy's socket paths end at 97 characters, of which Ray takes 68


def run_models(
    settings: Settings, bundle_path: Path, model_version: str, redis_url: str, stop: threading.Event
) -> None:
    """Serve the bundle at `settings.serving.host:port` until `stop` is set, or SIGINT or SIGTERM comes.

    Every process that this one started has ended when it returns.

    Raises:
        NotFound, BundleMismatch: the bundle cannot be served by this installation.
        Conflict: another process listens on the port.
    """
    bundle.read(bundle_path, feature_schema=schema_hash())
    host, port = settings.serving.host, settings.serving.port
    if not settings.ray_address:
        # HAProxy would share the port with one that was left behind, and half of the requests would be the other's.
        ports.refuse_taken("serving.port", host, port, port + 2)
    scratch = Path(tempfile.mkdtemp(prefix="tm-", dir=SHORT_TEMPORARY))
    os.environ.update(SWITCHES | _own_places(scratch, host))
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

    from tastemaker_serving.application import build_app

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


def _own_places(scratch: Path, host: str) -> dict[str, str]:
    """Files and ports of Ray Serve that no other instance on this machine uses.

    Serve's own proxy, to which HAProxy falls back while no replica answers, would share its port (8500) with that of
    any other stack, a killed one's included, and half of what comes would be the other's. A replica takes the first
    port that is free, so that one which starts again may get the port that another stack's HAProxy still asks.
    """
    block = ports.free_block(host, PORTS)
    fallback, metrics, stats, first = range(block, block + 4)
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(block + PORTS),
    }
