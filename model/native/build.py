"""The kernel as a shared library: built by the system's compiler at first use, then kept in the user's cache folder.

`python -m model.native.build FOLDER` builds it ahead, for images without a compiler: FOLDER = this package's own.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# Read now: a process must not build what an update brings later, for a step.py or pixels.py it does not have.
CODE = b"".join((HERE / name).read_bytes() for name in ("vectors.h", "tokens.cpp", "pixels.cpp"))
# Named features, not -march=native: any machine that has them computes the same bits, and may share the file.
FLAGS = ("-std=c++17", "-O3", "-mavx2", "-mfma", "-mf16c", "-ffp-contract=off", "-shared", "-fPIC", "-pthread")
# As well, where they are to be had: the same bits, sooner.
WIDE = ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")


class UnavailableError(Exception):
    """Why there is no native step here, in one sentence."""


def load(wide: bool) -> ctypes.CDLL:
    """The library, built if this version of it is nowhere yet. Raises UnavailableError without a working compiler.

    wide: for processors with AVX-512.
    """
    ours, users = HERE / _name(wide), _cache() / _name(wide)
    for path in (ours, users):
        if path.exists():
            return _open(path)
    with tempfile.TemporaryDirectory(prefix="nuwa-") as folder:
        built = build(Path(folder), wide)
        try:
            users.parent.mkdir(parents=True, exist_ok=True)
            kept = Path(shutil.copy(built, users.with_suffix(f".{os.getpid()}.tmp")))
            kept.replace(users)  # at once, for workers that start together
        except OSError:
            return _open(built)  # a home that cannot be written: built again at the next start
    return _open(users)


def build(folder: Path, wide: bool) -> Path:
    """Compile into this folder; takes seconds. Raises UnavailableError."""
    path = folder / _name(wide)
    try:
        subprocess.run(
            [os.environ.get("CXX", "c++"), *_flags(wide), "-o", path, "-x", "c++", "-"],
            input=CODE, check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UnavailableError(f"no C++ compiler ({error.filename})") from error
    except subprocess.CalledProcessError as error:
        raise UnavailableError(
            f"the C++ compiler failed: {error.stderr.decode(errors='replace').strip()[:200]}"
        ) from error
    return path


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"{path} cannot be loaded: {error}") from error


def _flags(wide: bool) -> tuple[str, ...]:
    return (*FLAGS, *WIDE) if wide else FLAGS


def _name(wide: bool) -> str:
    version = hashlib.sha256(CODE + " ".join(_flags(wide)).encode()).hexdigest()[:16]
    return f"kernel-{version}.so"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nuwa"


if __name__ == "__main__":
    for wide in (False, True):
        print(build(Path(sys.argv[1]), wide))
