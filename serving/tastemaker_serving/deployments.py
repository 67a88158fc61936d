"""The recommender as Ray Serve deployments that scale apart: Recommender → CandidateGenerator, Ranker.

A batch of queries is one call per hop, and numpy columns travel, not objects: a hop costs about two CPU milliseconds
whatever it carries.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from tastemaker import bundle, columns, config, ids, retrieval, scenes, telemetry
from tastemaker.candidates import SOURCES, STREAM, Candidates, Codes, shares_of
from tastemaker.errors import Unavailable
from tastemaker.exploration import exploring
from tastemaker.features import trail
from tastemaker.popular import Person
from tastemaker.preferences import Preferences
from tastemaker.retrieval import Source, Wanted
from tastemaker_serving import hops, models, pipeline, wire
from tastemaker_serving.grown import GrownPersonal, GrownRanking, GrownRetrieval
from tastemaker_serving.live import Live
from tastemaker_serving.named import named_by
from tastemaker_serving.overlay import Overlay, Parcel, Roster, Update
from tastemaker_serving.pipeline import Chosen, Requests, StageClock, Steps, ToRank
from tastemaker_serving.readers import Reader
from tastemaker_serving.replica import Replica
from tastemaker_serving.shown import shown_by
from tastemaker_serving.stages.generate import generate
from tastemaker_serving.stages.lives import Lives
from tastemaker_serving.stages.newcomers import FEW
from tastemaker_serving.stages.rank import Ranked, rank
from tastemaker_serving.stages.reasons import reason
from tastemaker_serving.stages.rules import PINNED, without
from tastemaker_serving.stages.sources import Panel, among_first
from tastemaker_serving.stream import Stream
from tastemaker_serving.tracing import trace_of

HEALTH_PATH = "/healthz"


class CandidateGenerator(Replica):
    """Proposes candidates for a batch of users."""

    def __init__(self, bundle_path: Path, settings: config.Settings, redis_url: str) -> None:
        super().__init__()
        threads = settings.serving.deployments.candidate_generator.threads
        models.use_threads(threads)
        self._limit = settings.serving.funnel.candidates
        opened, declared = bundle.read(bundle_path, only=models.RETRIEVAL_PARTS), scenes.load(settings)
        self._grown = GrownRetrieval(models.load_retrieval(opened, self._limit))
        items = opened.items()
        self._live = Live(redis_url, items[columns.ITEM_ID].to_pylist(), declared)
        self._stream = Stream(settings, redis_url, items, declared)
        self._panel = Panel(self._sources(), settings.serving.sources, threads)
        self._shares = {name: shares_of(scene.sources) for name, scene in declared.by_name.items()}
        self._young = Lives.declared(declared).by(lambda: self._grown.model.published)
        self._overlay = Overlay(redis_url, opened, self._adopt)
        self._overlay.start()
        self._live.start()
        self.ends(self._panel.stop, self._stream.stop, self._live.stop, self._overlay.stop)

    async def __call__(self, parcel: Parcel[Wanted]) -> Parcel[Candidates]:
        """At most `funnel.candidates` for each user."""
        wanted = parcel.unpacked(self._overlay.roster)
        shares = [self._shares.get(scene, self._shares[scenes.HOME]) for scene in wanted.scenes]
        found = await generate(self._panel.ask, wanted, shares, self._limit, self._young, self._grown.model.gone)
        return Parcel.of(found, self._overlay.roster)

    async def ping(self) -> bool:
        """Answers when the parts are loaded."""
        return True

    def _sources(self) -> dict[int, Source]:
        """As of one moment: what a source hears of later, the others in the same round could say nothing of."""
        model = self._grown.model
        moving = self._live.sources | {STREAM: self._stream.propose}
        known = {place: among_first(len(model.neighbours), source) for place, source in moving.items()}
        return retrieval.sources(model) | known

    def _adopt(self, update: Update) -> None:
        self._grown.adopt(update)
        self._panel.follow(self._sources())
        self._live.follow(update.roster.index)
        self._stream.adopt(update)


class Ranker(Replica):
    """Scores a batch of users' candidates."""

    def __init__(self, bundle_path: Path, funnel: config.Funnel, threads: int, redis_url: str) -> None:
        super().__init__()
        models.use_threads(threads)
        opened = bundle.read(bundle_path, only=models.RANKER_PARTS)
        self._grown = GrownRanking(models.load_ranker(opened, funnel.head_weights))
        self._keep = funnel.ranked
        self._overlay = Overlay(redis_url, opened, self._grown.adopt)
        self._overlay.start()
        self.ends(self._overlay.stop)

    async def __call__(self, parcel: Parcel[ToRank]) -> Ranked:
        """The best `funnel.ranked` of each user's candidates; all of them where they are traced."""
        asked = parcel.unpacked(self._overlay.roster)
        keep = asked.kept(self._keep)
        return rank(self._grown.model, asked.user_vectors, asked.profiles, asked.candidates, keep)

    async def ping(self) -> bool:
        """Answers when the parts are loaded."""
        return True


