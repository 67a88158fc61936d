from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.crc import key_slot

from tastemaker import coverage, erasure, exploration, keepsakes
from tastemaker.decisions.recent import place_key
from tastemaker.features.trail import shown_key
from tastemaker.user_keys import user_key

IDS = st.text(st.sampled_from("ab{}%:7BD25"), min_size=1, max_size=8)


def test_an_ordinary_id_is_its_own_tag() -> None:
    assert [user_key(user_id, "trail") for user_id in ("42", "u 1", "a%2Fb", "ü/1")] == [
        "tm:{42}:trail",
        "tm:{u 1}:trail",
        "tm:{a%2Fb}:trail",
        "tm:{ü/1}:trail",
    ]


@given(IDS)
@example("}x")
@example("{}")
def test_the_keys_of_a_user_are_on_one_node(user_id: str) -> None:
    assert len({key_slot(user_key(user_id, name).encode()) for name in ("trail", "epoch", "slate:1")}) == 1


@given(IDS, IDS)
@example("{x", "%7Bx")
@example("a", "a}:b")
def test_no_user_reaches_into_the_keys_of_another(one: str, other: str) -> None:
    assert (one == other) == user_key(one, "").startswith(user_key(other, ""))


@given(IDS)
@example("clicks")
@example("shown")
def test_what_is_no_users_is_under_no_users_keys(user_id: str) -> None:
    others = (exploration.SHOWN_KEY, exploration.CLICKED_KEY, coverage.key_of_hour(0), place_key(user_id))
    assert not any(key.startswith(user_key(user_id, "")) for key in others)


async def test_erasing_finds_the_keys_of_one_user_and_no_others(redis_url: str) -> None:
    users = ("a", "a}:b", "{a", "}x", "*", "[a]", "clicks")
    async with Redis.from_url(redis_url) as redis:
        for user_id in users:
            async with redis.pipeline(transaction=False) as pipe:
                keepsakes.keep(pipe, user_id, 0, {shown_key(user_id, "home"): b"x"}, 900)
                pipe.set(user_key(user_id, "trail"), "x")
                await pipe.execute()
        await redis.hset(exploration.SHOWN_KEY, "i1", "5")  # type: ignore[misc]
        for number, user_id in enumerate(users, start=1):
            assert await erasure.erase(redis, user_id) == 2
            left = [user async for user in redis.scan_iter(match="tm:*:shown:home")]
            assert len(left) == len(users) - number
            assert not await redis.exists(user_key(user_id, "trail"))
        assert await redis.hget(exploration.SHOWN_KEY, "i1") == b"5"  # type: ignore[misc]
