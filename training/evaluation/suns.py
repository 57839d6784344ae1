"""Do patches draw the sun and the moon that their sketch shows? What nobody overlooks in a picture.

Held-out scenes with a sun or a full moon are drawn again to a caption and their true sketch (and draft). How much have
the drawn disc and the true one in common, and how round is the drawn one? Beside it what is left of the disc in what
patches are told, and through the tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from canvas.grid import Grid
from canvas.order import ORDERS
from model.generate import Model
from model.sketch import Outline
from training.attributes import Attributes
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS, to_uint8
from training.evaluation.figures import sheet
from training.evaluation.metrics import bootstrap_interval
from training.evaluation.pictures import SERVED, decoder_for, draw_together
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.setting import Setting
from training.outlines import Outliner
from training.scenes import render, sample_scenes

SIDE_PX = 256
RENDERED_TOGETHER = 8
SHOWN = 8
SEED = HELD_OUT_SEEDS + 777_000
# In radii of a disc: where its own colour is read, where that around it is, and how far away a pixel still is its.
INNER, AROUND, REACH = 0.7, (1.25, 1.8), 1.8
CONTRAST = 0.25  # between the two colours, from which a disc stands out
WHOLE = (0.8, 1.2)  # area of a disc that nothing hides, over that of its circle


@dataclass(frozen=True)
class LitScene:
    """A scene with a disc: pixels [3, 256, 256] in [-1, 1], which of them are the disc's, and where that is in px."""

    pixels: Tensor
    shows: Attributes
    disc: Tensor  # [256, 256] bool
    row: float
    column: float
    radius: float


def find_disc(pixels: Tensor, scene: Tensor, row: float, column: float, radius: float) -> Tensor | None:
    """Which pixels [3, H, W] look more like the scene's disc than like what surrounds it, near the disc.

    None where the disc does not stand out of the scene.
    """
    rows, columns = (torch.arange(n, device=pixels.device) + 0.5 for n in pixels.shape[1:])
    away = ((rows[:, None] - row) ** 2 + (columns - column) ** 2).sqrt() / radius
    inner, around = away < INNER, (away > AROUND[0]) & (away < AROUND[1])
    own, other = (scene[:, part].median(1).values[:, None, None] for part in (inner, around))
    if (own - other).norm() < CONTRAST:
        return None
    return ((pixels - own).norm(dim=0) < (pixels - other).norm(dim=0)) & (away < REACH)


def lit_scenes(count: int, device: torch.device) -> list[LitScene]:
    """Scenes never trained on with a whole disc that stands out."""
    found: list[LitScene] = []
    start = 0
    while len(found) < count:
        scenes = sample_scenes(RENDERED_TOGETHER, SEED + start, device=device)
        start += 1
        n = {name: scenes.numbers[name].tolist() for name in ("orb_x", "orb_y", "orb_radius", "crescent")}
        for i, pixels in enumerate(render(scenes, (SIDE_PX, SIDE_PX))):
            row, column, radius = (n[name][i] * SIDE_PX for name in ("orb_y", "orb_x", "orb_radius"))
            if radius <= 0 or n["crescent"][i] > 0:
                continue
            disc = find_disc(pixels, pixels, row, column, radius)
            if disc is not None and WHOLE[0] < float(disc.sum()) / (torch.pi * radius**2) < WHOLE[1]:
                found.append(LitScene(pixels, scenes.attributes[i], disc, row, column, radius))
    return found[:count]


def drawn_discs(pictures: Tensor, scenes: Sequence[LitScene]) -> list[Tensor]:
    """Which pixels look like the scene's disc, [256, 256] bool of each. pictures [N, 3, 256, 256] in [-1, 1]."""
    discs = [find_disc(p, s.pixels, s.row, s.column, s.radius) for p, s in zip(pictures, scenes, strict=True)]
    return [disc for disc in discs if disc is not None]  # all: they stand out of the scenes, whatever the pictures


def overlap(one: Tensor, other: Tensor) -> float:
    """Intersection over union."""
    return float((one & other).sum()) / float((one | other).sum())


def roundness(disc: Tensor) -> float:
    """What a disc, [H, W] bool, has in common with the circle of its area about its middle; 0 where there is none."""
    if not disc.any():
        return 0.0
    where = disc.nonzero().float()
    away = (torch.ones_like(disc).nonzero() - where.mean(0)).square().sum(-1)
    return overlap(disc, away.view(disc.shape) < len(where) / torch.pi)


def draw_again(model: Model, outliner: Outliner, scenes: Sequence[LitScene], slots: int) -> Tensor:
    """The scenes as the model draws them to their true outlines, [N, 3, 256, 256] in [-1, 1]."""
    grid, order = Grid.from_pixels(SIDE_PX, SIDE_PX, model.config.patch_px), ORDERS[model.config.transformer.orders[0]]
    unled = replace(model, sketcher=None)  # outlines are given
    parts = []
    for start in range(0, len(scenes), slots):
        group = scenes[start : start + slots]
        decoder = decoder_for(unled, grid, order, len(group), slots)
        canvases = []
        for i, scene in enumerate(group, start):
            canvas = decoder.start(str(i), grid, order.name, caption(scene.shows, SEED + i), SERVED, i)
            true = outliner.of_wholes(scene.pixels[None], [1.0], outliner.draft_of(grid.rows, grid.columns))
            decoder.follow(canvas, Outline(true.tokens[0], None if true.drafts is None else true.drafts[0]))
            canvases.append(canvas)
        parts.append(draw_together(decoder, canvases))
    return torch.cat(parts)


def measure(setting: Setting) -> Part:
    """The overlap of drawn discs with the true ones, beside what draft and tokenizer keep of these."""
    model = setting.model
    if model.sketcher is None:
        return Part()
    scenes = lit_scenes(setting.counts.share(5, 2), setting.device)
    outliner, decode = Outliner(model.tokenizer, model.config, setting.device), model.tokenizer.decode
    grid = Grid.from_pixels(SIDE_PX, SIDE_PX, model.config.patch_px)
    draft = outliner.draft_of(grid.rows, grid.columns)
    with torch.inference_mode():
        through = [decode(outliner.encode(scene.pixels[None])) for scene in scenes]
        drafts = [decode(outliner.of_wholes(scene.pixels[None], [1.0], draft).followed) for scene in scenes]
        shown = [F.interpolate(draft, (SIDE_PX, SIDE_PX), mode="bicubic") for draft in drafts]
        drawn = draw_again(model, outliner, scenes, setting.slots)
    rows = []
    for name, which, pictures in (
        ("suns_drawn", "suns and moons drawn to their true sketch", drawn),
        ("suns_told", "what patches are told of them: the draft, or else the sketch", torch.cat(shown)),
        ("suns_tokenizer", "suns and moons through the tokenizer alone", torch.cat(through)),
    ):
        discs = drawn_discs(pictures, scenes)
        for ending, what, shares in (
            ("", "overlap with the true disc", [overlap(d, s.disc) for d, s in zip(discs, scenes, strict=True)]),
            ("_round", "overlap with a circle of their own", [roundness(disc) for disc in discs]),
        ):
            label, interval = f"{which}: {what}", bootstrap_interval(torch.tensor(shares))
            rows.append(Row(name + ending, label, fmean(shares), "of the union", "higher", None, len(scenes), interval))
    pairs = torch.cat([torch.stack([s.pixels for s in scenes[:SHOWN]]), drawn[:SHOWN]])
    text = "scenes above, below what is drawn to their true sketches"
    return Part(rows, [Figure(text, sheet(to_uint8(pairs).cpu(), SHOWN))])
