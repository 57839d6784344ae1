"""`nuwa evaluate`: measure a folder of weights, or one part of it on anyone's pictures or prompts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from model.generate import Model
from model.loader import WeightsError, load
from model.scorer import load_classifier
from training.device import pick_device
from training.evaluation.prompts import read_prompts_csv
from training.evaluation.rows import Row
from training.evaluation.run import PARTS, evaluate
from training.evaluation.setting import Counts, Setting
from training.evaluation.text import measure_prompts
from training.evaluation.tokenizer import measure_folder
from training.folders import DataError

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    help="Measure a folder of weights on scenes and photographs never trained on, into a report to read.\n\n"
    "Pictures that were drawn are kept in the report's folder: an interrupted evaluation goes on where it stopped.",
    epilog="Example: nuwa evaluate --weights checkpoints/tiny --photos my-photographs",
)

Weights = Annotated[Path, typer.Option(help="Folder of weights.")]
Out = Annotated[Path, typer.Option(help="Folder of the report and of the pictures drawn for it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves the choice to torch.")]
Slots = Annotated[int, typer.Option(min=1, help="Patches drawn together: 32 suit a CPU, 256 a GPU.")]

SHIPPED, REPORTS = Path("checkpoints/tiny"), Path("runs/evaluation")


def _model(weights: Path, device: str, threads: int) -> Model:
    try:
        return load(weights, pick_device(device, threads))
    except WeightsError as error:
        raise typer.BadParameter(str(error), param_hint="--weights") from None


def _print(rows: list[Row]) -> None:
    for row in rows:
        sign = {"higher": ">=", "lower": "<="}[row.better]
        goal = "" if row.goal is None else f"{sign} {row.goal:.4g}: {'met' if row.met else 'not met'}"
        typer.echo(f"{row.name:<42} {row.value:>10.4g} {row.unit:<14} {goal}".rstrip())


def _answer(rows: list[Row], more: dict[str, Any], as_json: bool) -> None:
    """The rows and whatever else was found, for programs or for people."""
    if as_json:
        typer.echo(json.dumps({"rows": [row.as_json() for row in rows], **more}, indent=2))
    else:
        _print(rows)


@app.callback()
def evaluate_command(
    context: typer.Context,
    weights: Weights = SHIPPED,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; some of its sources are held out.")
    ] = None,
    out: Out = REPORTS,
    pictures: Annotated[
        int, typer.Option(min=4, help="Number of prompts; all other numbers of pictures go along.")
    ] = Counts().prompts,
    parts: Annotated[str, typer.Option(show_default="all", help=f"With commas: {', '.join(PARTS)}.")] = ",".join(PARTS),
    device: Device = "auto",
    threads: Threads = 0,
    slots: Slots = 32,
) -> None:
    if (command := context.invoked_subcommand) is not None:
        sources = [context.get_parameter_source(name) for name in context.params]
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise typer.BadParameter(f"options stand behind the command: nuwa evaluate {command} --weights ...")
        return
    wanted = [name.strip() for name in parts.split(",")]
    if unknown := [name for name in wanted if name not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(PARTS)}", param_hint="--parts")
    model = _model(weights, device, threads)
    try:
        rows = evaluate(Setting(model, out, load_classifier, Counts(pictures), photos, slots), wanted)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--photos") from None
    _print(rows)
    typer.echo(f"\n{out / 'report.html'}\n{out / 'evaluation.json'}")


@app.command("tokenizer", epilog="Example: nuwa evaluate tokenizer --images my-pictures --json")
def tokenizer_command(
    images: Annotated[Path, typer.Option(help="Folder of pictures of any size.")],
    weights: Weights = SHIPPED,
    as_json: AsJson = False,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Send pictures through the tokenizer and back, beside WebP of at most as many bits. Broken files are named."""
    try:
        survey, skipped = measure_folder(_model(weights, device, threads), images)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--images") from None
    for file in skipped:
        typer.secho(f"skipped {file.file}: {file.reason}", err=True, fg=typer.colors.YELLOW)
    if not survey.pictures:
        raise typer.BadParameter(f"{images} holds no picture that can be measured", param_hint="--images")
    _answer(survey.rows(), {"pictures": survey.pictures, "skipped": [asdict(file) for file in skipped]}, as_json)


@app.command("prompts", epilog="Example: nuwa evaluate prompts --csv my-prompts.csv --json")
def prompts_command(
    csv: Annotated[Path, typer.Option(help="Columns: prompt, and any attributes that its picture must show.")],
    weights: Weights = SHIPPED,
    out: Out = REPORTS,
    as_json: AsJson = False,
    device: Device = "auto",
    threads: Threads = 0,
    slots: Slots = 32,
) -> None:
    """Draw a picture for each prompt, and read off it what it shows."""
    try:
        prompts = read_prompts_csv(csv)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--csv") from None
    if not prompts:
        raise typer.BadParameter(f"{csv} holds no prompts", param_hint="--csv")
    setting = Setting(_model(weights, device, threads), out, load_classifier, slots=slots)
    rows, told = measure_prompts(setting, prompts)
    if not as_json:
        for one in told:
            typer.echo(f"{one['prompt']}\n    {', '.join(f'{name} {value}' for name, value in one['read'].items())}")
    _answer(rows, {"pictures": told}, as_json)
