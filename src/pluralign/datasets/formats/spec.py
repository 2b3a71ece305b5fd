"""What a format is: how its rows are recognised and how they become pairs."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from .fields import Record, Row
from .options import PairRules

Convert: TypeAlias = Callable[[Sequence[Row], PairRules, random.Random], Iterable[Record]]
"""Rows that belong together (mostly one), the rules and a source of chance, to pairs."""

CHANCE: Mapping[str, tuple[Any, ...]] = {
    "pairing": ("random", "lowest", "rest", "all"),
    "seed": (0,),
}
"""Options of every format with several scored responses a prompt."""


@final
@dataclass(frozen=True, kw_only=True)
class Format:
    """One shape in which the field stores preferences.

    Args:
        name: what ``format=`` says.
        title: which sets have it, in one line.
        columns: what the rows must have.
        telling: further columns that, with those, tell the format safely; ``None`` if
            columns cannot tell it.
        convert: from rows that belong together to pairs. It may raise ``RowError``.
        options: options that have an effect, each with its values, the default first; a
            single value is a default only.
        unit: key of rows that are converted together; otherwise each row is by itself.
        scattered: whether rows of one unit may stand anywhere, so that all must be read.
        annotator: column that names the rater, unless the reader is told otherwise.
        domain: likewise for where a pair came from.
        attributes: numeric columns that the pairs get.
        keys: columns that match the rows of a second table (``join``).
        files: names, in a directory, of the rows and of that second table.
        lacking: what to say when no row gives a pair.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    convert: Convert
    telling: tuple[str, ...] | None = ()
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    unit: Callable[[Row], Hashable] | None = None
    scattered: bool = False
    annotator: str | None = None
    domain: str | None = None
    attributes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    files: tuple[str, str] | None = None
    lacking: str = "no row gives a pair."

    def told_by(self, columns: Iterable[object]) -> bool:
        """Whether these columns tell the format."""
        return self.telling is not None and {*self.columns, *self.telling} <= set(columns)
