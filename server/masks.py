"""Masks: which pixels of a given picture are drawn anew, as callers paint them."""

import io
from dataclasses import dataclass

from PIL import Image

from canvas.grid import Grid, Patch
from jobs.request import Area
from server.uploads import GivenPicture, Upload, decoded

WHITE = 128  # and lighter: drawn anew


@dataclass(frozen=True)
class Mask:
    """White where a picture is drawn anew, one bit a pixel, and the smallest rectangle that holds all that is white."""

    image: Image.Image
    area: Area

    @property
    def png(self) -> bytes:
        out = io.BytesIO()
        self.image.save(out, "PNG")
        return out.getvalue()

    def spared(self, patch_px: int) -> tuple[int, ...]:
        """By index, the patches of the picture's grid that touch the rectangle and hold no white pixel."""
        grid = Grid.from_pixels(self.image.width, self.image.height, patch_px)
        rows = range(self.area.top // patch_px, -(-(self.area.top + self.area.height) // patch_px))
        columns = range(self.area.left // patch_px, -(-(self.area.left + self.area.width) // patch_px))
        touched = (Patch(0, row, column) for row in rows for column in columns)
        return tuple(grid.index(patch) for patch in touched if not self.image.crop(grid.box(patch)).getbbox())


def read_mask(upload: Upload, picture: GivenPicture, max_pixels: int) -> Mask:
    """Check and decode a mask of a picture. Takes up to seconds: call it in a thread. Raises InvalidRequest alone."""
    light = decoded(upload, max_pixels).convert("L")
    if light.size != (picture.width, picture.height):
        size = f"{picture.width} x {picture.height}"
        raise upload.refused(
            f"must be as large as the given picture, {size} pixels (got {light.width} x {light.height})"
        )
    image = light.point(lambda value: 255 * (value >= WHITE)).convert("1")
    box = image.getbbox()
    if box is None:
        raise upload.refused("must be white where the picture is drawn anew (got one without a white pixel)", limit=1)
    left, top, right, bottom = box
    return Mask(image, Area(left=left, top=top, width=right - left, height=bottom - top))
