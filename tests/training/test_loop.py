"""A run ends within the time it was given, and its checkpoint, whole or in parts, is all that is needed to go on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import training.loop
from training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from training.loop import RunSettings, Trainer


class Work:
    """Trains on a clock that only the work moves: so long for a step, a report, a save. `done`: what, in order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.done: list[str] = []
        self.step_s, self.report_s, self.save_s = 1.0, 0.0, 0.0

    def clock(self) -> float:
        return self.now

    def do(self, what: str, seconds: float) -> None:
        self.now += seconds
        self.done.append(what)

    def train(self, trainer: Trainer) -> int:
        """Returns the number of steps."""
        self.done = []

        def loss(step: int) -> tuple[Tensor, dict[str, float]]:
            self.do("step", self.step_s)
            return trainer.model(torch.ones(1, 16)).square().sum(), {}

        def evaluate() -> dict[str, float]:
            self.do("report", self.report_s)
            return {"figure": 1.0}

        trainer.run(loss, evaluate)
        return self.done.count("step")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    made = Work()

    def save(folder: Path, state: dict[str, object], part_mb: float | None) -> None:
        made.do("save", made.save_s)
        save_checkpoint(folder, state, part_mb)

    monkeypatch.setattr(training.loop, "save_checkpoint", save)
    monkeypatch.setattr(training.loop, "draw_curve", lambda history, path: None)
    return made


def settings(folder: Path, seconds: float, **changes: object) -> RunSettings:
    return replace(RunSettings(folder, hours=seconds / 3600, sample_every=10**6), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("step_s", "report_s", "save_s"), [(1, 0, 0), (1, 30, 3), (7, 20, 1), (0.2, 5, 0.5)])
def test_a_run_ends_within_its_time_with_a_last_report_and_a_saved_checkpoint(
    tmp_path: Path, work: Work, step_s: float, report_s: float, save_s: float
) -> None:
    work.step_s, work.report_s, work.save_s = step_s, report_s, save_s
    begun = work.now
    steps = work.train(Trainer(nn.Linear(16, 16), settings(tmp_path, 300, clock=work.clock)))
    assert work.done[-2:] == ["report", "save"]
    assert work.done.count("report") == 2  # the first one, early, tells how long the last one will take
    assert work.now - begun <= 300
    assert work.now - begun >= 300 - 2 * (step_s + report_s + 2 * save_s)  # and it does not give up early
    assert load_checkpoint(tmp_path)["step"] == steps


def test_time_before_the_first_step_counts_and_that_of_an_earlier_part_too(tmp_path: Path, work: Work) -> None:
    first = Trainer(nn.Linear(16, 16), settings(tmp_path, 100, max_steps=20, clock=work.clock))
    work.now += 30  # drawing pictures, say
    assert work.train(first) == 20
    work.now += 10_000  # nobody trains
    second = Trainer(nn.Linear(16, 16), settings(tmp_path, 100, resume=True, clock=work.clock))
    assert second.spent_s == pytest.approx(50)
    assert 45 <= work.train(second) <= 50


def test_the_rate_is_nearly_zero_at_the_end(tmp_path: Path, work: Work) -> None:
    trainer = Trainer(nn.Linear(16, 16), settings(tmp_path, 500, clock=work.clock))
    work.report_s = 40
    work.train(trainer)
    assert trainer.optimizers[0].param_groups[0]["lr"] < 0.02 * trainer.settings.lr


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Its checkpoint lacks what was added since."""
    trainer = Trainer(nn.Linear(16, 16), settings(tmp_path, 100))
    trainer.save()
    state = load_checkpoint(tmp_path)
    del state["report_s"]
    save_checkpoint(tmp_path, state | {"step": 7, "spent_s": 5.0})
    resumed = Trainer(nn.Linear(16, 16), settings(tmp_path, 100, resume=True))
    assert resumed.step == 7
    assert 5 <= resumed.spent_s < 10
    assert torch.equal(resumed.model.weight, trainer.model.weight)


def test_a_checkpoint_in_parts_is_the_same_and_no_part_is_too_large(tmp_path: Path) -> None:
    state = {"step": 3, "model": {"w": torch.randn(200_000)}}
    save_checkpoint(tmp_path, state, part_mb=0.2)
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 4
    assert max(sizes) <= 0.2 * 2**20
    assert torch.equal(load_checkpoint(tmp_path)["model"]["w"], state["model"]["w"])


def test_a_new_checkpoint_replaces_the_old_one_whether_whole_or_in_parts(tmp_path: Path) -> None:
    for step, part_mb in enumerate((None, 0.01, 0.02, None, 0.01)):
        save_checkpoint(tmp_path, {"step": step, "w": torch.randn(10_000)}, part_mb)
        assert load_checkpoint(tmp_path)["step"] == step
        assert len({file.name.split(".")[2:3][0] if part_mb else "" for file in tmp_path.iterdir()}) == 1


def test_parts_that_a_crash_left_incomplete_are_passed_over(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1, "w": torch.randn(10_000)}, 0.01)
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    save_checkpoint(tmp_path, {"step": 2, "w": torch.randn(10_000)}, 0.01)
    next(tmp_path.glob("*.00000002.2-of-*")).unlink()
    assert not has_checkpoint(tmp_path)
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    assert load_checkpoint(tmp_path)["step"] == 1
    save_checkpoint(tmp_path, {"step": 3})
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_no_checkpoint_is_an_error_naming_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "last.pt")):
        load_checkpoint(tmp_path)
