"""A worker that has drawn nothing yet knows about how long jobs take to begin, and patches to be drawn."""

from pathlib import Path
from typing import Any

import pytest

from workers.pace import Pace, measured_pace
from workers.tile_engine import TileEngine
from workers.torch_engine import TorchEngine


class Slow(TileEngine):
    """Takes 0.5 s to begin and 0.06 s for a batch, by a clock of its own."""

    now = 0.0

    def start(self, *job: Any) -> None:
        self.now += 0.5
        super().start(*job)

    def decode(self, batch: Any) -> list[bytes]:
        self.now += 0.06
        return super().decode(batch)


def test_the_pace_is_the_time_of_a_beginning_and_of_a_patch_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two by two patches none is ready together with another: each is a batch."""
    engine = Slow(slots=2, pages=40)
    monkeypatch.setattr("workers.pace.time.perf_counter", lambda: engine.now)
    assert measured_pace(engine) == pytest.approx((0.5, 0.06))
    assert (engine.pages_used, engine.high_water) == (0, 4)


def test_the_real_engine_is_empty_after_it_was_measured(weights: Path) -> None:
    engine = TorchEngine(weights, slots=2, pages=64, device="cpu")
    pace = measured_pace(engine)
    assert pace.start is not None
    assert pace.patch is not None
    assert min(pace) > 0
    assert len(engine._decoder.pool) == 0


@pytest.mark.parametrize("pages", [1, 2])
def test_a_pool_that_holds_no_picture_has_no_pace(pages: int) -> None:
    assert measured_pace(TileEngine(slots=2, pages=pages)) == (None, None)


def test_each_batch_moves_the_pace_a_little_and_is_told_to_a_tenth_of_a_millisecond() -> None:
    model = Pace(0.21237, 0.1).after(0.12345).told_of(TileEngine(slots=1, pages=4).model)
    assert (model.start_seconds, model.patch_seconds) == (0.2124, 0.1023)
    assert Pace().after(0.12345).told_of(model).start_seconds is None
