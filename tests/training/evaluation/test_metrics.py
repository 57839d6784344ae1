"""Distances and similarities give the values that their definitions ask for."""

import numpy as np
import pytest
import torch

from training.evaluation.metrics import (
    bootstrap_interval,
    border_steps,
    frechet_distance,
    mean_pairwise_distance,
    point_contrast,
    ratio_of_sums,
    ssim,
)


def test_structural_similarity_is_that_of_scikit_image() -> None:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    a = torch.stack([torch.sin(x / 3 + y / 5), torch.cos(x / 7), torch.sin(y / 4)])
    b = a * 0.8 + 0.1 * torch.sin(x * 1.7)
    # structural_similarity(a, b, data_range=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert ssim(b[None], a[None]) == pytest.approx(0.87318528511, abs=1e-6)
    assert ssim(a[None], a[None]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="11"):
        ssim(a[None, :, :10], a[None, :, :10])


def test_frechet_distance_of_known_gaussians() -> None:
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(4000, 3, generator=rng, dtype=torch.float64)
    white = (white - white.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T
    scale, shift = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64), torch.tensor([1.0, 0.0, -2.0])
    # equal axes: |shift|2 + sum of (standard deviations' difference)2
    wanted = 5 + (2 - 1) ** 2 + 0 + (0.5 - 1) ** 2
    assert frechet_distance(white, white * scale + shift) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(white * scale + shift, white) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(white, white.flip(0)) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_axes_that_cross() -> None:
    """Of two matrices of 2x2, tr (C1 C2)^1/2 = (tr C1 C2 + 2 (det C1 C2)^1/2)^1/2."""
    rng = torch.Generator().manual_seed(1)
    white = torch.randn(1000, 2, generator=rng, dtype=torch.float64)
    white = (white - white.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T
    a, b = white * torch.tensor([2.0, 1.0]), white * torch.tensor([1.0, 2.0])
    assert frechet_distance(a, b) == pytest.approx(2.0, rel=1e-6)
    turned = a @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64) / 2**0.5  # C2 = [[2.5, 1.5], [1.5, 2.5]]
    assert frechet_distance(a, turned) == pytest.approx(10 - 2 * (12.5 + 8) ** 0.5, rel=1e-6)


def test_frechet_distance_bears_fewer_samples_than_dimensions() -> None:
    features = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-4)
    assert np.isfinite(frechet_distance(features, features + 1))


def test_mean_pairwise_distance_of_three_points() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert mean_pairwise_distance(points) == pytest.approx(10 / 3)


def test_a_seam_is_found_on_its_side_and_no_other() -> None:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randn(4, 3, 64, 64, generator=rng) * 0.1
    even = border_steps(pixels, 32, 8)
    seamed = pixels.clone()
    seamed[..., 32:] += 0.5  # the right half is brighter: a border that stands
    odd = border_steps(seamed, 32, 8)
    assert set(odd) == {"vertical", "horizontal"}
    assert odd["vertical"].shape == (4, 2)
    assert ratio_of_sums(even["vertical"].numpy()) == pytest.approx(1, abs=0.2)
    assert ratio_of_sums(odd["vertical"].numpy()) > 3
    assert ratio_of_sums(odd["horizontal"].numpy()) == pytest.approx(ratio_of_sums(even["horizontal"].numpy()))


def test_a_step_at_another_token_border_lowers_the_ratio() -> None:
    pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    pixels[..., 8:] += 0.5
    assert ratio_of_sums(border_steps(pixels, 32, 8)["vertical"].numpy()) < 0.7


def test_a_canvas_of_one_patch_has_no_seams() -> None:
    assert border_steps(torch.zeros(1, 3, 32, 64), 32, 8).keys() == {"vertical"}


def test_a_bright_point_stands_out_by_its_height_even_at_the_edge() -> None:
    pixels = torch.full((3, 20, 20), -0.5)
    pixels[:, 0, 0] += 0.8
    pixels[:, 10, 10] += 0.4
    found = point_contrast(pixels, torch.tensor([[0, 0], [10, 10], [15, 4]]))
    assert found.tolist() == pytest.approx([0.8, 0.4, 0.0], abs=1e-5)


def test_bootstrap_interval_narrows_with_more_pictures_and_repeats_itself() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    few, many = bootstrap_interval(values[:25]), bootstrap_interval(values)
    assert few[0] < float(values[:25].mean()) < few[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 / 20, rel=0.25)  # two standard errors either way
    assert bootstrap_interval(values) == many
