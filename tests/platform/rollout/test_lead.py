"""The leader with a real Redis and a real registry; only the colours are played."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker.gates import Gates
from tastemaker.metrics import LATENCY_BUCKETS
from tastemaker.registry import CHALLENGER, CHAMPION, ITEMS, Registry
from tastemaker.rollout import meter, routing
from tastemaker.rollout.lead import Outcome, Readiness, Rollout, World, reconcile
from tastemaker.rollout.resources import (
    ActiveColour,
    Colour,
    ModelRolloutSpec,
    ModelRolloutStatus,
    RecommenderStatus,
)

DRAIN_S = 3.0
SPEC: dict[str, Any] = {
    "shadow": {"duration": "5s"},
    "steps": [{"weight": 10, "duration": "5s"}, {"weight": 50, "duration": "5s"}, {"weight": 100, "duration": "5s"}],
    "guardrails": {"minRequests": 50},
    "clickThrough": {"minUsers": 50, "maxLoss": 0.5},
}
PHASES = ("Preparing", "Warming", "Shadow", "Progressing", "Promoting")


@dataclass
class PlayedColours:
    """Colours that are what a test says."""

    template: str = "t1"
    running: dict[Colour, str] = field(default_factory=dict)
    ready: bool = True
    failure: str = ""
    url: str = "http://127.0.0.1:9"
    away: bool = False

    def bring_up(self, colour: Colour, version: str) -> None:
        self._answer()
        self.running[colour] = version

    def look(self, colour: Colour) -> Readiness:
        self._answer()
        tried = colour == "green"
        if colour not in self.running:
            return Readiness(False)
        return Readiness(self.ready or not tried, self.failure if tried else "", f"{self.url}/{colour}")

    def take_down(self, colour: Colour) -> None:
        self._answer()
        self.running.pop(colour, None)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the API server does not answer")


@dataclass
class Theatre:
    """A recommender with its rollouts, looked at once a second of played time. Statuses live as JSON."""

    redis: Redis
    registry: Registry
    colours: PlayedColours
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    recommender: str = ""
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    prometheus_url: str | None = None
    traffic: Callable[[Theatre], None] | None = None

    def __post_init__(self) -> None:
        self.colours.running = {"blue": "1"}
        active = ActiveColour(colour="blue", version="1", template=self.colours.template)
        self.recommender = RecommenderStatus(active=active, phase="Ready").model_dump_json()

    def create(self, name: str = "r", **spec: Any) -> None:
        self.now += timedelta(seconds=1)
        made = ModelRolloutSpec.model_validate(SPEC | {"model": "2"} | spec)
        self.rollouts[name] = Rollout(name, f"uid-{name}-{len(self.rollouts)}-{self.now.second}", self.now, made)

    def act(self, action: str, name: str = "r") -> None:
        rollout = self.rollouts[name]
        self.rollouts[name] = replace(rollout, spec=rollout.spec.model_copy(update={"action": action}))

    def look(self) -> Outcome:
        """One look of a leader that knows nothing but what was persisted."""
        self.now += timedelta(seconds=1)
        if self.traffic is not None:
            self.traffic(self)
        world = World(
            self.colours, self.redis, self.registry, "tastemaker", self.prometheus_url, self.now, 20.0, DRAIN_S
        )
        outcome = reconcile(self.status, list(self.rollouts.values()), world)
        self.recommender = outcome.recommender.model_dump_json()
        for name, status in outcome.rollouts.items():
            again = ModelRolloutStatus.model_validate_json(status.model_dump_json())
            self.rollouts[name] = replace(self.rollouts[name], status=again)
        return outcome

    def until(self, phase: str, name: str = "r", looks: int = 60) -> ModelRolloutStatus:
        for _ in range(looks):
            if self.of(name).phase == phase:
                return self.of(name)
            self.look()
        raise AssertionError(f"{self.of(name).phase}, not {phase}: {self.of(name).message}")

    def of(self, name: str = "r") -> ModelRolloutStatus:
        return self.rollouts[name].status

    @property
    def status(self) -> RecommenderStatus:
        return RecommenderStatus.model_validate_json(self.recommender)

    @property
    def routed(self) -> routing.Routing:
        found = routing.read(self.redis)
        assert found is not None
        return found


def viewers(errors: float = 0.0, loss: float = 0.0, users: int = 600) -> Callable[[Theatre], None]:
    """Traffic of a second, as edges would count it: every look all users of the colour ask once."""
    rng = np.random.default_rng(5)

    def flow(theatre: Theatre) -> None:
        document = routing.read(theatre.redis)
        if document is None or document.candidate is None or not document.period:
            return
        for target, share in ((document.candidate, document.weight), (document.stable, 100 - document.weight)):
            mine = range(int(users * share / 100)) if share else range(0)
            asked = len(mine) or 60
            new = target is document.candidate
            wrong = int(asked * errors) if new else 0
            with theatre.redis.pipeline() as pipe:
                key = meter.sums_key(document.period, target.colour)
                pipe.hincrby(key, "requests", asked)
                pipe.hincrby(key, "errors", wrong)
                pipe.hincrby(key, f"le:{LATENCY_BUCKETS.index(0.05)}", asked - wrong)
                for user in mine:
                    bucket = meter.bucket_of(f"{target.colour}{user}")
                    pipe.hincrby(key, f"i:{bucket}", 10)
                    pipe.hincrby(key, f"c:{bucket}", int(rng.binomial(10, 0.3 * (1 - loss if new else 1))))
                if mine:
                    pipe.sadd(meter.users_key(document.period, target.colour), *mine)
                    pipe.pfadd(meter.items_key(document.period, target.colour), *range(30))
                pipe.execute()

    return flow


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    home = tmp_path_factory.mktemp("registry")
    found = Registry(Settings(home=home, gates=None))
    draft = home / "draft"
    draft.mkdir()
    (draft / "file").write_text("nothing")
    for _ in range(3):
        found.register(draft, {}, {ITEMS: "100"}, CHALLENGER)
    return found


@pytest.fixture
def theatre(redis: Redis, registry: Registry) -> Theatre:
    registry.point("1", CHAMPION)
    registry.point("2", CHALLENGER)
    return Theatre(redis, registry, PlayedColours(), traffic=viewers())


# -- the way of a rollout ----------------------------------------------------------------------------------------------


def test_a_good_version_goes_all_the_way(theatre: Theatre) -> None:
    theatre.create(model="challenger")
    assert theatre.until("Preparing").colour == "green"
    theatre.until("Shadow")
    assert (theatre.routed.shadow, theatre.routed.weight, theatre.routed.period[-7:]) == (20, 0, ".shadow")
    assert theatre.until("Progressing").weight == 10
    assert (theatre.routed.shadow, theatre.routed.weight) == (0, 10)
    salt = theatre.routed.salt
    theatre.until("Promoting")
    assert (theatre.routed.weight, theatre.routed.salt) == (100, salt)
    done = theatre.until("Completed")
    assert theatre.routed == routing.Routing(routing.Target("green", "http://127.0.0.1:9/green", "tastemaker/2"))
    assert theatre.registry.resolve(CHAMPION).version == "2"
    assert theatre.colours.running == {"green": "2"}
    assert theatre.status.active == ActiveColour(colour="green", version="2", template="t1")
    assert (theatre.status.phase, theatre.status.rollout) == ("Ready", None)
    assert [(entry.phase, entry.step, entry.reason) for entry in done.history] == [
        ("Preparing", 0, "Began"),
        ("Warming", 0, "ColourReady"),
        ("Shadow", 0, "Warm"),
        ("Progressing", 0, "ShadowPassed"),
        ("Progressing", 1, "StepPassed"),
        ("Progressing", 2, "StepPassed"),
        ("Promoting", 2, "AllStepsPassed"),
        ("Promoting", 2, "Draining"),
        ("Completed", 2, "Promoted"),
    ]
    assert theatre.look().rollouts == {}


def test_the_old_colour_outlives_the_last_request(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Promoting")
    theatre.look()
    switched = theatre.now
    assert theatre.routed.candidate is None
    while "blue" in theatre.colours.running:
        theatre.look()
    assert (theatre.now - switched).total_seconds() >= DRAIN_S


@pytest.mark.parametrize(
    ("traffic", "reason"), [(viewers(errors=0.3), "Errors"), (viewers(loss=0.5), "ClickThroughLoss")]
)
def test_a_bad_version_is_rolled_back_by_itself(
    theatre: Theatre, traffic: Callable[[Theatre], None], reason: str
) -> None:
    theatre.traffic = traffic
    theatre.create()
    found = theatre.until("RollingBack")
    assert found.reason == reason
    assert theatre.routed == routing.Routing(routing.Target("blue", "http://127.0.0.1:9/blue", "tastemaker/1"))
    assert "green" in theatre.colours.running
    assert theatre.until("RolledBack").reason == reason
    assert theatre.colours.running == {"blue": "1"}
    assert theatre.registry.resolve(CHAMPION).version == "1"


def test_a_colour_that_crashes_never_gets_traffic(theatre: Theatre) -> None:
    theatre.colours.ready, theatre.colours.failure = False, "exit code 1: no module named torch"
    theatre.create()
    assert theatre.until("RolledBack").message == "exit code 1: no module named torch"
    assert theatre.routed.candidate is None


def test_a_colour_that_is_not_ready_in_time_is_given_up(theatre: Theatre) -> None:
    theatre.colours.ready = False
    theatre.create()
    assert theatre.until("RolledBack").reason == "ProgressDeadlineExceeded"


def test_without_traffic_it_waits_and_says_what_is_missing(theatre: Theatre) -> None:
    theatre.traffic = None
    theatre.create()
    theatre.until("Shadow")
    for _ in range(30):
        theatre.look()
    assert theatre.of().phase == "Shadow"
    assert theatre.of().reason == "WaitingForCertainty"
    assert "0 of 50 requests" in theatre.of().message


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_look_whose_result_was_lost_is_repeated_without_harm(theatre: Theatre, phase: str) -> None:
    theatre.create()
    theatre.until(phase)
    for _ in range(12):
        before = theatre.recommender, dict(theatre.rollouts)
        theatre.look()
        theatre.recommender, theatre.rollouts = before[0], before[1]
        theatre.look()
    assert theatre.until("Completed").version == "2"
    assert theatre.colours.running == {"green": "2"}
    assert theatre.routed.stable.colour == "green"


@pytest.mark.parametrize("phase", [*PHASES, "RollingBack"])
def test_a_leader_that_died_between_the_two_statuses_goes_on(theatre: Theatre, phase: str) -> None:
    if phase == "RollingBack":
        theatre.traffic = viewers(errors=1.0)
    theatre.create()
    theatre.until(phase)
    end = "RolledBack" if phase == "RollingBack" else "Completed"
    for _ in range(60):
        # The recommender's status was persisted, the rollout's was not.
        before = dict(theatre.rollouts)
        theatre.look()
        theatre.rollouts = before
        theatre.look()
    assert theatre.until(end).version == "2"
    assert theatre.colours.running == ({"blue": "1"} if phase == "RollingBack" else {"green": "2"})


@pytest.mark.parametrize("phase", PHASES)
def test_a_deleted_rollout_leaves_nothing(theatre: Theatre, phase: str) -> None:
    theatre.create()
    theatre.until(phase)
    served = theatre.status.active
    del theatre.rollouts["r"]
    theatre.look()
    assert theatre.routed.candidate is None
    assert len(theatre.colours.running) == (1 if phase == "Preparing" else 2)
    for _ in range(6):
        theatre.look()
    assert served is not None
    assert theatre.colours.running == {served.colour: served.version}
    assert (theatre.status.phase, theatre.status.rollout, theatre.status.update) == ("Ready", None, None)


def test_one_that_was_deleted_and_created_anew_begins_anew(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    del theatre.rollouts["r"]
    theatre.create(model="3")
    theatre.look()
    assert theatre.routed.candidate is None
    assert theatre.until("Completed").version == "3"
    assert theatre.colours.running == {"green": "3"}


# -- people ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Preparing", "Warming", "Shadow", "Progressing"])
def test_a_pause_holds_weight_and_time(theatre: Theatre, phase: str) -> None:
    theatre.create()
    theatre.until(phase)
    theatre.act("Pause")
    held = theatre.until("Paused")
    before = theatre.routed
    for _ in range(30):
        theatre.look()
    assert theatre.routed == before
    assert (theatre.of().weight, theatre.of().resume) == (held.weight, phase)
    theatre.act("Run")
    resumed = theatre.until(phase, looks=2)
    assert resumed.elapsed_before_pause == held.elapsed_before_pause
    theatre.until("Completed")


def test_a_paused_rollout_is_still_guarded(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    theatre.act("Pause")
    theatre.until("Paused")
    theatre.traffic = viewers(errors=1.0)
    assert theatre.until("RolledBack").reason == "Errors"


def test_promote_skips_what_is_left_but_not_the_warming(theatre: Theatre) -> None:
    theatre.colours.ready = False
    theatre.create(action="Promote")
    theatre.until("Preparing")
    theatre.look()
    assert theatre.of().phase == "Preparing"
    theatre.colours.ready = True
    done = theatre.until("Completed")
    assert "Progressing" not in {entry.phase for entry in done.history}
    assert theatre.registry.resolve(CHAMPION).version == "2"


@pytest.mark.parametrize("phase", ["Pending", "Preparing", "Warming", "Shadow", "Progressing", "Paused"])
def test_abort_ends_it_wherever_it_is(theatre: Theatre, phase: str) -> None:
    theatre.create()
    if phase == "Paused":
        theatre.until("Progressing")
        theatre.act("Pause")
    theatre.until(phase)
    theatre.act("Abort")
    assert theatre.until("RolledBack").reason == "Aborted"
    assert theatre.colours.running == {"blue": "1"}


def test_the_older_of_two_goes_on(theatre: Theatre) -> None:
    theatre.create("second", model="3")
    theatre.rollouts["first"] = replace(
        theatre.rollouts["second"], name="first", created=theatre.now - timedelta(seconds=9)
    )
    theatre.look()
    assert theatre.of("first").phase == "Preparing"
    assert (theatre.of("second").phase, theatre.of("second").reason) == ("Failed", "Conflict")


def test_one_under_way_goes_on_though_an_older_one_appears(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Shadow")
    theatre.rollouts["old"] = Rollout("old", "u", datetime(2020, 1, 1, tzinfo=UTC), theatre.rollouts["r"].spec)
    theatre.look()
    assert theatre.of("old").reason == "Conflict"
    theatre.until("Completed")


def test_what_serves_already_is_complete_at_once(theatre: Theatre) -> None:
    theatre.create(model="1")
    theatre.look()
    assert (theatre.of().phase, theatre.of().reason) == ("Completed", "AlreadyServing")
    assert theatre.colours.running == {"blue": "1"}


def test_a_version_that_does_not_exist_fails(theatre: Theatre) -> None:
    theatre.create(model="99")
    theatre.look()
    assert (theatre.of().phase, theatre.of().reason) == ("Failed", "NoSuchVersion")
    assert "99" in theatre.of().message


def test_a_version_that_a_gate_refuses_never_begins(theatre: Theatre, tmp_path: Path) -> None:
    theatre.registry = Registry(theatre.registry.settings.model_copy(update={"gates": Gates()}))
    new = theatre.registry.register(tmp_path, {}, {}, "new").version
    theatre.create(model="new")
    theatre.look()
    assert (theatre.of().phase, theatre.of().reason) == ("Failed", "GateFailed")
    assert "it has no evaluation report" in theatre.of().message
    assert f"tastemaker registry waive {new} REASON" in theatre.of().message
    assert theatre.colours.running == {"blue": "1"}


def test_queries_without_prometheus_are_refused(theatre: Theatre) -> None:
    theatre.create(queries=[{"name": "q", "query": "up", "max": 1}])
    theatre.look()
    assert theatre.of().reason == "PrometheusNotConfigured"


# -- the world away ----------------------------------------------------------------------------------------------------


def test_with_redis_away_it_holds_and_a_crash_still_rolls_back(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    there, theatre.traffic = theatre.redis, None
    theatre.redis = Redis(host="127.0.0.1", port=9, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    for _ in range(10):
        theatre.look()
    assert theatre.of().phase == "Progressing"
    assert "Redis does not answer" in theatre.of().message
    theatre.colours.failure = "crash loop"
    rolling = theatre.until("RollingBack")
    for _ in range(10):
        assert theatre.look().routing == routing.Routing(
            routing.Target("blue", "http://127.0.0.1:9/blue", "tastemaker/1")
        )
    assert theatre.of().phase == rolling.phase
    assert "green" in theatre.colours.running
    theatre.redis = there
    theatre.until("RolledBack")
    assert theatre.routed.candidate is None


def test_with_the_platform_away_nothing_changes_but_the_message(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    weight = theatre.routed.weight
    theatre.colours.away = True
    theatre.look()
    assert theatre.of().message == "the API server does not answer"
    assert theatre.routed.weight == weight
    theatre.colours.away = False
    theatre.until("Completed")


def test_what_redis_forgot_is_told_again(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    weight = theatre.routed.weight
    theatre.redis.flushall()
    theatre.look()
    assert theatre.routed.weight == weight


# -- the recommender itself --------------------------------------------------------------------------------------------


def test_the_first_colour_is_the_champion(theatre: Theatre) -> None:
    theatre.colours.running, theatre.recommender = {}, RecommenderStatus().model_dump_json()
    theatre.create()
    for _ in range(4):
        theatre.look()
    assert theatre.status.active == ActiveColour(colour="blue", version="1", template="t1")
    assert theatre.routed.stable.version == "tastemaker/1"
    theatre.until("Completed")


def test_without_a_champion_it_waits_and_says_how_to_train_one(theatre: Theatre, tmp_path: Path) -> None:
    theatre.colours.running, theatre.recommender = {}, RecommenderStatus().model_dump_json()
    theatre.registry = Registry(Settings(home=tmp_path))
    theatre.create()
    theatre.look()
    assert theatre.status.phase == "WaitingForModel"
    assert "tastemaker train" in theatre.status.message
    assert theatre.of().phase == "Pending"


def test_a_changed_specification_goes_through_the_idle_colour(theatre: Theatre) -> None:
    theatre.look()
    theatre.colours.template = "t2"
    theatre.look()
    assert theatre.status.phase == "Updating"
    theatre.create()
    for _ in range(4):
        theatre.look()
        assert theatre.of().phase == "Pending"
    assert theatre.status.active == ActiveColour(colour="green", version="1", template="t2")
    assert theatre.routed.stable.colour == "green"
    assert theatre.until("Completed").colour == "blue"
    assert theatre.colours.running == {"blue": "2"}


def test_a_specification_that_does_not_work_leaves_the_old_colour_serving(theatre: Theatre) -> None:
    theatre.look()
    theatre.colours.template, theatre.colours.ready, theatre.colours.failure = "t2", False, "no such image"
    for _ in range(5):
        theatre.look()
    assert theatre.status.phase == "Failed"
    assert "no such image" in theatre.status.message
    assert theatre.colours.running == {"blue": "1"}
    theatre.colours.template, theatre.colours.ready, theatre.colours.failure = "t3", True, ""
    for _ in range(10):
        theatre.look()
    assert theatre.status.active == ActiveColour(colour="green", version="1", template="t3")


def test_a_specification_that_changes_during_a_rollout_waits_for_its_end(theatre: Theatre) -> None:
    theatre.create()
    theatre.until("Progressing")
    theatre.colours.template = "t2"
    theatre.until("Completed")
    assert theatre.status.active == ActiveColour(colour="green", version="2", template="t1")
    for _ in range(10):
        theatre.look()
    assert theatre.status.active == ActiveColour(colour="blue", version="2", template="t2")


# -- what it asks ------------------------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """A colour's Recommender and a Prometheus in one."""

    status = 200
    result: ClassVar[list[Any]] = []
    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        Answers.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self._answer(b"")

    def do_GET(self) -> None:
        Answers.bodies.append(self.path.encode())
        self._answer(
            json.dumps({"status": "success", "data": {"resultType": "vector", "result": self.result}}).encode()
        )

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _answer(self, body: bytes) -> None:
        self.send_response(Answers.status)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def answering() -> Iterator[str]:
    Answers.status, Answers.bodies, Answers.result = 200, [], []
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_recent_requests_are_replayed_before_anyone_sees_the_colour(theatre: Theatre, answering: str) -> None:
    theatre.colours.url = answering
    for body in (b"one", b"two"):
        meter.remember(theatre.redis, body)
    theatre.create()
    Answers.status = 500
    theatre.until("Warming")
    theatre.look()
    assert theatre.of().phase == "Warming"
    Answers.status, Answers.bodies = 200, []
    theatre.look()
    assert theatre.of().phase == "Shadow"
    assert Answers.bodies == [b"two", b"one"]


