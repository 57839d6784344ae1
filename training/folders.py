"""Pictures of one's own with their captions: loose files, files named in a CSV, or WebDataset tar shards."""

import csv
import hashlib
import io
import logging
import os
import random
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

logger = logging.getLogger(__name__)

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")
SCALES = (1.0, 0.75, 0.5, 0.375)  # a picture seen whole and from ever further away
HELD_OUT_EVERY = 20  # pictures
HELD_OUT_SOURCES_EVERY = 4

Place = tuple[float, float, float, float]


class DataError(ValueError):
    """A folder holds nothing to train on: the message names it."""


@dataclass(frozen=True)
class Item:
    """One picture, not read yet. `name` is its path in the folder, in a shard SHARD/KEY.ext."""

    name: str
    file: Path
    caption: str | None = None
    source: str | None = None  # where it comes from: pictures of one source are held out together
    offset: int = 0  # bytes into the file
    size: int = -1  # bytes; -1 = to its end

    def read(self) -> bytes:
        """Raises OSError."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class FolderData:
    """The pictures of a folder and of all folders in it, read when they are asked for.

    A picture's caption is KEY.txt beside KEY.jpg, or the `caption` of a CSV with a column `file` (its path seen from
    the CSV), which may also have `source_repo`; in *.tar shards KEY.txt beside KEY.jpg. Pictures turn up as 8-bit RGB,
    upright, transparent ones on white. One that cannot be read is named once in the log and left out from then on.
    """

    def __init__(self, path: Path, side_max: int | None = None, cache_mb: int = 512) -> None:
        """side_max: longer side in pixels that larger pictures are shrunk to.  cache_mb: memory for decoded pictures.

        Raises DataError when there is no picture.
        """
        self.path, self.side_max = path, side_max
        self.items: list[Item] = find_items(path)
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._cache_bytes, self._cached_bytes = cache_mb * 2**20, 0
        if not self.items:
            raise DataError(f"{path} holds no pictures: neither {', '.join(PICTURES)} files nor .tar shards of them")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Item, Tensor]]:
        """All pictures that can be read: item and uint8 [3, H, W]."""
        for item in list(self.items):
            picture = self.picture(item)
            if picture is not None:
                yield item, picture

    def picture(self, item: Item) -> Tensor | None:
        """uint8 [3, H, W]; None when it cannot be read, and then it is no longer among the items."""
        if item.name in self._cache:
            self._cache.move_to_end(item.name)
            return self._cache[item.name]
        try:
            picture = decode(item.read(), self.side_max)
        except Exception as error:  # broken bytes make Pillow raise errors of many kinds
            logger.warning("%s: %s is left out: %s", self.path, item.name, error)
            self.items = [other for other in self.items if other.name != item.name]
            return None
        self._cache[item.name] = picture
        self._cached_bytes += picture.numel()
        while self._cached_bytes > self._cache_bytes:
            self._cached_bytes -= self._cache.popitem(last=False)[1].numel()
        return picture

    def split(self, held_out: bool) -> Self:
        """The pictures for training, or those kept for evaluation; both always the same.

        Held out is every fourth source, by name, so that none is nearly seen: `source_repo` of a CSV, or else a name's
        part before "__". Where no CSV tells sources, every twentieth picture by a hash of its name, one at least.
        Raises DataError when none is left.
        """
        names = self._held_out_names()
        items = [item for item in self.items if (item.name in names) == held_out]
        if not items:
            raise DataError(f"{self.path} has too few pictures to train on some and to hold out others: {len(self)}")
        return self._of(items)

    def captioned(self) -> Self:
        """The pictures that have a caption. Raises DataError when none has."""
        items = [item for item in self.items if item.caption]
        if not items:
            raise DataError(
                f"{self.path}: none of the {len(self)} pictures has a caption. Captions are KEY.txt beside KEY.jpg, "
                "or a CSV with the columns file and caption"
            )
        return self._of(items)

    def random_crop(
        self, rng: random.Random, height: int, width: int, scales: Sequence[float] = SCALES, flip: bool = True
    ) -> tuple[Tensor, Place, str | None, Tensor]:
        """Part of a random picture, its place, its caption, and the whole picture.

        scales: sizes at which pictures are seen, 1 = as they are; one too small for the crop is seen as large as it
        must be.  flip: mirror half of the crops.
        Returns uint8 [3, height, width]; top, bottom, left, right as fractions of the whole picture; the caption; the
        whole picture, uint8 [3, H, W], mirrored as the crop is.
        Raises DataError when no picture of the folder can be read.
        """
        while self.items:
            item = rng.choice(self.items)
            picture = self.picture(item)
            if picture is None:
                continue
            _, full_height, full_width = picture.shape
            scale = max(rng.choice(scales), height / full_height, width / full_width)
            tall, wide = min(full_height, round(height / scale)), min(full_width, round(width / scale))
            top, left = rng.randrange(full_height - tall + 1), rng.randrange(full_width - wide + 1)
            crop = picture[:, top : top + tall, left : left + wide]
            if (tall, wide) != (height, width):
                crop = _resize(crop, height, width)
            if flip and rng.random() < 0.5:
                crop, picture, left = crop.flip(-1), picture.flip(-1), full_width - left - wide
            place = top / full_height, (top + tall) / full_height, left / full_width, (left + wide) / full_width
            return crop, place, item.caption, picture
        raise DataError(f"{self.path}: no picture can be read")

    def _held_out_names(self) -> set[str]:
        if any(item.source for item in self.items):
            sources = {item.name: item.source or Path(item.name).name.split("__")[0] for item in self.items}
            held = set(sorted(set(sources.values()))[::HELD_OUT_SOURCES_EVERY])
            if len(held) < len(set(sources.values())):
                return {name for name, source in sources.items() if source in held}
        hashes = {item.name: int(hashlib.sha256(item.name.encode()).hexdigest(), 16) for item in self.items}
        names = {name for name, value in hashes.items() if value % HELD_OUT_EVERY == 0}
        return names or {min(hashes, key=hashes.__getitem__)}

    def _of(self, items: list[Item]) -> Self:
        """The same folder with some of its items; the cache starts empty."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__ | {"items": items, "_cache": OrderedDict(), "_cached_bytes": 0}
        return other


