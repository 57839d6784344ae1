"""What the transformer and the sketcher are trained on: numbers only. docs/training.md says why."""

import random
from dataclasses import dataclass

import torch

from model.config import ModelConfig
from model.tokenizer import Tokenizer
from training.sources import WINDOWS, CaptionedCrops, TokenBatch, TokenSource, Window


@dataclass(frozen=True)
class TransformerRecipe:
    """What the transformer sees, and how often."""

    windows: tuple[Window, ...] = WINDOWS
    patches_per_step: int = 64
    order_shares: tuple[float, ...] = (0.34, 0.26, 0.2, 0.2)  # of config.orders
    text_dropout: float = 0.1
    captions_per_step: int = 32  # for the attribute probe
    probe_weight: float = 0.2
    wide_words: float = 0.3  # share of the captions' phrases that come from training/wide_words.py
    # On the sentence encoder's states, in standard deviations: between none, as when pictures are drawn, and so much.
    text_noise: float = 1.0
    place_dropout: float = 0.1
    # Nearby patches tell nearly all there is to know, so words would hardly be learned: in every other step, this share
    # of the patches has to do without its neighbours.
    context_dropout: float = 0.3
    pictures_share: float = 0.08  # of the steps, for pictures of one's own beside the scenes
    reuse: float = 0.4  # share of the steps that take an earlier batch again, in another order and with other captions
    # Share of the steps with one patch each of many earlier pictures: words are learned from how many of them are read.
    lone: float = 0.2
    # How often canvases have no sketch, as where pixels are given. Half of the sketches have noise on their codes, of
    # up to so many levels: drawn ones are not as true as those of scenes.
    sketch_dropout: float = 0.15
    sketch_noise: float = 1.0
    drafts: float = 0.7  # share of the sketcher's steps that are drafts
    # Of half of the pictures that stand still and have a sketch, up to so many of the seen tokens are displaced.
    displacement: float = 0.3
    # Share of the steps with scenes that stand still that also learn to tell true captions from false ones; its weight.
    contrast: float = 0.5
    contrast_weight: float = 0.4
    frozen: tuple[str, ...] = ()  # parts that stay as they are: with "text", the transformer's reading of words
    schedule: str = "canvas"

    def prompts(self, batch: TokenBatch, chooser: random.Random) -> list[str | None]:
        """Captions of a batch, some of them left out."""
        captions = batch.prompts(chooser.randrange(2**31), self.wide_words)
        return [None if chooser.random() < self.text_dropout else text for text in captions]

    def source(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        device: torch.device,
        seed: int,
        pictures: CaptionedCrops | None = None,
    ) -> TokenSource:
        """Batches as this recipe mixes them."""
        return TokenSource(
            tokenizer,
            config,
            device,
            seed,
            windows=self.windows,
            patches=self.patches_per_step,
            reuse=self.reuse,
            lone=self.lone,
            pictures=pictures,
            pictures_share=self.pictures_share,
        )
