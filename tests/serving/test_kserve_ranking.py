"""`ranking.backend: kserve`: the same slates as with Ray, and the same fall when the ranker is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from kserve import InferRequest, InferResponse
from pydantic import ValidationError

from tastemaker import config, scenes
from tastemaker.bundle import Bundle
from tastemaker.candidates import ITEM_TO_ITEM, POPULAR, TWO_TOWER
from tastemaker.config import Funnel
from tastemaker.errors import Unavailable
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.heads import HeadWeights
from tastemaker.ids import keys_of
from tastemaker_serving import kserve_client, models, pipeline
from tastemaker_serving.kserve import BatchedModel, Row, Signature, ranker
from tastemaker_serving.kserve_client import RemoteRanker, infer_request
from tastemaker_serving.kserve_tensors import TOWER_INPUTS, TOWER_OUTPUTS, Array
from tastemaker_serving.pipeline import Chosen, Requests, StageClock, Steps

VERSION = "tastemaker/7"
SCENES = scenes.load(config.Settings())
FUNNEL = Funnel(candidates=100, ranked=40)
SHARES = {"home": {TWO_TOWER: 0.5, ITEM_TO_ITEM: 0.35, POPULAR: 0.1}}
NOW = 1_800_000_000
LIMITS = config.KServe()


class InProcess:
    """A client of the model without a network in between."""

    def __init__(self, model: BatchedModel, alter: Callable[[InferResponse], None] = lambda _: None) -> None:
        self.model = model
        self.alter = alter

    async def infer(self, request: InferRequest, timeout_s: float) -> InferResponse:
        """Both messages as gRPC would carry them."""
        answer = await self.model.predict(InferRequest.from_grpc(request.to_grpc()))
        self.alter(answer)
        return InferResponse.from_grpc(answer.to_grpc())

    async def ready(self, timeout_s: float) -> bool:
        """Always."""
        return True


def remote(url: str = "127.0.0.1:1", protocol: str = "grpc", version: str = VERSION) -> RemoteRanker:
    ranking = config.Ranking.model_validate({"backend": "kserve", "url": url, "protocol": protocol})
    return RemoteRanker(ranking, version, FUNNEL.ranked, timeout_s=0.3)


def in_process(
    model_bundle: Bundle, version: str = VERSION, alter: Callable[[InferResponse], None] | None = None
) -> RemoteRanker:
    client = remote(version=version)
    served = ranker(model_bundle, VERSION, FUNNEL, LIMITS)
    client._client = InProcess(served, alter or (lambda _: None))  # type: ignore[assignment]
    return client


def requests(n: int = 12) -> Requests:
    random = np.random.default_rng(5)
    users = [f"u{number}" for number in range(6)]
    trails = []
    for events in (0, 1, 4, 9, 20, 40):
        records = np.zeros(events, trail.RECORD)
        records["item"] = keys_of(f"item-{item}" for item in random.permutation(300)[:events])
        records["timestamp"] = NOW - np.arange(events, 0, -1)
        records["preference"] = 1.0
        trails.append(records)
    profiles = random.random((len(users), profile_width(20)), dtype=np.float32)
    nothing, home = np.full((len(users), 1), -1, dtype=np.int32), ["home"] * len(users)
    return Requests(users, trails, profiles, nothing, NOW, [n] * len(users), home)


async def slates(model_bundle: Bundle, rank: RemoteRanker | None) -> Chosen:
    """Slates with all stages here, but the ranker where it is told."""
    retrieval = models.load_retrieval(model_bundle, FUNNEL.candidates)
    steps = pipeline.local_steps(retrieval, models.load_ranker(model_bundle, HeadWeights()), FUNNEL, SHARES)
    if rank is not None:
        steps = Steps(steps.generate, rank.rank)
    personal = models.load_personal(model_bundle)
    return await pipeline.recommend(requests(), personal, steps, FUNNEL, SCENES, StageClock())


async def test_slates_are_those_of_the_ray_ranker(model_bundle: Bundle) -> None:
    expected = await slates(model_bundle, None)

    chosen = await slates(model_bundle, in_process(model_bundle))

    assert (set(chosen.served_from), chosen.degraded) == ({"ranked"}, [])
    np.testing.assert_array_equal(chosen.codes, expected.codes)
    np.testing.assert_allclose(chosen.scores, expected.scores, atol=1e-5)


async def test_an_answer_of_another_version_is_not_used(model_bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    client = in_process(model_bundle, version="tastemaker/8")

    chosen = await slates(model_bundle, client)
    await slates(model_bundle, client)

    assert (set(chosen.served_from), chosen.degraded) == ({"candidates"}, ["ranker"])
    assert not await client.ready()
    warnings = [record.message for record in caplog.records if record.name == kserve_client.__name__]
    assert warnings == [
        "The ranker at 127.0.0.1:1 cannot be used: it serves tastemaker/7, and tastemaker/8 is needed. "
        "Slates are in retrieval order."
    ]


async def test_an_answer_that_does_not_fit_the_question_is_not_used(model_bundle: Bundle) -> None:
    def alter(answer: InferResponse) -> None:
        answer.outputs[0].data = np.full_like(answer.outputs[0].data, 100)  # places beyond the list

    chosen = await slates(model_bundle, in_process(model_bundle, alter=alter))

    assert chosen.degraded == ["ranker"]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_without_a_server_slates_are_in_retrieval_order(model_bundle: Bundle, protocol: str) -> None:
    client = remote(protocol=protocol)

    chosen = await slates(model_bundle, client)

    assert (set(chosen.served_from), chosen.degraded) == ({"candidates"}, ["ranker"])
    assert (chosen.codes >= 0).all()
    with pytest.raises(Unavailable, match=r"the ranker at 127\.0\.0\.1:1 cannot be used"):
        await client.ready()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accepts connections and says nothing."""
    done = asyncio.Event()

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_a_server_that_does_not_answer_costs_the_budget_and_no_more(model_bundle: Bundle, protocol: str) -> None:
    async with silent_server() as url, asyncio.timeout(10):
        chosen = await slates(model_bundle, remote(url, protocol))

    assert chosen.degraded == ["ranker"]


