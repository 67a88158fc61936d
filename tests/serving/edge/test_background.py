from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tastemaker.errors import Unavailable
from tastemaker_serving.edge import background


async def test_what_breaks_off_is_logged_and_begun_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    going, attempts = asyncio.Event(), 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise KeyError("nobody thought of this")
        going.set()
        await asyncio.Event().wait()

    tasks = background.begun({"some work": work})
    async with asyncio.timeout(10):
        await going.wait()
    assert [(record.levelname, record.exc_info is None) for record in caplog.records] == [("ERROR", False)] * 2
    assert "some work" in caplog.text
    await background.ended(tasks)
    assert tasks[0].cancelled()


async def test_work_that_swallows_its_cancellation_is_cancelled_again() -> None:
    going = asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):
            going.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    tasks = background.begun({"some work": work})
    await going.wait()
    await background.ended(tasks)
    assert tasks[0].cancelled()


async def test_a_step_is_done_again_although_what_it_needs_was_away() -> None:
    done: list[int] = []

    async def step() -> None:
        done.append(len(done))
        if len(done) < 3:
            raise Unavailable("Redis does not answer")

    (task,) = background.begun({"a step": background.every(0.0, step)})
    async with asyncio.timeout(4):  # less than the pause after work that broke off
        while len(done) < 5:
            await asyncio.sleep(0)
    await background.ended([task])
