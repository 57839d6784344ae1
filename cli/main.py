"""`nuwa`: the command line. Each command imports what it runs only when it runs, so that --help answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="nuwa",
    help="Draws pictures of any size from a prompt, patch by patch, and shows each patch as soon as it exists.",
    epilog="Begin with `nuwa serve`, or, without a server, with `nuwa generate 'snowy mountains at sunset' -o mountains.png`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Host = Annotated[str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in: there are no accounts.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")]
Data = Annotated[Path, typer.Option(envvar="NUWA_DATA_DIR", help="Folder for the queue and the finished pictures.")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(envvar="NUWA_CHECKPOINT", help="Folder with the weights.", show_default="the weights of the repository"),
]


def fail(message: str) -> typer.Exit:
    """Say what is wrong and how to go on, and end with status 1: `raise fail(...)`."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(1)


@app.command(epilog="Example: `nuwa serve --port 8123 --no-open --data /srv/nuwa`")
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = Path("data"),
    workers: Annotated[int, typer.Option(min=1, help="Worker processes; one for each GPU, one on a processor.")] = 1,
    checkpoint: Checkpoint = None,
    engine: Annotated[
        str, typer.Option(envvar="NUWA_ENGINE", help="torch, or tile: plain tiles without a model, to try things out.")
    ] = "torch",
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser once it is ready.")] = True,
) -> None:
    """Run everything on this machine: Redis, workers and the gateway with its page.

    Redis is the one of **REDIS_URL** if that is set. Otherwise one is started for as long as this command runs: `redis-server`
    or `valkey-server` if installed, else a bundled one. Accepted jobs are kept in the data folder and survive a restart.
    Ctrl-C stops everything; work in hand goes on at the next start.
    """
    from cli.serve import serve as run

    run(host, port, data, workers, checkpoint, engine, open_page)


@app.command(epilog="Example: `REDIS_URL=redis://queue:6379/0 nuwa gateway --host 0.0.0.0`")
def gateway(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the gateway alone: HTTP interface, event streams and page. Needs REDIS_URL, and a worker somewhere.

    Its settings are environment variables: see docs/operations.md.
    """
    from cli.serve import gateway as run

    run(host, port)


@app.command(epilog="Example: `REDIS_URL=redis://queue:6379/0 nuwa worker`")
def worker(
    check: Annotated[bool, typer.Option("--check", help="Only ask whether this machine's worker is alive: status 0 or 1.")] = False,
) -> None:
    """Run one worker: it takes jobs from Redis (REDIS_URL), draws them and publishes each patch.

    Its settings are environment variables: see docs/operations.md. SIGTERM lets it finish the patches in hand and give its jobs
    back, for another worker to go on with.
    """
    from cli.serve import check_worker
    from cli.serve import worker as run

    if check:
        check_worker()
    else:
        run()


@app.command(epilog="Example: `nuwa generate 'a quiet lake at dawn, mist' -o dawn.png --width 1024 --seed 7`")
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the picture shows. Left out: whatever the model likes.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .webp or .jpeg.")] = Path("nuwa.png"),
    width: Annotated[int, typer.Option(help="Pixels; any size.")] = 512,
    height: Annotated[int, typer.Option(help="Pixels; any size.")] = 256,
    seed: Annotated[int | None, typer.Option(help="Same request and seed: same picture. Left out: drawn.")] = None,
    order: Annotated[str, typer.Option(help="auto, omega, omega_star, zeta or zeta_star.")] = "auto",
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token, 1 draws as trained.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep only the k likeliest tokens; 0 keeps all.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens that together hold this probability.")] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="How closely to follow the prompt; 1 is off.")] = None,
    server: Annotated[str | None, typer.Option(help="Address of a running server to draw there instead.")] = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Draw one picture into a file, here and without a server, or on a running one with --server.

    The file holds prompt, seed and model; the same seed gives the same picture, here and on a server of the same kind.
    """
    from cli.generate import generate as run

    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "cfg_scale": cfg_scale}
    request = {"prompt": prompt, "width": width, "height": height, "seed": seed, "order": order}
    request["sampling"] = {name: value for name, value in sampling.items() if value is not None}
    run({name: value for name, value in request.items() if value is not None}, out, server, checkpoint)


@app.command(epilog="Example: `nuwa models --server http://127.0.0.1:8000`")
def models(
    server: Annotated[str, typer.Option(help="Address of a running server.")] = "http://127.0.0.1:8000",
) -> None:
    """List the models that a running server offers, with their limits."""
    from cli.generate import list_models

    list_models(server)


# The commands of training have parsers of their own, which are handed the words as they are, --help among them.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train a model: `nuwa train tokenizer`, then `nuwa train transformer`. Needs the train extra (`make setup`)."""
    _pass_on(context.args or ["--help"], "nuwa train")


@app.command(context_settings=PASSED_ON, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure a checkpoint: tokenizer PSNR, transformer loss, samples. Needs the train extra (`make setup`)."""
    _pass_on(["evaluate", *context.args], "nuwa")


def _pass_on(words: list[str], name: str) -> None:
    try:
        from training.cli import app as training_app
    except ModuleNotFoundError as missing:
        raise fail(f"Training needs the package {missing.name!r}, which is not installed here: make setup") from missing
    training_app(words, prog_name=name)


if __name__ == "__main__":
    sys.exit(app())
