"""Which width, batch, learning rate and schedule learn most in the same time: short runs beside each other.

    python -m training.scaling --minutes 10

Every trial trains a new transformer from the same seed for the same time; curves and a table tell what it reached on
held-out scenes. On a processor its own time counts, so that others on the same machine favour none of them.
"""

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
import typer

from model.config import PRESETS, ModelConfig
from model.loader import load
from model.transformer import VOCABULARY, Transformer
from training.device import pick_device
from training.loop import RunSettings
from training.recipe import TransformerRecipe
from training.sentence import read_sentence_encoder, words_file
from training.transformer import train_transformer

Trial = tuple[ModelConfig, TransformerRecipe, float]  # model, recipe, learning rate


def trials(preset: str = "tiny") -> dict[str, Trial]:
    """What is compared: the preset as it is, then one change at a time.

    False captions come later in the training than this looks: without them the same time makes twice the steps.
    """
    config, recipe, lr = PRESETS[preset], TransformerRecipe(contrast=0.0), 2e-3

    def sized(width: int, depth: int) -> ModelConfig:
        return replace(config, transformer=replace(config.transformer, width=width, depth=depth))

    width, depth = config.transformer.width, config.transformer.depth
    return {
        "as shipped": (config, recipe, lr),
        "a step per patch": (config, replace(recipe, schedule="patch"), lr),
        "half the batch": (config, replace(recipe, patches_per_step=recipe.patches_per_step // 2), lr),
        "twice the batch": (config, replace(recipe, patches_per_step=recipe.patches_per_step * 2), lr),
        "half the rate": (config, recipe, lr / 2),
        "twice the rate": (config, recipe, lr * 2),
        "shallower": (sized(width, depth // 2), recipe, lr),
        "deeper": (sized(width, depth * 2), recipe, lr),
        "wider": (sized(width * 2, depth), recipe, lr),
    }


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's log.csv, without empty cells."""
    with (folder / "log.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def table(results: dict[str, tuple[Trial, list[dict[str, float]]]]) -> str:
    """Markdown: what each trial is, how far it came, and what it reached."""
    lines = ["| trial | parameters | steps | seconds | held-out zeta, nats a token |", "|---|---|---|---|---|"]
    for name, ((config, _, _), rows) in results.items():
        weights = sum(p.numel() for p in Transformer(config).parameters())
        last = rows[-1]
        lines.append(
            f"| {name} | {weights / 1e6:.1f} M | {last['step']:.0f} | {last['seconds']:.0f} "
            f"| {last['held_out_zeta']:.3f} |"
        )
    return "\n".join(lines)


def draw(results: dict[str, tuple[Trial, list[dict[str, float]]]], path: Path) -> None:
    """Training loss against minutes, and the held-out loss at the end as a dot."""
    figure, axis = plt.subplots(figsize=(8, 4.5))
    for name, (_, rows) in results.items():
        points = [(r["seconds"] / 60, r.get("tokens", r["loss"])) for r in rows if "loss" in r]
        (line,) = axis.plot(*zip(*points, strict=True), linewidth=1.2, label=name)
        axis.plot(rows[-1]["seconds"] / 60, rows[-1]["held_out_zeta"], "o", color=line.get_color())
    axis.set(xlabel="minutes", ylabel="nats a token (line: training, dot: held out)")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(
    weights: Annotated[Path, typer.Option(help="Folder whose tokenizer and sentence encoder to use.")] = Path(
        "checkpoints/tiny"
    ),
    out: Annotated[Path, typer.Option(help="Folder to write to; trials that are there already are kept.")] = Path(
        "runs/scaling"
    ),
    preset: Annotated[str, typer.Option(help="Model to vary.")] = "tiny",
    minutes: Annotated[float, typer.Option(help="Time for each trial.")] = 10.0,
    only: Annotated[list[str] | None, typer.Option(help="Names of trials; all unless given. May be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch likes.")] = 0,
) -> None:
    """Train every trial for the same time, then write table.md and scaling.png."""
    chosen = {name: trial for name, trial in trials(preset).items() if not only or name in only}
    if missing := set(only or ()) - set(chosen):
        raise typer.BadParameter(f"no trial is called {', '.join(missing)}; there are: {', '.join(trials(preset))}")
    where = pick_device(device, threads)
    results = {}
    for name, trial in chosen.items():
        folder = out / name.replace(" ", "-")
        if not (folder / "log.csv").exists():
            _train(trial, folder, weights, minutes, where)
        results[name] = (trial, read_log(folder))
    (out / "table.md").write_text(table(results) + "\n", encoding="utf-8")
    draw(results, out / "scaling.png")
    typer.echo(table(results))


def _train(trial: Trial, folder: Path, weights: Path, minutes: float, device: torch.device) -> None:
    config, recipe, lr = trial
    clock = time.process_time if device.type == "cpu" else time.monotonic
    settings = RunSettings(folder, hours=minutes / 60, lr=lr, sample_every=10**9, clock=clock)
    sentence = read_sentence_encoder(weights, config.transformer, VOCABULARY)
    train_transformer(config, load(weights).tokenizer, sentence, words_file(weights), settings, recipe, device)


if __name__ == "__main__":
    typer.run(main)
