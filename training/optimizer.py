"""Muon for the matrices, AdamW for everything else.

torch.optim.Muon computes in bfloat16, which CPUs without native support run 50-300 times slower than float32, and takes
only two-dimensional parameters; this one keeps the parameter's precision on those and reads a convolution as a matrix.
Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the step size follows Liu et
al., "Muon is Scalable for LLM Training" (2025), so that one learning rate serves both optimisers.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.device import has_bfloat16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives all singular values towards 1
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrices: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """[N, A, B] -> for each matrix the nearest one with singular values of about 1, [N, A, B]."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if has_bfloat16(matrices.device.type) else matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. Parameters must have two dimensions or more."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}  # matrices of one shape together: few large products, not many
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.flatten(1).shape, []).append(p)
            for shape, params in alike.items():
                updates = orthogonalise(torch.stack([self._moved(p, group["momentum"]) for p in params]))
                for p, update in zip(params, updates * 0.2 * max(shape) ** 0.5, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view_as(p), alpha=-group["lr"])

    def _moved(self, p: Tensor, momentum: float) -> Tensor:
        """The momentum with p's gradient in it, and one look ahead, as a matrix."""
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(state["momentum"], momentum).flatten(1)


def build_optimizers(model: nn.Module, lr: float, weight_decay: float = 0.0) -> list[torch.optim.Optimizer]:
    """Muon for weights of hidden layers, AdamW for embeddings, heads, norms and biases.

    A module's attribute `adamw` (a set of parameter names) keeps matrices that are tables, not maps, out of Muon.
    """
    kept: set[str] = getattr(model, "adamw", set())
    matrices, others = [], []
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        hidden = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 16 and not any(name.startswith(k) for k in kept)
        (matrices if hidden else others).append(p)
    return [
        Muon(matrices, lr=lr, weight_decay=weight_decay),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
