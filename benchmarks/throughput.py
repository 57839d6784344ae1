"""How many tokens and patches a second, by the number of rows, beside peers of equal size.

A row of ours is a patch of a job of its own with its four nearby patches; a row of a peer is a sequence with as many
keys. Ours is the whole of PatchDecoder.decode() (context gathered, M tokens drawn, states kept), by M; a peer's is the
bare step. All alternate in one process.
"""

import statistics
import time

from benchmarks.measure import Work, alternate, median_ratio, timed
from benchmarks.models import LITTLE, MEASURED, Desk, random_model
from benchmarks.parts import Bench
from benchmarks.peers import STEPS, PlainLoop, Transformers
from model.generate import Model

ROWS = (1, 4, 8, 16)
GOALS = {1: 4.5, 8: 4.5, 16: 3.5}  # times the better generate() of transformers
JOBS = 16
GOAL_JOBS = 18.0  # so many together, times transformers one by one
GENERATES = ("transformers_static", "transformers_dynamic")
PEERS = (*GENERATES, "plain_loop", "own_pytorch")
OWN_PYTORCH = (1, 4, 8)  # rows; more would take minutes for one figure


def measure(bench: Bench) -> None:
    model = random_model(LITTLE if bench.quick else MEASURED)
    rounds = 2 if bench.quick else 5
    bench.total(rounds * (len(ROWS) * (1 + len(PEERS)) - len({*ROWS} - {*OWN_PYTORCH}) + len(GENERATES)))
    wall, processor = time.perf_counter(), time.process_time()
    one: dict[str, Work] = {}
    for rows in ROWS:
        works = contenders(model, rows)
        one = one or {who: works[who] for who in GENERATES}
        if rows == JOBS:
            works |= {f"{who}_1": work for who, work in one.items()}
        seconds = alternate(works, rounds, bench.step)
        _rows(bench, rows, seconds, model.config.transformer.tokens_per_patch)
        if rows == JOBS:
            better = min((seconds[f"{who}_1"] for who in GENERATES), key=statistics.median)
            over = median_ratio([JOBS * taken for taken in better], seconds["nuwa"])
            bench.row(f"jobs_{JOBS}_over_one_by_one", over, "times", "higher", GOAL_JOBS)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    bench.row("wall_over_processor", wall / processor, "times", "lower")


def _rows(bench: Bench, rows: int, seconds: dict[str, list[float]], tokens: int) -> None:
    for who in ("nuwa", *PEERS):
        if who in seconds:
            bench.row(f"tokens_a_second_{who}_{rows}", rows / statistics.median(seconds[who]), "tokens/s", "higher")
    patches = rows / statistics.median(seconds["nuwa"]) / tokens
    bench.row(f"patches_a_second_nuwa_{rows}", patches, "patches/s", "higher")
    better = min((seconds[who] for who in GENERATES), key=statistics.median)
    over = median_ratio(better, seconds["nuwa"])
    bench.row(f"over_transformers_{rows}", over, "times", "higher", GOALS.get(rows))
    bench.row(f"over_plain_loop_{rows}", median_ratio(seconds["plain_loop"], seconds["nuwa"]), "times", "higher")


def contenders(model: Model, rows: int) -> dict[str, Work]:
    """Seconds of one step of `rows` rows: ours, then those of PEERS."""
    config, vocabulary = model.config.transformer, model.transformer.codebook_size
    tokens = config.tokens_per_patch
    desk = Desk(model, rows)
    keys = desk.context + tokens // 2
    llama = Transformers(config, vocabulary, keys)
    loop = PlainLoop(config, vocabulary)
    cache = loop.cache(rows, keys + STEPS)
    first = loop.table.weight.new_zeros(rows, 1).long()

    def per(steps: int, work: Work) -> Work:
        return lambda: work() / steps

    works = {
        "nuwa": per(tokens, timed(desk.draw)),
        "transformers_static": llama.prompted(rows, "static").step_seconds,
        "transformers_dynamic": llama.prompted(rows, "dynamic").step_seconds,
        "plain_loop": per(STEPS, timed(lambda: loop.steps(first, keys - STEPS // 2, STEPS, cache))),
    }
    if rows in OWN_PYTORCH:
        works["own_pytorch"] = per(tokens, timed(Desk(model, rows, step="torch").draw))
    return works
