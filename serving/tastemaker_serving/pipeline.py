"""A batch of requests through its stages: who asks → candidates → ranked → re-ranked → explained.

The same function serves (stages behind Ray Serve handles) and evaluates (all stages in one process: `offline`).

B requests, D vector width, P profile width, G categories, n places of the longest slate.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tastemaker import retrieval
from tastemaker.candidates import Candidates, Codes, Floats, Mask, Named, Shares, pick, strongest_category
from tastemaker.config import Funnel
from tastemaker.decisions.drops import Drop
from tastemaker.errors import Unavailable
from tastemaker.exploration import Exploring
from tastemaker.features.tower_inputs import TowerInputs, session_lengths, tower_inputs
from tastemaker.popular import Person
from tastemaker.preferences import Preferences
from tastemaker.retrieval import Heard, Retrieval, Source, Wanted
from tastemaker.scenes import Scenes
from tastemaker.types import ServedFrom
from tastemaker_serving.models import Personal, RankingModel
from tastemaker_serving.stages import by_scene
from tastemaker_serving.stages.blend import blend
from tastemaker_serving.stages.explore import propensities, reserve
from tastemaker_serving.stages.generate import generate
from tastemaker_serving.stages.lives import Young, everything
from tastemaker_serving.stages.newcomers import introduce
from tastemaker_serving.stages.rank import Ranked, rank, retrieval_order, worth
from tastemaker_serving.stages.reasons import liked_neighbours
from tastemaker_serving.stages.rules import PINNED
from tastemaker_serving.stages.slate import Arranged, Listed
from tastemaker_serving.stages.user_tower import user_vectors


@dataclass(frozen=True)
class Requests:
    """What is known of the B users who ask."""

    user_ids: Sequence[str]
    trails: Sequence[npt.NDArray[np.void]]  # features.trail.Trail, oldest first
    profiles: Floats  # (B, P)
    excluded: Codes  # (B, X) items that the callers refuse, -1 is padding
    now: int  # seconds since 1970
    lengths: Sequence[int]  # B places of the slates
    scenes: Sequence[str]  # B
    people: Sequence[Person] = ()  # B, or none where nothing is known of anybody
    said: Mapping[int, Preferences] = field(default_factory=dict)  # what the newcomers in these rows like
    traced: bool = False  # whether `Chosen.traced` is wanted; the answer is the same
    named: Named | None = None  # without those excluded
    shown: Codes | None = None  # (B, K, W) items of the users' last K slates, newest first, -1 is padding
    exploring: Exploring | None = None


@dataclass(frozen=True)
class Askers:
    """The B users as the models know them."""

    inputs: TowerInputs
    history: Codes  # (B, L) of the inputs
    done: Floats  # (B, L) the preference of what they did or said, 0 for other stand-ins
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    session: Codes  # (B,) events at the end of the history that are of the session
    vectors: Floats  # (B, D)


@dataclass(frozen=True)
class ToRank:
    """What the Ranker is asked."""

    user_vectors: Floats  # (B, D)
    profiles: Floats  # (B, P)
    candidates: Candidates
    traced: bool = False

    def kept(self, keep: int) -> int:
        """How many the Ranker answers: the `keep` best, or every candidate of requests that are traced."""
        return self.candidates.codes.shape[1] if self.traced else keep


@dataclass(frozen=True)
class Steps:
    """The stages that may run elsewhere. Each raises Unavailable when it failed or ran late."""

    generate: Callable[[Wanted], Awaitable[Candidates]]
    rank: Callable[[ToRank], Awaitable[Ranked]]


@dataclass(frozen=True)
class Traced:
    """How the slates came about."""

    candidates: Candidates
    ranked: Ranked  # as many as the ranker answered
    dropped: tuple[Drop, ...]  # by every stage but the ranker, whose drops are what it ranked beyond `funnel.ranked`


@dataclass(frozen=True)
class Chosen:
    """The slates: places best first, a code of -1 is padding."""

    codes: Codes  # (B, n)
    scores: Floats  # (B, n)
    source: npt.NDArray[np.uint8]  # (B, n) position in SOURCES, or rules.PINNED
    because: Codes  # (B, n) the liked item that speaks for it, -1 for none
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    served_from: list[ServedFrom]  # B
    degraded: list[str]
    traced: Traced | None = None
    propensities: Floats | None = None  # (B, n) how likely each item was to be shown, where chance had a part in it

    def chances(self, row: int, n: int) -> list[float]:
        """How likely each of the first `n` items of a slate was to be shown; empty where chance had no part in it."""
        shown = [] if self.propensities is None else self.propensities[row, :n].tolist()
        return shown if any(one < 1 for one in shown) else []


@dataclass
class StageClock:
    """Wall time of each stage in milliseconds, and when it began on `time.perf_counter`."""

    stage_ms: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage `name`."""
        self.began[name] = start = time.perf_counter()
        try:
            yield
        finally:
            self.stage_ms[name] = round((time.perf_counter() - start) * 1e3, 3)


