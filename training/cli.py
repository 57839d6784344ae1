"""`nuwa train`: the recipe from the command line."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.config import PRESETS, ModelConfig
from model.generate import Model
from model.loader import THESAURUS, WeightsError, load, save
from model.sketching import Sketcher
from model.tokenizer import Tokenizer
from model.transformer import VOCABULARY, Transformer
from training.checkpoint import load_checkpoint, part_of
from training.distributed import joined, own_seed, size
from training.folders import DataError, FolderData
from training.guidance import train_guidance
from training.loop import RunSettings
from training.plan import plan
from training.recipe import TransformerRecipe
from training.sentence import read_sentence_encoder, words_file
from training.sketcher import train_sketcher
from training.tokenizer import TokenizerRecipe, train_tokenizer
from training.transformer import train_transformer

train = typer.Typer(
    no_args_is_help=True,
    help="Train your own weights: first the tokenizer, then the transformer and the sketcher, then pack all into a "
    "folder.\n\n"
    "Each run lives in a folder (checkpoint, curve.png, samples/) and goes on where it stopped with --resume.\n\n"
    "Products are in bfloat16 on a GPU, where the code is compiled too, and on a CPU that has instructions for it. "
    "Several GPUs: torchrun --nproc-per-node 8 -m cli.main -- train ...",
)

Preset = Annotated[str, typer.Option(help=f"Size of the model: {', '.join(PRESETS)}.")]
Run = Annotated[Path, typer.Option(help="Folder of this run.")]
Hours = Annotated[
    float, typer.Option(min=0.0, help="Time to train, all included, earlier parts of the same run too; saves in time.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the choice to torch.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after so many steps, if time has not run out before.")]
Data = Annotated[
    str, typer.Option(help="scenes: endless rendered landscapes. Or a folder of your own pictures to train on instead.")
]
Photos = Annotated[
    Path | None, typer.Option(help="Folder of pictures to mix in with the scenes. Some are held out for the figures.")
]
PartMb = Annotated[
    float | None, typer.Option("--shard-mb", min=0.1, help="Write checkpoints in parts of at most so many MiB.")
]
Text = Annotated[
    Path,
    typer.Option(help="Folder of weights whose sentence encoder to use, or all-MiniLM-L6-v2's own folder."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Begin with the weights in this folder, checkpoints/tiny for one, instead of with new ones."),
]
SHIPPED = Path("checkpoints/tiny")
TOKENIZER_SIDE_PX = 640  # larger pictures are shrunk to it: crops of 96 px of a large one would show hardly a thing
TRANSFORMER_SIDE_PX = 2048


@contextmanager
def _devices(device: str, threads: int) -> Iterator[torch.device]:
    """The device to train on; what is wrong with device or pictures is said in one line."""
    try:
        with joined(device, threads) as own:
            yield own
    except DataError as error:
        raise typer.BadParameter(str(error)) from error


def _pictures(data: str, photos: Path | None, side_max: int) -> tuple[FolderData | None, bool]:
    """Pictures of one's own, or None; and whether scenes are trained on too."""
    if data != "scenes" and photos is not None:
        raise typer.BadParameter("--data FOLDER trains on that folder alone; --photos goes with --data scenes")
    folder = photos if data == "scenes" else Path(data)
    return None if folder is None else FolderData(folder, side_max), data == "scenes"


def _preset(name: str) -> ModelConfig:
    if name not in PRESETS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PRESETS)}", param_hint="--preset")
    return PRESETS[name]


def _averaged(run: Path, option: str) -> dict[str, torch.Tensor]:
    """The averaged weights of a run."""
    try:
        return load_checkpoint(run)["average"]
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{error}; train it first", param_hint=option) from error


def _restore(config: ModelConfig, run: Path) -> Tokenizer:
    """The tokenizer of a run, with averaged weights."""
    tokenizer = Tokenizer(config.tokenizer)
    try:
        tokenizer.load_state_dict(part_of(_averaged(run, "--tokenizer"), "tokenizer"))
    except RuntimeError as error:
        raise typer.BadParameter(f"{run} is not of preset {config.name}", param_hint="--tokenizer") from error
    return tokenizer.eval()


