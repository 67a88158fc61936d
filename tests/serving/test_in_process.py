from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from tastemaker.bundle import Bundle
from tastemaker_serving import wire
from tastemaker_serving.bench import seed_users

# A process of its own, as in batch work: Ray Serve, once it is imported, changes the process that does it.
RUN = """
import sys
from pathlib import Path
import msgspec
from tastemaker.config import Settings
from tastemaker_serving import wire
from tastemaker_serving.in_process import InProcess
home, redis_url, bundle = sys.argv[1:]
recommender = InProcess(Settings(home=Path(home)), Path(bundle), "tastemaker/7", redis_url)
batches = msgspec.json.decode(sys.stdin.buffer.read(), type=list[list[wire.Query]])
print(msgspec.json.encode([recommender.slates(queries) for queries in batches]).decode())
"""


def run(
    home: Path, redis_url: str, bundle: Bundle, *batches: list[wire.Query]
) -> tuple[list[list[wire.RankedSlate]], str]:
    """The slates of each batch, and what was said on standard error."""
    command = [sys.executable, "-c", RUN, str(home), redis_url, str(bundle.path)]
    done = subprocess.run(command, input=msgspec.json.encode(batches), capture_output=True, check=False)
    found = done.stdout or b"[]"
    return msgspec.json.decode(found, type=list[list[wire.RankedSlate]]), done.stderr.decode()


def test_queries_of_every_kind_share_a_batch(tmp_path: Path, redis_url: str, model_bundle: Bundle) -> None:
    user, _ = seed_users(redis_url, [f"item-{code}" for code in range(300)], users=2, events=8)
    hits = ["item-3", "nothing", "item-7", "item-250"]
    queries = [
        wire.Query("1", user, "home", None, 5),
        wire.Query("2", user, "search", None, 9, candidates=hits, candidate_scores=[9.0, 8.0, 7.0, 1.0]),
        wire.Query("3", "stranger", "digest", None, 7),
    ]
    ((home, found, digest), again), said = run(tmp_path, redis_url, model_bundle, queries, queries[:1])
    assert [len(slate.item_ids) for slate in (home, found, digest)] == [5, 3, 7], said
    assert sorted(found.item_ids) == ["item-250", "item-3", "item-7"]
    assert set(found.sources) == {"named"}
    assert {slate.served_from for slate in (home, found, digest)} == {"ranked"}
    assert again[0].item_ids == home.item_ids


def test_slates_that_lack_something_are_refused(tmp_path: Path, model_bundle: Bundle) -> None:
    _, said = run(tmp_path, "redis://127.0.0.1:1", model_bundle, [wire.Query("1", "u", "home", None, 5)])
    assert "Unavailable: slates came out degraded: trails, " in said
