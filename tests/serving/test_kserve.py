"""The KServe server, started as `tastemaker serve kserve` starts it, and called by KServe's own clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import kserve
import numpy as np
import pytest
from kserve.inference_client import RESTConfig
from prometheus_client.parser import text_string_to_metric_families

from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates
from tastemaker.config import Funnel, Settings
from tastemaker.errors import Conflict
from tastemaker.features.cross import SIGNALS
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import TowerInputs
from tastemaker.heads import HeadWeights
from tastemaker_serving import models
from tastemaker_serving.bench import seed_users
from tastemaker_serving.kserve import run
from tastemaker_serving.kserve_client import infer_request
from tastemaker_serving.kserve_tensors import Array
from tastemaker_serving.stages.rank import rank
from tastemaker_serving.stages.user_tower import embed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

VERSION = "tastemaker/7"
KEEP = Funnel().ranked
USERS, CANDIDATES, HISTORY = 5, 180, 30


@dataclass(frozen=True)
class Server:
    """A running model server."""

    rest: str
    grpc: str

    async def by_grpc(self, model: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, asked by gRPC."""
        async with kserve.InferenceGRPCClient(self.grpc, timeout=30) as client:
            return outputs(await client.infer(infer_request(model, arrays)))

    async def by_rest(self, model: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, asked by REST with tensors as bytes."""
        client = kserve.InferenceRESTClient(RESTConfig(protocol="v2", timeout=30, verify=False))
        try:
            return outputs(await client.infer(self.rest, infer_request(model, arrays), model_name=model))
        finally:
            await client.close()

    async def ask(self, protocol: str, model: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""
        return await (self.by_grpc if protocol == "grpc" else self.by_rest)(model, arrays)

    def post(self, model: str, body: object) -> httpx.Response:
        """The answer to JSON."""
        return httpx.post(f"{self.rest}/v2/models/{model}/infer", json=body, timeout=30)

    def kernel_batches(self, model: str) -> tuple[float, float]:
        """Kernel calls so far, and users in them."""
        families = text_string_to_metric_families(httpx.get(f"{self.rest}/metrics").text)
        samples = {
            sample.name: sample.value
            for family in families
            for sample in family.samples
            if sample.labels.get("model") == model
        }
        name = "tastemaker_kernel_batch_users"
        return samples.get(f"{name}_count", 0), samples.get(f"{name}_sum", 0)


def outputs(answer: kserve.InferResponse) -> dict[str, Array]:
    return {output.name: output.as_numpy() for output in answer.outputs}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(model_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server; when the module is done SIGTERM ends it in good order."""
    folder = tmp_path_factory.mktemp("kserve")
    rest, grpc_port = free_port(), free_port()
    environment = os.environ | {
        "TASTEMAKER_HOME": str(folder),
        "TASTEMAKER_KSERVE__REST_PORT": str(rest),
        "TASTEMAKER_KSERVE__GRPC_PORT": str(grpc_port),
    }
    command = [sys.executable, "-m", "tastemaker.cli", "serve", "kserve", "--bundle", str(model_bundle.path)]
    command += ["--model-version", VERSION]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as child,
    ):
        try:
            deadline = time.monotonic() + 90
            while child.poll() is None and time.monotonic() < deadline and not answers(rest):
                time.sleep(0.2)
            assert child.poll() is None, (folder / "log").read_text()[-2000:]
            yield Server(f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc_port}")
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(30)
    assert code == 0, (folder / "log").read_text()[-2000:]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/models/ranker/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def ranking(model_bundle: Bundle) -> models.RankingModel:
    return models.load_ranker(model_bundle, HeadWeights())


def to_rank(seed: int, users: int = USERS, candidates: int = CANDIDATES) -> dict[str, Array]:
    """Random inputs of the ranker; the last five candidates of every second user are padding."""
    random = np.random.default_rng(seed)
    codes = np.stack([random.permutation(300)[:candidates] for _ in range(users)]).astype(np.int32)
    codes[::2, candidates - 5 :] = -1
    signals = random.random((len(SIGNALS), users, candidates), dtype=np.float32)
    return {
        "user_vectors": random.standard_normal((users, 16), dtype=np.float32),
        "profiles": random.random((users, profile_width(20)), dtype=np.float32),
        "codes": codes,
        **dict(zip(SIGNALS, signals, strict=True)),
    }


