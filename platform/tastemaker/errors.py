"""Every error that a person may see.

    TastemakerError
    ├── InvalidInput        400   what was sent cannot be used
    ├── Unauthorized        401   the caller did not say who they are
    ├── NotFound            404   nothing of that name
    ├── Conflict            409   the state on disk or a port is taken, half-made or of another version
    ├── BundleMismatch      409   the parts of a model bundle do not belong together
    └── Unavailable         503   a dependency does not answer

Each message is one line: what is wrong, where, and what to do. Commands print it and exit with code 2.
"""

from __future__ import annotations


class TastemakerError(Exception):
    """Base of all errors with a remedy. `status` is the HTTP status that the edge answers with."""

    status = 500

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}. {remedy}" if remedy else problem)


class InvalidInput(TastemakerError):  # noqa: N818
    """What was sent cannot be used."""

    status = 400


class Unauthorized(TastemakerError):  # noqa: N818
    """The caller did not say who they are, or may not do this."""

    status = 401


class NotFound(TastemakerError):  # noqa: N818
    """Nothing of that name."""

    status = 404


class Conflict(TastemakerError):  # noqa: N818
    """Something on disk or a port is taken, half-made, or of another version."""

    status = 409


class BundleMismatch(Conflict):
    """The parts of a model bundle do not belong together, or do not fit this installation."""


class Unavailable(TastemakerError):  # noqa: N818
    """A dependency does not answer."""

    status = 503
