"""What the sketcher is trained on: sketches and drafts of whole scenes and photographs."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from canvas.grid import Grid
from model.sketch import draft_grids
from training.attributes import Attributes
from training.datasets import HELD_OUT_SEEDS, to_float
from training.outlines import WHOLE_PX, Sketches, draw_whole, whole_size
from training.scenes import around_orb, sample_scenes
from training.sources import TokenBatch, TokenSource, Window, as_photograph, orb_weights, places

NEW_SKETCHES = 32  # scenes drawn anew for each batch of sketches; fewer where canvases are not square
NEW_DRAFTS = 8  # the same for drafts, of which a batch has fewer; fewer where they take longer to draw
SMALL_PX = 128  # shorter side of a canvas drawn for its sketch alone, lest rendering take longer than learning
MOST_ROWS, MOST_PATCHES = 4, 16  # of a draft that a batch has of each picture

Shown = Attributes | str | None


@dataclass(frozen=True)
class Draft:
    """A part of one picture's draft, R x C patches, and what these follow."""

    tokens: Tensor  # [R m, C m]
    weights: Tensor  # [R m, C m]
    place: Tensor  # [R C, 4] on the canvas
    sketch: Tensor  # [m, m]
    aspect: Tensor
    before: Tensor | None  # all tokens of the draft before this one; the first one follows the sketch
    shows: Shown


