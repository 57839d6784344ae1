"""How well a picture fits its prompt: a small network reads what it shows, and that is held against what was asked.

The network is the evaluation's own judge (training/evaluation/classifier.py trains it). Candidates are ranked with it
as in DALL-E (Ramesh et al. 2021, section 2.6), with read attributes in the place of CLIP's similarity.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from model.attributes import ATTRIBUTE_VALUES, asked_attributes

WEIGHTS = Path(__file__).parents[1] / "checkpoints" / "classifier" / "classifier.safetensors"
WIDTHS = (24, 64, 128)  # channels at 1/4, 1/8 and 1/16 of the resolution
FEATURES = 128
BANDS = 4  # sky, horizon, middle and foreground are averaged apart
READ_AT_ONCE = 16  # pictures
READ_SIDES = (192, 384)  # px: shorter sides that it was trained to read; others are scaled to READ_SIDE
READ_SIDE = 256
LONGEST_SIDE = 2048  # px; beyond it a picture is squeezed


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


@dataclass(frozen=True)
class Fit:
    """How a picture fits its prompt. `score` is in [0, 1], None where the prompt asks for nothing that can be read."""

    score: float | None
    asked: dict[str, tuple[str, ...]]  # attribute -> the values that would be right
    read: dict[str, str]  # every attribute -> its likeliest value


@torch.no_grad()
def fit(classifier: AttributeClassifier, pixels: Tensor, prompt: str | None) -> Fit:
    """Read one picture.  pixels: [3, H, W] in [-1, 1], any size.

    The score is the mean, over the attributes that the prompt tells, of the probability that the picture shows a value
    that would be right.
    """
    logits = classifier(readable(pixels)[None])
    shares = {
        name: dict(zip(ATTRIBUTE_VALUES[name], scores[0].softmax(0).tolist(), strict=True))
        for name, scores in logits.items()
    }
    asked = asked_attributes(prompt)
    right = [sum(shares[name][value] for value in values) for name, values in asked.items()]
    return Fit(
        score=min(1.0, sum(right) / len(right)) if right else None,
        asked=asked,
        read={name: max(values, key=values.__getitem__) for name, values in shares.items()},
    )


def readable(pixels: Tensor) -> Tensor:
    """[3, H, W] scaled to a size that the classifier was trained on, as it is where it has one."""
    height, width = pixels.shape[1:]
    shorter = min(height, width)
    scale = 1.0 if READ_SIDES[0] <= shorter <= READ_SIDES[1] else READ_SIDE / shorter
    size = [min(LONGEST_SIDE, round(side * scale)) for side in (height, width)]
    if size == [height, width]:
        return pixels
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(-1, 1)