@train.command("tokenizer")
def tokenizer_command(
    run: Run = Path("runs/tokenizer"),
    preset: Preset = "tiny",
    weights: Weights = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="encoder: tokens keep their meaning, only the decoder learns.")
    ] = None,
    detail: Annotated[
        float, typer.Option(min=0.0, help="Weight on the strength of detail; 12 sharpens a decoder that goes on alone.")
    ] = TokenizerRecipe.detail,
    stars: Annotated[
        float, typer.Option(min=0.0, help="Weight on the scenes' stars; 250 makes a tokenizer that goes on keep them.")
    ] = TokenizerRecipe.stars,
    keep: Annotated[
        float, typer.Option(min=0.0, help="Weight that keeps tokens what they are in --weights; 0.1 moves few of them.")
    ] = TokenizerRecipe.keep,
    adversarial: Annotated[
        float,
        typer.Option(min=0.0, help="Pull of a discriminator: 0.3 makes edges crisp, 0.6 gives them rims."),
    ] = TokenizerRecipe.adversarial,
    hours: Hours = 0.5,
    data: Data = "scenes",
    photos: Photos = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step and process.")] = 24,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = 200,
    steps: Steps = None,
    resume: Resume = False,
    shard_mb: PartMb = None,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Train the tokenizer: pixels to visual tokens and back.

    Example: nuwa train tokenizer --hours 0.5 --photos my-photographs
    """
    if unknown := set(freeze or ()) - {"encoder", "decoder"}:
        raise typer.BadParameter(f"{unknown.pop()!r} is neither encoder nor decoder", param_hint="--freeze")
    if keep and weights is None:
        raise typer.BadParameter("there is nothing to keep without --weights", param_hint="--keep")
    config = _preset(preset)
    initial = None if weights is None else _begun(weights, config).tokenizer.state_dict()
    settings = RunSettings(run, hours, lr, sample_every=sample_every, resume=resume, max_steps=steps, part_mb=shard_mb)
    with _devices(device, threads) as own:
        pictures, scenes = _pictures(data, photos, TOKENIZER_SIDE_PX)
        recipe = TokenizerRecipe(
            batch=batch, detail=detail, stars=stars, keep=keep, adversarial=adversarial, frozen=tuple(freeze or ())
        )
        recipe = recipe if scenes else replace(recipe, pictures_share=1.0)
        train_tokenizer(config, settings, recipe, pictures, own, own_seed(seed), initial)


@train.command("transformer")
def transformer_command(
    run: Run = Path("runs/transformer"),
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer's run.")] = Path("runs/tokenizer"),
    text: Text = SHIPPED,
    preset: Preset = "tiny",
    weights: Weights = None,
    hours: Hours = 1.0,
    data: Data = "scenes",
    photos: Photos = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    patches: Annotated[
        int, typer.Option(min=1, help="Patches per step and process, over all pictures of a batch.")
    ] = TransformerRecipe.patches_per_step,
    freeze: Annotated[
        list[str] | None, typer.Option(help="text: words keep their meaning, all but their reading learns.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="canvas: one step per batch. patch: the paper's render and optimise.")
    ] = ("canvas"),
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = 300,
    steps: Steps = None,
    resume: Resume = False,
    shard_mb: PartMb = None,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Train the transformer on the tokens of pictures and their captions.

    Example: nuwa train transformer --hours 2 --resume

    On with the shipped weights, on your own pictures: nuwa train transformer --weights checkpoints/tiny --data FOLDER.
    Tokenizer and sentence encoder are then those of the folder too.
    """
    if schedule not in {"canvas", "patch"}:
        raise typer.BadParameter(f"{schedule!r} is neither canvas nor patch", param_hint="--schedule")
    config = _preset(preset)
    settings = RunSettings(run, hours, lr, sample_every=sample_every, resume=resume, max_steps=steps, part_mb=shard_mb)
    if unknown := set(freeze or ()) - {"text"}:
        raise typer.BadParameter(f"{unknown.pop()!r} is not text", param_hint="--freeze")
    if freeze and weights is None:
        raise typer.BadParameter("words mean nothing yet without --weights", param_hint="--freeze")
    recipe = replace(TransformerRecipe(), patches_per_step=patches, schedule=schedule, frozen=tuple(freeze or ()))
    begun = None if weights is None else _begun(weights, config)
    with _devices(device, threads) as own:
        if schedule == "patch" and size() > 1:
            raise typer.BadParameter("patch takes a step per patch: one process only", param_hint="--schedule")
        pictures, scenes = _pictures(data, photos, TRANSFORMER_SIDE_PX)
        recipe = recipe if scenes else replace(recipe, pictures_share=1.0)
        train_transformer(
            config,
            _restore(config, tokenizer) if begun is None else begun.tokenizer,
            *_text(text if weights is None else weights, config),
            settings,
            recipe,
            own,
            own_seed(seed),
            None if pictures is None else pictures.split(held_out=False).captioned(),
            None if begun is None else begun.transformer.state_dict(),
        )


