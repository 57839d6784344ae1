"""The train loops learn, stop on time, and go on where they stopped."""

import csv
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from model.config import PRESETS
from model.text import TextEncoder, WordPieces
from model.tokenizer import Tokenizer
from model.transformer import VOCABULARY, Transformer
from training.datasets import PicturePool, held_out_scenes
from training.loop import RunSettings, Trainer
from training.losses import CanvasLoss, displaced, roughened
from training.optimizer import Muon, build_optimizers, orthogonalise
from training.outlines import Sketches
from training.recipe import TransformerRecipe
from training.sketcher import train_sketcher
from training.sources import TokenBatch, TokenSource, Window
from training.tokenizer import TokenizerRecipe, moved, psnr, some_given, star_loss, train_tokenizer
from training.transformer import train_transformer

CPU = torch.device("cpu")
NANO = PRESETS["nano"]
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"


def settings(folder: Path, steps: int, **changes: object) -> RunSettings:
    base = RunSettings(folder, hours=1.0, max_steps=steps, warmup_steps=2, sample_every=1000)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    for shape in ((32, 32), (16, 64), (64, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalise(matrix[None])[0])
        assert values.min() > 0.3
        assert values.max() < 1.5


def test_tables_and_vectors_are_left_to_adamw() -> None:
    tokenizer = Tokenizer(PRESETS["tiny"].tokenizer)
    muon, adamw = build_optimizers(tokenizer, 1e-3)
    assert isinstance(muon, Muon)
    assert all(p.ndim >= 2 for g in muon.param_groups for p in g["params"])
    counts = [sum(len(g["params"]) for g in o.param_groups) for o in (muon, adamw)]
    assert sum(counts) == len(list(tokenizer.parameters()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tokenizer]:
    """The folder of a finished run of 40 steps, and the tokenizer that came of it."""
    folder = tmp_path_factory.mktemp("run")
    recipe = TokenizerRecipe(batch=4, crop_px=32, pictures=8)
    return folder, train_tokenizer(NANO, settings(folder, 40, ema=0.5), recipe, None, CPU)


def test_tokenizer_training_improves_reconstruction_and_leaves_its_run(run: tuple[Path, Tokenizer]) -> None:
    folder, _ = run
    rows = (folder / "log.csv").read_text().splitlines()
    keys = rows[0].split(",")
    first, last = (dict(zip(keys, row.split(","), strict=True)) for row in (rows[1], rows[-1]))
    assert float(last["loss"]) < float(first["loss"])
    assert float(last["scene_psnr"]) > 8
    assert (folder / "curve.png").stat().st_size > 1000
    assert list((folder / "samples").glob("*.png"))


def test_tokens_stay_what_they_were_where_that_is_asked_for(run: tuple[Path, Tokenizer], tmp_path: Path) -> None:
    _, begun = run
    scenes = held_out_scenes(4, 64, 64, CPU)
    changed = {}
    for keep in (0.0, 30.0):
        recipe = TokenizerRecipe(batch=4, crop_px=32, pictures=8, stars=50.0, keep=keep)
        further = settings(tmp_path / str(keep), 25, ema=0.5, lr=5e-3)
        trained = train_tokenizer(NANO, further, recipe, None, CPU, initial=begun.state_dict())
        changed[keep] = float((trained.encode(scenes) != begun.encode(scenes)).float().mean())
    assert 0 < changed[30.0] < 0.7 * changed[0.0]


def test_crops_of_starry_scenes_say_where_the_stars_are() -> None:
    pixels, stars = PicturePool(0, CPU, 8, starry=1.0).crops(16, 64)
    shining = stars > 0.2
    assert 0 < shining.float().mean() < 0.1
    light = pixels.mean(1, keepdim=True)
    assert light[shining].mean() > light[~shining].mean() + 0.2
    assert not PicturePool(0, CPU, 8).crops(16, 64)[1].any()


def test_a_lost_star_costs_and_a_token_with_one_may_move() -> None:
    stars = torch.zeros(1, 1, 16, 16)
    stars[..., 4, 4] = 1
    dark, lit = torch.full((1, 3, 16, 16), -1.0), torch.full((1, 3, 16, 16), -1.0)
    lit[..., 4, 4] = 1
    assert float(star_loss(dark, lit, stars)) == pytest.approx(2 / 256)
    assert float(star_loss(dark, lit, torch.zeros_like(stars))) == 0
    before, levels = torch.zeros(1, 2, 2, 4), torch.tensor([8, 5, 5, 5])
    elsewhere, there = before.clone(), before.clone()
    elsewhere[0, 1, 1, 1] = there[0, 0, 0, 1] = torch.tensor(0.5).atanh()  # one of five levels
    assert float(moved(elsewhere, before, stars, levels)) == pytest.approx(1 / 16)
    assert float(moved(there, before, stars, levels)) == 0


def test_a_resumed_run_goes_on_with_its_step_time_and_weights(run: tuple[Path, Tokenizer]) -> None:
    folder, trained = run
    trainer = Trainer(nn.ModuleDict({"tokenizer": Tokenizer(NANO.tokenizer)}), settings(folder, 40, resume=True))
    assert trainer.step == 40
    assert trainer.spent_s > 0
    for name, value in trained.state_dict().items():
        assert torch.equal(trainer.averaged()[f"tokenizer.{name}"], value)


def test_a_spent_budget_stops_the_run_at_once(tmp_path: Path) -> None:
    trainer = Trainer(Tokenizer(NANO.tokenizer), settings(tmp_path, 100, hours=0.0))
    trainer.run(lambda step: (torch.zeros(()), {}))
    assert trainer.step == 0


@pytest.mark.parametrize("schedule", ["canvas", "patch"])
def test_both_schedules_lower_the_loss_of_the_transformer(tmp_path: Path, words_file: Path, schedule: str) -> None:
    sentence = TextEncoder(NANO.transformer, VOCABULARY).sentence.state_dict()
    windows = (Window(0.7, 2, 2, 2, 2), Window(0.3, 2, 2, 2, 2, frames=2))
    recipe = TransformerRecipe(windows=windows, patches_per_step=16, schedule=schedule)
    run = settings(tmp_path / "run", 8 if schedule == "patch" else 30, ema=0.5, lr=5e-3)
    train_transformer(NANO, Tokenizer(NANO.tokenizer), sentence, words_file, run, recipe, CPU)
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    keys = log[0].split(",")
    last = dict(zip(keys, log[-1].split(","), strict=True))
    # an untrained model spends log(1000) = 6.9 nats on each token
    assert float(last["held_out_zeta"]) < 6.5
    assert float(last["held_out_films"]) < 6.5
    assert (tmp_path / "run" / "samples").exists()


def test_the_sketcher_learns_sketches_and_what_their_captions_mean(tmp_path: Path) -> None:
    recipe = TransformerRecipe(windows=(Window(1.0, 2, 2, 2, 4),), patches_per_step=16, contrast=0.5)
    words_file = SHIPPED / "words.json"
    sentence = TextEncoder(NANO.transformer, VOCABULARY).sentence.state_dict()
    run = settings(tmp_path / "run", 30, ema=0.5, lr=5e-3)
    sketcher = train_sketcher(NANO, Tokenizer(NANO.tokenizer), sentence, words_file, run, recipe, CPU)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert float(rows[-1]["held_out"]) < 6.5
    assert float(rows[-1]["held_out_contrast"]) > 0
    assert sketcher.aspect.weight.any(), "how wide a canvas is was learned from"
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_contrast_learns_which_of_two_captions_a_picture_was_drawn_to() -> None:
    torch.manual_seed(0)
    config = replace(NANO, transformer=replace(NANO.transformer, text_tokens=32))  # whole captions
    transformer, tokenizer = Transformer(config), Tokenizer(NANO.tokenizer).eval()
    for parameter in transformer.parameters():  # prompts make no difference to a new model
        parameter.data += 0.02 * torch.randn_like(parameter)
    loss = CanvasLoss(transformer, tokenizer, WordPieces(SHIPPED / "words.json", 32), CPU)
    source = TokenSource(tokenizer, NANO, CPU, 0, patches=16)
    batch = source.render(Window(1.0, 2, 2, 2, 2), seed=4)
    adam = torch.optim.Adam(transformer.parameters(), 1e-2)
    told = []
    nats, plain = loss.contrast(batch, "zeta", 7, 0.0, 0.0)[0], loss(batch, "zeta", batch.prompts(7)).mean()
    assert float(nats.detach()) == pytest.approx(float(plain.detach()), rel=0.01), "of the true captions"
    for _ in range(20):
        _, contrast = loss.contrast(batch, "zeta", 7, 0.0, 0.0)
        told.append(float(contrast.detach()))
        adam.zero_grad()
        contrast.backward()
        adam.step()
    assert told[0] == pytest.approx(math.log(2) / 4, rel=0.1), "a coin's toss for a picture, by its four patches"
    assert told[-1] < 0.7 * told[0]


def loss_and_batch() -> tuple[CanvasLoss, TokenBatch]:
    """Of a model that tells tokens apart, and of a picture of four patches."""
    torch.manual_seed(0)
    transformer, tokenizer = Transformer(NANO).eval(), Tokenizer(NANO.tokenizer).eval()
    for parameter in transformer.parameters():  # away from zeros: a new model's logits are the same whatever it reads
        parameter.data += 0.1 * torch.randn_like(parameter)
    words = WordPieces(SHIPPED / "words.json", NANO.transformer.text_tokens)
    batch = TokenSource(tokenizer, NANO, CPU, 0, patches=4).render(Window(1.0, 2, 2, 2, 2), 3)
    return CanvasLoss(transformer, tokenizer, words, CPU), batch


def test_tokens_count_as_much_as_their_weights_say() -> None:
    loss, batch = loss_and_batch()
    weights = torch.zeros_like(batch.tokens, dtype=torch.float32)
    weights[0, 0, 1, 6] = 5.0  # in the second row of tokens, in the third column of the upper right patch
    with torch.no_grad():
        for order in ("zeta", "omega_star"):
            logits, tokens = loss.logits(batch, order, [None])
            [step] = (loss.transformer.scans[order].steps == torch.tensor([1, 2])).all(1).nonzero()[:, 0].tolist()
            own = -logits[0, 1, step].log_softmax(-1)[tokens[0, 1, step]]
            plain = loss(batch, order, [None])
            chosen, alike = (
                loss(replace(batch, weights=w), order, [None], weighted=True) for w in (weights, weights * 0 + 3)
            )
            assert torch.allclose(chosen, own)
            assert torch.allclose(alike, plain)
            assert torch.equal(loss(replace(batch, weights=weights), order, [None]), plain)


def test_half_of_the_sketches_and_of_their_drafts_are_roughened_to_codes_nearby() -> None:
    torch.manual_seed(0)
    quantizer = Tokenizer(NANO.tokenizer).quantizer
    true = Sketches(torch.randint(1000, (400, 4, 4)), torch.ones(400), torch.randint(1000, (400, 8, 8)))
    rough, same = roughened(true, quantizer, 1.5), roughened(true, quantizer, 0.0)
    for before, after, untouched in (
        (true.tokens, rough.tokens, same.tokens),
        (true.drafts, rough.drafts, same.drafts),
    ):
        changed = (after != before).flatten(1).any(1).float().mean()
        assert 0.3 < changed < 0.5, "those with hardly any noise keep their tokens"
        steps = (quantizer.to_codes(after) - quantizer.to_codes(before)).abs() * (quantizer.levels - 1) / 2
        assert 0 < steps.mean() < 0.5
        assert torch.equal(untouched, before)
    assert roughened(replace(true, drafts=None), quantizer, 1.5).drafts is None


def test_psnr_of_a_known_error() -> None:
    target = torch.zeros(2, 3, 8, 8)
    assert psnr(target + 0.2, target) == pytest.approx(20.0, abs=1e-4)


def test_a_frozen_encoder_keeps_the_meaning_of_tokens_while_the_decoder_learns(tmp_path: Path) -> None:
    recipe = TokenizerRecipe(batch=4, crop_px=32, pictures=8, guided_share=0.5)
    begun = train_tokenizer(NANO, settings(tmp_path / "a", 3, ema=0.0), recipe, None, CPU)
    frozen = replace(recipe, frozen=("encoder",))
    state = begun.state_dict()
    further = train_tokenizer(NANO, settings(tmp_path / "b", 5, ema=0.0), frozen, None, CPU, initial=state)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = begun.encode(pixels)
    assert torch.equal(further.encode(pixels), tokens)
    assert not torch.allclose(further.decode(tokens), begun.decode(tokens), atol=1e-4)
    assert further.decoder.fine_guide.weight.abs().max() > 0, "given pixels were learned from"


def test_given_pixels_are_a_rectangle_or_all_but_one_in_some_of_the_crops() -> None:
    given = some_given(torch.zeros(200, 3, 40, 24), 0.5, random.Random(1))
    assert given.shape == (200, 40, 24)
    some = given[given.flatten(1).any(1)]
    assert 70 < len(some) < 130
    rectangles = [torch.equal(mask, mask.any(1, keepdim=True) & mask.any(0)) for mask in some]
    others = [torch.equal(~mask, (~mask).any(1, keepdim=True) & (~mask).any(0)) for mask in some]
    assert all(one or other for one, other in zip(rectangles, others, strict=True))
    assert sum(rectangles) > 20
    assert sum(others) > 20


def test_of_half_of_the_pictures_some_tokens_stand_up_to_two_rows_and_columns_away() -> None:
    torch.manual_seed(0)
    places = torch.arange(16 * 24).view(1, 1, 16, 24).expand(64, 2, -1, -1)
    seen = displaced(places, 0.3)
    rows, columns = seen // 24, seen % 24
    assert (rows - torch.arange(16)[:, None]).abs().max() == 2
    assert (columns - torch.arange(24)).abs().max() == 2
    share = (seen != places).double().mean((1, 2, 3))
    assert 20 < (share == 0).sum() < 44
    assert 0.2 < share.max() < 0.33


def test_what_is_asked_stays_true_where_tokens_are_displaced() -> None:
    """The model reads what it is shown, and is asked for the batch's own tokens."""
    loss, batch = loss_and_batch()
    other = replace(batch, tokens=(batch.tokens + 1) % 1000)
    with torch.no_grad():
        logits, asked = loss.logits(batch, "zeta", [None], seen=other.tokens)
        plain = loss.logits(batch, "zeta", [None])
        assert torch.equal(asked, plain[1])
        assert not torch.equal(logits, plain[0])
        assert torch.equal(logits, loss.logits(other, "zeta", [None])[0])
