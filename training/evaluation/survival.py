"""Pictures through the tokenizer and back, beside WebP of as many bits: one by one, and what a set of them shows."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.tokenizer import Tokenizer
from training.datasets import to_float, to_uint8
from training.evaluation.figures import curves, sheet
from training.evaluation.metrics import bootstrap_interval, ssim
from training.evaluation.rows import Figure, Row
from training.evaluation.webp import webp_within
from training.tokenizer import crop_to_multiple, psnr, sharpness

SIDE_MIN = 16  # px; the structural similarity needs 11
STRIP_PX = 2**20  # pixels that pass through the tokenizer at a time
EXAMPLES, EXAMPLE_PX = 6, 192  # pictures on the sheet, and the side of what is shown of each
GOALS = {
    "psnr_scenes": 34.0,
    "psnr_photos": 25.0,
    "sharpness_scenes": 0.9,
    "sharpness_photos": 0.9,
    "codes_used_scenes": 0.9,
}


@dataclass(frozen=True)
class Survival:
    """One picture through the tokenizer, and through WebP of at most as many bytes; pixels are uint8 [3, H, W]."""

    name: str
    original: Tensor  # sides cropped to multiples of the token's
    output: Tensor
    tokens: Tensor  # int64 [h, w]
    token_bytes: int
    webp: Tensor
    webp_bytes: int
    webp_quality: int

    def figures(self) -> dict[str, Any]:
        """What is said about this picture alone."""
        x, y, w = (to_float(t)[None] for t in (self.original, self.output, self.webp))
        return {
            "file": self.name,
            "width": self.original.shape[2],
            "height": self.original.shape[1],
            "psnr": round(psnr(y, x), 3),
            "ssim": round(ssim(y, x), 4),
            "sharpness": round(sharpness(y, x), 4),
            "bytes": self.token_bytes,
            "webp_psnr": round(psnr(w, x), 3),
            "webp_ssim": round(ssim(w, x), 4),
            "webp_sharpness": round(sharpness(w, x), 4),
            "webp_bytes": self.webp_bytes,
            "webp_quality": self.webp_quality,
        }


@torch.no_grad()
def through_tokenizer(tokenizer: Tokenizer, picture: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """A picture of any size, uint8 [3, H, W] with sides that are multiples of the token's, there and back.

    Strip by strip with as much around each as its pixels depend on: the same as the whole at once, in little memory.
    Returns pixels uint8 [3, H, W] and tokens int64 [h, w].
    """
    config, (height, width) = tokenizer.config, picture.shape[1:]
    px = config.factor
    margin = px * (config.halo + config.encoder_blocks[1] + math.ceil(config.encoder_blocks[0] / 2))
    rows = max(px, STRIP_PX // width // px * px)
    outputs, tokens = [], []
    for top in range(0, height, rows):
        first, bottom = max(0, top - margin), min(height, top + rows)
        strip = to_float(picture[:, first : min(height, bottom + margin)].to(device))[None]
        codes = tokenizer.encode(strip)
        outputs.append(to_uint8(tokenizer.decode(codes))[0, :, top - first : bottom - first].cpu())
        tokens.append(codes[0, (top - first) // px : (bottom - first) // px].cpu())
    return torch.cat(outputs, 1), torch.cat(tokens)


def survive(tokenizer: Tokenizer, name: str, picture: Tensor, device: torch.device) -> Survival:
    """Send one picture, uint8 [3, H, W], both ways. Raises ValueError when it is too small or too large to compare."""
    original = crop_to_multiple(picture, tokenizer.config.factor)
    if min(original.shape[1:]) < SIDE_MIN:
        raise ValueError(f"a side of {min(picture.shape[1:])} pixels is too short; {SIDE_MIN} are needed")
    output, tokens = through_tokenizer(tokenizer, original, device)
    size = math.ceil(tokens.numel() * math.log2(tokenizer.config.codebook_size) / 8)
    webp = webp_within(original, size)
    return Survival(name, original, output, tokens, size, webp.pixels, webp.size, webp.quality)


class Survey:
    """A set of pictures, looked at one after the other. kind: what they are called in the rows' names."""

    def __init__(self, kind: str, codebook_size: int) -> None:
        self.kind = kind
        self.pictures: list[dict[str, Any]] = []
        self._used = torch.zeros(codebook_size, dtype=torch.bool)
        self._examples: list[Tensor] = []

    def add(self, survival: Survival) -> None:
        self.pictures.append(survival.figures())
        self._used[survival.tokens.flatten()] = True
        if len(self._examples) < EXAMPLES:
            self._examples.append(
                torch.stack([_middle(t) for t in (survival.original, survival.output, survival.webp)])
            )

    def rows(self) -> list[Row]:
        """Means over the pictures, each picture counting the same."""
        kind, count = self.kind, len(self.pictures)
        above = sum(p["webp_bytes"] > p["bytes"] for p in self.pictures)
        note = "at most the same bits per pixel"
        if above:
            note += f"; {above} of {count} files are larger even at quality 0"

        def mean(figure: str, label: str, unit: str, note: str = "") -> Row:
            values = torch.tensor([p[figure] for p in self.pictures], dtype=torch.float64)
            name = figure if figure.startswith("webp_") else f"tokenizer_{figure}"
            goal, interval = GOALS.get(f"{figure}_{kind}"), bootstrap_interval(values)
            return Row(f"{name}_{kind}", label, float(values.mean()), unit, "higher", goal, count, interval, note)

        def bits(figure: str, name: str, label: str) -> Row:
            pixels = sum(p["width"] * p["height"] for p in self.pictures)
            value = 8 * sum(p[figure] for p in self.pictures) / pixels
            return Row(f"{name}_bits_per_pixel_{kind}", label, value, "bit", "lower", None, count)

        used = float(self._used.float().mean())
        return [
            mean("psnr", f"PSNR, {kind}", "dB"),
            mean("ssim", f"SSIM, {kind}", ""),
            mean("sharpness", f"sharpness, {kind}", "of original", "mean gradient magnitude"),
            Row(
                f"tokenizer_codes_used_{kind}", f"codes used, {kind}", used, "share", "higher",
                GOALS.get(f"codes_used_{kind}"), count, note=f"of {len(self._used)}",
            ),
            bits("bytes", "tokenizer", f"bits per pixel, {kind}"),
            mean("webp_psnr", f"PSNR of WebP, {kind}", "dB", note),
            mean("webp_ssim", f"SSIM of WebP, {kind}", ""),
            mean("webp_sharpness", f"sharpness of WebP, {kind}", "of original"),
            bits("webp_bytes", "webp", f"bits per pixel of WebP, {kind}"),
        ]  # fmt: skip

    def figures(self) -> list[Figure]:
        """The first pictures' middles, and all pictures' figures from the worst to the best."""
        lines = {"tokenizer": [p["psnr"] for p in self.pictures], "WebP": [p["webp_psnr"] for p in self.pictures]}
        rows = torch.stack(self._examples).transpose(0, 1).flatten(0, 1)
        return [
            Figure(f"{self.kind}: original, tokenizer, WebP of as many bits", sheet(rows, len(self._examples))),
            Figure(f"{self.kind}: PSNR of each, sorted", curves(lines, f"% of the {self.kind}", "dB")),
        ]


def _middle(picture: Tensor) -> Tensor:
    """The middle of a picture, a square of EXAMPLE_PX; the rest is white where the picture is smaller."""
    square = torch.full((3, EXAMPLE_PX, EXAMPLE_PX), 255, dtype=torch.uint8)
    height, width = (min(EXAMPLE_PX, s) for s in picture.shape[1:])
    top, left = (picture.shape[1] - height) // 2, (picture.shape[2] - width) // 2
    square[:, :height, :width] = picture[:, top : top + height, left : left + width]
    return square
