"""The sketch of a canvas and its drafts: the whole of it in few tokens, drawn first, and read by every patch.

Patches look no further than their neighbours, so none of them can know whether the one sun that was asked for has risen
already, nor how high the horizon was forty patches ago. The sketch tells them: the canvas, squeezed to a square, in as
many tokens as one patch has. A sun is one or two tokens there, too few to be round, so of models that have learned to,
the sketch is followed by drafts, each with twice the rows and columns of the one before, up to half of the canvas's
own, or as many as DRAFT_PATCHES allow: so a canvas of any size begins in bounded time. Sketch and drafts are drawn from
the prompt by weights of their own (sketching.py); they take no page of the pool, because patches are told of them as
they are of their place on the canvas: what the sketch's tokens mean where they lie, and what the last draft's pixels,
or else the sketch's, show around them. To draw what pixels show, and sharper, is easier than to learn anew where within
a token a sun stands.
Known approach: coarse first, as in Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2" (2019).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.grid import Grid

DRAFT_PATCHES = 64  # that a draft has at most: a second or two before the first patch of the largest canvases
# How much of a sketch the pass without a prompt is told: guidance draws away from pictures that know less of it. Told
# nothing, pictures are too loud; told half, patches show their borders; told all, suns and moons get lost.
WITHOUT_PROMPT = 0.7
GAIN = 4.0  # how much faster it is learned than weights that were trained for long before it came
# Where a token looks at the pixels, each way from its middle: closely, in its own sides, as it has to fit what is
# beside it, and widely, in pixels of what it looks at, which on a large canvas are larger than it.
CLOSE = tuple(i / 2 - 1.25 for i in range(6))
CLOSER = tuple(i / 4 - 0.875 for i in range(8))  # the same at drafts, and of drafts at their sketches
WIDE = tuple(2.0 * i - 4 for i in range(5))


@dataclass(frozen=True)
class Outline:
    """What a canvas begins with: tokens of its sketch [m, m], and of its last draft of R x C patches [R m, C m], where
    there is one.
    """

    sketch: Tensor
    draft: Tensor | None = None

    @property
    def shown(self) -> Tensor:
        """The tokens whose pixels patches are told."""
        return self.sketch if self.draft is None else self.draft


@dataclass(frozen=True)
class SketchView:
    """The sketches and drafts of B canvases, as their patches look at them."""

    cells: Tensor  # [B, D, m, m]: each token of the sketch in the light of all others
    pixels: Tensor  # [B, 3, R px, C px] of the last draft, or [B, 3, px, px] of the sketch, in [-1, 1]


def draft_grids(grid: Grid) -> list[Grid]:
    """The drafts of a canvas, the coarsest, which follows the sketch, first; none of one of a patch or two by two."""
    drafts, rows, columns = [], grid.rows, grid.columns
    while (rows, columns) != (1, 1):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        drafts.append(Grid(1, rows, columns, grid.patch_px))
    return [draft for draft in reversed(drafts) if 1 < len(draft) <= DRAFT_PATCHES]


class PixelReader(nn.Module):
    """What the pixels of a small picture of the whole canvas tell its tokens. Begins by telling nothing."""

    def __init__(self, width: int, side: int, close: tuple[float, ...]) -> None:
        super().__init__()
        self.side, self.close = side, close
        self.seen = nn.Linear(3 * (len(close) ** 2 + len(WIDE) ** 2), 2 * width)
        self.of_pixels = nn.Linear(2 * width, width, bias=False)
        nn.init.zeros_(self.of_pixels.weight)

    def told_pixels(self, pixels: Tensor, place: Tensor, steps: Tensor) -> Tensor:
        """pixels [B, 3, h, w] in [-1, 1], place [B, N, 4] of patches on the canvas, steps [M, 2]: row and column of
        each token in its patch. Returns [B, N, M, D].
        """
        return self.tell(self.colours(pixels, place, steps))

    def colours(self, pixels: Tensor, place: Tensor, steps: Tensor) -> Tensor:
        """The colours around each token [B, N, M, 3 K]; arguments as above."""
        where, size = lie(place, steps, self.side)
        close, wide = (
            torch.cartesian_prod(*(where.new_tensor(offsets),) * 2) / where.new_tensor(sides)
            for offsets, sides in ((self.close, (1, 1)), (WIDE, pixels.shape[-2:]))
        )
        offsets = torch.cat([close * (size / self.side)[..., None, :], wide.expand(*size.shape[:2], 1, -1, -1)], 3)
        points = where[..., None, :] + offsets  # [B, N, M, K, 2]
        return _sample(pixels, points.flatten(1, 2)).flatten(2).unflatten(1, where.shape[1:3])

    def tell(self, colours: Tensor) -> Tensor:
        """What tokens are told of the colours around them, [..., 3 K] -> [..., D]."""
        return GAIN * self.of_pixels(F.gelu(self.seen(colours)))


class SketchReader(PixelReader):
    """What a sketch and its draft tell the tokens of their canvas. Begins by telling nothing."""

    def __init__(self, width: int, side: int, close: tuple[float, ...] = CLOSE) -> None:
        super().__init__(width, side, close)
        self.norm = nn.LayerNorm(width, bias=False)
        self.places = nn.Parameter(torch.randn(side, side, width) * 0.02)
        self.around = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.whole = nn.Linear(width, width)
        self.within = nn.Linear(6, width)  # where in its cell a token is, and how much of it is the token's
        self.up = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, vectors: Tensor, pixels: Tensor) -> SketchView:
        """Vectors of a sketch's tokens, row by row [B, M, D], and pixels as SketchView has them."""
        x = self.norm(vectors).unflatten(1, (self.side, self.side)) + self.places
        x = x.permute(0, 3, 1, 2)
        for conv in self.around:
            x = x + F.gelu(conv(x))
        return SketchView(x + self.whole(x.mean((2, 3)))[:, :, None, None], pixels.to(x.dtype))

    def told(self, view: SketchView, place: Tensor, steps: Tensor) -> Tensor:
        """What each token is told of its surroundings.

        place [B, N, 4] of patches on the canvas: nothing is told where it is unknown (NaN).  steps [M, 2]: row and
        column of each token in its patch.  Returns [B, N, M, D].
        """
        known = ~place.isnan().any(-1)[..., None, None]
        place = place.nan_to_num(0.5)
        where, size = lie(place, steps, self.side)
        x = _sample(view.cells, where)
        turn = where * self.side * 2 * math.pi
        covered = size.clamp_min(2**-10).log2().expand_as(where) / 4
        x = x + self.within(torch.cat([turn.sin(), turn.cos(), covered], -1))
        told = GAIN * self.out(F.gelu(self.up(x))) + self.told_pixels(view.pixels, place, steps)
        return torch.where(known, told, 0.0)


def lie(place: Tensor, steps: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Where on the canvas the middle of each token lies [B, N, M, 2], and how large patches are [B, N, 1, 2]; row and
    column, in shares of the canvas. place [B, N, 4] of patches of side x side tokens, steps [M, 2] of these.
    """
    top, bottom, left, right = place[..., None].unbind(-2)
    start, size = torch.stack([top, left], -1), torch.stack([bottom - top, right - left], -1)
    return start + size * (steps + 0.5) / side, size


def _sample(picture: Tensor, where: Tensor) -> Tensor:
    """picture [B, C, h, w] at places [B, P, Q, 2], row and column in shares of its sides -> [B, P, Q, C]."""
    grid = (where * 2 - 1).flip(-1).to(picture.dtype)
    found = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)
