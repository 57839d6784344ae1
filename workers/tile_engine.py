"""TileEngine: keeps the Engine protocol without a model or torch, painting soft coloured tiles.

For trying the server without weights (`--engine tile`), and for tests: tokens follow from the seed and from the
contexts in the pool, each of which stands for all that it was made from, so that any mistake in contexts, replay or
removal either raises or changes the picture.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from canvas.grid import Grid, Patch
from canvas.plan import Plan, pages_needed
from jobs.job import Job, ModelInfo
from workers.engine import Pixels
from workers.known import KnownPixels

CODEBOOK_SIZE = 1024


@dataclass
class _TileJob:
    """What the engine holds for one job."""

    seed: int
    plan: Plan
    known: KnownPixels | None
    phase: int = 0
    tokens: dict[Patch, bytes] = field(default_factory=dict)
    pages: dict[Patch, bytes] = field(default_factory=dict)  # a context: hash of a patch's tokens and its own contexts

    @property
    def grid(self) -> Grid:
        return self.plan.grid

    def nearby(self, patch: Patch) -> tuple[Patch, ...]:
        return self.plan.nearby(self.plan.phases[self.phase], patch)


class TileEngine:
    """Engine without a model.

    patch_px: pixels along one side of a patch, a multiple of patch_tokens.  slots, pages: as in Engine.
    delay_s: seconds that each decode() takes at least, to look like work.
    """

    def __init__(
        self, slots: int = 4, pages: int = 1024, patch_px: int = 64, patch_tokens: int = 8, delay_s: float = 0.0
    ) -> None:
        if patch_px % patch_tokens:
            raise ValueError(f"patch_px must be a multiple of patch_tokens ({patch_tokens}), got {patch_px}")
        self.slots = slots
        self.pages = pages
        self.high_water = 0  # most pages in use so far
        self.model = ModelInfo(
            name="tile",
            version="tile-1",
            description="Soft coloured tiles without a model: for trying the server, and for tests.",
            patch_px=patch_px,
            patch_tokens=patch_tokens,
            codebook_size=CODEBOOK_SIZE,
            extent=(1, 1, 1),
            orders=("omega", "omega_star", "zeta", "zeta_star"),
            parameters=0,
            licence="Apache-2.0",
            slots=slots,
            pool_pages=pages,
            page_bytes=hashlib.sha256().digest_size,
        )
        self._delay_s = delay_s
        self._jobs: dict[str, _TileJob] = {}

    @property
    def pages_used(self) -> int:
        return sum(len(job.pages) for job in self._jobs.values())

    def pages_needed(self, job: Job, plan: Plan) -> int:
        return pages_needed(plan, self.slots)

    def start(self, job: Job, plan: Plan, known: KnownPixels | None = None) -> None:
        if self.pages_needed(job, plan) > self.pages:
            raise ValueError(f"job {job.id} needs more than the pool's {self.pages} pages")
        self._jobs[job.id] = _TileJob(job.seed, plan, known)

    def sketch(self, job_id: str) -> None:
        """Tiles are painted without one."""

    def enter(self, job_id: str, phase: int) -> None:
        self._jobs[job_id].phase = phase

    def decode(self, batch: Sequence[tuple[str, Patch]]) -> list[bytes]:
        """As in Engine. Raises KeyError when a context that a patch needs is not in the pool."""
        time.sleep(self._delay_s)
        contexts = [self._context(job_id, patch) for job_id, patch in batch]
        drawn = []
        for (job_id, patch), context in zip(batch, contexts, strict=True):
            hashed = _hash_tokens(self._jobs[job_id].seed, patch, context, self.model.patch_tokens**2)
            known, forced = self._known_tokens(self._jobs[job_id], patch)
            drawn.append(np.where(forced, known, hashed).astype("<u2").tobytes())
        self._add([(*item, tokens) for item, tokens in zip(batch, drawn, strict=True)], contexts)
        return drawn

    def prefill(self, batch: Sequence[tuple[str, Patch, bytes | None]]) -> None:
        """As in Engine. Raises KeyError when a context that a patch needs is not in the pool."""
        filled = [(job_id, patch, tokens or self._tokens(self._jobs[job_id], patch)) for job_id, patch, tokens in batch]
        self._add(filled, [self._context(job_id, patch) for job_id, patch, _ in batch])

    def render(self, job_id: str, patch: Patch) -> Pixels:
        """As in Engine. Raises KeyError when a patch that must be done is not."""
        job = self._jobs[job_id]
        return self._pixels(job, patch, job.plan.around(patch))

    def refine(self, job_id: str, patches: Sequence[Patch]) -> list[Pixels]:
        """As in Engine. Raises KeyError when a patch that must be done is not."""
        job = self._jobs[job_id]
        return [self._pixels(job, patch, job.grid.touching(patch)) for patch in patches]

    def _pixels(self, job: _TileJob, patch: Patch, around: Iterable[Patch]) -> Pixels:
        m = self.model.patch_tokens
        cells = np.pad(_shades(job.tokens[patch], m), ((m, m), (m, m), (0, 0)), mode="edge")
        for other in around:
            top, left = m * (1 + other.row - patch.row), m * (1 + other.column - patch.column)
            cells[top : top + m, left : left + m] = _shades(self._tokens(job, other), m)
        shifted = [cells[m + r : 2 * m + r, m + c : 2 * m + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
        soft = np.sum(shifted, axis=0) // 9
        height = np.linspace(0, 64, job.grid.rows * m).astype(np.int32)[patch.row * m : (patch.row + 1) * m]
        coloured: Pixels = np.clip(soft + height[:, None, None] * np.array([1, 0, -1]), 0, 255).astype(np.uint8)
        scale = self.model.patch_px // m
        return coloured.repeat(scale, axis=0).repeat(scale, axis=1)

    def forget(self, job_id: str, frame: int) -> None:
        tokens = self._jobs[job_id].tokens
        for patch in [patch for patch in list(tokens) if patch.frame == frame]:  # a copy: decode() may add to it now
            del tokens[patch]

    def remove(self, job_id: str, patches: Sequence[Patch]) -> None:
        for patch in patches:
            del self._jobs[job_id].pages[patch]

    def finish(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)

    def _tokens(self, job: _TileJob, patch: Patch) -> bytes:
        """Of a patch that exists. Raises KeyError for one that does not."""
        if patch in job.plan.given and patch not in job.tokens:
            job.tokens[patch] = self._known_tokens(job, patch)[0].astype("<u2").tobytes()
        return job.tokens[patch]

    def _known_tokens(self, job: _TileJob, patch: Patch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tokens [m * m] by the brightness of the known pixels, and where all pixels of a token are known."""
        m = self.model.patch_tokens
        if job.known is None:
            return np.zeros(m * m, np.int64), np.zeros(m * m, np.bool_)
        pixels, known = job.known.window(patch.frame, job.grid.box(patch))
        side = self.model.patch_px // m
        means = pixels.reshape(m, side, m, side, 3).astype(np.int64).sum(axis=(1, 3, 4)) // (3 * side * side)
        return (means * CODEBOOK_SIZE // 256).ravel(), known.reshape(m, side, m, side).all(axis=(1, 3)).ravel()

    def _context(self, job_id: str, patch: Patch) -> bytes:
        job = self._jobs[job_id]
        return b"".join(job.pages[near] for near in job.nearby(patch))

    def _add(self, batch: Sequence[tuple[str, Patch, bytes]], contexts: Sequence[bytes]) -> None:
        if self.pages_used + len(batch) > self.pages:
            raise RuntimeError(f"all {self.pages} pages of the pool are in use")
        for (job_id, patch, tokens), context in zip(batch, contexts, strict=True):
            job = self._jobs[job_id]
            job.tokens[patch] = tokens
            job.pages[patch] = hashlib.sha256(tokens + context).digest()
        self.high_water = max(self.high_water, self.pages_used)


def _hash_tokens(seed: int, patch: Patch, context: bytes, count: int) -> NDArray[np.uint16]:
    """`count` tokens in [0, CODEBOOK_SIZE)."""
    key = f"{seed} {patch.frame} {patch.row} {patch.column} ".encode() + context
    tokens: NDArray[np.uint16] = np.frombuffer(hashlib.shake_256(key).digest(2 * count), dtype="<u2") % CODEBOOK_SIZE
    return tokens


def _shades(tokens: bytes, m: int) -> NDArray[np.int32]:
    """Tokens as cells of colour, [m, m, 3] in [0, 255]: a hue for the patch (its first token), a shade per token."""
    shade = np.frombuffer(tokens, dtype="<u2").astype(np.int32).reshape(m, m)
    hue = np.array([shade[0, 0] % 7, shade[0, 0] % 11, shade[0, 0] % 13], dtype=np.int32) * 8
    cells: NDArray[np.int32] = 60 + hue[None, None, :] + (shade // 11)[:, :, None]
    return cells
