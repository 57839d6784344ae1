"""The engine that runs a model, driven by real workers; small random weights, since no property depends on them."""

import asyncio
import base64
import random
from pathlib import Path

import numpy as np
import pytest

from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS
from canvas.plan import compile_plan
from jobs.broker.memory import MemoryBroker
from jobs.events import JobStarted
from jobs.job import Job
from jobs.request import Area
from model.config import PRESETS
from workers.images import decode_webp
from workers.torch_engine import TorchEngine


@pytest.fixture
def engine(weights: Path) -> TorchEngine:
    return TorchEngine(weights, slots=2, pages=64, device="cpu")


def job_of(bench, job_id: str = "job", seed: int = 1, order: str = "zeta", prompt: str = "snowy lake") -> Job:
    return bench.job(job_id, 150, 90, seed=seed, order=order, patch_px=32, model="nano", prompt=prompt)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["drawn", "extended", "repainted", "masked", "film", "animated"])
async def test_same_seed_gives_the_same_bytes_alone_beside_others_and_after_kills(
    kind: str, bench, limits, clock, weights
) -> None:
    def fresh() -> TorchEngine:
        return TorchEngine(weights, slots=2, pages=256, device="cpu")

    job = job_of(bench, seed=5)
    if kind == "extended":
        job = bench.extended("job", (50, 30, 40, 60), seed=5, patch_px=32, model="nano", prompt="snowy lake")
    elif kind == "repainted":
        hole = Area(left=20, top=10, width=30, height=25)
        job = bench.extended("job", repaint=hole, seed=5, patch_px=32, model="nano", prompt="snowy lake")
    elif kind == "masked":
        mask = np.zeros((45, 70), np.bool_)
        mask[0:5, 40:44] = mask[36:40, 5:12] = True
        job = bench.extended("job", mask=mask, seed=5, patch_px=32, model="nano", prompt="snowy lake")
        assert job.spared == (0, 4)
    elif kind in ("film", "animated"):
        given = kind == "animated"
        job = bench.film("job", 4, given, seed=5, order="zeta", patch_px=32, model="nano", prompt="snowy lake")
    others = [
        job_of(bench, f"other-{o}", seed, o, p) for seed, (o, p) in enumerate([("omega", "lake"), ("zeta_star", "x")])
    ]
    alone = await bench.alone(job, fresh())
    broker = MemoryBroker(limits, clock)
    await bench.submit(broker, job, *others)
    dice = random.Random(0)
    for kill in range(4):
        task = asyncio.create_task(bench.worker(broker, fresh(), f"w{kill}").run())
        goal = min(dice.randint(1, 3) * (kill + 1), job.total - 1)
        await bench.until(broker, job, lambda state, goal=goal: state.patches_done >= goal)
        await bench.kill(task)
        clock.now += limits.lease_s + 1
    async with bench.working(broker, fresh(), "last"):
        await bench.until_ended(broker, job, *others)
    assert await bench.check_finished(broker, job) == alone


def test_an_engine_that_forgot_a_job_holds_nothing_of_it(bench, engine: TorchEngine) -> None:
    job, grid = job_of(bench), Grid.from_pixels(150, 90, 32)
    plan = compile_plan(grid, ORDERS["zeta"], Extent(0, 1, 1))
    engine.start(job, plan)
    (tokens,) = engine.decode([(job.id, Patch(0, 0, 0))])
    assert len(tokens) == 2 * 16
    assert engine.render(job.id, Patch(0, 0, 0)).shape == (32, 32, 3)
    assert engine.render(job.id, Patch(0, 0, 0)).dtype == np.uint8
    engine.finish(job.id)
    engine.finish("unknown")
    assert len(engine._decoder.pool) == 0


@pytest.mark.anyio
async def test_who_watches_is_shown_the_sketch_first_unless_pixels_are_given(bench, limits, clock, weights) -> None:
    drawn = job_of(bench, "drawn")
    extended = bench.extended("extended", (50, 30, 40, 60), seed=5, patch_px=32, model="nano", prompt="snowy lake")
    broker, engine = MemoryBroker(limits, clock), TorchEngine(weights, slots=2, pages=64, device="cpu")
    await bench.submit(broker, drawn, extended)
    async with bench.working(broker, engine, "worker"):
        await bench.until_ended(broker, drawn, extended)
    sketches = {}
    for job in (drawn, extended):
        logged = [entry.event for entry in await bench.read_all(broker, job)]
        [sketches[job.id]] = [event.sketch for event in logged if isinstance(event, JobStarted)]
    assert sketches["extended"] is None
    head, _, data = sketches["drawn"].partition(",")
    assert head == "data:image/webp;base64"
    assert decode_webp(base64.b64decode(data)).shape == (64, 96, 3), "the draft: two by three patches of three by five"


def test_guidance_takes_two_pages_a_patch_and_no_prompt_takes_one(bench, engine: TorchEngine) -> None:
    plan = compile_plan(Grid.from_pixels(150, 90, 32), ORDERS["zeta"], Extent(0, 1, 1))
    with_prompt = job_of(bench)
    without = with_prompt.model_copy(update={"request": with_prompt.request.model_copy(update={"prompt": None})})
    assert engine.pages_needed(with_prompt, plan) == 2 * engine.pages_needed(without, plan)


@pytest.mark.anyio
async def test_a_guided_film_takes_two_pages_a_patch_in_its_first_frame_alone(bench, weights: Path) -> None:
    guided, plain = (
        bench.film("film", 4, seed=5, order="zeta", patch_px=32, model="nano", prompt=p) for p in ("snowy lake", None)
    )
    engine = TorchEngine(weights, slots=2, pages=256, device="cpu")
    plan = guided.plan(Extent(*engine.model.extent))
    needed = engine.pages_needed(guided, plan)
    patches = plan.grid.rows * plan.grid.columns
    assert patches < engine.pages_needed(plain, plan) == needed - patches

    broker, engine = MemoryBroker(), TorchEngine(weights, slots=2, pages=needed, device="cpu")
    await bench.submit(broker, guided)
    async with bench.working(broker, engine):
        await bench.until_ended(broker, guided)
    await bench.check_finished(broker, guided)
    assert patches < engine._decoder.pool.high_water <= needed


def test_a_job_that_can_never_fit_the_pool_is_refused_with_the_numbers(bench, weights: Path) -> None:
    small = TorchEngine(weights, slots=2, pages=4, device="cpu")
    plan = compile_plan(Grid.from_pixels(150, 90, 32), ORDERS["zeta"], Extent(0, 1, 1))
    with pytest.raises(ValueError, match=r"needs \d+ pages of a pool of 4"):
        small.start(job_of(bench), plan)


def test_the_announced_model_says_what_it_is(engine: TorchEngine) -> None:
    assert engine.model.name == "nano"
    assert engine.model.patch_px == 32
    assert engine.model.orders == PRESETS["nano"].transformer.orders
    assert engine.model.parameters > 10_000
