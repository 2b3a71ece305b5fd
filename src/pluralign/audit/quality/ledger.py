"""One row of numbers per pair, gathered chunk by chunk; texts are read once and let go.

Some 260 bytes remain of a pair, so that a set larger than memory can be audited from a
stream of chunks.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray

from ...data import Preferences, Text
from .sketch import code_points, normalised, sketch

PARTS = ("prompt", "chosen", "rejected")
_DEFAULTS = {
    "group": np.int32(-1),
    "annotator": np.int32(-1),
    "label_prob": np.float64(1),
    "weight": np.float64(1),
    "first": np.int8(-1),
}
"""Values of the columns that pairs need not have."""
_TURNS = ("\n\nAssistant:", "<|im_start|>assistant", "[/INST]", "<|assistant|>")


class Pair(NamedTuple):
    """A pair as strings; ``ids`` where the texts are token ids, whose strings are empty."""

    row: int
    texts: tuple[str, str, str]
    sources: tuple[Text, Text, Text]
    ids: bool
    implicit: bool


class Located(NamedTuple):
    """A row with the offending text, shortened."""

    row: int
    example: str = ""


_EXAMPLES = 5


@final
class Places:
    """Rows of one kind of trouble, eight bytes each, with the first offending texts."""

    def __init__(self) -> None:
        self._rows = array("q")
        self.examples: list[str] = []

    def add(self, row: int, example: str = "") -> None:
        """Note a row; of the texts only the first few are kept."""
        self._rows.append(row)
        if example and len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows in the order noted."""
        return np.array(self._rows, dtype=np.int64)


