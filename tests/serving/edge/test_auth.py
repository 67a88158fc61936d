from __future__ import annotations

import pytest
from pydantic import SecretStr

from tastemaker.config import Edge
from tastemaker.errors import InvalidInput, Unauthorized
from tastemaker_serving.edge.auth import authorize_writer, check_exposure

KEY = SecretStr("schlüssel")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(Edge(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_other_hosts_need_one(host: str) -> None:
    with pytest.raises(InvalidInput, match="TASTEMAKER_EDGE__API_KEY"):
        check_exposure(Edge(host=host))
    check_exposure(Edge(host=host, api_key=KEY))


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer wrong", "schlüssel", "Basic schlüssel"])
def test_a_wrong_key_is_refused(sent: str | None) -> None:
    with pytest.raises(Unauthorized):
        authorize_writer(sent, KEY)


def test_the_right_key_passes_and_none_is_asked_where_none_is_set() -> None:
    authorize_writer("Bearer schlüssel", KEY)
    authorize_writer(None, None)