def find_items(folder: Path) -> list[Item]:
    """Every picture in a folder, its folders and its tar shards, by name. Raises DataError when there is no folder."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    items = {}
    for file in files:
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() in PICTURES:
            items[name] = Item(name, file)
        elif file.suffix.lower() == ".tar":
            items |= {item.name: item for item in _shard_items(name, file)}
    for file in files:
        if file.suffix.lower() == ".csv":
            _read_table(file, folder, items)
    for name, item in items.items():
        if item.size < 0 and item.file.with_suffix(".txt").is_file():
            caption = item.file.with_suffix(".txt").read_text(encoding="utf-8-sig", errors="replace").strip()
            items[name] = replace(item, caption=caption or item.caption)
    return [items[name] for name in sorted(items)]


def decode(data: bytes, side_max: int | None = None) -> Tensor:
    """A picture file's bytes -> uint8 [3, H, W] RGB, upright, at most side_max pixels on the longer side.

    Raises whatever Pillow raises for bytes that are no picture.
    """
    with Image.open(io.BytesIO(data)) as image:
        picture = _to_rgb(ImageOps.exif_transpose(image))
    if side_max is not None:
        picture.thumbnail((side_max, side_max), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip at 255
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    return image.convert("RGB")


def _resize(picture: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(picture[None].float(), (height, width), mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def _shard_items(name: str, file: Path) -> list[Item]:
    """What a tar shard holds, read once from end to end. A shard that breaks off gives what comes before."""
    pictures, captions = [], {}
    try:
        with tarfile.open(file, "r:") as shard:
            for member in shard:
                key, _, extension = member.name.rpartition(".")
                if not member.isfile():
                    continue
                if f".{extension.lower()}" in PICTURES:
                    item = Item(f"{name}/{member.name}", file, offset=member.offset_data, size=member.size)
                    pictures.append((key, item))
                elif extension.lower() == "txt":
                    content = shard.extractfile(member)
                    assert content is not None
                    captions[key] = content.read().decode("utf-8-sig", errors="replace").strip()
    except (tarfile.TarError, OSError) as error:
        logger.warning("%s breaks off after %d pictures: %s", file, len(pictures), error)
    return [replace(item, caption=captions.get(key) or None) for key, item in pictures]


def _read_table(file: Path, folder: Path, items: dict[str, Item]) -> None:
    """Give items the captions and sources of a CSV; one without a column `file` is of something else."""
    missing = 0
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = csv.DictReader(stream)
        if not rows.fieldnames or "file" not in rows.fieldnames:
            return
        for row in rows:
            name = Path(os.path.relpath(file.parent / (row["file"] or ""), folder)).as_posix()
            if name not in items:
                missing += 1
                continue
            caption, source = (row.get("caption") or "").strip(), (row.get("source_repo") or "").strip()
            items[name] = replace(items[name], caption=caption or items[name].caption, source=source or None)
    if missing:
        logger.warning("%s names %d files that are not there", file, missing)
