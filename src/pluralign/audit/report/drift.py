"""Where the log-probabilities of chosen and rejected responses went, and whether too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .behind import Drift
from .by_group import group_order, mark_of, number_cells
from .captions import DRIFT, DRIFT_CURVE, DRIFT_LEAD, DRIFT_REMEDY
from .evidence import curve_table, legend_of, panels_of
from .fields import Frame, Slice
from .intervals import Intervals, Row
from .multiples import Multiples
from .parts import Figure, Section, make_figure
from .reading import Model, Run
from .scales import number, percent, signed, signed_tenths
from .svg import isolated, plain
from .tables import Cell, Table, figure, word
from .training import drift_lines
from .words import count, listed

CHOSEN, REJECTED = 0, 3
"""Looks of the two sides, those of their curves."""

_SIDES = ((CHOSEN, "chosen"), (REJECTED, "rejected"))
_CURVES = (("chosen", "chosen"), ("rejected", "rejected"))

Drifted = Sequence[tuple[Model, Drift]]


def drift_section(run: Run) -> Section | None:
    """Change against the reference by group, and its course during training."""
    drifted = [(m, m.behind.drift) for m in run.models if m.behind.drift is not None]
    made = (_groups_figure(drifted) if drifted else None, _curve_figure(run.models))
    figures = tuple(figure for figure in made if figure is not None)
    if not figures:
        return None
    title = "Where did the probability go?"
    return Section("drift", "Drift", title, figures, lead=DRIFT_LEAD)


def _groups_figure(drifted: Drifted) -> Figure:
    names = group_order([drift.chosen for _, drift in drifted])  # one order for all models
    rows = [row for found in drifted for row in _rows(*found, names, headed=len(drifted) > 1)]
    draw = Intervals(
        tuple(rows),
        _SIDES,
        signed,
        "change of log-probability, nats per response",
        reference=0.0,
        reference_name="no change",
    )
    said = [DRIFT, *(_both_fell(model, drift) for model, drift in drifted)]
    made = make_figure("drift-figure", _title(drifted), said, draw, _table(drifted))
    return replace(made, alert=_alert(drifted))


def _rows(model: Model, drift: Drift, names: Sequence[str], *, headed: bool) -> list[Row]:
    title = isolated(model.title)
    rows = [Row(title, "", (), ruled=True)] if headed else []
    parts = [_sides(drift, name) for name in names]
    parts.append((drift.chosen.overall, drift.rejected.overall))
    return rows + [
        Row(
            plain(chosen.name),
            count(chosen.n),
            tuple(
                mark_of(look, f"{title}, {side}", chosen.name, part, signed_tenths)
                for (look, side), part in zip(_SIDES, (chosen, rejected), strict=True)
            ),
        )
        for chosen, rejected in parts
    ]


def _sides(drift: Drift, name: str) -> tuple[Slice, Slice]:
    chosen, rejected = _part(drift.chosen, name), _part(drift.rejected, name)
    return chosen, rejected


def _part(frame: Frame, name: str) -> Slice:
    return frame.group(name) or replace(frame.overall, name=name, estimate=type(frame.gap)(), n=0)


def _title(drifted: Drifted) -> str:
    fallen = [isolated(model.title) for model, drift in drifted if _fell(drift)]
    if not fallen:
        return "Where the log-probabilities went"
    return f"Under {listed(fallen)} both log-probabilities fell"


def _fell(drift: Drift) -> bool:
    values = (drift.chosen.overall.estimate.value, drift.rejected.overall.estimate.value)
    return all(value is not None and value < 0 for value in values)


def _both_fell(model: Model, drift: Drift) -> str:
    if drift.both_fell is None:
        return ""
    return f"Under {isolated(model.title)} both fell in {percent(drift.both_fell)} of the pairs."


def _alert(drifted: Drifted) -> str:
    """Which models lost much of what they were shown; empty where none did."""
    told = [_loss(model, drift) for model, drift in drifted if drift.alarm]
    return " ".join([*told, DRIFT_REMEDY]) if told else ""


def _loss(model: Model, drift: Drift) -> str:
    relative, limit = drift.relative, drift.threshold
    bound = f", more than the {percent(-limit)} from which on to look" if limit else ""
    title = isolated(model.title)
    if relative is not None and limit is not None and relative < limit:
        return (
            f"Under {title} chosen responses lost {percent(-relative)} of their "
            f"log-probability{bound}."
        )
    names = listed([isolated(name) for name in drift.alarmed])
    return f"Under {title} chosen responses of {names} lost much of their log-probability{bound}."


def _table(drifted: Drifted) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            word(model.title),
            word(side),
            word(part.name),
            figure(part.n, number),
            *number_cells(part.estimate, signed),
        )
        for model, drift in drifted
        for side, frame in (("chosen", drift.chosen), ("rejected", drift.rejected))
        for part in (*frame.groups, frame.overall)
    ]
    head = ("model", "response", "group", "pairs", "change, nats", "low", "high")
    return Table("Change of log-probabilities by group", head, tuple(rows))


def _curve_figure(models: Sequence[Model]) -> Figure | None:
    panels = panels_of(models, drift_lines)
    if not panels:
        return None
    draw = Multiples(panels, legend_of(panels, _CURVES), signed, reference=0.0)
    table = curve_table("Change of log-probabilities during training", panels, signed)
    title = "The way there, step by step"
    return make_figure("drift-curve-figure", title, [DRIFT_CURVE], draw, table)