class Recommender(Replica):
    """The ingress: a batch of queries in, their slates out (see wire.py)."""

    def __init__(
        self,
        bundle_path: Path,
        model_version: str,
        redis_url: str,
        settings: config.Settings,
        candidate_generator: DeploymentHandle[Any],
        ranker: DeploymentHandle[Any] | None,
    ) -> None:
        # Imported here: Feast takes seconds, and the other replicas do without it.
        from tastemaker.features.store import Features

        super().__init__()
        sizes = settings.serving.deployments
        models.use_threads(sizes.recommender.threads)
        telemetry.begin(settings, "tastemaker-recommender")
        opened = bundle.read(bundle_path, only=models.PERSONAL_PARTS)
        self._grown = GrownPersonal(models.load_personal(opened))
        self._overlay = Overlay(redis_url, opened, self._grown.adopt)
        self._overlay.start()
        self.ends(self._overlay.stop)
        self._version = model_version
        self._was_whole = False
        self._funnel, self._scenes = settings.serving.funnel, scenes.load(settings)
        ranks, ping = hops.of_ray(ranker) if ranker else hops.of_kserve(settings, model_version)
        self._rank = hops.guarded(ranks, ping, sizes.ranker.timeout_ms)
        self._generator, self._generator_ms = candidate_generator, sizes.candidate_generator.timeout_ms
        self._pings: dict[str, hops.Ping] = {"candidates": candidate_generator.ping.remote, "ranker": ping}
        self._reader = Reader(
            Redis.from_url(redis_url),
            Features(settings, redis_url),
            len(self._grown.known.model.vocabulary),
            sizes.recommender.timeout_ms / 1e3,
        )

    async def __call__(self, request: Request) -> Response:
        """POST `wire.PATH`, or GET `/healthz`."""
        if request.url.path == HEALTH_PATH:
            return await self._health()
        if request.url.path != wire.PATH:
            return Response(status_code=404)
        try:
            answer = await self.recommend(wire.decode_queries(await request.body()))
        except Unavailable as error:
            return Response(str(error), status_code=error.status)
        return Response(wire.encode_batch(answer), media_type=wire.CONTENT_TYPE)

    async def recommend(self, queries: Sequence[wire.Query]) -> wire.Batch:
        """The slates of a batch of queries.

        Raises:
            Unavailable: the candidate generator does not answer in time.
        """
        clock = StageClock()
        user_ids = [query.user_id for query in queries]
        with clock.stage("features"):
            trails, profiles, unread = await self._reader.read(user_ids)
            people, said, unheard = await self._introductions(queries, trails)
        now = int(time.time())
        for row, query in enumerate(queries):
            if query.history:
                trails[row] = np.concatenate([trails[row], trail.of_items(query.history, now)])
        model, roster = self._grown.known  # for the whole batch: the catalogue may change meanwhile
        excluded = _codes(model, [query.exclude for query in queries])
        requests = Requests(
            user_ids,
            trails,
            profiles,
            excluded,
            now,
            [query.n for query in queries],
            scenes=[query.scene for query in queries],
            people=people,
            said=said,
            traced=any(query.traced for query in queries),
            named=named_by(queries, model.index, self._scenes),
            shown=shown_by(queries, model.index),
            exploring=exploring(
                [self._scenes.or_home(query.scene) for query in queries],
                [query.n for query in queries],
                [query.request_id for query in queries],
            ),
        )
        steps = Steps(
            generate=lambda asked: self._generate(asked, roster), rank=lambda asked: self._rank(asked, roster)
        )
        chosen = await pipeline.recommend(requests, model, steps, self._funnel, self._scenes, clock)
        degraded = unread + unheard + chosen.degraded
        with clock.stage("answer"):
            slates = [self._slate(model, chosen, row, query, requests, degraded) for row, query in enumerate(queries)]
        telemetry.batch("recommend", (query.traceparent for query in queries), clock.began, clock.stage_ms)
        return wire.Batch(self._version, slates, clock.stage_ms, degraded)

    async def _generate(self, asked: Wanted, roster: Roster) -> Candidates:
        response = self._generator.remote(Parcel.of(asked, roster))
        answer: Parcel[Candidates] = await hops.bounded(response, self._generator_ms)
        found = answer.unpacked(roster)
        if found.codes is answer.content.codes:  # nothing was translated
            return found
        # Items unknown here became padding, whose place is at the end.
        return without(found, found.codes < 0)

    async def _introductions(
        self, queries: Sequence[wire.Query], trails: Sequence[trail.Trail]
    ) -> tuple[list[Person], dict[int, Preferences], list[str]]:
        """Who asks; what the newcomers among them like, by row; and the names of the reads that failed."""
        people = [Person(query.country, query.device) for query in queries]
        rows = [row for row, query in enumerate(queries) if query.user_id and len(trails[row]) < FEW]
        if not rows:
            return people, {}, []
        said, told, unread = await self._reader.introductions([queries[row].user_id for row in rows])
        for row, profile in zip(rows, told, strict=True):
            people[row] = Person(queries[row].country or profile.country, queries[row].device)
        return people, dict(zip(rows, said, strict=True)), unread

    async def _health(self) -> Response:
        """Deep: every deployment answers.

        Without the ranker slates are in retrieval order, so that is no outage; but a bundle whose ranker never came up
        was never whole, and must not be taken for ready.
        """
        pings = (hops.bounded(ping(), hops.PING_MS) for ping in self._pings.values())
        found = await asyncio.gather(*pings, return_exceptions=True)
        state = {name: "ok" if answer is True else "away" for name, answer in zip(self._pings, found, strict=True)}
        body = json.dumps({"model_version": self._version, **state})
        self._was_whole |= set(state.values()) == {"ok"}
        healthy = self._was_whole and state["candidates"] == "ok"
        return Response(body, 200 if healthy else 503, media_type="application/json")

    def _slate(
        self,
        model: models.Personal,
        chosen: Chosen,
        row: int,
        query: wire.Query,
        requests: Requests,
        degraded: list[str],
    ) -> wire.RankedSlate:
        codes = [code for code in chosen.codes[row, : query.n].tolist() if code >= 0]
        sources = chosen.source[row, : len(codes)].tolist()
        because = chosen.because[row, : len(codes)].tolist()
        strongest = int(chosen.segment[row])
        segment = model.vocabulary[strongest] if strongest >= 0 else None
        trace = None
        if query.traced:
            trace = trace_of(chosen, requests, row, query, model.item_ids, self._funnel.ranked)
        return wire.RankedSlate(
            item_ids=[model.item_ids[code] for code in codes],
            scores=chosen.scores[row, : len(codes)].tolist(),
            sources=[wire.PINNED if source == PINNED else SOURCES[source] for source in sources],
            reasons=[
                wire.PINNED_REASON if source == PINNED else reason(source, liked, segment, model.titles)
                for source, liked in zip(sources, because, strict=True)
            ],
            served_from=chosen.served_from[row],
            degraded=degraded,
            segment=segment,
            propensities=chosen.chances(row, len(codes)),
            trace=trace,
        )


def _codes(model: models.Personal, item_ids: Sequence[Sequence[str]]) -> Codes:
    codes = np.full((len(item_ids), max(map(len, item_ids), default=0)), -1, dtype=np.int32)
    for row, names in enumerate(item_ids):
        codes[row, : len(names)] = model.index.find(ids.keys_of(names))
    return codes
