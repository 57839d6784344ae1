"""Contact sheets: many pictures in one file, to look at."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from training.datasets import to_uint8

GAP_PX = 4


def save_sheet(pixels: Tensor, path: Path, columns: int) -> None:
    """pixels [N, 3, H, W] in [-1, 1] -> one picture, row by row, with light gaps."""
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = torch.full(
        (3, rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX), 245, dtype=torch.uint8
    )
    for i, picture in enumerate(to_uint8(pixels).cpu()):
        top, left = (i // columns) * (height + GAP_PX), (i % columns) * (width + GAP_PX)
        sheet[:, top : top + height, left : left + width] = picture
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(path)
