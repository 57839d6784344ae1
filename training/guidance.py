"""Teaches a model to draw with classifier-free guidance in one pass, from itself in two; all its other weights stay."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model.generate import Model
from model.sampling import Sampling, guide
from model.sketch import WITHOUT_PROMPT
from model.transformer import Transformer
from training.datasets import HELD_OUT_SEEDS
from training.loop import RunSettings, Trainer
from training.losses import CanvasLoss
from training.recipe import TransformerRecipe
from training.sheets import save_sheet
from training.sources import CaptionedCrops, TokenBatch
from training.transformer import SAMPLE_PROMPTS, draw_pictures

SCALE_MOST = 5.0  # of guidance that is taught
HELD_OUT_SCALES = (2.0, 4.0)


def apart(losses: CanvasLoss, batch: TokenBatch, order: str, prompts: Sequence[str | None], scale: float) -> Tensor:
    """How far one pass is from what guidance in two draws from: Kullback-Leibler divergence, in nats a token."""
    with torch.no_grad():
        told = losses.logits(batch, order, prompts)[0]
        untold = losses.logits(batch, order, [None] * len(prompts), sketched=WITHOUT_PROMPT)[0]
        guided = guide(told, untold, told.new_tensor(scale)).log_softmax(-1)
    drawn = losses.logits(batch, order, prompts, scale=scale)[0].log_softmax(-1)
    return F.kl_div(drawn, guided, log_target=True, reduction="none").sum(-1).mean()


def train_guidance(
    model: Model,
    settings: RunSettings,
    recipe: TransformerRecipe = TransformerRecipe(),
    most: float = SCALE_MOST,
    seed: int = 0,
    pictures: CaptionedCrops | None = None,
) -> Model:
    """The model with guidance in one pass beside what it has; its run is kept in settings.folder.

    recipe: of the transformer: it is taught on the same.  most: largest scale.
    A model that has it already goes on from there, if it was taught as far.
    """
    torch.manual_seed(seed)
    device = model.device
    shape = replace(model.config.transformer, distilled_scale=most)
    config = replace(model.config, transformer=shape)
    transformer = Transformer(config)
    known = model.transformer.state_dict()
    if model.config.transformer != shape:
        known = {name: value for name, value in known.items() if not name.startswith("guidance.")}
    transformer.load_state_dict({**transformer.state_dict(), **known})
    transformer.to(device).requires_grad_(False)
    trained = transformer.guidance.requires_grad_(True)
    trainer = Trainer(trained, settings)
    source = recipe.source(model.tokenizer, config, device, seed + trainer.step, pictures)
    losses = CanvasLoss(transformer, model.tokenizer, model.words, device)
    chooser = random.Random(seed + trainer.step)
    held_out = [source.render(recipe.windows[0], HELD_OUT_SEEDS + i) for i in range(3)]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = source.next()
        order = chooser.choices(shape.orders, recipe.order_shares)[0]
        prompts = batch.prompts(chooser.randrange(2**31), recipe.wide_words)
        return apart(losses, batch, order, prompts, chooser.uniform(1, most)), {}

    def evaluate() -> dict[str, float]:
        def mean(scale: float) -> float:
            return float(torch.stack([apart(losses, b, shape.orders[0], b.prompts(7), scale) for b in held_out]).mean())

        return {f"held_out_{scale:g}": mean(scale) for scale in HELD_OUT_SCALES if scale <= most}

    def sample(path: Path) -> None:
        taught = replace(model, config=config, transformer=transformer)
        sampling = Sampling(top_p=0.98, cfg_scale=min(4.0, most), distilled=True)
        save_sheet(draw_pictures(taught, SAMPLE_PROMPTS, 4, 4, sampling), path, columns=4)

    trainer.run(loss, evaluate, sample)
    trained.load_state_dict(trainer.averaged())
    return replace(model, config=config, transformer=transformer.eval().requires_grad_(False))
