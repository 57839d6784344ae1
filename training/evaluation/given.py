"""Given pixels: does what is drawn beside them go on from them, and does guidance of the decoder help?"""

from itertools import pairwise
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from canvas.controller import Layout, choose_orders, lay_out, plan_task
from canvas.grid import Box, Extent
from model.generate import Model, PatchDecoder, draw_phases
from model.known import meet
from model.pixels import final_pixels
from model.tokenizer import Tokenizer, guide_from
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS, to_float, to_uint8
from training.evaluation.figures import sheet
from training.evaluation.frechet import BLOCK_PX
from training.evaluation.metrics import bootstrap_interval, frechet_distance
from training.evaluation.pictures import SERVED
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.setting import Setting
from training.folders import FolderData
from training.scenes import render, sample_scenes
from training.sources import FRAME_TIMES_S
from training.tokenizer import psnr

GIVEN_PX = 192  # the longer side of a picture that is extended
EXTENDED_PX = 64  # on each of its four sides
SCENE_PX, MIDDLE_PX, SCENE_SETS = (640, 320), 256, 3  # scenes, how wide a part is given, sets to compare with
BESIDE_PX = 8  # lines of pixels on each side of a border that its step is compared with
STRIP_PX = 16  # beside a border, where guidance matters most
SHOWN = 8
FILMS, FRAMES = 12, 4


def measure(setting: Setting) -> Part:
    """Pictures extended on all sides; pixels and frames beside given ones, decoded with guidance and without."""
    part = Part()
    pictures = given_pictures(setting, setting.counts.share(25, 3))
    extended, ratios = [], []
    for number, picture in enumerate(tqdm(pictures, desc="extending", unit="picture", dynamic_ncols=True)):
        whole, given = extend(setting.model, picture, number)
        ratios.append(border_step(whole, given))
        extended.append(whole)
    values = torch.tensor(ratios)
    part.rows.append(
        Row(
            "outpainting_border_step",
            f"step across the border of given pixels over steps beside it, {EXTENDED_PX} px added on four sides",
            float(values.mean()),
            "",
            "lower",
            1.10,
            len(ratios),
            bootstrap_interval(values, lambda v: float(v.mean())),
            f"{'photographs' if setting.photos else 'scenes'}; largest of all {float(values.max()):.2f}",
        )
    )
    part.rows += scene_rows(setting, part)
    part.rows += border_rows(setting.model.tokenizer, pictures)
    part.rows += flicker_rows(setting)
    side = max(max(p.shape[1:]) for p in extended)
    shown = [F.pad(p, (0, side - p.shape[2], 0, side - p.shape[1])) for p in extended[:SHOWN]]
    part.figures.append(Figure("extended on four sides, without a prompt", sheet(torch.stack(shown), 4)))
    return part


