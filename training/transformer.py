"""Trains the transformer on the tokens of rendered scenes and their captions.

Two schedules. "canvas" (default): all patches of a picture in one masked pass, one optimiser step per batch. "patch":
the paper's render and optimise, one step per patch, contexts detached and one step stale (paper.md 4.1).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.grid import Extent, Grid
from canvas.order import ORDERS
from model.config import ModelConfig
from model.generate import Model, PatchDecoder
from model.position import rotary_angles, rotate
from model.sampling import Sampling
from model.text import WordPieces
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.attributes import ATTRIBUTE_VALUES, Attributes, sample_attributes
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS
from training.device import autocast, compile_methods_on_gpu
from training.loop import RunSettings, Trainer
from training.sheets import save_sheet
from training.sources import WINDOWS, CaptionedCrops, Sketches, TokenBatch, TokenSource, Window, sketch_batch

SAMPLE_PROMPTS = (
    "snowy mountains at sunset with a lake",
    "starry night over dark firs, crescent moon",
    "dunes at dawn, hazy",
    "green hills under a blue sky with white clouds",
    "autumn forest by a lake in morning mist",
    "the sea at noon, a few clouds",
    "a pink dusk over misty mountains",
    "winter forest under the full moon",
)


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
    # Share of the steps with sketches of many earlier pictures, each whole and with its caption; how often a canvas has
    # none, as where pixels are given.
    sketches: float = 0.45
    sketch_dropout: float = 0.15
    # Share of the steps with sketches, and of those with scenes that stand still, that also learn to tell true captions
    # from false ones; its weight.
    contrast: float = 0.7
    contrast_stills: float = 0.3
    contrast_weight: float = 0.4
    schedule: str = "canvas"

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
            sketches=self.sketches if config.transformer.sketch and self.schedule == "canvas" else 0.0,
            pictures=pictures,
            pictures_share=self.pictures_share,
        )


def scan_patches(tokens: Tensor, rows: int, columns: int, transformer: Transformer, order: str) -> Tensor:
    """Canvas tokens [B, F, rows * m, columns * m] -> patches in index order, each in scan order, [B, N, M]."""
    m = transformer.config.patch_tokens
    cells = tokens.unflatten(2, (rows, m)).unflatten(4, (columns, m))  # [B, F, rows, m, columns, m]
    patches = cells.permute(0, 1, 2, 4, 3, 5).flatten(1, 3).flatten(2)
    steps = transformer.scans[order].steps
    return patches[:, :, steps[:, 0] * m + steps[:, 1]]


def batch_grid(batch: TokenBatch) -> Grid:
    """The grid of a batch's windows; its patches have no size in pixels here."""
    return Grid(batch.frames, batch.rows, batch.columns, 1)


