"""Settings of who ranks: Ray, or a model server elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tastemaker.section import Section


class Ranking(Section):
    """Who scores the candidates: the Ray deployment, or a KServe model of the same bundle (docs/kserve.md)."""

    backend: Literal["ray", "kserve"] = "ray"
    protocol: Literal["grpc", "rest"] = Field("grpc", description="of the KServe model; gRPC costs far less")
    url: str | None = Field(
        None,
        description="HOST:PORT of the KServe model, https:// before it for TLS; {version} in it becomes the number of "
        "the model version that this recommender serves",
    )

    @model_validator(mode="after")
    def _kserve_is_somewhere(self) -> Ranking:
        if self.backend == "kserve" and not self.url:
            raise ValueError("`backend: kserve` needs `url`, such as ranker:8081")
        return self


class KServe(Section):
    """The model server of `tastemaker serve kserve`. It listens on every interface, as KServe's does."""

    rest_port: int = Field(8080, ge=1, le=65535)
    grpc_port: int = Field(8081, ge=1, le=65535)
    max_batch: int = Field(32, ge=1, description="users of concurrent calls that share one kernel call")
    threads: int = Field(1, ge=1, description="threads of each model's kernels")
