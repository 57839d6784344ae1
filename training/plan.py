"""What training a transformer takes on a GPU, on paper: parameters, memory, arithmetic, time per step.

Counted for bfloat16 products with float32 weights, attention that keeps no scores, and stills whose patches all look at
as many others as their extent allows.
"""

from dataclasses import dataclass, replace

from canvas.grid import Extent
from model.config import ModelConfig
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.optimizer import NEWTON_SCHULZ_STEPS, build_optimizers

GPU = "H200"
PEAK_FLOPS = 790e12  # bfloat16 products, dense, as measured
UTILISATION = 0.4  # of the peak: what well-kept training code reaches at such widths
GPU_BYTES = 139 * 2**30


@dataclass(frozen=True)
class Estimate:
    """One model, trained on `patches` patches a step. Bytes, floating-point operations, seconds."""

    config: ModelConfig
    patches: int
    matrices: int  # parameters that Muon trains
    others: int  # parameters that AdamW trains
    matrix_flops: float  # of orthogonalising all matrices once
    tokenizer: int  # parameters

    @property
    def parameters(self) -> int:
        return self.matrices + self.others

    @property
    def weights_bytes(self) -> int:
        """Master weights and their average in 32 bits, the copy that products use in 16."""
        return (4 + 4 + 2) * self.parameters

    @property
    def gradients_bytes(self) -> int:
        return 4 * self.parameters

    @property
    def optimizer_bytes(self) -> int:
        """Muon keeps one number for each weight, AdamW two."""
        return 4 * self.matrices + 8 * self.others

    def keys(self, frames: int = 1) -> int:
        """What a query of a patch in a film of that many frames may see: words, nearby patches, its own."""
        c = self.config.transformer
        near = replace(Extent(*c.extent), frames=min(c.extent[0], frames - 1)).max_nearby
        return c.text_tokens + 1 + (near + 1) * c.tokens_per_patch + 1

    def activations_bytes(self, frames: int = 1) -> int:
        """Kept for the backward pass, per patch.

        A layer keeps, for each of its T positions and D channels: the residual twice in 32 bits; eight times in 16 what
        it makes of it (normed twice, queries, keys, values, normed queries and keys, mixed values); the feed-forward's
        four-fold width twice. Then the gathered keys and values, and the mask of what may be seen. The head keeps its
        logits in 16 bits and twice in 32.
        """
        c = self.config.transformer
        positions, keys = c.tokens_per_patch + 1, self.keys(frames)
        layer = (2 * 4 + 8 * 2 + 2 * 4 * 2) * positions * c.width + 2 * 2 * keys * c.width + 2 * positions * keys
        return c.depth * layer + 10 * c.tokens_per_patch * self.config.tokenizer.codebook_size

    @property
    def total_bytes(self) -> int:
        return self._fixed_bytes + self.patches * self.activations_bytes()

    @property
    def most_patches(self) -> int:
        """That fit on the GPU in one step."""
        return max(0, int((GPU_BYTES - self._fixed_bytes) / self.activations_bytes()))

    @property
    def patch_flops(self) -> float:
        """Forward and backward of one patch. Backward costs twice the forward, 2.5 times for attention, which computes
        its scores again.
        """
        c = self.config.transformer
        positions = c.tokens_per_patch + 1
        products = 2 * positions * 12 * c.width**2 * c.depth
        head = 2 * c.tokens_per_patch * c.width * self.config.tokenizer.codebook_size
        attention = 4 * positions * self.keys() * c.width * c.depth
        return 3 * (products + head) + 3.5 * attention

    @property
    def step_flops(self) -> float:
        return self.patches * self.patch_flops + self.matrix_flops

    @property
    def step_s(self) -> float:
        return self.step_flops / (UTILISATION * PEAK_FLOPS)

    @property
    def _fixed_bytes(self) -> int:
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes


def estimate(config: ModelConfig, patches: int) -> Estimate:
    """Counts weights on models of one and of two layers and goes on from there, since layers are alike."""
    one, two = (_weights(replace(config, transformer=replace(config.transformer, depth=d))) for d in (1, 2))
    deep = config.transformer.depth - 1
    matrices, others, flops = (first + deep * (second - first) for first, second in zip(one, two, strict=True))
    tokenizer = sum(p.numel() for p in Tokenizer(config.tokenizer).parameters())
    return Estimate(config, patches, int(matrices), int(others), flops, tokenizer)


def _weights(config: ModelConfig) -> tuple[int, int, float]:
    """Weights trained by Muon, by AdamW, and the arithmetic of one step of Muon."""
    muon, adamw = (o.param_groups[0]["params"] for o in build_optimizers(Transformer(config), lr=0.0))
    flops = 0.0
    for p in muon:
        small, large = sorted((p.shape[0], p[0].numel()))
        flops += NEWTON_SCHULZ_STEPS * (4 * small**2 * large + 2 * small**3)
    return sum(p.numel() for p in muon), sum(p.numel() for p in adamw), flops


def plan(configs: list[ModelConfig], patches: int) -> str:
    """A table with one column for each model."""
    estimates = [estimate(config, patches) for config in configs]
    rows = [("", [e.config.name for e in estimates])]

    def row(name: str, values: list[str]) -> None:
        rows.append((name, values))

    row("transformer, parameters", [_short(e.parameters) for e in estimates])
    row("tokenizer, parameters", [_short(e.tokenizer) for e in estimates])
    row(
        "codes; pixels of a token",
        [f"{e.config.tokenizer.codebook_size:,}; {e.config.tokenizer.factor}" for e in estimates],
    )
    row("patch: tokens; pixels", [f"{e.config.transformer.tokens_per_patch}; {e.config.patch_px}" for e in estimates])
    row("keys of a query: still; film", [f"{e.keys():,}; {e.keys(2):,}" for e in estimates])
    row("weights (32, average, 16 bits)", [_size(e.weights_bytes) for e in estimates])
    row("gradients", [_size(e.gradients_bytes) for e in estimates])
    row("optimiser states", [_size(e.optimizer_bytes) for e in estimates])
    row("activations per patch of a still", [_size(e.activations_bytes()) for e in estimates])
    row("activations per patch of a film", [_size(e.activations_bytes(2)) for e in estimates])
    row(f"in all, {patches} patches a step", [_size(e.total_bytes) for e in estimates])
    row(f"most patches a step in {_size(GPU_BYTES)}", [f"{e.most_patches:,}" for e in estimates])
    row("per patch, forward and backward", [_short(e.patch_flops, "FLOP") for e in estimates])
    row("optimiser, per step", [_short(e.matrix_flops, "FLOP") for e in estimates])
    row(f"step of {patches} patches", [_short(e.step_flops, "FLOP") for e in estimates])
    speed = f"{UTILISATION:.0%} of {PEAK_FLOPS / 1e12:.0f} TFLOP/s"
    row(f"seconds a step, {GPU} at {speed}", [f"{e.step_s:.3g}" for e in estimates])
    row("patches a second", [f"{e.patches / e.step_s:,.0f}" for e in estimates])
    width = max(len(name) for name, _ in rows)
    lines = [name.ljust(width) + "".join(value.rjust(16) for value in values) for name, values in rows]
    return "\n".join(
        [*lines, "Small models wait for kernel launches and for pictures, not for arithmetic: measure those."]
    )


def _short(count: float, unit: str = "") -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}{unit}"
    return f"{count:.3g} {unit}"


def _size(size: float) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 else f"{size / 2**20:.3g} MiB"
