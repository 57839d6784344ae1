"""Several processes that train one model, each on a GPU of its own, started by torchrun; one process alone is no
different.

    torchrun --nproc-per-node 8 -m cli.main -- train transformer --hours 2

Each process draws its own pictures and averages its gradients with the others', so N processes equal one with N times
the batch. Their weights stay equal bit for bit, since all apply the same gradients. The first one alone evaluates and
writes. Gradients travel in one piece after the backward pass: simple, and short beside a step of this model.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.device import pick_device

PATIENCE = timedelta(hours=2)  # the others wait while the first evaluates


@contextmanager
def joined(device: str, threads: int = 0) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, if it has; gives the device of this one.

    device, threads: as pick_device takes them; on GPUs each process takes the one of its own number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield pick_device(device, threads)
        return
    own = pick_device(device, threads)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield own
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_seed(seed: int) -> int:
    """A seed for this process, far from the others', so that each draws other pictures; the first keeps `seed`."""
    return seed + rank() * 1_000_000_007


def agree(value: float, device: torch.device) -> float:
    """The first process's value, for all."""
    if size() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def share(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors with the first process's."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes. A process in which a weight took no part counts as zero; a
    weight without gradient everywhere keeps none.
    """
    if size() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    given = torch.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained] + [given])
    dist.all_reduce(flat)  # a sum; gloo knows no mean
    pieces = flat[: -len(trained)].div_(size()).split([p.numel() for p in trained])
    for p, piece, anywhere in zip(trained, pieces, flat[-len(trained) :].tolist(), strict=True):
        p.grad = piece.view_as(p) if anywhere else None
