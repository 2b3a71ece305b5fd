"""``pluralign cite KEY...``: BibTeX of the methods in use."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import catalog
from .console import JsonOption, print_json


def cite(
    keys: Annotated[list[str], typer.Argument(help="Keys of methods; see `pluralign list`.")],
    as_json: JsonOption = False,
) -> None:
    """Print BibTeX for methods."""
    entries = {key: catalog.find(key).paper.bibtex() for key in keys}
    if as_json:
        print_json(entries)
    else:
        typer.echo("\n\n".join(entries.values()))
