"""What the transformer and the sketcher learn from: the likelihood of pictures' tokens, and what captions mean."""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canvas.grid import Extent, Grid
from canvas.order import ORDERS
from model.position import rotary_angles, rotate
from model.sketching import Sketcher
from model.text import WordPieces
from model.tokenizer import ScalarQuantizer, Tokenizer
from model.transformer import Transformer
from training.attributes import ATTRIBUTE_VALUES, Attributes, sample_attributes
from training.captions import caption
from training.device import autocast
from training.loop import Trainer
from training.outlines import Sketches
from training.recipe import TransformerRecipe
from training.sources import TokenBatch


def scan_patches(tokens: Tensor, rows: int, columns: int, transformer: Transformer, order: str) -> Tensor:
    """Tokens of canvases, or their weights, [B, F, rows * m, columns * m] -> patches in index order, each in scan
    order, [B, N, M].
    """
    m = transformer.config.patch_tokens
    cells = tokens.unflatten(2, (rows, m)).unflatten(4, (columns, m))  # [B, F, rows, m, columns, m]
    patches = cells.permute(0, 1, 2, 4, 3, 5).flatten(1, 3).flatten(2)
    steps = transformer.scans[order].steps
    return patches[:, :, steps[:, 0] * m + steps[:, 1]]


def batch_grid(batch: TokenBatch) -> Grid:
    """The grid of a batch's windows; its patches have no size in pixels here."""
    return Grid(batch.frames, batch.rows, batch.columns, 1)


