"""All tokens of a batch of patches and their states in one native call, on CPUs with AVX2 or more; see tokens.cpp."""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

from model.context_pool import NearbyContextPool, Offset, large_pages
from model.native.build import UnavailableError, load
from model.position import rotary_angles
from model.sampling import Sampling
from model.transformer import Transformer

STEPS = ("auto", "native", "torch")
LANES = 8  # numbers that are computed at once; tokens are counted in so many
PANEL = 16  # width, head size and panels of weights are multiples of it
MOST_HEADS = 128
# Rows step side by side while all that they read at each step stays in a cache of this size, but FEWEST at least; where
# not even the weights stay there, so many that arithmetic takes longer than reading the weights anew for them. With
# AVX-512 both are one block of the kernel's.
CACHE_BYTES = 12 << 20
FEWEST_ROWS, ROWS_BEYOND_CACHE = 4, 12
WIDE_ROWS = 8

log = logging.getLogger(__name__)


def choose(step: str, transformer: Transformer, threads: int = 1) -> "NativeSteps | None":
    """What draws the tokens of a patch: native code, or None for the loop in PyTorch.

    step: "torch", "native" or "auto", which is native on a CPU that can. Raises ValueError for another word, or when
    native is asked for and is not to be had.
    """
    if step not in STEPS:
        raise ValueError(f"step is {step!r}, but must be one of {', '.join(STEPS)}")
    if step == "torch" or (step == "auto" and transformer.token.device.type != "cpu"):
        return None
    try:
        return NativeSteps(transformer, threads)
    except UnavailableError as reason:
        if step == "native":
            raise ValueError(f"the native step is not available: {reason}") from reason
        log.warning("tokens are drawn by plain PyTorch, some 3 times slower than native code: %s", reason)
        return None


