"""kubectl and helm as a person uses them, and a clock that tells how long each step took."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

POLL_S = 2.0


class NotSeen(Exception):  # noqa: N818
    """What should have happened did not."""


@dataclass
class Cluster:
    """A namespace of the cluster that KUBECONFIG names.

    `prefix` is put before every client, for a cluster that is reached through another command.
    """

    namespace: str
    prefix: Sequence[str]
    started: float = field(default_factory=time.monotonic)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl printed."""
        return self.run("kubectl", "--namespace", self.namespace, *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        """What helm printed."""
        return self.run("helm", "--namespace", self.namespace, *arguments)

    def get(self, *what: str) -> dict[str, Any]:
        """An object, or a list of them under `items`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "--output", "json"))
        return found

    def service(self, namespace: str, service: str, path: str) -> Any:
        """JSON of a service, through the API server's proxy."""
        where = f"/api/v1/namespaces/{namespace}/services/{service}/proxy{path}"
        return json.loads(self.run("kubectl", "get", "--raw", where))

    def apply(self, document: dict[str, Any]) -> None:
        """Apply one object."""
        self.kubectl("apply", "--filename", "-", given=json.dumps(document))

    def run(self, *command: str, given: str | None = None) -> str:
        """What a client printed.

        Raises:
            NotSeen: it failed; with its words.
        """
        done = subprocess.run([*self.prefix, *command], input=given, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotSeen(f"{shlex.join(command)[:300]}\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def say(self, text: str) -> None:
        """A line of the transcript, with the time since the start."""
        passed = int(time.monotonic() - self.started)
        print(f"{passed // 60:3d}:{passed % 60:02d}  {text}", flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step of the rehearsal."""
        self.say(f"## {title}")
        begun = time.monotonic()
        yield
        self.say(f"   done in {time.monotonic() - begun:.0f} s")

    def wait(self, what: str, seen: Callable[[], str | None], seconds: float) -> str:
        """Wait until `seen` returns something.

        Raises:
            NotSeen: it did not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        problem = ""
        while time.monotonic() < deadline:
            try:
                if found := seen():
                    return found
            except NotSeen as error:
                problem = str(error)
            time.sleep(POLL_S)
        raise NotSeen(f"{what}: not within {seconds:.0f} s. {problem}")
