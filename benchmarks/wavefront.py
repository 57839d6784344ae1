"""What drawing ready patches together gains over one at a time, and that rounds and pages are what the plan says.

One job, drawn three times by the scheduler and the decoder: with one slot, with as many as its widest round needs, and
with those shared out among a thread for each processor, as a worker has it. They take turns,
so that all see the same machine; a gain is the ratio of whole times, of the processor's or, with threads, the clock's.
"""

import time

from benchmarks.models import DRAWN, LITTLE, MEASURED, PROMPT, in_turn, random_model
from benchmarks.parts import Bench
from canvas.grid import Extent, Grid
from canvas.order import ZETA
from canvas.plan import compile_plan, pages_needed
from model.generate import Model, PatchDecoder
from workers.main import processors
from workers.scheduler import PatchScheduler

GRIDS = ((8, 8), (16, 4), (32, 8), (8, 32))  # rows, columns; columns are scanned fast
GOALS = {(8, 8): 2.3, (32, 8): 2.75, (8, 32): 3.4}
SLOTS = 8
GOAL_BUSY = 0.93


class Drawing:
    """One canvas on its way, batch by batch, as a worker draws it; by a decoder of its own if none is given."""

    def __init__(
        self,
        model: Model,
        rows: int,
        columns: int,
        slots: int,
        decoder: PatchDecoder | None = None,
        name: str = "job",
        threads: int = 1,
    ) -> None:
        grid = Grid(frames=1, rows=rows, columns=columns, patch_px=model.config.patch_px)
        extent = Extent(*model.config.transformer.extent)
        self.plan = compile_plan(grid, ZETA, extent)
        self.pages = pages_needed(self.plan, slots)
        self.decoder = decoder or PatchDecoder(model, slots, self.pages, threads=threads)
        self.canvas = self.decoder.start(name, grid, ZETA.name, PROMPT, DRAWN, seed=0)
        self._scheduler = PatchScheduler(slots, self.pages)
        self._scheduler.add(name, self.plan, self.pages)
        self._scheduler.admit()
        self.seconds = self.clock_seconds = 0.0
        self.batches = 0

    def advance(self) -> float:
        """Draw the next batch; the seconds of processor time that it took."""
        started, clock = time.process_time(), time.perf_counter()
        batch = self._scheduler.schedule()
        self.decoder.decode([(self.canvas, patch) for _, patch in batch.patches])
        for patch in self._scheduler.complete(batch).remove.get(self.canvas.key, []):
            self.decoder.remove(self.canvas, patch)
        taken = time.process_time() - started
        self.batches += 1
        self.seconds += taken
        self.clock_seconds += time.perf_counter() - clock
        return taken

    def forget(self) -> None:
        """Give all pages back."""
        for patch in self.canvas.done:
            self.decoder.remove(self.canvas, patch)


def measure(bench: Bench) -> None:
    model = random_model(LITTLE if bench.quick else MEASURED)
    grids = GRIDS[:2] if bench.quick else GRIDS
    bench.total(sum(rows * columns + 2 * (columns + 2 * (rows - 1)) for rows, columns in grids))
    fullest = most_rounds = 0.0
    for rows, columns in grids:
        alone, together, shared = lines = (
            Drawing(model, rows, columns, slots=1),
            Drawing(model, rows, columns, SLOTS),
            Drawing(model, rows, columns, SLOTS, threads=processors()),
        )
        for line in lines:
            line.advance()  # the first patch of each is alone, and warms up what is called
            bench.step()
        for number in in_turn((rows * columns - 1, together.plan.rounds - 1, shared.plan.rounds - 1)):
            lines[number].advance()
            bench.step()
        name, goal = f"{rows}x{columns}", GOALS.get((rows, columns))
        bench.row(f"speedup_{name}", alone.seconds / together.seconds, "times", "higher", goal)
        faster = alone.clock_seconds / shared.clock_seconds
        bench.row(f"shared_out_{name}", faster, "times", "higher", goal)
        bench.row(f"ideal_{name}", rows * columns / together.batches, "times", "higher")
        bench.row(f"one_at_a_time_{name}", alone.seconds / (rows * columns), "s/patch", "lower")
        most_rounds = max(most_rounds, together.batches / (columns + 2 * (rows - 1)))
        fullest = max(fullest, *(line.decoder.pool.high_water / line.pages for line in lines))
    bench.row("rounds_of_formula", most_rounds, "times C + 2(R - 1)", "lower", 1.0)
    bench.row("pool_of_formula", fullest, "of the pages promised", "lower", 1.0)
    bench.row("busy_two_jobs", busy(jobs=2, slots=4), "of 4 slots", "higher", GOAL_BUSY)
    bench.row("busy_one_job", busy(jobs=1, slots=4), "of 4 slots", "higher")


def busy(jobs: int, slots: int) -> float:
    """The share of slots that hold a patch while so many jobs of 8x8 are drawn together. Counted, not timed."""
    plan = compile_plan(Grid(frames=1, rows=8, columns=8, patch_px=1), ZETA, Extent(1, 1, 1))
    pages = pages_needed(plan, slots)
    scheduler = PatchScheduler(slots, jobs * pages)
    for number in range(jobs):
        scheduler.add(f"job {number}", plan, pages)
    scheduler.admit()
    batches = 0
    while batch := scheduler.schedule():
        scheduler.complete(batch)
        batches += 1
    return jobs * len(plan.grid) / (slots * batches)
