"""Pixels <-> visual tokens: a strictly local autoencoder with finite scalar quantisation.

Only convolutions and per-position norms, so a token's influence ends after `config.halo` tokens: any region decoded
with that halo around it equals the same region of the whole, bit for bit (measured.md; a test). Source of the
quantiser: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (2023). Pixels are float in [-1, 1] in
here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import TokenizerConfig


class ScalarQuantizer(nn.Module):
    """Rounds each of D channels to a few fixed levels; the tuple of levels, read as a number, is the token."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        basis = torch.cumprod(torch.tensor((1, *levels[:-1])), 0)
        self.register_buffer("basis", basis, persistent=False)

    def _steps(self, codes: Tensor) -> Tensor:
        """codes [..., D] in [-1, 1] -> float positions in [0, level - 1]."""
        return (codes.clamp(-1, 1) + 1) * 0.5 * (self.levels - 1)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [..., D], any real -> codes [..., D] in [-1, 1] on the grid; gradients pass straight through."""
        bounded = torch.tanh(latents)
        rounded = self._steps(bounded).round() * 2 / (self.levels - 1) - 1
        return bounded + (rounded - bounded).detach()

    def to_tokens(self, codes: Tensor) -> Tensor:
        """codes [..., D] -> tokens [...] int64 in [0, V)."""
        return (self._steps(codes).round().long() * self.basis).sum(-1)

    def to_codes(self, tokens: Tensor) -> Tensor:
        """tokens [...] int64 in [0, V) -> codes [..., D] float32."""
        steps = (tokens[..., None] // self.basis) % self.levels
        return steps.float() * 2 / (self.levels - 1) - 1


class ChannelNorm(nn.Module):
    """Layer norm over channels at each position alone: no statistics over space. [B, C, H, W] -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Residual 3x3 then 1x1 convolution: widens the receptive field by one position on each side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, known: Tensor | None = None, cut: int = 0) -> Tensor:
        """x [B, C, H, W] -> the same, less `cut` positions on each side."""
        h = self.norm(x)
        if known is not None:
            h = h * known  # an unknown position reads as zero, exactly like the padding outside a canvas
        conv = self.conv
        if cut:
            h, x = trimmed(h, cut - 1), trimmed(x, cut)
            mixed = F.conv2d(h, conv.weight, conv.bias)
        else:
            mixed = conv(h)
        return x + self.mix(F.gelu(mixed))


class Encoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        fine, coarse = config.encoder_widths
        self.stem = nn.Conv2d(3 * 16, fine, 1)
        self.fine = nn.ModuleList(Block(fine) for _ in range(config.encoder_blocks[0]))
        self.step = config.factor // 4
        self.down = nn.Conv2d(fine * self.step**2, coarse, 1)
        self.coarse = nn.ModuleList(Block(coarse) for _ in range(config.encoder_blocks[1]))
        self.head = nn.Conv2d(coarse, len(config.levels), 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(pixels, 4).contiguous(memory_format=torch.channels_last))
        for block in self.fine:
            x = block(x)
        x = self.down(F.pixel_unshuffle(x, self.step).contiguous(memory_format=torch.channels_last))
        for block in self.coarse:
            x = block(x)
        return self.head(x)


class Decoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        fine, coarse = config.decoder_widths
        self.stem = nn.Conv2d(len(config.levels), coarse, 1)
        self.coarse = nn.ModuleList(Block(coarse) for _ in range(config.decoder_blocks[1]))
        self.step = config.factor // 4
        self.up = nn.Conv2d(coarse, fine * self.step**2, 1)
        self.fine = nn.ModuleList(Block(fine) for _ in range(config.decoder_blocks[0]))
        self.norm = ChannelNorm(fine)
        self.head = nn.Conv2d(fine, 3 * 16, 1)
        self.factor = config.factor
        # Without biases: where no pixels are given, nothing is added.
        self.coarse_guide = nn.Conv2d(4 * config.factor**2, coarse, 1, bias=False)
        self.fine_guide = nn.Conv2d(4 * 16, fine, 1, bias=False)
        nn.init.zeros_(self.coarse_guide.weight)
        nn.init.zeros_(self.fine_guide.weight)

    def forward(self, codes: Tensor, known: Tensor | None = None, halo: int = 0, guide: Tensor | None = None) -> Tensor:
        """codes [B, D, h, w] -> pixels of all but `halo` positions on each side, which are only looked at.

        No block computes more of the halo than the blocks after it look at.
        guide: [B, 4, f h, f w] of guide_from().
        """
        x, margin = self.stem(codes.contiguous(memory_format=torch.channels_last)), halo
        if guide is not None:
            x = x + self.coarse_guide(F.pixel_unshuffle(guide, self.factor))
        fine_reach = math.ceil(len(self.fine) / self.step)
        for after, block in zip(reversed(range(len(self.coarse))), self.coarse, strict=True):
            x, known, margin = _shrinking(block, x, known, margin, after + fine_reach)
        x = F.pixel_shuffle(self.up(x), self.step).contiguous(memory_format=torch.channels_last)
        if guide is not None:
            gone = (halo - margin) * self.step
            x = x + self.fine_guide(trimmed(F.pixel_unshuffle(guide, 4), gone))
        margin *= self.step
        if known is not None:
            known = F.interpolate(known, scale_factor=self.step, mode="nearest")
        for after, block in zip(reversed(range(len(self.fine))), self.fine, strict=True):
            x, known, margin = _shrinking(block, x, known, margin, after)
        return F.pixel_shuffle(self.head(self.norm(x)), 4)


def guide_from(pixels: Tensor, given: Tensor) -> Tensor:
    """What guides the decoder: pixels [B, 3, H, W] in [-1, 1] where they are given, [B, H, W] bool -> [B, 4, H, W]."""
    mask = given[:, None].float()
    return torch.cat([pixels * mask, mask], 1)


def _shrinking(
    block: Block, x: Tensor, known: Tensor | None, margin: int, needed: int
) -> tuple[Tensor, Tensor | None, int]:
    """A block's output with a margin of at most `needed` positions around what is wanted, and where it is known."""
    cut = max(0, margin - needed)
    return block(x, known, cut), None if known is None else trimmed(known, cut), margin - cut


def trimmed(x: Tensor, cut: int) -> Tensor:
    """x [..., H, W] without the outermost `cut` positions on each side."""
    return x[..., cut : x.shape[-2] - cut, cut : x.shape[-1] - cut]


class Tokenizer(nn.Module):
    """The pair of encoder and decoder around the quantiser; a token stands for f x f pixels, f = config.factor."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = ScalarQuantizer(config.levels)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, pixels: Tensor, guide: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For training: pixels [B, 3, H, W] in [-1, 1], H and W multiples of f -> reconstruction, differentiable, and
        what was quantised, [B, H/f, W/f, D].
        """
        latents = self.encoder(pixels).permute(0, 2, 3, 1).float()  # quantised in 32 bits, also under autocast
        return self.decoder(self.quantizer(latents).permute(0, 3, 1, 2), guide=guide), latents

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> tokens [B, H/f, W/f] int64 in [0, V). Raises ValueError for odd sizes."""
        if pixels.shape[-1] % self.config.factor or pixels.shape[-2] % self.config.factor:
            raise ValueError(f"sides must be multiples of {self.config.factor}, got {tuple(pixels.shape[-2:])}")
        codes = self.quantizer(self.encoder(pixels).permute(0, 2, 3, 1))
        return self.quantizer.to_tokens(codes)

    def decode(self, tokens: Tensor, known: Tensor | None = None, halo: int = 0, guide: Tensor | None = None) -> Tensor:
        """tokens [B, h, w] int64 -> pixels [B, 3, f (h - 2 halo), f (w - 2 halo)], clamped to [-1, 1].

        known: [B, h, w] bool, False where there is no token (yet): such places look like the outside of the canvas.
        halo: tokens on each side that are only looked at; with config.halo of them, pixels are those of the whole.
        guide: given pixels (guide_from), which those beside them are to go on from: pixel-guided decoding, paper.md
        3.2. With none it is the plain decoder.
        """
        mask = None if known is None else known[:, None].float()
        codes = self.quantizer.to_codes(tokens).permute(0, 3, 1, 2).to(self.decoder.stem.weight.dtype)
        return self.decoder(codes, mask, halo, guide).clamp(-1, 1)
