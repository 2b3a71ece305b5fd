"""``Preferences``: what people said, with who said it, from the file to the report.

Group, annotator, weight and pair id stay in one row order all the way; nobody looks
them up again. The tensors that models and objectives see are in ``scores``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .rows import flags, frozen_text, numbers, raise_rows, read_jsonl, take_column, text_problem

Message: TypeAlias = Mapping[str, Any]
"""One chat turn with at least ``role`` and ``content``."""

Text: TypeAlias = str | tuple[Message, ...] | tuple[int, ...]
"""A string, a conversation (a tuple of messages) or token ids."""

TEXT_COLUMNS = ("prompt", "chosen", "rejected")
LABEL_COLUMNS = ("group", "annotator", "domain")
NUMBER_COLUMNS = ("weight", "label_prob", "flip_rate")


@final
@dataclass(frozen=True, eq=False)
class Preferences:
    """Preference pairs with who gave them; validated once, immutable after.

    Use :meth:`from_records` or :meth:`from_jsonl`, or the readers in
    ``pluralign.datasets`` for other shapes. Columns that are absent are ``None``.

    Args:
        prompt: N texts (strings, conversations or token ids).
        chosen: N preferred responses, of the same kind of text as the prompts.
        rejected: N other responses.
        group: N names of who the rater is or whom the pair affects.
        annotator: N names of single raters.
        domain: N names of where the pair came from.
        weight: N finite non-negative weights.
        label_prob: N probabilities in [0, 1] that chosen is truly preferred.
        flip_rate: N probabilities in [0, 0.5) that the label is reversed.
        chosen_first: N flags: was the chosen response shown first?
        attributes: further numeric columns of length N by name.
        pair_id: N unique names; row numbers if not given.
        source: file or object that the pairs came from, for messages.

    Raises:
        DataError: naming the rows, the column, the value and what to do.

    Example:
        >>> pairs = Preferences.from_records(
        ...     [{"prompt": "2+2?", "chosen": "4", "rejected": "5", "region": "north"}],
        ...     group="region",
        ... )
        >>> len(pairs), pairs.group_sizes()
        (1, {'north': 1})
    """

    prompt: Sequence[Text]
    chosen: Sequence[Text]
    rejected: Sequence[Text]
    group: Sequence[str] | None = None
    annotator: Sequence[str] | None = None
    domain: Sequence[str] | None = None
    weight: NDArray[np.float64] | None = None
    label_prob: NDArray[np.float64] | None = None
    flip_rate: NDArray[np.float64] | None = None
    chosen_first: NDArray[np.bool_] | None = None
    attributes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, Any])
    pair_id: Sequence[str] = ()
    source: str = "preferences"

    def __post_init__(self) -> None:
        size = len(self.prompt)
        if not size:
            raise DataError("there are no pairs; give at least one row.", source=self.source)
        freeze = object.__setattr__
        for name in TEXT_COLUMNS:
            freeze(self, name, tuple(frozen_text(text) for text in getattr(self, name)))
        for name in LABEL_COLUMNS:
            if getattr(self, name) is not None:
                freeze(self, name, tuple(str(value) for value in getattr(self, name)))
        for name in NUMBER_COLUMNS:
            if getattr(self, name) is not None:
                freeze(self, name, numbers(getattr(self, name), name, self.source))
        if self.chosen_first is not None:
            freeze(self, "chosen_first", flags(self.chosen_first, "chosen_first", self.source))
        freeze(
            self, "attributes", {k: numbers(v, k, self.source) for k, v in self.attributes.items()}
        )
        freeze(self, "pair_id", tuple(map(str, self.pair_id)) or tuple(map(str, range(size))))
        self._validate(size)

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        group: str | None = None,
        annotator: str | None = None,
        domain: str | None = None,
        attributes: Sequence[str] = (),
        source: str = "records",
    ) -> Preferences:
        """Build from rows that have ``prompt``, ``chosen`` and ``rejected``.

        Args:
            records: mappings; ``weight``, ``label_prob``, ``flip_rate``, ``chosen_first``
                and ``id`` are read where a row has them.
            group: column to use as ``group`` (default: a column of that name, if present).
            annotator: column to use as ``annotator``, likewise.
            domain: column to use as ``domain``, likewise.
            attributes: numeric columns to keep.
            source: name for messages.

        Raises:
            DataError: rows that lack a column or hold a value of the wrong kind.
        """
        rows = list(records)
        named = {"group": group, "annotator": annotator, "domain": domain}
        columns: dict[str, Any] = {
            name: take_column(rows, name, source, required=True) for name in TEXT_COLUMNS
        }
        for name, column in named.items():
            columns[name] = take_column(rows, column or name, source, required=column is not None)
        for name in (*NUMBER_COLUMNS, "chosen_first"):
            columns[name] = take_column(rows, name, source)
        columns["attributes"] = {
            name: take_column(rows, name, source, required=True) for name in attributes
        }
        return cls(**columns, pair_id=take_column(rows, "id", source) or (), source=source)

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        *,
        group: str | None = None,
        annotator: str | None = None,
        domain: str | None = None,
        attributes: Sequence[str] = (),
    ) -> Preferences:
        """Build from a JSON Lines file; see :meth:`from_records` for the columns.

        Raises:
            DataError: naming the line of the first text that is not a JSON object.
            FileNotFoundError: if there is no such file.
        """
        return cls.from_records(
            read_jsonl(path),
            group=group,
            annotator=annotator,
            domain=domain,
            attributes=attributes,
            source=str(path),
        )

    def __len__(self) -> int:
        return len(self.prompt)

    def select(self, index: Sequence[int] | NDArray[Any]) -> Preferences:
        """The rows at ``index`` (integers, or a boolean mask of length N), in that order."""
        positions = np.asarray(index)
        if positions.dtype == np.bool_:
            positions = np.flatnonzero(positions)
        order = positions.astype(np.int64).tolist()
        chosen_rows: dict[str, Any] = {}
        for name in _row_columns():
            column = getattr(self, name)
            if isinstance(column, np.ndarray):
                chosen_rows[name] = column[order]
            elif column is not None:
                chosen_rows[name] = tuple(column[i] for i in order)
        chosen_rows["attributes"] = {k: v[order] for k, v in self.attributes.items()}
        return replace(self, **chosen_rows)

    def with_columns(self, **columns: Any) -> Preferences:
        """A copy with some columns replaced, validated anew."""
        return replace(self, **columns)

    def with_flip_rates(self, rates: Mapping[str, float]) -> Preferences:
        """A copy whose ``flip_rate`` is looked up by group.

        Raises:
            DataError: if there is no group column, or a group has no rate.
        """
        if self.group is None:
            raise DataError("flip rates by group need a 'group' column.", source=self.source)
        missing = sorted(set(self.group) - set(rates))
        if missing:
            raise DataError(
                f"no flip rate for group {missing[0]!r}; rates are given for {sorted(rates)}.",
                source=self.source,
            )
        return replace(self, flip_rate=np.array([rates[name] for name in self.group]))

    def group_sizes(self) -> dict[str, int]:
        """Number of pairs of each group, largest first; empty without a group column."""
        return dict(Counter(self.group or ()).most_common())

    def records(self) -> Iterator[dict[str, Any]]:
        """One dictionary per pair, as :meth:`from_records` reads them."""
        for i in range(len(self)):
            row: dict[str, Any] = {"id": self.pair_id[i]}
            for name in TEXT_COLUMNS:
                text = getattr(self, name)[i]
                row[name] = text if isinstance(text, str) else list(text)
            for name in (*LABEL_COLUMNS, *NUMBER_COLUMNS, "chosen_first"):
                column = getattr(self, name)
                if column is not None:
                    row[name] = column[i].item() if isinstance(column, np.ndarray) else column[i]
            row.update({name: column[i].item() for name, column in self.attributes.items()})
            yield row

    def fingerprint(self) -> str:
        """SHA-256 of all rows, independent of the source's name and format."""
        digest = hashlib.sha256()
        for row in self.records():
            line = json.dumps(row, sort_keys=True, ensure_ascii=True)
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()

    def _validate(self, size: int) -> None:
        for name in _row_columns():
            column = getattr(self, name)
            if column is not None and len(column) != size:
                raise DataError(
                    f"column {name!r} has {len(column)} values for {size} pairs.",
                    source=self.source,
                )
        for name, column in self.attributes.items():
            if len(column) != size:
                raise DataError(
                    f"attribute {name!r} has {len(column)} values for {size} pairs.",
                    source=self.source,
                )
        problems = [problem for name in TEXT_COLUMNS for problem in self._text_problems(name)]
        problems += list(self._number_problems())
        if len(set(self.pair_id)) != size:
            seen: set[str] = set()
            repeated = [i for i, name in enumerate(self.pair_id) if name in seen or seen.add(name)]
            problems += [(i, f"id {self.pair_id[i]!r} is not unique") for i in repeated]
        raise_rows(problems, self.source, size)

    def _text_problems(self, name: str) -> Iterator[tuple[int, str]]:
        for row, text in enumerate(getattr(self, name)):
            problem = text_problem(text, empty_allowed=name == "prompt")
            if problem:
                yield row, f"{name} {problem}"

    def _number_problems(self) -> Iterator[tuple[int, str]]:
        limits = {
            "weight": (0.0, np.inf, "finite and >= 0"),
            "label_prob": (0.0, 1.0, "in [0, 1]"),
            "flip_rate": (0.0, np.nextafter(0.5, 0.0), "in [0, 0.5)"),
        }
        for name, (low, high, wanted) in limits.items():
            column = getattr(self, name)
            if column is None:
                continue
            bad = ~(np.isfinite(column) & (column >= low) & (column <= high))
            for row in np.flatnonzero(bad).tolist():
                yield row, f"{name} must be {wanted}; got {column[row]}"


