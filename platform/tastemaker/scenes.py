"""Scenes: the places where slates are shown, and what a slate is made of in each.

The packaged `scenes.yaml` declares them. The setting `scenes_file` names a file that is laid over it, scene by scene
and field by field, and the setting `scenes` is laid over both; a scene of another name starts from `home`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import xxhash
import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from tastemaker.candidates import EXPLORE, NAMED, SOURCES
from tastemaker.config import Section, Settings
from tastemaker.errors import InvalidInput

PACKAGED: Final = Path(__file__).with_name("scenes.yaml")
HOME: Final = "home"
SIMILAR: Final = "similar"
SEARCH: Final = "search"
TRENDING: Final = "trending"
DIGEST: Final = "digest"
RETRIEVED: Final = tuple(name for source, name in enumerate(SOURCES) if source not in (NAMED, EXPLORE))
"""Sources that retrieval asks."""
MAX_PLACE: Final = 99
"""The last place of the longest slate."""

Fields = dict[str, Any]
Places = Annotated[int, Field(ge=1)]
Names = tuple[Annotated[str, Field(min_length=1)], ...]


def _utc(value: object) -> object:
    """A date is its midnight, and a time without a zone is UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


Moment = Annotated[datetime, BeforeValidator(_utc)]


class Diversity(Section):
    """How much relevance is traded for variety: maximal marginal relevance, or a determinantal point process."""

    method: Literal["mmr", "dpp"] = "mmr"
    weight: float = Field(0.0, ge=0, le=1, description="of variety against relevance; 0 is off")


class Caps(Section):
    """At most so many items of one slate; null is no limit. An item counts in each of its categories."""

    category: Places | None = None
    author: Places | None = None


class Freshness(Section):
    """New items rise: `boost` at publication, half of it after each half-life."""

    boost: float = Field(0.0, ge=0, le=1, description="as a share of the span between the best and worst ranked item")
    half_life_h: float = Field(168.0, gt=0)


class Repetition(Section):
    """Items of the slates that the user was shown last sink: by `discount`, half of it for the slate before, …"""

    discount: float = Field(
        0.0, ge=0, le=1, description="as a share of the span between the best and worst ranked item"
    )
    slates: int = Field(3, ge=1, le=10, description="how many slates are remembered")


class Explore(Section):
    """Places given to items that nobody knows enough of yet."""

    share: float = Field(0.0, ge=0, le=1, description="of the places of a slate")
    shown: int = Field(100, ge=1, description="an item that was shown so often is explored no more")
    uncertainty: float = Field(
        0.3, gt=0, description="nor one whose click rate is known so well: standard deviation over mean, both posterior"
    )


class _Rule(Section):
    """In force from `from` until just before `until`; without them always."""

    name: str = Field(min_length=1)
    starts: Moment | None = Field(None, alias="from")
    ends: Moment | None = Field(None, alias="until")

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> _Rule:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError("`until` must be after `from`")
        return self

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        return (self.starts is None or self.starts <= now) and (self.ends is None or now < self.ends)


class _Choice(_Rule):
    """A rule about every item that is named, in one of the categories, or by one of the authors."""

    items: Names = ()
    categories: Names = ()
    authors: Names = ()

    @model_validator(mode="after")
    def _is_about_something(self) -> _Choice:
        if not (self.items or self.categories or self.authors):
            raise ValueError("give `items`, `categories` or `authors`")
        return self


class Ban(_Choice):
    """The items are not shown."""

    action: Literal["ban"]


class Boost(_Choice):
    """The items rise, or with a negative value sink."""

    action: Literal["boost"]
    by: float = Field(ge=-1, le=1, description="as a share of the span between the best and worst ranked item")


class Pin(_Rule):
    """The items stand at `position` and the places after it, whatever their scores."""

    action: Literal["pin"]
    items: Names = Field(min_length=1)
    position: int = Field(0, ge=0, le=MAX_PLACE, description="0 is the first place")


Rule = Annotated[Ban | Boost | Pin, Field(discriminator="action")]


