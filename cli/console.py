"""What commands say to a person: plain lines on standard output, what went wrong on standard error."""

import typer


def say(message: str) -> None:
    typer.echo(message)


def warn(message: str) -> None:
    typer.secho(message, err=True, fg=typer.colors.YELLOW)


def fail(message: str) -> typer.Exit:
    """Say what is wrong and how to go on; the exception ends the command with status 1: `raise fail(...)`."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(1)
