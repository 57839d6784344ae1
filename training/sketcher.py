"""Trains the sketcher (model/sketching.py) on sketches and drafts of whole pictures and their captions.

Apart from the transformer: it reads one patch a picture, or four, so it sees many times as many captions a step.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from canvas.grid import Grid
from model.config import ModelConfig
from model.generate import Model, sketch_decoder
from model.sampling import Sampling
from model.sketching import Sketcher, draw_outline
from model.text import WordPieces
from model.tokenizer import Tokenizer
from training.checkpoint import part_of
from training.datasets import HELD_OUT_SEEDS
from training.device import compile_methods_on_gpu
from training.loop import RunSettings, Trainer
from training.losses import AttributeProbe, CanvasLoss, read_captions, roughened
from training.reader import begun_with, teach_pixels
from training.recipe import TransformerRecipe
from training.sheets import save_sheet
from training.sketch_batches import SketchSource, sketch_batch
from training.sources import CaptionedCrops, TokenBatch
from training.transformer import SAMPLE_PROMPTS

HELD_OUT = 3  # batches of scenes
HELD_OUT_DRAFTS = {"held_out_drafts": (4, 4), "held_out_wide_drafts": (4, 16)}  # rows and columns of their canvases
SAMPLED = Sampling(top_p=0.98, cfg_scale=4.0)


def train_sketcher(
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
) -> Sketcher:
    """Returns the sketcher with averaged weights, in evaluation mode; its run is kept in settings.folder.

    Arguments as those of train_transformer(). initial: of a sketcher, or of the transformer that it draws sketches for.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer.to(device).eval().requires_grad_(False)
    sketcher = Sketcher(config)
    sketcher.load_state_dict(begun_with(initial or {}, sketcher.state_dict()))
    sketcher.text.sentence.load_state_dict(sentence)
    sketcher.to(device)
    probe = AttributeProbe(config.transformer.width).to(device)
    trained = nn.ModuleDict({"sketcher": sketcher, "probe": probe})
    trained.adamw = {"probe", *(f"sketcher.{name}" for name in sketcher.adamw)}  # type: ignore[assignment]
    trainer = Trainer(trained, settings)
    compile_methods_on_gpu(device, sketcher.layers, "project", "finish")
    words = WordPieces(words_file, config.transformer.text_tokens)
    scenes = recipe.source(tokenizer, config, device, seed + trainer.step, pictures)
    source = SketchSource(scenes)
    drafted = config.transformer.draft
    if drafted and trainer.step == 0 and not sketcher.draft.of_pixels.weight.any():
        teach_pixels(sketcher.draft, sketcher, tokenizer, source.drafts, settings, recipe.sketch_noise, seed)
        trainer.begin_anew()
    losses, chooser = CanvasLoss(sketcher, tokenizer, words, device), random.Random(seed + trainer.step)
    order = config.transformer.orders[0]
    rendered = [scenes.render(recipe.windows[0], HELD_OUT_SEEDS + i) for i in range(HELD_OUT)]
    known = [(batch.sketches, batch.shows) for batch in rendered if batch.sketches is not None]
    held_out = [sketch_batch(*each) for each in known]
    fixed, px = SketchSource(recipe.source(tokenizer, config, device, 0)), config.patch_px
    held_out_drafts = {
        name: [fixed.last_drafts(Grid(1, *shape, px), HELD_OUT_SEEDS + i) for i in range(HELD_OUT)]
        for name, shape in HELD_OUT_DRAFTS.items()
        if drafted
    }

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        noise = recipe.text_noise * chooser.random()
        if drafted and chooser.random() < recipe.drafts:
            return of_drafts(source.drafts(), noise)
        batch = source.sketches()
        value, figures = read_captions(probe, sketcher, words, recipe, chooser, noise)
        if batch.contrastable and chooser.random() < recipe.contrast:
            tokens, contrast = losses.contrast(batch, order, chooser.randrange(2**31), recipe.wide_words, noise)
            value = value + recipe.contrast_weight * contrast
            figures["contrast"] = float(contrast.detach())
        else:
            tokens = losses(batch, order, recipe.prompts(batch, chooser), text_noise=noise).mean()
        figures["tokens"] = float(tokens.detach())
        return tokens + value, figures

    def of_drafts(batch: TokenBatch, noise: float) -> tuple[Tensor, dict[str, float]]:
        assert batch.sketches is not None
        rough = roughened(batch.sketches, tokenizer.quantizer, recipe.sketch_noise)
        asked = replace(batch, sketches=rough)
        prompts = recipe.prompts(batch, chooser)
        tokens = losses(asked, order, prompts, text_noise=noise, weighted=True, displacement=recipe.displacement).mean()
        value, figures = read_captions(probe, sketcher, words, recipe, chooser, noise)
        return tokens + value, {**figures, "drafts": float(tokens.detach())}

    def evaluate() -> dict[str, float]:
        def mean(told: bool, batches: Sequence[TokenBatch] = held_out) -> float:
            values = [losses(b, order, b.prompts(7) if told else [None] * len(b.shows)) for b in batches]
            return float(torch.cat(values).mean())

        contrasts = [losses.contrast(b, order, 7, 0.0, 0.0)[1] for b in held_out]
        figures = {
            "held_out": mean(told=True),
            "held_out_no_text": mean(told=False),
            "held_out_contrast": float(torch.stack(contrasts).mean()),
        }
        return figures | {name: mean(told=True, batches=batches) for name, batches in held_out_drafts.items()}

    def sample(path: Path) -> None:
        model = Model(config, tokenizer, sketcher, words, "training", sketcher)
        save_sheet(draw_outlines(model), path, columns=4)

    trainer.run(loss, evaluate, sample)
    sketcher.load_state_dict(part_of(trainer.averaged(), "sketcher"))
    return sketcher.eval()


@torch.no_grad()
def draw_outlines(model: Model) -> Tensor:
    """The draft, or sketch, of a square canvas for each of SAMPLE_PROMPTS, as pixels [P, 3, h, h] in [-1, 1]."""
    decoder, square = sketch_decoder(model), Grid(1, 4, 4, model.config.patch_px)
    drawn = [draw_outline(decoder, f"{i}", square, prompt, SAMPLED, i) for i, prompt in enumerate(SAMPLE_PROMPTS)]
    return model.tokenizer.decode(torch.stack([outline.shown for outline in drawn]))
