"""Rollouts of `tastemaker serve`: the colours are processes side by side, and this process leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tastemaker.config import Settings
from tastemaker.registry import Registry
from tastemaker.rollout import local, routing
from tastemaker.rollout.resources import FINAL, Colour, Transition
from tastemaker.rollout.routing import Routing, Target
from tastemaker.rollout.world import Readiness, Rollout, World
from tastemaker_serving.programs import Program, Programs, answers

REDIS_TIMEOUT_S = 1.0
LOOK_S = 1.0
DRAIN_S = 3.0
"""From a colour's last request to its end; edges hear of a change at once, and no request takes longer."""
LARGEST_PORT = 65_535


class ProcessColours:
    """Colours as programs: blue on `serving.port`, green beside it."""

    def __init__(self, settings: Settings, programs: Programs, bundle: Path, version: str) -> None:
        self._settings = settings
        self._programs = programs
        self._bundles = {_number(version): (bundle, version)}
        self._colours: dict[Colour, tuple[str, Program]] = {}
        self._served: set[int] = set()
        self._client = httpx.Client()
        self._registry: Registry | None = None

    @property
    def template(self) -> str:
        """Every colour of a laptop is made alike."""
        return local.TEMPLATE

    @property
    def registry(self) -> Registry:
        """The model registry, opened when a rollout first asks: its client takes seconds to import."""
        if self._registry is None:
            self._registry = Registry(self._settings)
        return self._registry

    def bring_up(self, colour: Colour, version: str) -> None:
        """Start the colour; one that runs another version ends first."""
        running = self._colours.get(colour)
        if running is not None and running[0] == version:
            return
        self.take_down(colour)
        program = self._program(colour, version)
        if not self._programs.leaves(program.name):  # it holds the port until it is gone
            self._colours[colour] = version, program
            self._programs.start(program)

    def look(self, colour: Colour) -> Readiness:
        """Ready is a colour that answers; one that died before it ever did has failed."""
        running = self._colours.get(colour)
        if running is None:
            return Readiness(False, url=self.url(colour))
        program = running[1]
        ready = program.process is not None and answers(f"{self.url(colour)}/healthz", self._client)
        if ready:
            self._served.add(id(program))
        never = id(program) not in self._served
        return Readiness(ready, program.last_words if never else "", self.url(colour))

    def take_down(self, colour: Colour) -> None:
        """Let the colour's process end."""
        running = self._colours.pop(colour, None)
        if running is not None:
            self._served.discard(id(running[1]))
            self._programs.let_go(running[1])

    def url(self, colour: Colour) -> str:
        """Where the colour answers."""
        return f"http://{self._settings.serving.host}:{self._port(colour)}"

    def close(self) -> None:
        """Close connections; the processes are the stack's."""
        self._client.close()

    def _port(self, colour: Colour) -> int:
        port = self._settings.serving.port
        if colour == "blue":
            return port
        return port + 1 if port < LARGEST_PORT else port - 1

    def _program(self, colour: Colour, version: str) -> Program:
        if version not in self._bundles:
            ref = self.registry.resolve(version)
            self._bundles[version] = self.registry.download(ref), str(ref)
        bundle, name = self._bundles[version]
        return Program(
            "models" if colour == "blue" else f"models-{colour}",
            ("serve", "models", "--bundle", str(bundle), "--model-version", name),
            f"{self.url(colour)}/healthz",
            {"TASTEMAKER_SERVING__PORT": str(self._port(colour))},
        )


class Leader:
    """Looks at the rollouts in Redis once a second; without any that is one cheap question."""

    def __init__(self, settings: Settings, redis_url: str, colours: ProcessColours) -> None:
        self._settings = settings
        self._colours = colours
        timeout = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
        self._redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **timeout)
        self._due = 0.0
        self._complaint = ""

    def begin(self, version: str) -> None:
        """Blue serves `version` from now on, whatever an earlier run was about.

        Raises:
            RedisError: Redis does not answer.
        """
        local.begin(self._redis, _number(version))
        routing.write(self._redis, Routing(Target("blue", self._colours.url("blue"), version)))

    def look(self, say: Callable[[str], None]) -> None:
        """Do what is next. Nothing that goes wrong here may end the serving: it is said, and tried again."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_S
        try:
            self._look(say)
            self._complaint = ""
        except RedisError:
            return  # the edges keep their routing, and the rollout its place
        except Exception as error:
            if str(error) != self._complaint:
                say(f"rollouts cannot be led: {error}")
            self._complaint = str(error)

    def close(self) -> None:
        """Close connections."""
        self._redis.close()
        self._colours.close()

    def _look(self, say: Callable[[str], None]) -> None:
        rollouts = local.LocalRollouts(self._redis).all()
        if all(rollout.status.phase in FINAL for rollout in rollouts):
            recommender = local.recommender(self._redis)
            if recommender.rollout is None and recommender.update is None:
                return
        from tastemaker.rollout.lead import reconcile

        world = World(self._colours, self._redis, self._colours.registry, self._settings.model_name, drain_s=DRAIN_S)
        outcome = reconcile(local.recommender(self._redis), rollouts, world)
        local.persist(self._redis, rollouts, outcome)
        for rollout in rollouts:
            _tell(rollout, outcome.rollouts.get(rollout.name, rollout.status).history, say)


def _tell(rollout: Rollout, history: list[Transition], say: Callable[[str], None]) -> None:
    for entry in history[len(rollout.status.history) :]:
        say(f"rollout {rollout.name}: {entry.phase} ({entry.reason}): {entry.message}")


def _number(version: str) -> str:
    return version.rpartition("/")[2]
