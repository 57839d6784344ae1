"""The file that a run goes on from: last.pt, or the same bytes in parts where files may only be so large.

Parts are named last.pt.STEP.I-of-N. A crash while writing leaves the checkpoint before it whole: last.pt is replaced in
one move, and older parts go only when all new ones are there.
"""

import io
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NAME = "last.pt"
_PART = re.compile(r"last\.pt\.(\d+)\.(\d+)-of-(\d+)")


def save_checkpoint(folder: Path, state: dict[str, Any], part_mb: float | None = None) -> None:
    """Write `state`, which has an int `step`, in place of the folder's checkpoint.

    part_mb: largest file in MiB; None writes one file of any size.
    """
    before = [path for path, *_ in _parts(folder)]
    if part_mb is None:
        new = [folder / NAME]
        torch.save(state, folder / f"{NAME}.tmp")
        os.replace(folder / f"{NAME}.tmp", folder / NAME)
    else:
        stream = io.BytesIO()
        torch.save(state, stream)
        data, length = stream.getbuffer(), int(part_mb * 2**20)
        count = -(-len(data) // length)
        new = [folder / f"{NAME}.{state['step']:08d}.{i + 1}-of-{count}" for i in range(count)]
        for i, path in enumerate(new):
            path.with_name(f"{path.name}.tmp").write_bytes(data[i * length : (i + 1) * length])
            os.replace(path.with_name(f"{path.name}.tmp"), path)
    for path in {*before, folder / NAME} - set(new):
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The folder's newest whole checkpoint. Raises FileNotFoundError when there is none."""
    whole = folder / NAME
    parts = _newest_parts(folder)
    source: Path | io.BytesIO = whole
    if parts and not (whole.exists() and whole.stat().st_mtime > parts[0].stat().st_mtime):
        source = io.BytesIO(b"".join(path.read_bytes() for path in parts))
    elif not whole.exists():
        raise FileNotFoundError(f"{whole} does not exist, nor parts of it")
    state: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
    return state


def part_of(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of one of a run's parts, "transformer" for one."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def has_checkpoint(folder: Path) -> bool:
    return (folder / NAME).exists() or bool(_newest_parts(folder))


def _parts(folder: Path) -> list[tuple[Path, int, int, int]]:
    """Path, step, number and count of every part in a folder."""
    found = [(path, _PART.fullmatch(path.name)) for path in folder.glob(f"{NAME}.*")]
    return [(path, *(int(n) for n in match.groups())) for path, match in found if match]  # type: ignore[misc]


def _newest_parts(folder: Path) -> list[Path]:
    """The parts of the newest step of which none is missing, in order; [] when there is no such step."""
    sets: dict[tuple[int, int], dict[int, Path]] = {}
    for path, step, number, count in _parts(folder):
        sets.setdefault((step, count), {})[number] = path
    whole = [key for key, paths in sets.items() if len(paths) == key[1]]
    return [path for _, path in sorted(sets[max(whole)].items())] if whole else []
