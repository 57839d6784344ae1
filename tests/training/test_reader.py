"""A new reader of sketches and drafts learns what colours tell before the transformer learns with it."""

import csv
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from model.config import PRESETS
from model.loader import TOKENIZER
from model.text import TextEncoder
from model.tokenizer import Tokenizer
from model.transformer import VOCABULARY, Transformer
from training.loop import RunSettings
from training.reader import NORM, begun_with, teach_pixels
from training.recipe import TransformerRecipe
from training.sources import TokenSource, Window
from training.transformer import train_transformer

CPU = torch.device("cpu")
NANO, TINY = PRESETS["nano"], PRESETS["tiny"]
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"


def shipped_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(TINY.tokenizer)
    tokenizer.load_state_dict({name: value.float() for name, value in load_file(SHIPPED / TOKENIZER).items()})
    return tokenizer.eval().requires_grad_(False)


def test_the_colours_of_a_sketch_tell_which_tokens_are_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer, transformer = shipped_tokenizer(), Transformer(TINY)
    source = TokenSource(tokenizer, TINY, CPU, 0, windows=(Window(1.0, 2, 2, 2, 2),), patches=16)
    settings = RunSettings(tmp_path, hours=1.0, max_steps=40)
    nats = teach_pixels(transformer.sketch, transformer, tokenizer, source.next, settings, 0.0, 0)
    assert nats < 6.2, "without a look at the colours it would be 6.3"
    assert all(p.grad is None for p in transformer.parameters())
    batch = source.next()
    assert batch.sketches is not None
    view = transformer.read_sketch(batch.sketches.tokens.flatten(1), tokenizer.decode(batch.sketches.followed))
    told = transformer.sketched(view, batch.place, "zeta").detach()
    assert 0.5 * NORM < told.norm(dim=-1).mean() < 2 * NORM
    assert told.std(dim=(0, 1, 2)).mean() > 0.01, "another thing to each token"


def test_weights_that_know_sketches_are_begun_with_by_those_that_learn_drafts_but_for_the_reader() -> None:
    old = Transformer(replace(NANO, transformer=replace(NANO.transformer, draft=False))).state_dict()
    old["sketch.of_pixels.weight"] += 1.0
    own = Transformer(NANO).state_dict()
    begun, same = begun_with(old, own), begun_with(own, own)
    assert begun.keys() == own.keys()
    assert torch.equal(begun["sketch.seen.weight"], own["sketch.seen.weight"])
    assert not begun["sketch.of_pixels.weight"].any(), "it looks at other pixels, so all of it is learned anew"
    assert torch.equal(begun["sketch.up.weight"], old["sketch.up.weight"])
    assert torch.equal(begun["token"], old["token"])
    assert all(torch.equal(same[name], own[name]) for name in own)


def test_a_run_teaches_a_new_reader_within_its_time_and_leaves_a_taught_one_alone(
    tmp_path: Path, words_file: Path
) -> None:
    sentence = TextEncoder(NANO.transformer, VOCABULARY).sentence.state_dict()
    recipe = TransformerRecipe(windows=(Window(1.0, 2, 2, 2, 2),), patches_per_step=16)
    now = iter(range(10**6))
    run = RunSettings(tmp_path / "new", hours=100 / 3600, sample_every=10**6, clock=lambda: float(next(now)))
    trained = train_transformer(NANO, Tokenizer(NANO.tokenizer), sentence, words_file, run, recipe, CPU)
    assert trained.sketch.of_pixels.weight.any()
    rows = list(csv.DictReader((run.folder / "log.csv").read_text().splitlines()))
    assert 80 < float(rows[-1]["seconds"]) < 105
    begun = trained.state_dict()
    none = replace(run, folder=tmp_path / "old", hours=0.0)
    untouched = train_transformer(
        NANO, Tokenizer(NANO.tokenizer), sentence, words_file, none, recipe, CPU, initial=begun
    )
    assert torch.equal(untouched.sketch.of_pixels.weight, begun["sketch.of_pixels.weight"])
