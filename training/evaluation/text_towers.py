"""Is a pretrained sentence encoder worth its bytes? The text tower trained on it and on nothing, for the same steps of
the same captions, and asked about prompts in the captions' words and in others.

    python -m training.evaluation.text_towers --steps 300
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from model.config import PRESETS, TransformerConfig
from model.text import TextEncoder, WordPieces
from model.transformer import VOCABULARY
from training.attributes import ATTRIBUTE_VALUES, sample_attributes
from training.captions import caption
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.prompts import EvaluationPrompt, evaluation_prompts
from training.evaluation.scores import AttributeScores, attribute_scores
from training.losses import AttributeProbe
from training.optimizer import build_optimizers
from training.recipe import TransformerRecipe
from training.sentence import read_sentence_encoder, words_file

LR = 2e-3
DECAY_FROM = 0.6  # share of the steps after which the learning rate falls linearly to zero
TINY = Path(__file__).parents[2] / "checkpoints" / "tiny"
CONTENDERS = ("sentence encoder", "nothing")


class LearnedWords(nn.Module):
    """In the sentence encoder's place: one learned vector for each word piece, without its neighbours."""

    def __init__(self, config: TransformerConfig, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, config.sentence_width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids.clamp_min(0))


class Tower(nn.Module):
    """The text tower of a transformer, and the probe that reads a scene's attributes off its first state."""

    adamw = frozenset({"text.begin", "text.places", "text.sentence", "probe"})  # tables, not maps

    def __init__(self, config: TransformerConfig, words: WordPieces, sentence: dict[str, Tensor] | None) -> None:
        """sentence: the frozen encoder's state; None learns from nothing."""
        super().__init__()
        self.text = TextEncoder(config, VOCABULARY)
        if sentence is None:
            self.text.sentence = LearnedWords(config, VOCABULARY)
        else:
            self.text.sentence.load_state_dict(sentence)
        self.probe = AttributeProbe(config.width)
        self.words = words

    def states(self, prompts: Sequence[str], noise: float = 0.0) -> Tensor:
        """-> [B, D]."""
        return self.text(self.words(prompts), noise)[0][:, 0]

    def learn(self, steps: int, recipe: TransformerRecipe, seed: int = 0) -> None:
        """Name what captions show, `steps` times `captions_per_step` of them; the same captions for every tower."""
        torch.manual_seed(seed)
        rng, optimizers = random.Random(seed), build_optimizers(self, LR)
        for step in tqdm(range(steps), leave=False):
            scenes = [sample_attributes(rng) for _ in range(recipe.captions_per_step)]
            captions = [caption(scene, rng.randrange(HELD_OUT_SEEDS), recipe.wide_words) for scene in scenes]
            self.probe(self.states(captions, recipe.text_noise), scenes).backward()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = LR * min(1.0, (step + 1) / 20, (1 - step / steps) / (1 - DECAY_FROM))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self.eval()

    @torch.no_grad()
    def predict(self, prompts: Sequence[str]) -> list[dict[str, str]]:
        """The likeliest value of every attribute, for each prompt."""
        states = torch.cat([self.states(prompts[i : i + 32]) for i in range(0, len(prompts), 32)])
        best = {name: head(states).argmax(1).tolist() for name, head in self.probe.heads.items()}
        return [{name: ATTRIBUTE_VALUES[name][best[name][i]] for name in best} for i in range(len(prompts))]

    def scores(self, prompts: Sequence[EvaluationPrompt]) -> dict[str, AttributeScores]:
        """How often it names what prompts state, for each kind of prompt."""
        kinds = {kind: [p for p in prompts if p.kind == kind] for kind in dict.fromkeys(p.kind for p in prompts)}
        return {
            kind: attribute_scores([p.expected for p in asked], self.predict([p.prompt for p in asked]))
            for kind, asked in kinds.items()
        }


def main() -> None:
    """Train both towers one after the other and print how each reads the 500 prompts of the evaluation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=300, help="training steps of each tower (default: %(default)s)")
    parser.add_argument("--text", type=Path, default=TINY, help="folder of weights, or of the sentence encoder")
    arguments = parser.parse_args()
    config = PRESETS["tiny"].transformer
    words = WordPieces(words_file(arguments.text), config.text_tokens)
    prompts = evaluation_prompts()
    for name in CONTENDERS:
        sentence = read_sentence_encoder(arguments.text, config, VOCABULARY) if name != "nothing" else None
        tower = Tower(config, words, sentence)
        tower.learn(arguments.steps, TransformerRecipe())
        start = time.process_time()
        tower.predict([prompts[0].prompt])
        print(f"{name}: {(time.process_time() - start) * 1000:.0f} ms a prompt")
        for kind, score in tower.scores(prompts).items():
            low, high = score.interval
            told = ", ".join(f"{attribute} {share:.2f}" for attribute, share in score.accuracy.items())
            print(f"    {kind:<8} {score.mean:.3f} ({low:.3f} to {high:.3f}): {told}")


if __name__ == "__main__":
    main()
