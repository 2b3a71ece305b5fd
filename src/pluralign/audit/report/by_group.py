"""What the models do for each group, and how they differ on the same pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .intervals import Intervals, Mark, Row
from .parts import Figure, Section, make_figure
from .reading import Comparison, Estimate, Frame, Model, Run, Slice
from .scales import Format, number, percent, percent_tick
from .svg import ESTIMATE, MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .words import (
    MAIN,
    MEASURES,
    MEASURES_CAPTION,
    Measure,
    count,
    differences_caption,
    differences_title,
    groups_caption,
    groups_title,
    interval,
    listed,
    measure,
)


def groups_section(run: Run) -> Section | None:
    """Ranking accuracy by group, all models side by side; the accuracies beside it."""
    models = [model for model in run.models if MAIN in model.frames]
    if not models:
        return None
    figures = [_groups_figure(run, models)]
    if any(len(_share_metrics(model)) > 1 for model in models):
        figures.append(_measures_figure(models))
    return Section("groups", "By group", "Whom does each model serve?", tuple(figures))


def _keys(titles: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Legend of the models; one model needs none."""
    looks = [place % MODEL_LOOKS for place in range(len(titles))]
    named = tuple(zip(looks, map(isolated, titles), strict=True))
    return named if len(titles) > 1 else ()


def _groups_figure(run: Run, models: Sequence[Model]) -> Figure:
    titles = [model.title for model in models]
    rows = _frame_rows([model.frames[MAIN] for model in models], titles)
    draw = Intervals(
        rows,
        _keys(titles),
        percent_tick,
        MEASURES[MAIN].title.lower(),
        reference=0.5,
        reference_name="guessing",
        floor=0.0,
        ceiling=1.0,
    )
    caption = groups_caption(run)
    table = frames_table(
        "Ranking accuracy by group",
        [
            (model.title, key, model.frames[key])
            for model in models
            for key in _share_metrics(model)
        ],
    )
    return make_figure("groups-figure", groups_title(run), caption, draw, table)


def _share_metrics(model: Model) -> list[str]:
    return [key for key in MEASURES if key in model.frames and measure(key).share]


def _frame_rows(frames: Sequence[Frame], titles: Sequence[str]) -> tuple[Row, ...]:
    """A row for each group, worst first, and one for all pairs."""
    rows = [_frame_row(name, frames, titles) for name in group_order(frames)]
    overall = [frame.overall for frame in frames]
    if any(part.estimate.value is not None for part in overall):
        marks = _marks("all pairs", overall, titles, percent)
        rows.append(Row("all pairs", count(overall[0].n), marks, ruled=True))
    return tuple(rows)


def group_order(frames: Sequence[Frame]) -> list[str]:
    """Names of all groups by the lowest value that any frame gives them, lowest first."""
    lowest: dict[str, float] = {}
    for group in (group for frame in frames for group in frame.groups):
        value = math.inf if group.estimate.value is None else group.estimate.value
        lowest[group.name] = min(value, lowest.get(group.name, math.inf))
    return sorted(lowest, key=lambda name: lowest[name])


def _frame_row(name: str, frames: Sequence[Frame], titles: Sequence[str]) -> Row:
    parts = [frame.group(name) for frame in frames]
    under = [
        isolated(title, 24)
        for title, frame in zip(titles, frames, strict=True)
        if frame.worst is not None and frame.worst.name == name
    ]
    everywhere = len(under) == len(frames)
    sizes = [part.n for part in parts if part is not None and part.n is not None]
    tag = "worst-off" if everywhere else f"worst-off for {listed(under)}"
    return Row(
        name=plain(name),
        note=count(sizes[0]) if sizes else "",
        marks=_marks(name, parts, titles, percent),
        tag=tag if under else "",
    )


def _marks(
    name: str, parts: Sequence[Slice | None], titles: Sequence[str], write: Format
) -> tuple[Mark, ...]:
    return tuple(
        _mark(place % MODEL_LOOKS, isolated(title), name, part, write)
        for place, (title, part) in enumerate(zip(titles, parts, strict=True))
    )


def _mark(series: int, title: str, name: str, part: Slice | None, write: Format) -> Mark:
    estimate = Estimate() if part is None else part.estimate
    said = f"{write(estimate.value)}{interval(estimate, write)}"
    flags = {
        "empty": "no pair in this group",
        "single": "one pair only",
        "constant": "all values equal",
    }
    lines = [
        f"{isolated(name)} · {title}",
        said if estimate.value is not None else "no value",
        count(part.n) if part else "",
        flags.get(part.flag, "") if part else "",
    ]
    return Mark(
        series,
        estimate.value,
        estimate.low,
        estimate.high,
        "\n".join(filter(None, lines)),
        write(estimate.value),
    )


