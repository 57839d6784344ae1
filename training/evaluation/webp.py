"""WebP at a given number of bytes: what the tokenizer is compared with."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE_MAX = 16_383  # pixels; the format has no room for more


@dataclass(frozen=True)
class WebP:
    """A compressed picture: pixels uint8 [3, H, W] as decoded, the file's bytes, and the quality in [0, 100]."""

    pixels: Tensor
    size: int
    quality: int


def webp_within(picture: Tensor, size: int) -> WebP:
    """The best WebP of a picture, uint8 [3, H, W], whose whole file has at most `size` bytes.

    When even quality 0 takes more, it is that one: then the comparison favours WebP. Raises ValueError when a side is
    above SIDE_MAX.
    """
    if max(picture.shape[1:]) > SIDE_MAX:
        raise ValueError(f"WebP holds at most {SIDE_MAX} pixels a side, got {tuple(picture.shape[1:])}")
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    best, low, high = _stored(image, 0), 1, 100
    while low <= high and len(best[0]) <= size:
        middle = (low + high) // 2
        stored = _stored(image, middle)
        if len(stored[0]) <= size:
            best, low = stored, middle + 1
        else:
            high = middle - 1
    data, quality = best
    with Image.open(io.BytesIO(data)) as decoded:
        pixels = torch.from_numpy(np.array(decoded.convert("RGB"))).permute(2, 0, 1)
    return WebP(pixels, len(data), quality)


def _stored(image: Image.Image, quality: int) -> tuple[bytes, int]:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=6)
    return file.getvalue(), quality
