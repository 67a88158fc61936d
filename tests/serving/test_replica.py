from __future__ import annotations

import subprocess
import sys

from tastemaker_serving.replica import Replica


def test_it_ends_once_what_was_begun_last_first() -> None:
    ended: list[str] = []
    replica = Replica()
    replica.ends(lambda: ended.append("first"), lambda: ended.append("second"))
    replica.close()
    assert ended == ["second", "first"]
    replica.close()
    replica.__del__()  # as Ray Serve calls it
    assert ended == ["second", "first"]


def test_one_that_nobody_holds_any_more_ends() -> None:
    ended: list[str] = []
    replica = Replica()
    replica.ends(lambda: ended.append("it"))
    del replica
    assert ended == ["it"]


ENDING = """
import threading
from tastemaker_serving.replica import Replica
replica, stopped = Replica(), threading.Event()
thread = threading.Thread(target=stopped.wait, daemon=True)
thread.start()
replica.ends(stopped.set, thread.join, lambda: print("ended"))
replica.ends(stopped.set)
"""


def test_a_process_that_ends_waits_for_its_threads_while_they_still_run() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"
