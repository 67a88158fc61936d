from __future__ import annotations

import asyncio

import pytest

from tastemaker.config import MicroBatch
from tastemaker_serving.edge.batcher import Batcher


class Server:
    """Answers in upper case; waits for `gate`; breaks batches that hold `poison`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, queries: list[str]) -> list[str]:
        self.batches.append(queries)
        await self.gate.wait()
        if "poison" in queries:
            raise ConnectionError("broken")
        return [query.upper() for query in queries]


@pytest.fixture
def server() -> Server:
    return Server()


def batcher_on(server: Server, max_size: int = 4, max_in_flight: int = 2, wait_ms: float = 0.0) -> Batcher[str, str]:
    return Batcher(server, MicroBatch(max_size=max_size, max_in_flight=max_in_flight, wait_ms=wait_ms))


async def test_a_lone_query_leaves_at_once(server: Server) -> None:
    async with asyncio.timeout(1):
        assert await batcher_on(server).ask("a") == "A"
    assert server.batches == [["a"]]


async def test_queries_of_one_moment_share_batches_and_get_their_own_answers(server: Server) -> None:
    server.gate.clear()
    batcher = batcher_on(server)
    asked = asyncio.gather(*(batcher.ask(name) for name in "abcdefghij"))
    await asyncio.sleep(0.01)
    assert [len(batch) for batch in server.batches] == [4, 4]
    server.gate.set()
    assert "".join(await asked) == "ABCDEFGHIJ"
    assert [len(batch) for batch in server.batches] == [4, 4, 2]


async def test_batches_grow_while_others_are_under_way(server: Server) -> None:
    server.gate.clear()
    batcher = batcher_on(server, max_in_flight=1)
    asked = []
    for name in "abcd":
        asked.append(asyncio.create_task(batcher.ask(name)))
        await asyncio.sleep(0.01)
    assert server.batches == [["a"]]
    server.gate.set()
    await asyncio.gather(*asked)
    assert server.batches == [["a"], ["b", "c", "d"]]


async def test_a_query_whose_caller_has_gone_is_not_sent(server: Server) -> None:
    server.gate.clear()
    batcher = batcher_on(server, max_in_flight=1)
    first = asyncio.create_task(batcher.ask("first"))
    await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await batcher.ask("late")
    server.gate.set()
    assert await first == "FIRST"
    assert await batcher.ask("next") == "NEXT"
    assert server.batches == [["first"], ["next"]]


async def test_a_broken_batch_does_not_touch_the_others(server: Server) -> None:
    batcher = batcher_on(server, max_size=2)
    asked = (batcher.ask(name) for name in ("poison", "beside", "a", "b"))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers[:2]] == [ConnectionError, ConnectionError]
    assert answers[2:] == ["A", "B"]


async def test_closing_leaves_nobody_waiting(server: Server) -> None:
    server.gate.clear()
    batcher = batcher_on(server, max_size=1, max_in_flight=1)
    asked = [asyncio.create_task(batcher.ask(name)) for name in "ab"]
    await asyncio.sleep(0.01)
    await batcher.close()
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 1)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


async def test_behind_another_batch_queries_wait_until_theirs_is_full(server: Server) -> None:
    server.gate.clear()
    batcher = batcher_on(server, wait_ms=60_000)
    asked = [asyncio.create_task(batcher.ask("a"))]
    await asyncio.sleep(0.01)
    for name in "bcd":
        asked.append(asyncio.create_task(batcher.ask(name)))
        await asyncio.sleep(0.01)
    assert server.batches == [["a"]]
    asked.append(asyncio.create_task(batcher.ask("e")))
    await asyncio.sleep(0.01)
    assert server.batches == [["a"], ["b", "c", "d", "e"]]
    server.gate.set()
    assert await asyncio.gather(*asked) == ["A", "B", "C", "D", "E"]


async def test_the_wait_ends_by_itself_and_with_the_batch_ahead(server: Server) -> None:
    server.gate.clear()
    patient, hasty = batcher_on(server, wait_ms=60_000), batcher_on(server, wait_ms=5)
    asked = [asyncio.create_task(batcher.ask(name)) for batcher in (patient, hasty) for name in "a"]
    await asyncio.sleep(0.01)
    asked += [asyncio.create_task(patient.ask("p")), asyncio.create_task(hasty.ask("h"))]
    await asyncio.sleep(0.1)
    assert server.batches == [["a"], ["a"], ["h"]]
    server.gate.set()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*asked) == ["A", "A", "P", "H"]