@final
@dataclass(frozen=True)
class Ledger:
    """What is remembered of N pairs, by column.

    Args:
        source: file or object that the pairs came from.
        exact: uint64 ``(N, 3)``, hashes of prompt, chosen, rejected.
        form: uint64 ``(N, 3)``, hashes of their normalised texts.
        length: int32 ``(N, 3)``, characters (or tokens, for token ids).
        sketches: uint16 ``(N, 3, 32)``.
        group: int32 ``(N,)``, index into ``groups``; ``-1`` where there is no column.
        annotator: int32 ``(N,)``, index of the annotator; ``-1`` where there is no column.
        label_prob: float64 ``(N,)``; 1 where there is no column. A column that no chunk
            has is one number, shown N times.
        weight: float64 ``(N,)``; 1 where there is no column.
        first: int8 ``(N,)``: 1 chosen shown first, 0 second, -1 unknown.
        groups: names of the groups.
        names: pair ids, or ``None`` if they are row numbers.
        scanned: rows with the first of their texts, by kind of finding.
        tokens: int32 ``(N, 3)`` where a tokenizer was given; ``-1`` where a row has none.
    """

    source: str
    exact: NDArray[np.uint64]
    form: NDArray[np.uint64]
    length: NDArray[np.int32]
    sketches: NDArray[np.uint16]
    group: NDArray[np.int32]
    annotator: NDArray[np.int32]
    label_prob: NDArray[np.float64]
    weight: NDArray[np.float64]
    first: NDArray[np.int8]
    groups: Sequence[str]
    names: Sequence[str] | None
    scanned: Mapping[str, Places] = field(default_factory=dict[str, Places])
    tokens: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.exact)

    def by_group(self, rows: Sequence[int] | NDArray[Any]) -> dict[str, int]:
        """How many of the rows each group has; empty without groups."""
        codes = self.group[np.asarray(rows, dtype=np.int64)]
        counts = np.bincount(codes[codes >= 0], minlength=len(self.groups))
        return {name: int(n) for name, n in zip(self.groups, counts, strict=True) if n}

    def members(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Which rows belong to each group, largest first, one group at a time."""
        counts = np.bincount(self.group[self.group >= 0], minlength=len(self.groups))
        order: list[int] = np.argsort(-counts, kind="stable").tolist()
        for code in order:
            yield self.groups[code], self.group == code


@final
class LedgerBuilder:
    """Gathers a :class:`Ledger` from chunks of pairs."""

    def __init__(self) -> None:
        self.size = 0
        self.source = ""
        self._columns: dict[str, _Column] = {}
        self._rows = 0  # of the chunk being added
        self._codes: dict[str, dict[str, int]] = {"group": {}, "annotator": {}}
        self._names: list[str] = []
        self._numbered = True

    def add(self, pairs: Preferences) -> list[Pair]:
        """Note one chunk; returns its pairs as strings, for scanners of texts."""
        self.source = self.source or pairs.source
        self._rows = len(pairs)
        read = [
            as_strings(self.size + i, texts)
            for i, texts in enumerate(zip(pairs.prompt, pairs.chosen, pairs.rejected, strict=True))
        ]
        self._add_texts(read)
        self._add_labels(pairs)
        self._add_names(pairs)
        self.size += len(pairs)
        return read

    def close(
        self,
        scanned: Mapping[str, Places] | None = None,
        tokens: NDArray[np.int32] | None = None,
    ) -> Ledger:
        """The ledger of all chunks; column by column, so that little is held twice."""
        columns = {name: self._whole(name) for name in (*_DEFAULTS, *self._columns)}
        return Ledger(
            source=self.source,
            groups=list(self._codes["group"]),
            names=None if self._numbered else self._names,
            scanned=scanned or {},
            tokens=tokens,
            **columns,
        )

    def _whole(self, name: str) -> NDArray[Any]:
        if name in self._columns:
            return self._columns[name].close()
        return np.broadcast_to(_DEFAULTS[name], (self.size,))

    def _add_texts(self, read: Sequence[Pair]) -> None:
        noted = [_noted(pair) for pair in read]
        for position, name in enumerate(("exact", "form")):
            self._add(name, np.array([row[position] for row in noted], dtype=np.uint64))
        self._add("length", np.array([row[2] for row in noted], dtype=np.int32))
        self._add("sketches", np.array([row[3] for row in noted], dtype=np.uint16))

    def _add_labels(self, pairs: Preferences) -> None:
        for name in ("group", "annotator"):
            column: Sequence[str] | None = getattr(pairs, name)
            codes = self._codes[name]
            coded = None if column is None else [codes.setdefault(v, len(codes)) for v in column]
            self._add(name, None if coded is None else np.array(coded, dtype=np.int32))
        for name in ("label_prob", "weight"):
            given: NDArray[np.float64] | None = getattr(pairs, name)
            self._add(name, given)
        first = pairs.chosen_first
        self._add("first", None if first is None else first.astype(np.int8))

    def _add_names(self, pairs: Preferences) -> None:
        numbered = any(
            all(name == str(start + i) for i, name in enumerate(pairs.pair_id))
            for start in {0, self.size}  # rows counted in the chunk, or from the start
        )
        if numbered and self._numbered:
            return
        if self._numbered:  # the first chunk with ids of its own
            self._names = list(map(str, range(self.size)))
            self._numbered = False
        self._names.extend(
            map(str, range(self.size, self.size + len(pairs))) if numbered else pairs.pair_id
        )

    def _add(self, name: str, values: NDArray[Any] | None) -> None:
        """Note one chunk of a column; nothing is kept of one that no chunk has."""
        if values is not None:
            start = None if name in self._columns else _DEFAULTS.get(name)
            column = self._columns.setdefault(name, _Column(values))
            if start is not None and self.size:
                column.add(np.full(self.size, start))
            column.add(values)
        elif name in self._columns:
            self._columns[name].add(np.full(self._rows, _DEFAULTS[name]))


@final
class _Column:
    """An array that grows in place, so that its rows are never held twice."""

    def __init__(self, like: NDArray[Any]) -> None:
        self._data = np.empty((0, *like.shape[1:]), dtype=like.dtype)
        self._size = 0

    def add(self, values: NDArray[Any]) -> None:
        size = self._size + len(values)
        if size > len(self._data):
            self._reserve(size + size // 8)
        self._data[self._size : size] = values
        self._size = size

    def close(self) -> NDArray[Any]:
        """The whole column."""
        self._reserve(self._size)
        return self._data

    def _reserve(self, size: int) -> None:
        # The system moves pages instead of copying them; no view of the data is given out.
        self._data.resize((size, *self._data.shape[1:]), refcheck=False)


def as_strings(row: int, texts: tuple[Text, Text, Text]) -> Pair:
    """A pair as strings; an implicit prompt is cut off both responses where it can be seen."""
    sources = texts if texts[0] else _explicit(texts)
    ids = any(isinstance(text, tuple) and text and isinstance(text[0], int) for text in sources)
    prompt, chosen, rejected = ("" if ids else plain(text) for text in sources)
    return Pair(row, (prompt, chosen, rejected), sources, ids, implicit=not texts[0])


def plain(text: Text) -> str:
    """The contents of a text without roles."""
    if isinstance(text, str):
        return text
    turns = cast("tuple[Mapping[str, Any], ...]", text)
    return "\n".join(str(turn["content"]) for turn in turns)


def _explicit(texts: tuple[Text, Text, Text]) -> tuple[Text, Text, Text]:
    """Prompt and responses of an implicit pair: the common turns, and what follows them."""
    _, chosen, rejected = texts
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = _turn_end(chosen, _common(chosen, rejected))
        return chosen[:cut], chosen[cut:], rejected[cut:]
    if isinstance(chosen, str) or isinstance(rejected, str) or isinstance(chosen[0], int):
        return texts
    same = min(_common(chosen, rejected), len(chosen) - 1, len(rejected) - 1)
    return chosen[:same], chosen[same:], rejected[same:]


def _common(first: Sequence[Any], second: Sequence[Any]) -> int:
    size = min(len(first), len(second))
    if first[:size] == second[:size]:
        return size
    low, high = 0, size  # first[:low] is common, first[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle)
    return low


def _turn_end(text: str, limit: int) -> int:
    """End of the last marker of an answer that lies within ``text[:limit]``."""
    found = [(text.rfind(marker, 0, limit), len(marker)) for marker in _TURNS]
    start, size = max(found)
    return start + size if start >= 0 else 0


def _noted(pair: Pair) -> tuple[list[int], list[int], list[int], list[Any]]:
    exact: list[int] = []
    form: list[int] = []
    length: list[int] = []
    sketches: list[Any] = []
    for text, source in zip(pair.texts, pair.sources, strict=True):
        exact.append(_hashed(_bytes(source)))
        if pair.ids:
            units = np.array(source if isinstance(source, tuple) else (), dtype=np.uint32)
            form.append(exact[-1])
        else:
            same = normalised(text)
            units = code_points(same)
            form.append(_hashed(same.encode("utf-8", "surrogatepass")))
        length.append(len(units) if pair.ids else len(text))
        sketches.append(sketch(units, form[-1]))
    return exact, form, length, sketches


def _bytes(text: Text) -> bytes:
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if text and isinstance(text[0], int):
        return np.array(text, dtype=np.int64).tobytes()
    turns = cast("tuple[Mapping[str, Any], ...]", text)
    joined = "\x1e".join(f"{turn['role']}\x1f{turn['content']}" for turn in turns)
    return joined.encode("utf-8", "surrogatepass")


def _hashed(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
