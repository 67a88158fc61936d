"""The model card of an imported version: where it is from, how much of it is ours, and that nobody has evaluated it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tastemaker.manifest import Manifest
from tastemaker_training.model_card import table

FOUND = {
    "id": "by id",
    "title": "by title and year",
    "content": "by content",
    "from_content": "not found, and given the mean vector of items like it",
    "without_vector": "without a vector: only what is popular or explored brings it into a slate",
}
"""What is said of each count of an import's report."""

TEXT = """\
## Gates

None was asked: they go by an evaluation. Where there was no champion this version became it, for somebody must serve.

## Metrics

None. No event of this installation was there to evaluate it on, and what its vectors reached elsewhere says little of
these users. `tastemaker train` makes a version that is evaluated, as soon as there are events.

## Intended use

The first slates of a new installation, by `tastemaker serve`, until there are events to train on. A user is the mean of
what they like, items are similar where their vectors are, and what was popular there is popular here.

## Limits

- The vectors were learned from other people with another catalogue. What they liked there need not be liked here.
- An item is taken for another by its id, by title and year, or by what it is about: some of them wrongly.
- The ranker is a fixed blend of both retrievals and popularity. Its probabilities mean nothing.
"""


def import_card(manifest: Manifest, report: Mapping[str, Any]) -> str:
    """The card in Markdown.

    Args:
        report: of the import, as it stands in the bundle.
    """
    return "\n".join([*_what(manifest, report), TEXT])


def _what(manifest: Manifest, report: Mapping[str, Any]) -> Iterable[str]:
    items = report["items"]
    yield "# imported\n"
    yield "A recommender of item vectors that were learned elsewhere, made without events. **It is not evaluated.**\n"
    yield from table(
        ("", ""),
        [
            ("from", f"`{report['donor']}`: {report['donor_items']:,} items, vectors {manifest.dim} wide"),
            ("data window", f"none; imported at {manifest.data_window[1].isoformat(timespec='seconds')}"),
            ("items", f"{items:,}, catalogue `{manifest.catalogue}`"),
            ("features", f"service `{manifest.feature_service}`, schema `{manifest.feature_schema}`"),
        ],
    )
    yield "## Where its items have their vectors from\n"
    rows = [(said, f"{report[name]:,}", f"{report[name] / items:.1%}") for name, said in FOUND.items()]
    yield from table(("items of ours", "", ""), rows)