@dataclass(frozen=True)
class Words:
    """Keys and values of a prompt's words as the kernel reads them; those that do not count are left out."""

    states: Tensor  # float16 [L, 2 * D * room]: keys [H, d, room], then values [H, room, d]
    seen: int
    room: int  # for one more, the begin token, in whole panels

    @classmethod
    def pack(cls, keys: Tensor, values: Tensor, mask: Tensor) -> Self:
        """keys, values [L, H, S, d] and mask [S] bool of one prompt."""
        seen = int(mask.sum())
        room = -(-(seen + 1) // LANES) * LANES
        keys, values = (torch.nn.functional.pad(t[:, :, mask], (0, 0, 0, room - seen)) for t in (keys, values))
        return cls(torch.cat([keys.transpose(2, 3).flatten(1), values.flatten(1)], 1).half(), seen, room)


@dataclass(frozen=True)
class Row:
    """What a patch is told and looks at, with its prompt or with none."""

    order: str
    conditions: Tensor  # [M + 1, D]
    words: Words
    page: int  # takes its states
    nearby: Sequence[tuple[int, Offset]]  # pages, and how far their patches are away


@dataclass(frozen=True)
class Slot:
    """A patch to draw: one row, or two with guidance, the one with its prompt first."""

    rows: Sequence[Row]
    sampling: Sampling
    noise: Tensor  # [M] float64 in [0, 1)
    known: Tensor  # [M] int64, -1 where a token is to be drawn
    trace: Tensor | None = None  # float32 [M, V], takes the guided logits that were drawn from
    said: Tensor | None = None  # float64 [1]: Canvas.said


class NativeSteps:
    """Draws all tokens of a batch of patches, with 16-bit weights, keys and values.

    threads: among which the patches of a batch are shared out.

    A patch's tokens and states are the same bits whatever is drawn beside it, and whether its tokens were known or
    drawn. The weights are copied here: later changes of the transformer are not seen. Raises UnavailableError where
    this cannot run.
    """

    def __init__(self, transformer: Transformer, threads: int = 1) -> None:
        self.config = c = transformer.config
        self._threads = threads
        if transformer.token.device.type != "cpu":
            raise UnavailableError(f"the model is on {transformer.token.device}")
        if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):  # AVX2 or AVX512; with them FMA and F16C
            raise UnavailableError("the processor has no AVX2")
        if c.width % PANEL or c.head_dim % PANEL:
            raise UnavailableError(f"width {c.width} and head size {c.head_dim} must be multiples of {PANEL}")
        if c.tokens_per_patch % LANES or c.heads > MOST_HEADS:
            raise UnavailableError(f"{c.tokens_per_patch} tokens a patch or {c.heads} heads do not suit it")
        wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
        library = load(wide)
        self._decode = library.decode
        self._fewest, self._beyond = (WIDE_ROWS, WIDE_ROWS) if wide else (FEWEST_ROWS, ROWS_BEYOND_CACHE)
        self._decode.argtypes, self._decode.restype = [ctypes.c_void_p], None
        self._matrices, self._vectors = _matrices(transformer, library.columns()), _vectors(transformer)
        self._weight_bytes = sum(matrix.nbytes for matrix in self._matrices.values())
        self._vocabulary = transformer.codebook_size
        self._angles = {name: (*_turn(s.target_angles), *_turn(s.own_angles)) for name, s in transformer.scans.items()}
        self._fronts = large_pages(1)  # words and begin tokens of a batch; grows to the largest

    def __call__(self, pool: NearbyContextPool, slots: Sequence[Slot]) -> Tensor:
        """Draw the M tokens of n patches, but those that are known; leave their states in the rows' pages.

        Returns tokens [n, M] int64 in scan order.
        """
        c, steps = self.config, self.config.tokens_per_patch
        rows = [row for slot in slots for row in slot.rows]
        sizes = [row.words.states.numel() for row in rows]
        if self._fronts.numel() < sum(sizes):
            self._fronts = large_pages(sum(sizes))
        fronts = self._fronts.split([*sizes, self._fronts.numel() - sum(sizes)])
        kept: list[Any] = []  # what only the structures below point to

        def at(value: Tensor) -> int:
            kept.append(value)
            return value.data_ptr()

        table = (_Row * len(rows))()
        for entry, row, front in zip(table, rows, fronts, strict=False):
            turns = [_turn_back(offset, c.patch_tokens, c.head_dim) for _, offset in row.nearby]
            entry.conditions = at(row.conditions.contiguous())
            entry.cos_target, entry.sin_target, entry.cos_own, entry.sin_own = map(at, self._angles[row.order])
            entry.words, entry.front = at(row.words.states), front.data_ptr()
            entry.room, entry.seen, entry.page, entry.nearby = row.words.room, row.words.seen, row.page, len(turns)
            if turns:
                entry.pages = at(torch.tensor([page for page, _ in row.nearby]))
                entry.cos_back, entry.sin_back = (at(torch.stack(part)) for part in zip(*turns, strict=True))
        drawn = torch.empty(len(slots), steps, dtype=torch.long)
        places, first = (_Slot * len(slots))(), 0
        for place, slot, tokens in zip(places, slots, drawn, strict=True):
            place.row, place.guided = first, len(slot.rows) - 1
            first += len(slot.rows)
            place.scale, place.temperature = slot.sampling.cfg_scale, slot.sampling.temperature
            place.top_k, place.top_p = slot.sampling.top_k, slot.sampling.top_p
            place.min_p = slot.sampling.min_p
            place.noise, place.known, place.drawn = at(slot.noise), at(slot.known.contiguous()), tokens.data_ptr()
            place.trace = None if slot.trace is None else slot.trace.data_ptr()
            place.said = None if slot.said is None else slot.said.data_ptr()
        batch = _Batch(
            width=c.width,
            depth=c.depth,
            heads=c.heads,
            vocabulary=self._vocabulary,
            steps=steps,
            **{name: tensor.data_ptr() for name, tensor in {**self._matrices, **self._vectors}.items()},
            slots=len(slots),
            together=self._together(slots),
            threads=self._threads,
            pages=pool.storage.shape[1],
            slot=ctypes.addressof(places),
            row=ctypes.addressof(table),
            pool=pool.storage.data_ptr(),
        )
        self._decode(ctypes.byref(batch))
        return drawn

    def _together(self, slots: Sequence[Slot]) -> int:
        """How many slots step side by side in one thread; the others come after them, or in other threads."""
        c = self.config
        tokens = max(row.words.room + (len(row.nearby) + 1) * c.tokens_per_patch for slot in slots for row in slot.rows)
        left = CACHE_BYTES - self._weight_bytes
        fit = max(self._fewest, left // (4 * tokens * c.width * c.depth))
        rows = self._beyond if left < 0 else fit
        share = -(-len(slots) // self._threads)
        return int(max(1, min(share, rows // max(len(slot.rows) for slot in slots))))


class _Row(ctypes.Structure):
    """`Row` of tokens.cpp: the same fields in the same order."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("conditions", "cos_target", "sin_target", "cos_own", "sin_own")),
        *((name, ctypes.c_void_p) for name in ("words", "front")),
        *((name, ctypes.c_int64) for name in ("room", "seen", "page", "nearby")),
        *((name, ctypes.c_void_p) for name in ("pages", "cos_back", "sin_back")),
    ]


class _Slot(ctypes.Structure):
    """`Slot` of tokens.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("row", "guided")),
        *((name, ctypes.c_double) for name in ("scale", "temperature", "top_k", "top_p", "min_p")),
        *((name, ctypes.c_void_p) for name in ("noise", "known", "drawn", "trace", "said")),
    ]


class _Batch(ctypes.Structure):
    """`Batch` of tokens.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("width", "depth", "heads", "vocabulary", "steps")),
        *((name, ctypes.c_void_p) for name in ("qkv", "out", "up", "down", "head")),
        *((name, ctypes.c_void_p) for name in ("norm1", "q_norm", "k_norm", "norm2", "norm", "begin", "table")),
        *((name, ctypes.c_int64) for name in ("slots", "together", "threads", "pages")),
        *((name, ctypes.c_void_p) for name in ("slot", "row", "pool")),
    ]


@cache
def _turn_back(offset: Offset, patch_tokens: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [d / 2] of minus the angles that turn a patch's keys to its place: they turn queries instead.

    A patch is one frame deep.
    """
    frames, rows, columns = offset
    there = torch.tensor([frames, rows * patch_tokens, columns * patch_tokens], dtype=torch.float32)
    return _turn(rotary_angles(-there, head_dim))


def _turn(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, by way of 64 bits: the same on all processors."""
    return angles.double().cos().float(), angles.double().sin().float()


@torch.no_grad()
def _matrices(transformer: Transformer, columns: int) -> dict[str, Tensor]:
    """Weights as the kernel reads them, in panels of so many columns, side by side in large pages."""
    layers = transformer.layers

    def panels(weights: list[Tensor]) -> Tensor:
        """Matrices [N, K] -> [L, N / columns, K, columns] float16, N filled up with zeros."""
        w = torch.stack(weights)
        w = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[1] % PANEL)).half()
        if not w.isfinite().all():
            raise UnavailableError("a weight is too large for 16 bits")
        return w.unflatten(1, (-1, columns)).transpose(2, 3)

    matrices = {
        "qkv": panels([layer.qkv.weight for layer in layers]),
        "out": panels([layer.out.weight for layer in layers]),
        "up": panels([layer.up.weight for layer in layers]),
        "down": panels([layer.down.weight for layer in layers]),
        "head": panels([transformer.head_table(torch.float64)]),
    }
    sizes = [matrix.numel() for matrix in matrices.values()]
    places = dict(zip(matrices, large_pages(sum(sizes)).split(sizes), strict=True))
    for name, matrix in matrices.items():
        places[name].copy_(matrix.flatten())
    return places


@torch.no_grad()
def _vectors(transformer: Transformer) -> dict[str, Tensor]:
    layers = transformer.layers

    def gains(norms: list[torch.nn.LayerNorm]) -> Tensor:
        return torch.stack([norm.weight for norm in norms]).float().contiguous()

    return {
        "norm1": gains([layer.norm1 for layer in layers]),
        "q_norm": gains([layer.q_norm for layer in layers]) * transformer.config.head_dim**-0.5,
        "k_norm": gains([layer.k_norm for layer in layers]),
        "norm2": gains([layer.norm2 for layer in layers]),
        "norm": gains([transformer.norm]),
        "begin": transformer.begin.detach().float().clone(),
        "table": transformer.token_table(torch.float64).float(),
    }
