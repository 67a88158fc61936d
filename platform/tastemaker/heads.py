"""What the ranker predicts of a user and a candidate, one head each, and how much each counts in the served score."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HeadWeights(BaseModel):
    """Weight of each head's probability in a candidate's score.

    A model has those heads that its data tells apart. A dislike is no head: all of them learn to avoid it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    like: float = Field(1.0, ge=0, description="the user will like it: an event of the recipe's `liked` and above")
    completion: float = Field(0.5, ge=0, description="the user will have it to its end: `completes` of an event type")
    click: float = Field(0.1, ge=0, description="the user will take it up: any event of positive preference")


HEADS = tuple(HeadWeights.model_fields)
"""In the order of the last axis of what the ranker answers."""
