"""Tokens of 8x8 or of 16x16 pixels? Both parts of two models, trained from nothing for the same time, side by side.

    python -m training.factors --minutes 6

Tokens of 16x16 pixels are a quarter as many, so at equal seconds a picture their transformer may be twice as wide and
their codebook larger. Patches have equally many tokens either way. Writes table.md, and weights for `nuwa evaluate` and
`nuwa generate` to look at. On a processor its own time counts, so that others on the same machine favour neither.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.config import PRESETS, ModelConfig
from model.loader import load, save
from model.sampling import Sampling
from model.transformer import VOCABULARY
from training.device import pick_device
from training.evaluation.classifier import load_classifier
from training.evaluation.frechet import CANVASES, distance_rows
from training.evaluation.pictures import Gallery
from training.evaluation.setting import Setting, held_out_captions
from training.evaluation.speed import seconds_per_picture
from training.folders import FolderData
from training.loop import RunSettings
from training.recipe import TransformerRecipe
from training.scaling import read_log
from training.sentence import read_sentence_encoder, words_file
from training.tokenizer import TokenizerRecipe, train_tokenizer
from training.transformer import train_transformer

# Without guidance: so early, words say too little to be guided by.
SAMPLING = Sampling(top_p=0.98)


def models(preset: str = "tiny") -> dict[str, ModelConfig]:
    """The preset without sketches, and the same with tokens of twice the side, eight times as many codes and twice the
    width.
    """
    small = replace(PRESETS[preset], transformer=replace(PRESETS[preset].transformer, sketch=False))
    tokenizer = replace(small.tokenizer, factor=16, levels=(8, 8, 5, 5, 5))
    transformer = replace(small.transformer, width=2 * small.transformer.width)
    return {"f8": small, "f16": replace(small, name="f16", tokenizer=tokenizer, transformer=transformer)}


def main(
    weights: Annotated[Path, typer.Option(help="Folder whose sentence encoder to use.")] = Path("checkpoints/tiny"),
    out: Annotated[Path, typer.Option(help="Folder to write to; runs that are there go on.")] = Path("runs/factors"),
    photos: Annotated[Path | None, typer.Option(help="Photographs to mix in.")] = None,
    preset: Annotated[str, typer.Option(help="Model with tokens of 8x8 pixels.")] = "tiny",
    minutes: Annotated[float, typer.Option(help="Time for each part of each model.")] = 6.0,
    pictures: Annotated[int, typer.Option(help="Drawn by each, for the Frechet distance.")] = 128,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch likes.")] = 0,
) -> None:
    """Train, draw and measure both, then write table.md."""
    where = pick_device(device, threads)
    lines = [
        "| | codes | transformer | scenes, dB | nats a pixel | s for 512x256 | Frechet distance |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, config in models(preset).items():
        folder = out / name
        train(config, folder, weights, photos, minutes, where)
        lines.append(f"| {name} | {' | '.join(measure(folder, pictures, where))} |")
        (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo("\n".join(lines))


def train(
    config: ModelConfig, folder: Path, weights: Path, photos: Path | None, minutes: float, device: torch.device
) -> None:
    """Both parts one after the other, the same time each, and the weights beside their runs."""
    clock = time.process_time if device.type == "cpu" else time.monotonic
    settings = RunSettings(folder / "tokenizer", minutes / 60, sample_every=10**9, resume=True, clock=clock)
    pool = None if photos is None else FolderData(photos, 2048).split(held_out=False)
    tokenizer = train_tokenizer(config, settings, TokenizerRecipe(), pool, device)
    recipe = TransformerRecipe(contrast=0.0)
    sentence = read_sentence_encoder(weights, config.transformer, VOCABULARY)
    settings = replace(settings, folder=folder / "transformer")
    transformer = train_transformer(config, tokenizer, sentence, words_file(weights), settings, recipe, device)
    save(folder / "weights", config, tokenizer, transformer, words_file(weights))


def measure(folder: Path, pictures: int, device: torch.device) -> list[str]:
    """The cells of one model's line."""
    model = load(folder / "weights", device)
    config, shape = model.config, model.config.transformer
    setting = Setting(model, folder, load_classifier)
    gallery = Gallery(model, folder / "pictures", sampling=SAMPLING)
    found = setting.features(gallery.draw("pictures", held_out_captions(pictures, 1), 256, 256))
    sets = [setting.features(setting.rendered(pictures, 256, 256, offset)[0]) for offset in (100_000, 110_000)]
    distance, floor = distance_rows(CANVASES[0], found, sets, pictures)
    learned, tokens = read_log(folder / "tokenizer")[-1], read_log(folder / "transformer")[-1]
    return [
        f"{config.tokenizer.codebook_size:,}",
        f"width {shape.width}, {tokens['step']:.0f} steps",
        f"{learned['scene_psnr']:.1f}",
        f"{tokens['held_out_zeta'] / config.tokenizer.factor**2:.4f}",
        f"{seconds_per_picture(model, 512, 256, SAMPLING):.2f}",
        f"{distance.value:.0f} (floor {floor.value:.0f})",
    ]


if __name__ == "__main__":
    typer.run(main)
