"""What guidance in one pass gives over guidance in two: patches a second of the shipped weights, by patches together.

A patch is one of a job of its own, with its four nearby patches, drawn as a request is that asks for nothing else.
"""

from dataclasses import replace

from benchmarks.measure import alternate, median_ratio, timed
from benchmarks.models import SHIPPED, Desk
from benchmarks.parts import Bench
from jobs.request import SamplingParams
from model.loader import load
from model.sampling import Sampling

PATCHES = (1, 4, 16)
GOAL = 2.0  # times as many patches: what an approximate mode must give to be worth having
TWO = Sampling(**SamplingParams().model_dump())
ONE = replace(TWO, distilled=True)


def measure(bench: Bench) -> None:
    model = load(SHIPPED)
    rounds = 3 if bench.quick else 7
    bench.total(rounds * 2 * len(PATCHES))
    for patches in PATCHES:
        works = {name: timed(Desk(model, patches, sampling=s).draw) for name, s in (("two", TWO), ("one", ONE))}
        seconds = alternate(works, rounds, bench.step)
        bench.row(f"one_pass_over_two_{patches}", median_ratio(seconds["two"], seconds["one"]), "times", "higher", GOAL)
