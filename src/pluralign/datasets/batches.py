"""The way of rows to pairs, a batch at a time: read, convert, shape, validate."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, final

from ..data import Preferences
from ..errors import DataError, DataQualityWarning, ParameterError
from ..rows import raise_rows, renumbered
from .conversion import Converted, Table, Unit, convert, demand_columns, joined_table, units
from .formats import FORMATS, Format, recognised
from .formats.options import PairRules, pair_rules
from .formats.votes import Numbered, shares
from .labels import Label, add_label, label_names, refuse_labels
from .shapes import Reading, Shape, demand_mappings, shape_rows
from .sources import open_source

_HINT = " drop_unusable=True drops such rows with a warning."


@final
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a reader was asked for, but for the source; see ``load_preferences``.

    Args:
        format: name of a shape or format.
        group: column or columns of the group.
        annotator: column or columns of the rater.
        domain: column or columns of the origin.
        attributes: numeric columns to keep.
        limit: rows to read at most.
        split: which split of the source.
        drop_unusable: drop what lacks something instead of refusing it.
        options: rules of a named format.
        allow_download: whether the hub may be asked.
    """

    format: str = "auto"
    group: Label = None
    annotator: Label = None
    domain: Label = None
    attributes: Sequence[str] = ()
    limit: int | None = None
    split: str | None = None
    drop_unusable: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    allow_download: bool = False