async def recommend(
    requests: Requests, model: Personal, steps: Steps, funnel: Funnel, scenes: Scenes, clock: StageClock
) -> Chosen:
    """Slates for a batch of requests, each by the scene that it is for.

    Raises:
        Unavailable: no candidates could be had; without the ranker the slates are in retrieval order.
    """
    with clock.stage("user_tower"):
        askers = _introduced(requests, model, funnel.history)
    with clock.stage("candidates"):
        proposed = await steps.generate(_wanted(requests, askers))
        groups = by_scene.groups(requests.scenes, scenes, model.attributes, requests.now)
        candidates = by_scene.permitted(proposed, groups, traced=requests.traced)
    with clock.stage("ranking"):
        asked = ToRank(askers.vectors, requests.profiles, candidates, requests.traced)
        every, is_ranked, degraded = await _ranked(asked, steps, funnel.ranked, by_scene.by_ranker(groups))
    with clock.stage("reranking"):
        ranked, relevance, candidates = _offered(requests, every.head(funnel.ranked), is_ranked, candidates)
        codes = pick(candidates.codes, ranked.places, -1)
        listed = Listed.of(codes, relevance, requests.excluded, requests.shown)
        slates = by_scene.arranged(listed, groups, model.attributes, model.unit_vectors, requests.lengths, requests.now)
        traced = None
        if requests.traced:
            left_out = by_scene.left_out(listed, groups, model.attributes, slates.codes, requests.now)
            traced = Traced(candidates, every, (*candidates.dropped, *left_out))
    with clock.stage("reasons"):
        because = liked_neighbours(model, slates.codes, askers.history, askers.done)
    source = _source(slates, ranked, candidates)
    return Chosen(
        codes=slates.codes,
        scores=pick(ranked.scores, slates.places, 0.0),
        source=source,
        because=because,
        segment=askers.segment,
        served_from=["ranked" if by_ranker else "candidates" for by_ranker in is_ranked.tolist()],
        degraded=[f"source:{name}" for name in candidates.silent] + degraded,
        traced=traced,
        propensities=_propensities(requests, slates, source, candidates),
    )


def _introduced(requests: Requests, model: Personal, length: int) -> Askers:
    """The users as the models take them, by `length` events each at most; newcomers with stand-ins for events."""
    inputs = tower_inputs(
        requests.user_ids, requests.trails, model.index, length=length, buckets=model.user_buckets, now=requests.now
    )
    session = session_lengths(inputs.history, inputs.age)
    inputs, segment, done = introduce(
        inputs,
        strongest_category(requests.profiles[:, requests.profiles.shape[1] - len(model.vocabulary) :]),
        requests.people,
        requests.said,
        lists=model.popular,
        index=model.index,
        vocabulary=model.vocabulary,
    )
    vectors = user_vectors(model, inputs, requests.profiles)
    return Askers(inputs, inputs.history.astype(np.int32), done, segment, session, vectors)


