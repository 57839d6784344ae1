"""A part runs in a process of its own, and whatever befalls it is told."""

import importlib
import os
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.parts import PARTS, Failed, Step, Total, run_part
from benchmarks.rows import Row


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are parts of the package `made_up`."""
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def run(part: str, limit_s: float = 60.0) -> list[object]:
    said: list[object] = []
    run_part(part, True, said.append, limit_s, package="made_up")
    return said


def test_a_part_tells_its_rows_and_its_progress(parts):
    (parts / "good.py").write_text(
        "def measure(bench):\n    bench.total(1)\n    bench.row('time', 2, 's', 'lower', 3)\n    bench.step()\n"
    )
    assert run("good") == [Total(1), Row("good_time", 2.0, "s", 3, "lower"), Step()]


def test_a_part_that_raises_keeps_what_it_found_and_says_why(parts):
    (parts / "bad.py").write_text(
        "def measure(bench):\n    bench.row('time', 2, 's', 'lower')\n    raise OSError('no luck')\n"
    )
    assert run("bad") == [Row("bad_time", 2.0, "s", None, "lower"), Failed("OSError: no luck")]


def test_a_part_whose_process_dies_is_reported(parts):
    (parts / "dead.py").write_text("import os, signal\ndef measure(bench):\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert run("dead") == [Failed("its process was ended by SIGSEGV")]


def test_a_part_that_hangs_is_ended_with_all_that_it_started(parts):
    (parts / "slow.py").write_text(
        "import subprocess, time\ndef measure(bench):\n    child = subprocess.Popen(['sleep', '600'])\n"
        "    bench.row('child', child.pid, '', 'lower')\n    time.sleep(600)\n"
    )
    (child, failed) = run("slow", limit_s=5.0)
    assert failed == Failed("not done after 5 s")
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(child.value)) and psutil.Process(int(child.value)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_module_that_measures(part):
    assert callable(importlib.import_module(f"benchmarks.{part}").measure)


def test_python_m_benchmarks_refuses_a_part_that_does_not_exist():
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks", "--only", "nothing"]
    outcome = subprocess.run(command, cwd=root, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert outcome.returncode == 2
    assert "there is no part nothing" in outcome.stderr
