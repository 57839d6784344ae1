"""Pixels by native code against the decoder in PyTorch, and against itself in any region."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.config import TokenizerConfig
from model.generate import PatchDecoder
from model.loader import load
from model.native import build
from model.native.build import UnavailableError
from model.native.pixels import NativePixels, suited
from model.tokenizer import Tokenizer

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "tiny"
SHAPES = {
    "f8": TokenizerConfig(decoder_widths=(32, 64), decoder_blocks=(3, 2)),
    "f16": TokenizerConfig(decoder_widths=(64, 32), decoder_blocks=(5, 1), factor=16),
}


def require_native() -> None:
    try:
        build.load(wide=False)
    except UnavailableError as reason:
        pytest.skip(f"no native code here: {reason}")
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("no native code here: the processor has no AVX2")


@pytest.fixture(params=[*SHAPES, "shipped"], scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """With random weights everywhere, also where residual branches begin with zeros."""
    require_native()
    if request.param == "shipped":
        return load(CHECKPOINT).tokenizer
    torch.manual_seed(1)
    tokenizer = Tokenizer(SHAPES[request.param]).eval().requires_grad_(False)
    for weights in tokenizer.parameters():
        weights.add_(torch.randn_like(weights) * 0.1)
    return tokenizer


def random_tokens(tokenizer: Tokenizer, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(tokenizer.config.codebook_size, shape, generator=generator)


@pytest.mark.parametrize("unknown", [0.0, 0.4])
@pytest.mark.parametrize("halo", [0, 1, 2, None])
def test_pixels_are_those_of_pytorch(tokenizer: Tokenizer, halo: int | None, unknown: float) -> None:
    halo = tokenizer.config.halo if halo is None else halo
    tokens = random_tokens(tokenizer, 2, 5 + 2 * halo, 8 + 2 * halo)
    known = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(4)) >= unknown
    drawn, expected = NativePixels(tokenizer).decode(tokens, known, halo), tokenizer.decode(tokens, known, halo)
    assert drawn.shape == expected.shape
    assert expected.std() > 0.05, "random weights say something"
    assert torch.allclose(drawn, expected, atol=2e-5)


def test_a_token_has_the_same_bits_in_every_region_with_its_halo(tokenizer: Tokenizer) -> None:
    halo, factor, native = tokenizer.config.halo, tokenizer.config.factor, NativePixels(tokenizer)
    tokens = random_tokens(tokenizer, 1, 24, 30)
    framed = torch.nn.functional.pad(tokens, (halo,) * 4)
    known = torch.nn.functional.pad(torch.ones_like(tokens, dtype=torch.bool), (halo,) * 4)
    whole = native.decode(tokens)
    for top, left, height, width in ((0, 0, 24, 30), (0, 8, 16, 16), (8, 0, 2, 4), (16, 14, 8, 16), (6, 10, 8, 8)):
        rows, columns = slice(top, top + height + 2 * halo), slice(left, left + width + 2 * halo)
        part = native.decode(framed[:, rows, columns], known[:, rows, columns], halo)
        box = (..., slice(top * factor, (top + height) * factor), slice(left * factor, (left + width) * factor))
        assert torch.equal(part, whole[box])


def test_a_decoder_whose_widths_fill_no_panels_is_left_to_pytorch() -> None:
    narrow = Tokenizer(TokenizerConfig(decoder_widths=(32, 48)))
    assert suited(narrow) is narrow


def test_patches_are_painted_natively_where_they_are_drawn_so() -> None:
    require_native()
    model = replace(load(CHECKPOINT), sketcher=None)
    assert PatchDecoder(model, slots=1, pages=2, step="torch").pixels is model.tokenizer
    assert isinstance(PatchDecoder(model, slots=1, pages=2).pixels, NativePixels)
