"""All tokens of a batch of patches and their states in one native call, on CPUs with AVX2; see kernel.cpp."""

import contextlib
import ctypes
import logging
import mmap
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from model.native.build import UnavailableError, load
from model.sampling import SamplingRows
from model.transformer import Transformer

STEPS = ("auto", "native", "torch")
LANES = 8  # width, head size and panels are multiples of it

log = logging.getLogger(__name__)


def choose(step: str, transformer: Transformer) -> "NativeSteps | None":
    """What draws the tokens of a patch: native code, or None for the loop in PyTorch.

    step: "torch", "native" or "auto", which is native on a CPU that can. Raises ValueError for another word, or when
    native is asked for and is not to be had.
    """
    if step not in STEPS:
        raise ValueError(f"step is {step!r}, but must be one of {', '.join(STEPS)}")
    if step == "torch" or (step == "auto" and transformer.token.device.type != "cpu"):
        return None
    try:
        return NativeSteps(transformer)
    except UnavailableError as reason:
        if step == "native":
            raise ValueError(f"the native step is not available: {reason}") from reason
        log.warning("tokens are drawn by plain PyTorch, some 3 times slower than native code: %s", reason)
        return None


class NativeSteps:
    """Draws all tokens of a batch of patches, on one thread, with 16-bit weights, keys and values.

    A patch's tokens and states are the same bits whatever is drawn beside it, and whether its tokens were known or
    drawn. The weights are copied here: later changes of the
    transformer are not seen. Raises UnavailableError where this cannot run.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer
        c = transformer.config
        if transformer.token.device.type != "cpu":
            raise UnavailableError(f"the model is on {transformer.token.device}")
        if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):  # AVX2 or AVX512; with them FMA and F16C
            raise UnavailableError("the processor has no AVX2")
        if c.width % LANES or c.head_dim % LANES:
            raise UnavailableError(f"width {c.width} and head size {c.head_dim} must be multiples of {LANES}")
        self._decode = load().decode
        self._decode.argtypes, self._decode.restype = [ctypes.c_void_p], None
        self._memory = _memory(1)  # of keys and values; grows to the largest batch
        self._model = _weights(transformer)

    def __call__(
        self, context: "Context", params: SamplingRows, noise: Tensor, known: Tensor, trace: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the M tokens of n patches, but those that are known.

        context: of 2 n rows; 2 i and 2 i + 1 are patch i with its prompt and with none, and the latter is left out
        where cfg_scale is 1.  params: of n patches.  noise [n, M] float64 in [0, 1).  known [n, M] int64, -1 where a
        token is to be drawn.  trace: float32 [n, M, V], takes the guided logits that were drawn from.
        Returns tokens [n, M] int64 in scan order and their keys and values [L, 2 n, H, M, d] float16, as patch_pass
        gives them; those of rows left out are unset.
        """
        n, steps = noise.shape
        c, scans = self.transformer.config, self.transformer.scans
        guided = (params.cfg_scale[:, 0] != 1).tolist()
        source = [2 * i + branch for i in range(n) for branch in range(1 + guided[i])]
        slots = [row // 2 for row in source]
        length = context.keys.shape[3]
        capacity = -(-(length + steps + 1) // LANES) * LANES
        size = len(source) * c.depth * c.width * capacity
        if self._memory.numel() < 2 * size:
            self._memory = _memory(2 * size)
        target_angles = torch.stack([scans[name].target_angles for name in context.orders])
        own_angles = torch.stack([scans[name].own_angles for name in context.orders])
        drawn = torch.empty(n, steps, dtype=torch.long)
        own_keys, own_values = torch.empty(2, c.depth, 2 * n, c.heads, steps, c.head_dim, dtype=torch.float16)
        fields = {
            **self._model,
            "rows": len(source),
            "slots": n,
            "steps": steps,
            "context_rows": 2 * n,
            "context": length,
            "capacity": capacity,
            "source": torch.tensor(source),
            "context_keys": context.keys.contiguous(),
            "context_values": context.values.contiguous(),
            "seen": context.mask.contiguous(),
            "conditions": context.conditions.contiguous(),
            "cos_target": target_angles.cos(),
            "sin_target": target_angles.sin(),
            "cos_own": own_angles.cos(),
            "sin_own": own_angles.sin(),
            "slot_of": torch.tensor(slots),
            "conditional": torch.tensor([source.index(2 * i) for i in range(n)]),
            "unconditional": torch.tensor([source.index(2 * i + 1) if guided[i] else -1 for i in range(n)]),
            "scale": params.cfg_scale,
            "temperature": params.temperature,
            "top_k": params.top_k,
            "top_p": params.top_p,
            "noise": noise.contiguous(),
            "keys": self._memory,
            "values": self._memory[size:],
            "known": known.contiguous(),
            "drawn": drawn,
            "own_keys": own_keys,
            "own_values": own_values,
            "trace": trace,
        }
        self._decode(ctypes.byref(_Batch(**{name: _plain(value) for name, value in fields.items()})))
        return drawn, own_keys, own_values


class Context(Protocol):
    """What rows are given beside their own tokens (model/generate.py)."""

    @property
    def orders(self) -> Sequence[str]: ...
    @property
    def conditions(self) -> Tensor: ...
    @property
    def keys(self) -> Tensor: ...
    @property
    def values(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...


class _Batch(ctypes.Structure):
    """`Batch` of kernel.cpp: the same fields in the same order."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "slots", "width", "depth", "heads", "vocabulary", "steps")),
        *((name, ctypes.c_int64) for name in ("context_rows", "context", "capacity")),
        *((name, ctypes.c_void_p) for name in ("qkv", "out", "up", "down", "head")),
        *((name, ctypes.c_void_p) for name in ("norm1", "q_norm", "k_norm", "norm2", "norm", "begin", "table")),
        *((name, ctypes.c_void_p) for name in ("source", "context_keys", "context_values", "seen", "conditions")),
        *((name, ctypes.c_void_p) for name in ("cos_target", "sin_target", "cos_own", "sin_own")),
        *((name, ctypes.c_void_p) for name in ("slot_of", "conditional", "unconditional")),
        *((name, ctypes.c_void_p) for name in ("scale", "temperature", "top_k", "top_p", "noise")),
        *((name, ctypes.c_void_p) for name in ("keys", "values", "known", "drawn", "own_keys", "own_values", "trace")),
    ]


def _plain(value: Tensor | int | None) -> int | None:
    return value.data_ptr() if isinstance(value, Tensor) else value


def _memory(numbers: int) -> Tensor:
    """Room for float16 numbers in large pages, where the system has them: reading is up to twice as fast."""
    memory = mmap.mmap(-1, numbers * torch.float16.itemsize)
    with contextlib.suppress(AttributeError, OSError):  # a system that knows no large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float16)


@torch.no_grad()
def _weights(transformer: Transformer) -> dict[str, Any]:
    """The fields of `Batch` that never change, matrices as the kernel reads them."""
    c, layers = transformer.config, transformer.layers

    def panels(weights: list[Tensor]) -> Tensor:
        """Matrices [N, K] -> [L, N / 8, K, 8] float16, N filled up with zeros."""
        w = torch.stack(weights)
        w = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[1] % LANES)).half()
        if not w.isfinite().all():
            raise UnavailableError("a weight is too large for 16 bits")
        return w.unflatten(1, (-1, LANES)).transpose(2, 3)

    def gains(norms: list[torch.nn.LayerNorm]) -> Tensor:
        return torch.stack([norm.weight for norm in norms]).float().contiguous()

    matrices = {
        "qkv": panels([layer.qkv.weight for layer in layers]),
        "out": panels([layer.out.weight for layer in layers]),
        "up": panels([layer.up.weight for layer in layers]),
        "down": panels([layer.down.weight for layer in layers]),
        "head": panels([transformer.head_table()]),
    }
    sizes = [matrix.numel() for matrix in matrices.values()]
    places = _memory(sum(sizes)).split(sizes)
    for place, matrix in zip(places, matrices.values(), strict=True):
        place.copy_(matrix.flatten())
    return {
        **dict(zip(matrices, places, strict=True)),
        "width": c.width,
        "depth": c.depth,
        "heads": c.heads,
        "vocabulary": transformer.codebook_size,
        "norm1": gains([layer.norm1 for layer in layers]),
        "q_norm": gains([layer.q_norm for layer in layers]),
        "k_norm": gains([layer.k_norm for layer in layers]),
        "norm2": gains([layer.norm2 for layer in layers]),
        "norm": gains([transformer.norm]),
        "begin": transformer.begin.detach().float().clone(),
        "table": transformer.token_table().float().clone(),
    }