def nearby_table(grid: Grid, order: str, extent: Extent, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each patch of a grid: indices of its nearby patches [N, K], -1 where there is none, and its corner [N, 3].

    K: as many as any of its patches has, none in a grid of one.
    """
    index = torch.full((len(grid), extent.max_nearby), -1)
    for patch in grid:
        near = ORDERS[order].nearby(grid, extent, patch)
        index[grid.index(patch), : len(near)] = torch.tensor([grid.index(p) for p in near], dtype=torch.long)
    most = int((index >= 0).sum(1).max())
    return index[:, :most].to(device), torch.tensor(list(grid), device=device)


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


def read_captions(
    probe: AttributeProbe,
    transformer: Transformer,
    words: WordPieces,
    recipe: TransformerRecipe,
    chooser: random.Random,
    noise: float,
) -> tuple[Tensor, dict[str, float]]:
    """The probe's share of a step's loss, and its figure. noise: on the text.

    Words are cheap: it reads many more captions than there are pictures in a batch.
    """
    shown = [sample_attributes(chooser) for _ in range(recipe.captions_per_step)]
    captions = [caption(a, chooser.randrange(2**31), recipe.wide_words) for a in shown]
    device = transformer.token.device
    with autocast(device):
        state = transformer.text(words(captions).to(device), noise)[0][:, 0]
    loss = probe(state, shown)
    return recipe.probe_weight * loss, {"attributes": float(loss.detach())}


def roughened(sketches: Sketches, quantizer: ScalarQuantizer, most: float) -> Sketches:
    """Sketches and their drafts, with noise on the codes of half of them: a standard deviation of up to `most` levels.

    Source: conditioning augmentation of Ho et al., "Cascaded Diffusion Models for High Fidelity Image Generation"
    (2021), section 4.
    """

    def rough(tokens: Tensor) -> Tensor:
        spread = most * (torch.rand(len(tokens), 1, 1, 1, device=tokens.device) * 2 - 1).clamp_min(0)
        codes = quantizer.to_codes(tokens)
        return quantizer.to_tokens(codes + spread * torch.randn_like(codes) * 2 / (quantizer.levels - 1))

    drafts = None if sketches.drafts is None else rough(sketches.drafts)
    return replace(sketches, tokens=rough(sketches.tokens), drafts=drafts)


def displaced(tokens: Tensor, most: float) -> Tensor:
    """Canvases [B, F, H, W] in which tokens stand where those up to two rows and columns away should: in half of them
    none, in the others a share of up to `most`.

    What has been drawn is not as true as what is learned from: a sun's edge is drawn a token too far, and who has only
    ever continued true edges goes on from there. Beside a sketch that shows where the sun is, it can be learned not to.
    Source: scheduled sampling of Bengio et al. (2015), with errors that cost no pass of the model.
    """
    batch, _, height, width = tokens.shape
    device = tokens.device
    share = most * (torch.rand(batch, 1, 1, 1, device=device) * 2 - 1).clamp_min(0)
    moved = torch.rand(tokens.shape, device=device) < share
    rows, columns = (
        (torch.arange(n, device=device).view(shape) + torch.randint(-2, 3, tokens.shape, device=device)).clamp(0, n - 1)
        for n, shape in ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1)))
    )
    others = tokens.flatten(2).gather(2, (rows * width + columns).flatten(2)).view(tokens.shape)
    return torch.where(moved, others, tokens)


class CanvasLoss:
    """Cross-entropy of token batches, in nats a token. In evaluation mode in 32 bits, whatever the device."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer, words: WordPieces, device: torch.device) -> None:
        self.transformer, self.tokenizer, self.words, self.device = transformer, tokenizer, words, device
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
        weighted: bool = False,
        displacement: float = 0.0,
    ) -> Tensor:
        """-> [B], of each picture. weighted: some tokens count more, by the batch's weights.

        displacement: how many tokens at most are shown in wrong places (displaced()); what is asked stays true.
        """
        if not known_place:
            batch = replace(batch, place=torch.full_like(batch.place, float("nan")), sketches=None)
        seen = displaced(batch.tokens, displacement) if displacement else None
        logits, tokens = self.logits(batch, order, prompts, context_dropout, text_noise, seen=seen)
        losses = F.cross_entropy(logits.flatten(0, 2), tokens.flatten(), reduction="none")
        if weighted and batch.weights is not None:
            weights = scan_patches(batch.weights, batch.rows, batch.columns, self.transformer, order).flatten()
            losses = losses * weights / weights.mean()
        return losses.unflatten(0, (len(tokens), -1)).mean(1)

    def logits(
        self,
        batch: TokenBatch,
        order: str,
        prompts: Sequence[str | None],
        context_dropout: float = 0.0,
        text_noise: float = 0.0,
        scale: float = 1.0,
        sketched: float = 1.0,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """[B, N, M, V] float32, of the tokens in scan order, and these [B, N, M].

        scale: of guidance in one pass.  sketched: how much of the sketch patches are told.  seen: what is seen of
        earlier tokens, where that is not the batch's own.
        """
        tokens = scan_patches(batch.tokens, batch.rows, batch.columns, self.transformer, order)
        index, corners = self.table(batch_grid(batch), order)
        if context_dropout:
            alone = torch.rand(len(index), 1, device=self.device) < context_dropout
            index = index.masked_fill(alone, -1)
        ids = self.words(prompts).to(self.device)
        with autocast(self.device, self.transformer.training):
            beside = self._beside(batch, order, corners, scale, sketched)
            seen = tokens if seen is None else scan_patches(seen, batch.rows, batch.columns, self.transformer, order)
            logits = self.transformer(seen, ids, order, index, corners, batch.place, text_noise, scale, beside)
        return logits.float(), tokens

    def _beside(self, batch: TokenBatch, order: str, corners: Tensor, scale: float, sketched: float) -> Tensor | None:
        """What patches are told of their canvas's sketch, or sketches of their canvas. [B, N, M, D]."""
        reader = self.transformer
        if batch.sketches is not None:
            with torch.no_grad():
                pixels = self.tokenizer.decode(batch.sketches.followed)
        if isinstance(reader, Sketcher) and batch.aspects is not None:
            told = reader.told(batch.aspects)[:, None]
            return told if batch.sketches is None else told + sketched * reader.follow(pixels, batch.place, order)
        if batch.sketches is None or not reader.config.sketch:
            return None
        view = reader.read_sketch(batch.sketches.tokens.flatten(1), pixels)
        of_first_frame = (corners[:, 0] == 0)[:, None, None]
        return sketched * reader.sketched(view, batch.place, order, scale) * of_first_frame

    def contrast(
        self, batch: TokenBatch, order: str, seed: int, wide: float, text_noise: float
    ) -> tuple[Tensor, Tensor]:
        """Loss with true captions in nats a token, and how badly true ones are told from false ones, in nats a patch.

        The latter is the log-loss of asking which of two captions a picture was drawn to, answered by Bayes' rule with
        the model's own likelihoods: what a picture's tokens have in common whatever is said falls out of the gradient,
        which the likelihood alone consists of for the most part.
        """
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
