"""What an event says about taste, declared by its type."""

from __future__ import annotations

from pydantic import Field, model_validator

from tastemaker.section import Section


class EventType(Section):
    """How much an event says about taste. A dislike has a negative weight."""

    weight: float = Field(ge=-1, le=1, description="preference that one such event expresses at full strength")
    neutral: float | None = Field(None, description="`value` that says nothing; below it the preference is negative")
    full: float | None = Field(None, description="`value` at which the event counts with its full weight")
    completes: bool = Field(False, description="whether the user then has had the item to its end")

    @model_validator(mode="after")
    def _scale_is_whole(self) -> EventType:
        if (self.neutral is None) != (self.full is None):
            raise ValueError("give both `neutral` and `full`, or neither")
        if self.neutral is not None and self.full is not None and self.full <= self.neutral:
            raise ValueError(f"`full` ({self.full}) must be above `neutral` ({self.neutral})")
        return self

    def preference(self, value: float | None) -> float:
        """The preference in [-1, 1] that an event with this `value` expresses."""
        if value is None or self.neutral is None or self.full is None:
            return self.weight
        return self.weight * max(-1.0, min(1.0, (value - self.neutral) / (self.full - self.neutral)))


DEFAULT_EVENT_TYPES = {
    "view": EventType(weight=0.2),
    "click": EventType(weight=0.4),
    "play": EventType(weight=0.6),
    "complete": EventType(weight=1.0, completes=True),
    "like": EventType(weight=1.0),
    "dislike": EventType(weight=-1.0),
    "rating": EventType(weight=1.0, neutral=2.5, full=5.0),
}
