"""`nuwa serve` starts everything, keeps it running, and leaves nothing behind."""

import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app

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


def test_ctrl_c_ends_everything_in_order_and_the_picture_goes_on_at_the_next_start(serve):
    served = serve()
    path = served.submit(**PICTURE)
    children = served.children()
    assert len(children) == 3, children
    with httpx.stream("GET", f"{served.url}{path}/events") as watching:
        next(line for line in watching.iter_lines() if line == "event: patch")
        started = time.monotonic()
        assert served.stop(signal.SIGINT) == 0
    assert time.monotonic() - started < 15
    assert alive(children) == []
    assert "Traceback" not in served.said
    assert "rror" not in served.said

    again = serve()
    again.wait_for(lambda: again.job(path)["status"] == "succeeded", "the picture is finished")
    kinds = [line for line in httpx.get(f"{again.url}{path}/events").text.splitlines() if line.startswith("event: job")]
    assert kinds == ["event: job.queued", "event: job.started", "event: job.resumed", "event: job.finished"]


def test_each_process_that_is_killed_is_replaced_and_a_killed_serve_leaves_none_behind(serve):
    served = serve(NUWA_LEASE_S="3", NUWA_HEARTBEAT_S="1")
    path = served.submit(**PICTURE)
    served.wait_for(lambda: served.job(path)["patches_done"] >= 4, "patches appear")
    os.kill(served.child("cli.main worker"), signal.SIGKILL)
    served.wait_for(lambda: served.job(path)["status"] == "succeeded", "the picture is finished")
    assert "The worker was ended by SIGKILL; it is started again in 0.5 s." in served.said

    for words in ("cli.main gateway", "redis-server"):
        killed = served.child(words)
        os.kill(killed, signal.SIGKILL)
        served.wait_for(lambda words=words, killed=killed: served.other_child(words, killed), f"another {words} runs")
    served.wait_for(served.is_ready, "ready again")
    assert served.job(path)["status"] == "succeeded"

    children = served.children()
    served.stop(signal.SIGKILL)
    served.wait_for(lambda: not alive(children), "all are gone", 15)


def test_a_picture_drawn_here_is_the_same_file_as_from_the_server_that_lists_its_model(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("NUWA_ENGINE", "tile")
    served = serve()
    words = ["generate", "hills at noon", "--width", "200", "--height", "100", "--seed", "5"]
    for name, where in (("here.png", []), ("there.png", ["--server", served.url])):
        outcome = CliRunner().invoke(app, [*words, "-o", str(tmp_path / name), *where], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()

    refused = CliRunner().invoke(app, [*words, "--width", "60000", "--height", "60000", "--server", served.url])
    assert refused.exit_code == 1
    assert "must be at most 80000000 pixels" in refused.output

    shown = CliRunner().invoke(app, ["models", "--server", served.url], catch_exceptions=False)
    assert "tile (default)" in shown.output
