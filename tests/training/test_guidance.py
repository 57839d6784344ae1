"""Guidance in one pass, taught by guidance in two."""

import csv
from pathlib import Path

import torch

from model.generate import Model
from model.loader import load
from training.cli import guidance_command
from training.guidance import SCALE_MOST, apart, train_guidance
from training.loop import RunSettings
from training.losses import CanvasLoss
from training.recipe import TransformerRecipe
from training.sources import TokenSource, Window

WINDOW = Window(1.0, 2, 2, 2, 2)
RECIPE = TransformerRecipe(windows=(WINDOW,), patches_per_step=16)


def distances(model: Model, scales: tuple[float, ...]) -> list[float]:
    batch = TokenSource(model.tokenizer, model.config, model.device, 0, patches=16).render(WINDOW, 4)
    losses = CanvasLoss(model.transformer, model.tokenizer, model.words, model.device)
    with torch.no_grad():
        return [float(apart(losses, batch, "zeta", batch.prompts(7), scale)) for scale in scales]


def test_one_pass_comes_to_draw_as_two_do_and_all_other_weights_stay(model: Model, tmp_path: Path) -> None:
    untaught = train_guidance(model, RunSettings(tmp_path / "a", max_steps=0), RECIPE, 4.0)
    settings = RunSettings(tmp_path / "b", lr=5e-3, warmup_steps=1, ema=0.5, sample_every=100, max_steps=40)
    taught = train_guidance(model, settings, RECIPE, 4.0)
    assert taught.config.transformer.distilled_scale == 4
    before, after = (distances(m, (1.0, 2.0, 4.0)) for m in (untaught, taught))
    assert before[0] == after[0] == 0, "a scale of 1 is no guidance"
    assert after[1] < before[1]
    assert after[2] < 0.7 * before[2]
    own = model.transformer.state_dict()
    for name, value in taught.transformer.state_dict().items():
        assert name.startswith("guidance.") or torch.equal(value, own[name])
    rows = list(csv.DictReader((tmp_path / "b" / "log.csv").read_text().splitlines()))
    assert float(rows[-1]["held_out_4"]) > 0
    assert list((tmp_path / "b" / "samples").glob("*.png"))


def test_weights_that_know_it_go_on_from_there(model: Model, tmp_path: Path) -> None:
    settings = RunSettings(tmp_path / "a", max_steps=0)
    same = train_guidance(model, settings, RECIPE, model.config.transformer.distilled_scale)
    assert torch.equal(same.transformer.guidance.prefix, model.transformer.guidance.prefix)


def test_the_command_writes_weights_that_can_be_served(weights: Path, tmp_path: Path) -> None:
    guidance_command(tmp_path / "out", weights, tmp_path / "run", steps=1, patches=16, device="cpu", threads=1)
    assert load(tmp_path / "out").config.transformer.distilled_scale == SCALE_MOST
