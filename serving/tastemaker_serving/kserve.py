"""The ranker and the user tower as KServe models (Open Inference Protocol v2, REST and gRPC), from the same bundle.

Both answer what the Ray deployments answer: the kernels are the same functions. KServe's own batcher is a sidecar that
waits; here the users of concurrent calls share a kernel call inside the process, and a lone call does not wait.

Letters of shapes stand in kserve_tensors.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kserve
import numpy as np
from kserve.errors import InvalidInput as Refused

from tastemaker import bundle, config
from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates, pick
from tastemaker.errors import InvalidInput
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import TowerInputs
from tastemaker.metrics import KERNEL_BATCH_USERS
from tastemaker_serving import kserve_tensors, models, ports
from tastemaker_serving.edge.batcher import Batcher
from tastemaker_serving.kserve_requests import BinaryDataPlane, arrays_of, wanted_outputs
from tastemaker_serving.kserve_tensors import MODEL_VERSION, RANKER, UNRANKED, USER_TOWER, Array, Tensor
from tastemaker_serving.models import Program, RankingModel
from tastemaker_serving.stages.rank import rank
from tastemaker_serving.stages.user_tower import embed

GRACE_S = 20
"""Calls under way get so long when the server stops; Kubernetes kills after 30."""

Row = tuple[Array, ...]
"""One user's share of every input, or of every output."""
Kernel = Callable[[Sequence[Row]], list[Row]]


@dataclass(frozen=True)
class Signature:
    """What goes into a model and what comes out. `sizes` are those that the bundle fixes, by letter."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    sizes: Mapping[str, int]


class BatchedModel(kserve.Model):  # type: ignore[misc]
    """A kernel behind the protocol: at most `max_batch` users a call, one call at a time, on a thread of its own."""

    def __init__(self, name: str, version: str, signature: Signature, kernel: Kernel, limits: config.KServe) -> None:
        super().__init__(name)
        self._version = version
        self._signature = signature
        self._kernel = kernel
        self._thread = ThreadPoolExecutor(1, f"{name}-kernel", lambda: models.use_threads(limits.threads))
        one_at_a_time = config.MicroBatch(max_size=limits.max_batch, max_in_flight=1, wait_ms=0)
        self._batcher: Batcher[Row, Row] = Batcher(self._compute, one_at_a_time)
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Names, types and shapes of the inputs."""
        return kserve_tensors.described(self._signature.inputs, self._signature.sizes)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Names, types and shapes of the outputs."""
        return kserve_tensors.described(self._signature.outputs, self._signature.sizes)

    async def predict(
        self,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: Mapping[str, str] | None = None,
    ) -> kserve.InferResponse:
        """The answer to one call; its `model_version` says whose item codes are meant.

        Raises:
            Refused: the request does not fit (HTTP 400, gRPC INVALID_ARGUMENT).
        """
        try:
            rows, outputs = self._read(payload)
        except InvalidInput as error:
            raise Refused(str(error)) from error
        answers = await asyncio.gather(*map(self._batcher.ask, rows))
        columns = [np.stack(column) for column in zip(*answers, strict=True)]
        return kserve.InferResponse(
            payload.id,
            self.name,
            [
                kserve.InferOutput(tensor.name, list(column.shape), tensor.datatype, column)
                for tensor, column in zip(self._signature.outputs, columns, strict=True)
                if tensor.name in outputs
            ],
            model_version=self._version,
            parameters={MODEL_VERSION: self._version},  # KServe's REST client drops the other
            # By gRPC, arrays travel as bytes anyway, and KServe 0.21 fails on arrays with this switch set.
            use_binary_outputs=payload.use_binary_outputs and not payload.from_grpc,
            requested_outputs=payload.request_outputs,
        )

    def _read(self, payload: Any) -> tuple[list[Row], list[str]]:
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput(
                f"model {self.name!r} was called by protocol v1", f"POST to /v2/models/{self.name}/infer"
            )
        inputs = self._signature.inputs
        arrays = arrays_of(payload, inputs)
        kserve_tensors.check(inputs, arrays, self._signature.sizes)
        return list(zip(*arrays.values(), strict=True)), wanted_outputs(payload, self._signature.outputs)

    async def _compute(self, rows: Sequence[Row]) -> list[Row]:
        KERNEL_BATCH_USERS.labels(self.name).observe(len(rows))
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._kernel, rows)


def run(settings: config.Settings, bundle_path: Path, version: str) -> None:
    """Serve the bundle's ranker and user tower until SIGINT or SIGTERM; calls under way are answered first.

    Raises:
        NotFound, BundleMismatch: the bundle cannot be served by this installation.
        Conflict: a port is taken.
    """
    # Imported here: Feast takes seconds, and whoever only calls these models does without it.
    from tastemaker.features.definitions import schema_hash

    limits = settings.kserve
    parts = (*models.RANKER_PARTS, *models.USER_TOWER_PARTS)
    opened = bundle.read(bundle_path, feature_schema=schema_hash(), only=parts)
    _refuse_taken_ports(limits)
    models.use_threads(limits.threads)
    served = [
        ranker(opened, version, settings.serving.funnel, limits),
        user_tower(opened, version, limits),
    ]
    server = kserve.ModelServer(
        http_port=limits.rest_port,
        grpc_port=limits.grpc_port,
        workers=1,
        enable_latency_logging=False,
        grace_period=GRACE_S,
    )
    server.dataplane = BinaryDataPlane(model_registry=server.registered_models)
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
    logging.getLogger("kserve").addFilter(_on_one_line)
    server.start(served)


def ranker(opened: Bundle, version: str, funnel: config.Funnel, limits: config.KServe) -> BatchedModel:
    """The model `ranker`: a user's best `funnel.ranked` candidates."""
    model = models.load_ranker(opened, funnel.head_weights)
    signature = Signature(kserve_tensors.RANKER_INPUTS, kserve_tensors.RANKER_OUTPUTS, _sizes(opened))
    return BatchedModel(RANKER, version, signature, partial(rank_rows, model, funnel.ranked), limits)


