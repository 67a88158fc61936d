"""Switches of Ray that our deployments are measured with. Ray reads them when it is first imported or started.

On one machine `serve models` sets them; where Ray runs over several pods every pod has them in its environment.
"""

from __future__ import annotations

from typing import Final

RAY_VERSION: Final = "2.60.0"
"""The Ray of the image (constraints.txt), which KubeRay wants to know."""
OBJECT_STORE_BYTES: Final = 100_000_000
"""Batches travel by gRPC; the object store stays nearly empty."""

SWITCHES: Final = {
    # HAProxy instead of Serve's Python proxy, and hops by gRPC on one loop: 10-13 CPU-ms a hop become 2.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # The controller looks at its deployments twice a second instead of ten times: idle, that was 5 % of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray gives its workers way to everything else (15); a server answers people.
    "RAY_worker_niceness": "0",
    # A batch's activations are tens of megabytes: returned to the system after each, their page faults cost a third.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
