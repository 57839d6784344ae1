"""What the sketcher is trained on: sketches and drafts of whole scenes and photographs."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.sketch import DRAFT_SIDE
from training.attributes import Attributes
from training.datasets import HELD_OUT_SEEDS
from training.outlines import Sketches, draw_whole
from training.scenes import around_orb, sample_scenes
from training.sources import TokenBatch, TokenSource, Window, as_photograph, orb_weights, places

NEW_SKETCHES = 32  # scenes drawn anew for each batch of sketches; fewer where canvases are not square
NEW_DRAFTS = 8  # the same for drafts, of which a batch has fewer
SMALL_PX = 128  # shorter side of a canvas drawn for its sketch alone, lest rendering take longer than learning


class SketchSource:
    """Gives batches of sketches and of drafts, of new pictures and earlier ones."""

    def __init__(self, scenes: TokenSource) -> None:
        """scenes: what it is of: its windows, its number of patches, its pictures of one's own."""
        self._of = scenes
        self._sketches: deque[tuple[Tensor, Tensor, Attributes | str | None]] = deque(maxlen=50_000)
        self._drafts: deque[tuple[Tensor, Tensor, Tensor, Tensor, Attributes | str | None]] = deque(maxlen=10_000)

    def sketches(self) -> TokenBatch:
        """Whole pictures, each with its caption, at the price of one patch: sketches, `patches` of them, of as many new
        pictures as a step has time for and of earlier ones.
        """
        rng, window = self._of.random, self._of.random.choices(self._of.windows, [w.share for w in self._of.windows])[0]
        height, width = window.canvas_rows, window.canvas_columns
        new = max(1, round(min(NEW_SKETCHES, self._of.patches) * min(height, width) / max(height, width)))
        shows: Sequence[Attributes | str | None]
        if rng.random() < self._of.pictures_share:
            drawn, shows = self._of_pictures(new)
        else:
            scenes = sample_scenes(new, rng.randrange(HELD_OUT_SEEDS), aspect=width / height, device=self._of.device)
            wholes = draw_whole(scenes, height, width, rng.uniform(0, 60), SMALL_PX)
            drawn, shows = self._of.outliner.of_wholes(wholes, [width / height] * new, drafts=False), scenes.attributes
        self._sketches.extend(zip(drawn.tokens, drawn.aspects, shows, strict=True))
        kept = list(self._sketches)
        chosen = kept[len(kept) - new :] + rng.choices(kept, k=self._of.patches - new)
        tokens, aspects, shows = zip(*chosen, strict=True)
        return sketch_batch(Sketches(torch.stack(tokens), torch.stack(aspects)), shows)

    def drafts(self) -> TokenBatch:
        """Whole pictures, each with its sketch and caption, at the price of DRAFT_SIDE x DRAFT_SIDE patches: drafts, as
        many as `patches` come to, some of them new.
        """
        rng, window = self._of.random, self._of.random.choices(self._of.windows, [w.share for w in self._of.windows])[0]
        height, width = window.canvas_rows * self._of.config.patch_px, window.canvas_columns * self._of.config.patch_px
        count = max(1, self._of.patches // DRAFT_SIDE**2)
        new = max(1, round(min(NEW_DRAFTS, count) * min(height, width) / max(height, width)))
        side = DRAFT_SIDE * self._of.config.transformer.patch_tokens
        shows: Sequence[Attributes | str | None]
        if rng.random() < self._of.pictures_share:
            drawn, shows = self._of_pictures(new)
            weights = torch.ones(new, side, side, device=self._of.device)
        else:
            scenes = sample_scenes(new, rng.randrange(HELD_OUT_SEEDS), aspect=width / height, device=self._of.device)
            now, shows = rng.uniform(0, 60), scenes.attributes
            drawn = self._of.outliner.of_wholes(draw_whole(scenes, height, width, now), [width / height] * new)
            cell, margin = (height // side, width // side), 1 / self._of.config.transformer.patch_tokens
            weights = orb_weights(around_orb(scenes, (height, width), (0, 0, height, width), cell, margin, now))
        self._drafts.extend(zip(drawn.followed, weights, drawn.tokens, drawn.aspects, shows, strict=True))
        kept = list(self._drafts)
        chosen = kept[len(kept) - new :] + rng.choices(kept, k=count - new)
        drafts, weights, tokens, aspects, shows = zip(*chosen, strict=True)
        return draft_batch(
            torch.stack(drafts), Sketches(torch.stack(tokens), torch.stack(aspects)), shows, torch.stack(weights)
        )

    def _of_pictures(self, count: int) -> tuple[Sketches, list[str | None]]:
        """Of one's own pictures, with what they show."""
        assert self._of.pictures is not None
        px, rng = self._of.config.patch_px, self._of.random
        crops = [self._of.pictures.random_crop(rng, px, px) for _ in range(count)]
        return self._of.outliner.of_pictures([crop[3] for crop in crops]), [
            as_photograph(crop[2], rng) for crop in crops
        ]


def sketch_batch(sketches: Sketches, shows: Sequence[Attributes | str | None]) -> TokenBatch:
    """Sketches as pictures of one patch, which is all of them."""
    whole = torch.tensor([0.0, 1.0, 0.0, 1.0], device=sketches.tokens.device).expand(len(shows), 1, -1)
    return TokenBatch(sketches.tokens[:, None], 1, 1, whole, shows, aspects=sketches.aspects)


def draft_batch(
    drafts: Tensor, sketches: Sketches, shows: Sequence[Attributes | str | None], weights: Tensor | None = None
) -> TokenBatch:
    """Drafts [B, 2 m, 2 m] as pictures of DRAFT_SIDE x DRAFT_SIDE patches that follow their sketches."""
    whole = Window(1.0, DRAFT_SIDE, DRAFT_SIDE, DRAFT_SIDE, DRAFT_SIDE)
    place = places(whole, 0.0, 1.0, 0.0, 1.0).to(drafts.device).expand(len(shows), -1, -1)
    return TokenBatch(
        drafts[:, None],
        DRAFT_SIDE,
        DRAFT_SIDE,
        place,
        shows,
        sketches=replace(sketches, drafts=None),
        aspects=sketches.aspects,
        weights=None if weights is None else weights[:, None],
    )
