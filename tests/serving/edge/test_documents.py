"""What holds for every call of the API, whoever added it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import free_port, listening, settings_for


@pytest.fixture(scope="module")
def url(bundle_path: Path) -> Iterator[str]:
    """An edge that nobody may use without a key."""
    settings = settings_for(free_port(), api_key="secret", open_reads=False)
    with listening(settings, bundle_path, f"redis://127.0.0.1:{free_port()}") as url:
        yield url


@pytest.fixture(scope="module")
def operations(url: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each call."""
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    return [(method, path, said) for path, methods in paths.items() for method, said in methods.items()]


def test_every_call_has_an_example_and_a_description(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    for method, path, said in operations:
        assert said["description"], (method, path)
        for status, answer in said["responses"].items():
            assert all("example" in kind for kind in answer["content"].values()), (method, path, status)
        for kind in said.get("requestBody", {"content": {}})["content"].values():
            assert "example" in kind, (method, path)


def test_every_call_of_the_api_needs_a_key_and_says_so(
    url: str, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    guarded = [it for it in operations if it[1].startswith("/v1/")]
    assert len(guarded) >= 12
    for method, path, said in guarded:
        assert {"401", "403", "429"} <= said["responses"].keys(), (method, path)
        assert "Retry-After" in said["responses"]["429"]["headers"]
        refused = httpx.request(method, url + path.replace("{", "").replace("}", ""))
        assert refused.status_code == 401, (method, path)
        assert refused.json()["remedy"]


def test_a_url_that_is_too_long_is_refused_like_everything_else(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", f"/v1/trending?category={'x' * 70_000}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert "65,535" in json.loads(answer.read())["remedy"]
    connection.close()
