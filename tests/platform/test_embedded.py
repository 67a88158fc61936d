from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from tastemaker import embedded
from tastemaker.config import Settings
from tastemaker.errors import Conflict, Unavailable

STARTER = """
import sys, time
from pathlib import Path
from tastemaker import embedded
from tastemaker.config import Settings
with embedded.server(Settings(home=Path(sys.argv[1]))) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def remember(url: str, value: str) -> None:
    with Redis.from_url(url) as redis:
        redis.set("kept", value)


def recalled(url: str) -> str:
    with Redis.from_url(url) as redis:
        return str(redis.get("kept").decode())


def server_pid(url: str) -> int:
    with Redis.from_url(url) as redis:
        return int(redis.info("server")["process_id"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_data_outlive_the_server(settings: Settings) -> None:
    with embedded.server(settings) as url:
        remember(url, "yes")
    with embedded.server(settings) as url:
        assert recalled(url) == "yes"


def test_data_survive_a_server_that_was_killed(settings: Settings) -> None:
    with embedded.server(settings) as url:
        remember(url, "yes")
        time.sleep(1.2)  # appendfsync everysec
        os.kill(server_pid(url), signal.SIGKILL)
    with embedded.server(settings) as url:
        assert recalled(url) == "yes"


def test_others_find_the_running_server(settings: Settings) -> None:
    with pytest.raises(Unavailable, match=r"tastemaker serve"):
        embedded.connect_url(settings)
    with embedded.server(settings) as url:
        assert embedded.connect_url(settings) == url
    with pytest.raises(Unavailable):
        embedded.connect_url(settings)


def test_a_second_user_joins_and_leaves_the_server_running(settings: Settings) -> None:
    with embedded.server(settings) as first:
        with embedded.server(settings) as second:
            assert second == first
        assert embedded.connect_url(settings) == first


def test_a_server_whose_starter_died_is_used_and_then_stopped(settings: Settings) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(settings.home)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        orphan = starter.stdout.readline().strip()
        starter.kill()
    with embedded.server(settings) as url:
        assert url == orphan
    with pytest.raises(Unavailable):
        embedded.connect_url(settings)
    with embedded.server(settings) as url:
        assert url != orphan


def test_a_configured_url_is_used_as_it_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url="redis://elsewhere:6379/0")
    with embedded.server(settings) as url:
        assert url == embedded.connect_url(settings) == "redis://elsewhere:6379/0"
    assert not (tmp_path / "redis").exists()


def test_only_this_user_reads_the_password(settings: Settings) -> None:
    with embedded.server(settings) as url:
        directory = settings.home / "redis"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {(directory / name).stat().st_mode & 0o777 for name in ("url", "server.conf")} == {0o600}
        password = url.split("@")[0].removeprefix("redis://:")
        assert password not in Path(f"/proc/{server_pid(url)}/cmdline").read_text()


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.socket() as squatter:
        squatter.bind((embedded.HOST, 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with (
            pytest.raises(Conflict, match=rf"port {port} on 127.0.0.1 is taken. Stop"),
            embedded.server(settings, port),
        ):
            pass


def test_a_file_in_the_place_of_the_directory_is_named(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "redis").write_text("")
    with pytest.raises(Conflict, match=r"home/redis: File exists. Move away"), embedded.server(settings):
        pass


def test_damaged_data_are_named_with_the_way_out(settings: Settings) -> None:
    with embedded.server(settings) as url:
        remember(url, "yes")
    for manifest in (settings.home / "redis" / "appendonlydir").glob("*.manifest"):
        manifest.write_text("nonsense\n")
    with (
        pytest.raises(Conflict, match=r"stopped at once: .*manifest.*damaged data can be removed"),
        embedded.server(settings),
    ):
        pass


def test_a_lock_without_a_server_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_S", 0.2)
    (settings.home / "redis").mkdir(parents=True)
    lock = embedded._lock(settings.home / "redis" / "lock")
    assert lock is not None
    try:
        with pytest.raises(Conflict, match=r"no server answers. Find it with `fuser"), embedded.server(settings):
            pass
    finally:
        os.close(lock)


def test_a_recorded_url_of_a_dead_server_does_no_harm(settings: Settings) -> None:
    with embedded.server(settings) as url:
        stale = url
    (settings.home / "redis" / "url").write_text(stale)
    with embedded.server(settings) as url:
        assert url != stale
        assert embedded.connect_url(settings) == url