def test_a_colour_that_does_not_answer_recent_requests_is_given_up(theatre: Theatre, answering: str) -> None:
    theatre.colours.url = answering
    meter.remember(theatre.redis, b"one")
    theatre.create()
    Answers.status = 500
    found = theatre.until("RolledBack", looks=90)
    assert found.reason == "WarmingFailed"
    assert "500" in found.message


def test_a_query_out_of_bounds_ends_it_and_one_without_result_holds_it(theatre: Theatre, answering: str) -> None:
    theatre.prometheus_url = answering
    theatre.create(queries=[{"name": "q", "query": 'x{colour="$colour"}', "max": 1}])
    theatre.until("Progressing")
    for _ in range(15):
        theatre.look()
    assert (theatre.of().phase, theatre.of().step) == ("Progressing", 0)
    assert "query q has no result" in theatre.of().message
    assert b"green" in Answers.bodies[-1]
    Answers.result = [{"metric": {}, "value": [0, "1.5"]}]
    found = theatre.until("RollingBack")
    assert (found.reason, found.message) == ("QueryOutOfBounds", "query q is 1.5, above 1")


def test_coverage_is_asked_of_the_registry_and_judged_at_a_steps_end(theatre: Theatre) -> None:
    theatre.create(guardrails={"minRequests": 50, "minCoverage": 0.5})
    found = theatre.until("RolledBack")
    assert found.reason == "LowCoverage"
    assert "30 of 100 items" in found.message
