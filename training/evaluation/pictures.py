"""Draws many pictures together, and keeps them: an interrupted evaluation goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from canvas.grid import Extent, Grid
from canvas.order import Order, wavefront
from canvas.plan import choose_order, compile_plan
from jobs.request import SamplingParams
from model.canvas import Canvas
from model.generate import Model, PatchDecoder
from model.sampling import Sampling
from training.datasets import to_uint8

SERVED = Sampling(**SamplingParams().model_dump())  # what a request gets that asks for nothing else


def draw_together(
    decoder: PatchDecoder, canvases: Sequence[Canvas], drawn: Callable[[int], object] = lambda patches: None
) -> Tensor:
    """Draw canvases of one grid and order side by side, round by round, with as many patches a batch as fit.

    drawn: called with the number of patches after each batch.  Returns pixels of the grid, [N, 3, H, W] in [-1, 1].
    Raises ValueError when grids or orders differ.
    """
    grid, order = canvases[0].grid, canvases[0].order
    if any((c.grid, c.order) != (grid, order) for c in canvases):
        raise ValueError("canvases that are drawn together have one grid and one order")
    waiting = {p: len(order.dependants(grid, decoder.extent, p)) for p in grid}
    for patches in wavefront(grid, order, decoder.extent):
        todo = [(canvas, patch) for patch in patches for canvas in canvases]
        for start in range(0, len(todo), decoder.slots):
            batch = todo[start : start + decoder.slots]
            decoder.decode(batch)
            drawn(len(batch))
        for patch in patches:
            for near in (*order.nearby(grid, decoder.extent, patch), patch):
                waiting[near] -= near != patch
                if waiting[near] == 0:
                    for canvas in canvases:
                        decoder.remove(canvas, near)
    decode = decoder.pixels.decode
    with torch.inference_mode():
        return torch.cat([decode(canvas.tokens) for canvas in canvases])


def decoder_for(model: Model, grid: Grid, order: Order, canvases: int, slots: int) -> PatchDecoder:
    """A decoder with room for so many canvases at a time, and no more slots than they can fill."""
    extent = Extent(*model.config.transformer.extent)
    widest = max(len(patches) for patches in wavefront(grid, order, extent))
    pages = 2 * canvases * compile_plan(grid, order, extent).wavefront_high_water
    return PatchDecoder(model, slots=min(slots, canvases * widest), pages=pages)


class Gallery:
    """The pictures of one model in a folder of PNG files, each named by a hash of all that it depends on.

    slots: patches a batch. A picture is the same for a prompt, seed, size and order, but for rounding, which differs
    between numbers of slots.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        slots: int = 32,
        sampling: Sampling = SERVED,
    ) -> None:
        self.model, self.folder, self.slots = model, folder, slots
        self.sampling = sampling

    def draw(
        self, name: str, prompts: Sequence[str | None], width: int, height: int, order: str = "auto", seed: int = 0
    ) -> Tensor:
        """One picture for each prompt, with seeds from `seed` on: uint8 [N, 3, height, width], on the CPU.

        name: of the progress bar.  order: one of the model's, or "auto", which the server would choose.
        """
        return self.draw_films(name, prompts, width, height, 1, order, seed)[:, 0]

    def draw_films(
        self,
        name: str,
        prompts: Sequence[str | None],
        width: int,
        height: int,
        frames: int,
        order: str = "auto",
        seed: int = 0,
    ) -> Tensor:
        """The same with frames: uint8 [N, frames, 3, height, width]; a film's file shows them one below the other."""
        grid = Grid.from_pixels(width, height, self.model.config.patch_px, frames)
        allowed = self.model.config.transformer.orders if order == "auto" else (order,)
        chosen = choose_order(grid, Extent(*self.model.config.transformer.extent), allowed)
        paths = [self._path(p, grid, width, height, chosen.name, seed + i) for i, p in enumerate(prompts)]
        missing = [i for i, path in enumerate(paths) if not path.exists()]
        with tqdm(total=len(prompts) * len(grid), desc=name, unit="patch", dynamic_ncols=True, delay=1) as bar:
            bar.update((len(prompts) - len(missing)) * len(grid))
            for start in range(0, len(missing), self.slots):
                group = missing[start : start + self.slots]
                decoder = decoder_for(self.model, grid, chosen, len(group), self.slots)
                canvases = [
                    decoder.start(str(i), grid, chosen.name, prompts[i], self.sampling, seed + i) for i in group
                ]
                pixels = to_uint8(draw_together(decoder, canvases, bar.update)).cpu()
                for i, film in zip(group, pixels[..., :height, :width].split(frames), strict=True):
                    write_png(torch.cat(list(film), 1), paths[i])
        return torch.stack([torch.stack(read_png(path).split(height, 1)) for path in paths])

    def _path(self, prompt: str | None, grid: Grid, width: int, height: int, order: str, seed: int) -> Path:
        told = [self.model.version, prompt, width, height, grid.frames, order, seed, asdict(self.sampling)]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        size = f"{width}x{height}" if grid.frames == 1 else f"{width}x{height}x{grid.frames}"
        return self.folder / f"{size}-{order}" / f"{seed:06d}-{digest}.png"


def write_png(picture: Tensor, path: Path) -> None:
    """uint8 [3, H, W] -> a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(path.with_suffix(".tmp"), "PNG")
    os.replace(path.with_suffix(".tmp"), path)


def read_png(path: Path) -> Tensor:
    """A file of write_png -> uint8 [3, H, W]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
