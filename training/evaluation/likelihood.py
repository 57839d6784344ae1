"""Does the model tell true words from false ones? Asked of its likelihoods, without drawing anything."""

import torch

from training.attributes import ATTRIBUTE_VALUES, Attributes
from training.captions import true_and_false, untrue
from training.datasets import HELD_OUT_SEEDS
from training.evaluation.rows import Row
from training.evaluation.setting import Setting
from training.losses import CanvasLoss
from training.sources import TokenBatch, TokenSource, Window

WINDOW = Window(1.0, 4, 4, 4, 4)  # of 256x256 pixels where a patch has 64
TOGETHER = 4  # scenes a batch
SCENES = 340_000  # offset of their seeds


@torch.no_grad()
def likelihood_rows(setting: Setting) -> list[Row]:
    """For each attribute: how often a held-out scene is likelier with a true caption than with one wrong about it.

    A coin would say 0.5. Only what a caption can get wrong is asked: none says that there is no snow.
    """
    model = setting.model
    source = TokenSource(
        model.tokenizer, model.config, model.device, 0, patches=TOGETHER * WINDOW.rows * WINDOW.columns
    )
    loss = CanvasLoss(model.transformer, model.tokenizer, model.words, model.device)
    seeds = range(HELD_OUT_SEEDS + SCENES, HELD_OUT_SEEDS + SCENES + setting.counts.share(40, 1))
    batches = [source.render(WINDOW, seed) for seed in seeds]
    rows = []
    for wrong in ATTRIBUTE_VALUES:
        worth = torch.cat([_worth(loss, batch, wrong, seed) for batch, seed in zip(batches, seeds, strict=True)])
        if not len(worth):
            continue
        label = f"scenes likelier with their caption than with one wrong about {wrong.replace('_', ' ')}"
        note = f"the right words are worth {float(worth.mean()):.1f} nats a picture"
        share = float((worth > 0).float().mean())
        rows.append(Row(f"text_likelier_{wrong}", label, share, "share", "higher", None, len(worth), note=note))
    mean = sum(row.value for row in rows) / len(rows)
    label, count = (
        "scenes likelier with their caption than with one wrong about one thing",
        sum(r.pictures for r in rows),
    )
    return [Row("text_likelier", label, mean, "share", "higher", None, count), *rows]


def _worth(loss: CanvasLoss, batch: TokenBatch, wrong: str, seed: int) -> torch.Tensor:
    """By how many nats each picture that can be asked about is likelier with a true caption."""
    scenes = [shown for shown in batch.shows if isinstance(shown, Attributes)]
    asked = [i for i, scene in enumerate(scenes) if wrong in untrue(scene)]
    if not asked:
        return torch.zeros(0)
    texts = [true_and_false(scenes[i], seed + i, wrong=wrong) for i in asked]
    some = TokenBatch(batch.tokens[asked], batch.rows, batch.columns, batch.place[asked], [scenes[i] for i in asked])
    order = loss.transformer.config.orders[0]
    true, false = (loss(some, order, list(prompts)) for prompts in zip(*texts, strict=True))
    return ((false - true) * batch.tokens[0].numel()).cpu()
