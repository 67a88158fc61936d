"""The settings of training: Ray Train, Ray Data, and how much of the lake a run learns from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Training(BaseModel):
    """How a run uses the cluster and the lake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage_url: str | None = Field(
        None, description="folder of checkpoints: path, s3:// or gs:// URL that all workers reach; default: `home`/runs"
    )
    shard_mb: float = Field(
        1024.0, gt=0, description="a worker holds its users' events up to this size; of more, chunks stream through"
    )
    users_share: float = Field(
        1.0, gt=0, le=1, description="share of users, by the hash of their id, whose events a run learns from"
    )
    days: int | None = Field(None, ge=1, description="a run learns from the events since midnight (UTC) so long ago")
    room_wait_s: float = Field(
        900.0, gt=0, description="how long a run waits for a cluster to have room for its fewest workers"
    )
    failures: int = Field(2, ge=0, description="how often a run may go on from its last checkpoint when workers die")
    resize_interval_s: float = Field(60.0, gt=0, description="how often an elastic run looks for room for more workers")
