"""Do films hold still where they should, and move where they are told to? Beside rendered films of the same motion."""

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from training.captions import moving
from training.datasets import HELD_OUT_SEEDS, to_uint8
from training.evaluation.figures import sheet
from training.evaluation.metrics import bootstrap_interval, frechet_distance
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.setting import Setting, held_out_captions
from training.scenes import render, sample_scenes
from training.sources import FRAME_TIMES_S

SIDE_PX, FRAMES = 256, 6
CAPTIONS_SEED = 3
CHANGED = 6  # of 255: a token's mean change that is seen as one
SHOWN = 3
RENDERED_SETS = 2


@dataclass(frozen=True)
class Kind:
    """Films whose camera goes `pan` tokens to the right per frame."""

    name: str
    label: str
    pan: int


STILL, PANNING = Kind("still", "still camera", 0), Kind("pan", "pan to the right", 1)


def measure(setting: Setting) -> Part:
    """Films of 256x256 and six frames, in real time: with a still camera, and with one that pans to the right."""
    part, count = Part(), setting.counts.share(20, 2)
    factor = setting.model.config.tokenizer.factor
    for number, kind in enumerate((STILL, PANNING)):
        prompts = [
            moving(text, kind.pan, False, _telling(i)) for i, text in enumerate(held_out_captions(count, CAPTIONS_SEED))
        ]
        drawn = setting.gallery.draw_films(f"films, {kind.label}", prompts, SIDE_PX, SIDE_PX, FRAMES)
        rendered = [
            rendered_films(setting, count, kind.pan * factor, 400_000 + 10_000 * (number * RENDERED_SETS + i))
            for i in range(RENDERED_SETS)
        ]
        part.rows += frechet_rows(setting, kind, drawn, rendered)
        part.rows.append(change_row(kind, drawn, torch.cat(rendered), factor))
        if kind.pan:
            part.rows.append(pan_row(drawn, torch.cat(rendered), factor))
        part.figures.append(Figure(f"{kind.label}, frame by frame", sheet(drawn[:SHOWN].flatten(0, 1), FRAMES)))
    return part


def _telling(i: int) -> int:
    """A seed of `moving` whose words name the motion; some leave it open."""
    return next(seed for seed in range(1000 * i, 1000 * (i + 1)) if moving("", 0, False, seed) != "")


def rendered_films(setting: Setting, count: int, pan_px: int, offset: int) -> Tensor:
    """Scenes never trained on, in real time: uint8 [count, FRAMES, 3, SIDE_PX, SIDE_PX] on the CPU."""
    scenes = sample_scenes(count, HELD_OUT_SEEDS + offset, aspect=1.0, device=setting.device)
    frames = []
    for i in range(FRAMES):
        box = (0, i * pan_px, SIDE_PX, SIDE_PX + i * pan_px)
        frames.append(to_uint8(render(scenes, (SIDE_PX, SIDE_PX), box=box, time=10 + i * FRAME_TIMES_S[0])).cpu())
    return torch.stack(frames, 1)


def frechet_rows(setting: Setting, kind: Kind, drawn: Tensor, rendered: list[Tensor]) -> list[Row]:
    """Frechet distance between the frames of drawn and of rendered films, beside that of two rendered sets."""
    found, *sets = (setting.features(films.flatten(0, 1)) for films in (drawn, *rendered))
    value = fmean(frechet_distance(found, features) for features in sets)
    floor = fmean(frechet_distance(a, b) for a, b in combinations(sets, 2))
    note = f"floor, between rendered sets: {floor:.4g}; {len(found)} frames of {len(drawn)} films on each side"
    return [Row(f"film_{kind.name}_frechet", f"Frechet distance of frames, {kind.label}", value, "", "lower",
                3 * floor, len(drawn), None, note)]  # fmt: skip


def change_row(kind: Kind, drawn: Tensor, rendered: Tensor, factor: int) -> Row:
    """How much of a picture changes from frame to frame: flicker shows here, and so does a film that stands still."""
    pan_px = kind.pan * factor
    found, like = (changed(films, pan_px, factor) for films in (drawn, rendered))
    return Row(
        f"film_{kind.name}_changed",
        f"tokens' cells that change between frames, {kind.label}" + (", the pan undone" if pan_px else ""),
        float(found.mean()),
        "share",
        "lower",
        float(like.quantile(0.9)),
        len(drawn),
        bootstrap_interval(found, lambda values: float(values.mean())),
        f"rendered films: {float(like.mean()):.3f} on average; the goal is what nine in ten of them stay below",
    )


def pan_row(drawn: Tensor, rendered: Tensor, factor: int) -> Row:
    """Does the picture move as told? What is left of the difference between frames when the pan is undone."""
    found, like = (steps(films, factor) / steps(films, 0).clamp_min(1e-6) for films in (drawn, rendered))
    return Row(
        "film_pan_left_over",
        "difference between frames with the pan undone, over that without",
        float(found.mean()),
        "",
        "lower",
        float(like.quantile(0.9)),
        len(drawn),
        bootstrap_interval(found, lambda values: float(values.mean())),
        f"rendered films: {float(like.mean()):.3f} on average; 1 = no pan at all",
    )


def changed(films: Tensor, pan_px: int, factor: int) -> Tensor:
    """uint8 [N, F, 3, H, W] -> [N]: share of cells of factor x factor pixels that change by more than CHANGED."""
    before, after = _pairs(films, pan_px)
    cells = torch.nn.functional.avg_pool2d((after - before).abs().mean(2).flatten(0, 1), factor)
    return (cells > CHANGED).double().mean((1, 2)).view(len(films), -1).mean(1)


def steps(films: Tensor, pan_px: int) -> Tensor:
    """uint8 [N, F, 3, H, W] -> [N]: mean absolute difference between frames, out of 255."""
    before, after = _pairs(films, pan_px)
    return (after - before).abs().double().mean((1, 2, 3, 4))


def _pairs(films: Tensor, pan_px: int) -> tuple[Tensor, Tensor]:
    """Each frame and the next one, [N, F - 1, 3, H, W - pan_px], cut to what both show after a pan to the right."""
    values, width = films.float(), films.shape[-1]
    return values[:, :-1, ..., pan_px:], values[:, 1:, ..., : width - pan_px]