def ranked_here(model: models.RankingModel, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What the Ray deployment answers."""
    codes = arrays["codes"]
    signals = np.stack([arrays[name] for name in SIGNALS])
    candidates = Candidates(codes, np.zeros(codes.shape, np.uint8), signals)
    ranked = rank(model, arrays["user_vectors"], arrays["profiles"], candidates, KEEP)
    best = np.where(ranked.places >= 0, np.take_along_axis(codes, ranked.places, axis=1), -1)
    scores = np.where(ranked.places >= 0, ranked.scores, np.finfo(np.float32).min)
    return {"places": ranked.places, "codes": best, "scores": scores}


def to_embed(seed: int, users: int = USERS, length: int = HISTORY) -> dict[str, Array]:
    """Random inputs of the user tower; the oldest places of every second user are padding."""
    random = np.random.default_rng(seed)
    history = random.integers(0, 300, (users, length))
    history[::2, : length // 2] = -1
    preference, age = random.random((2, users, length), dtype=np.float32)
    return {
        "history": history,
        "preference": preference,
        "age": age,
        "user": random.integers(0, 10_000, (users, 2)),
        "profile": random.random((users, profile_width(20)), dtype=np.float32),
    }


def assert_same_ranking(answer: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_array_equal(answer["codes"], expected["codes"])
    np.testing.assert_array_equal(answer["places"], expected["places"])


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("candidates", [CANDIDATES, 40])
async def test_the_ranker_answers_what_the_ray_ranker_does(
    server: Server, ranking: models.RankingModel, protocol: str, candidates: int
) -> None:
    arrays = to_rank(1, candidates=candidates)

    answer = await server.ask(protocol, "ranker", arrays)

    assert answer["codes"].shape == (USERS, min(KEEP, candidates))
    assert (answer["codes"][0, -5:] == -1).all() == (candidates == 40)
    assert_same_ranking(answer, ranked_here(ranking, arrays))


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_the_user_tower_answers_what_the_pipelines_does(
    server: Server, model_bundle: Bundle, protocol: str
) -> None:
    arrays = to_embed(2)
    history, preference, age, user, profile = arrays.values()
    inputs = TowerInputs(history, preference, age, user, seen=np.empty((USERS, 0), np.int32))
    expected = embed(models.load_user_tower(model_bundle), inputs, profile)

    answer = await server.ask(protocol, "user-tower", arrays)

    np.testing.assert_allclose(answer["user_vectors"], expected, atol=1e-5)


async def test_plain_json_is_understood_and_answered_in_json(server: Server, ranking: models.RankingModel) -> None:
    arrays = to_rank(3, users=2, candidates=20)
    types = {"float32": "FP32", "int32": "INT32"}
    inputs = [
        {"name": name, "datatype": types[array.dtype.name], "shape": array.shape, "data": array.tolist()}
        for name, array in arrays.items()
    ]

    answer = server.post("ranker", {"id": "r-1", "inputs": inputs, "outputs": [{"name": "scores"}]}).json()

    assert (answer["id"], answer["model_version"]) == ("r-1", VERSION)
    (scores,) = answer["outputs"]
    assert (scores["name"], scores["shape"]) == ("scores", [2, 20])
    expected = ranked_here(ranking, arrays)["scores"]
    np.testing.assert_allclose(np.reshape(scores["data"], (2, 20)), expected, atol=1e-5)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
async def test_users_of_concurrent_calls_share_kernel_calls(
    server: Server, ranking: models.RankingModel, protocol: str
) -> None:
    # Lists of unequal length among them, which one kernel call pads.
    asked = [to_rank(seed, users=1 + seed % 2, candidates=CANDIDATES - 10 * (seed % 3)) for seed in range(40)]
    calls, users = server.kernel_batches("ranker")

    found = await asyncio.gather(*(server.ask(protocol, "ranker", arrays) for arrays in asked))

    more_calls, more_users = server.kernel_batches("ranker")
    assert more_users - users == 60
    assert more_calls - calls < 40
    for arrays, answer in zip(asked, found, strict=True):
        assert_same_ranking(answer, ranked_here(ranking, arrays))


def test_metadata_names_every_tensor_with_type_and_shape(server: Server) -> None:
    ranker = httpx.get(f"{server.rest}/v2/models/ranker").json()
    tower = httpx.get(f"{server.rest}/v2/models/user-tower").json()

    assert {one["name"]: (one["datatype"], one["shape"]) for one in ranker["inputs"]} == {
        "user_vectors": ("FP32", [-1, 16]),
        "profiles": ("FP32", [-1, 52]),
        "codes": ("INT32", [-1, -1]),
        **dict.fromkeys(SIGNALS, ("FP32", [-1, -1])),
    }
    assert [one["name"] for one in ranker["outputs"]] == ["places", "codes", "scores"]
    assert [one["name"] for one in tower["inputs"]] == ["history", "preference", "age", "user", "profile"]
    assert tower["outputs"] == [{"name": "user_vectors", "datatype": "FP32", "shape": [-1, 16]}]


def without(name: str) -> dict[str, Array]:
    return {key: array for key, array in to_rank(4).items() if key != name}


def changed(name: str, array: Array) -> dict[str, Array]:
    return to_rank(4) | {name: array}


CODES = to_rank(4)["codes"]
REFUSALS = [
    pytest.param(
        without("recent"),
        "tensor 'recent' is missing; there are ['als', 'codes', 'content', 'item_to_item', 'profiles', 'two_tower', "
        "'user_vectors']. "
        "Send FP32 of shape (B, C): what the newest events say for it",
        id="missing",
    ),
    pytest.param(
        changed("codes", CODES.astype(np.int64)),
        "tensor 'codes' has datatype INT64, expected INT32. Send INT32 of shape (B, C)",
        id="datatype",
    ),
    pytest.param(
        changed("profiles", np.zeros((USERS, 7), np.float32)),
        "tensor 'profiles' has shape (5, 7), expected (5, 52). Send FP32 of shape (B, P)",
        id="width",
    ),
    pytest.param(
        changed("two_tower", np.zeros((USERS, 3), np.float32)),
        "tensor 'two_tower' has shape (5, 3), expected (5, 180)",
        id="length",
    ),
    pytest.param(
        changed("codes", np.where(CODES == 17, np.int32(300), CODES)),
        "expected -1 to 299. Send codes of the same model version",
        id="unknown code",
    ),
    pytest.param(
        changed("recent", np.full((USERS, CANDIDATES), np.nan, np.float32)),
        "tensor 'recent' holds nan at [0, 0]. Send finite numbers",
        id="not a number",
    ),
    pytest.param(
        changed("genre", CODES),
        "tensor 'genre' is no input of ranker. Send user_vectors, profiles, codes, two_tower, item_to_item, recent, "
        "als, content",
        id="unknown tensor",
    ),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSALS)
async def test_what_does_not_fit_is_refused_by_name(server: Server, arrays: dict[str, Array], message: str) -> None:
    with pytest.raises(grpc.RpcError) as by_grpc:
        await server.by_grpc("ranker", arrays)
    with pytest.raises(httpx.HTTPStatusError) as by_rest:
        await server.by_rest("ranker", arrays)

    assert by_grpc.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in by_grpc.value.details()
    assert by_rest.value.response.status_code == 400
    assert message in by_rest.value.response.json()["error"]


def test_bytes_that_do_not_fill_a_tensor_are_refused_by_name(server: Server) -> None:
    tensor = {"name": "history", "datatype": "INT64", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    others = [{"name": name, "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]} for name in ("preference", "age")]
    others += [
        {"name": "user", "datatype": "INT64", "shape": [1, 2], "data": [0, 0]},
        {"name": "profile", "datatype": "FP32", "shape": [1, 52], "data": [0.0] * 52},
    ]

    def post(header: object, length: str | None = None, body: bytes = b"12345678") -> str:
        text = json.dumps(header).encode()
        response = httpx.post(
            f"{server.rest}/v2/models/user-tower/infer",
            content=text + body,
            headers={
                "Content-Type": "application/octet-stream",
                "Inference-Header-Content-Length": length or str(len(text)),
            },
        )
        assert response.status_code == 400, response.text
        return str(response.json()["error"])

    assert "tensor 'history' of shape [1, 2] cannot be read" in post({"inputs": [tensor, *others]})
    assert "tensor 'history' has binary_data_size 8, but 3 bytes are left" in post({"inputs": [tensor]}, body=b"123")
    assert "Inference-Header-Content-Length is 'many'" in post({"inputs": [tensor]}, length="many")
    assert "the JSON part of the body cannot be read" in post({"outputs": []})


def test_protocol_v1_is_refused_with_the_right_path(server: Server) -> None:
    answer = httpx.post(f"{server.rest}/v1/models/ranker:predict", json={"instances": [[1.0]]})

    assert answer.status_code == 400
    assert "POST to /v2/models/ranker/infer" in answer.json()["error"]


def test_a_taken_port_is_named(model_bundle: Bundle, tmp_path: Path) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        settings = Settings.model_validate({"home": tmp_path, "kserve": {"rest_port": free_port(), "grpc_port": port}})

        with pytest.raises(Conflict, match=rf"port {port} \(kserve.grpc_port\) cannot be used: Address already in use"):
            run(settings, model_bundle.path, VERSION)


RECOMMENDER = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from ray import serve
from starlette.requests import Request
from tastemaker.config import Settings
from tastemaker_serving import application, wire

bundle, redis_url, *documents = sys.argv[1:]
rankers = []

class Ranker(application.Ranker):
    def __init__(self, *arguments):
        rankers.append(self)
        super().__init__(*arguments)

application.Ranker = Ranker
for document in documents:
    rankers.clear()
    app = application.build_app(Settings.model_validate_json(document), Path(bundle), "tastemaker/7", redis_url)
    recommender = serve.run(app, name="test", _local_testing_mode=True)
    queries = [wire.Query(f"r-{user}", f"user-{user}", "home", None, 10) for user in range(3)]
    batch = recommender.recommend.remote(queries).result()
    health = recommender.remote(Request({"type": "http", "path": "/healthz", "headers": []})).result()
    print(json.dumps({
        "items": [slate.item_ids for slate in batch.slates],
        "served_from": sorted({slate.served_from for slate in batch.slates}),
        "degraded": batch.degraded,
        "health": [health.status_code, json.loads(health.body)],
        "rankers": len(rankers),
    }))
"""


def recommended(bundle: Bundle, redis_url: str, home: Path, *rankings: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the Recommender answers with each of `rankings`, its deployments in one process, without a Ray cluster."""
    patient = {"timeout_ms": 20_000}
    sizes = {"recommender": patient, "candidate_generator": patient, "ranker": patient}
    settings = [{"home": str(home), "ranking": one, "serving": {"deployments": sizes}} for one in rankings]
    command = [sys.executable, "-c", RECOMMENDER, str(bundle.path), redis_url, *map(json.dumps, settings)]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_the_recommender_asks_the_kserve_ranker_instead_of_starting_one(
    server: Server, model_bundle: Bundle, redis_url: str, tmp_path: Path
) -> None:
    seed_users(redis_url, [f"item-{code}" for code in range(300)], users=3, events=8)
    elsewhere = {"backend": "kserve", "url": server.grpc}
    nowhere = {"backend": "kserve", "url": f"127.0.0.1:{free_port()}"}

    by_ray, by_kserve, alone = recommended(model_bundle, redis_url, tmp_path, {}, elsewhere, nowhere)

    assert (by_kserve["served_from"], by_kserve["degraded"], by_kserve["rankers"]) == (["ranked"], [], 0)
    assert by_kserve["health"] == [200, {"model_version": VERSION, "candidates": "ok", "ranker": "ok"}]
    assert by_kserve["items"] == by_ray["items"]
    assert by_ray["rankers"] == 1
    assert (alone["served_from"], alone["degraded"], alone["rankers"]) == (["candidates"], ["ranker"], 0)
    assert alone["health"] == [503, {"model_version": VERSION, "candidates": "ok", "ranker": "away"}], "never whole"
