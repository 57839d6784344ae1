"""Variants of the recipe trained beside each other."""

from pathlib import Path

import torch

from training import factors
from training.scaling import main, trials

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"


def test_every_trial_changes_one_thing() -> None:
    config, recipe, lr = trials()["as shipped"]
    for name, trial in trials().items():
        changed = [a != b for a, b in zip(trial, (config, recipe, lr), strict=True)]
        assert sum(changed) == (name != "as shipped"), name


def test_trials_leave_a_table_and_a_plot_and_are_not_run_twice(tmp_path: Path, weights: Path) -> None:
    torch.manual_seed(0)
    names = ["as shipped", "a step per patch"]
    for _ in range(2):
        main(weights=weights, out=tmp_path, preset="nano", minutes=0.05, only=names, device="cpu", threads=1)
    table = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == names
    assert (tmp_path / "scaling.png").stat().st_size > 1000


def test_tokens_of_both_sizes_fill_patches_of_one_size_and_leave_a_table(tmp_path: Path, weights: Path) -> None:
    assert len({config.transformer.tokens_per_patch for config in factors.models().values()}) == 1
    factors.main(weights, tmp_path, None, preset="nano", minutes=0.02, pictures=2, device="cpu", threads=1)
    table = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["f8", "f16"]