class Scene(Section):
    """What a slate of this scene is made of."""

    sources: dict[str, float] = Field(description="share of the candidate list by source; 0 switches a source off")
    model: Literal["ranker", "retrieval"] = Field("ranker", description="what orders the candidates")
    personal: float = Field(
        0.5, ge=0, le=1, description="weight of the ranker beside the scores that candidates were named with"
    )
    cache_ttl_s: int | None = Field(None, ge=0, description="life of a cached slate; null: `edge.cache_ttl_s`")
    diversity: Diversity = Diversity()
    caps: Caps = Caps()
    freshness: Freshness = Freshness()
    rules: tuple[Rule, ...] = ()
    repetition: Repetition = Repetition()
    explore: Explore = Explore()
    item_life_h: float | None = Field(
        None,
        gt=0,
        description="hours after which an item is gone that neither came out nor was read meanwhile; null: never",
    )

    def life_s(self, default: int) -> int:
        """Life of a cached slate where `edge.cache_ttl_s` is `default`; 0: none are kept."""
        return default if self.cache_ttl_s is None or not default else self.cache_ttl_s

    def in_force(self, now: float) -> tuple[Rule, ...]:
        """The rules that hold at `now`, in seconds since 1970."""
        if not self.rules:
            return ()
        moment = datetime.fromtimestamp(now, UTC)
        return tuple(rule for rule in self.rules if rule.holds(moment))

    def begins_alike(self, rules: Sequence[Rule]) -> bool:
        """Whether a shorter slate is the beginning of a longer one while these rules are in force.

        Re-ranking chooses item by item. What looks ahead is chance, and an item that is kept for a later place.
        """
        return not self.explore.share and not any(isinstance(rule, Pin) for rule in rules)

    @field_validator("sources")
    @classmethod
    def _shares_fit(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if name not in RETRIEVED:
                raise ValueError(f"there is no source {name!r}; there are {', '.join(RETRIEVED)}")
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {name} is {share:g}; it must be between 0 and 1")
        if not 0 < sum(shares.values()) < 1 + 1e-6:
            raise ValueError(f"the shares add up to {sum(shares.values()):g}; that must be above 0 and at most 1")
        return shares

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rules are called {twice!r}")
        return rules


@dataclass(frozen=True)
class Scenes:
    """Every scene by its name."""

    by_name: Mapping[str, Scene]

    def __getitem__(self, name: str) -> Scene:
        """The scene `name`.

        Raises:
            InvalidInput: there is none; the message lists those that are.
        """
        if name not in self.by_name:
            raise InvalidInput(f"unknown scene {name!r:.80}", f"Use {', '.join(self.by_name)}")
        return self.by_name[name]

    def or_home(self, name: str) -> Scene:
        """The scene `name`; `home` where there is none, as of a front door whose scenes are newer."""
        return self.by_name.get(name) or self.by_name[HOME]

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)


def stamp(rules: Sequence[Rule]) -> str:
    """A short name of rules in force: a slate that was made under others is out of date. Empty for none."""
    if not rules:
        return ""
    return xxhash.xxh3_64_hexdigest("\0".join(rule.model_dump_json() for rule in rules).encode())


def packaged() -> Scenes:
    """The scenes of an installation that declares none."""
    return Scenes({name: _scene(name, fields, str(PACKAGED)) for name, fields in _read(PACKAGED).items()})


def unexplored(settings: Settings, name: str) -> Settings:
    """The same settings, but that the scene `name` explores nothing."""
    fields = settings.scenes.get(name, {}) | {"explore": {"share": 0}}
    return settings.model_copy(update={"scenes": settings.scenes | {name: fields}})


def load(settings: Settings) -> Scenes:
    """The scenes of this installation.

    Raises:
        InvalidInput: the file of `scenes_file` cannot be used; the message names the field, the value and the file.
    """
    declared, last = _read(PACKAGED), str(PACKAGED)
    if settings.scenes_file is not None:
        declared, last = _laid_over(declared, _read(settings.scenes_file)), str(settings.scenes_file)
    if settings.scenes:
        declared, last = _laid_over(declared, settings.scenes), "the setting `scenes`"
    return Scenes({name: _scene(name, fields, last) for name, fields in declared.items()})


def _laid_over(declared: Mapping[str, Fields], own: Mapping[str, Fields]) -> dict[str, Fields]:
    home = declared[HOME] | own.get(HOME, {})
    return {**declared, HOME: home} | {
        name: declared.get(name, home) | fields for name, fields in own.items() if name != HOME
    }


def _read(file: Path) -> dict[str, Fields]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"scenes_file {str(file)!r} cannot be read: {error.strerror}", "Correct or unset it"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is not YAML: {' '.join(str(error).split())}", "Correct the file") from error
    scenes = {} if document is None else document
    if not isinstance(scenes, dict) or not all(isinstance(fields, dict) for fields in scenes.values()):
        raise InvalidInput(f"{file} is not a mapping of scenes to their fields", "See docs/scenes.md")
    return {str(name): fields for name, fields in scenes.items()}


def _scene(name: str, fields: Fields, last: str) -> Scene:
    try:
        return Scene.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (name, *first["loc"]))
        raise InvalidInput(
            f"{place!r} has value {first['input']!r:.80}: {first['msg'].lower()}", f"Correct it in {last}"
        ) from error
