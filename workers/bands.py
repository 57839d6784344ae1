"""PNG files written band by band: memory depends on a picture's width alone, so its height may be anything."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo, putchunk

from canvas.grid import require_whole

Rows = NDArray[np.uint8]  # [h, width, 3], RGB

SIDE_MAX_PX = 2**31 - 1  # what the header holds
SLICE_BYTES = 2**20  # of rows filtered at a time: a few of their size are in memory besides the band itself


class BandedPng:
    """An 8-bit RGB PNG whose rows come from the top, any number at a time. Equal rows give an equal file.

    info: texts written before the pixels, as iTXt.  file: stays open.
    Raises ValueError, naming the limit, for a side that is no whole number from 1 to SIDE_MAX_PX.
    """

    def __init__(self, file: IO[bytes], width: int, height: int, info: Mapping[str, str] | None = None) -> None:
        for name, side in (("width", width), ("height", height)):
            require_whole(name, side, minimum=1)
            if side > SIDE_MAX_PX:
                raise ValueError(f"{name} must be at most {SIDE_MAX_PX}, got {side}")
        self._file, self._width, self._height = file, width, height
        self._above: Rows = np.zeros((1, width, 3), np.uint8)
        self._count = 0
        self._zip = zlib.compressobj()
        file.write(b"\x89PNG\r\n\x1a\n")
        depth, rgb = b"\x08", b"\x02"
        putchunk(file, b"IHDR", width.to_bytes(4, "big"), height.to_bytes(4, "big"), depth, rgb, b"\0\0\0")
        text = PngInfo()
        for key, value in (info or {}).items():
            text.add_itxt(key, value)  # UTF-8, as prompts are
        for kind, data, *_ in text.chunks:
            putchunk(file, kind, data)

    def add(self, rows: Rows) -> None:
        """rows: uint8 [h, width, 3], the next ones. Raises ValueError when they are not, or are too many."""
        if rows.dtype != np.uint8 or rows.shape[1:] != (self._width, 3):
            raise ValueError(f"rows must be uint8 [h, {self._width}, 3], got {rows.dtype} {list(rows.shape)}")
        if self._count + len(rows) > self._height:
            raise ValueError(f"the picture has {self._height} rows, got {self._count + len(rows)}")
        at_once = max(1, SLICE_BYTES // (3 * self._width))
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            self._write(self._zip.compress(_filtered(part, self._above)))
            self._above = part[-1:].copy()
        self._count += len(rows)

    def close(self) -> None:
        """Write what is left. Raises ValueError when rows are missing."""
        if self._count < self._height:
            raise ValueError(f"the picture has {self._height} rows, got only {self._count}")
        self._write(self._zip.flush())
        putchunk(self._file, b"IEND")

    def _write(self, data: bytes) -> None:
        if data:
            putchunk(self._file, b"IDAT", data)


def write_png(
    file: IO[bytes], width: int, height: int, bands: Iterable[Rows], info: Mapping[str, str] | None = None
) -> str:
    """A whole picture from its bands; the sha256 of its RGB rows from the top."""
    png, digest = BandedPng(file, width, height, info), hashlib.sha256()
    for rows in bands:
        png.add(rows)
        digest.update(rows.tobytes())
    png.close()
    return digest.hexdigest()


def _filtered(rows: Rows, above: Rows) -> bytes:
    """The rows as PNG packs them: each as differences to its left (1) or to the row above (2), whichever are smaller.

    The other three filters are left out: with all five, rendered landscapes take 6 % more bytes, photographs 1 % less.
    """
    left = rows.copy()
    left[:, 1:] -= rows[:, :-1]
    up = rows.copy()
    up[:1] -= above
    up[1:] -= rows[:-1]
    choices = np.stack([left.reshape(len(rows), -1), up.reshape(len(rows), -1)])
    size = np.minimum(choices, np.negative(choices)).sum(axis=2, dtype=np.int64)  # 255 is -1: as small as 1
    kind = size.argmin(axis=0)
    packed = np.empty((len(rows), 1 + choices.shape[2]), np.uint8)
    packed[:, 0] = kind + 1
    packed[:, 1:] = choices[kind, np.arange(len(rows))]
    return packed.tobytes()