class SketchSource:
    """Gives batches of sketches and of drafts, of new pictures and earlier ones."""

    def __init__(self, scenes: TokenSource) -> None:
        """scenes: what it is of: its windows, its number of patches, its pictures of one's own."""
        self._of, self._side = scenes, scenes.config.transformer.patch_tokens
        self._sketches: deque[tuple[Tensor, Tensor, Shown]] = deque(maxlen=50_000)
        self._drafts: dict[object, deque[Draft]] = defaultdict(lambda: deque(maxlen=5_000))
        grids = [Grid(1, w.canvas_rows, w.canvas_columns, scenes.config.patch_px) for w in scenes.windows]
        # Large canvases are rare among windows, but they have most of the drafts.
        shares = zip(grids, (w.share**0.5 for w in scenes.windows), strict=True)
        self._drafted = [(grid, share) for grid, share in shares if draft_grids(grid)]

    def sketches(self) -> TokenBatch:
        """Whole pictures, each with its caption, at the price of one patch: sketches, `patches` of them, of as many new
        pictures as a step has time for and of earlier ones.
        """
        rng, window = self._of.random, self._of.random.choices(self._of.windows, [w.share for w in self._of.windows])[0]
        height, width = window.canvas_rows, window.canvas_columns
        new = max(1, round(min(NEW_SKETCHES, self._of.patches) * min(height, width) / max(height, width)))
        shows: Sequence[Shown]
        if rng.random() < self._of.pictures_share:
            pictures, shows = self._pictures(new)
            drawn = self._of.outliner.of_pictures(pictures)
        else:
            scenes = sample_scenes(new, rng.randrange(HELD_OUT_SEEDS), aspect=width / height, device=self._of.device)
            wholes = draw_whole(scenes, height, width, rng.uniform(0, 60), side_px=SMALL_PX)
            drawn, shows = self._of.outliner.of_wholes(wholes, [width / height] * new), scenes.attributes
        self._sketches.extend(zip(drawn.tokens, drawn.aspects, shows, strict=True))
        kept = list(self._sketches)
        chosen = kept[len(kept) - new :] + rng.choices(kept, k=self._of.patches - new)
        tokens, aspects, shows = zip(*chosen, strict=True)
        return sketch_batch(Sketches(torch.stack(tokens), torch.stack(aspects)), shows)

    def drafts(self) -> TokenBatch:
        """Drafts or parts of them, each with what it follows and a caption, as many as `patches` come to, some of them
        new. The last draft of a canvas comes twice as often as each before it.
        """
        rng = self._of.random
        grid = rng.choices([grid for grid, _ in self._drafted], [share for _, share in self._drafted])[0]
        pictures = self._pictures(NEW_DRAFTS) if rng.random() < self._of.pictures_share else None
        if pictures is not None:
            grid = _shaped_as(pictures[0][0], grid)
        levels = draft_grids(grid)
        level = rng.choice([*range(len(levels)), len(levels) - 1])
        height, width = whole_size(grid.height, grid.width, levels[level])
        rows, columns = _part_of(levels[level])
        count = max(1, self._of.patches // (rows * columns))
        new = max(1, min(count, round(NEW_DRAFTS * WHOLE_PX**2 / (height * width))))
        if pictures is None:
            drawn = self.render(grid, level, new, rng.randrange(HELD_OUT_SEEDS))
        else:
            drawn = self._of_pictures(grid, level, *(of_each[:new] for of_each in pictures))
        before = drawn[0].before
        kept = self._drafts[rows, columns, None if before is None else before.shape]
        kept.extend(drawn)
        return draft_batch([*drawn, *rng.choices(kept, k=count - new)], rows, columns)

    def last_drafts(self, grid: Grid, seed: int) -> TokenBatch:
        """A batch of new scenes on such a canvas."""
        draft, level = draft_grids(grid)[-1], len(draft_grids(grid)) - 1
        rows, columns = _part_of(draft)
        count = max(1, self._of.patches // (rows * columns))
        return draft_batch(self.render(grid, level, count, seed), rows, columns)

    def render(self, grid: Grid, level: int, count: int, seed: int) -> list[Draft]:
        """Of so many scenes on such a canvas the draft of this number, the coarsest one being 0."""
        drafts = draft_grids(grid)
        draft, aspect = drafts[level], grid.columns / grid.rows
        scenes = sample_scenes(count, seed, aspect=aspect, device=self._of.device)
        now = self._of.random.uniform(0, 60)
        wholes = draw_whole(scenes, grid.height, grid.width, now, draft)
        cells = draft.rows * self._side, draft.columns * self._side
        cell = grid.height // cells[0], grid.width // cells[1]
        size = cells[0] * cell[0], cells[1] * cell[1]
        told = drafts[level - 1].columns if level else 1  # in patches, whose tokens tell of the sun and what is beside
        near = around_orb(scenes, size, (0, 0, *size), cell, 1 / (told * self._side), now)
        return self._parts(grid, level, wholes, [aspect] * count, orb_weights(near), scenes.attributes)

    def _of_pictures(self, grid: Grid, level: int, pictures: Sequence[Tensor], shows: Sequence[Shown]) -> list[Draft]:
        """The same of pictures of one's own."""
        aspects = [picture.shape[2] / picture.shape[1] for picture in pictures]
        draft, wholes = draft_grids(grid)[level], (to_float(picture.to(self._of.device)) for picture in pictures)
        weights = torch.ones(len(pictures), draft.rows * self._side, draft.columns * self._side)
        return self._parts(grid, level, wholes, aspects, weights.to(self._of.device), shows)

    def _parts(
        self,
        grid: Grid,
        level: int,
        wholes: Iterable[Tensor],
        aspects: Sequence[float],
        weights: Tensor,
        shows: Sequence[Shown],
    ) -> list[Draft]:
        """One part of the draft of each, all in the same place."""
        rng, m, drafts, outliner = self._of.random, self._side, draft_grids(grid), self._of.outliner
        draft, wholes = drafts[level], list(wholes)
        sketches = outliner.of_wholes(wholes, aspects, drafts[level - 1] if level else None)
        rows, columns = _part_of(draft)
        top, left = rng.randrange(draft.rows - rows + 1), rng.randrange(draft.columns - columns + 1)
        tokens, weights = (
            of[:, top * m : (top + rows) * m, left * m : (left + columns) * m]
            for of in (outliner.encode(outliner.squeeze(wholes, draft)), weights)
        )
        window = Window(1.0, rows, columns, draft.rows, draft.columns)
        borders = (top / draft.rows, (top + rows) / draft.rows, left / draft.columns, (left + columns) / draft.columns)
        place = places(window, *borders).to(self._of.device)
        befores = [None] * len(wholes) if sketches.drafts is None else list(sketches.drafts)
        return [
            Draft(*of_each[:2], place, *of_each[2:])
            for of_each in zip(tokens, weights, sketches.tokens, sketches.aspects, befores, shows, strict=True)
        ]

    def _pictures(self, count: int) -> tuple[list[Tensor], list[str | None]]:
        """Of one's own, whole, uint8 [3, H, W] each, with what they show."""
        assert self._of.pictures is not None
        px, rng = self._of.config.patch_px, self._of.random
        crops = [self._of.pictures.random_crop(rng, px, px) for _ in range(count)]
        return [crop[3] for crop in crops], [as_photograph(crop[2], rng) for crop in crops]


def sketch_batch(sketches: Sketches, shows: Sequence[Shown]) -> TokenBatch:
    """Sketches as pictures of one patch, which is all of them."""
    whole = torch.tensor([0.0, 1.0, 0.0, 1.0], device=sketches.tokens.device).expand(len(shows), 1, -1)
    return TokenBatch(sketches.tokens[:, None], 1, 1, whole, shows, aspects=sketches.aspects)


def draft_batch(drafts: Sequence[Draft], rows: int, columns: int) -> TokenBatch:
    """Parts of drafts, of so many patches, as pictures that follow what they do; all of drafts of one shape."""
    befores = [draft.before for draft in drafts if draft.before is not None]
    aspects = torch.stack([draft.aspect for draft in drafts])
    followed = Sketches(
        torch.stack([draft.sketch for draft in drafts]), aspects, torch.stack(befores) if befores else None
    )
    return TokenBatch(
        torch.stack([draft.tokens for draft in drafts])[:, None],
        rows,
        columns,
        torch.stack([draft.place for draft in drafts]),
        [draft.shows for draft in drafts],
        sketches=followed,
        aspects=aspects,
        weights=torch.stack([draft.weights for draft in drafts])[:, None],
    )


def _part_of(draft: Grid) -> tuple[int, int]:
    """Rows and columns of what a batch has of a draft."""
    rows = min(draft.rows, MOST_ROWS)
    return rows, min(draft.columns, MOST_PATCHES // rows)


def _shaped_as(picture: Tensor, grid: Grid) -> Grid:
    """A canvas with as many patches along its shorter side as this one, at least three, and as wide as a picture is."""
    shorter, (height, width) = max(3, min(grid.rows, grid.columns)), picture.shape[1:]
    rows, columns = (round(shorter * side / min(height, width)) for side in (height, width))
    return Grid(1, rows, columns, grid.patch_px)
