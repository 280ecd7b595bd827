# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The `catseg` command. Each subcommand is one function, here or in a room; what it needs is imported when it runs."""

import gc
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from catseg_hf import __version__
from catseg_hf.app.evaluate_command import evaluate
from catseg_hf.app.segment_command import segment
from catseg_hf.command_options import MODEL_HELP, ViewsOption, with_option_groups
from catseg_hf.service.serve_command import serve


# Raised with a message for people; of others, the kind is said too.
PLAIN_ERRORS = (ImportError, OSError, TypeError, ValueError)

app = typer.Typer(
    name="catseg",
    help="Segment photos into classes that you name in your own words.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def print_version(requested: bool) -> None:
    """Prints the version and ends, where `--version` is given."""
    if requested:
        typer.echo(f"catseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; may stand anywhere in the command.")
    ] = False,
) -> None:
    """Options of the command itself; `--debug` is read by `main`."""


app.command()(with_option_groups(segment))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    help="Convert an original checkpoint: `catseg convert CHECKPOINT OUTPUT`. `--help` lists the options.",
)
def convert(context: typer.Context) -> None:
    """Hands everything to `python -m convert`, whose options it shares."""
    from catseg_hf.conversion.command import main as convert_main

    raise typer.Exit(convert_main(context.args))


app.command()(with_option_groups(evaluate))


app.command()(serve)


@app.command()
def demo(
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "tiny",
    views: ViewsOption = None,
    host: Annotated[
        str, typer.Option(help="Where the page is served; 0.0.0.0 lets other machines see it.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the page.", show_default="the first free one from 7860")
    ] = None,
) -> None:
    """Start a web page: choose a photo, type labels, see overlay, scores and heat maps. Ctrl-C ends it."""
    from catseg_hf.app.web_page import build_page, start_page

    page = build_page(model, views)
    typer.echo(f"Open {start_page(page, host, port)}")
    page.block_thread()


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="The model's folder.", exists=True, file_okay=False)],
    name: Annotated[str, typer.Argument(help="Its name on the Hub, owner/name; made if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="If it is made: only for you.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch; made if it does not exist.")] = None,
    commit_message: Annotated[str | None, typer.Option(help="What the commit is called.")] = None,
    endpoint: Annotated[
        bool,
        typer.Option("--endpoint", help="Add what a Hugging Face Inference Endpoint needs."),
    ] = False,
) -> None:
    """Upload a model with its processor, tokenizer and card to the Hub, in one commit.

    Log in first, with `hf auth login`.
    """
    from catseg_hf.hub import push_folder

    typer.echo(f"Pushed to {push_folder(folder, name, private, revision, commit_message, endpoint=endpoint)}")


@app.command()
def info(
    model: Annotated[
        str | None, typer.Argument(help=f"{MODEL_HELP} Without it, versions and devices are shown.")
    ] = None,
) -> None:
    """Show what a model is, or what this installation is."""
    from catseg_hf.hub import describe_installation, describe_model, find_model

    for name, value in describe_installation() if model is None else describe_model(find_model(model)):
        typer.echo(f"{name:<14}{value}")


def main() -> None:
    """Entry point of the `catseg` command: errors become one message and exit code 1."""
    # Imports make half a million objects that stay. With Python's own settings (700, 10), looking through them for
    # garbage again and again takes a seventh of the start.
    gc.set_threshold(10_000, 100)
    # Taken out here, so that it may stand behind the subcommand as well.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        kind = "" if isinstance(error, PLAIN_ERRORS) else f"{type(error).__name__}: "
        typer.echo(f"Error: {kind}{error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
