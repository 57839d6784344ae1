"""Trains the transformer on the tokens of rendered scenes and their captions.

Two schedules. "canvas" (default): all patches of a picture in one masked pass, one optimiser step per batch. "patch":
the paper's render and optimise, one step per patch, contexts detached and one step stale (paper.md 4.1).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from canvas.grid import Grid
from canvas.order import ORDERS
from model.config import ModelConfig
from model.generate import Model, PatchDecoder
from model.sampling import Sampling
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.checkpoint import part_of
from training.datasets import HELD_OUT_SEEDS
from training.device import compile_methods_on_gpu
from training.loop import RunSettings, Trainer
from training.losses import AttributeProbe, CanvasLoss, read_captions, roughened
from training.reader import begun_with, teach_pixels
from training.recipe import TransformerRecipe
from training.sheets import save_sheet
from training.sources import CaptionedCrops, TokenBatch

SAMPLE_PROMPTS = (
    "snowy mountains at sunset with a lake",
    "starry night over dark firs, crescent moon",
    "dunes at dawn, hazy",
    "green hills under a blue sky with white clouds",
    "autumn forest by a lake in morning mist",
    "the sea at noon, a few clouds",
    "a pink dusk over misty mountains",
    "winter forest under the full moon",
)


def train_transformer(
    config: ModelConfig,
    tokenizer: Tokenizer,
    sentence: dict[str, Tensor],
    words_file: Path,
    settings: RunSettings,
    recipe: TransformerRecipe,
    device: torch.device,
    seed: int = 0,
    pictures: CaptionedCrops | None = None,
    initial: dict[str, Tensor] | None = None,
) -> Transformer:
    """Returns the transformer with averaged weights, in evaluation mode; its run is kept in settings.folder.

    sentence: the frozen encoder's state, of training/sentence.py.  pictures: of one's own, mixed in as often as the
    recipe says.  initial: weights to begin with.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer.to(device).eval().requires_grad_(False)
    transformer = Transformer(config)
    if initial is not None:
        # Without guidance in one pass: it belongs to those weights, not to what becomes of them.
        transformer.load_state_dict(begun_with(initial, transformer.state_dict()))
    transformer.text.sentence.load_state_dict(sentence)
    transformer.to(device)
    for part in recipe.frozen:
        transformer.get_submodule(part).requires_grad_(False)
    probe = AttributeProbe(config.transformer.width).to(device)
    trained = nn.ModuleDict({"transformer": transformer, "probe": probe})
    trained.adamw = {"probe", *(f"transformer.{name}" for name in transformer.adamw)}  # type: ignore[assignment]
    trainer = Trainer(trained, settings)
    compile_methods_on_gpu(device, transformer.layers, "project", "finish")
    words = WordPieces(words_file, config.transformer.text_tokens)
    source = recipe.source(tokenizer, config, device, seed + trainer.step, pictures)
    if config.transformer.sketch and trainer.step == 0 and not transformer.sketch.of_pixels.weight.any():
        noise = recipe.sketch_noise
        teach_pixels(transformer.sketch, transformer, tokenizer, source.next, settings, noise, seed)
        trainer.begin_anew()
    canvas_loss = CanvasLoss(transformer, tokenizer, words, device)
    chooser = random.Random(seed + trainer.step)
    first = config.transformer.orders[0]
    # Held out: whole stills, a window of the largest canvas, and films.
    stills = [source.render(recipe.windows[0], HELD_OUT_SEEDS + i) for i in range(3)]
    largest = max(recipe.windows, key=lambda w: w.canvas_rows * w.canvas_columns)
    films = [w for w in recipe.windows if w.frames > 1]
    special = {"largest": source.render(largest, HELD_OUT_SEEDS + 50)}
    if films:
        special["films"] = source.render(films[0], HELD_OUT_SEEDS + 51)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = source.next()
        order = chooser.choices(config.transformer.orders, recipe.order_shares)[0]
        if chooser.random() < recipe.sketch_dropout or batch.sketches is None:
            batch = replace(batch, sketches=None)
        else:
            rough = roughened(batch.sketches, tokenizer.quantizer, recipe.sketch_noise)
            batch = replace(batch, sketches=rough)
        if recipe.schedule == "patch":
            prompts = recipe.prompts(batch, chooser)
            return canvas_loss.render_and_optimise(batch, order, prompts, trainer), {}
        noise = recipe.text_noise * chooser.random()
        value, figures = torch.zeros((), device=device), {}
        if "text" not in recipe.frozen:
            value, figures = read_captions(probe, transformer, words, recipe, chooser, noise)
        if batch.contrastable and chooser.random() < recipe.contrast:
            # A sketch tells more than any caption, so half of the time there is none.
            asked = batch if chooser.random() < 0.5 else replace(batch, sketches=None)
            tokens, contrast = canvas_loss.contrast(asked, order, chooser.randrange(2**31), recipe.wide_words, noise)
            value = value + recipe.contrast_weight * contrast
            figures["contrast"] = float(contrast.detach())
        else:
            context_dropout = recipe.context_dropout if chooser.random() < 0.5 else 0.0
            known_place = chooser.random() >= recipe.place_dropout
            prompts = recipe.prompts(batch, chooser)
            # Without a sketch to tell of a sun, more weight where there is one would draw suns where there are none.
            weighted = batch.sketches is not None and known_place
            displacement = recipe.displacement if weighted and batch.frames == 1 else 0.0
            tokens = canvas_loss(
                batch, order, prompts, known_place, context_dropout, noise, weighted, displacement
            ).mean()
        figures["tokens"] = float(tokens.detach())
        return tokens + value, figures

    def evaluate() -> dict[str, float]:
        def mean(batches: Sequence[TokenBatch], order: str, told: bool = True) -> float:
            values = [canvas_loss(b, order, b.prompts(7) if told else [None] * len(b.shows)) for b in batches]
            return float(torch.cat(values).mean())

        alone = [replace(batch, sketches=None) for batch in stills]
        figures = {f"held_out_{order}": mean(alone, order) for order in config.transformer.orders[:2]}
        figures["held_out_no_text"] = mean(alone, first, told=False)
        figures["held_out_contrast"] = float(
            torch.stack([canvas_loss.contrast(b, first, 7, 0.0, 0.0)[1] for b in alone]).mean()
        )
        if config.transformer.sketch:
            figures["held_out_sketched"] = mean(stills, first)
        figures |= {f"held_out_{name}": mean([batch], first) for name, batch in special.items()}
        return figures

    def sample(path: Path) -> None:
        model = Model(config, tokenizer, transformer, words, "training")
        save_sheet(draw_pictures(model, SAMPLE_PROMPTS, 4, 4), path, columns=4)

    trainer.run(loss, evaluate, sample)
    transformer.load_state_dict(part_of(trainer.averaged(), "transformer"))
    return transformer.eval()


@torch.no_grad()
def draw_pictures(
    model: Model,
    prompts: Sequence[str | None],
    rows: int,
    columns: int,
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.98, cfg_scale=3.0),
    order: str = "zeta",
    seed: int = 0,
    frames: int = 1,
) -> Tensor:
    """Pictures (or films) of rows x columns patches, one for each prompt, drawn side by side.

    Returns [P * frames, 3, H, W] in [-1, 1], the frames of a film one after another.
    """
    decoder = PatchDecoder(model, slots=len(prompts), pages=2 * len(prompts) * frames * rows * columns)
    grid = Grid(frames, rows, columns, model.config.patch_px)
    canvases = [decoder.start(f"{i}", grid, order, p, sampling, seed + i) for i, p in enumerate(prompts)]
    for patch in ORDERS[order].sequence(grid):
        decoder.decode([(canvas, patch) for canvas in canvases])
    return model.tokenizer.decode(torch.cat([c.tokens for c in canvases]))
