from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tastemaker import scenes
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.scenes import Scenes


def laid_over(tmp_path: Path, text: str) -> Scenes:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    return scenes.load(Settings(scenes_file=file))


def test_the_packaged_scenes_are_the_six_of_the_platform() -> None:
    packaged = scenes.load(Settings())
    assert list(packaged) == ["home", "similar", "trending", "search", "digest", "news"]
    assert "home" in packaged
    assert "moon" not in packaged


def test_home_has_the_shares_that_were_evaluated() -> None:
    home = scenes.load(Settings())["home"]
    lasting = {name: share for name, share in home.sources.items() if name not in ("two-tower", "trending")}
    assert lasting == {"item-to-item": 0.35, "als": 0.15, "content": 0.05, "popular": 0.1}
    assert home.explore.share == 0
    assert home.cache_ttl_s is None
    assert (home.diversity.method, home.diversity.weight) == ("mmr", 0.05)


def test_an_unknown_scene_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"unknown scene 'moon'.*home, similar"):
        scenes.load(Settings())["moon"]


def test_a_file_is_laid_over_the_packaged_scenes_field_by_field(tmp_path: Path) -> None:
    packaged = scenes.load(Settings())
    own = laid_over(tmp_path, "kids: {caps: {author: 2}}\nhome: {cache_ttl_s: 5}\n")

    assert own["home"] == packaged["home"].model_copy(update={"cache_ttl_s": 5})
    assert own["news"] == packaged["news"]
    assert own["kids"].caps.author == 2
    assert own["kids"].sources == packaged["home"].sources
    assert own["kids"].cache_ttl_s == 5, "a scene of one's own starts from the home of one's own"


def test_scenes_in_the_settings_are_laid_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("home: {cache_ttl_s: 5, caps: {author: 2}}")
    settings = Settings(scenes_file=file, scenes={"kids": {"cache_ttl_s": 7}, "home": {"caps": {"author": 3}}})
    own = scenes.load(settings)
    assert (own["home"].cache_ttl_s, own["home"].caps.author) == (5, 3)
    assert (own["kids"].cache_ttl_s, own["kids"].caps.author) == (7, 3)
    with pytest.raises(InvalidInput, match=r"'home\.cahps'.*Correct it in the setting `scenes`"):
        scenes.load(Settings(scenes={"home": {"cahps": 1}}))


def test_a_scene_may_be_taken_without_its_exploration(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("digest: {explore: {share: 0.2}}\n")
    own = {"digest": {"diversity": {"weight": 0.3}}, "home": {"explore": {"share": 0.1}}}
    bare = scenes.load(scenes.unexplored(Settings(scenes_file=file, scenes=own), "digest"))
    assert (bare["digest"].explore.share, bare["digest"].diversity.weight) == (0, 0.3)
    assert bare["home"].explore.share == 0.1


def test_a_variable_may_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_SCENES", '{"home": {"rules": [{"name": "a", "action": "ban", "items": ["x"]}]}}')
    assert [rule.name for rule in scenes.load(Settings())["home"].rules] == ["a"]


def test_the_example_of_the_docs_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scenes.md").read_text()
    own = laid_over(tmp_path, text.split("```yaml\n")[1].split("```")[0])
    assert [rule.name for rule in own["home"].rules] == ["withdrawn", "spring campaign", "new dramas"]
    assert own["shorts"].diversity.method == "dpp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("home: {sorces: {als: 1}}", r"'home\.sorces' has value .*extra inputs are not permitted.*own\.yaml"),
        ("home: {sources: {asl: 1}}", r"there is no source 'asl'; there are two-tower,"),
        ("home: {sources: {als: 0.7, content: 0.4}}", r"add up to 1\.1"),
        ("home: {sources: {als: 0}}", r"add up to 0"),
        ("home: {sources: {als: -1}}", r"share of als is -1"),
        ("home: {diversity: {method: random}}", r"'home\.diversity\.method' has value 'random'"),
        ("home: {caps: {genre: 2}}", r"'home\.caps\.genre'"),
        ("home: {rules: [{name: a, action: hide, items: [x]}]}", r"'home\.rules\.0' .*'ban', 'boost', 'pin'"),
        ("home: {rules: [{name: a, action: ban}]}", r"give `items`, `categories` or `authors`"),
        ("home: {rules: [{name: a, action: pin, categories: [x]}]}", r"home\.rules\.0\.pin\.items"),
        ("home: {rules: [{name: a, action: pin, items: [x], position: 100}]}", r"position' has value 100"),
        ("home: {rules: [{name: a, action: boost, by: 2, items: [x]}]}", r"by' has value 2"),
        (
            "home: {rules: [{name: a, action: ban, items: [x], from: 2026-02-01, until: 2026-02-01}]}",
            r"`until` must be after `from`",
        ),
        ("home: {rules: [{name: a, action: ban, items: [x]}, {name: a, action: ban, items: [y]}]}", r"called 'a'"),
        ("home: {rules: [{name: a, action: ban, items: [x], from: soon}]}", r"from' has value 'soon'"),
        ("home: [1", r"own\.yaml is not YAML"),
        ("- home", r"is not a mapping of scenes"),
        ("home: 3", r"is not a mapping of scenes"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        laid_over(tmp_path, text)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"scenes_file 'nowhere\.yaml' cannot be read"):
        scenes.load(Settings(scenes_file=Path("nowhere.yaml")))


def test_a_rule_holds_from_its_start_until_just_before_its_end(tmp_path: Path) -> None:
    own = laid_over(
        tmp_path,
        "home: {rules: [{name: a, action: ban, items: [x], from: 2026-02-01, until: 2026-02-02T10:00:00+02:00}]}",
    )
    (rule,) = own["home"].rules
    assert not rule.holds(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    assert rule.holds(datetime(2026, 2, 1, tzinfo=UTC))
    assert rule.holds(datetime(2026, 2, 2, 7, 59, tzinfo=UTC))
    assert not rule.holds(datetime(2026, 2, 2, 8, tzinfo=UTC))