def nearby_table(grid: Grid, order: str, extent: Extent, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each patch of a grid: indices of its nearby patches [N, K], -1 where there is none, and its corner [N, 3]."""
    index = torch.full((len(grid), extent.max_nearby), -1)
    for patch in grid:
        near = ORDERS[order].nearby(grid, extent, patch)
        index[grid.index(patch), : len(near)] = torch.tensor([grid.index(p) for p in near], dtype=torch.long)
    return index.to(device), torch.tensor(list(grid), device=device)


class AttributeProbe(nn.Module):
    """Reads a scene's attributes off the prompt's state: a second, far stronger signal of what words mean.

    A picture's tokens tell little about its words beyond the first patches, so from them alone the text tower would
    learn slowly. Used in training only.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = {name: nn.Linear(width, len(values)) for name, values in ATTRIBUTE_VALUES.items()}
        self.heads = nn.ModuleDict(heads)

    def forward(self, prompt: Tensor, attributes: Sequence[Attributes]) -> Tensor:
        """prompt [B, D] -> mean cross-entropy of all attributes, in nats."""
        losses = []
        for name, head in self.heads.items():
            values = [ATTRIBUTE_VALUES[name].index(getattr(a, name)) for a in attributes]
            losses.append(F.cross_entropy(head(prompt), torch.tensor(values, device=prompt.device)))
        return torch.stack(losses).mean()


class CanvasLoss:
    """Cross-entropy of token batches, in nats a token."""

    def __init__(self, transformer: Transformer, words: WordPieces, device: torch.device) -> None:
        self.transformer, self.words, self.device = transformer, words, device
        self._tables: dict[tuple[Grid, str], tuple[Tensor, Tensor]] = {}

    def table(self, grid: Grid, order: str) -> tuple[Tensor, Tensor]:
        key = (grid, order)
        if key not in self._tables:
            extent = Extent(*self.transformer.config.extent).within(grid)
            self._tables[key] = nearby_table(grid, order, extent, self.device)
        return self._tables[key]

    def __call__(
        self,
        batch: TokenBatch,
        order: str,
        prompts: Sequence[str | None],
        known_place: bool = True,
        context_dropout: float = 0.0,
        text_noise: float = 0.0,
    ) -> Tensor:
        """-> [B], of each picture."""
        if not known_place:
            batch = replace(batch, place=torch.full_like(batch.place, float("nan")), sketches=None)
        logits, tokens = self.logits(batch, order, prompts, context_dropout, text_noise)
        losses = F.cross_entropy(logits.flatten(0, 2), tokens.flatten(), reduction="none")
        return losses.unflatten(0, (len(tokens), -1)).mean(1)

    def logits(
        self,
        batch: TokenBatch,
        order: str,
        prompts: Sequence[str | None],
        context_dropout: float = 0.0,
        text_noise: float = 0.0,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """[B, N, M, V] float32, of the tokens in scan order, and these [B, N, M]. scale: of guidance in one pass."""
        tokens = scan_patches(batch.tokens, batch.rows, batch.columns, self.transformer, order)
        index, corners = self.table(batch_grid(batch), order)
        if context_dropout:
            alone = torch.rand(len(index), 1, device=self.device) < context_dropout
            index = index.masked_fill(alone, -1)
        ids = self.words(prompts).to(self.device)
        with autocast(self.device):
            beside = self._beside(batch, order, corners)
            logits = self.transformer(tokens, ids, order, index, corners, batch.place, text_noise, scale, beside)
        return logits.float(), tokens

    def _beside(self, batch: TokenBatch, order: str, corners: Tensor) -> Tensor | None:
        """What patches are told of their canvas's sketch, or sketches of their canvas. [B, N, M, D]."""
        if not self.transformer.config.sketch:
            return None
        if batch.aspects is not None:
            return self.transformer.of_sketch(batch.aspects)[:, None]
        if batch.sketches is None:
            return None
        cells = self.transformer.read_sketch(batch.sketches.tokens.flatten(1))
        of_first_frame = (corners[:, 0] == 0)[:, None, None]
        return self.transformer.sketched(cells, batch.place, order) * of_first_frame

    def contrast(
        self, batch: TokenBatch, order: str, seed: int, wide: float, text_noise: float
    ) -> tuple[Tensor, Tensor]:
        """Loss with true captions in nats a token, and how badly true ones are told from false ones, in nats a patch.

        The latter is the log-loss of asking which of two captions a picture was drawn to, answered by Bayes' rule with
        the model's own likelihoods: what a picture's tokens have in common whatever is said falls out of the gradient,
        which the likelihood alone consists of for the most part. Patches are told of no sketch, which would tell them
        more than any caption.
        """
        batch = replace(batch, sketches=None)
        true, false = batch.true_and_false(seed, wide)
        nats, otherwise = (self(batch, order, texts, text_noise=text_noise) for texts in (true, false))
        tokens, patches = batch.tokens[0].numel(), len(batch_grid(batch))
        return nats.mean(), F.softplus((nats - otherwise) * tokens).mean() / patches

    def render_and_optimise(
        self, batch: TokenBatch, order: str, prompts: Sequence[str | None], trainer: Trainer
    ) -> Tensor:
        """The paper's schedule: predict a patch from detached contexts, step at once, keep its states for later."""
        model, m = self.transformer, self.transformer.config.patch_tokens
        patches = scan_patches(batch.tokens, batch.rows, batch.columns, model, order)
        grid = batch_grid(batch)
        index, corners = self.table(grid, order)
        offsets = (corners[index.clamp_min(0)] - corners[:, None]) * torch.tensor([1, m, m], device=self.device)
        turn = rotary_angles(offsets.float(), model.config.head_dim)
        ids = self.words(prompts).to(self.device)
        pool: dict[int, tuple[Tensor, Tensor]] = {}
        losses = []
        for patch in ORDERS[order].sequence(grid):
            i = grid.index(patch)
            slots = [s for s in range(index.shape[1]) if index[i, s] >= 0]
            near = [pool[int(index[i, s])] for s in slots]
            keys = [rotate(k, turn[i, s]) for (k, _), s in zip(near, slots, strict=True)]
            told = model.read(ids)
            mask = torch.cat([told.mask, told.mask.new_ones(len(told.mask), len(near) * m * m)], 1)

            def memory(
                layer: int,
                k: Tensor,
                v: Tensor,
                keys: list[Tensor] = keys,
                near: list = near,
                words: list[Tensor] = told.words,
            ) -> tuple[Tensor, Tensor]:
                text_k, text_v = model.layers[layer].text_memory(words[layer])
                return torch.cat([text_k, *(t[layer] for t in keys)], 2), torch.cat(
                    [text_v, *(t[layer] for _, t in near)], 2
                )

            with autocast(self.device):
                x = model.embed(patches[:, i], model.conditions(order, batch.place[:, i], told.prompt))
                hidden, k, v = model.patch_pass(x, [order] * len(patches), memory, mask)
                logits = model.logits(hidden[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1).float(), patches[:, i].flatten())
            trainer.update(loss)
            pool[i] = (k.detach(), v.detach())
            losses.append(loss.detach())
        return torch.stack(losses).mean()


def train_transformer(
    config: ModelConfig,
    tokenizer: Tokenizer,
    sentence: dict[str, Tensor],
    words_file: Path,
    settings: RunSettings,
    recipe: TransformerRecipe,
    device: torch.device,
    seed: int = 0,
    pictures: CaptionedCrops | None = None,
    initial: dict[str, Tensor] | None = None,
) -> Transformer:
    """Returns the transformer with averaged weights, in evaluation mode; its run is kept in settings.folder.

    sentence: the frozen encoder's state, of training/sentence.py.  pictures: of one's own, mixed in as often as the
    recipe says.  initial: weights to begin with.
    """
    torch.manual_seed(seed)
    tokenizer = tokenizer.to(device).eval().requires_grad_(False)
    transformer = Transformer(config)
    if initial is not None:
        own = transformer.state_dict()  # guidance in one pass belongs to those weights, not to what becomes of them
        transformer.load_state_dict(own | {name: value for name, value in initial.items() if name in own})
    transformer.text.sentence.load_state_dict(sentence)
    transformer.to(device)
    probe = AttributeProbe(config.transformer.width).to(device)
    trained = nn.ModuleDict({"transformer": transformer, "probe": probe})
    trained.adamw = {"probe", *(f"transformer.{name}" for name in transformer.adamw)}  # type: ignore[assignment]
    trainer = Trainer(trained, settings)
    compile_methods_on_gpu(device, transformer.layers, "project", "finish")
    words = WordPieces(words_file, config.transformer.text_tokens)
    source = recipe.source(tokenizer, config, device, seed + trainer.step, pictures)
    canvas_loss = CanvasLoss(transformer, words, device)
    chooser = random.Random(seed + trainer.step)
    first = config.transformer.orders[0]
    # Held out: whole stills, a window of the largest canvas, and films.
    stills = [source.render(recipe.windows[0], HELD_OUT_SEEDS + i) for i in range(3)]
    largest = max(recipe.windows, key=lambda w: w.canvas_rows * w.canvas_columns)
    films = [w for w in recipe.windows if w.frames > 1]
    special = {"largest": source.render(largest, HELD_OUT_SEEDS + 50)}
    if films:
        special["films"] = source.render(films[0], HELD_OUT_SEEDS + 51)
    if config.transformer.sketch:
        drawn = [batch.sketches for batch in stills if batch.sketches is not None]
        shows = [shown for batch in stills for shown in batch.shows]
        all_tokens, all_aspects = torch.cat([s.tokens for s in drawn]), torch.cat([s.aspects for s in drawn])
        special["sketches"] = sketch_batch(Sketches(all_tokens, all_aspects), shows)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = source.next()
        of_sketches = batch.aspects is not None  # these are drawn in the first order
        order = first if of_sketches else chooser.choices(config.transformer.orders, recipe.order_shares)[0]
        if chooser.random() < recipe.sketch_dropout:
            batch = replace(batch, sketches=None)
        prompts = [
            None if chooser.random() < recipe.text_dropout else p
            for p in batch.prompts(chooser.randrange(2**31), recipe.wide_words)
        ]
        # Words are cheap: the probe reads many more captions than there are pictures in the batch.
        attributes_read = [sample_attributes(chooser) for _ in range(recipe.captions_per_step)]
        captions = [caption(a, chooser.randrange(2**31), recipe.wide_words) for a in attributes_read]
        if recipe.schedule == "patch":
            return canvas_loss.render_and_optimise(batch, order, prompts, trainer), {}
        noise = recipe.text_noise * chooser.random()
        state = transformer.text(words(captions).to(device), noise)[0][:, 0]
        attributes = probe(state, attributes_read)
        value, figures = recipe.probe_weight * attributes, {"attributes": float(attributes.detach())}
        contrast_share = recipe.contrast if of_sketches else recipe.contrast_stills
        if batch.contrastable and chooser.random() < contrast_share:
            tokens, contrast = canvas_loss.contrast(batch, order, chooser.randrange(2**31), recipe.wide_words, noise)
            value = value + recipe.contrast_weight * contrast
            figures["contrast"] = float(contrast.detach())
        else:
            context_dropout = recipe.context_dropout if chooser.random() < 0.5 else 0.0
            known_place = of_sketches or chooser.random() >= recipe.place_dropout
            tokens = canvas_loss(batch, order, prompts, known_place, context_dropout, noise).mean()
        figures["tokens"] = float(tokens.detach())
        return tokens + value, figures

    def evaluate() -> dict[str, float]:
        def mean(batches: Sequence[TokenBatch], order: str, told: bool = True) -> float:
            values = [canvas_loss(b, order, b.prompts(7) if told else [None] * len(b.shows)) for b in batches]
            return float(torch.cat(values).mean())

        alone = [replace(batch, sketches=None) for batch in stills]
        figures = {f"held_out_{order}": mean(alone, order) for order in config.transformer.orders[:2]}
        figures["held_out_no_text"] = mean(alone, first, told=False)
        figures["held_out_contrast"] = float(
            torch.stack([canvas_loss.contrast(b, first, 7, 0.0, 0.0)[1] for b in stills]).mean()
        )
        if config.transformer.sketch:
            figures["held_out_sketched"] = mean(stills, first)
        figures |= {f"held_out_{name}": mean([batch], first) for name, batch in special.items()}
        return figures

    def sample(path: Path) -> None:
        model = Model(config, tokenizer, transformer, words, "training")
        save_sheet(draw_pictures(model, SAMPLE_PROMPTS, 4, 4), path, columns=4)

    trainer.run(loss, evaluate, sample)
    transformer.load_state_dict(transformer_part(trainer.averaged()))
    return transformer.eval()


def transformer_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's weights of a run, without the probe's."""
    prefix = "transformer."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@torch.no_grad()
def draw_pictures(
    model: Model,
    prompts: Sequence[str | None],
    rows: int,
    columns: int,
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.95, cfg_scale=3.0),
    order: str = "zeta",
    seed: int = 0,
    frames: int = 1,
) -> Tensor:
    """Pictures (or films) of rows x columns patches, one for each prompt, drawn side by side.

    Returns [P * frames, 3, H, W] in [-1, 1], the frames of a film one after another.
    """
    decoder = PatchDecoder(model, slots=len(prompts), pages=2 * len(prompts) * frames * rows * columns)
    grid = Grid(frames, rows, columns, model.config.patch_px)
    canvases = [decoder.start(f"{i}", grid, order, p, sampling, seed + i) for i, p in enumerate(prompts)]
    for patch in ORDERS[order].sequence(grid):
        decoder.decode([(canvas, patch) for canvas in canvases])
    return model.tokenizer.decode(torch.cat([c.tokens for c in canvases]))
