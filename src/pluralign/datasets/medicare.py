"""The public CMS files of Medicare Advantage plans, as a user downloads them, as one table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ParameterError
from ..rules import OneOf, shown
from .choices import array_of, number_of

Key = tuple[str, str]
Starred = Literal["lowest", "drop"]

_STAR = "*"
_STARRED_AT = 5.0  # of 1 to 10 members
# Beginnings of column names; wording and footnote marks change between years.
_LANDSCAPE = {
    "state": ("state",),
    "county": ("county",),
    "organisation": ("organization name",),
    "plan_type": ("type of medicare health plan", "plan type"),
    "premium": ("monthly consolidated premium",),
    "drug_deductible": ("annual drug deductible", "annual part d deductible"),
    "drug_benefit": ("drug benefit type",),
    "gap_coverage": ("additional coverage offered in the gap",),
    "moop": ("in-network moop", "in-network maximum out-of-pocket"),
    "stars": ("overall star rating", "overal star rating"),
    "contract": ("contract id",),
    "plan": ("plan id",),
    "segment": ("segment id",),
}
_NEEDED = ("state", "county", "premium", "contract", "plan")
_ENROLMENT = {
    "contract": ("contract number", "contract id"),
    "plan": ("plan id",),
    "state": ("state",),
    "county": ("county",),
    "enrolment": ("enrollment",),
}
_PENETRATION = {"state": ("state",), "county": ("county",), "enrolled": ("enrolled",)}
_MONEY = ("premium", "drug_deductible", "moop", "stars")


@final
@dataclass(frozen=True)
class PlanTable:
    """Plans of a county in a month.

    Attributes:
        columns: attributes by name, (n,) each.
        share: of the county's enrolment in Medicare Advantage, (n,).
        starred: rows whose enrolment is withheld, 1 to 10 members, (n,).
        unit: contract and plan, the same over years, (n,).
        notes: what was left out, in words.
    """

    columns: dict[str, NDArray[Any]]
    share: NDArray[np.float64]
    starred: NDArray[np.bool_]
    unit: NDArray[Any]
    notes: tuple[str, ...]


def read_landscape(*paths: str | Path) -> list[dict[str, Any]]:
    """Plans by county of a Landscape file, of all its parts if a year is split by state.

    Lines above the header are passed over, money in text becomes a number (``-`` is 0), and
    columns are found by their name's beginning, as layouts change between years.

    Raises:
        DataError: for a file without a header, or without a column that is needed.
    """
    return [row for path in paths for row in _landscape(Path(path))]


def _landscape(path: Path) -> Iterator[dict[str, Any]]:
    for row in _table(path, _LANDSCAPE, _NEEDED):
        numbers = {name: _money(row[name]) for name in _MONEY if name in row}
        yield {**row, **numbers, "plan": row["plan"].lstrip("0")}


def read_enrolment(path: str | Path) -> list[dict[str, Any]]:
    """Members by plan and county of a monthly CPSC file; ``None`` where starred (1 to 10)."""
    found = list[dict[str, Any]]()
    for row in _table(Path(path), _ENROLMENT, tuple(_ENROLMENT)):
        count = None if row["enrolment"] == _STAR else _money(row["enrolment"])
        found.append({**row, "plan": row["plan"].lstrip("0"), "enrolment": count})
    return found


def read_penetration(path: str | Path) -> dict[Key, float]:
    """Members of all plans by (state, county): the sum over plans misses the starred ones."""
    rows = _table(Path(path), _PENETRATION, tuple(_PENETRATION))
    counts = ((row["state"], row["county"], _money(row["enrolled"])) for row in rows)
    return {(state, county): count for state, county, count in counts if count is not None}


def read_benefits(*paths: str | Path, columns: Sequence[str]) -> dict[Key, dict[str, Any]]:
    """Chosen columns of Plan Benefit Package files (tab-separated) by (contract, plan).

    Of several segments the first is taken. Columns whose values are all numbers are numbers.

    Raises:
        DataError: for a file without keys, or columns that no file has.
    """
    found: dict[Key, dict[str, Any]] = {}
    missing = set(columns)
    for path in map(Path, paths):
        reader = csv.DictReader(io.StringIO(_text(path)), delimiter="\t")
        names = {name.strip().lower(): name for name in reader.fieldnames or ()}
        if not {"pbp_a_hnumber", "pbp_a_plan_identifier"} <= set(names):
            raise DataError("no columns pbp_a_hnumber and pbp_a_plan_identifier.", source=str(path))
        own = [column for column in columns if column in names]
        missing -= set(own)
        for row in reader:
            key = row[names["pbp_a_hnumber"]], row[names["pbp_a_plan_identifier"]].lstrip("0")
            entry = found.setdefault(key, {})
            for column in own:
                entry.setdefault(column, row[names[column]].strip() or None)
    if missing:
        raise DataError(f"no file has the columns {shown(sorted(missing))}.")
    return found


def county_plans(
    landscape: Iterable[Mapping[str, Any]],
    enrolment: Iterable[Mapping[str, Any]],
    *,
    state: str,
    code: str,
    county: str,
    enrolled: float | None = None,
    benefits: Mapping[Key, Mapping[str, Any]] | None = None,
    starred: Starred = "lowest",
) -> PlanTable:
    """Join plans of one county with their members.

    Starred plans are the smallest of all: to drop them biases the lowest class, so by default
    they stay, with 5 members. Enrolment knows no segments: of several the first is kept.

    Args:
        landscape: of :func:`read_landscape`.
        enrolment: of :func:`read_enrolment`, of a month of the same year.
        state: name in the Landscape file, such as ``"New Jersey"``.
        code: of the state in the enrolment file, such as ``"NJ"``.
        county: name, such as ``"Essex"``.
        enrolled: members of all plans there, of :func:`read_penetration`; by default the sum.
        benefits: of :func:`read_benefits`.
        starred: ``"lowest"`` or ``"drop"``.

    Raises:
        ParameterError: for another value of ``starred``.
        DataError: if no plan of the county has members.
    """
    rule = OneOf("lowest", "drop")
    if not rule.admits(starred):
        raise ParameterError(f"starred must be {rule.wants()}; got {shown(starred)}.")
    members = {
        (row["contract"], row["plan"]): row["enrolment"]
        for row in enrolment
        if _same(row["state"], code) and _same(row["county"], county)
    }
    plans: dict[Key, Mapping[str, Any]] = {}
    for row in landscape:
        if _same(row["state"], state) and _same(row["county"], county):
            plans.setdefault((row["contract"], row["plan"]), row)
    joined = [key for key in plans if key in members]
    withheld = [key for key in joined if members[key] is None]
    if starred == "drop":
        joined = [key for key in joined if members[key] is not None]
    if not joined:
        raise DataError(
            f"no plan of {county}, {state} is in both files ({len(plans)} in the landscape, "
            f"{len(members)} with members); check names, state code and year."
        )
    counts = np.array([_STARRED_AT if members[k] is None else members[k] for k in joined], float)
    total = enrolled if enrolled is not None else sum(v or _STARRED_AT for v in members.values())
    notes = [f"{len(plans) - len([k for k in plans if k in members])} plans without members"]
    notes.append(f"{len(withheld)} plans starred, {'dropped' if starred == 'drop' else 'at 5'}")
    return PlanTable(
        _attributes([{**plans[k], **(benefits or {}).get(k, {})} for k in joined]),
        counts / total,
        np.array([members[k] is None for k in joined]),
        np.array(["-".join(k) for k in joined]),
        tuple(notes),
    )


def stack_plans(tables: Mapping[Any, PlanTable]) -> PlanTable:
    """Years one below the other, the year as a column; a column that a year lacks is missing."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    columns: dict[str, NDArray[Any]] = {}
    for name in names:
        values = list[Any]()
        for table in tables.values():
            none = [None] * len(table.share)
            values += table.columns[name].tolist() if name in table.columns else none
        columns[name] = array_of(values)
    years = [str(year) for year, table in tables.items() for _ in table.share]
    every = list(tables.values())
    return PlanTable(
        columns | {"year": array_of(years)},
        np.concatenate([table.share for table in every]),
        np.concatenate([table.starred for table in every]),
        np.concatenate([table.unit for table in every]),
        tuple(f"{year}: {note}" for year, table in tables.items() for note in table.notes),
    )


