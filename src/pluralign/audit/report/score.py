"""What the score is made of: length, and whether the rewards keep their word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .behind import Calibration, Lengths, Level
from .by_group import mark_of, model_keys, number_cells
from .captions import CALIBRATION, CALIBRATION_GROUPS, LENGTH
from .fields import Estimate, Slice
from .intervals import Intervals, Mark, Row
from .parts import Figure, Section, make_figure
from .reading import Model, Run
from .reliability import Curve, Point, Reliability
from .scales import number, percent, percent_tick
from .svg import ASSUMED, ESTIMATE, MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .words import count, interval, listed

Measured = Sequence[tuple[int, Model, Lengths]]
Claimed = Sequence[tuple[int, Model, Calibration]]


def score_section(run: Run) -> Section | None:
    """Accuracy by length, and calibration, by group on demand."""
    looks = [(place % MODEL_LOOKS, model) for place, model in enumerate(run.models)]
    measured = [(n, m, m.behind.lengths) for n, m in looks if m.behind.lengths is not None]
    measured = [found for found in measured if found[2].labels_longer.n]
    claimed = [(n, m, m.behind.calibration) for n, m in looks if m.behind.calibration is not None]
    claimed = [found for found in claimed if found[2].overall.found.n]
    figures: list[Figure] = []
    if measured:
        figures.append(_length_figure(measured))
    if claimed:
        figures += [_reliability_figure(claimed), _claims_by_group(claimed)]
    if not figures:
        return None
    title = "What is the score made of?"
    return Section("score", "Score", title, tuple(figures))


def _length_figure(measured: Measured) -> Figure:
    titles = [model.title for _, model, _ in measured]
    classes = measured[0][2].classes
    rows = [Row("Ranked rightly, the chosen response being …", "", ())]
    rows += [
        Row(
            plain(part.name),
            count(part.n),
            tuple(
                _length_mark(found, title, place)
                for found, title in zip(measured, titles, strict=True)
            ),
        )
        for place, part in enumerate(classes)
        if part.n
    ]
    labels = measured[0][2].labels_longer
    rows.append(Row("The longer response wins …", "", (), ruled=True))
    rows.append(
        Row("by the labels", count(labels.n), (_named(ESTIMATE, "by the labels", "", labels),))
    )
    rows.append(
        Row(
            "by the model" if len(measured) == 1 else "by the models",
            "",
            tuple(
                _named(look, "by the model", title, found.model_longer)
                for (look, _, found), title in zip(measured, titles, strict=True)
            ),
        )
    )
    draw = Intervals(
        tuple(rows),
        model_keys(titles),
        percent_tick,
        "share of pairs",
        reference=0.5,
        reference_name="half",
        floor=0.0,
        ceiling=1.0,
    )
    said = [LENGTH, *_length_facts(measured)]
    table = _length_table(measured)
    return make_figure("length-figure", _length_title(labels), said, draw, table)


def _length_mark(found: tuple[int, Model, Lengths], title: str, place: int) -> Mark:
    look, _, lengths = found
    part = lengths.classes[place] if place < len(lengths.classes) else Slice("", Estimate(), 0)
    return mark_of(look, isolated(title), f"chosen {part.name}", part, percent)


def _named(look: int, name: str, title: str, part: Slice) -> Mark:
    said = f"{percent(part.estimate.value)}{interval(part.estimate, percent)}"
    first = f"{name} · {isolated(title)}" if title else name
    tip = f"longer wins {first}\n{said}\n{count(part.n)} of unequal length"
    estimate = part.estimate
    return Mark(look, estimate.value, estimate.low, estimate.high, tip, percent(estimate.value))


def _length_title(labels: Slice) -> str:
    return f"By the labels, the longer response wins {percent(labels.estimate.value)} of pairs"


def _length_facts(measured: Measured) -> list[str]:
    """Whether a model favours one end more than the labels do."""
    labels = measured[0][2].labels_longer.estimate
    more, less = (
        [
            isolated(model.title)
            for _, model, found in measured
            if _beyond(found.model_longer.estimate, labels, sign)
        ]
        for sign in (1, -1)
    )
    return [
        f"Under {listed(names)} longer responses win {how} often than by the labels."
        for names, how in ((more, "more"), (less, "less"))
        if names
    ]


def _beyond(model: Estimate, labels: Estimate, sign: int) -> bool:
    if model.value is None or labels.value is None or model.overlaps(labels):
        return False
    return (model.value - labels.value) * sign > 0


def _length_table(measured: Measured) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for _, model, found in measured:
        parts = [
            *((f"right, chosen {part.name}", part) for part in found.classes),
            ("longer wins by the labels", found.labels_longer),
            ("longer wins by the model", found.model_longer),
        ]
        rows += [
            (
                word(model.title),
                word(name),
                figure(part.n, number),
                *number_cells(part.estimate, percent),
            )
            for name, part in parts
        ]
    head = ("model", "share of pairs", "pairs", "value", "low", "high")
    return Table("Length", head, tuple(rows))


def _reliability_figure(claimed: Claimed) -> Figure:
    curves = tuple(_curve(*found) for found in claimed)
    said = [CALIBRATION, *(_claim(model, found) for _, model, found in claimed)]
    return make_figure(
        "reliability-figure",
        _claims_title(claimed),
        said,
        Reliability(curves),
        _reliability_table(claimed),
    )


def _claims_title(claimed: Claimed) -> str:
    bold, shy = (
        [isolated(m.title) for _, m, found in claimed if _too_much(found.overall) == sign]
        for sign in (1, -1)
    )
    told = [
        f"{listed(names)} {'claims' if len(names) == 1 else 'claim'} too {how}"
        for names, how in ((bold, "much"), (shy, "little"))
        if names
    ]
    return ", ".join(told) or "Do the rewards keep their word?"


def _too_much(level: Level) -> int:
    """1 where more is claimed than found, -1 where less, 0 where it cannot be told."""
    found = level.found.estimate
    if level.claimed is None or found.value is None or not found.excludes(level.claimed):
        return 0
    return 1 if level.claimed > found.value else -1


def _claim(model: Model, found: Calibration) -> str:
    overall = found.overall
    return (
        f"{isolated(model.title)} claims {percent(overall.claimed)} on average; labels agree in "
        f"{percent(overall.found.estimate.value)}{interval(overall.found.estimate, percent)}."
    )


def _curve(look: int, model: Model, found: Calibration) -> Curve:
    title = isolated(model.title)
    points = tuple(
        Point(
            level.claimed,
            level.found.estimate.value,
            level.found.estimate.low,
            level.found.estimate.high,
            f"{title}\nclaimed {percent(level.claimed)}\nlabels agree "
            f"{percent(level.found.estimate.value)}"
            f"{interval(level.found.estimate, percent)}\n{count(level.found.n)}",
        )
        for level in found.levels
        if level.claimed is not None and level.found.estimate.value is not None
    )
    return Curve(title, f"calibration error {percent(found.error)}", look, points)


def _claims_by_group(claimed: Claimed) -> Figure:
    rows = [row for found in claimed for row in _claim_rows(*found, headed=len(claimed) > 1)]
    draw = Intervals(
        tuple(rows),
        ((ESTIMATE, "labels agree"), (ASSUMED, "claimed by the rewards")),
        percent_tick,
        "share of pairs",
        floor=0.0,
        ceiling=1.0,
    )
    table = _claims_table(claimed)
    title = "Claims and labels by group"
    made = make_figure("claims-figure", title, [CALIBRATION_GROUPS], draw, table)
    return replace(made, folded=title)


def _claim_rows(look: int, model: Model, found: Calibration, *, headed: bool) -> list[Row]:
    title = isolated(model.title)
    apart = sorted(
        found.groups,
        key=lambda level: (level.found.estimate.value or 0.0) - (level.claimed or 0.0),
    )
    rows = [Row(title, "", (), ruled=True)] if headed else []
    for level in (*apart, found.overall):
        name = level.found.name
        marks = (
            mark_of(ESTIMATE, title, name, level.found, percent),
            Mark(
                ASSUMED,
                level.claimed,
                None,
                None,
                f"{isolated(name)} · {title}\nclaimed {percent(level.claimed)}",
                percent(level.claimed),
            ),
        )
        rows.append(Row(plain(name), count(level.found.n), marks))
    return rows


def _reliability_table(claimed: Claimed) -> Table:
    rows = [_level_row(model, level) for _, model, found in claimed for level in found.levels]
    head = ("model", "pairs", "claimed", "labels agree", "low", "high")
    return Table("Reliability", head, tuple(rows))


def _level_row(model: Model, level: Level) -> tuple[Cell, ...]:
    return (
        word(model.title),
        figure(level.found.n, number),
        figure(level.claimed, percent),
        *number_cells(level.found.estimate, percent),
    )


def _claims_table(claimed: Claimed) -> Table:
    rows = [
        (word(model.title), word(level.found.name), *_level_row(model, level)[1:])
        for _, model, found in claimed
        for level in (*found.groups, found.overall)
    ]
    head = ("model", "group", "pairs", "claimed", "labels agree", "low", "high")
    return Table("Claims and labels by group", head, tuple(rows))