async def test_users_of_concurrent_calls_share_a_kernel_call_and_a_lone_call_does_not_wait() -> None:
    batches: list[int] = []

    def kernel(rows: list[Row]) -> list[Row]:
        batches.append(len(rows))
        return [(row[4],) for row in rows]

    signature = Signature(TOWER_INPUTS, TOWER_OUTPUTS, {"P": 3, "N": 10, "U": 10})
    model = BatchedModel("echo", VERSION, signature, kernel, config.KServe(max_batch=4))  # type: ignore[arg-type]

    def call(value: float, users: int, length: int) -> InferRequest:
        arrays: dict[str, Array] = {
            "history": np.zeros((users, length), np.int64),
            "preference": np.zeros((users, length), np.float32),
            "age": np.zeros((users, length), np.float32),
            "user": np.zeros((users, 2), np.int64),
            "profile": np.full((users, 3), value, np.float32),
        }
        return infer_request("echo", arrays)

    await model.predict(call(0.0, users=1, length=2))
    answers = await asyncio.gather(*(model.predict(call(float(n), users=n, length=n)) for n in (1, 2, 3)))

    assert batches == [1, 4, 2]  # one user, then six of three calls at most four at a time
    for n, answer in zip((1, 2, 3), answers, strict=True):
        np.testing.assert_array_equal(answer.outputs[0].as_numpy(), np.full((n, 3), n))


def test_a_version_in_the_url_finds_the_server_of_that_version() -> None:
    assert remote("ranker-v{version}.models:8081").url == "ranker-v7.models:8081"


def test_kserve_needs_a_url() -> None:
    with pytest.raises(ValidationError, match=r"`backend: kserve` needs `url`, such as ranker:8081"):
        config.Ranking(backend="kserve")
