"""What the transformer is trained on: tokens of scenes, films and photographs, cut from canvases of any size."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.config import ModelConfig
from model.tokenizer import Tokenizer
from training.attributes import Attributes
from training.captions import caption, moving, photographed, true_and_false
from training.datasets import HELD_OUT_SEEDS, to_float
from training.outlines import Outliner, Sketches, draw_whole
from training.scenes import around_orb, render, sample_scenes

RENDERED_TOGETHER = 64  # scenes; more would only take memory


@dataclass(frozen=True)
class Window:
    """A kind of training picture: frames x rows x columns patches out of a canvas of canvas_rows x canvas_columns."""

    share: float  # of the steps
    rows: int
    columns: int
    canvas_rows: int
    canvas_columns: int
    frames: int = 1


# Whole pictures first; then windows with their place on canvases up to 38912 x 2048 pixels (608 x 32 patches of 64), so
# that a huge picture is one picture and not a tiling; then films.
WINDOWS = (
    Window(0.24, 4, 4, 4, 4),
    Window(0.22, 4, 8, 4, 8),
    Window(0.05, 4, 6, 4, 6),
    Window(0.03, 3, 4, 3, 4),
    Window(0.01, 2, 2, 2, 2),
    Window(0.01, 1, 1, 1, 1),
    Window(0.05, 8, 4, 8, 4),
    Window(0.04, 4, 8, 8, 8),
    Window(0.05, 4, 8, 4, 16),
    Window(0.04, 4, 8, 4, 32),
    Window(0.02, 4, 8, 8, 16),
    Window(0.02, 4, 8, 8, 32),
    Window(0.02, 4, 8, 16, 16),
    Window(0.02, 4, 8, 16, 64),
    Window(0.01, 4, 8, 32, 32),
    Window(0.02, 4, 8, 32, 608),
    Window(0.11, 4, 4, 4, 4, frames=3),
    Window(0.04, 4, 6, 4, 6, frames=2),
)
# A film's camera moves by whole tokens a frame: 8 pixels, so that what moves is the same tokens elsewhere.
PANS = (0, 0, 1, -1)  # tokens to the right per frame
# What counts more than its few tokens would: sun and moon, which nobody overlooks, and what a pan brings in.
ORB_WEIGHT, RIM_WEIGHT = 4.0, 4.0
FRAME_TIMES_S = (0.25, 2.0)  # scene seconds per frame: as it happens at 4 frames a second, and time-lapse


class CaptionedCrops(Protocol):
    """Pictures of one's own (training/folders.py)."""

    def random_crop(
        self, rng: random.Random, height: int, width: int
    ) -> tuple[Tensor, tuple[float, float, float, float], str | None, Tensor]:
        """uint8 [3, height, width], its top, bottom, left, right as fractions of the whole, the caption, the whole."""


@dataclass(frozen=True)
class Motion:
    """How a film moves: the camera in tokens per frame to the right, and scene seconds per frame."""

    pan: int
    frame_s: float


@dataclass(frozen=True)
class TokenBatch:
    """Windows of canvases: tokens [B, F, rows * m, columns * m], the places [B, N, 4] of their patches on the canvas,
    and what each shows: attributes of a scene, or words.

    sketches: of the canvases.  aspects: where these tokens are sketches or drafts themselves, of such canvases.
    weights: of the tokens in training, None where all count alike.
    """

    tokens: Tensor
    rows: int
    columns: int
    place: Tensor
    shows: Sequence[Attributes | str | None]
    motion: Motion | None = None
    sketches: Sketches | None = None
    aspects: Tensor | None = None
    weights: Tensor | None = None

    @property
    def frames(self) -> int:
        return self.tokens.shape[1]

    @property
    def contrastable(self) -> bool:
        """Whether every picture is a scene, so that it is known what it shows and what not, and stands still.

        How likely a film is hangs on how it moves, by hundreds of nats; what it shows would be lost among them.
        """
        return self.motion is None and all(isinstance(shown, Attributes) for shown in self.shows)

    def prompts(self, seed: int, wide: float = 0.0) -> list[str | None]:
        """One caption for each picture; a scene's has other words for every seed, `wide` of them wide words."""
        return [self._caption(shown, seed + i, wide) for i, shown in enumerate(self.shows)]

    def true_and_false(self, seed: int, wide: float = 0.0) -> tuple[list[str], list[str]]:
        """Two captions for each scene, of which the second says one thing that is not so, or leaves one out.

        Raises ValueError for pictures that are not scenes: what they do not show is not known.
        """
        pairs = []
        for i, shown in enumerate(self.shows):
            if not isinstance(shown, Attributes):
                raise ValueError("what pictures do not show is known of scenes only")
            pairs.append(true_and_false(shown, seed + i, wide, silent=True))
        true, false = zip(*pairs, strict=True)
        return list(true), list(false)

    def _caption(self, shown: Attributes | str | None, seed: int, wide: float) -> str | None:
        if not isinstance(shown, Attributes):
            return shown
        text = caption(shown, seed, wide)
        return text if self.motion is None else moving(text, self.motion.pan, self.motion.frame_s > 1, seed)


