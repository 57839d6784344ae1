"""Muon for the matrices, AdamW for everything else.

torch.optim.Muon computes in bfloat16, which CPUs without native support run 50-300 times slower than float32, and takes
only two-dimensional parameters; this one keeps the parameter's precision on a CPU and reads a convolution as a matrix.
Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the step size follows Liu et
al., "Muon is Scalable for LLM Training" (2025), so that one learning rate serves both optimisers.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives all singular values towards 1
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrix: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """[A, B] -> the nearest matrix with singular values of about 1, [A, B]."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. Parameters must have two dimensions or more."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                update = orthogonalise(update) * 0.2 * max(update.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"])


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
