"""The pyramid: every level readable, the first one exact."""

import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

from workers.bands import write_png
from workers.pyramid import write_pyramid


def test_a_pyramid_holds_the_picture_exactly_and_its_halves(tmp_path: Path) -> None:
    y, x = np.mgrid[:700, :1100]
    pixels = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    with (tmp_path / "a.png").open("wb") as file:
        write_png(file, 1100, 700, [pixels])
    write_pyramid(tmp_path / "a.png", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0", "BigTIFF"
    levels = [pyvips.Image.new_from_file(str(tmp_path / "a.tif"), page=page) for page in range(4)]
    assert [(level.width, level.height) for level in levels] == [(1100, 700), (550, 350), (275, 175), (137, 87)]
    assert np.array_equal(levels[0].numpy(), pixels)
    assert levels[0].get("tile-width") == 256
    with pytest.raises(ValueError, match="no whole PNG"):
        write_pyramid(Path(__file__), tmp_path / "b.tif")


def test_without_libvips_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(RuntimeError, match="pip install"):
        write_pyramid(tmp_path / "a.png", tmp_path / "a.tif")
