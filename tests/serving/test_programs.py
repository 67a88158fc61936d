"""Child processes, by real ones."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

PARENT = """
import sys, time
from pathlib import Path
from tastemaker_serving.programs import Program, Programs

programs = Programs(Path(sys.argv[1]), {})
program = Program("child", ("--help",))
sys.executable = sys.argv[2]
programs.start(program)
print(program.process.pid, flush=True)
time.sleep(60)
"""
CHILD = """#!/bin/sh
exec sleep 60
"""


def test_programs_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    child = tmp_path / "child"
    child.write_text(CHILD)
    child.chmod(0o700)
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(child)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        program = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)

    gone, _ = psutil.wait_procs([program], timeout=30)

    assert gone
