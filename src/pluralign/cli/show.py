"""``pluralign show KEY``: one method."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import catalog
from .console import JsonOption, print_json, print_table


def show(
    key: Annotated[str, typer.Argument(help="Key of a method; see `pluralign list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show one method: objects, needs, status, page and paper."""
    method = catalog.find(key)
    paper = method.paper
    record = {
        "key": method.key,
        "title": method.title,
        "problem": method.problem,
        "verb": method.verb,
        "status": method.status,
        "objects": [f"pluralign.{part.name}" for part in method.parts],
        "needs": method.needs,
        "extra": method.extra,
        "page": method.page,
        "paper": f"{', '.join(paper.authors)} ({paper.year}). {paper.title}."
        + (f" arXiv {paper.arxiv}." if paper.arxiv else ""),
    }
    if as_json:
        print_json(record)
        return
    rows = [(name, ", ".join(v) if isinstance(v, list) else v) for name, v in record.items()]
    print_table(method.title, ("field", "what"), rows)
