"""Whether there is enough to learn from: asked before anything is fitted, so that nobody waits in vain.

A model learns from users with a like and another event, is stopped by likes that were held out for validation, and is
judged by likes of the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.errors import InvalidInput
from tastemaker.event_types import EventType
from tastemaker_training.interactions import Flags, Interactions, Split
from tastemaker_training.recipes import Recipe

OWN_RECIPE = "in a recipe of your own (`tastemaker train --recipe FILE.yaml`)"


def check(events: pa.Table, event_types: Mapping[str, EventType], split: Split, inner: Split, recipe: Recipe) -> None:
    """Refuse what no model can be trained on.

    Args:
        events: of which `split` was made. split: the test apart. inner: the validation apart from what is left.

    Raises:
        InvalidInput: with what there is, and what to do.
    """
    likes = sum(_likes(part, recipe.liked) for part in (split.past, split.future))
    if not likes:
        raise _without_likes(events, event_types, split.past.item_ids, recipe.liked)
    found = _missing(split, inner, recipe)
    if found:
        missing, remedy = found
        longest = int(np.diff(split.past.offsets + split.future.offsets).max())
        raise InvalidInput(
            f"{likes:,} of {events.num_rows:,} events are likes (a preference of {recipe.liked:g} or more), and the "
            f"longest history has {longest} events, but {missing}",
            remedy,
        )


def _missing(split: Split, inner: Split, recipe: Recipe) -> tuple[str, str] | None:
    """What is missing, and the remedy; or nothing."""
    missing = lack(inner, recipe.liked)
    if missing and not learnable(inner.past, recipe.liked).any():
        return missing, f"Import more history: some users must have {_fewest(recipe)} events or more"
    if missing:
        return missing, f"Raise `validation` {OWN_RECIPE}, or import more events"
    if not _likes(split.future, recipe.liked):
        missing = f"no user liked an item among their newest {recipe.holdout:.0%} of events, which are the test"
        return missing, f"Raise `holdout` {OWN_RECIPE}, or import more events"
    return None


def lack(inner: Split, liked: float) -> str | None:
    """What a split into learning and validation lacks for a model to be fitted and stopped, in words; or nothing."""
    if not learnable(inner.past, liked).any():
        return "nobody has two events to learn from, one of them a like, besides those that are held out"
    if not _likes(inner.future, liked):
        return "no user liked an item among the newest events, which are held out to validate on"
    return None


def learnable(past: Interactions, liked: float) -> Flags:
    """Users (U,) with a like and another event."""
    likes = np.bincount(past.users[past.preferences >= liked], minlength=len(past.user_ids))
    found: Flags = (likes > 0) & (np.diff(past.offsets) > 1)
    return found


def _likes(interactions: Interactions, liked: float) -> int:
    return int(np.count_nonzero(interactions.preferences >= liked))


def _fewest(recipe: Recipe) -> int:
    """Events that a user must have for two of them to be learnt from."""
    events = 2
    while _kept(_kept(events, recipe.holdout), recipe.validation) < 2:
        events += 1
    return events


def _kept(events: int, share: float) -> int:
    return events - int(np.ceil(events * share))


def _without_likes(
    events: pa.Table, event_types: Mapping[str, EventType], catalogue: list[str], liked: float
) -> InvalidInput:
    events = events.filter(pc.is_in(events[columns.ITEM_ID], value_set=pa.array(catalogue, pa.string())))
    found = {entry["values"]: entry["counts"] for entry in pc.value_counts(events[columns.EVENT_TYPE]).to_pylist()}
    told = ", ".join(f"{count:,} {name} (weight {_weight(event_types[name])})" for name, count in found.items())
    best = max(found, key=lambda name: event_types[name].weight)
    counting = ", ".join(_counting(event_types, liked)) or "none is declared"
    ways = [*_promotion(best, event_types[best], liked), f"import events of a type that counts: {counting}"]
    return InvalidInput(
        f"none of {events.num_rows:,} events with items of the catalogue is a like, which has a preference of "
        f"{liked:g} or more: there are {told}",
        "; or ".join([ways[0][0].upper() + ways[0][1:], *ways[1:]]),
    )


def _weight(kind: EventType) -> str:
    return f"{kind.weight:g}" + ("" if kind.full is None else f" at {kind.full:g}, 0 at {kind.neutral:g}")


def _counting(event_types: Mapping[str, EventType], liked: float) -> Iterator[str]:
    """Event types that may be a like, with the least value that makes them one."""
    for name, kind in event_types.items():
        if kind.weight < liked or kind.weight <= 0:
            continue
        if kind.neutral is None or kind.full is None:
            yield name
        else:
            yield f"{name} from {kind.neutral + (kind.full - kind.neutral) * liked / kind.weight:g}"


def _promotion(name: str, kind: EventType, liked: float) -> Iterator[str]:
    """How events of the best type that is there may count; none where all are dislikes."""
    if kind.weight <= 0:
        return
    if kind.full is not None and kind.weight >= liked:
        yield f"set `event_types.{name}.full` in tastemaker.yaml to the best value of your scale"
        return
    yield f"let a {name} count: put `liked: {kind.weight:g}` {OWN_RECIPE}"
    yield f"give `event_types.{name}.weight` {liked:g} in tastemaker.yaml (its list replaces the default one)"
