"""Do stars survive the tokenizer? The smallest things that the scenes hold, and the first that a blur takes away."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from model.tokenizer import Tokenizer
from training.datasets import HELD_OUT_SEEDS, starry_attributes, to_float, to_uint8, without_stars
from training.evaluation.metrics import bootstrap_interval, luminance, point_contrast, ratio_of_sums
from training.evaluation.rows import Row
from training.evaluation.survival import survive
from training.scenes import render, sample_scenes

VISIBLE = 0.1  # contrast, of a full range of 2, from which a star counts as seen
BESIDE_PX = 7  # to the right of a star, where there is none as a rule
GOAL = 0.8


def night_scenes(count: int, side: int, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """Starry scenes never trained on, and where their stars are.

    Returns pixels [count, 3, side, side] in [-1, 1], and for each scene the stars' rows and columns [K, 2]. The places
    are known, not guessed: each scene is drawn again without stars, and the difference is stars.
    """
    shown = starry_attributes(count, random.Random("night scenes"))
    scenes = sample_scenes(count, HELD_OUT_SEEDS + 400_000, device=device, attributes=shown)
    starry = render(scenes, (side, side))
    light = luminance(starry)
    glow = light - luminance(render(without_stars(scenes), (side, side)))
    # the brightest around also in the scene itself: not one at the moon's rim
    peaks = (glow > VISIBLE) & (light == F.max_pool2d(light[:, None], 5, 1, 2)[:, 0])
    places = [peak.nonzero() for peak in peaks]
    seen = [p[point_contrast(scene, p) > VISIBLE] for scene, p in zip(starry, places, strict=True)]
    return starry, seen


def measure_stars(tokenizer: Tokenizer, count: int, device: torch.device) -> list[Row]:
    """The share of stars that keep at least half of their contrast, through the tokenizer and through WebP."""
    kept: dict[str, list[Tensor]] = {"tokenizer": [], "webp": [], "beside": []}
    for scene, stars in zip(*night_scenes(count, 256, device), strict=True):
        through = survive(tokenizer, "night", to_uint8(scene).cpu(), device)
        scene, stars = scene.cpu(), stars.cpu()
        enough = 0.5 * point_contrast(scene, stars)
        beside = (stars + torch.tensor([0, BESIDE_PX])).clamp_max(scene.shape[-1] - 1)
        kept["tokenizer"].append(point_contrast(to_float(through.output), stars) >= enough)
        kept["webp"].append(point_contrast(to_float(through.webp), stars) >= enough)
        # the same rule where no star is: what a reconstruction full of dots would reach without knowing of stars
        kept["beside"].append(point_contrast(to_float(through.output), beside) >= enough)
    pairs = {k: torch.tensor([[float(t.sum()), len(t)] for t in v]) for k, v in kept.items()}
    share = {k: ratio_of_sums(v.numpy()) for k, v in pairs.items()}
    stars_seen = int(pairs["tokenizer"][:, 1].sum())
    note = f"{stars_seen} stars; {BESIDE_PX} px beside them the same rule finds {share['beside']:.0%}"
    interval = bootstrap_interval(pairs["tokenizer"], ratio_of_sums)
    return [
        Row(
            "tokenizer_stars_kept", "stars that keep half of their contrast", share["tokenizer"], "share", "higher",
            GOAL, count, interval, note,
        ),
        Row("webp_stars_kept", "the same of WebP", share["webp"], "share", "higher", None, count),
    ]  # fmt: skip
