"""What training does differently where a device can: bfloat16 beside float32 master weights, and on a GPU also TF32 and
compiled code.

Few CPUs have native bfloat16, the others are 50-300 times slower at it; compiling brought nothing there.
TORCHDYNAMO_DISABLE=1 in the environment turns compiling off.
"""

from functools import cache

import torch
from torch import nn


def pick_device(name: str, threads: int = 0) -> torch.device:
    """name: cpu, cuda, cuda:1 ..., or auto.  threads: of the CPU; 0 leaves the choice to torch.

    Raises RuntimeError for a name that torch does not know.
    """
    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 for what stays in float32
        torch.backends.cudnn.allow_tf32 = True
    return device


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether products in bfloat16 are faster than in float32: on GPUs, and on CPUs with instructions for them."""
    if device_type == "cuda":
        return True
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Products in bfloat16, if wanted, where that is faster; weights, norms and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and has_bfloat16(device.type))


def compile_on_gpu(device: torch.device, *modules: nn.Module) -> None:
    """Compile each module's forward in place: names of weights stay as they are. For modules called with one shape."""
    if device.type == "cuda":
        for module in modules:
            module.compile(dynamic=False)


def compile_methods_on_gpu(device: torch.device, modules: nn.ModuleList, *names: str) -> None:
    """Compile methods of like modules, such as a transformer's layers: once for all of them, and for all shapes."""
    if device.type == "cuda":
        for module in modules:
            for name in names:
                setattr(module, name, torch.compile(getattr(module, name), dynamic=True))
