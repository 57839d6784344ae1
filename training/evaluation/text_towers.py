"""Does a pretrained word table help? The same small text tower, on frozen word-piece vectors and on vectors learned
from nothing, trained on captions to name what they show, and asked about prompts in the captions' words and in others.

    python -m training.evaluation.text_towers --steps 600
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import trange

from model.config import PRESETS
from model.loader import TRANSFORMER, WORDS
from model.text import TextEncoder, WordPieces
from training.attributes import ATTRIBUTE_VALUES, sample_attributes
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.prompts import EvaluationPrompt, evaluation_prompts
from training.evaluation.scores import attribute_scores
from training.optimizer import build_optimizers
from training.transformer import AttributeProbe

CAPTIONS_PER_STEP = 32  # as in TransformerRecipe
LR = 2e-3
DECAY_FROM = 0.6  # share of the steps after which the learning rate falls linearly to zero
TINY = Path(__file__).parents[2] / "checkpoints" / "tiny"
CONFIG = PRESETS["tiny"].transformer


@dataclass(frozen=True)
class TowerScore:
    """How often a tower names what prompts state; shares in [0, 1] with 95 % intervals."""

    table: str
    kind: str  # of the prompts: "caption" or "unseen"
    mean: float
    interval: tuple[float, float]
    accuracy: dict[str, float]


class TextTower(nn.Module):
    """A text encoder and linear readings of the attributes off its first state."""

    adamw = frozenset({"text.table", "text.places", "text.begin", "probe"})  # tables, not maps: see build_optimizers

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text
        self.probe = AttributeProbe(CONFIG.width)

    @torch.no_grad()
    def predict(self, ids: Tensor) -> list[dict[str, str]]:
        """ids [B, S] of word pieces -> the likeliest value of every attribute, for each prompt."""
        state = self.text(ids)[0][:, 0]
        best = {name: head(state).argmax(1).tolist() for name, head in self.probe.heads.items()}
        return [{name: ATTRIBUTE_VALUES[name][best[name][i]] for name in best} for i in range(len(ids))]


def frozen_text(weights: Path) -> TextEncoder:
    """An untrained encoder over the pretrained word table of a folder of weights."""
    stored = load_file(weights / TRANSFORMER)
    text = TextEncoder(CONFIG, len(stored["text.table"]))
    text.table.copy_(stored["text.table"])
    text.scales.copy_(stored["text.scales"])
    return text


def learned_text(vocabulary: int) -> TextEncoder:
    """An untrained encoder whose word table is trained with it."""
    text = TextEncoder(CONFIG, vocabulary)
    del text.table
    text.table = nn.Parameter(torch.randn(vocabulary, CONFIG.text_dim) * 0.1)
    return text


def train_tower(text: TextEncoder, words: WordPieces, steps: int, seed: int = 0) -> TextTower:
    """Train on fresh captions to name all attributes of their scenes, as training/transformer.py does besides."""
    rng = random.Random(seed)
    tower = TextTower(text)
    optimizers = build_optimizers(tower, LR)
    for step in trange(steps):
        scenes = [sample_attributes(rng) for _ in range(CAPTIONS_PER_STEP)]
        ids = words([caption(a, rng.randrange(HELD_OUT_SEEDS)) for a in scenes])
        tower.probe(tower.text(ids)[0][:, 0], scenes).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1.0, (step + 1) / 20, (1 - step / steps) / (1 - DECAY_FROM))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return tower.eval()


def score_tower(tower: TextTower, words: WordPieces, prompts: list[EvaluationPrompt], table: str) -> list[TowerScore]:
    """One row for each kind of prompt."""
    rows = []
    for kind in dict.fromkeys(p.kind for p in prompts):
        asked = [p for p in prompts if p.kind == kind]
        scores = attribute_scores([p.expected for p in asked], tower.predict(words([p.prompt for p in asked])))
        rows.append(TowerScore(table, kind, scores.mean, scores.interval, scores.accuracy))
    return rows


def compare_text_towers(steps: int, weights: Path = TINY, seed: int = 0) -> list[TowerScore]:
    """Train both towers for the same steps on the same captions and ask both the same 500 prompts."""
    words = WordPieces(weights / WORDS, CONFIG.text_tokens)
    rows = []
    for table in ("frozen", "learned"):
        torch.manual_seed(seed)
        text = frozen_text(weights)
        text = text if table == "frozen" else learned_text(len(text.table))
        rows += score_tower(train_tower(text, words, steps, seed), words, evaluation_prompts(), table)
    return rows


def main() -> None:
    """Print the comparison as a table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=600, help="training steps of each tower")
    parser.add_argument("--weights", type=Path, default=TINY, help="folder of weights with the word table")
    arguments = parser.parse_args()
    for row in compare_text_towers(arguments.steps, arguments.weights):
        low, high = row.interval
        print(f"{row.table:<8} {row.kind:<8} {row.mean:.3f} ({low:.3f} to {high:.3f})")
        print("    " + ", ".join(f"{name} {share:.2f}" for name, share in row.accuracy.items()))


if __name__ == "__main__":
    main()
