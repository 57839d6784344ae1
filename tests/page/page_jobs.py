"""What the page's gateway pretends to draw: landscapes, and films of a camera that pans over them."""

import io
import math
import random
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from jobs.events import Fit
from jobs.job import Job, JobState, JobStatus, ModelInfo
from server.schemas import JobView
from workers.video import FilmWriter

PATCH_PX = 64
MODEL = ModelInfo(
    name="landscapes",
    version="1",
    description="Poster landscapes",
    patch_px=PATCH_PX,
    patch_tokens=8,
    codebook_size=1000,
    extent=(1, 1, 1),
    orders=("omega", "omega_star", "zeta", "zeta_star"),
    parameters=1,
    licence="Apache-2.0",
    slots=4,
    pool_pages=512,
    page_bytes=100_000,
    distilled_scale=5.0,
)
PAN_PX = 16  # how far a film's camera goes to the right from frame to frame
Event = tuple[str, str, dict[str, Any]]


@lru_cache(maxsize=8)  # a page may ask for each patch of one by itself
def paint_landscape(width: int, height: int, seed: int) -> Image.Image:
    """A layered poster landscape, the same for the same seed and size: to be copied before it is changed."""
    dice = random.Random(seed)
    palettes = [
        ((96, 132, 160), (250, 205, 150), (92, 110, 128), (30, 44, 52), (255, 238, 190)),
        ((14, 24, 48), (58, 92, 122), (40, 66, 92), (8, 16, 28), (240, 234, 214)),
        ((120, 160, 170), (246, 226, 190), (150, 150, 120), (60, 62, 44), (255, 246, 220)),
        ((150, 92, 84), (250, 190, 120), (140, 84, 80), (52, 30, 44), (255, 226, 150)),
    ]
    top, low, far, near, sun = (np.array(colour, dtype=float) for colour in dice.choice(palettes))
    y, x = np.mgrid[0:height, 0:width].astype(float)
    part = np.clip(y / (height * 0.7), 0, 1)[..., None]
    pixels = top * (1 - part) + low * part
    disc = (x - width * dice.uniform(0.2, 0.8)) ** 2 + (y - height * dice.uniform(0.18, 0.34)) ** 2 < (
        height * 0.08
    ) ** 2
    pixels[disc] = sun
    for layer in range(5):
        depth = layer / 4
        line = np.full(width, height * (0.42 + 0.13 * layer))
        for octave in range(4):
            wave = 2 * math.pi * 2**octave / (260 + 180 * (1 - depth))
            swing = height * 0.09 * (1 - 0.45 * depth) / 1.9**octave
            line += swing * np.abs(np.sin(wave * np.arange(width) / 2 + dice.uniform(0, 6.3))) - swing / 2
        pixels[y > line] = far * (1 - depth) + near * depth
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def webp(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True, method=0)
    return data.getvalue()


@dataclass
class FakeJob:
    """A real job with its log; `given` is the picture that it goes on from, white in `mask` what is drawn."""

    job: Job
    given: Image.Image | None
    mask: Image.Image | None = None
    status: JobStatus = JobStatus.QUEUED
    log: list[Event] = field(default_factory=list)
    done: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    canceled: bool = False
    fit: Fit | None = None
    frames_done: int = 0
    film: bytearray = field(default_factory=bytearray)  # as it grows
    film_type: str = ""

    @property
    def is_impossible(self) -> bool:
        return "impossible" in (self.job.request.prompt or "")

    @property
    def seed(self) -> int:
        return self.job.seed

    @cached_property
    def _panorama(self) -> Image.Image:
        request = self.job.request
        return paint_landscape(request.width + PAN_PX * self.job.layout.grid.frames, request.height, self.job.seed)

    def frame(self, index: int) -> Image.Image:
        """A frame of the finished film: a given picture first, then a camera that pans over a landscape."""
        if index == 0 and self.given is not None:
            return self.given
        request = self.job.request
        return self._panorama.crop((PAN_PX * index, 0, PAN_PX * index + request.width, request.height))

    def picture(self) -> Image.Image:
        """The finished picture: a landscape, and the given pixels in their place, the part to repaint left out."""
        request = self.job.request
        picture = paint_landscape(request.width, request.height, self.job.seed)
        if self.given is None or self.job.given is None:
            return picture
        picture, kept = picture.copy(), Image.new("1", self.given.size, 1)
        if self.mask is not None:
            kept = ImageChops.invert(self.mask)
        elif area := request.repaint:
            kept.paste(0, (area.left, area.top, area.left + area.width, area.top + area.height))
        picture.paste(self.given, self.job.given[:2], kept)
        return picture

    def add(self, kind: str, **data: Any) -> None:
        self.log.append((f"{time.time_ns() // 1_000_000}-{len(self.log)}", kind, {"version": 1, "kind": kind, **data}))

    def body(self, ahead: int) -> dict[str, Any]:
        return JobView.of(self.state(ahead)).model_dump(mode="json")

    def state(self, ahead: int) -> JobState:
        return JobState(
            job=self.job,
            status=self.status,
            patches_done=self.done,
            patches_total=self.job.total,
            queue_position=ahead if self.status is JobStatus.QUEUED else None,
            error=self.error,
            fit=self.fit,
            started_at=self.started,
            ended_at=self.ended,
        )

    def film_file(self, folder: Path, container: Any) -> Path:
        """The finished film."""
        request, path = self.job.request, folder / f"{self.job.id}.{container}"
        if not path.exists():
            writer = FilmWriter(path, request.width, request.height, request.fps or 1, container)
            for frame in range(self.job.layout.grid.frames):
                writer.add(np.asarray(self.frame(frame)))
            writer.close()
        return path
