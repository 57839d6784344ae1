"""TileEngine: every mistake in contexts, replay or removal shows."""

import numpy as np
import pytest

from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS
from canvas.plan import compile_plan
from workers.tile_engine import TileEngine

PLAN = compile_plan(Grid(1, 3, 3, 16), ORDERS["zeta"], Extent(0, 1, 1))
SEQUENCE = list(ORDERS["zeta"].sequence(PLAN.grid))


@pytest.fixture
def engine(bench) -> TileEngine:
    engine = TileEngine(slots=2, pages=9, patch_px=16, patch_tokens=2)
    engine.start(bench.job("job", 48, 48), PLAN)
    return engine


def draw(engine: TileEngine, count: int) -> list[bytes]:
    return [engine.decode([("job", patch)])[0] for patch in SEQUENCE[:count]]


def test_a_patch_whose_context_is_not_there_cannot_be_drawn(engine: TileEngine) -> None:
    with pytest.raises(KeyError):
        engine.decode([("job", Patch(0, 0, 1))])
    draw(engine, 1)
    engine.remove("job", [Patch(0, 0, 0)])
    with pytest.raises(KeyError):
        engine.decode([("job", Patch(0, 0, 1))])
    with pytest.raises(KeyError):
        engine.remove("job", [Patch(0, 0, 0)])


def test_a_failed_batch_leaves_nothing_behind(engine: TileEngine) -> None:
    with pytest.raises(KeyError):
        engine.decode([("job", Patch(0, 0, 0)), ("job", Patch(0, 0, 1))])
    assert engine.pages_used == 0
    engine.pages = 1
    draw(engine, 1)
    with pytest.raises(RuntimeError, match="all 1 pages"):
        draw(engine, 1)


def test_a_single_wrong_token_far_back_changes_all_later_patches(engine: TileEngine, bench) -> None:
    tokens = draw(engine, 9)
    engine.finish("job")
    engine.start(bench.job("job", 48, 48), PLAN)
    engine.prefill([("job", SEQUENCE[0], bytes(8))])
    assert not set(tokens[1:]) & {engine.decode([("job", patch)])[0] for patch in SEQUENCE[1:]}


def test_prefill_leaves_the_states_that_decode_left(engine: TileEngine, bench) -> None:
    tokens = draw(engine, 9)
    engine.finish("job")
    assert engine.pages_used == 0
    engine.start(bench.job("job", 48, 48), PLAN)
    for patch, known in zip(SEQUENCE[:5], tokens, strict=False):
        engine.prefill([("job", patch, known)])
    assert [engine.decode([("job", patch)])[0] for patch in SEQUENCE[5:]] == tokens[5:]


def test_first_pixels_look_back_only_and_final_pixels_all_around(engine: TileEngine) -> None:
    middle = Patch(0, 1, 1)
    draw(engine, 5)
    first = engine.render("job", middle)
    with pytest.raises(KeyError):
        engine.refine("job", [middle])
    for patch in SEQUENCE[5:]:
        engine.decode([("job", patch)])
    assert np.array_equal(engine.render("job", middle), first)
    final = engine.refine("job", [middle])[0]
    assert final.shape == first.shape == (16, 16, 3)
    assert final.dtype == np.uint8
    assert not np.array_equal(final, first)
    engine.pages = 10
    engine.prefill([("job", Patch(0, 2, 2), b"\xff\x03" * 4)])
    assert not np.array_equal(engine.refine("job", [middle])[0], final), "also the corners are looked at"


def test_high_water_counts_pages_of_all_jobs(engine: TileEngine, bench) -> None:
    engine.start(bench.job("other", 48, 48), PLAN)
    draw(engine, 3)
    engine.decode([("other", SEQUENCE[0])])
    engine.finish("job")
    engine.finish("never known")
    assert (engine.pages_used, engine.high_water) == (1, 4)


def test_a_job_that_can_never_fit_is_refused(engine: TileEngine, bench) -> None:
    with pytest.raises(ValueError, match="more than the pool's 9 pages"):
        engine.start(bench.job("large"), compile_plan(Grid(1, 9, 9, 16), ORDERS["zeta"], Extent(0, 1, 1)))
