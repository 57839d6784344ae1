"""Training of the attribute classifier (model/scorer.py), the judge of generated pictures, and how well it reads.

Its last layer is also the space in which Frechet distances between sets of pictures are taken. To train it anew:

    python -m training.evaluation.classifier --minutes 10
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from model.attributes import ATTRIBUTE_VALUES
from model.scorer import READ_AT_ONCE, WEIGHTS, AttributeClassifier, load_classifier
from training.attributes import Attributes
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.views import NAMES, ViewSource, cached_views, labels_of
from training.loop import RunSettings, Trainer
from training.scenes import render, sample_scenes

CEILING_SEED = HELD_OUT_SEEDS + 30_000


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
