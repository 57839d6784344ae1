"""`nuwa`: the command line. Each command imports what it runs only when it runs, so that --help answers at once."""

import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from cli.console import fail
from jobs.errors import NuwaError

app = typer.Typer(
    name="nuwa",
    help="Draws pictures of any size from a prompt, patch by patch, and shows each patch as soon as it exists.",
    epilog="Begin with `nuwa serve`, or, without a server, with `nuwa generate 'a lake at dawn' -o lake.png`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Left out on the command line, a setting comes from the environment, and then from jobs/settings.py.
Host = Annotated[
    str | None,
    typer.Option(envvar="NUWA_HOST", show_default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all networks."),
]
Port = Annotated[
    int | None,
    typer.Option(envvar="NUWA_PORT", show_default="8000", min=0, max=65_535, help="Port; 0 takes a free one."),
]
Data = Annotated[
    Path | None,
    typer.Option(envvar="NUWA_DATA", show_default="the user's own", help="Folder for the queue and the pictures."),
]
Weights = Annotated[
    Path | None, typer.Option(envvar="NUWA_WEIGHTS", show_default="the shipped one", help="Folder of the model.")
]


class Engine(StrEnum):
    """What draws."""

    TORCH = "torch"
    TILE = "tile"


Drawing = Annotated[
    Engine | None,
    typer.Option(
        envvar="NUWA_ENGINE", show_default="torch", help="torch: the model. tile: plain tiles, to try things out."
    ),
]


@app.command(epilog="Example: `nuwa serve --port 8123 --no-open --data /srv/nuwa`")
def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    weights: Weights = None,
    engine: Drawing = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes: one is right without GPUs.")] = 1,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page when it is ready.")] = True,
) -> None:
    """Run everything on this machine: Redis, a worker, and the gateway with its page.

    Redis is the one that **REDIS_URL** names, or one that is started here and ends with this command: `redis-server`
    or `valkey-server` if installed, else a bundled one. Accepted jobs are kept in the data folder and survive a
    restart. Ctrl-C stops everything.
    """
    from cli.serve import serve as run

    run(host, port, data, weights, engine, workers, open_page)


@app.command(epilog="Example: `REDIS_URL=redis://queue:6379 nuwa gateway --host 0.0.0.0`")
def gateway(host: Host = None, port: Port = None) -> None:
    """Run the gateway alone: HTTP interface, event streams and page. Needs REDIS_URL, and a worker somewhere.

    More settings are environment variables: docs/operations.md lists them.
    """
    from cli.roles import run_gateway

    run_gateway(host, port)


@app.command(epilog="Example: `REDIS_URL=redis://queue:6379 nuwa worker --weights /srv/weights`")
def worker(
    weights: Weights = None,
    engine: Drawing = None,
    check: Annotated[bool, typer.Option("--check", help="Only ask whether a worker is alive: status 0 or 1.")] = False,
) -> None:
    """Run one worker: it takes jobs from Redis (REDIS_URL), draws them and publishes each patch.

    SIGTERM lets it finish the patches in hand and give its jobs back, for another worker to go on with. More settings
    are environment variables: docs/operations.md lists them.
    """
    from cli.roles import check_worker, run_worker

    if check:
        check_worker()
    else:
        run_worker(weights, engine)


