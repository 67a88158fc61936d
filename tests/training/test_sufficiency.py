from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tastemaker.config import EventType, Settings
from tastemaker.errors import InvalidInput
from tastemaker.lake import EVENT_SCHEMA, Lake
from tastemaker_training import data, recipes, sufficiency
from tastemaker_training.interactions import from_lake, split_by_time
from tastemaker_training.narrator import Narrator

RECIPE = recipes.default()
START = datetime(2020, 1, 1, tzinfo=UTC)


def log_of(*histories: str | list[tuple[str, float | None]]) -> pa.Table:
    """One user for each history: event types, oldest first, of different items."""
    rows = [
        {
            "event_id": f"{user}-{place}",
            "user_id": f"u{user}",
            "item_id": f"i{place}",
            "event_type": kind,
            "timestamp": START + timedelta(hours=place),
            "value": value,
        }
        for user, history in enumerate(histories)
        for place, (kind, value) in enumerate(
            [(kind, None) for kind in history.split()] if isinstance(history, str) else history
        )
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def check(events: pa.Table, catalogue: pa.Table, settings: Settings | None = None) -> None:
    told = settings or Settings()
    split = split_by_time(from_lake(events, catalogue, told), RECIPE.holdout)
    sufficiency.check(events, told.event_types, split, split_by_time(split.past, RECIPE.validation), RECIPE)


def refusal(events: pa.Table, catalogue: pa.Table, settings: Settings | None = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        check(events, catalogue, settings)
    return str(refused.value)


def test_views_and_clicks_alone_are_no_likes_and_the_remedy_can_be_followed(catalogue: pa.Table) -> None:
    events = log_of(*["view click view click click"] * 3)
    said = refusal(events, catalogue)
    assert "none of 15 events with items of the catalogue is a like" in said
    assert "6 view (weight 0.2), 9 click (weight 0.4)" in said
    assert "Let a click count: put `liked: 0.4` in a recipe of your own" in said
    assert "give `event_types.click.weight` 0.6 in tastemaker.yaml" in said
    assert "import events of a type that counts: play, complete, like, rating from 4" in said
    check(events, catalogue, Settings(event_types={"view": EventType(weight=0.2), "click": EventType(weight=0.6)}))


def test_nobody_is_told_to_count_dislikes(catalogue: pa.Table) -> None:
    said = refusal(log_of("dislike dislike dislike dislike"), catalogue)
    assert "4 dislike (weight -1)" in said
    assert "Import events of a type that counts: play" in said
    assert "let a" not in said.lower()


def test_ratings_on_a_shorter_scale_are_to_be_declared(catalogue: pa.Table) -> None:
    said = refusal(log_of([("rating", 3.0)] * 5), catalogue)
    assert "5 rating (weight 1 at 5, 0 at 2.5)" in said
    assert "Set `event_types.rating.full` in tastemaker.yaml to the best value of your scale" in said


def test_likes_of_items_outside_the_catalogue_are_not_told_as_likes(catalogue: pa.Table) -> None:
    events = log_of("view view view view")
    likes = pa.Table.from_pylist(
        [{**row, "item_id": "gone", "event_type": "like"} for row in events.to_pylist()], schema=EVENT_SCHEMA
    )
    said = refusal(pa.concat_tables([events, likes]), catalogue)
    assert "none of 4 events" in said
    assert "there are 4 view" in said


@pytest.mark.parametrize("history", ["like", "like like", "like like like"])
def test_histories_that_are_all_held_out_are_too_short(catalogue: pa.Table, history: str) -> None:
    said = refusal(log_of(*[history] * 50), catalogue)
    assert "nobody has two events to learn from" in said
    assert "Import more history: some users must have 4 events or more" in said
    check(log_of(*[history] * 50, "like like like like"), catalogue)


def test_without_a_like_to_validate_on_or_to_test_by_it_says_which(catalogue: pa.Table) -> None:
    no_validation = refusal(log_of(*["like like like like view view view view like like"] * 3), catalogue)
    assert (
        "18 of 30 events are likes (a preference of 0.6 or more), and the longest history has 10 events, but no user"
        in no_validation
    )
    assert "which are held out to validate on. Raise `validation` in a recipe" in no_validation
    no_test = refusal(log_of(*["view view view like like like like like view view"] * 3), catalogue)
    assert "newest 20% of events, which are the test. Raise `holdout` in a recipe" in no_test


def test_one_like_beside_other_events_is_enough(catalogue: pa.Table) -> None:
    others = "view " * 6
    check(log_of(f"view like {others} view view", f"view {others} like view like"), catalogue)


def test_a_run_is_refused_before_its_features_are_built(
    catalogue: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    lake = Lake(settings.lake)
    lake.replace_items(catalogue)
    lake.append_events(log_of(*["view click click view"] * 5))
    monkeypatch.setattr(f"{data.__name__}.batch_features.build", lambda *_: pytest.fail("minutes of work for nothing"))
    with pytest.raises(InvalidInput, match="is a like"):
        data.read(settings, RECIPE, Narrator(quiet=True))
    with pytest.raises(pytest.fail.Exception):
        data.read(settings, replace(RECIPE, liked=0.2), Narrator(quiet=True))
