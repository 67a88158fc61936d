from __future__ import annotations

import asyncio
import json

import pyarrow as pa
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from tastemaker import config, lake
from tastemaker.cli import app
from tastemaker.config import Settings
from tastemaker.decisions import archive, recent
from tastemaker.decisions.sampling import Decisions
from tastemaker.errors import NotFound
from tastemaker.lake import Lake

from .examples import decision, trace


@pytest.fixture
def logged(settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Request r1 is recent, request r2 is in the lake."""
    with_redis = settings.model_copy(update={"redis_url": redis_url})
    monkeypatch.setattr(config, "load", lambda: with_redis)

    async def write() -> None:
        async with Redis.from_url(redis_url) as redis:
            await recent.write(redis, [decision("r1", trace())], Decisions())

    asyncio.run(write())
    archive.append(Lake(settings.lake), [decision("r2", trace(), degraded=["trail"], origin="")])


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("request_id", ["r1", "r2"])
def test_a_slate_and_an_item_are_explained(request_id: str) -> None:
    shown = CliRunner().invoke(app, ["explain", request_id, "--item", "c5"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert f"{request_id}: user 7, scene home, 2027-01-15 08:00:00 UTC" in shown.output
    assert "6 candidates for the ranker; dropped: ranking 2, seen 1" in shown.output
    assert "Because you liked Had" in shown.output
    assert "c5 (ranking): 6th of 6 by the ranker" in shown.output


@pytest.mark.usefixtures("logged")
def test_what_computed_a_recent_slate_may_be_in_the_lake(redis_url: str) -> None:
    async def write() -> None:
        async with Redis.from_url(redis_url) as redis:
            await recent.write(redis, [decision("r3", origin="r2", served_from="cache")], Decisions())

    asyncio.run(write())
    shown = CliRunner().invoke(app, ["explain", "r3", "--item", "c5"], env={"COLUMNS": "160"})
    assert "served from cache as computed by r2" in shown.output
    assert "c5 (ranking): 6th of 6 by the ranker" in shown.output


@pytest.mark.usefixtures("logged")
def test_scripts_get_json() -> None:
    shown = CliRunner().invoke(app, ["explain", "r2", "--item", "had", "--json"])
    told = json.loads(shown.stdout)
    assert (told["request_id"], told["degraded"], told["item"]["stage"]) == ("r2", ["trail"], "seen")


@pytest.mark.usefixtures("logged")
def test_an_item_that_the_catalogue_lacks_is_named_as_such(settings: Settings) -> None:
    schema = lake.ITEM_SCHEMA
    row = dict.fromkeys(schema.names) | {"item_id": "hidden", "title": "Hidden", "available": False}
    Lake(settings.lake).replace_items(pa.Table.from_pylist([row], schema))
    for item, words in (("hidden", "or it is not available"), ("nobody", "The catalogue does not have it now")):
        shown = CliRunner().invoke(app, ["explain", "r2", "--item", item], env={"COLUMNS": "200"})
        assert f"{item} (sources): No source proposed it" in shown.output
        assert words in shown.output


@pytest.mark.usefixtures("logged")
def test_an_unknown_request_is_refused() -> None:
    shown = CliRunner().invoke(app, ["explain", "r3"])
    assert isinstance(shown.exception, NotFound)
    assert "explain=true" in shown.exception.remedy


def test_without_redis_the_lake_is_asked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "load", lambda: settings)
    archive.append(Lake(settings.lake), [decision("r2", trace())])
    assert CliRunner().invoke(app, ["explain", "r2"]).exit_code == 0
