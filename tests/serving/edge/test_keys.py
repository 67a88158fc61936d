"""API keys at the edge as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tastemaker import keys
from tastemaker.errors import InvalidInput
from tastemaker_serving.edge.app import create_app

from .conftest import EVENT, SLATE, FakeRay, serving, settings_for


async def test_writers_show_the_key(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    settings = settings_for(ray.port, api_key="secret")
    async with serving(settings, bundle_path, redis_url) as client:
        refused = await client.post("/v1/events", json=EVENT)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        accepted = await client.post("/v1/events", json=EVENT, headers={"Authorization": "Bearer secret"})
        assert accepted.status_code == 202
        assert (await client.get(SLATE)).status_code == 200


async def test_keys_have_scopes_and_rates(ray: FakeRay, bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    (reader, kept), (writer, other) = (keys.make([scope], datetime.now(UTC)) for scope in ("read", "write"))
    (tmp_path / "keys.json").write_bytes(keys.encode_file([kept, other]))
    settings = settings_for(ray.port, keys_file=tmp_path / "keys.json", open_reads=False, rate_limit=0.01)
    async with serving(settings, bundle_path, redis_url) as client:
        assert (await client.get(SLATE)).status_code == 401
        mine = {"Authorization": f"Bearer {reader}"}
        assert (await client.get(SLATE, headers=mine)).status_code == 200
        limited = await client.get(SLATE, headers=mine)
        assert limited.status_code == 429
        assert 1 <= int(limited.headers["retry-after"]) <= 100
        forbidden = await client.get(SLATE, headers={"Authorization": f"Bearer {writer}"})
        assert forbidden.status_code == 403
        assert "write" in forbidden.json()["error"]


def test_an_open_port_without_a_key_is_refused(bundle_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"edge\.api_key"):
        create_app(settings_for(1, host="0.0.0.0"), bundle_path, "redis://127.0.0.1")
