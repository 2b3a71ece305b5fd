"""``pluralign list``: the methods, by verb."""

from __future__ import annotations

from .. import catalog
from .console import JsonOption, print_json, print_table


def list_methods(as_json: JsonOption = False) -> None:
    """List the methods: what each is for and how far it is."""
    rows = [
        {
            "key": method.key,
            "verb": method.verb,
            "status": method.status,
            "title": method.title,
            "problem": method.problem,
            "baseline": method.baseline,
        }
        for method in catalog.METHODS
    ]
    if as_json:
        print_json(rows)
        return
    columns = ("key", "verb", "status", "problem")
    print_table("methods", columns, ([row[name] for name in columns] for row in rows))