def _attributes(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    keys = {"state", "county", "contract", "plan", "segment"}
    names = dict.fromkeys(name for row in rows for name in row if name not in keys)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: array_of(values) for name, values in columns.items()}


def _money(text: str) -> float | None:
    """``$1,234.50`` as a number; a dash is 0, words are nothing."""
    plain = re.sub(r"[$,%\s]", "", text)
    return 0.0 if plain in ("-", "--") else number_of(plain)


def _same(one: str, other: str) -> bool:
    return one.strip().lower() == other.strip().lower()


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _table(
    path: Path, names: Mapping[str, Sequence[str]], needed: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Rows below the first line that has the needed columns, by our names."""
    rows = csv.reader(io.StringIO(_text(path)))
    place: dict[str, int] = {}
    for cells in rows:
        place = _places([re.sub(r"\s+", " ", cell).strip().lower() for cell in cells], names)
        if set(needed) <= set(place):
            break
    else:
        raise DataError(
            f"no line has columns for {', '.join(needed)}; is it the right file, as CSV?",
            source=str(path),
        )
    last = max(place[name] for name in needed)
    for cells in rows:
        if len(cells) > last and cells[place[needed[-1]]].strip():
            yield {name: cells[at].strip() if at < len(cells) else "" for name, at in place.items()}


def _places(header: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, beginnings in names.items():
        for at, cell in enumerate(header):
            if cell.startswith(tuple(beginnings)):
                found.setdefault(name, at)
    return found
