"""The ranker of a KServe server, called as the pipeline calls the one of Ray."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import grpc
import httpx
import kserve
import numpy as np
from kserve.inference_client import RESTConfig

from tastemaker import config
from tastemaker.errors import InvalidInput, Unavailable
from tastemaker.features.cross import SIGNALS
from tastemaker_serving import kserve_tensors
from tastemaker_serving.kserve_tensors import MODEL_VERSION, RANKER, RANKER_INPUTS, RANKER_OUTPUTS, Array
from tastemaker_serving.pipeline import ToRank
from tastemaker_serving.stages.rank import Ranked, best

log = logging.getLogger(__name__)

NO_ANSWER = (OSError, TimeoutError, httpx.HTTPError, grpc.RpcError, ValueError, KeyError)
"""What KServe's clients raise; the last two where the answer is not one of the protocol."""

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # a late answer is worth nothing
    ("grpc.lb_policy_name", "round_robin"),  # over every address of the name: all pods of a headless service
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's own two minutes would outlast most failures
)


class RemoteRanker:
    """Ranks by gRPC or REST. An answer of another model version is no answer: its item codes mean other items."""

    def __init__(self, ranking: config.Ranking, version: str, keep: int, timeout_s: float) -> None:
        self.url = (ranking.url or "").replace("{version}", version.rpartition("/")[2])
        self._version = version
        self._keep = keep
        self._timeout_s = timeout_s
        self._client = GRPC(self.url) if ranking.protocol == "grpc" else REST(self.url)
        self._failure = ""
        self._fits = True
        # KServe's client logs a traceback for each failure; here the first of a row is logged, on one line.
        logging.getLogger("kserve.trace").setLevel(logging.CRITICAL)

    async def rank(self, asked: ToRank) -> Ranked:
        """The best `keep` of each user's candidates.

        Raises:
            Unavailable: no answer, or none that fits this version.
        """
        if asked.candidates.codes.size == 0:
            return best(asked.candidates.signals[0], self._keep)  # no tensor of size 0 travels by REST
        try:
            answer = await self._client.infer(_request(asked), self._timeout_s)
        except NO_ANSWER as error:
            self._note(_in_words(error))
            raise self._unavailable(error) from error
        try:
            ranked = self._read(answer, asked)
        except (InvalidInput, ValueError, KeyError, TypeError) as error:
            self._fits = False
            self._note(_in_words(error))
            raise self._unavailable(error) from error
        self._fits = True
        self._note("")
        return ranked

    async def ready(self) -> bool:
        """Whether the server has the model ready, and its last answer could be used.

        Raises:
            Unavailable: no answer.
        """
        try:
            return await self._client.ready(self._timeout_s) and self._fits
        except NO_ANSWER as error:
            raise self._unavailable(error) from error

    def _read(self, answer: kserve.InferResponse, asked: ToRank) -> Ranked:
        version = answer.model_version or (answer.parameters or {}).get(MODEL_VERSION)
        if version != self._version:
            raise InvalidInput(f"it serves {version}, and {self._version} is needed")
        arrays = {output.name: output.as_numpy() for output in answer.outputs}
        users, candidates = asked.candidates.codes.shape
        sizes = {"B": users, "C": candidates}
        kserve_tensors.check(RANKER_OUTPUTS, arrays, sizes)
        places, scores = (arrays[name][:, : self._keep].copy() for name in ("places", "scores"))
        return Ranked(places, np.where(places >= 0, scores, np.float32(-np.inf)))

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(f"the ranker at {self.url} cannot be used: {_in_words(error)}")

    def _note(self, failure: str) -> None:
        if failure and not self._failure:
            log.warning("The ranker at %s cannot be used: %s. Slates are in retrieval order.", self.url, failure)
        elif self._failure and not failure:
            log.warning("The ranker at %s can be used again.", self.url)
        self._failure = failure


class GRPC:
    """Calls by gRPC. The channel belongs to the event loop that first uses it."""

    def __init__(self, url: str) -> None:
        scheme, _, self._address = url.rpartition("://")
        self._tls = scheme in ("https", "grpcs")
        self._opened: kserve.InferenceGRPCClient | None = None

    async def infer(self, request: kserve.InferRequest, timeout_s: float) -> kserve.InferResponse:
        """One call."""
        return await self._client().infer(request, timeout=timeout_s)

    async def ready(self, timeout_s: float) -> bool:
        """Whether the model is ready."""
        return bool(await self._client().is_model_ready(RANKER, timeout=timeout_s))

    def _client(self) -> kserve.InferenceGRPCClient:
        if self._opened is None:
            self._opened = kserve.InferenceGRPCClient(
                self._address, use_ssl=self._tls, channel_args=list(CHANNEL_OPTIONS), retries=0
            )
        return self._opened


class REST:
    """Calls by REST, tensors as bytes."""

    def __init__(self, url: str) -> None:
        self._url = url if "://" in url else f"http://{url}"
        self._client = kserve.InferenceRESTClient(RESTConfig(protocol="v2", retries=0))

    async def infer(self, request: kserve.InferRequest, timeout_s: float) -> kserve.InferResponse:
        """One call."""
        return await self._client.infer(self._url, request, model_name=RANKER, timeout=timeout_s)

    async def ready(self, timeout_s: float) -> bool:
        """Whether the model is ready."""
        return bool(await self._client.is_model_ready(self._url, RANKER, timeout=timeout_s))


def _request(asked: ToRank) -> kserve.InferRequest:
    candidates = asked.candidates
    arrays: Mapping[str, Array] = {
        "user_vectors": asked.user_vectors,
        "profiles": asked.profiles,
        "codes": candidates.codes,
        **dict(zip(SIGNALS, candidates.signals, strict=True)),
    }
    return infer_request(RANKER, {tensor.name: arrays[tensor.name] for tensor in RANKER_INPUTS})


def infer_request(model: str, arrays: Mapping[str, Array]) -> kserve.InferRequest:
    """A request with these inputs, tensors as bytes both ways."""
    inputs = []
    for name, array in arrays.items():
        tensor = kserve.InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return kserve.InferRequest(model, inputs, parameters={"binary_data_output": True})


DATATYPES: dict[str, str] = {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"}


def _in_words(error: Any) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
