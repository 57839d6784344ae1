"""What parts say, gathered."""

from collections.abc import Callable

import pytest

from benchmarks.parts import Bench, Message
from benchmarks.rows import Row


@pytest.fixture
def said() -> list[Message]:
    return []


@pytest.fixture
def bench(said: list[Message]) -> Bench:
    return Bench("part", True, said.append)


@pytest.fixture
def row() -> Callable[..., Row]:
    """A row of the part that its name begins with."""

    def make(name: str = "load_lone_job", value: float = 1.0, goal: float | None = None, better: str = "lower") -> Row:
        return Row(name, value, "s", goal, better)  # type: ignore[arg-type]

    return make
