"""The ``pluralign`` command: subcommands, and one place where errors become exit codes.

Exit codes: 0 done, 1 a check failed or a server is gone, 2 the input is wrong.
"""

from __future__ import annotations

import os
import sys
import warnings

import typer

from .. import __version__
from ..errors import DataError, IncompatibleError, ParameterError
from . import (
    audit,
    check,
    cite,
    decide,
    drivers,
    env,
    list_,
    plan,
    precompute,
    run,
    sample,
    show,
    steer,
    studio,
)
from .console import FAILED, WRONG_INPUT, console, fail

EXTRAS = {
    **dict.fromkeys(
        (
            "accelerate",
            "datasets",
            "huggingface_hub",
            "peft",
            "pyarrow",
            "safetensors",
            "tokenizers",
            "transformers",
        ),
        "language",
    ),
    **dict.fromkeys(("httpx", "pyphen", "vaderSentiment"), "steer"),
    **dict.fromkeys(("pandas", "sklearn"), "tabular"),
    "gguf": "smollm2",
    "gradio": "studio",
    "trl": "trl",
}
"""Which extra brings an optional package."""

app = typer.Typer(
    name="pluralign",
    help="Preference learning that does not stop at the average.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(list_.list_methods)
app.command("show")(show.show)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("precompute")(precompute.precompute)
app.command("audit")(audit.audit)
app.command("plan")(plan.plan)
app.command("sample")(sample.sample)
app.command("decide")(decide.decide)
app.command("drivers")(drivers.drivers)
app.command("steer")(steer.steer)
app.command("studio")(studio.studio)
app.command("cite")(cite.cite)
app.command("env")(env.env)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Preference learning that does not stop at the average."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit


def main() -> None:
    """Run the command line; wrong input ends with one message and exit code 2."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.formatwarning = _one_line
    try:
        app()
    except ConnectionError as error:  # nothing is wrong with the input; what is done is kept
        fail(str(error))
        sys.exit(FAILED)
    except (ParameterError, DataError, IncompatibleError, OSError) as error:
        fail(str(error))
        sys.exit(WRONG_INPUT)
    except ImportError as error:
        advice = _missing_package(error)
        if advice is None:
            raise
        fail(advice)
        sys.exit(WRONG_INPUT)


def _missing_package(error: ImportError) -> str | None:
    """What to install, if the error is no more than an optional package that is not there."""
    if "pip install" in str(error):
        return str(error)
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in EXTRAS:
        return f"this needs the package {package}: pip install 'pluralign[{EXTRAS[package]}]'"
    return None


def _one_line(message: Warning | str, category: type[Warning], *_: object, **__: object) -> str:
    return f"{category.__name__}: {message}\n"
