"""The front door as one ASGI app. Run it with uvicorn, one process per core."""

from __future__ import annotations

import importlib.metadata
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from tastemaker import scenes, telemetry
from tastemaker.answers import Problem
from tastemaker.config import Settings
from tastemaker.errors import TastemakerError, Unauthorized
from tastemaker_serving.edge import (
    catalogue,
    documents,
    explanations,
    heeded,
    routes,
    search,
    sessions,
    shelf,
    state,
    users,
)
from tastemaker_serving.edge.admission import Gate, check_exposure
from tastemaker_serving.edge.measure import Measured
from tastemaker_serving.edge.paths import Encoded
from tastemaker_serving.edge.protocol import Protocol
from tastemaker_serving.edge.traces import Traced

FAMILIES = (routes.router, search.router, sessions.router, users.router, catalogue.router, explanations.router)
"""The HTTP calls, a router for each family of them."""

log = logging.getLogger(__name__)


def run(settings: Settings, bundle_path: Path | None, model_version: str | None, redis_url: str) -> None:
    """Serve the edge until SIGINT or SIGTERM; requests under way are finished first. See `create_app`."""
    uvicorn.run(
        create_app(settings, bundle_path, redis_url, model_version),
        host=settings.edge.host,
        port=settings.edge.port,
        loop="uvloop",
        http=Protocol,
        access_log=False,
        server_header=False,
        log_level=settings.log_level,
    )


def create_app(
    settings: Settings, bundle_path: Path | None, redis_url: str, model_version: str | None = None
) -> Starlette:
    """The edge. It starts and answers whether or not Redis and Ray Serve do.

    Args:
        bundle_path: what answers without Ray come from until a routing document names another version. None: it is not
            ready until there is a routing document, whose version it fetches from the registry.
        model_version: what answers from memory call the bundle; by default what it calls itself.

    Raises:
        InvalidInput: it would listen beyond this machine without an API key, or its keys or scenes cannot be used.
        NotFound, BundleMismatch: the bundle cannot be used.
    """
    check_exposure(settings.edge)
    gate = Gate(settings.edge)
    declared = scenes.load(settings)
    for sentence in heeded.unheeded(declared, settings.edge.cache_ttl_s):
        log.warning("%s", sentence)
    loaded = shelf.load(bundle_path, model_version) if bundle_path else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with state.opened(settings, declared, gate, loaded, redis_url) as edge:
            app.state.edge = edge
            yield
        telemetry.end()

    documented = FastAPI(
        title="Tastemaker",
        version=importlib.metadata.version("tastemaker"),
        summary="Recommendations, and the events they learn from",
        exception_handlers=HANDLERS,
    )
    paths: dict[object, str] = {}
    for family in FAMILIES:
        documented.include_router(family)
        paths |= {route.endpoint: route.path for route in family.routes if isinstance(route, Route)}
    # The call that all cost is in goes around FastAPI, which takes as long for a request as the rest of the edge.
    traced = [Middleware(Traced, paths=paths)] if telemetry.begin(settings, "tastemaker-edge") else []
    app = Starlette(
        routes=[Route(routes.RECOMMENDATIONS, routes.get_recommendations)],
        middleware=[Middleware(Encoded), Middleware(Measured, paths=paths), *traced],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    # Not mounted: what is mounted sees no path with a line break in it, which an id may have.
    app.router.default = documented
    app.router.redirect_slashes = False
    documented.state = app.state
    documents.narrow(documented.openapi(), scenes=list(declared), event_types=sorted(settings.event_types))
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TastemakerError)
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return _problem(error.status, Problem(error.problem, error.remedy), headers)


async def _no_such_call(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path:.80}: {error.detail.lower()}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of one handler only; a path may have several.
        headers["Allow"] = ", ".join(_methods_of(request))
    return _problem(error.status_code, Problem(what, "The calls are listed at /docs"), headers)


def _methods_of(request: Request) -> list[str]:
    """The methods of all calls at the path of a request."""
    handlers = (route for family in FAMILIES for route in family.routes if isinstance(route, Route))
    here = (route.methods or () for route in handlers if route.matches(request.scope)[0] is not Match.NONE)
    return sorted(set(chain.from_iterable(here)))


async def _broken(request: Request, error: Exception) -> Response:
    """The server's log has the trace."""
    return _problem(500, Problem("the edge failed on this request", "Report it with the edge's log"))


def _problem(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(problem), status, headers, media_type="application/json")


HANDLERS: dict[Any, Any] = {TastemakerError: _refused, HTTPException: _no_such_call, Exception: _broken}