def _row_columns() -> list[str]:
    return [f.name for f in fields(Preferences) if f.name not in ("attributes", "source")]


@final
@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs with what a model said of them: the input of every audit metric.

    Args:
        pairs: the pairs, N rows.
        chosen: float64 ``(N,)``, summed log-probability in nats, or reward.
        rejected: float64 ``(N,)``.
        ref_chosen: the same under the reference, if there is one.
        ref_rejected: the same under the reference.
        chosen_length: int64 ``(N,)``, scored tokens.
        rejected_length: int64 ``(N,)``.
        beta: scale of the implicit reward that the model was tuned with.
        kind: ``"logprob"`` or ``"reward"``.

    Raises:
        DataError: if an array does not have one value a pair.
    """

    pairs: Preferences
    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]
    ref_chosen: NDArray[np.float64] | None = None
    ref_rejected: NDArray[np.float64] | None = None
    chosen_length: NDArray[np.int64] | None = None
    rejected_length: NDArray[np.int64] | None = None
    beta: float | None = None
    kind: str = "logprob"

    def __post_init__(self) -> None:
        for name in self.arrays():
            values = np.asarray(getattr(self, name))
            if values.shape != (len(self.pairs),):
                raise DataError(
                    f"{name} has shape {values.shape} for {len(self.pairs)} pairs.",
                    source=self.pairs.source,
                )
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.pairs)

    def arrays(self) -> list[str]:
        """Names of the arrays that are present."""
        names = [f.name for f in fields(self) if f.name not in ("pairs", "beta", "kind")]
        return [name for name in names if getattr(self, name) is not None]

    def select(self, index: Sequence[int] | NDArray[Any]) -> ScoredPairs:
        """The rows at ``index`` (integers or a boolean mask)."""
        kept = {name: getattr(self, name)[np.asarray(index)] for name in self.arrays()}
        return replace(self, pairs=self.pairs.select(index), **kept)
