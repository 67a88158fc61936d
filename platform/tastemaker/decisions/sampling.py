"""Which slates are logged, and in what detail."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tastemaker.section import Section

Detail = Literal["full", "slate"]
"""`full` adds the trace to what was shown: what the models were given and what became of every candidate."""


class Shares(Section):
    """How many slates are logged."""

    slates: float = Field(1.0, ge=0, le=1, description="share of the slates that are logged at all")
    full: float = Field(
        0.01, ge=0, le=1, description="share that is computed and logged in full detail; each costs a hop of its own"
    )

    @model_validator(mode="after")
    def _full_ones_are_slates(self) -> Shares:
        if self.full > self.slates:
            raise ValueError(f"`full` ({self.full:g}) must not exceed `slates` ({self.slates:g})")
        return self

    def detail_at(self, chance: float) -> Detail | None:
        """The detail of a request that drew `chance`, uniform in [0, 1)."""
        if chance < self.full:
            return "full"
        return "slate" if chance < self.slates else None


class Decisions(Shares):
    """The decision log. What is recent lies in Redis, all of it in the lake; neither ever holds up a slate."""

    scenes: dict[str, Shares] = Field({}, description="other shares for some scenes")
    recent_slates: int = Field(20_000, ge=1, description="kept in Redis, some 2 kB each")
    recent_full: int = Field(500, ge=1, description="kept in Redis in full detail, up to 200 kB each")
    recent_s: int = Field(3600, ge=1, description="how long a recent request is found by its id")
    keep_days: int | None = Field(
        90, ge=1, description="`tastemaker data erase` deletes older ones from the lake; null: none for their age"
    )
    lake_flush_s: float = Field(10.0, gt=0, description="decisions wait at most this long for their Parquet file")

    def detail_of(self, scene: str, chance: float) -> Detail | None:
        """The detail of a request of `scene` that drew `chance`, uniform in [0, 1); None: it is not logged."""
        return self.scenes.get(scene, self).detail_at(chance)
