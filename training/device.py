"""What training does differently on a GPU: TF32, bfloat16 beside float32 master weights, compiled code.

On a CPU every function here leaves things as they are: few of them have native bfloat16 (measured 50-300 times slower),
and compiling brought nothing. TORCHDYNAMO_DISABLE=1 in the environment turns compiling off.
"""

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


def autocast(device: torch.device) -> torch.autocast:
    """Products in bfloat16 on a GPU; weights, norms and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


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
