"""What people should know of a version before they use it (Mitchell et al., Model Cards for Model Reporting, 2019)."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from tastemaker.candidates import SOURCES
from tastemaker.config import Funnel
from tastemaker.gates import Verdict
from tastemaker.manifest import Manifest
from tastemaker.replay import FOREMOST
from tastemaker_training.hardware import Hardware
from tastemaker_training.recipe_file import changes
from tastemaker_training.recipes import RECIPES, Recipe

LIBRARIES = ("tastemaker", "torch", "faiss-cpu", "faiss-gpu", "ray", "implicit", "numpy", "pyarrow")
MARKS = {True: "passed", False: "**failed**", None: "not measured"}

USE = """\
## Intended use

Slates of items for users of the installation whose events it was trained on, by `tastemaker serve`. Users without
events get what is popular in the segment they belong to; items without events are found by their content alone.

Not for other installations (see the catalogue's digest above), nor to conclude anything about a person.
"""

LIMITS = """\
## Limits

- The test is of the past: users could only like what they came across, mostly what was popular or recommended then. An
  item that they never met counts as missed. Compare versions by it; what a version is worth, a rollout finds out live.
- `ctr_proxy` is such a figure, too: it takes held-out events for clicks, and looks at place p for 1 / log2(p + 1).
- Intervals are over users of this test. They say nothing of another season, or of another catalogue.
- CPU times are of one process of the machine that evaluated it, without network, Redis or other requests.
"""


@dataclass(frozen=True)
class Made:
    """How a bundle was made."""

    name: str
    manifest: Manifest
    recipe: Recipe
    hardware: Hardware
    funnel: Funnel


def model_card(made: Made, report: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The card in Markdown. The most important stands first: the registry's description holds only its beginning."""
    return "\n".join(
        [
            *_what(made, report),
            "## Gates\n",
            *_gates(verdicts),
            "## Metrics\n",
            f"Users of the test: {report['split']['users']:,} ({report['split']['holdout']}; relevant: "
            f"{report['split']['relevant']}). In brackets 95 % intervals of the mean over users.\n",
            *_metrics(report["models"]),
            *_pipeline(report),
            USE,
            LIMITS,
            *_reproduce(made),
        ]
    )


def _what(made: Made, report: Mapping[str, Any]) -> Iterable[str]:
    manifest, split, funnel = made.manifest, report["split"], made.funnel
    since, until = (moment.isoformat(timespec="seconds") for moment in manifest.data_window)
    yield f"# {made.name}\n"
    yield (
        f"A recommender in stages: {funnel.candidates:,} candidates from {', '.join(SOURCES)}; a ranker keeps "
        f"{funnel.ranked}; re-ranking makes slates of {split['slate']}.\n"
    )
    yield from table(
        ("", ""),
        [
            ("data window", f"{since} to {until}"),
            ("events", f"{split['events']['train']:,} trained on, {split['events']['test']:,} held out"),
            ("items", f"{manifest.items:,}, catalogue `{manifest.catalogue}`"),
            ("features", f"service `{manifest.feature_service}`, schema `{manifest.feature_schema}`"),
            ("recipe", f"`{made.recipe.name}`, seed {made.recipe.seed}"),
        ],
    )


def _gates(verdicts: Sequence[Verdict]) -> Iterable[str]:
    if not verdicts:
        yield "None was asked.\n"
        return
    yield from table(("gate", "", "finding"), [(said.gate, MARKS[said.passed], said.finding) for said in verdicts])


def _metrics(models: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    names = [name for name in models["served"] if not name.endswith("_ci")]
    rows = [(name, *(_figure(metrics, name) for metrics in models.values())) for name in names]
    yield from table(("metric", *models), rows)


def _figure(metrics: Mapping[str, Any], name: str) -> str:
    if name not in metrics:
        return "not measured"
    low, high = metrics.get(f"{name}_ci", (None, None))
    return f"{metrics[name]:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _pipeline(report: Mapping[str, Any]) -> Iterable[str]:
    pipeline = report["pipeline"]
    covered, cpu = pipeline["coverage"], pipeline["cpu_ms"]
    yield (
        f"Of the catalogue, all users of the test together have {covered['candidates']:.1%} among their candidates "
        f"({pipeline['reach']:.1%} among their foremost, {FOREMOST:.0%} of the catalogue each), "
        f"{covered['ranked']:.1%} in their ranked lists and {covered['slates']:.1%} in their slates.\n"
    )
    yield f"A request takes {cpu['p50']:.1f} ms of CPU in process, one of a hundred more than {cpu['p99']:.1f} ms.\n"
    for head, found in report.get("calibration", {}).get("heads", {}).items():
        yield (
            f"Probabilities of the head `{head}` are off by {found['ece']:.4f} on average (expected calibration "
            f"error); of {found['examples']:,} candidates {found['rate']:.2%} were such.\n"
        )


def _reproduce(made: Made) -> Iterable[str]:
    fewest, most = made.hardware.fewest, made.hardware.most
    workers = "" if most == 1 else f" --workers {most if fewest == most else f'{fewest}-{most}'}"
    gpu = " --gpu" if made.hardware.gpu else ""
    own = made.recipe.name not in RECIPES
    recipe = f"{made.recipe.name}.yaml" if own else made.recipe.name
    found = [(name, version) for name in LIBRARIES if (version := _version(name))]
    yield "## How to reproduce it\n"
    yield "With the lake's events up to the end of the data window:\n"
    yield f"```\ntastemaker train --recipe {recipe} --seed {made.recipe.seed}{workers}{gpu}\n```\n"
    if own:
        yield f"where `{recipe}` is\n"
        yield f"```yaml\n{yaml.safe_dump(changes(made.recipe), sort_keys=False)}```\n"
    yield f"Python {platform.python_version()}, {', '.join(f'{name} {version}' for name, version in found)}.\n"
    settings = {name: value for name, value in asdict(made.recipe).items() if not isinstance(value, dict)}
    parts = {name: value for name, value in asdict(made.recipe).items() if isinstance(value, dict)}
    for name, values in {"recipe": settings, **parts}.items():
        yield f"- {name}: {', '.join(f'{field} {value}' for field, value in values.items())}"


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Lines of a table in Markdown, and an empty one."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
