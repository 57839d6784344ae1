"""Can one see where patches meet? The step across their borders, over that across the other borders of tokens."""

import torch

from training.datasets import to_float
from training.evaluation.frechet import CAPTIONS_SEED
from training.evaluation.metrics import bootstrap_interval, border_steps, ratio_of_sums
from training.evaluation.rows import Part, Row
from training.evaluation.setting import Setting, held_out_captions

GOAL = 1.05


def measure(setting: Setting) -> Part:
    """Every order of the model, and rendered scenes for comparison: where landscapes have their edges is not even."""
    config = setting.model.config
    side, count = max(256, 2 * config.patch_px), setting.counts.share(2, 2)
    captions = held_out_captions(count, CAPTIONS_SEED)
    sets = {
        order: setting.gallery.draw(f"seams, {order}", captions, side, side, order)
        for order in config.transformer.orders
    }
    sets["rendered"] = setting.rendered(setting.counts.share(2, 8), side, side, 300_000)[0]
    part = Part()
    for name, pictures in sets.items():
        steps = border_steps(to_float(pictures), config.patch_px, config.tokenizer.factor)
        part.rows += [seam_row(name, border, pairs) for border, pairs in steps.items()]
    return part


def seam_row(name: str, border: str, pairs: torch.Tensor) -> Row:
    """pairs: [N, 2] of metrics.border_steps.  name: an order, or "rendered"."""
    rendered = name == "rendered"
    return Row(
        f"seams_{name}_{border}",
        f"seams, {border}, {'rendered scenes for comparison' if rendered else name}",
        ratio_of_sums(pairs.double().numpy()),
        "",
        "lower",
        None if rendered else GOAL,
        len(pairs),
        bootstrap_interval(pairs, ratio_of_sums),
    )