@train.command("sketcher")
def sketcher_command(
    run: Run = Path("runs/sketcher"),
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer's run.")] = Path("runs/tokenizer"),
    text: Text = SHIPPED,
    preset: Preset = "tiny",
    weights: Weights = None,
    hours: Hours = 1.0,
    data: Data = "scenes",
    photos: Photos = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    sketches: Annotated[int, typer.Option(min=1, help="Sketches per step and process.")] = (
        TransformerRecipe.patches_per_step
    ),
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = 300,
    steps: Steps = None,
    resume: Resume = False,
    shard_mb: PartMb = None,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Train the sketcher: it draws the whole of a canvas in a few tokens, which all its patches then follow.

    Any time after the tokenizer, and beside the transformer. Example: nuwa train sketcher --hours 1 --resume
    """
    config = _preset(preset)
    settings = RunSettings(run, hours, lr, sample_every=sample_every, resume=resume, max_steps=steps, part_mb=shard_mb)
    begun = None if weights is None else _begun(weights, config)
    with _devices(device, threads) as own:
        pictures, scenes = _pictures(data, photos, TRANSFORMER_SIDE_PX)
        recipe = replace(TransformerRecipe(), patches_per_step=sketches)
        train_sketcher(
            config,
            _restore(config, tokenizer) if begun is None else begun.tokenizer,
            *_text(text if weights is None else weights, config),
            settings,
            recipe if scenes else replace(recipe, pictures_share=1.0),
            own,
            own_seed(seed),
            None if pictures is None else pictures.split(held_out=False).captioned(),
            None if begun is None else (begun.sketcher or begun.transformer).state_dict(),
        )


def _begun(folder: Path, config: ModelConfig, option: str = "--weights") -> Model:
    """The weights to begin with."""
    model = _weights(folder, option)
    # Guidance in one pass is taught afterwards, and sketches and drafts can be learned by weights that know none.
    wanted = config.transformer
    own = {"distilled_scale": wanted.distilled_scale, "sketch": wanted.sketch, "draft": wanted.draft}
    shape = replace(model.config.transformer, **own)
    if (model.config.tokenizer, shape) != (config.tokenizer, wanted):
        raise typer.BadParameter(f"{folder} is not of preset {config.name}", param_hint=option)
    return model


def _weights(folder: Path, option: str, device: torch.device | str = "cpu") -> Model:
    try:
        return load(folder, device)
    except WeightsError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _text(folder: Path, config: ModelConfig) -> tuple[dict[str, torch.Tensor], Path]:
    """The sentence encoder's state and the word pieces' file."""
    try:
        return read_sentence_encoder(folder, config.transformer, VOCABULARY), words_file(folder)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--text") from error


@train.command("guidance")
def guidance_command(
    out: Annotated[Path, typer.Option(help="Folder of weights to write, as `nuwa serve` reads it.")],
    weights: Annotated[Path, typer.Option(help="Folder of the weights to teach.")] = SHIPPED,
    run: Run = Path("runs/guidance"),
    hours: Hours = 0.25,
    photos: Photos = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    patches: Annotated[
        int, typer.Option(min=1, help="Patches per step, over all pictures of a batch.")
    ] = TransformerRecipe.patches_per_step,
    steps: Steps = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = 0,
    seed: int = 0,
) -> None:
    """Teach weights to draw with classifier-free guidance in one pass, for `sampling.distilled`; all else stays.

    Do it last: training a transformer further forgets it. Example: nuwa train guidance --out runs/weights
    """
    settings = RunSettings(run, hours, lr, decay_from=0.4, ema=0.98, resume=resume, max_steps=steps)
    with _devices(device, threads) as own:
        model = _weights(weights, "--weights", own)
        pictures, _ = _pictures("scenes", photos, TRANSFORMER_SIDE_PX)
        own_pictures = None if pictures is None else pictures.split(held_out=False).captioned()
        recipe = replace(TransformerRecipe(), patches_per_step=patches)
        taught = train_guidance(model, settings, recipe, seed=own_seed(seed), pictures=own_pictures)
    save(out, taught.config, taught.tokenizer, taught.transformer, words_file(weights), taught.sketcher)
    if (weights / THESAURUS).exists() and weights.resolve() != out.resolve():
        shutil.copyfile(weights / THESAURUS, out / THESAURUS)


@train.command("plan")
def plan_command(
    preset: Annotated[str | None, typer.Option(help=f"One of {', '.join(PRESETS)}; left out: all but nano.")] = None,
    patches: Annotated[int, typer.Option(min=1, help="Patches per step and GPU.")] = TransformerRecipe.patches_per_step,
) -> None:
    """Say what training takes on a GPU before trying: parameters, memory, arithmetic, time per step.

    Example: nuwa train plan --preset base --patches 64
    """
    names = [name for name in PRESETS if name != "nano"] if preset is None else [preset]
    typer.echo(plan([_preset(name) for name in names], patches))


@train.command("pack")
def pack_command(
    out: Annotated[Path, typer.Option(help="Folder of weights to write, as `nuwa serve` reads it.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer's run.")] = Path("runs/tokenizer"),
    transformer: Annotated[Path, typer.Option(help="Folder of the transformer's run.")] = Path("runs/transformer"),
    sketcher: Annotated[
        Path | None, typer.Option(help="Folder of the sketcher's run. Without it canvases are drawn without sketches.")
    ] = None,
    text: Text = SHIPPED,
    preset: Preset = "tiny",
    average_with: Annotated[
        Path | None,
        typer.Option(
            help="Folder of weights to take the mean with, of the transformer: those that its run began with."
        ),
    ] = None,
) -> None:
    """Pack the averaged weights of runs into one folder: config.json, 16-bit safetensors, words.json.

    With --average-with: between the weights that a run began with and those it ended with often lie better ones than
    both (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
    """
    config = _preset(preset)
    trained, drawer = part_of(_averaged(transformer, "--transformer"), "transformer"), None
    if sketcher is None:
        config = replace(config, transformer=replace(config.transformer, sketch=False, draft=False))
        trained = {name: value for name, value in trained.items() if not name.startswith("sketch.")}
    else:
        drawer = Sketcher(config)
        drawer.load_state_dict(part_of(_averaged(sketcher, "--sketcher"), "sketcher"))
    parts = Transformer(config)
    parts.load_state_dict(trained)
    if average_with is not None:
        begun = dict(_begun(average_with, config, "--average-with").transformer.named_parameters())
        with torch.no_grad():
            for name, mine in parts.named_parameters():
                mine.lerp_(begun.get(name, mine), 0.5)  # sketches may be new
    save(out, config, _restore(config, tokenizer), parts, _text(text, config)[1], drawer)
    megabytes = sum(f.stat().st_size for f in out.iterdir()) / 1e6
    typer.echo(f"{out}: {megabytes:.1f} MB")
