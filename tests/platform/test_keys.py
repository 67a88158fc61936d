from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from redis import Redis
from typer.testing import CliRunner

from tastemaker import config, keys
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.keys import SCOPES
from tastemaker.keys_cli import keys as commands

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def here(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TASTEMAKER_REDIS_URL", redis_url)
    config.load.cache_clear()
    yield
    config.load.cache_clear()


def run(*arguments: str) -> str:
    return CliRunner().invoke(commands, arguments, catch_exceptions=False).stdout


def test_a_key_is_long_random_and_not_kept() -> None:
    (first, kept), (second, _) = (keys.make(["read"], NOW) for _ in range(2))
    assert first != second
    assert first.startswith(f"tm_{kept.key_id}_")
    assert len(first.rpartition(f"{kept.key_id}_")[2]) == 43  # 256 bits in base 64
    assert kept.digest == keys.digest(first)
    assert first.rpartition("_")[2] not in keys.encode_file([kept]).decode()


def test_scopes_are_checked_and_admin_has_them_all() -> None:
    _, admin = keys.make(["admin"], NOW)
    _, writer = keys.make(["write", "write"], NOW)
    assert all(admin.allows(scope) for scope in SCOPES)
    assert [writer.allows(scope) for scope in SCOPES] == [False, True, False]
    assert writer.scopes == ("write",)
    for scopes, rate_limit in ((["root"], None), ([], None), (["read"], 0)):
        with pytest.raises(msgspec.ValidationError):
            keys.make(scopes, NOW, rate_limit=rate_limit)


def test_a_revoked_key_is_kept_and_may_do_nothing(redis: Redis) -> None:
    _, first = keys.make(["admin"], NOW)
    _, second = keys.make(["read"], NOW + timedelta(seconds=1), note="web", rate_limit=2.5)
    keys.add(redis, second)
    keys.add(redis, first)
    revoked = keys.revoke(redis, first.key_id, NOW)
    assert keys.revoke(redis, first.key_id, NOW + timedelta(days=1)) == revoked
    assert keys.known(redis) == [revoked, second]
    assert not revoked.allows("read")
    assert keys.decode_file(keys.encode_file([revoked, second])) == [revoked, second]
    with pytest.raises(NotFound, match="keys list"):
        keys.revoke(redis, "nothing", NOW)


@pytest.mark.usefixtures("here")
def test_the_command_line_shows_a_key_once(redis: Redis) -> None:
    assert "No key yet" in run("list")
    made = json.loads(run("create", "--scope", "read", "--scope", "write", "--note", "web", "--json"))
    assert made["scopes"] == ["read", "write"]
    assert keys.known(redis)[0].digest == keys.digest(made["key"])
    assert run("create", "--scope", "admin", "--rate-limit", "5").startswith("tm_")
    for shown in (run("list"), run("list", "--json"), run("export")):
        assert made["key_id"] in shown
        assert made["key"] not in shown
    assert made["key_id"] in run("revoke", made["key_id"])
    assert [row["revoked_at"] is None for row in json.loads(run("list", "--json"))] == [False, True]
    assert keys.decode_file(run("export").encode()) == keys.known(redis)


@pytest.mark.usefixtures("here")
def test_a_scope_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="read, write, admin"):
        run("create", "--scope", "root")
