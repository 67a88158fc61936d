"""`tastemaker keys …`: who may use the HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from redis import Redis
from rich.console import Console
from rich.table import Table

from tastemaker import config
from tastemaker import keys as api_keys
from tastemaker.embedded import connect_url
from tastemaker.errors import InvalidInput
from tastemaker.keys import SCOPES, Key

keys = typer.Typer(
    help="API keys and their scopes: read (slates, lists, search), write (events, profiles, preferences), admin (all).",
    no_args_is_help=True,
)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@keys.command()
def create(
    scopes: Annotated[list[str], typer.Option("--scope", help=f"{', '.join(SCOPES)}; repeat for several.")],
    note: Annotated[str, typer.Option(help="Who holds it, for the list.")] = "",
    rate_limit: Annotated[
        float | None, typer.Option(help="Requests per second at one edge; by default edge.rate_limit.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    try:
        secret, key = api_keys.make(scopes, datetime.now(UTC), note, rate_limit)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"no such key: {error}", f"Scopes are {', '.join(SCOPES)}; a rate is above 0") from error
    with _redis() as redis:
        api_keys.add(redis, key)
    if as_json:
        print(json.dumps({"key_id": key.key_id, "key": secret, "scopes": key.scopes}))
        return
    print(secret)
    Console(stderr=True).print(f"Key {key.key_id} may {', '.join(key.scopes)}. It is not shown again.")


@keys.command("list")
def list_keys(as_json: JSON = False) -> None:
    """List the keys, revoked ones included, oldest first."""
    with _redis() as redis:
        found = api_keys.known(redis)
    if as_json:
        print(json.dumps([_row(key) for key in found]))
        return
    table = Table("key", "scopes", "note", "rate", "made", "revoked")
    for key in found:
        rate = "" if key.rate_limit is None else f"{key.rate_limit:g}/s"
        made, revoked = (f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (key.created_at, key.revoked_at))
        table.add_row(key.key_id, ", ".join(key.scopes), key.note, rate, made, revoked)
    Console().print(table if found else "No key yet. Make one with `tastemaker keys create --scope write`.")


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """Revoke a key for good. Edges refuse it within seconds."""
    with _redis() as redis:
        api_keys.revoke(redis, key_id, datetime.now(UTC))
    print(f"Key {key_id} is revoked.")


@keys.command()
def export() -> None:
    """Print the hashes as JSON for `edge.keys_file`, which edges know keys by while Redis is away."""
    with _redis() as redis:
        print(api_keys.encode_file(api_keys.known(redis)).decode())


@contextmanager
def _redis() -> Iterator[Redis]:
    with Redis.from_url(connect_url(config.load())) as redis:
        yield redis


def _row(key: Key) -> dict[str, object]:
    fields = msgspec.to_builtins(key)
    del fields["digest"]
    return dict(fields)
