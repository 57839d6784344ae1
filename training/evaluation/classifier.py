"""Reads what a landscape shows off its pixels: a small network trained on rendered scenes, the judge of generated ones.

Its last layer is also the space in which Frechet distances between sets of pictures are taken. To train it anew:

    python -m training.evaluation.classifier --minutes 10
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from training.attributes import ATTRIBUTE_VALUES, Attributes
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.views import NAMES, ViewSource, cached_views, labels_of
from training.loop import RunSettings, Trainer
from training.scenes import render, sample_scenes

WEIGHTS = Path(__file__).parents[2] / "checkpoints" / "classifier" / "classifier.safetensors"
WIDTHS = (24, 64, 128)  # channels at 1/4, 1/8 and 1/16 of the resolution
FEATURES = 128
BANDS = 4  # sky, horizon, middle and foreground are averaged apart
CEILING_SEED = HELD_OUT_SEEDS + 30_000
READ_AT_ONCE = 16  # pictures


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.gelu(self.norm(x)))


class AttributeClassifier(nn.Module):
    """Pixels -> the attributes of training/attributes.py; 0.4 M parameters. Takes any size from 128 px upwards."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.body = nn.Sequential(
            nn.Conv2d(3, a, 7, stride=4, padding=3),
            _Residual(a),
            nn.Conv2d(a, b, 3, stride=2, padding=1),
            _Residual(b),
            nn.Conv2d(b, c, 3, stride=2, padding=1),
            _Residual(c),
            nn.GroupNorm(8, c),
            nn.GELU(),
        )
        self.gather = nn.Linear((BANDS + 1) * c, FEATURES)
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(v)) for name, v in ATTRIBUTE_VALUES.items()})

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> [B, 128]: the vectors that Frechet distances are taken of."""
        x = self.body(pixels)
        bands = F.adaptive_avg_pool2d(x, (BANDS, 1)).flatten(1)
        return self.gather(torch.cat([bands, x.amax((2, 3))], 1))  # the maximum finds a moon that a mean would lose

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """pixels [B, 3, H, W] in [-1, 1] -> logits [B, values] of every attribute, values as in ATTRIBUTE_VALUES."""
        return self.read(self.features(pixels))

    def read(self, features: Tensor) -> dict[str, Tensor]:
        """features [B, 128] -> logits [B, values] of every attribute."""
        active = F.gelu(features)
        return {name: head(active) for name, head in self.heads.items()}

    @torch.no_grad()
    def predict(self, pixels: Tensor) -> list[dict[str, str]]:
        """pixels [B, 3, H, W] in [-1, 1] -> the likeliest value of every attribute, for each picture."""
        readings: list[dict[str, str]] = []
        for part in pixels.split(READ_AT_ONCE):
            best = {name: logits.argmax(1).tolist() for name, logits in self(part).items()}
            readings += [{n: ATTRIBUTE_VALUES[n][best[n][i]] for n in best} for i in range(len(part))]
        return readings


def load_classifier(device: torch.device | str = "cpu", file: Path = WEIGHTS) -> AttributeClassifier:
    """The shipped classifier, in evaluation mode, float32. Raises RuntimeError when the weights do not fit."""
    classifier = AttributeClassifier()
    classifier.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    return classifier.to(device).eval().requires_grad_(False)


def save_classifier(classifier: AttributeClassifier, file: Path) -> None:
    """Write the weights in 16 bits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(save({name: value.half().cpu().contiguous() for name, value in classifier.state_dict().items()}))


@dataclass(frozen=True)
class Ceiling:
    """How well the classifier reads rendered scenes: no generator can be judged beyond it."""

    accuracy: dict[str, float]  # share of held-out scenes read rightly, for each attribute
    confusion: dict[str, list[list[int]]]  # counts [value shown][value read], values as in ATTRIBUTE_VALUES


