"""Who may write. Readers are the team's own front ends; writers show a key as soon as others can reach the port."""

from __future__ import annotations

import hmac
import ipaddress

from pydantic import SecretStr

from tastemaker.config import Edge
from tastemaker.errors import InvalidInput, Unauthorized


def check_exposure(edge: Edge) -> None:
    """Refuse to listen beyond this machine without a key.

    Raises:
        InvalidInput: `edge.host` is not a loopback address and `edge.api_key` is not set.
    """
    if edge.api_key is None and not _is_loopback(edge.host):
        raise InvalidInput(
            f"edge.host is {edge.host!r}, which others can reach, and edge.api_key is not set",
            "Set TASTEMAKER_EDGE__API_KEY, or listen on 127.0.0.1",
        )


def authorize_writer(authorization: str | None, key: SecretStr | None) -> None:
    """Check the `Authorization` header of a writer.

    Raises:
        Unauthorized: a key is configured and the header does not carry it.
    """
    if key is None:
        return
    expected = f"Bearer {key.get_secret_value()}"
    if not hmac.compare_digest((authorization or "").encode(), expected.encode()):
        raise Unauthorized(
            "this call needs the API key", "Send `Authorization: Bearer KEY` with the key of edge.api_key"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
