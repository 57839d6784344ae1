"""Huge pictures as their viewers want them: a tiled pyramid in one BigTIFF, made from a PNG by libvips."""

import os
from pathlib import Path

TILE_PX = 256
# libvips keeps half-made levels in memory up to this size, each: by default 100 MB of pixels.
LEVEL_IN_MEMORY = "1m"


def write_pyramid(png: Path, tiff: Path) -> None:
    """The picture and its halves down to a single tile, without loss; text chunks are not taken along.

    Memory grows with the picture's width, not its height: 30 MB at 8,192 px, 150 MB at 38,912.
    Raises RuntimeError, saying what to install, without libvips; ValueError when the PNG is no whole PNG.
    """
    os.environ.setdefault("VIPS_DISC_THRESHOLD", LEVEL_IN_MEMORY)  # read when libvips is loaded
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the package is there, the library is not
        raise RuntimeError('a pyramid needs libvips: pip install "pyvips[binary]"') from error
    try:
        picture = pyvips.Image.new_from_file(str(png), access="sequential", fail_on="warning")
        picture.tiffsave(
            str(tiff),
            bigtiff=True,
            tile=True,
            tile_width=TILE_PX,
            tile_height=TILE_PX,
            pyramid=True,
            compression="deflate",
            predictor="horizontal",
        )
    except pyvips.Error as error:
        tiff.unlink(missing_ok=True)
        raise ValueError(f"{png} is no whole PNG: {error.message.strip()}") from error
