# Deterministic noise on endless lattices: the same number for (key, index) on every device and for every crop.
import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def hash01(index: Tensor, key: Tensor, channel: int = 0) -> Tensor:
    """Uniform float32 in [0, 1) for each lattice index.

    index: int64, any sign.  key: int64, broadcasts against index (seed of scene and layer).  channel: which number.
    Integer arithmetic only (a 32-bit mix after Mueller's hash), so CPU and GPU agree exactly.
    """
    h = (index * 0x9E3779B1 + key * 0x85EBCA6B + channel * 0xC2B2AE35) & _MASK
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & _MASK
    h = ((h ^ (h >> 15)) * 0x45D9F3B) & _MASK
    h = h ^ (h >> 16)
    return (h >> 8).to(torch.float32) * (1.0 / (1 << 24))


def jagged(x: Tensor, key: Tensor, channel: int = 0) -> Tensor:
    """Piecewise linear noise in [-1, 1] with knots at the integers: rock."""
    cell = torch.floor(x)
    index = cell.to(torch.int64)
    low, high = hash01(index, key, channel), hash01(index + 1, key, channel)
    return torch.lerp(low, high, x - cell) * 2 - 1


def rolling(x: Tensor, key: Tensor, channel: int = 0) -> Tensor:
    """Smooth noise in [-1, 1] with knots at the integers: meadows and waves."""
    cell = torch.floor(x)
    index = cell.to(torch.int64)
    t = x - cell
    low, high = hash01(index, key, channel), hash01(index + 1, key, channel)
    return torch.lerp(low, high, t * t * (3 - 2 * t)) * 2 - 1
