"""Logged requests, run again through another bundle: `tastemaker replay`.

Not to be confused with `offline.replay`, which evaluates a bundle on users of the past. Here every request is one that
was answered, with the trail, the profile and the time that the models were given then, and alone as it was then; so the
bundle that answered it answers it alike to the last bit, on a machine of the same kind.

n places of a slate.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tastemaker import scenes
from tastemaker.bundle import Bundle
from tastemaker.candidates import SOURCES, Codes, Explored, shares_of
from tastemaker.config import Settings
from tastemaker.decisions.record import Decision, Floats, Trace
from tastemaker.exploration import exploring
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.popular import Person
from tastemaker.retrieval import Heard, Source
from tastemaker_serving import models, pipeline
from tastemaker_serving.named import named_by
from tastemaker_serving.offline import one_thread
from tastemaker_serving.pipeline import Requests, StageClock
from tastemaker_serving.shown import shown_by
from tastemaker_serving.stages.lives import Lives
from tastemaker_serving.wire import Query, decode_query


@dataclass(frozen=True)
class Rerun:
    """One request: what was answered, and what would be; item ids, best first."""

    request_id: str
    scene: str
    before: Sequence[str]
    after: Sequence[str]

    @property
    def overlap(self) -> float:
        """Share of the places answered then whose items would be shown again, anywhere: overlap@n, in [0, 1].

        1 where nothing was shown, nor would be.
        """
        if not self.before and not self.after:
            return 1.0
        return len(set(self.before) & set(self.after)) / max(len(self.before), 1)

    @property
    def moves(self) -> list[int]:
        """By how many places each item that is in both would stand elsewhere."""
        places = {item_id: place for place, item_id in enumerate(self.after)}
        return [abs(place - places[item_id]) for place, item_id in enumerate(self.before) if item_id in places]


@dataclass(frozen=True)
class Comparison:
    """The slates of some requests, then and now; each figure a mean over them.

    `overlap` is overlap@n; `same` the share of slates that are equal, order included; `first` the share whose first
    items are; `moved` by how many places an item that is in both stands elsewhere.
    """

    requests: int
    overlap: float
    same: float
    first: float
    moved: float

    @classmethod
    def of(cls, reruns: Sequence[Rerun]) -> Comparison:
        """Of at least one request."""
        moves = [move for rerun in reruns for move in rerun.moves]
        return cls(
            len(reruns),
            float(np.mean([rerun.overlap for rerun in reruns])),
            float(np.mean([list(rerun.before) == list(rerun.after) for rerun in reruns])),
            float(np.mean([list(rerun.before[:1]) == list(rerun.after[:1]) for rerun in reruns])),
            float(np.mean(moves)) if moves else 0.0,
        )


def is_whole(decision: Decision) -> bool:
    """Whether it can be run again: traced, and with nothing that failed or ran late, which no replay can repeat."""
    return decision.trace is not None and not decision.degraded


def rerun(bundle: Bundle, settings: Settings, decisions: Iterable[Decision]) -> Iterator[Rerun]:
    """Run `decisions` again, each of which `is_whole`."""
    funnel, declared = settings.serving.funnel, scenes.load(settings)
    personal = models.load_personal(bundle)
    retrieval = models.load_retrieval(bundle, funnel.candidates)
    ranking = models.load_ranker(bundle, funnel.head_weights)
    shares = {name: shares_of(scene.sources) for name, scene in declared.by_name.items()}
    lives = Lives.declared(declared)
    with one_thread():
        for decision in decisions:
            assert decision.trace is not None
            asked = _requests(decision.trace, personal, declared)
            live, now = _live(decision.trace, personal.index), partial(float, decision.trace.now)
            young = lives.by(lambda: retrieval.published, now)
            steps = pipeline.local_steps(retrieval, ranking, funnel, shares, live, young)
            chosen = asyncio.run(pipeline.recommend(asked, personal, steps, funnel, declared, StageClock()))
            codes = chosen.codes[0].tolist()
            after = [personal.item_ids[code] for code in codes if code >= 0]
            yield Rerun(decision.request_id, decision.scene, decision.trace.slate, after)


def by_scene(reruns: Sequence[Rerun]) -> dict[str, Comparison]:
    """How the slates of each scene compare, those with most requests first."""
    counts = Counter(rerun.scene for rerun in reruns)
    return {
        scene: Comparison.of([rerun for rerun in reruns if rerun.scene == scene]) for scene, _ in counts.most_common()
    }


def _requests(trace: Trace, model: models.Personal, declared: scenes.Scenes) -> Requests:
    query = decode_query(trace.query)
    return Requests(
        user_ids=[query.user_id],
        trails=[trail.decode(trace.trail)],
        profiles=_fitted(np.frombuffer(trace.profile, np.float32), len(model.vocabulary)),
        excluded=_codes(model.index, query),
        now=trace.now,
        lengths=[query.n],
        scenes=[query.scene],
        people=[Person(trace.country, query.device)],
        said={} if trace.preferences is None else {0: trace.preferences},
        named=named_by([query], model.index, declared),
        shown=shown_by([query], model.index),
        exploring=exploring([declared.or_home(query.scene)], [query.n], [query.request_id]),
    )


def _live(trace: Trace, index: KeyIndex) -> dict[int, Source]:
    """Sources that propose what they proposed then; how likely that was matters to no slate."""

    def proposing(codes: Codes) -> Source:
        drawn = Explored(codes, np.ones(codes.shape, dtype=np.float32))
        return lambda _, k: Heard(codes[:, :k], explored=drawn)

    return {
        SOURCES.index(name): proposing(index.find(keys_of(item_ids))[None, :]) for name, item_ids in trace.live.items()
    }


def _codes(index: KeyIndex, query: Query) -> Codes:
    return index.find(keys_of(query.exclude))[None, :]


def _fitted(profile: Floats, categories: int) -> Floats:
    """The profile (1, P) for a model of so many categories: vocabularies only grow, at their end."""
    fitted = np.zeros((1, profile_width(categories)), dtype=np.float32)
    shared = min(fitted.shape[1], len(profile))
    fitted[0, :shared] = profile[:shared]
    return fitted