def user_tower(opened: Bundle, version: str, limits: config.KServe) -> BatchedModel:
    """The model `user-tower`: user vectors."""
    tower = models.load_user_tower(opened)
    sizes = _sizes(opened) | {"U": models.user_buckets(opened)}
    signature = Signature(kserve_tensors.TOWER_INPUTS, kserve_tensors.TOWER_OUTPUTS, sizes)
    return BatchedModel(USER_TOWER, version, signature, partial(embed_rows, tower), limits)


def rank_rows(model: RankingModel, keep: int, rows: Sequence[Row]) -> list[Row]:
    """Rank users whose candidate lists may differ in length: each gets what it would get alone."""
    vectors, profiles, codes, *signals = zip(*rows, strict=True)
    longest = max(map(len, codes))
    padded = np.stack([_right(column, longest, 0) for column in signals])
    listed = _right(codes, longest, -1)
    candidates = Candidates(listed, np.zeros(listed.shape, dtype=np.uint8), padded)
    ranked = rank(model, np.stack(vectors), np.stack(profiles), candidates, keep)
    best = pick(listed, ranked.places, -1)
    scores = np.maximum(ranked.scores, UNRANKED)
    widths = [min(keep, len(own)) for own in codes]
    return [(ranked.places[row, :width], best[row, :width], scores[row, :width]) for row, width in enumerate(widths)]


def embed_rows(tower: Program, rows: Sequence[Row]) -> list[Row]:
    """Embed users whose histories may differ in length: each gets what it would get alone."""
    history, preference, age, user, profile = zip(*rows, strict=True)
    longest = max(1, *map(len, history))
    inputs = TowerInputs(
        history=_left(history, longest, -1),
        preference=_left(preference, longest, 0),
        age=_left(age, longest, 0),
        user=np.stack(user),
        seen=np.empty((len(rows), 0), dtype=np.int32),
    )
    return [(vector,) for vector in embed(tower, inputs, np.stack(profile))]


def _sizes(opened: Bundle) -> dict[str, int]:
    categories = len(opened.json("vocabulary"))
    return {"D": opened.manifest.dim, "P": profile_width(categories), "N": opened.manifest.items}


def _right(rows: Sequence[Array], width: int, fill: int) -> Array:
    """The rows one below the other, each filled up at its end."""
    table = np.full((len(rows), width), fill, dtype=rows[0].dtype)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _left(rows: Sequence[Array], width: int, fill: int) -> Array:
    """The rows one below the other, each filled up at its beginning."""
    return np.ascontiguousarray(_right([row[::-1] for row in rows], width, fill)[:, ::-1])


def _on_one_line(record: logging.LogRecord) -> bool:
    """A refused request is its caller's mistake: KServe logs a traceback of forty lines for each."""
    if record.exc_info and isinstance(record.exc_info[1], Refused):
        record.msg, record.args, record.exc_info = "refused: %s", (record.exc_info[1],), None
    return True


def _refuse_taken_ports(limits: config.KServe) -> None:
    # KServe's REST half would stop alone, and its gRPC half would stay.
    for name in ("rest_port", "grpc_port"):
        port = getattr(limits, name)
        ports.refuse_taken(f"kserve.{name}", "", port, port + 2)
