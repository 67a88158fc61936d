"""Every error that a person may see.

    TastemakerError
    ├── InvalidInput        400   what was sent cannot be used
    ├── Unauthorized        401   the caller did not say who they are
    ├── Forbidden           403   the caller is known and may not do this
    ├── NotFound            404   nothing of that name
    ├── Conflict            409   the state on disk or a port is taken, half-made or of another version
    ├── BundleMismatch      409   the parts of a model bundle do not belong together
    ├── TooLarge            413   the body is larger than is taken at once
    ├── UnsupportedMedia    415   the body is not of the kind that is read
    ├── TooManyRequests     429   the caller shall wait
    └── Unavailable         503   a dependency does not answer

Each message is one line: what is wrong, where, and what to do. Commands print it and exit with code 2.
"""

from __future__ import annotations


class TastemakerError(Exception):
    """Base of all errors with a remedy. `status` is the HTTP status that the edge answers with."""

    status = 500
    retry_after_s: float | None = None
    """When to try again; the edge says so in `Retry-After`."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}. {remedy}" if remedy else problem)


class InvalidInput(TastemakerError):  # noqa: N818
    """What was sent cannot be used."""

    status = 400


class Unauthorized(TastemakerError):  # noqa: N818
    """The caller did not say who they are."""

    status = 401


class Forbidden(TastemakerError):  # noqa: N818
    """The caller is known and may not do this."""

    status = 403


class NotFound(TastemakerError):  # noqa: N818
    """Nothing of that name."""

    status = 404


class Conflict(TastemakerError):  # noqa: N818
    """Something on disk or a port is taken, half-made, or of another version."""

    status = 409


class BundleMismatch(Conflict):
    """The parts of a model bundle do not belong together, or do not fit this installation."""


class TooLarge(TastemakerError):  # noqa: N818
    """The body is larger than is taken at once."""

    status = 413


class UnsupportedMedia(TastemakerError):  # noqa: N818
    """The body is not of the kind that is read."""

    status = 415


class TooManyRequests(TastemakerError):  # noqa: N818
    """The caller shall wait for `retry_after_s` seconds."""

    status = 429

    def __init__(self, problem: str, remedy: str, retry_after_s: float) -> None:
        super().__init__(problem, remedy)
        self.retry_after_s = retry_after_s


class Unavailable(TastemakerError):  # noqa: N818
    """A dependency does not answer."""

    status = 503
    retry_after_s: float | None = 1.0
