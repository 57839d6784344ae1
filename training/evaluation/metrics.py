"""Distances and similarities between pictures and sets of pictures. Pure functions on tensors.

psnr and sharpness live in training/tokenizer.py, which watches them while it trains.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue; ITU-R BT.601


def ssim(output: Tensor, target: Tensor) -> float:
    """Mean structural similarity over positions and channels; both [N, 3, H, W] in [-1, 1], sides of at least 11.

    1 = the same. Gaussian window of 11x11 with sigma 1.5, no padding.  Raises ValueError when a side is below 11.
    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004).
    """
    if min(output.shape[-2:]) < 11:
        raise ValueError(f"sides must be at least 11, got {tuple(output.shape[-2:])}")
    x, y = (t.clamp(-1, 1).double().flatten(0, 1)[:, None] for t in (output, target))
    line = torch.exp(-(torch.arange(-5, 6, device=x.device, dtype=x.dtype) ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(t, line[None, None, None]), line[None, None, :, None])

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # pixels span 2
    mx, my = mean(x), mean(y)
    vx, vy, cxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return float((((2 * mx * my + c1) * (2 * cxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance between the Gaussians fitted to two sets of features, [N, F] and [M, F]; N, M >= 2.

    Biased upwards for small sets: compare only distances between sets of the same sizes.  Source: Heusel et al. (2017),
    d2 = |m1 - m2|2 + tr(C1 + C2 - 2 (C1 C2)^1/2), in float64.
    """
    a, b = a.double(), b.double()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = (torch.atleast_2d(torch.cov(t.T)) for t in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # the eigenvalues of C1 C2 are those of this symmetric matrix, which has no complex or negative ones but by rounding
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((shift + cov_a.trace() + cov_b.trace() - 2 * cross).clamp_min(0))


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance over all pairs of a set [N, F], N >= 2: how unlike each other its pictures are."""
    count = len(features)
    distances = torch.cdist(features.double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.sum() / (count * (count - 1)))


def border_steps(pixels: Tensor, patch_px: int, token_px: int) -> dict[str, Tensor]:
    """How much neighbouring pixels differ across patch borders, and across the other borders of tokens.

    pixels [N, 3, H, W].  Returns "vertical" (borders that stand, between left and right) and "horizontal", each [N, 2]:
    the mean absolute step across patch borders, and across the other token borders. A side without patch borders is
    left out.
    """
    steps = {}
    for side, axis in (("vertical", -1), ("horizontal", -2)):
        size = pixels.shape[axis]
        if size <= patch_px:
            continue
        borders = torch.arange(token_px, size, token_px, device=pixels.device)
        after = pixels.index_select(pixels.dim() + axis, borders)
        before = pixels.index_select(pixels.dim() + axis, borders - 1)
        per_border = (after.float() - before.float()).abs().mean((1, -2 if axis == -1 else -1))  # [N, borders]
        of_patches = borders % patch_px == 0
        steps[side] = torch.stack([per_border[:, of_patches].mean(1), per_border[:, ~of_patches].mean(1)], 1)
    return steps


def luminance(pixels: Tensor) -> Tensor:
    """[..., 3, H, W] -> [..., H, W], in the same range."""
    return (pixels * torch.tensor(LUMINANCE, device=pixels.device)[:, None, None]).sum(-3)


def point_contrast(pixels: Tensor, places: Tensor) -> Tensor:
    """How far small points stand out: brightest of 3x3 pixels minus the median of 11x11 around, in luminance.

    pixels [3, H, W]; places [K, 2] rows and columns, int64. Returns [K].
    """
    light = F.pad(luminance(pixels)[None, None], (5, 5, 5, 5), mode="replicate")[0, 0]
    around = torch.arange(11, device=pixels.device)
    rows = (places[:, :1] + around)[:, :, None]
    columns = (places[:, 1:] + around)[:, None]
    windows = light[rows, columns]  # [K, 11, 11]
    return windows[:, 4:7, 4:7].amax((1, 2)) - windows.flatten(1).median(1).values


def bootstrap_interval(
    values: Tensor, statistic: Callable[[np.ndarray], float] | None = None, resamples: int = 1000
) -> tuple[float, float]:
    """95 % interval of a statistic (the mean by default) of N observations [N, ...], drawn again with repeats.

    The draws are seeded: the same values give the same interval.
    """
    rng = np.random.default_rng(0)
    observed = values.detach().cpu().double().numpy()
    drawn = rng.integers(len(observed), size=(resamples, len(observed)))
    results = [float(observed[row].mean() if statistic is None else statistic(observed[row])) for row in drawn]
    low, high = np.percentile(results, (2.5, 97.5))
    return float(low), float(high)


def ratio_of_sums(pairs: np.ndarray) -> float:
    """[N, 2] -> sum of the first column over that of the second."""
    first, second = pairs.sum(0)
    return float(first / max(second, 1e-12))
