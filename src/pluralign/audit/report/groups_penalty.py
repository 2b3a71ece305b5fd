"""Sections of a penalty: what each strength buys, and densities by intersection cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ...errors import DataError
from . import groups_words as words
from .fields import Estimate, finite, items, mapping, number_of, text_of
from .parts import Figure, Section, make_figure
from .ridges import Density, Ridge, Ridges
from .scales import number, percent
from .svg import MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .tradeoff import Curve, Point, Tradeoff
from .words import count, listed

_MOST_CELLS: Final = 24
"""More cells than these are in the table only, the least different ones left out."""


def strength_section(record: object) -> Section | None:
    """Loss against dependence by strength, the chosen one marked; ``None`` where absent."""
    tables = items(record, "strength")
    if not tables:
        return None
    if len(tables) > MODEL_LOOKS:
        raise DataError(f"strength has {len(tables)} tables; at most {MODEL_LOOKS} can be told.")
    curves = tuple(_curve(table, at) for table, at in tables)
    names = {text_of(table, "score") or "loss" for table, _ in tables}
    draw = Tradeoff(
        curves,
        " / ".join(sorted(names)) + " (lower is better)",
        "dependence left: divergence of cells, bits",
    )
    said = [words.STRENGTH, *filter(None, map(_bought, curves, (t for t, _ in tables)))]
    title = _strength_title(curves)
    made = make_figure("strength-figure", title, said, draw, _strength_table(curves, tables))
    return Section("strength", "Strength", "What does independence cost?", (made,))


def _curve(table: Mapping[str, Any], at: str) -> Curve:
    chosen = number_of(table, "chosen", at)
    points = [_point(row, place, chosen) for row, place in items(table.get("rows"), f"{at}.rows")]
    if not points:
        raise DataError(f"{at}.rows is empty; a strength table has a row for each strength.")
    points.sort(key=lambda point: point.strength)
    return Curve(plain(text_of(table, "name") or "penalty", 60), tuple(points))


def _point(row: Mapping[str, Any], at: str, chosen: float | None) -> Point:
    strength = number_of(row, "strength", at)
    if strength is None:
        raise DataError(f"{at}.strength is missing.")
    score, jsd = (_around(row, key, at) for key in ("score", "jsd"))
    on_front = row.get("on_front") is not False
    return Point(strength, score, jsd, strength == chosen, on_front)


def _around(row: Mapping[str, Any], key: str, at: str) -> Estimate:
    """The mean with one standard error to each side, where that is known."""
    value, error = number_of(row, key, at), number_of(row, f"{key}_se", at)
    if value is None or not error:
        return Estimate(value)
    return Estimate(value, value - error, value + error)


def _changes(curve: Curve) -> tuple[Point, float, float] | None:
    """The chosen point with the change of its loss and dependence against strength 0."""
    plain_, chosen = curve.points[0], next((p for p in curve.points if p.chosen), None)
    if chosen is None or chosen is plain_ or plain_.strength != 0:
        return None
    values = [e.value for p in (plain_, chosen) for e in (p.score, p.dependence)]
    if any(value is None for value in values) or not values[0] or not values[1]:
        return None
    score, jsd, later, less = cast("list[float]", values)
    return chosen, later / score - 1, less / jsd - 1


def _strength_title(curves: Sequence[Curve]) -> str:
    told = [(curve, found) for curve in curves if (found := _changes(curve)) is not None]
    if not told:
        return "Loss and dependence by strength"
    curve, (point, cost, gain) = min(told, key=lambda one: one[1][2])
    way = "less" if gain <= 0 else "more"
    return (
        f"At strength {number(point.strength)} {isolated(curve.name)} leaves "
        f"{percent(abs(gain))} {way} dependence, for a loss {_more(cost)}"
    )


def _more(change: float) -> str:
    return f"{percent(abs(change))} {'higher' if change >= 0 else 'lower'}"


def _bought(curve: Curve, table: Mapping[str, Any]) -> str:
    found = _changes(curve)
    if found is None:
        return ""
    point, cost, gain = found
    rule = text_of(table, "rule")
    by = f", chosen by {plain(rule, 80)}" if rule else ""
    return (
        f"{isolated(curve.name)} at {number(point.strength)}{by}: dependence "
        f"{percent(gain)}, loss {percent(cost)} against strength 0."
    )


def _strength_table(curves: Sequence[Curve], tables: Sequence[tuple[Any, str]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for curve, (table, at) in zip(curves, tables, strict=True):
        found = items(table.get("rows"), f"{at}.rows")
        by = {number_of(row, "strength", place): (row, place) for row, place in found}
        for point in curve.points:
            row, place = by[point.strength]
            keys = ("score", "score_se", "jsd", "jsd_se", "uf", "uf_se")
            numbers = [figure(number_of(row, key, place), number) for key in keys]
            rows.append(
                (
                    word(curve.name),
                    figure(point.strength, number),
                    *numbers,
                    word("chosen" if point.chosen else "", strong=True),
                )
            )
    head = ("penalty", "strength", "loss", "s.e.", "JSD, bits", "s.e.", "UF", "s.e.", "")
    return Table("Loss and dependence by strength", head, tuple(rows))


def densities_section(record: object) -> Section | None:
    """Densities by intersection cell, before and after; ``None`` where absent."""
    top = mapping(record, "densities")
    if not top:
        return None
    points = _numbers(top.get("points"), "densities.points")
    series = items(top.get("series"), "densities.series")
    if len(points) < 2 or not series:
        raise DataError("densities needs 'points' (2 or more, ascending) and 'series'.")
    if len(series) > MODEL_LOOKS:
        raise DataError(f"densities.series has {len(series)} models; at most {MODEL_LOOKS}.")
    names = tuple(plain(text_of(one, "name") or "predictions", 60) for one, _ in series)
    ridges = _ridges(series, len(points))
    shown = _most_apart(ridges)
    unit = plain(text_of(top, "unit") or "prediction", 80)
    draw = Ridges(tuple(shown), names, tuple(points), unit)
    left = len(ridges) - len(shown)
    width = number_of(top, "bandwidth", "densities")
    said = [
        words.DENSITIES,
        f"Gaussian kernel, bandwidth {number(width)}." if width else "",
        f"{count(left, 'more cell')} in the table, nearest to the mean of all." if left else "",
    ]
    made = _densities_figure(ridges, names, said, draw)
    return Section("densities", "Cells", "Are predictions alike in every cell?", (made,))


def _densities_figure(
    ridges: Sequence[Ridge], names: tuple[str, ...], said: list[str], draw: Ridges
) -> Figure:
    rows = [
        (
            word(ridge.name),
            figure(ridge.n, number),
            *(figure(density.mean, number) for density in ridge.densities),
        )
        for ridge in ridges
    ]
    head = ("cell", "rows", *(f"mean, {name}" for name in names))
    table = Table("Predictions by intersection cell", head, tuple(rows))
    return make_figure("densities-figure", _spread_title(ridges, names), said, draw, table)


def _spread_title(ridges: Sequence[Ridge], names: Sequence[str]) -> str:
    told: list[str] = []
    for place, name in enumerate(names):
        means = [m for ridge in ridges if (m := ridge.densities[place].mean) is not None]
        if means:
            told.append(f"{number(max(means) - min(means))} under {isolated(name)}")
    return f"Between cells, means differ by up to {listed(told)}" if told else "Densities by cell"


def _ridges(series: Sequence[tuple[Mapping[str, Any], str]], size: int) -> list[Ridge]:
    """Cells by falling size, each with its density under every model."""
    found: dict[str, list[Density]] = {}
    sizes: dict[str, int | None] = {}
    for place, (one, at) in enumerate(series):
        for cell, where in items(one.get("cells"), f"{at}.cells"):
            name = plain(text_of(cell, "name") or "(no name)", 80)
            heights = tuple(_numbers(cell.get("density"), f"{where}.density"))
            if len(heights) != size:
                raise DataError(f"{where}.density must have {size} numbers, one for each point.")
            n = number_of(cell, "n", where)
            sizes.setdefault(name, None if n is None else int(n))
            known = found.setdefault(name, [Density((0.0,) * size, None)] * len(series))
            known[place] = Density(heights, number_of(cell, "mean", where))
    order = sorted(found, key=lambda name: -(sizes[name] or 0))
    return [Ridge(name, sizes[name], tuple(found[name])) for name in order]


def _most_apart(ridges: Sequence[Ridge]) -> list[Ridge]:
    """The cells that are drawn: those whose first mean is farthest from the mean of all."""
    if len(ridges) <= _MOST_CELLS:
        return list(ridges)
    known = [(r.densities[0].mean, r.n or 0) for r in ridges]
    total = sum(n for mean, n in known if mean is not None)
    centre = sum(mean * n for mean, n in known if mean is not None) / (total or 1)
    apart = sorted(ridges, key=lambda r: -abs((r.densities[0].mean or centre) - centre))
    kept = {ridge.name for ridge in apart[:_MOST_CELLS]}
    return [ridge for ridge in ridges if ridge.name in kept]


def _numbers(value: object, at: str) -> list[float]:
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{at} must be a list of numbers.")
    found = [finite(part) for part in cast("list[object]", value)]
    if any(part is None for part in found):
        raise DataError(f"{at} must hold finite numbers only.")
    return cast("list[float]", found)
