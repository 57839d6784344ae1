"""`nuwa serve` starts everything, keeps it running, and leaves nothing behind."""

import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

PICTURE = {"prompt": "hills", "width": 512, "height": 512, "seed": 3}


def alive(processes) -> list[int]:
    """Those that still run; one that has ended and waits to be noticed does not."""

    def runs(process: int) -> bool:
        status = Path(f"/proc/{process}/status")
        return status.exists() and "State:\tZ" not in status.read_text()

    return [process for process in processes if runs(process)]


def test_ctrl_c_ends_everything_in_order_while_a_picture_is_drawn_and_watched(serve):
    served = serve()
    path = served.submit(**PICTURE)
    children = served.children()
    assert len(children) == 3, children
    with httpx.stream("GET", f"{served.url}{path}/events") as watching:
        next(watching.iter_lines())
        started = time.monotonic()
        assert served.stop(signal.SIGINT) == 0
    assert time.monotonic() - started < 15
    assert alive(children) == []
    assert "Traceback" not in served.said
    assert "rror" not in served.said


def test_an_unfinished_picture_goes_on_at_the_next_start(serve):
    served = serve()
    path = served.submit(**PICTURE)
    served.wait_for(lambda: served.job(path)["patches_done"] >= 4, "patches appear")
    served.stop()
    again = serve()
    again.wait_for(lambda: again.job(path)["status"] == "succeeded", "the picture is finished")
    kinds = [line for line in httpx.get(f"{again.url}{path}/events").text.splitlines() if line.startswith("event: job")]
    assert kinds == ["event: job.queued", "event: job.started", "event: job.resumed", "event: job.finished"]


def test_a_killed_worker_is_replaced_and_its_picture_finished(serve):
    served = serve(NUWA_LEASE_S="3", NUWA_HEARTBEAT_S="1")
    path = served.submit(**PICTURE)
    served.wait_for(lambda: served.job(path)["patches_done"] >= 4, "patches appear")
    os.kill(served.child("cli.main worker"), signal.SIGKILL)
    served.wait_for(lambda: served.job(path)["status"] == "succeeded", "the picture is finished")
    assert "The worker was ended by SIGKILL; it is started again in 0.5 s." in served.said


def test_a_killed_gateway_and_a_killed_redis_are_replaced(serve):
    served = serve()
    for words in ("cli.main gateway", "redis-server"):
        killed = served.child(words)
        os.kill(killed, signal.SIGKILL)
        served.wait_for(
            lambda words=words, killed=killed: any(
                words in args and pid != killed for pid, args in served.children().items()
            ),
            f"another {words} runs",
        )

    def is_ready() -> bool:
        try:
            return httpx.get(f"{served.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    served.wait_for(is_ready, "ready again")


def test_a_killed_serve_leaves_no_process_behind(serve):
    served = serve()
    children = served.children()
    served.stop(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while alive(children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(children) == []


def test_pictures_drawn_here_and_by_the_server_are_the_same_file(serve, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from cli.main import app

    monkeypatch.setenv("NUWA_ENGINE", "tile")
    served = serve()
    words = ["generate", "hills at noon", "--width", "200", "--height", "100", "--seed", "5"]
    for name, where in (("here.png", []), ("there.png", ["--server", served.url])):
        outcome = CliRunner().invoke(app, [*words, "-o", str(tmp_path / name), *where], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()


def test_models_of_a_running_server_are_listed(serve):
    from typer.testing import CliRunner

    from cli.main import app

    shown = CliRunner().invoke(app, ["models", "--server", serve().url], catch_exceptions=False)
    assert "tile (default)" in shown.output