@final
class Batches:
    """Batches of validated pairs of one source, in its order.

    Args:
        source: where the rows come from.
        wanted: how to read them.
        size: rows of a batch; all at once if ``None``.
    """

    def __init__(self, source: Any, wanted: Wanted, size: int | None) -> None:
        self.wanted = wanted
        self.size = size
        self.read: Reading | None = None
        self.columns: tuple[str, ...] | None = None
        self.seen = self.ties = self.kept = 0
        self.dropped: dict[int, str] = {}
        self.n_dropped = 0
        origin, companion = _beside(source, wanted.format)
        stream, self.name = open_source(
            origin,
            wanted.split,
            allow_download=wanted.allow_download,
            streaming=size is not None,
        )
        first, self.rows = _peeked(itertools.islice(stream, wanted.limit))
        self.form = self._format(first)
        self.rules = self._rules()
        self.table = self._table(companion)

    def __iter__(self) -> Iterator[Preferences]:
        if self.form is not None:
            parts: Iterator[Unit] = units(enumerate(self.rows), self.form)
        else:
            parts = ([numbered] for numbered in enumerate(self.rows))
        while batch := list(itertools.islice(parts, self.size)):
            size = sum(map(len, batch))
            pairs = self._pairs(batch, size)
            self.seen += size
            if pairs is not None:
                self.kept += len(pairs)
                yield pairs
        self._finish()

    def _format(self, first: object) -> Format | None:
        """The named format, if the rows are not in one of the four shapes."""
        if self.wanted.format in FORMATS:
            form = FORMATS[self.wanted.format]
            demand_columns(first, form, self.name)
            return form
        if self.wanted.format != "auto" or not isinstance(first, Mapping):
            return None
        return recognised(cast("Mapping[str, Any]", first))

    def _rules(self) -> PairRules:
        if self.form is None:
            if self.wanted.options:
                raise ParameterError(
                    f"{self.name}: options have no effect on plain pairs (format "
                    f"{self.wanted.format!r}); got {dict(self.wanted.options)}. Name the format."
                )
            return PairRules()
        rules = pair_rules(self.form.name, self.form.options, self.wanted.options)
        if rules.votes == "share":
            refuse_labels({"annotator": self.wanted.annotator})
        if self.size is not None and (rules.votes == "share" or self.form.scattered):
            raise ParameterError(
                f"{self.name}: format {self.form.name!r} joins rows that may stand anywhere, so it "
                "cannot be read in chunks; use load_preferences."
            )
        return rules

    def _table(self, companion: Path | None) -> Table | None:
        return None if self.form is None else joined_table(self.form, self.rules, companion)

    def _pairs(self, batch: Sequence[Unit], size: int) -> Preferences | None:
        records, unusable = self._records(batch, size)
        if unusable and not self.wanted.drop_unusable:
            raise_rows(list(unusable.items()), self.name, size, hint=_HINT)
        self.n_dropped += len(unusable)
        self.dropped |= dict(list(unusable.items())[: 3 - len(self.dropped)])
        if not records:
            return None
        numbers = [number for number, _ in records]
        with renumbered(numbers, size):
            return self._validated([record for _, record in records], numbers)

    def _records(self, batch: Sequence[Unit], size: int) -> tuple[list[Numbered], dict[int, str]]:
        """Usable records in one shape, and why each unusable row is none."""
        done = self._converted(batch, size)
        numbers = [number for number, _ in done.records]
        asked: Shape | Reading = self.read or cast(
            "Shape", "auto" if self.form is not None else self.wanted.format
        )
        if not done.records and self.form is not None:
            return [], done.unusable
        with renumbered(numbers, size):
            shaped, blank, read = shape_rows([row for _, row in done.records], asked, self.name)
        if read.kind != "other":
            self.read = read
        unusable = done.unusable | {numbers[at]: why for at, why in blank.items()}
        kept = [
            (number, row)
            for at, (number, row) in enumerate(zip(numbers, shaped, strict=True))
            if at not in blank
        ]
        return self._settled(kept), dict(sorted(unusable.items()))

    def _converted(self, batch: Sequence[Unit], size: int) -> Converted:
        if self.form is None:
            rows = [numbered for unit in batch for numbered in unit]
            with renumbered([number for number, _ in rows], size):
                demand_mappings([row for _, row in rows], self.name)
            return Converted(records=rows)
        done = convert(batch, self.form, self.rules, self.table)
        raise_rows(done.broken, self.name, size, hint=f" Format: {self.form.name!r}.")
        return done

    def _within(self) -> tuple[str, ...]:
        """Columns whose values keep votes apart."""
        return (*label_names(self.wanted.group or "group"), *label_names(self.wanted.domain))

    def _settled(self, records: list[Numbered]) -> list[Numbered]:
        """Votes and ties as the rules say; certain labels need no column that says so."""
        if self.form is None:
            return records
        if self.rules.votes == "share":
            records = shares(records, self._within())
        if self.rules.ties == "drop":
            untied = [one for one in records if one[1].get("label_prob") != 0.5]
            self.ties += len(records) - len(untied)
            records = untied
        if all(record.get("label_prob", 1.0) == 1.0 for _, record in records):
            for _, record in records:
                record.pop("label_prob", None)
        return records

    def _validated(self, records: list[dict[str, Any]], numbers: Sequence[int]) -> Preferences:
        wanted, form = self.wanted, self.form
        shared = form is not None and self.rules.votes == "share"
        defaults = {
            "group": None,
            "annotator": None if form is None or shared else form.annotator,
            "domain": None if form is None else form.domain,
        }
        labels = {
            name: add_label(records, name, getattr(wanted, name), default, self.name)
            for name, default in defaults.items()
        }
        attributes = list(dict.fromkeys((*wanted.attributes, *self._attributes(records))))
        whole = self.size is None and numbers == list(range(len(records)))
        if not whole and all(record.get("id") is None for record in records):
            records = [{**row, "id": n} for n, row in zip(numbers, records, strict=True)]
        pairs = Preferences.from_records(
            records, **labels, attributes=attributes, source=self._source()
        )
        self._demand_columns(pairs, numbers)
        return pairs

    def _attributes(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        if self.form is None:
            return []
        known = (*self.form.attributes, *(["n_votes"] if self.rules.votes == "share" else []))
        return [name for name in known if all(record.get(name) is not None for record in records)]

    def _demand_columns(self, pairs: Preferences, numbers: Sequence[int]) -> None:
        """Refuse a later batch that has more or fewer columns than the first."""
        optional = ("group", "annotator", "domain", "weight", "flip_rate", "chosen_first")
        found = tuple(name for name in optional if getattr(pairs, name) is not None)
        if self.columns is None:
            self.columns = found
        differing = sorted(set(found) ^ set(self.columns))
        if differing:
            raise DataError(
                f"column {differing[0]!r} is in some rows only: rows {numbers[0]} to {numbers[-1]} "
                "differ from those before; give it to all rows or to none.",
                source=self.name,
                rows=[numbers[0]],
            )

    def _source(self) -> str:
        """The name of the source, and what was left out of it if that is known."""
        if self.size is not None:
            return self.name
        left_out = [
            f"{count} {what}"
            for count, what in ((self.n_dropped, "unusable rows"), (self.ties, "ties"))
            if count
        ]
        return f"{self.name} (without {', '.join(left_out)})" if left_out else self.name

    def _finish(self) -> None:
        """Say what was left out; a source without any pair is an error."""
        examples = "; ".join(f"row {row}: {why}" for row, why in self.dropped.items())
        if not self.kept:
            raise DataError(self._nothing(examples), source=self.name)
        if self.n_dropped:
            what = f"{self.name}: dropped {self.n_dropped} of {self.seen} rows: {examples}."
            warnings.warn(what, DataQualityWarning, stacklevel=4)
        if self.ties:
            what = f"{self.name}: dropped {self.ties} ties (options ties='keep' keeps them)."
            warnings.warn(what, DataQualityWarning, stacklevel=4)

    def _nothing(self, examples: str) -> str:
        if not self.seen:
            return "there are no pairs; give at least one row."
        if self.n_dropped:
            return f"all {self.n_dropped} rows are unusable: {examples}."
        if self.ties:
            return f"all {self.ties} pairs are ties; options ties='keep' keeps them."
        return self.form.lacking if self.form is not None else "there are no pairs."


def _peeked(rows: Iterator[Any]) -> tuple[object, Iterator[Any]]:
    """The first row, and all rows."""
    start = list(itertools.islice(rows, 1))
    return (start[0] if start else None), itertools.chain(start, rows)


def _beside(source: Any, format: str) -> tuple[Any, Path | None]:
    """The file of the rows, and the file that is joined to it, of a format that has two.

    A directory with both files stands for the rows; beside the rows' file the other one
    is found by its name.
    """
    if not isinstance(source, (str, Path)) or source == "":
        return source, None
    forms: Iterable[Format] = [FORMATS[format]] if format in FORMATS else FORMATS.values()
    for form in forms if format == "auto" or format in FORMATS else ():
        if form.files is None:
            continue
        main, other = (Path(source) / name for name in form.files)
        if _is_file(main) and _is_file(other):
            return main, other
        other = Path(source).with_name(form.files[1]) if Path(source).name else main
        if Path(source).name == form.files[0] and _is_file(other):
            return source, other
    return source, None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # unreadable: the reader of the source says so
        return False
