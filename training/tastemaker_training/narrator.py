"""Tells a person how a long run is getting on: one line per step when it is done, a bar while it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Tell(Protocol):
    """Called with a remark, the units done and all there are (0 for unknown)."""

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None:
        """Tell it."""


class Narrator:
    """Narrates to standard error; standard output belongs to results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)

    @contextmanager
    def step(self, title: str) -> Iterator[Tell]:
        """A step of the run. The last remark told stands behind its title when it is done."""
        start = time.perf_counter()
        remark = ""
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[remark]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        task = bar.add_task(title, total=None, remark="")

        def tell(what: str, done: int = 0, total: int = 0) -> None:
            nonlocal remark
            remark = what
            bar.update(task, remark=what, completed=done, total=total or None)

        with bar:
            yield tell
        took = time.perf_counter() - start
        self.say(f"[green]✓[/] {title:<34} {took:6.1f} s  [dim]{remark}")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, highlight=False, soft_wrap=True)