def measure_ceiling(classifier: AttributeClassifier, count: int = 512, size: tuple[int, int] = (256, 256)) -> Ceiling:
    """Read `count` rendered scenes that no training has drawn from. size: height, width, px."""
    shown: list[Attributes] = []
    read: list[dict[str, str]] = []
    device = next(classifier.parameters()).device
    for start in range(0, count, READ_AT_ONCE):
        here = min(READ_AT_ONCE, count - start)
        scenes = sample_scenes(here, CEILING_SEED + start, aspect=size[1] / size[0], device=device)
        shown += scenes.attributes
        read += classifier.predict(render(scenes, size))
    return compare(shown, read)


def compare(shown: Sequence[Attributes], read: Sequence[dict[str, str]]) -> Ceiling:
    """What pictures show against what was read off them. Raises ValueError when their numbers differ."""
    confusion = {name: [[0] * len(values) for _ in values] for name, values in ATTRIBUTE_VALUES.items()}
    for attributes, reading in zip(shown, read, strict=True):
        for name, values in ATTRIBUTE_VALUES.items():
            confusion[name][values.index(getattr(attributes, name))][values.index(reading[name])] += 1
    right = {name: sum(table[i][i] for i in range(len(table))) for name, table in confusion.items()}
    return Ceiling({name: n / len(shown) for name, n in right.items()}, confusion)


def attribute_loss(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy over the attributes that were asked, in nats. labels: [B, attributes], -1 = not asked."""
    asked = [(logits[name], labels[:, i]) for i, name in enumerate(NAMES) if (labels[:, i] >= 0).any()]
    return torch.stack([F.cross_entropy(scores, wanted, ignore_index=-1) for scores, wanted in asked]).mean()


def train_classifier(
    settings: RunSettings, device: torch.device, views: int = 4800, batch: int = 32, seed: int = 0
) -> AttributeClassifier:
    """Returns the classifier with averaged weights, in evaluation mode; its run is kept in settings.folder.

    views: how many are rendered into settings.folder before the training starts.  batch: views per step.
    """
    torch.manual_seed(seed)
    rendered = cached_views(settings.folder / "views.pt", views, seed)  # first: the trainer's clock starts with it
    classifier = AttributeClassifier().to(device)
    classifier.to(memory_format=torch.channels_last)
    trainer = Trainer(classifier, settings)
    source = ViewSource(rendered, seed + trainer.step)
    held_out = sample_scenes(batch, CEILING_SEED - 1, device=device)
    held_out_pixels, held_out_labels = render(held_out, (256, 256)), labels_of(held_out.attributes).to(device)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, labels = source.batch(batch)
        pixels = pixels.to(device, memory_format=torch.channels_last)
        return attribute_loss(classifier(pixels), labels.to(device)), {}

    def evaluate() -> dict[str, float]:
        logits = classifier(held_out_pixels)
        right = torch.stack([logits[name].argmax(1) for name in NAMES], 1) == held_out_labels
        return {
            "held_out_loss": float(attribute_loss(logits, held_out_labels)),
            "held_out": float(right.float().mean()),
        }

    trainer.run(loss, evaluate)
    classifier.load_state_dict(trainer.averaged())
    return classifier.eval().requires_grad_(False)


def main() -> None:
    """Train, write the weights, and print how well they read held-out scenes, and what they take for what."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="time to train, after the views are rendered")
    parser.add_argument("--views", type=int, default=4800, help="views to render before")
    parser.add_argument("--run", type=Path, default=Path("runs/classifier"), help="folder of the run")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file of weights to write")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = RunSettings(
        arguments.run, hours=arguments.minutes / 60, lr=arguments.lr, sample_every=100, resume=arguments.resume
    )
    save_classifier(train_classifier(settings, torch.device(arguments.device), arguments.views), arguments.out)
    ceiling = measure_ceiling(load_classifier(arguments.device, arguments.out))
    for name, share in ceiling.accuracy.items():
        print(f"{name:<12} {share:.3f}")
        values = ATTRIBUTE_VALUES[name]
        for value, counts in zip(values, ceiling.confusion[name], strict=True):
            read = [f"{other} {count}" for other, count in zip(values, counts, strict=True) if count]
            print(f"    {value:<18} read as {', '.join(read)}")


if __name__ == "__main__":
    main()
