"""What a text consists of: sentences, words, and scores of one text at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .base import Item, Scores, check_items

# A full stop within a number or a name such as "e.g." is followed by no blank.
_PART = re.compile(r"[^\n]+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|(?=\n)|$)")
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


def sentences(text: str) -> list[str]:
    """Parts of a text, split after ``. ! ? …`` and at line ends.

    Lines end sentences so that a list is not read as one. Abbreviations before a blank
    ("Dr. No") are taken for an end too.

    Example:
        >>> sentences("Pi is 3.14. Is it? Yes")
        ['Pi is 3.14.', 'Is it?', 'Yes']
    """
    return [part.strip() for part in _PART.findall(text) if part.strip()]


def words(text: str) -> list[str]:
    """Runs of letters and digits; apostrophes and hyphens within a word belong to it.

    Example:
        >>> words("It's a well-known fact.")
        ["It's", 'a', 'well-known', 'fact']
    """
    return _WORD.findall(text)


def one_by_one(name: str, items: Sequence[Item], value: Callable[[str], float | None]) -> Scores:
    """Scores of one attribute that is a function of the response; ``None`` is not ok."""
    found = [value(item.response) for item in check_items(items)]
    rows = [[0.0 if one is None else one] for one in found]
    return Scores((name,), rows, [one is not None for one in found])
