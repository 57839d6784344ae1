"""The sketch of a canvas: the whole of it in as many tokens as one patch has, drawn first, and read by every patch.

Patches look no further than their neighbours, so none of them can know whether the one sun that was asked for has risen
already, nor how high the horizon was forty patches ago. The sketch tells them. It is a patch like any other, of the
same tokens, drawn from the prompt by weights of their own (sketching.py); it takes no page of the pool, because patches
are told of it as they are of their place on the canvas. It is squeezed to a square, so it costs the same whatever the
canvas.
Known approach: coarse first, as in Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2" (2019).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# How much of a sketch the pass without a prompt is told: guidance draws away from pictures that know less of it. Told
# nothing, horizons cling to the cells of the sketch; told all, suns and moons get lost.
WITHOUT_PROMPT = 0.7
GAIN = 4.0  # how much faster it is learned than weights that were trained for long before it came


class SketchReader(nn.Module):
    """What a sketch tells the tokens of its canvas. Begins by telling nothing."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(width, bias=False)
        self.places = nn.Parameter(torch.randn(side, side, width) * 0.02)
        self.around = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.whole = nn.Linear(width, width)
        self.within = nn.Linear(6, width)  # where in its cell a token is, and how much of it is the token's
        self.up = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors of a sketch's tokens, row by row [B, M, D] -> its cells in the light of all others [B, D, m, m]."""
        x = self.norm(vectors).unflatten(1, (self.side, self.side)) + self.places
        x = x.permute(0, 3, 1, 2)
        for conv in self.around:
            x = x + F.gelu(conv(x))
        return x + self.whole(x.mean((2, 3)))[:, :, None, None]

    def told(self, cells: Tensor, place: Tensor, steps: Tensor) -> Tensor:
        """What each token is told of its surroundings, from cells [B, D, m, m] of forward().

        place [B, N, 4] of patches on the canvas: nothing is told where it is unknown (NaN).  steps [M, 2]: row and
        column of each token in its patch.  Returns [B, N, M, D].
        """
        known = ~place.isnan().any(-1)[..., None, None]
        top, bottom, left, right = place.nan_to_num(0.5)[..., None].unbind(-2)
        start = torch.stack([top, left], -1)
        size = torch.stack([bottom - top, right - left], -1)
        where = start + size * (steps + 0.5) / self.side  # [B, N, M, 2]: row, column
        grid = (where * 2 - 1).flip(-1)
        x = F.grid_sample(cells, grid.to(cells.dtype), padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
        turn = where * self.side * 2 * math.pi
        covered = size.clamp_min(2**-10).log2().expand_as(where) / 4
        x = x + self.within(torch.cat([turn.sin(), turn.cos(), covered], -1))
        return torch.where(known, GAIN * self.out(F.gelu(self.up(x))), 0.0)