def given_pictures(setting: Setting, count: int) -> list[Tensor]:
    """Photographs of held-out sources, or without any scenes never trained on: uint8 [3, H, W], small."""
    if setting.photos is None:
        return list(setting.rendered(count, GIVEN_PX, GIVEN_PX * 3 // 4, 30_000)[0])
    pictures = FolderData(setting.photos, GIVEN_PX).split(held_out=True)
    return [picture for _, (_, picture) in zip(range(count), pictures, strict=False)]


class Given:
    """A picture [H, W, 3] uint8 at its place in a layout (model.known.KnownPixels), mirrored at its borders."""

    def __init__(self, pixels: NDArray[np.uint8], layout: Layout) -> None:
        assert layout.known is not None
        left, top, right, bottom = layout.known
        self._reach = layout.grid.patch_px  # nobody looks further beyond the grid
        around = ((top, layout.grid.height - bottom), (left, layout.grid.width - right))
        wide = [(before + self._reach, after + self._reach) for before, after in around]
        self._pixels = np.pad(pixels, (*wide, (0, 0)), "reflect")
        self._known = np.pad(np.ones(pixels.shape[:2], np.bool_), wide)

    def window(self, frame: int, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels [h, w, 3] of a box of the grid and [h, w] which of them are known."""
        rows, columns = (
            slice(a + self._reach, b + self._reach) for a, b in ((box.top, box.bottom), (box.left, box.right))
        )
        return self._pixels[rows, columns], self._known[rows, columns]


def extend(
    model: Model, picture: Tensor, seed: int, prompt: str | None = None, sideways: int = EXTENDED_PX
) -> tuple[Tensor, Box]:
    """A picture as the server extends it, uint8 [3, H, W], and where it lies in there.

    sideways: px added on the left and on the right; above and below they are EXTENDED_PX.
    """
    _, height, width = picture.shape
    e, px = EXTENDED_PX, model.config.patch_px
    given = Box(sideways, e, sideways + width, e + height)
    layout = lay_out(width + 2 * sideways, height + 2 * e, px, given)
    extent = Extent(*model.config.transformer.extent)
    plan = plan_task(layout, extent, choose_orders(layout, extent, model.config.transformer.orders))
    decoder = PatchDecoder(model, slots=1, pages=len(plan.grid))
    known = picture.permute(1, 2, 0).numpy()
    canvas = decoder.start_plan("extended", plan, prompt, SERVED, seed, Given(known, layout))
    draw_phases(decoder, canvas)
    whole = np.zeros((plan.grid.height, plan.grid.width, 3), np.uint8)
    patches = list(plan.grid)
    for patch, pixels in zip(patches, final_pixels(decoder, canvas, patches), strict=True):
        box = plan.grid.box(patch)
        whole[box.top : box.bottom, box.left : box.right] = to_uint8(pixels).permute(1, 2, 0).cpu().numpy()
    left, top = layout.origin
    seen = whole[top : top + layout.height, left : left + layout.width]
    seen[given.top : given.bottom, given.left : given.right] = known
    return torch.from_numpy(seen).permute(2, 0, 1), given


def scene_rows(setting: Setting, part: Part) -> list[Row]:
    """Scenes of which the middle is given and the rest drawn with their captions: do the corners look like scenes'?"""
    count, offset = setting.counts.share(12, 2), 500_000
    left, top = (SCENE_PX[0] - MIDDLE_PX) // 2, EXTENDED_PX
    sets, shown = [], []
    for i in range(1 + SCENE_SETS):
        scenes, attributes = setting.rendered(count, *SCENE_PX, offset + 10_000 * i)
        sets.append(scenes)
        shown.append(attributes)
    middles = sets[0][:, :, top:-top, left:-left]
    captions = [caption(attributes, i) for i, attributes in enumerate(shown[0])]
    work = tqdm(captions, desc="extending", unit="scene", dynamic_ncols=True)
    drawn = torch.stack(
        [extend(setting.model, m, i, c, left)[0] for i, (m, c) in enumerate(zip(middles, work, strict=True))]
    )
    found, own, *others = (setting.features(corners(pictures)) for pictures in (drawn, *sets))
    value, least = (fmean(frechet_distance(features, other) for other in others) for features in (found, own))
    part.figures.append(Figure("scenes extended beyond their middle, with their captions", sheet(drawn[:6], 2)))
    label = f"Frechet distance of corners, scenes of {SCENE_PX[0]}x{SCENE_PX[1]} extended with their captions"
    note = f"the scenes themselves: {least:.4g}; {len(found)} corners on each side"
    return [Row("extended_frechet", label, value, "", "lower", None, count, None, note)]


def corners(pictures: Tensor) -> Tensor:
    """[N, 3, H, W] -> their four corners of 256x256, [4 N, 3, 256, 256]."""
    above, below = pictures[..., :BLOCK_PX, :], pictures[..., -BLOCK_PX:, :]
    return torch.cat([part[..., side] for part in (above, below) for side in (slice(BLOCK_PX), slice(-BLOCK_PX, None))])


def border_step(picture: Tensor, given: Box) -> float:
    """Mean absolute step across the four borders of what was given, over that between the lines beside them."""
    x = picture.double()
    ratios = []
    for lines, at in (
        (x[:, given.top : given.bottom], given.left),
        (x[:, given.top : given.bottom], given.right),
        (x[:, :, given.left : given.right].mT, given.top),
        (x[:, :, given.left : given.right].mT, given.bottom),
    ):
        steps = lines.diff(dim=2).abs().mean((0, 1))
        beside = torch.cat([steps[at - 1 - BESIDE_PX : at - 1], steps[at : at + BESIDE_PX]])
        ratios.append(float(steps[at - 1] / beside.mean()))
    return fmean(ratios)


@torch.inference_mode()
def border_rows(tokenizer: Tokenizer, pictures: list[Tensor]) -> list[Row]:
    """The left half of a picture is given, the right half decoded from its own tokens: how near to the picture?"""
    found: dict[str, list[float]] = {"plain": [], "guided": [], "guided_and_met": []}
    factor, device = tokenizer.config.factor, next(tokenizer.parameters()).device
    for picture in pictures:
        height, width = (side // (2 * factor) * 2 * factor for side in picture.shape[1:])
        x = to_float(picture[:, :height, :width].to(device))
        mask = torch.zeros(height, width, dtype=torch.bool, device=device)
        mask[:, : width // 2] = True
        tokens = tokenizer.encode(x[None])
        plain, guided = tokenizer.decode(tokens), tokenizer.decode(tokens, guide=guide_from(x[None], mask[None]))
        strip = slice(width // 2, width // 2 + STRIP_PX)
        for name, drawn in (("plain", plain), ("guided", guided), ("guided_and_met", meet(guided[0], x, mask)[None])):
            found[name].append(psnr(drawn[..., strip], x[None, ..., strip]))
    told = {"plain": "without guidance", "guided": "guided", "guided_and_met": "guided and brought to meet them"}
    label = f"{STRIP_PX} px beside given pixels, decoded"
    return [
        Row(f"border_psnr_{name}", f"{label} {told[name]}", fmean(values), "dB", "higher", None, len(values))
        for name, values in found.items()
    ]


@torch.inference_mode()
def flicker_rows(setting: Setting) -> list[Row]:
    """What stands still in a rendered film, decoded frame by frame: alone, and guided by the frame before."""
    tokenizer = setting.model.tokenizer
    factor = tokenizer.config.factor
    scenes = sample_scenes(FILMS, HELD_OUT_SEEDS + 470_000, aspect=1.0, device=setting.device)
    times = [10 + i * FRAME_TIMES_S[0] for i in range(FRAMES)]
    frames = [to_float(to_uint8(render(scenes, (256, 256), time=time))) for time in times]
    plain_steps, guided_steps = [], []
    for film in range(FILMS):
        films = [frame[film : film + 1] for frame in frames]
        tokens = [tokenizer.encode(frame) for frame in films]
        plain = [tokenizer.decode(t) for t in tokens]
        guided = plain[:1]
        for before, now in pairwise(tokens):
            same = (before == now).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            guided.append(tokenizer.decode(now, guide=guide_from(guided[-1], same)))
        for i in range(1, FRAMES):
            still = (films[i] == films[i - 1]).all(1)
            if still.any():
                plain_steps.append(_change(plain[i - 1], plain[i], still))
                guided_steps.append(_change(guided[i - 1], guided[i], still))
    label, note = "change of pixels that stand still,", "rendered films decoded from their own tokens"
    told = (("plain", "each frame alone", plain_steps), ("guided", "guided by the frame before", guided_steps))
    return [
        Row(f"flicker_{name}", f"{label} {how}", fmean(steps), "of 255", "lower", None, len(steps), None, note)
        for name, how, steps in told
    ]


def _change(before: Tensor, after: Tensor, where: Tensor) -> float:
    """Mean absolute difference in steps of 255 over the pixels [1, H, W] that count."""
    return float((after - before).abs().mean(1)[where].mean()) * 127.5
