"""A client that waits and one for asyncio: the same calls, sent in two ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, overload

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity import wait_exponential_jitter as backoff

from tastemaker.answers import Problem
from tastemaker.client import calls
from tastemaker.client.calls import Call
from tastemaker.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TastemakerError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)

TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 3
LONGEST_WAIT_S: Final = 10.0

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_ERRORS: Final = {
    kind.status: kind
    for kind in (Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unauthorized, Unavailable, UnsupportedMedia)
}
_backoff = backoff(initial=0.1, max=LONGEST_WAIT_S, jitter=0.1)


class NoConnection(Unavailable):
    """Nobody said when to try again."""

    retry_after_s = None


class Now(Generic[Parameters, Answer]):
    """A call as a method that waits for its answer."""

    def __init__(self, call: Callable[Parameters, Call[Answer]]) -> None:
        self._call = call
        self.__doc__ = call.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[Parameters, Answer]: ...
    def __get__(self, client: Client | None, owner: type) -> Self | Callable[Parameters, Answer]:
        if client is None:
            return self

        def method(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
            return client.ask(self._call(*args, **kwargs))

        return method


class Later(Generic[Parameters, Answer]):
    """A call as a method that is awaited."""

    def __init__(self, call: Callable[Parameters, Call[Answer]]) -> None:
        self._call = call
        self.__doc__ = call.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[Parameters, Awaitable[Answer]]: ...
    def __get__(self, client: AsyncClient | None, owner: type) -> Self | Callable[Parameters, Awaitable[Answer]]:
        if client is None:
            return self

        def method(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Awaitable[Answer]:
            return client.ask(self._call(*args, **kwargs))

        return method


class Client:
    """The API at `url`. Use it as a context manager, or `close` it; threads may share it.

    Args:
        key: of `tastemaker keys create`; needed for what is not open.
        timeout_s: of one attempt.
        attempts: how often a call is tried where it may succeed later.
        transport: in place of a connection, for tests.

    Every call raises a `TastemakerError`: `InvalidInput` (400), `Unauthorized`, `Forbidden`, `NotFound`, `TooLarge`,
    `TooManyRequests`, `Unavailable` (also without a connection), each with the problem and the remedy.
    """

    recommend = Now(calls.recommend)
    continue_session = Now(calls.continue_session)
    similar = Now(calls.similar)
    trending = Now(calls.trending)
    search = Now(calls.search)
    send = Now(calls.send)
    put_profile = Now(calls.put_profile)
    put_preferences = Now(calls.put_preferences)
    erase_user = Now(calls.erase_user)
    put_items = Now(calls.put_items)
    remove_item = Now(calls.remove_item)
    explain = Now(calls.explain)
    readiness = Now(calls.readiness)

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport)
        self._retrying = Retrying(**_policy(attempts))

    def ask(self, call: Call[Answer]) -> Answer:
        """Send a call, again where that may help, and return its answer."""
        # A copy, since it keeps the state of its tries.
        answer: Answer = self._retrying.copy()(self._try, call)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _try(self, call: Call[Answer]) -> Answer:
        try:
            return _answer(call, self._http.request(**_request(call)))
        except httpx.TransportError as error:
            raise _no_connection(error) from error


class AsyncClient:
    """As `Client`, for asyncio."""

    recommend = Later(calls.recommend)
    continue_session = Later(calls.continue_session)
    similar = Later(calls.similar)
    trending = Later(calls.trending)
    search = Later(calls.search)
    send = Later(calls.send)
    put_profile = Later(calls.put_profile)
    put_preferences = Later(calls.put_preferences)
    erase_user = Later(calls.erase_user)
    put_items = Later(calls.put_items)
    remove_item = Later(calls.remove_item)
    explain = Later(calls.explain)
    readiness = Later(calls.readiness)

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport)
        self._retrying = AsyncRetrying(**_policy(attempts))

    async def ask(self, call: Call[Answer]) -> Answer:
        """Send a call, again where that may help, and return its answer."""
        answer: Answer = await self._retrying.copy()(self._try, call)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _try(self, call: Call[Answer]) -> Answer:
        try:
            return _answer(call, await self._http.request(**_request(call)))
        except httpx.TransportError as error:
            raise _no_connection(error) from error


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _policy(attempts: int) -> dict[str, Any]:
    return {
        "retry": retry_if_exception_type((TooManyRequests, Unavailable)),
        "stop": stop_after_attempt(attempts),
        "wait": _wait_s,
        "reraise": True,
    }


def _wait_s(state: RetryCallState) -> float:
    """As long as the API says, else longer from try to try."""
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after_s if isinstance(error, TastemakerError) else None
    return _backoff(state) if told is None else min(told, LONGEST_WAIT_S)


def _request(call: Call[Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} if call.body is not None else {}
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query,
        "content": call.body,
        "headers": headers,
    }


def _answer(call: Call[Answer], response: httpx.Response) -> Answer:
    if response.is_success:
        return msgspec.json.decode(response.content, type=call.answer)
    raise _error(response)


def _error(response: httpx.Response) -> TastemakerError:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(f"{response.url.host} answered {response.status_code}", "See what stands before the edge")
    told = response.headers.get("retry-after", "")
    retry_after_s = float(told) if told.isdecimal() else None
    if response.status_code == TooManyRequests.status:
        return TooManyRequests(problem.error, problem.remedy, 1.0 if retry_after_s is None else retry_after_s)
    error = _ERRORS.get(response.status_code, TastemakerError)(problem.error, problem.remedy)
    error.retry_after_s = retry_after_s
    return error


def _no_connection(error: httpx.TransportError) -> Unavailable:
    return NoConnection(f"the edge does not answer: {str(error) or type(error).__name__}", "See that it runs")