@app.command(
    epilog="Example: `nuwa generate 'a quiet lake at dawn, mist' -o dawn.png --width 1024 --seed 7`, or a film: "
    "`nuwa generate 'dunes at noon, the camera pans right' --frames 24 --width 256 -o dunes.mp4`"
)
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the picture shows; may be left out.")] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .png, .webp or .jpeg; films .mp4, .webm, .webp or .gif.")
    ] = Path("nuwa.png"),
    task: Annotated[
        str | None, typer.Option(show_default="from the rest", help="text_to_image, text_to_video, image_animation ...")
    ] = None,
    width: Annotated[int | None, typer.Option(show_default="512", help="Pixels; any size.")] = None,
    height: Annotated[int | None, typer.Option(show_default="256", help="Pixels; any size.")] = None,
    frames: Annotated[int | None, typer.Option(show_default="16 of a film", help="Of a film.")] = None,
    fps: Annotated[int | None, typer.Option(show_default="8 of a film", help="Frames a second, of a film.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="A picture: the first frame of a film, or what is extended or repainted."),
    ] = None,
    extend: Annotated[
        str | None, typer.Option(help="Pixels to add to it, as left=64,right=128; or give --width and --height.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A picture as large as it: what is white is drawn anew, all else stays.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same request and seed: same picture. Left out: drawn.")] = None,
    order: Annotated[str, typer.Option(help="auto, omega, omega_star, zeta or zeta_star.")] = "auto",
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token, 1 draws as trained.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep only the k likeliest tokens; 0 keeps all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens that hold this probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Keep tokens so many times as likely as the likeliest.")] = None,
    later_min_p: Annotated[
        float | None, typer.Option(show_default="0.3", help="The same in a film's frames after the first.")
    ] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="How closely to follow the prompt; 1 is off.")] = None,
    distilled: Annotated[
        bool, typer.Option("--distilled", help="Faster, in one pass; follows the prompt a little less.")
    ] = False,
    server: Annotated[str | None, typer.Option(help="Address of a running server to draw there instead.")] = None,
    weights: Weights = None,
    engine: Drawing = None,
) -> None:
    """Draw one picture or film into a file, here and without a server, or on a running one with --server.

    The file holds prompt, seed and model; the same seed gives the same picture, here and on a server of the same kind.
    """
    from cli.generate import generate as run

    sampling = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "later_min_p": later_min_p,
        "cfg_scale": cfg_scale,
        "distilled": distilled or None,
    }
    given = {name: value for name, value in sampling.items() if value is not None}
    request: dict[str, object] = {
        "prompt": prompt,
        "task": task,
        "width": width,
        "height": height,
        "frames": frames,
        "fps": fps,
        "extend": None if extend is None else dict(side.partition("=")[::2] for side in extend.split(",")),
    }
    request |= {"seed": seed, "order": order, "sampling": given}
    asked = {name: value for name, value in request.items() if value is not None}
    run(asked, out, image, mask, server, weights, engine)


@app.command(epilog="Example: `nuwa models --server http://127.0.0.1:8000`")
def models(
    server: Annotated[str, typer.Option(help="Address of a running server.")] = "http://127.0.0.1:8000",
) -> None:
    """List the models that a running server offers, with their limits."""
    from cli.generate import list_models

    list_models(server)


@app.command(epilog="Example: `nuwa pyramid panorama.png`")
def pyramid(
    picture: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A PNG of any size.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", show_default="beside it, .tif", help="File.")] = None,
) -> None:
    """Turn a huge PNG into a tiled BigTIFF pyramid, which viewers open at once. Needs the extra `pyramid`."""
    from cli.console import say
    from workers.pyramid import write_pyramid

    target = out or picture.with_suffix(".tif")
    try:
        write_pyramid(picture, target)
    except (RuntimeError, ValueError) as error:
        raise fail(str(error)) from None
    say(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


# The commands of training have parsers of their own, which are handed the words as they are, --help among them.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train your own weights: tokenizer, then transformer. Needs what `make setup` installs."""
    _training("training.cli").train(context.args, prog_name="nuwa train")


@app.command(context_settings=PASSED_ON, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure weights on scenes and photographs never trained on. Needs what `make setup` installs."""
    _training("training.evaluation.cli").app(context.args, prog_name="nuwa evaluate")


def _training(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise fail(f"Training needs {missing.name}, which is not installed here: make setup") from None


def main() -> None:
    """`nuwa`. What this project raises for people to read is said in one line, without a stack trace."""
    try:
        app()
    except NuwaError as error:
        fail(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
