"""What every scorer takes and gives: responses in, one row of attributes each out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast, final, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError
from ...rules import shown
from ..sampling.base import Prompt


class Item(NamedTuple):
    """A response to be scored, with the prompt that it answers."""

    prompt: Prompt
    response: str


@final
class Scores:
    """Attributes of N responses, higher is more; checked on construction.

    Args:
        names: the d attributes, in the order of the columns; unique.
        values: (N, d) in the scorer's own units; finite wherever ``ok``.
        ok: (N,) whether a response could be scored; ``None`` for all. A row that is not ok
            holds NaN, whatever was given, so that nothing can be chosen by it.

    Raises:
        DataError: for shapes that do not fit, or a value that is not finite in a row that
            claims to be ok, with its row and attribute.

    Example:
        >>> scores = Scores(("length",), [[3.0], [0.0]], ok=[True, False])
        >>> scores.values.tolist()
        [[3.0], [nan]]
    """

    __slots__ = ("names", "ok", "values")

    names: tuple[str, ...]
    values: NDArray[np.float64]
    ok: NDArray[np.bool_]

    def __init__(
        self, names: Sequence[str], values: ArrayLike, ok: ArrayLike | None = None
    ) -> None:
        self.names = tuple(names)
        self.values = np.array(values, dtype=np.float64)
        if not self.values.size and self.values.ndim < 2:
            self.values = self.values.reshape(0, len(self.names))
        self.ok = (
            np.ones(len(self.values), dtype=np.bool_)
            if ok is None
            else np.array(ok, dtype=np.bool_)
        )
        self._check()
        self.values[~self.ok] = np.nan

    def _check(self) -> None:
        d = len(self.names)
        if not d or len(set(self.names)) < d or not all(self.names):
            raise DataError(f"names of scores must be unique and not empty; got {self.names}.")
        if self.values.ndim != 2 or self.values.shape[1] != d:
            raise DataError(
                f"scores of {d} attributes ({', '.join(self.names)}) must have shape (N, {d}); "
                f"got {self.values.shape}."
            )
        if self.ok.shape != (len(self.values),):
            raise DataError(
                f"ok must have one value for each of {len(self.values)} rows; "
                f"got shape {self.ok.shape}."
            )
        bad = np.argwhere(~np.isfinite(self.values) & self.ok[:, None])
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise DataError(
                f"score {shown(float(self.values[row, column]))} of attribute "
                f"{self.names[column]!r} in row {row} is not finite; a scorer marks what it "
                "cannot score with ok=False.",
                rows=sorted({int(i) for i in bad[:, 0]}),
            )

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Scores(names={self.names}, n={len(self)}, ok={int(self.ok.sum())})"


@runtime_checkable
class Scorer(Protocol):
    """Gives each response one value for each of its attributes.

    A row depends on its own item alone: not on the other items, their order or the size of
    a batch. Failure of one item makes that row not ok and leaves the others as they are.
    """

    @property
    def name(self) -> str:
        """What scores, for records."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, known before anything is scored."""
        ...

    def score(self, items: Sequence[Item]) -> Scores:
        """One row for each item, in order; no items give no rows."""
        ...


def check_items(items: Sequence[Item]) -> list[Item]:
    """The items, after refusing what no scorer can read.

    Raises:
        DataError: for a response that is not a text, with its row.
    """
    rows = cast(Sequence[Any], items)
    for row, item in enumerate(rows):
        if not isinstance(item, Item) or not isinstance(cast(Any, item).response, str):
            raise DataError(
                f"item {row} must be an Item(prompt, response) with a text; got {shown(item)}.",
                rows=[row],
            )
    return list(items)