class TokenSource:
    """Renders or cuts pictures, encodes them, and gives batches; keeps the latest for reuse.

    pictures: of one's own, mixed in for `pictures_share` of the steps; 1 = nothing else.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        device: torch.device,
        seed: int,
        *,
        windows: Sequence[Window] = WINDOWS,
        patches: int = 64,
        reuse: float = 0.0,
        lone: float = 0.0,
        pictures: CaptionedCrops | None = None,
        pictures_share: float = 0.0,
    ) -> None:
        self.config, self.device, self.outliner = config, device, Outliner(tokenizer, config, device)
        self.random = random.Random(seed)
        self.windows, self.patches = windows, patches
        self._reuse, self._lone = reuse, lone
        self.pictures = pictures
        self.pictures_share = pictures_share if pictures is not None else 0.0
        self._kept: deque[TokenBatch] = deque(maxlen=1500)

    def next(self) -> TokenBatch:
        """A batch of about `patches` patches, new, or of earlier pictures: lone patches or all."""
        rng = self.random
        stills = [batch for batch in self._kept if batch.frames == 1]
        if len(stills) >= 16 and rng.random() < self._lone:
            return self._lone_patches(stills)
        if len(self._kept) >= 16 and rng.random() < self._reuse:
            return rng.choice(self._kept)
        from_pictures = rng.random() < self.pictures_share
        windows = [w for w in self.windows if w.frames == 1] if from_pictures else self.windows
        window = rng.choices(windows, [w.share for w in windows])[0]
        seed = rng.randrange(HELD_OUT_SEEDS)
        batch = self.cut(window, seed) if from_pictures else self.render(window, seed)
        self._kept.append(batch)
        return batch

    def _lone_patches(self, stills: Sequence[TokenBatch]) -> TokenBatch:
        """One patch of each of many earlier pictures, without its neighbours: as many captions as patches, where a
        batch of whole pictures has two to five.
        """
        rng, m = self.random, self.config.transformer.patch_tokens
        tokens, places, shows, sketches, aspects, drafts, weights = [], [], [], [], [], [], []
        like = rng.choice(stills)  # a batch has drafts of one shape
        for batch in rng.choices([b for b in stills if _draft_shape(b) == _draft_shape(like)], k=self.patches):
            assert batch.sketches is not None
            picture, row, column = (rng.randrange(n) for n in (len(batch.shows), batch.rows, batch.columns))
            down, right = row * m, column * m
            tokens.append(batch.tokens[picture, :, down : down + m, right : right + m])
            places.append(batch.place[picture, row * batch.columns + column])
            shows.append(batch.shows[picture])
            sketches.append(batch.sketches.tokens[picture])
            aspects.append(batch.sketches.aspects[picture])
            if batch.sketches.drafts is not None:
                drafts.append(batch.sketches.drafts[picture])
            of_all = torch.ones_like(batch.tokens, dtype=torch.float32) if batch.weights is None else batch.weights
            weights.append(of_all[picture, :, down : down + m, right : right + m])
        of_each = Sketches(torch.stack(sketches), torch.stack(aspects), torch.stack(drafts) if drafts else None)
        place = torch.stack(places)[:, None]
        return TokenBatch(torch.stack(tokens), 1, 1, place, shows, sketches=of_each, weights=torch.stack(weights))

    def render(self, window: Window, seed: int) -> TokenBatch:
        """Scenes of one seed, all seen through the same window; films of one motion."""
        px, rng = self.config.patch_px, random.Random(seed)
        height, width = window.canvas_rows * px, window.canvas_columns * px
        top = rng.randrange(window.canvas_rows - window.rows + 1)
        left = rng.randrange(window.canvas_columns - window.columns + 1)
        motion = Motion(rng.choice(PANS), rng.choice(FRAME_TIMES_S)) if window.frames > 1 else None
        scenes = sample_scenes(self._count(window), seed, aspect=width / height, device=self.device)
        draft = self.outliner.draft_of(window.canvas_rows, window.canvas_columns)
        start_s = rng.uniform(0, 60)
        frames, weights = [], []
        for frame in range(window.frames):
            moved = 0 if motion is None else frame * motion.pan * self.config.tokenizer.factor
            box = (
                top * px,
                left * px + moved,
                (top + window.rows) * px,
                (left + window.columns) * px + moved,
            )
            now = start_s + (0.0 if motion is None else frame * motion.frame_s)
            pixels = render(scenes, (height, width), box=box, time=now)
            if frame == 0:
                whole = pixels if pixels.shape[2:] == (height, width) else draw_whole(scenes, height, width, now, draft)
            frames.append(self.outliner.encode(pixels))
            of_sketch = 1 / self.config.transformer.patch_tokens  # as far as a cell of it tells of the sun
            token = (self.config.tokenizer.factor,) * 2
            weights.append(orb_weights(around_orb(scenes, (height, width), box, token, of_sketch, now)))
            if motion is not None and motion.pan and frame:
                weights[-1][..., -1 if motion.pan > 0 else 0] = RIM_WEIGHT
        place = places(
            window,
            top / window.canvas_rows,
            (top + window.rows) / window.canvas_rows,
            left / window.canvas_columns,
            (left + window.columns) / window.canvas_columns,
        )
        tokens = torch.stack(frames, 1)
        place = place.expand(len(tokens), -1, -1).to(self.device)
        sketches = self.outliner.of_wholes(whole, [width / height] * len(tokens), draft)
        return TokenBatch(
            tokens,
            window.rows,
            window.columns,
            place,
            list(scenes.attributes),
            motion,
            sketches,
            weights=torch.stack(weights, 1),
        )

    def cut(self, window: Window, seed: int) -> TokenBatch:
        """Crops of one's own pictures, each with its own place."""
        assert self.pictures is not None
        px, rng = self.config.patch_px, random.Random(seed)
        crops = [
            self.pictures.random_crop(rng, window.rows * px, window.columns * px) for _ in range(self._count(window))
        ]
        tokens = self.outliner.encode(to_float(torch.stack([crop[0] for crop in crops]).to(self.device)))
        place = torch.stack([places(window, *crop[1]) for crop in crops]).to(self.device)
        words = [as_photograph(crop[2], rng) for crop in crops]
        # As of the first one's canvas: a batch has drafts of one shape.
        top, bottom, left, right = crops[0][1]
        draft = self.outliner.draft_of(round(window.rows / (bottom - top)), round(window.columns / (right - left)))
        sketches = self.outliner.of_pictures([crop[3] for crop in crops], draft)
        return TokenBatch(tokens[:, None], window.rows, window.columns, place, words, sketches=sketches)

    def _count(self, window: Window) -> int:
        return min(RENDERED_TOGETHER, max(1, self.patches // (window.frames * window.rows * window.columns)))


def _draft_shape(batch: TokenBatch) -> torch.Size | None:
    assert batch.sketches is not None
    return None if batch.sketches.drafts is None else batch.sketches.drafts.shape[1:]


def orb_weights(near: Tensor) -> Tensor:
    """Of tokens, by whether they are near the sun or moon."""
    return 1 + (ORB_WEIGHT - 1) * near.float()


def as_photograph(text: str | None, rng: random.Random) -> str | None:
    return None if text is None else photographed(text, rng.randrange(2**31))


def places(window: Window, top: float, bottom: float, left: float, right: float) -> Tensor:
    """[N, 4]: top, bottom, left, right of each patch by index, in a window with these borders on its canvas."""
    down, across = (bottom - top) / window.rows, (right - left) / window.columns
    of_frame = [
        [top + r * down, top + (r + 1) * down, left + c * across, left + (c + 1) * across]
        for r in range(window.rows)
        for c in range(window.columns)
    ]
    return torch.tensor(of_frame * window.frames)
