"""Trains the sketcher (model/sketching.py) on sketches of whole pictures and their captions.

Apart from the transformer: it reads one patch a picture, so it sees many times as many captions a step.
"""

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from canvas.grid import Grid
from model.config import ModelConfig
from model.generate import Model, sketch_decoder
from model.sampling import Sampling
from model.sketching import Sketcher, draw_sketch
from model.text import WordPieces
from model.tokenizer import Tokenizer
from training.checkpoint import part_of
from training.datasets import HELD_OUT_SEEDS
from training.device import compile_methods_on_gpu
from training.loop import RunSettings, Trainer
from training.losses import AttributeProbe, CanvasLoss, read_captions
from training.recipe import TransformerRecipe
from training.sheets import save_sheet
from training.sources import CaptionedCrops, sketch_batch
from training.transformer import SAMPLE_PROMPTS

HELD_OUT = 3  # batches of scenes
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
    own = sketcher.state_dict()
    sketcher.load_state_dict(own | {name: value for name, value in (initial or {}).items() if name in own})
    sketcher.text.sentence.load_state_dict(sentence)
    sketcher.to(device)
    probe = AttributeProbe(config.transformer.width).to(device)
    trained = nn.ModuleDict({"sketcher": sketcher, "probe": probe})
    trained.adamw = {"probe", *(f"sketcher.{name}" for name in sketcher.adamw)}  # type: ignore[assignment]
    trainer = Trainer(trained, settings)
    compile_methods_on_gpu(device, sketcher.layers, "project", "finish")
    words = WordPieces(words_file, config.transformer.text_tokens)
    source = recipe.source(tokenizer, config, device, seed + trainer.step, pictures)
    losses, chooser = CanvasLoss(sketcher, tokenizer, words, device), random.Random(seed + trainer.step)
    order = config.transformer.orders[0]
    scenes = [source.render(recipe.windows[0], HELD_OUT_SEEDS + i) for i in range(HELD_OUT)]
    held_out = [sketch_batch(batch.sketches, batch.shows) for batch in scenes if batch.sketches is not None]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = source.sketches()
        noise = recipe.text_noise * chooser.random()
        value, figures = read_captions(probe, sketcher, words, recipe, chooser, noise)
        if batch.contrastable and chooser.random() < recipe.contrast:
            tokens, contrast = losses.contrast(batch, order, chooser.randrange(2**31), recipe.wide_words, noise)
            value = value + recipe.contrast_weight * contrast
            figures["contrast"] = float(contrast.detach())
        else:
            tokens = losses(batch, order, recipe.prompts(batch, chooser), text_noise=noise).mean()
        figures["tokens"] = float(tokens.detach())
        return tokens + value, figures

    def evaluate() -> dict[str, float]:
        def mean(told: bool) -> float:
            values = [losses(b, order, b.prompts(7) if told else [None] * len(b.shows)) for b in held_out]
            return float(torch.cat(values).mean())

        contrasts = [losses.contrast(b, order, 7, 0.0, 0.0)[1] for b in held_out]
        return {
            "held_out": mean(told=True),
            "held_out_no_text": mean(told=False),
            "held_out_contrast": float(torch.stack(contrasts).mean()),
        }

    def sample(path: Path) -> None:
        model = Model(config, tokenizer, sketcher, words, "training", sketcher)
        save_sheet(draw_sketches(model), path, columns=4)

    trainer.run(loss, evaluate, sample)
    sketcher.load_state_dict(part_of(trainer.averaged(), "sketcher"))
    return sketcher.eval()


@torch.no_grad()
def draw_sketches(model: Model) -> Tensor:
    """A sketch of a square canvas for each of SAMPLE_PROMPTS, as pixels [P, 3, px, px] in [-1, 1]."""
    decoder, square, m = (
        sketch_decoder(model),
        Grid(1, 1, 1, model.config.patch_px),
        model.config.transformer.patch_tokens,
    )
    drawn = [draw_sketch(decoder, f"{i}", square, prompt, SAMPLED, i) for i, prompt in enumerate(SAMPLE_PROMPTS)]
    return model.tokenizer.decode(torch.stack(drawn).unflatten(1, (m, m)))
