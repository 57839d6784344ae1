"""Known pixels on a canvas: the tokens that they fix, and how new pixels beside them are brought to meet them."""

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from canvas.grid import Box
from model.tokenizer import Tokenizer, guide_from

REACH = 0.75  # of a patch: new pixels further from known ones are left alone


class KnownPixels(Protocol):
    """Pixels that are given, anywhere on a grid."""

    def window(self, frame: int, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels [h, w, 3] of a box, sensibly continued where they are not known, and [h, w] where they are."""


def window(known: KnownPixels, frame: int, box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same as pixels [3, h, w] in [-1, 1] and a mask [h, w] bool."""
    pixels, mask = known.window(frame, box)
    scaled = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 127.5 - 1
    return scaled, torch.from_numpy(mask).to(device)


def known_tokens(tokenizer: Tokenizer, known: KnownPixels, frame: int, box: Box) -> tuple[Tensor, Tensor]:
    """Tokens [h, w] int64 of a box of the grid, and [h, w] bool where all pixels of a token are known.

    One shape for all patches, with all around that a token depends on, so that a patch's tokens do not depend on what
    is encoded beside it.
    """
    config, factor = tokenizer.config, tokenizer.config.factor
    halo = factor * (config.encoder_blocks[1] + math.ceil(config.encoder_blocks[0] * 4 / factor))
    device = next(tokenizer.parameters()).device
    pixels, mask = window(known, frame, grown(box, halo), device)
    inner = slice(halo, -halo)
    fixed = -F.max_pool2d(-mask[None, inner, inner].float(), factor)[0] > 0
    if not fixed.any():  # as everywhere but in the first frame of a film
        return torch.zeros(fixed.shape, dtype=torch.long, device=device), fixed
    tokens = tokenizer.encode(pixels[None])[0]
    edge = halo // factor
    return tokens[edge:-edge, edge:-edge], fixed


def pixels_beside_known(
    tokenizer: Tokenizer, tokens: Tensor, made: Tensor, known: KnownPixels, frame: int, box: Box
) -> Tensor | None:
    """Pixels [3, px, px] in [-1, 1] of the patch in a box, brought to meet the known ones; None where none is in reach.

    tokens, made: of this patch and the eight around it [3 m, 3 m], and which of them exist.
    """
    px, factor = box.right - box.left, tokenizer.config.factor
    given, mask = window(known, frame, grown(box, px), tokens.device)
    near = slice(round((1 - REACH) * px), round((2 + REACH) * px))
    if not mask[near, near].any():
        return None
    there = made.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    mask = mask & there
    guide = guide_from(given[None], mask[None])
    met = meet(tokenizer.decode(tokens[None], made[None], guide=guide)[0], given, mask)
    return met[:, px : 2 * px, px : 2 * px]


def meet(drawn: Tensor, pixels: Tensor, mask: Tensor) -> Tensor:
    """New pixels that meet the known ones without a step, and known pixels as they are.

    drawn: a patch and the eight around it as decoded, [3, 3 px, 3 px] in [-1, 1].  pixels, mask: as from window().
    Where known pixels were decoded too, the two differ. That difference is carried over to new pixels by ever finer
    blurs: broad shades of it far, details near. The first new pixels aim at the mirror image of the known ones, lest
    an edge between tokens at the border stay an edge.
    """
    weight = F.max_pool2d(mask.float()[None], 3, stride=1, padding=1)
    carried = torch.zeros_like(drawn)
    sigma = REACH / 3 * drawn.shape[-1] / 3
    while sigma >= 1:
        around = _blur(torch.cat([(pixels - drawn - carried) * weight, weight])[None], sigma)[0]
        # What a straight border leaves of the weight to the first pixel beside it; in a corner there is more.
        beside = (1 - _kernel(sigma).max().item()) / 2
        carried = carried + around[:3] / around[3:].clamp_min(beside)
        sigma /= 2
    return torch.where(mask, pixels, (drawn + carried).clamp(-1, 1))


def grown(box: Box, by: int) -> Box:
    return Box(box.left - by, box.top - by, box.right + by, box.bottom + by)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian over the last two axes; [B, C, H, W], zeros outside."""
    kernel = _kernel(sigma).to(x.device).expand(x.shape[1], 1, 1, -1)
    reach = kernel.shape[-1] // 2
    x = F.conv2d(x, kernel, padding=(0, reach), groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(2, 3), padding=(reach, 0), groups=x.shape[1])


def _kernel(sigma: float) -> Tensor:
    """[2 reach + 1], with a sum of 1."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2)
    return weights / weights.sum()
