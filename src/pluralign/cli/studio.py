"""``pluralign studio RUN_DIR``: turn the direction of a run in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import console


def studio(
    run_dir: Annotated[
        str, typer.Argument(metavar="RUN_DIR", help="What pluralign steer left, also unfinished.")
    ],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the page; a free one if not given.")
    ] = None,
    browse: Annotated[bool, typer.Option("--browse", help="Open the page in the browser.")] = False,
) -> None:
    """Serve a page on this machine on which candidates are ranked by any direction."""
    from ..study.studio import serve

    serve(run_dir, port=port, browse=browse, ready=_say)


def _say(address: str) -> None:
    console.print(f"studio: {address} (this machine only; Ctrl-C ends it)", highlight=False)
