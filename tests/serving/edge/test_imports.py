from __future__ import annotations

import subprocess
import sys

HEAVY = {"ray", "torch", "faiss", "feast", "mlflow"}


def test_the_edge_stands_without_ray_and_without_model_libraries() -> None:
    program = "import sys, tastemaker_serving.edge.app; print(*(name.split('.')[0] for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert HEAVY.isdisjoint(loaded.split())
