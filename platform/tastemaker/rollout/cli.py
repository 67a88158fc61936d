"""`tastemaker rollout …`: try another model version on a share of the users, and promote it or take it back."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from tastemaker import config
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.rollout import document
from tastemaker.rollout.resources import FINAL, Action
from tastemaker.rollout.world import Rollout

rollout = typer.Typer(
    help="Change the model that is served, step by step, with a way back.\n\n"
    "Works on the running `tastemaker serve`; with --namespace on the ModelRollouts of a cluster.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name of the rollout.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Kubernetes namespace; by default this machine's `serve`.")
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

LOOK_S = 1.0
NAMES = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Rollouts(Protocol):
    """Where rollouts are kept: Redis (`local.py`) or a cluster (`cluster.py`)."""

    def create(self, name: str, spec: Mapping[str, Any]) -> None: ...
    def all(self) -> list[Rollout]: ...
    def act(self, name: str, action: Action) -> None: ...
    def delete(self, name: str) -> None: ...


@rollout.command()
def start(
    model: Annotated[
        str | None, typer.Argument(help="Version number or alias; by default what the file says, else challenger.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A ModelRollout in YAML.")] = None,
    steps: Annotated[
        str | None, typer.Option(help="Per cent of the users and time of each step, e.g. 5:10m,50:10m,100:5m.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="By default the file's, else one that is made up.")] = None,
    namespace: Namespace = None,
    as_json: JSON = False,
) -> None:
    """Begin to replace the served version by another one."""
    named, spec = document.read(file) if file else (None, {})
    spec = {**spec, **({"model": model} if model else {}), **({"steps": _steps(steps)} if steps else {})}
    wanted = document.check(spec, str(file or "the command line")).model
    chosen = name or named or _made_up(wanted)
    if not NAMES.fullmatch(chosen):
        raise InvalidInput(f"{chosen!r} is no name for a rollout", "Use small letters, digits and hyphens, at most 63")
    _rollouts(namespace).create(chosen, spec)
    follow = f"tastemaker rollout status {chosen} --watch" + (f" -n {namespace}" if namespace else "")
    print(json.dumps({"name": chosen}) if as_json else f"Rollout {chosen} of {wanted} begins. Follow it: {follow}")


@rollout.command("list")
def list_rollouts(namespace: Namespace = None, as_json: JSON = False) -> None:
    """List all rollouts, oldest first."""
    found = _rollouts(namespace).all()
    if as_json:
        print(json.dumps([_plain(one) for one in found]))
        return
    if not found:
        print("No rollout yet. Begin one with `tastemaker rollout start`.")
        return
    Console().print(_table(found))


@rollout.command()
def status(
    name: Annotated[str | None, typer.Argument(help="By default the newest.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Until it has ended; exit code 1 unless promoted.")
    ] = False,
    namespace: Namespace = None,
    as_json: JSON = False,
) -> None:
    """Show where a rollout stands, and how it got there."""
    rollouts = _rollouts(namespace)
    found = _find(rollouts, name)
    if watch:
        with Live(_story(found), auto_refresh=False, console=Console(stderr=as_json)) as live:
            while found.status.phase not in FINAL:
                time.sleep(LOOK_S)
                found = _find(rollouts, found.name)
                live.update(_story(found), refresh=True)
    elif not as_json:
        Console().print(_story(found))
    if as_json:
        print(json.dumps(_plain(found)))
    if watch and found.status.phase != "Completed":
        raise typer.Exit(1)


@rollout.command()
def pause(name: Name, namespace: Namespace = None) -> None:
    """Hold a rollout: share and time stay as they are, bounds are still watched."""
    _act(name, namespace, "Pause", "is held")


@rollout.command()
def resume(name: Name, namespace: Namespace = None) -> None:
    """Let a held rollout go on where it stopped."""
    _act(name, namespace, "Run", "goes on")


@rollout.command()
def promote(name: Name, namespace: Namespace = None) -> None:
    """Skip what is left and serve the new version to everyone, as soon as it is warm."""
    _act(name, namespace, "Promote", "is promoted")


@rollout.command()
def abort(name: Name, namespace: Namespace = None) -> None:
    """Take a rollout back: everyone gets the old version."""
    _act(name, namespace, "Abort", "is taken back")


@rollout.command()
def delete(name: Name, namespace: Namespace = None) -> None:
    """Remove a rollout; one under way is taken back."""
    _rollouts(namespace).delete(name)
    print(f"Rollout {name} is deleted.")


def _rollouts(namespace: str | None) -> Rollouts:
    if namespace is not None:
        from tastemaker.rollout.cluster import ClusterRollouts

        return ClusterRollouts(namespace)
    from redis import Redis

    from tastemaker.embedded import connect_url
    from tastemaker.rollout.local import LocalRollouts

    return LocalRollouts(Redis.from_url(connect_url(config.load())))


def _act(name: str, namespace: str | None, action: Action, told: str) -> None:
    rollouts = _rollouts(namespace)
    phase = _find(rollouts, name).status.phase
    if phase in FINAL:
        raise InvalidInput(f"rollout {name} has ended ({phase})", "Begin another one with `tastemaker rollout start`")
    rollouts.act(name, action)
    print(f"Rollout {name} {told}.")


def _find(rollouts: Rollouts, name: str | None) -> Rollout:
    found = rollouts.all()
    chosen = [one for one in found if name in {None, one.name}]
    if not chosen:
        problem = f"there is no rollout {name!r}" if name else "there is no rollout yet"
        raise NotFound(problem, "See `tastemaker rollout list`" if found else "Begin one: tastemaker rollout start")
    return chosen[-1]


def _steps(text: str) -> list[dict[str, Any]]:
    steps = []
    for part in text.split(","):
        weight, _, duration = part.strip().partition(":")
        if not weight.isdigit():
            raise InvalidInput(f"--steps has {part!r}", "Write it like 5:10m,50:10m,100:5m")
        steps.append({"weight": int(weight)} | ({"duration": duration} if duration else {}))
    return steps


def _made_up(model: str) -> str:
    letters = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40]
    return f"{'v' if letters.isdigit() else ''}{letters}-{uuid.uuid4().hex[:5]}".lstrip("-")


def _plain(one: Rollout) -> dict[str, Any]:
    """As Kubernetes would print it."""
    return {
        "name": one.name,
        "created": one.created.isoformat(),
        "spec": one.spec.model_dump(mode="json", by_alias=True),
        "status": one.status.model_dump(mode="json", by_alias=True),
    }


def _table(rollouts: list[Rollout]) -> Table:
    table = Table("name", "version", "phase", "step", "users", "click-through", "reason")
    for one in rollouts:
        at = one.status
        stepping = "Progressing" in {at.phase, at.resume}
        step = f"{at.step + 1}/{len(one.spec.steps)} ({at.weight} %)" if stepping else ""
        version = f"{at.previous_version} → {at.version}" if at.version else one.spec.model
        table.add_row(one.name, version, at.phase, step, f"{at.users:,}", at.lift, at.reason)
    return table


def _story(one: Rollout) -> Group:
    history = Table(Column("time", no_wrap=True), Column("phase", no_wrap=True), "step", "reason", "message")
    for entry in one.status.history:
        step = str(entry.step + 1) if entry.phase == "Progressing" else ""
        history.add_row(entry.time[11:19], entry.phase, step, entry.reason, entry.message)
    return Group(
        _table([one]), one.status.message or "waits for its leader", *([history] if one.status.history else [])
    )
