"""What a scene declares, in its slates."""

from __future__ import annotations

from pathlib import Path

from .conftest import SLATE, FakeRay, item_ids, serving, settings_for


async def test_every_declared_scene_may_be_asked_for_and_has_its_cache_life(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text("home: {cache_ttl_s: 60}\nlive: {cache_ttl_s: 0}\n")
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        for scene, served in (("home", "cache"), ("live", "ranked")):
            answers = [await client.get(SLATE, params={"scene": scene}) for _ in range(2)]
            assert [answer.json()["served_from"] for answer in answers] == ["ranked", served]
            assert answers[0].json()["scene"] == scene
    assert {query.scene for batch in ray.batches for query in batch} == {"home", "live"}


RULED = """
home:
  repetition: {discount: 0.5}
  caps: {category: 2}
  rules:
    - {name: gone, action: ban, items: [i59, i0]}
    - {name: campaign, action: pin, position: 1, items: [i7]}
"""


async def test_rules_hold_with_and_without_the_models(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text(RULED)
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        whole = await client.get(SLATE, params={"n": 4})
        assert item_ids(whole) == ["i58", "i7", "i57", "i56"], "the edge makes up for a Recommender of other rules"
        ray.healthy = False
        without = await client.get(SLATE, params={"n": 6, "exclude": "i58"})
        assert without.json()["served_from"] == "static"
        assert item_ids(without) == ["i1", "i7", "i2", "i3", "i5", "i6"]
        assert item_ids(await client.get(SLATE, params={"n": 2, "exclude": "i7"})) == ["i1", "i2"]


async def test_recent_slates_reach_the_models_where_their_repetition_counts(
    bundle_path: Path, redis_url: str, ray: FakeRay, tmp_path: Path
) -> None:
    declared = tmp_path / "scenes.yaml"
    declared.write_text("home: {repetition: {discount: 0.5, slates: 2}}")
    settings = settings_for(ray.port).model_copy(update={"scenes_file": declared})
    async with serving(settings, bundle_path, redis_url) as client:
        for _ in range(4):
            await client.get(SLATE, params={"n": 2, "force_refresh": "true"})
    shown = [query.shown for batch in ray.batches for query in batch]
    slate = ["i59", "i58"]
    assert shown == [[], [slate], [slate, slate], [slate, slate]]
