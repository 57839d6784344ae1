"""What parts of the evaluation are given: a tiny model, and a judge that reads colours."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.generate import Model
from training.attributes import ATTRIBUTE_VALUES
from training.evaluation.setting import Counts, Setting


class ColourReader:
    """Reads every attribute off the mean brightness; its features are mean colours of 4x4 places."""

    def features(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1)

    def predict(self, pixels: Tensor) -> list[dict[str, str]]:
        bright = ((pixels.mean((1, 2, 3)) + 1) / 2).clamp(0, 0.999)
        return [{name: values[int(b * len(values))] for name, values in ATTRIBUTE_VALUES.items()} for b in bright]


@pytest.fixture
def setting(model: Model, tmp_path: Path) -> Setting:
    return Setting(model, tmp_path, lambda device: ColourReader(), Counts(4), slots=8)
