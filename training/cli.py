"""`nuwa train` and `nuwa evaluate`: the recipe from the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file

from model.config import PRESETS, ModelConfig
from model.loader import load, save
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.evaluate import evaluate_model
from training.loop import RunSettings
from training.tokenizer import TokenizerRecipe, train_tokenizer
from training.transformer import TransformerRecipe, train_transformer, transformer_part

train = typer.Typer(
    no_args_is_help=True,
    help="Train your own weights: first the tokenizer, then the transformer, then pack both into a folder.\n\n"
    "Each run lives in a folder (checkpoint, curve.png, samples/) and goes on where it stopped with --resume.",
)
evaluate = typer.Typer(
    no_args_is_help=False, help="Measure a folder of weights on scenes and photographs never trained on."
)

Preset = Annotated[str, typer.Option(help=f"Size of the model: {', '.join(PRESETS)}.")]
Run = Annotated[Path, typer.Option(help="Folder of this run.")]
Hours = Annotated[float, typer.Option(min=0.0, help="Time to train, earlier parts of the same run included.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the choice to torch.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after so many steps, if time has not run out before.")]


def _device(name: str, threads: int) -> torch.device:
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _preset(name: str) -> ModelConfig:
    if name not in PRESETS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PRESETS)}", param_hint="--preset")
    return PRESETS[name]


def _restore(config: ModelConfig, run: Path) -> Tokenizer:
    """The tokenizer of a run, with averaged weights."""
    path = run / "last.pt"
    if not path.exists():
        raise typer.BadParameter(f"{path} does not exist; train a tokenizer first", param_hint="--tokenizer")
    tokenizer = Tokenizer(config.tokenizer)
    tokenizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    return tokenizer.eval()


@train.command("tokenizer")
def tokenizer_command(
    run: Run = Path("runs/tokenizer"),
    preset: Preset = "tiny",
    hours: Hours = 0.5,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs to mix in, and to hold some out of.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 24,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = 200,
    steps: Steps = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Train the tokenizer: pixels to visual tokens and back.

    Example: nuwa train tokenizer --hours 0.5 --photos my-photographs
    """
    settings = RunSettings(run, hours, lr, sample_every=sample_every, resume=resume, max_steps=steps)
    recipe = TokenizerRecipe(batch=batch)
    train_tokenizer(_preset(preset), settings, recipe, photos, _device(device, threads), seed)


@train.command("transformer")
def transformer_command(
    run: Run = Path("runs/transformer"),
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer's run.")] = Path("runs/tokenizer"),
    text: Annotated[
        Path, typer.Option(help="Folder of text.safetensors and tokenizer.json from training.text_table.")
    ] = Path("data/text"),
    preset: Preset = "tiny",
    hours: Hours = 1.0,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    patches: Annotated[int, typer.Option(min=1, help="Patches per step, over all pictures of a batch.")] = 96,
    schedule: Annotated[
        str, typer.Option(help="canvas: one step per batch. patch: the paper's render and optimise.")
    ] = ("canvas"),
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = 300,
    steps: Steps = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Train the transformer on the tokens of scenes and their captions.

    Example: nuwa train transformer --hours 2 --resume
    """
    if schedule not in {"canvas", "patch"}:
        raise typer.BadParameter(f"{schedule!r} is neither canvas nor patch", param_hint="--schedule")
    config = _preset(preset)
    settings = RunSettings(run, hours, lr, sample_every=sample_every, resume=resume, max_steps=steps)
    recipe = replace(TransformerRecipe(), patches_per_step=patches, schedule=schedule)
    train_transformer(
        config,
        _restore(config, tokenizer),
        load_file(text / "text.safetensors"),
        text / "tokenizer.json",
        settings,
        recipe,
        _device(device, threads),
        seed,
    )


@train.command("pack")
def pack_command(
    out: Annotated[Path, typer.Option(help="Folder of weights to write, as `nuwa serve` reads it.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer's run.")] = Path("runs/tokenizer"),
    transformer: Annotated[Path, typer.Option(help="Folder of the transformer's run.")] = Path("runs/transformer"),
    text: Annotated[Path, typer.Option(help="Folder of the word pieces' tokenizer.json.")] = Path("data/text"),
    preset: Preset = "tiny",
) -> None:
    """Pack the averaged weights of two runs into one folder: config.json, 16-bit safetensors, words.json."""
    config = _preset(preset)
    parts = Transformer(config)
    state = torch.load(transformer / "last.pt", map_location="cpu", weights_only=True)["average"]
    parts.load_state_dict(transformer_part(state))
    save(out, config, _restore(config, tokenizer), parts, text / "tokenizer.json")
    megabytes = sum(f.stat().st_size for f in out.iterdir()) / 1e6
    typer.echo(f"{out}: {megabytes:.1f} MB")


@evaluate.callback(invoke_without_command=True)
def evaluate_command(
    weights: Annotated[Path, typer.Option(help="Folder of weights.")] = Path("checkpoints/tiny"),
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; a quarter of its sources is held out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures here as JSON.")] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Measure a folder of weights: tokenizer PSNR and codes used, transformer loss, seconds per picture.

    Example: nuwa evaluate --weights checkpoints/tiny --photos my-photographs
    """
    rows = evaluate_model(load(weights, _device(device, threads)), photos)
    for row in rows:
        typer.echo(f"{row['name']:<34} {row['value']:>10.4g} {row['unit']}")
    if out is not None:
        out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