def _measures_figure(models: Sequence[Model]) -> Figure:
    titles = [model.title for model in models]
    rows = [
        Row(
            how.title,
            "",
            _marks(
                how.title,
                [m.frames[key].overall if key in m.frames else None for m in models],
                titles,
                percent,
            ),
        )
        for key, how in MEASURES.items()
        if how.share and any(key in model.frames for model in models)
    ]
    draw = Intervals(
        tuple(rows),
        _keys(titles),
        percent_tick,
        "share of all held-out pairs",
        reference=0.5,
        reference_name="guessing",
        floor=0.0,
        ceiling=1.0,
    )
    used = [MEASURES[key] for key in MEASURES if any(key in model.frames for model in models)]
    meanings = [f"{how.title}: {how.meaning}." for how in used if how.share]
    table = Table(
        "Accuracies over all pairs",
        ("accuracy", "model", "value", "low", "high"),
        tuple(
            (
                word(measure(key).title),
                word(model.title),
                *_numbers(model.frames[key].overall.estimate, percent),
            )
            for key in MEASURES
            for model in models
            if key in _share_metrics(model)
        ),
    )
    caption = [MEASURES_CAPTION, " ".join(meanings)]
    return make_figure("measures-figure", "Ranking is not reward", caption, draw, table)


def frames_table(name: str, frames: Sequence[tuple[str, str, Frame]]) -> Table:
    """Values of frames by group, a line for each group of each frame."""
    head = ("model", "measure", "group", "pairs", "value", "low", "high")
    rows = [
        (
            word(title),
            word(measure(metric).title),
            word(part.name, strong=frame.worst is not None and part is frame.worst),
            figure(part.n, number),
            *_numbers(part.estimate, measure(metric).write),
        )
        for title, metric, frame in frames
        for part in (*frame.groups, frame.overall)
    ]
    return Table(name, head, tuple(rows))


def _numbers(estimate: Estimate, write: Format) -> tuple[Cell, ...]:
    return tuple(figure(v, write) for v in (estimate.value, estimate.low, estimate.high))


def comparisons_section(run: Run) -> Section | None:
    """Paired differences between models, a figure for each metric."""
    if not run.comparisons:
        return None
    metrics = dict.fromkeys(comparison.metric for comparison in run.comparisons)
    return Section(
        "differences",
        "Differences",
        "What did tuning change, pair by pair?",
        tuple(
            _differences_figure(run, [c for c in run.comparisons if c.metric == metric], place)
            for place, metric in enumerate(metrics)
        ),
    )


def _differences_figure(run: Run, shown: Sequence[Comparison], place: int) -> Figure:
    how = measure(shown[0].metric)
    frames = [model.frames[MAIN] for model in run.models if MAIN in model.frames]
    order = group_order(frames or [comparison.frame for comparison in shown])
    rows = [row for comparison in shown for row in _difference_rows(run, comparison, order, how)]
    keys = [(ESTIMATE, "interval without zero"), (-1, "zero in the interval")]
    draw = Intervals(
        tuple(rows),
        tuple(keys),
        how.difference_tick,
        f"difference in {how.title.lower()}, {how.unit}",
        reference=0.0,
        reference_name="no difference",
    )
    title, caption = differences_title(run, shown), differences_caption(run, shown)
    table = _differences_table(run, shown, how)
    return make_figure(f"differences-figure-{place}", title, caption, draw, table)


def _difference_rows(
    run: Run, comparison: Comparison, order: Sequence[str], how: Measure
) -> list[Row]:
    """A heading that names the two models, and a row for each group and for all pairs."""
    title = f"{isolated(run.title_of(comparison.a))} − {isolated(run.title_of(comparison.b))}"
    frame = comparison.frame
    rank = {name: place for place, name in enumerate(order)}
    groups = sorted(frame.groups, key=lambda group: rank.get(group.name, len(rank)))
    return [
        Row(title, "", (), ruled=True),
        *(
            Row(plain(part.name), count(part.n), (_difference_mark(part, title, how),))
            for part in (*groups, frame.overall)
        ),
    ]


def _difference_mark(part: Slice, title: str, how: Measure) -> Mark:
    mark = _mark(ESTIMATE, title, part.name, part, how.difference)
    return replace(mark, hollow=not part.estimate.excludes(0.0))


def _differences_table(run: Run, shown: Sequence[Comparison], how: Measure) -> Table:
    head = ("first", "second", "group", "pairs", f"difference, {how.unit}", "low", "high")
    rows = [
        (
            word(run.title_of(comparison.a)),
            word(run.title_of(comparison.b)),
            word(part.name),
            figure(part.n, number),
            *_numbers(part.estimate, how.difference),
        )
        for comparison in shown
        for part in (*comparison.frame.groups, comparison.frame.overall)
    ]
    return Table(f"Paired differences in {how.title.lower()}", head, tuple(rows))
