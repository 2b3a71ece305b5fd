"""Every exception and warning that pluralign raises on purpose.

::

    ValueError
    ├── ParameterError      a constructor or recipe value breaks its rule
    └── DataError           rows of the data cannot be used; names them
    TypeError
    └── IncompatibleError   two valid things do not fit together
    UserWarning
    ├── DataQualityWarning  usable data with a property that harms results
    └── ProvisionalWarning  a method without its full set of proofs yet

A message says which field, row or file, which value, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class ParameterError(ValueError):
    """One or more parameters break their rules; the message lists all of them."""


class DataError(ValueError):
    """Rows of the data cannot be used.

    Attributes:
        source: file or object that the rows came from.
        rows: zero-based numbers of the offending rows (lines minus one in JSONL).
        problems: what is wrong with which row, where that is known row by row; the message
            shows only the first of them.
        hint: what the message adds to them.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str = "",
        rows: Sequence[int] = (),
        problems: Sequence[tuple[int, str]] = (),
        hint: str = "",
    ) -> None:
        super().__init__(f"{source}: {message}" if source else message)
        self.source = source
        self.rows = tuple(rows)
        self.problems = tuple(problems)
        self.hint = hint


class IncompatibleError(TypeError):
    """Two valid objects do not fit: an objective and its data, a model and an engine."""


class DataQualityWarning(UserWarning):
    """The data can be used, but a property of it is known to harm results."""


class ProvisionalWarning(UserWarning):
    """The method works, but not all of oracle, laws, reproduction and page exist."""
