"""``pluralign env``: what a bug report needs."""

from __future__ import annotations

from .. import __version__
from ..provenance import machine, versions
from .console import JsonOption, print_json, print_table


def env(as_json: JsonOption = False) -> None:
    """Show versions of everything that matters, and the machine."""
    record = {"pluralign": __version__, **versions(), **machine()}
    if as_json:
        print_json(record)
    else:
        print_table("environment", ("what", "value"), record.items())
