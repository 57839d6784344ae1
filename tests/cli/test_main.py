"""The command line explains itself, and says in one line what is wrong."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
PASSED_ON = ("train", "evaluate")  # their help is that of training


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`nuwa` in a process of its own, without a Redis from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUWA_", "REDIS_"))}
    command = [sys.executable, "-m", "cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=60)


def test_the_commands_are_those_of_the_documents():
    assert COMMANDS == ["evaluate", "gateway", "generate", "models", "pyramid", "serve", "train", "worker"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in PASSED_ON])
def test_help_of_each_command_says_what_it_does_and_shows_an_example(command):
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"Example: .*nuwa {command}", " ".join(shown.output.split()))


def test_help_lists_all_commands_and_where_to_begin():
    shown = CliRunner().invoke(app, ["--help"])
    assert all(f" {command} " in shown.output for command in COMMANDS)
    assert "Begin with nuwa serve" in shown.output


def test_a_picture_becomes_a_pyramid_and_what_is_no_png_is_named(tmp_path):
    picture, broken = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (700, 300), "teal").save(picture)
    broken.write_text("no picture")
    assert CliRunner().invoke(app, ["pyramid", str(picture)]).exit_code == 0
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    outcome = run("pyramid", str(broken))
    assert outcome.returncode == 1
    assert "b.png is no whole PNG" in outcome.stderr
    assert not (tmp_path / "b.tif").exists()


def test_help_answers_at_once():
    started = time.monotonic()
    assert run("--help").returncode == 0
    assert time.monotonic() - started < 10  # loading torch alone takes as long on a busy machine


def test_a_taken_port_is_named_with_the_way_to_choose_another(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run("serve", "--no-open", "--port", str(port), "--data", str(tmp_path))
    assert outcome.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use" in outcome.stderr
    assert "--port" in outcome.stderr
    assert "make serve PORT=" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_a_role_without_redis_says_what_to_set(role):
    outcome = run(role, "--engine", "tile") if role == "worker" else run(role, "--port", "0")
    assert outcome.returncode == 1
    assert "REDIS_URL is not set" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_wrong_setting_stops_the_start_and_is_named(tmp_path):
    outcome = run("serve", "--no-open", "--port", "0", "--data", str(tmp_path), NUWA_LEASE_S="soon")
    assert outcome.returncode == 1
    assert "NUWA_LEASE_S=soon" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_worker_check_fails_where_redis_is_away():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = run("worker", "--check", REDIS_URL=f"redis://127.0.0.1:{port}")
    assert outcome.returncode == 1
    assert "Traceback" not in outcome.stderr
