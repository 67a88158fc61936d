"""The commands of the online path: `serve`, `demo`, and the benchmarks `serve`, `freshness`, `news` and `traffic`."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from tastemaker import config

if TYPE_CHECKING:
    from tastemaker.config import Settings

serve = typer.Typer(help="Serve slates: the whole online path on this machine, or one part of it.")

BundlePath = Annotated[Path | None, typer.Option("--bundle", help="Directory of the model bundle.")]
ModelVersion = Annotated[str | None, typer.Option(help="Name of the bundle's version in answers and metrics.")]
Model = Annotated[str, typer.Option(help="Without --bundle: version number or alias in the registry.")]
TOLD_EVERY = 10
"""Seconds between the lines of `bench traffic --json`."""
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@serve.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Version number or alias in the registry.")] = "champion",
) -> None:
    """Serve the champion: embedded Redis, Ray Serve, ingest and edge, until Ctrl-C.

    With TASTEMAKER_REDIS_URL, MLFLOW_TRACKING_URI or RAY_ADDRESS set, those are used in place of the embedded ones.
    """
    if context.invoked_subcommand is not None:
        return
    from tastemaker_serving.launch import running

    settings = config.load()
    console = Console(stderr=True)
    bundle, version = resolve(settings, model)
    with (
        until_interrupted(),
        console.status("starting") as status,
        running(settings, bundle, version, status.update) as stack,
    ):
        status.stop()
        console.print(f"Serving {version} on {stack.url} (documentation: {stack.url}/docs). Ctrl-C stops it.")
        stack.watch(console.print)


@serve.command()
def edge(bundle: BundlePath = None, model_version: ModelVersion = None) -> None:
    """Run the front door alone.

    Without a bundle it waits for the routing document that the operator writes, and fetches what it names.
    """
    from tastemaker.embedded import connect_url
    from tastemaker_serving.edge.app import run

    settings = config.load()
    run(settings, bundle, model_version, connect_url(settings))


@serve.command()
def models(bundle: BundlePath = None, model_version: ModelVersion = None, model: Model = "champion") -> None:
    """Run the Ray Serve deployments alone."""
    from tastemaker.embedded import connect_url
    from tastemaker_serving.ray_host import run_models

    settings = config.load()
    path, version = _given_or_registered(settings, bundle, model_version, model)
    run_models(settings, path, version, connect_url(settings), stop_flag())


@serve.command()
def kserve(bundle: BundlePath = None, model_version: ModelVersion = None, model: Model = "champion") -> None:
    """Run the ranker and the user tower as KServe models (Open Inference Protocol v2, REST and gRPC)."""
    from tastemaker_serving.kserve import run

    settings = config.load()
    run(settings, *_given_or_registered(settings, bundle, model_version, model))


def serve_benchmark(
    requests: Annotated[int, typer.Option(min=1, help="Requests that are measured.")] = 2000,
    concurrency: Annotated[int, typer.Option(min=1, help="Clients, each with one request under way.")] = 32,
    items: Annotated[
        int | None, typer.Option(min=1, help="Serve a synthetic bundle of so many items instead of the champion.")
    ] = None,
    dim: Annotated[int, typer.Option(min=2, help="Vector width of the synthetic bundle.")] = 256,
    as_json: JSON = False,
) -> None:
    """Load the online path past its cache; compare its CPU with that of the bare kernels.

    cpu_ms_per_request is what all server processes spent; kernel_cpu_ms what user tower, both searches (vectors and
    item-to-item table), gather and cross features, ranker and re-rank need by themselves for batches of the same
    size. The rest is transport.
    """
    from dataclasses import asdict

    from tastemaker_serving.bench_stack import bench_champion, bench_synthetic

    with Console(stderr=True, quiet=as_json).status("starting") as status:
        if items is None:
            result = bench_champion(requests, concurrency, status.update)
        else:
            result = bench_synthetic(requests, concurrency, items, dim, status.update)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    table = Table("measure", "value")
    for name, value in asdict(result).items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(f"{name} {part}".strip(), str(number))
    Console().print(table)


def freshness_benchmark(
    tries: Annotated[int, typer.Option(min=1, help="Events, each of a user of its own.")] = 500,
    rate: Annotated[float, typer.Option(min=0.1, help="Slates of other users asked for per second meanwhile.")] = 50,
    as_json: JSON = False,
) -> None:
    """Post events and see how soon the slate changes, on a synthetic bundle apart from what is configured.

    A try asks for a user's slate until it comes from the cache, posts a rating of its first item, and asks every 10 ms
    until the models have made a slate without that item: the cached slate stands until the event is in the user's
    trail. The time is from the event's sending to that slate's arrival. stale counts tries that took more than a
    second; one is given up after ten, and counts with that time. Exit code 1 when any was stale.
    """
    from dataclasses import asdict

    from tastemaker_serving.bench_stack import bench_freshness

    with Console(stderr=True, quiet=as_json).status("starting") as status:
        result = bench_freshness(tries, rate, status.update)
    print(json.dumps(asdict(result)) if as_json else "\n".join(f"{n}: {v}" for n, v in asdict(result).items()))
    if result.stale:
        raise typer.Exit(1)


def news_benchmark(
    path: Annotated[Path, typer.Argument(help="Folder of clicks.parquet and articles.parquet, or the file of clicks.")],
    sample: Annotated[int, typer.Option(min=1, help="Predictions that are asked for.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the draw of the sample, and of the ranker alone.")] = 0,
    as_json: JSON = False,
) -> None:
    """Replay a log of clicks: post its events, ask for slates of the scene `news`, and see what was read next.

    The clicks of minutes drawn at random are asked for: each is a slate for its reader at its moment, and counts where
    the click is among the slate's first ten. The ranker of the scene is then replayed the log alone, as by
    `tastemaker bench quality --format clicks`, and both figures are printed. The system is one of its own, apart from
    what is configured; a log of a million clicks takes half an hour on two cores. Exit code 1 when the system stays
    more than 0.02 HR@10 below the ranker alone.
    """
    from dataclasses import asdict

    from tastemaker_serving.bench_stack import bench_news
    from tastemaker_serving.news import WITHIN, table_of

    with Console(stderr=True, quiet=as_json).status("starting") as status:
        result = bench_news(path, sample, seed, status.update)
    lines = "\n".join(f"{name}: {value}" for name, value in table_of(result))
    print(json.dumps(asdict(result) | {"difference": round(result.difference, 4)}) if as_json else lines)
    if result.difference < -WITHIN:
        raise typer.Exit(1)


def traffic_benchmark(
    url: Annotated[str | None, typer.Option(help="The edge; by default the one of the settings.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Slates asked for per second.")] = 20,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after so long; by default on Ctrl-C.")] = None,
    as_json: JSON = False,
) -> None:
    """Play viewers: users of the lake ask for slates and click on what the crowd likes.

    For demonstrations and rehearsals, so that a rollout has something to measure. With --json a line every ten seconds
    says how it stands. Exit code 1 when a request failed.
    """
    import asyncio

    from tastemaker import columns
    from tastemaker.lake import Lake
    from tastemaker_serving.traffic import Crowd, Tally, appeal_of

    settings = config.load()
    events = Lake(settings.lake).events()
    users = events[columns.USER_ID].unique().to_pylist()
    key = settings.edge.api_key.get_secret_value() if settings.edge.api_key else None
    edge = url or f"http://{settings.edge.host}:{settings.edge.port}"
    crowd = Crowd(edge, users, appeal_of(events), key)
    console = Console(stderr=True)
    told = count(1)
    with until_interrupted(), console.status("starting") as status:

        def tell(tally: Tally) -> None:
            status.update(f"{tally.requests} slates, {tally.failed} failed")
            if as_json and next(told) % TOLD_EVERY == 0:
                print(json.dumps(tally.summary()), flush=True)

        asyncio.run(crowd.live(rate, seconds, tell))
    summary = crowd.tally.summary()
    print(json.dumps(summary) if as_json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
    if crowd.tally.failed:
        raise typer.Exit(1)


def demo(
    once: Annotated[bool, typer.Option(help="Print one slate and stop, instead of serving until Ctrl-C.")] = False,
    as_json: JSON = False,
) -> None:
    """Import the sample films, train on them, serve, and show one user's slate.

    What it makes stays in the state directory: the second time it starts in seconds.
    """
    from tastemaker_serving.demo import run

    with until_interrupted():
        run(config.load(), once=once, as_json=as_json)


def resolve(settings: Settings, model: str) -> tuple[Path, str]:
    """The bundle directory and version name of a version number or alias."""
    from tastemaker.registry import Registry

    registry = Registry(settings)
    ref = registry.resolve(model)
    return registry.download(ref), str(ref)


def _given_or_registered(
    settings: Settings, bundle: Path | None, model_version: str | None, model: str
) -> tuple[Path, str]:
    """The bundle that was named, or else that of `model` in the registry, and what answers call it."""
    if bundle is None:
        return resolve(settings, model)
    return bundle, model_version or bundle.name


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block, and with it the command, in good order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        yield


def stop_flag() -> threading.Event:
    """A flag that SIGINT and SIGTERM set."""
    flag = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: flag.set())
    return flag