def _wanted(requests: Requests, askers: Askers) -> Wanted:
    scenes = list(dict.fromkeys(requests.scenes))
    return Wanted(
        askers.vectors,
        askers.history,
        askers.inputs.preference,
        askers.segment,
        _unwanted(askers.inputs.seen, requests.named),
        requests.excluded,
        session=askers.session,
        scene=np.array([scenes.index(scene) for scene in requests.scenes], dtype=np.int32),
        people=requests.people,
        traced=requests.traced,
        named=requests.named,
        exploring=requests.exploring,
        scenes=scenes,
        time=askers.inputs.time,
    )


def _unwanted(seen: Codes, named: Named | None) -> Codes:
    """The items seen (B, S), but none of requests that name their candidates: who looks for a film may know it."""
    return seen if named is None else np.where(named.asked[:, None], np.int32(-1), seen)


async def _ranked(asked: ToRank, steps: Steps, keep: int, by_ranker: Mask) -> tuple[Ranked, Mask, list[str]]:
    """The candidates in order, for whom the ranker gave it, as it is meant to for `by_ranker` (B,), and what failed."""
    if not by_ranker.any():
        return retrieval_order(asked.candidates, asked.kept(keep)), by_ranker, []
    try:
        ranked = await steps.rank(asked)
    except Unavailable:
        return retrieval_order(asked.candidates, asked.kept(keep)), np.zeros_like(by_ranker), ["ranker"]
    if not by_ranker.all():
        ranked = ranked.where(by_ranker, retrieval_order(asked.candidates, asked.kept(keep)))
    return ranked, by_ranker, []


def _offered(
    requests: Requests, ranked: Ranked, is_ranked: Mask, candidates: Candidates
) -> tuple[Ranked, Floats, Candidates]:
    """What re-ranking may choose from, with what it compares (B, R) and the candidates, of which some are explored."""
    relevance = worth(ranked, is_ranked)
    if requests.named is not None:
        ranked, relevance = blend(ranked, pick(candidates.codes, ranked.places, -1), relevance, requests.named)
    if requests.exploring is not None:
        return reserve(ranked, relevance, candidates, requests.exploring)
    return ranked, relevance, candidates


def _source(slates: Arranged, ranked: Ranked, candidates: Candidates) -> npt.NDArray[np.uint8]:
    """Who proposed each item of the slates (B, n)."""
    places = pick(ranked.places, slates.places, -1)
    return np.where(slates.pinned, np.uint8(PINNED), pick(candidates.source, places, 0))


def _propensities(
    requests: Requests, slates: Arranged, source: npt.NDArray[np.uint8], candidates: Candidates
) -> Floats | None:
    if requests.exploring is None:
        return None
    return propensities(slates.codes, source, candidates.explored, requests.exploring)


def local_steps(
    model: Retrieval,
    ranking: RankingModel,
    funnel: Funnel,
    shares: Mapping[str, Shares],
    live: Mapping[int, Source] = MappingProxyType({}),
    young: Young = everything,
) -> Steps:
    """The stages in this process, where no source is in a hurry and a bundle is all there is.

    Args:
        shares: of the sources, by scene.
        live: sources beside those of the bundle.
        young: takes away what outlived its scene.
    """
    sources = {**retrieval.sources(model), **live}

    async def ask(wanted: Wanted, lengths: Mapping[int, int]) -> tuple[dict[int, Heard], list[str]]:
        return retrieval.ask(sources, wanted, lengths), []

    async def generate_here(wanted: Wanted) -> Candidates:
        of_scenes = [shares[scene] for scene in wanted.scenes]
        return await generate(ask, wanted, of_scenes, funnel.candidates, young)

    async def rank_here(asked: ToRank) -> Ranked:
        return rank(ranking, asked.user_vectors, asked.profiles, asked.candidates, asked.kept(funnel.ranked))

    return Steps(generate_here, rank_here)
