"""The section of drift: how far training moved the weights, against the logarithm of updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ...errors import DataError
from . import groups_words as words
from .fields import finite, items, mapping, number_of, text_of
from .log_time import LogTime, Travel
from .parts import Section, make_figure
from .scales import number
from .svg import MODEL_LOOKS, isolated, plain
from .tables import Table, figure, word
from .words import listed


def travel_section(record: object) -> Section | None:
    """Distance over log-time with the fitted law; ``None`` where the record has none.

    Raises:
        DataError: naming the part that is not of the expected kind.
    """
    found = items(record, "weight_drift")
    if not found:
        return None
    if len(found) > MODEL_LOOKS:
        raise DataError(f"weight_drift has {len(found)} trainings; at most {MODEL_LOOKS}.")
    travels = tuple(_travel(one, at) for one, at in found)
    fits = [mapping(one.get("fit"), f"{at}.fit") for one, at in found]
    title = _title(travels)
    draw = LogTime(travels)
    table = _table(travels, fits)
    made = make_figure("travel-figure", title, [words.DRIFT], draw, table)
    return Section("weight-drift", "Drift", "How far did the weights travel?", (made,))


def _travel(one: Mapping[str, Any], at: str) -> Travel:
    listed_points: object = one.get("points")
    if not isinstance(listed_points, (list, tuple)):
        raise DataError(f"{at}.points must be a list of [update, distance].")
    points: list[tuple[float, float]] = []
    for place, pair in enumerate(cast("list[Any]", listed_points)):
        known = cast("list[object]", pair) if isinstance(pair, (list, tuple)) else []
        numbers = [finite(part) for part in known]
        if len(numbers) != 2 or None in numbers:
            raise DataError(f"{at}.points[{place}] must be [update, distance], two numbers.")
        if cast(float, numbers[0]) >= 1:
            points.append((cast(float, numbers[0]), cast(float, numbers[1])))
    if not points:
        raise DataError(f"{at}.points has no update from 1 on.")
    fit = mapping(one.get("fit"), f"{at}.fit")
    law = [number_of(fit, key, f"{at}.fit") for key in ("log_intercept", "log_slope")]
    known = None if None in law else (cast(float, law[0]), cast(float, law[1]))
    name = plain(text_of(one, "name") or "training", 60)
    return Travel(name, tuple(sorted(points)), known, number_of(one, "before", at))


def _title(travels: tuple[Travel, ...]) -> str:
    told = [f"{number(t.law[1])} in {isolated(t.name)}" for t in travels if t.law is not None]
    if not told:
        return "Distance of the weights from their start"
    return f"Each e-fold of updates adds {listed(told)}"


def _table(travels: tuple[Travel, ...], fits: list[Mapping[str, Any]]) -> Table:
    keys = ("log_intercept", "log_slope", "log_r2", "power_exponent", "power_r2")
    rows = [
        (
            word(travel.name),
            figure(travel.points[-1][0], number),
            figure(travel.points[-1][1], number),
            *(figure(number_of(fit, key, "fit"), number) for key in keys),
        )
        for travel, fit in zip(travels, fits, strict=True)
    ]
    head = ("training", "updates", "distance", "a", "b", "R² of log", "power", "R² of power")
    return Table("Drift and its laws", head, tuple(rows))
