from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tastemaker import promotion
from tastemaker.config import Settings
from tastemaker.errors import Conflict, InvalidInput, NotFound
from tastemaker.manifest import MANIFEST
from tastemaker.papers import EVIDENCE
from tastemaker.registry import CHAMPION, Registry

Version = Callable[..., str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture
def version(registry: Registry, report: dict[str, Any], tmp_path: Path) -> Version:
    """Registers a version whose report is the passing one with some changes."""

    def register(recall: float = 0.2, distance: float = 0.6, holdout: str = "one", *, evaluated: bool = True) -> str:
        found = copy.deepcopy(report)
        found["models"]["served"] |= {"recall@20": recall, "intra_list_distance": distance}
        found["split"]["digest"] = holdout
        draft = tmp_path / "draft"
        draft.mkdir(exist_ok=True)
        (draft / MANIFEST).write_text("{}")
        (draft / "report.json").write_text(json.dumps(found if evaluated else {}))
        return registry.register(draft, {}, {}).version

    return register


def champion(registry: Registry) -> str:
    return registry.resolve(CHAMPION).version


def test_a_version_that_passes_becomes_champion(registry: Registry, version: Version) -> None:
    good = version()
    promotion.promote(registry, good)
    assert champion(registry) == good


def test_a_gate_that_fails_refuses_with_figure_threshold_and_remedy(registry: Registry, version: Version) -> None:
    good, alike = version(), version(distance=0.1)
    promotion.promote(registry, good)
    with pytest.raises(Conflict) as refusal:
        promotion.promote(registry, alike)
    message = str(refusal.value)
    assert "gate intra_list_distance" in message
    assert "0.100 apart, more than 0.300" in message
    assert "Raise `diversity.weight` of the scene `home`" in message
    assert f"tastemaker registry promote {alike} --force REASON" in message
    assert champion(registry) == good


def test_a_waiver_lets_it_through_and_stays_with_it(registry: Registry, version: Version) -> None:
    alike = version(distance=0.1)
    with pytest.raises(InvalidInput, match="reason"):
        promotion.waive(registry, alike, " ")
    promotion.waive(registry, alike, "only one category is left")
    promotion.promote(registry, alike)
    assert champion(registry) == alike
    assert registry.registered(alike).tags[promotion.WAIVED] == "only one category is left"
    assert promotion.let_through(registry.registered(alike)) == "waived: only one category is left"


def test_a_version_much_worse_than_the_champion_is_refused_but_a_rollout_may_try_it(
    registry: Registry, version: Version
) -> None:
    good, worse = version(holdout="two"), version(recall=0.15, holdout="two")
    promotion.waive(registry, good, "whatever serves now")
    promotion.promote(registry, good)
    with pytest.raises(Conflict, match=f"gate of_champion: .* of version {good}"):
        promotion.promote(registry, worse)
    promotion.check(registry, worse, live=True)


def test_going_back_is_never_held_up(registry: Registry, version: Version) -> None:
    old, new = version(holdout="three"), version(holdout="four")
    promotion.crown(registry, old)
    with pytest.raises(Conflict, match="never compared"):
        promotion.promote(registry, new)
    promotion.crown(registry, new)
    promotion.promote(registry, old)
    assert champion(registry) == old
    assert "champion before" in promotion.let_through(registry.registered(new))


def test_a_champion_of_older_days_may_come_back(registry: Registry, version: Version) -> None:
    old, new = version(evaluated=False), version()
    registry.point(old, CHAMPION)
    promotion.crown(registry, new)
    promotion.promote(registry, old)
    assert champion(registry) == old


def test_without_a_report_nothing_is_promoted(registry: Registry, version: Version) -> None:
    unknown = version(evaluated=False)
    for live in (False, True):
        with pytest.raises(Conflict, match="no evaluation report"):
            promotion.check(registry, unknown, live=live)


def test_evidence_of_another_tastemaker_counts_for_nothing(registry: Registry, version: Version) -> None:
    noted = version()
    registry.tag(noted, EVIDENCE, '{"recall": 0.2}')
    assert registry.registered(noted).evidence is None
    with pytest.raises(Conflict, match="no evaluation report that gates can go by"):
        promotion.promote(registry, noted)


def test_another_evaluation_may_be_noted(registry: Registry, version: Version, report: dict[str, Any]) -> None:
    unknown = version(evaluated=False)
    registry.note(unknown, report)
    promotion.check(registry, unknown, live=True)


def test_without_gates_anything_may_be_champion(registry: Registry, version: Version) -> None:
    open_house = Registry(registry.settings.model_copy(update={"gates": None}))
    unknown = version(evaluated=False)
    promotion.promote(open_house, unknown)
    assert champion(open_house) == unknown


def test_what_does_not_exist_is_neither_promoted_nor_waived(registry: Registry) -> None:
    with pytest.raises(NotFound, match="'99999'"):
        promotion.promote(registry, "99999")
    with pytest.raises(NotFound, match="'99999'"):
        promotion.waive(registry, "99999", "because")
