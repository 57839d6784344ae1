"""Pixels of tokens in native code, on CPUs with AVX2 or more; see pixels.cpp."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from model.native.build import UnavailableError, load
from model.tokenizer import Block, ChannelNorm, Tokenizer

MULTIPLE = 32  # channels, on every processor: the widest panel of weights
COLOURS = 3 * 4 * 4  # numbers that the decoder's head makes for each of its places
# Winograd's F(2x2, 3x3): from a kernel's three numbers in a row to the four that its products are made with.
SPREAD = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


class NativePixels:
    """A tokenizer's decoder on one thread. The weights are copied here: later changes are not seen.

    A token's pixels are the same bits in whatever region it is decoded, with its halo, and on any processor. Raises
    UnavailableError where this cannot run.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        decoder = tokenizer.decoder
        if decoder.stem.weight.device.type != "cpu":
            raise UnavailableError(f"the tokenizer is on {decoder.stem.weight.device}")
        capability = torch.backends.cpu.get_cpu_capability()
        if not capability.startswith("AVX"):
            raise UnavailableError("the processor has no AVX2")
        library = load(capability == "AVX512")
        self._paint = library.paint
        self._paint.argtypes = [*(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 3, ctypes.c_void_p]
        self._paint.restype = None
        self._quantizer, self._factor = tokenizer.quantizer, tokenizer.config.factor
        panel = int(library.panel())
        fine, coarse = tokenizer.config.decoder_widths
        if coarse % MULTIPLE or fine % MULTIPLE:
            raise UnavailableError(f"the decoder's widths {coarse} and {fine} must be multiples of {MULTIPLE}")
        self._kept: list[Any] = []  # what only the structures point to
        blocks = [*decoder.coarse, *decoder.fine]
        table = (_Block * len(blocks))(*(self._block(block, panel) for block in blocks))  # type: ignore[arg-type]
        self._kept.append(table)
        up, head = _matrix(decoder.up), _matrix(decoder.head)
        step = decoder.step
        # A place's channels side by side; pixel_shuffle has them apart.
        up = up.unflatten(1, (fine, step * step)).transpose(1, 2).flatten(1)
        up_bias = decoder.up.bias.unflatten(0, (fine, step * step)).T.flatten()
        room = -COLOURS % panel
        self._decoder = _Decoder(
            levels=len(tokenizer.config.levels),
            coarse=coarse,
            fine=fine,
            step=step,
            coarse_blocks=len(decoder.coarse),
            fine_blocks=len(decoder.fine),
            stem=self._at(_matrix(decoder.stem)),
            stem_bias=self._at(decoder.stem.bias),
            block=ctypes.addressof(table),
            up=self._at(_panels(up, panel)),
            up_bias=self._at(up_bias),
            gain=self._at(decoder.norm.weight),
            shift=self._at(decoder.norm.bias),
            head=self._at(_panels(nn.functional.pad(head, (0, room)), panel)),
            head_bias=self._at(nn.functional.pad(decoder.head.bias, (0, room))),
        )

    def decode(self, tokens: Tensor, known: Tensor | None = None, halo: int = 0) -> Tensor:
        """What Tokenizer.decode() gives, to rounding: tokens [B, h, w] int64, known [B, h, w] bool -> [B, 3, H, W]."""
        n, h, w = tokens.shape
        codes = self._quantizer.to_codes(tokens).contiguous()
        known = torch.ones_like(tokens, dtype=torch.bool) if known is None else known.contiguous()
        pixels = torch.empty(n, 3, *(self._factor * (side - 2 * halo) for side in (h, w)))
        for of, there, to in zip(codes, known, pixels, strict=True):
            self._paint(ctypes.byref(self._decoder), of.data_ptr(), there.data_ptr(), h, w, halo, to.data_ptr())
        return pixels

    def _block(self, block: Block, panel: int) -> "_Block":
        norm: ChannelNorm = block.norm
        spread = torch.tensor(SPREAD, dtype=torch.float64)
        kernels = torch.einsum("iy,jx,nkyx->ijkn", spread, spread, block.conv.weight.double()).flatten(0, 1)
        return _Block(
            gain=self._at(norm.weight),
            shift=self._at(norm.bias),
            conv=self._at(torch.stack([_panels(kernel, panel) for kernel in kernels])),
            conv_bias=self._at(block.conv.bias),
            mix=self._at(_panels(_matrix(block.mix), panel)),
            mix_bias=self._at(block.mix.bias),
        )

    def _at(self, values: Tensor | None) -> int:
        """Where a copy of these numbers is."""
        assert values is not None
        copy = values.detach().to(torch.float32, memory_format=torch.contiguous_format, copy=True).contiguous()
        self._kept.append(copy)
        return copy.data_ptr()


def suited(tokenizer: Tokenizer) -> Tokenizer | NativePixels:
    """What decodes sooner: native code or, where there is none for it, the tokenizer."""
    try:
        return NativePixels(tokenizer)
    except UnavailableError:
        return tokenizer


class _Block(ctypes.Structure):
    """`Block` of pixels.cpp: the same fields in the same order."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("gain", "shift", "conv", "conv_bias", "mix", "mix_bias")]


class _Decoder(ctypes.Structure):
    """`Decoder` of pixels.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("levels", "coarse", "fine", "step", "coarse_blocks", "fine_blocks")),
        *((name, ctypes.c_void_p) for name in ("stem", "stem_bias", "block", "up", "up_bias")),
        *((name, ctypes.c_void_p) for name in ("gain", "shift", "head", "head_bias")),
    ]


def _matrix(conv: nn.Conv2d) -> Tensor:
    """The weights of a 1x1 convolution, [K, N]."""
    return conv.weight.detach()[:, :, 0, 0].T


def _panels(matrix: Tensor, panel: int) -> Tensor:
    """[K, N] -> [N / panel, K, panel]."""
    return matrix.unflatten(1, (-1, panel)).transpose(0, 1)
