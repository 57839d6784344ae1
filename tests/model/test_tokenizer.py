"""The tokenizer is strictly local, and its quantiser is a bijection."""

import pytest
import torch

from model.config import ModelConfig, TokenizerConfig, TransformerConfig
from model.generate import Model
from model.tokenizer import ScalarQuantizer, Tokenizer, guide_from


def test_tokens_and_codes_are_one_to_one() -> None:
    quantizer = ScalarQuantizer((8, 5, 5, 5))
    tokens = torch.arange(1000)
    codes = quantizer.to_codes(tokens)
    assert codes.abs().max() <= 1
    assert torch.equal(quantizer.to_tokens(codes), tokens)
    assert len(torch.unique(codes, dim=0)) == 1000


def test_any_latent_is_quantised_to_its_nearest_code() -> None:
    quantizer = ScalarQuantizer((8, 5, 5, 5))
    latents = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    codes = quantizer(latents)
    table = quantizer.to_codes(torch.arange(1000))
    nearest = (latents.tanh()[:, None] - table).abs().sum(-1).min(1).values
    assert torch.allclose((latents.tanh() - codes).abs().sum(-1), nearest, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_decoding_in_strips_equals_decoding_whole_bit_for_bit(threads: int) -> None:
    torch.manual_seed(0)
    config = TokenizerConfig()  # the shipped widths: some toy widths take products whose last bit depends on the shape
    tokenizer = Tokenizer(config).eval().to(memory_format=torch.channels_last)
    for block in (*tokenizer.decoder.coarse, *tokenizer.decoder.fine):
        torch.nn.init.normal_(block.mix.weight, std=0.1)
    tokens = torch.randint(config.codebook_size, (1, 24, 40))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            whole = tokenizer.decode(tokens)
            for top in range(0, 24, 8):
                high, low = max(0, top - config.halo), min(24, top + 8 + config.halo)
                strip = tokenizer.decode(tokens[:, high:low])
                start = (top - high) * config.factor
                assert torch.equal(strip[:, :, start : start + 64], whole[:, :, top * 8 : top * 8 + 64])
            for halo in (2, config.halo):  # a halo that is only looked at is not computed to the end
                wide = tokenizer.decode(tokens[:, 8 - halo : 16 + halo, 16 - halo : 32 + halo])
                inner = tokenizer.decode(tokens[:, 8 - halo : 16 + halo, 16 - halo : 32 + halo], halo=halo)
                assert inner.shape == (1, 3, 64, 128)
                assert torch.equal(inner, wide[..., 8 * halo : -8 * halo, 8 * halo : -8 * halo])
    finally:
        torch.set_num_threads(before)


def test_a_token_reaches_no_further_than_the_halo(model: Model) -> None:
    halo, factor = model.config.tokenizer.halo, model.config.tokenizer.factor
    tokens = torch.randint(1000, (1, 15, 15), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7, 7] = (changed[0, 7, 7] + 500) % 1000
    difference = (
        model.tokenizer.decoder(model.tokenizer.quantizer.to_codes(tokens).permute(0, 3, 1, 2))
        - model.tokenizer.decoder(model.tokenizer.quantizer.to_codes(changed).permute(0, 3, 1, 2))
    ).abs()
    touched = difference.sum(1)[0].nonzero()
    assert len(touched) > 0
    assert touched.min() >= (7 - halo) * factor
    assert touched.max() < (8 + halo) * factor


def test_unknown_tokens_look_like_the_outside_of_the_canvas(model: Model) -> None:
    tokens = torch.randint(1000, (1, 6, 9), generator=torch.Generator().manual_seed(0))
    known = torch.ones(1, 6, 9, dtype=torch.bool)
    known[:, :, 5:] = False
    masked = model.tokenizer.decode(tokens, known)[..., : 5 * 8]
    assert torch.allclose(masked, model.tokenizer.decode(tokens[:, :, :5]), atol=1e-6)


def test_a_token_may_stand_for_sixteen_pixels_and_reaches_no_further_than_its_halo() -> None:
    torch.manual_seed(0)
    small = TokenizerConfig(encoder_widths=(8, 16), decoder_widths=(8, 16), factor=16)
    assert small.halo == 5  # four coarse blocks, and three fine ones of a quarter token each
    tokenizer = Tokenizer(small).eval()
    for block in (*tokenizer.decoder.coarse, *tokenizer.decoder.fine):
        torch.nn.init.normal_(block.mix.weight, std=0.5)
    assert tokenizer.encode(torch.zeros(1, 3, 32, 48)).shape == (1, 2, 3)
    tokens = torch.randint(1000, (1, 13, 13))
    changed = tokens.clone()
    changed[0, 6, 6] = (changed[0, 6, 6] + 500) % 1000
    with torch.no_grad():
        both = [tokenizer.decoder(tokenizer.quantizer.to_codes(t).permute(0, 3, 1, 2)) for t in (tokens, changed)]
    touched = (both[0] - both[1]).abs().sum(1)[0].nonzero()
    assert both[0].shape == (1, 3, 208, 208)
    assert touched.min() >= (6 - small.halo) * 16
    assert touched.max() < (7 + small.halo) * 16


def test_a_decoder_that_looks_beyond_the_patches_around_is_refused() -> None:
    with pytest.raises(ValueError, match="looks 5 tokens around, but patches have 4"):
        ModelConfig(tokenizer=TokenizerConfig(factor=16), transformer=TransformerConfig(patch_tokens=4))


def test_another_factor_is_refused() -> None:
    with pytest.raises(ValueError, match="factor is 12, but must be one of 8, 16"):
        TokenizerConfig(factor=12)


def test_odd_sizes_are_refused_with_the_multiple(model: Model) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        model.tokenizer.encode(torch.zeros(1, 3, 20, 16))


def test_without_given_pixels_guided_decoding_is_the_plain_one_and_with_them_it_is_not(model: Model) -> None:
    tokens = torch.randint(1000, (1, 6, 9), generator=torch.Generator().manual_seed(0))
    pixels = torch.rand(1, 3, 48, 72, generator=torch.Generator().manual_seed(1)) * 2 - 1
    nothing, left = torch.zeros(1, 48, 72, dtype=torch.bool), torch.zeros(1, 48, 72, dtype=torch.bool)
    left[..., :40] = True
    plain = model.tokenizer.decode(tokens)
    assert torch.equal(model.tokenizer.decode(tokens, guide=guide_from(pixels, nothing)), plain)
    guided = model.tokenizer.decode(tokens, guide=guide_from(pixels, left))
    assert not torch.allclose(guided, plain, atol=0.01)
    inner = model.tokenizer.decode(tokens, halo=2, guide=guide_from(pixels, left))
    assert torch.allclose(inner, guided[..., 16:-16, 16:-16], atol=1e-5)
    other = torch.where(left[:, None], pixels, -pixels)
    assert torch.equal(model.tokenizer.decode(tokens, guide=guide_from(other, left)), guided), "of given pixels only"
