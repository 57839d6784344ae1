"""Where a token is: rotary angles relative to a patch, and coarse coordinates on the canvas.

Nothing here knows absolute token coordinates: a patch counts from its own corner and a nearby patch is turned by its
signed offset, so a shifted canvas gives the same numbers bit for bit, and any size works (paper.md 2.4, relative and
signed).
"""

import math

import torch
from torch import Tensor, nn

ROTARY_BASE = 100.0  # longest wavelength about 600 tokens: more than the widest extent looks


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Rotated pairs given to frames, rows, columns; together head_dim / 2."""
    pairs = head_dim // 2
    space = 3 * pairs // 8
    return pairs - 2 * space, space, space


def rotary_angles(positions: Tensor, head_dim: int) -> Tensor:
    """positions [..., 3] (frame, row, column) in tokens -> angles [..., head_dim / 2] float32."""
    parts = []
    for axis, pairs in enumerate(axis_pairs(head_dim)):
        speed = ROTARY_BASE ** -(torch.arange(pairs, dtype=torch.float64, device=positions.device) / max(pairs, 1))
        parts.append(positions[..., axis, None].double() * speed)
    return torch.cat(parts, -1).float()


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn pairs of x [..., d] by angles [..., d / 2] (broadcast). Turning by a, then b, is turning by a + b."""
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class CanvasEmbedding(nn.Module):
    """Coarse place of a patch on its canvas, as fractions: tells sky from ground. Unknown is allowed."""

    BANDS = 5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * 2 * self.BANDS + 4, width)
        self.unknown = nn.Parameter(torch.zeros(width))

    def forward(self, place: Tensor) -> Tensor:
        """place [..., 4] = top, bottom, left, right as fractions of the canvas; NaN where unknown -> [..., D]."""
        known = ~place.isnan().any(-1, keepdim=True)
        place = place.nan_to_num(0.5)
        top, bottom, left, right = place.unbind(-1)
        centre = torch.stack([(top + bottom) / 2, (left + right) / 2], -1)
        size = torch.stack([bottom - top, right - left], -1).clamp_min(2**-10).log2() / 4
        angles = centre[..., None] * math.pi * 2.0 ** torch.arange(self.BANDS, device=place.device)
        features = torch.cat([angles.sin().flatten(-2), angles.cos().flatten(-2), centre * 2 - 1, size], -1)
        return torch.where(known, self.linear(features), self.unknown)
