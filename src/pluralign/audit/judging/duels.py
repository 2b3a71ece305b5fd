"""What is judged and what judges say: pairs of answers, and one verdict for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...rows import frozen_text, raise_rows, text_problem
from ...rules import shown

if TYPE_CHECKING:
    from ...engines.sampling.base import Prompt

Floats: TypeAlias = NDArray[np.float64]

_VALUES = (0.0, 0.5, 1.0)
_COLUMNS = ("prompt", "a", "b", "group", "cluster")


@final
@dataclass(frozen=True, eq=False)
class Duels:
    """N prompts with an answer of each of two arms, to be compared.

    Use it for any two systems, models or ways of sampling. The same prompt may stand in
    several rows (directions, repeated samples); intervals then treat these as one cluster.

    Args:
        prompt: N texts, or conversations (messages with ``role`` and ``content``).
        a: N answers of the first arm; an empty one may be judged, and should lose.
        b: N answers of the second arm.
        group: N names of whom each row concerns.
        cluster: N names of what rows share; equal prompts share one if not given.
        names: names of the arms.
        source: where they came from, for messages.

    Raises:
        DataError: naming the rows.

    Example:
        >>> duels = Duels(["2+2?"], a=["4"], b=["Four, I believe."], names=("short", "long"))
        >>> len(duels), duels.words().tolist()
        (1, [[1, 3]])
    """

    prompt: Sequence[Prompt]
    a: Sequence[str]
    b: Sequence[str]
    group: Sequence[str] | None = None
    cluster: Sequence[str] = ()
    names: tuple[str, str] = ("a", "b")
    source: str = "duels"

    def __post_init__(self) -> None:
        size = len(self.prompt)
        if not size:
            raise DataError("there is nothing to judge; give at least one row.", source=self.source)
        freeze = object.__setattr__
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is None or (name == "cluster" and not len(column)):
                continue
            if isinstance(column, str) or len(column) != size:
                raise DataError(
                    f"{name} must have one value for each of {size} prompts; got {shown(column)}.",
                    source=self.source,
                )
            freeze(self, name, tuple(map(frozen_text, column)))
        problems = [problem for name in ("prompt", "a", "b") for problem in self._problems(name)]
        raise_rows(problems, self.source, size)
        if len({*self.names}) != 2 or not all(self.names):
            raise DataError(f"names must be two different names; got {shown(self.names)}.")
        if not self.cluster:
            freeze(self, "cluster", tuple(map(_content, self.prompt)))

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        names: tuple[str, str] = ("a", "b"),
        source: str = "records",
    ) -> Duels:
        """Build from rows with ``prompt`` and a column named as each arm; ``group`` is read too.

        Raises:
            DataError: naming rows that lack a column.
        """
        rows = list(records)
        wanted = ("prompt", *names, *(("group",) if rows and "group" in rows[0] else ()))
        lacking = [
            (i, f"lacks {n!r}") for i, row in enumerate(rows) for n in wanted if n not in row
        ]
        raise_rows(lacking, source, len(rows))
        columns = [[row[name] for row in rows] for name in wanted]
        return cls(*columns, names=names, source=source)

    def __len__(self) -> int:
        return len(self.prompt)

    def select(self, index: Sequence[int] | NDArray[Any]) -> Duels:
        """The rows at ``index`` (integers or a boolean mask)."""
        rows = np.arange(len(self))[np.asarray(index)].tolist()
        columns = {name: getattr(self, name) for name in _COLUMNS}
        kept = {n: None if c is None else [c[i] for i in rows] for n, c in columns.items()}
        return replace(self, **kept)

    def swapped(self) -> Duels:
        """The same rows with the arms exchanged."""
        first, second = self.names
        return replace(self, a=self.b, b=self.a, names=(second, first))

    def words(self) -> NDArray[np.int64]:
        """Words of both answers, int64 ``(N, 2)``."""
        both = zip(self.a, self.b, strict=True)
        return np.array([[len(text.split()) for text in pair] for pair in both], dtype=np.int64)

    def fingerprint(self) -> str:
        """SHA-256 of prompts and answers in order."""
        rows = [[_content(p), *pair] for p, *pair in zip(self.prompt, self.a, self.b, strict=True)]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()

    def _problems(self, name: str) -> Iterator[tuple[int, str]]:
        for row, text in enumerate(getattr(self, name)):
            if name != "prompt" and not isinstance(text, str):
                yield row, f"{name} must be a text; got {shown(text)}"
                continue
            problem = text_problem(text, empty_allowed=name != "prompt")
            if problem:
                yield row, f"{name} {problem}"


def _content(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else json.dumps([dict(turn) for turn in prompt])


@final
@dataclass(frozen=True, eq=False)
class Verdicts:
    """What one judge said of N duels.

    Args:
        a_wins: float64 ``(N,)``: 1.0 where the first arm won, 0.5 for a tie, 0.0 where the
            second won, NaN where there is no verdict.
        errors: N reasons why there is no verdict; empty where there is one.
        judge: who judged, for records.
        first_shown: float64 ``(N,)``: how often the answer shown first was preferred (over
            the orders that were asked, ties half); ``None`` where answers have no order.

    Raises:
        DataError: for values other than these, or a missing verdict without a reason.

    Example:
        >>> Verdicts(np.array([1.0, np.nan]), ("", "timed out"), "example").missing()
        1
    """

    a_wins: Floats
    errors: Sequence[str]
    judge: str
    first_shown: Floats | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.a_wins, dtype=np.float64)
        if values.ndim != 1 or len(self.errors) != len(values):
            raise DataError(
                f"a_wins must be (N,) with one error text each; got shape {values.shape} and "
                f"{len(self.errors)} errors."
            )
        unsaid = np.isnan(values)
        bad = ~(unsaid | np.isin(values, _VALUES)) | (unsaid != np.array([*map(bool, self.errors)]))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"row {row}: a verdict is 1.0, 0.5 or 0.0 without an error, or NaN with one; got "
                f"{values[row]} and {self.errors[row]!r}.",
                rows=np.flatnonzero(bad).tolist(),
            )
        object.__setattr__(self, "a_wins", values)
        object.__setattr__(self, "errors", tuple(self.errors))

    def __len__(self) -> int:
        return len(self.a_wins)

    def missing(self) -> int:
        """Duels without a verdict."""
        return int(np.isnan(self.a_wins).sum())

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` reads them back."""
        shown_first = self.first_shown
        return {
            "judge": self.judge,
            "a_wins": _plain(self.a_wins),
            "errors": list(self.errors),
            "first_shown": None if shown_first is None else _plain(shown_first),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Verdicts:
        """The verdicts of :meth:`to_json`."""
        first = record["first_shown"]
        return cls(
            np.array(record["a_wins"], dtype=np.float64),
            record["errors"],
            record["judge"],
            None if first is None else np.array(first, dtype=np.float64),
        )


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


@runtime_checkable
class Judge(Protocol):
    """Says of each duel which answer is better, by its own standard."""

    def __call__(self, duels: Duels) -> Verdicts:
        """One verdict for each duel, in order; a failure is an error, never a tie."""
        ...
