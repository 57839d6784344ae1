"""The import rules of docs/architecture.md hold, by contract and in a fresh interpreter."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(code: str) -> str:
    """Run code in a fresh interpreter at the root of the repository."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def loaded_by(module: str, suspects: set[str]) -> set[str]:
    """Which of the suspects are loaded after importing a module."""
    return set(python(f"import sys, {module}; print(*({suspects!r} & set(sys.modules)))").split())


def test_import_contracts_are_kept():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    outcome = subprocess.run([lint_imports], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert outcome.returncode == 0, outcome.stdout


def test_gateway_loads_neither_torch_nor_the_model():
    assert loaded_by("server.app", {"torch", "model", "workers", "training"}) == set()


def test_scheduler_loads_neither_torch_nor_redis():
    assert loaded_by("workers.scheduler", {"torch", "redis"}) == set()


def test_canvas_loads_nothing_but_the_standard_library():
    assert loaded_by("canvas.grid, canvas.order, canvas.plan", {"torch", "numpy", "pydantic", "redis"}) == set()


def test_help_loads_no_framework_so_it_answers_at_once():
    assert loaded_by("cli.main", {"torch", "fastapi", "redis", "model", "training"}) == set()


def packages_on_disk() -> set[str]:
    roots = {name.split(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    return {
        str(init.parent.relative_to(ROOT)).replace("/", ".")
        for root in roots
        for init in (ROOT / root).rglob("__init__.py")
    }


def test_every_package_is_installed():
    assert packages_on_disk() == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("package", sorted(packages_on_disk()))
def test_init_files_stay_empty(package):
    assert (ROOT / package.replace(".", "/") / "__init__.py").read_text() == ""
