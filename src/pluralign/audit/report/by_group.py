"""What the models do for each group, and how they differ on the same pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .fields import Estimate, Frame, Slice
from .intervals import Intervals, Mark, Row
from .parts import Figure, Section, make_figure
from .reading import Model, Run
from .scales import Format, number, percent, percent_tick
from .svg import MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .words import (
    MAIN,
    MEASURES,
    MEASURES_CAPTION,
    count,
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


def model_keys(titles: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Legend of the models; one model needs none."""
    looks = [place % MODEL_LOOKS for place in range(len(titles))]
    named = tuple(zip(looks, map(isolated, titles), strict=True))
    return named if len(titles) > 1 else ()


def _groups_figure(run: Run, models: Sequence[Model]) -> Figure:
    titles = [model.title for model in models]
    rows = _frame_rows([model.frames[MAIN] for model in models], titles)
    draw = Intervals(
        rows,
        model_keys(titles),
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
        marks = marks_of("all pairs", overall, titles, percent)
        rows.append(Row("all pairs", count(overall[0].n), marks, ruled=True))
    return tuple(rows)


def group_order(frames: Sequence[Frame]) -> list[str]:
    """Names of all groups by the lowest standing that any frame gives them, lowest first."""
    lowest: dict[str, float] = {}
    for group in (group for frame in frames for group in frame.groups):
        value = math.inf if group.standing is None else group.standing
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
        marks=marks_of(name, parts, titles, percent),
        tag=tag if under else "",
    )


def marks_of(
    name: str, parts: Sequence[Slice | None], titles: Sequence[str], write: Format
) -> tuple[Mark, ...]:
    """A mark for each model, in their order."""
    return tuple(
        mark_of(place % MODEL_LOOKS, isolated(title), name, part, write)
        for place, (title, part) in enumerate(zip(titles, parts, strict=True))
    )


def mark_of(series: int, title: str, name: str, part: Slice | None, write: Format) -> Mark:
    """The mark of one group under one model, with what it says when pointed at."""
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
        _drawn(part, write) if part else "",
    ]
    return Mark(
        series,
        estimate.value,
        estimate.low,
        estimate.high,
        "\n".join(filter(None, lines)),
        write(estimate.value),
    )


def _drawn(part: Slice, write: Format) -> str:
    if not part.shrunk.has_interval:
        return ""
    return f"drawn towards the others {write(part.shrunk.value)}{interval(part.shrunk, write)}"


def _measures_figure(models: Sequence[Model]) -> Figure:
    titles = [model.title for model in models]
    rows = [
        Row(
            how.title,
            "",
            marks_of(
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
        model_keys(titles),
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
                *number_cells(model.frames[key].overall.estimate, percent),
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
    all_frames = [frame for _, _, frame in frames]
    head = ("model", "measure", "group", "pairs", "value", "low", "high")
    rows = [
        (
            word(title),
            word(measure(metric).title),
            word(part.name, strong=frame.worst is not None and part is frame.worst),
            figure(part.n, number),
            *number_cells(part.estimate, measure(metric).write),
            *together_cells(part, measure(metric).write, all_frames),
        )
        for title, metric, frame in frames
        for part in (*frame.groups, frame.overall)
    ]
    return Table(name, (*head, *together_head(all_frames)), tuple(rows))


_TOGETHER = ("drawn", "drawn, low", "drawn, high", "adjusted p")


def together_head(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Headings of what the groups say of each other; none where no record has it."""
    groups = (group for frame in frames for group in frame.groups)
    has = any(group.shrunk.has_interval or group.adjusted is not None for group in groups)
    return _TOGETHER if has else ()


def together_cells(part: Slice, write: Format, frames: Sequence[Frame]) -> tuple[Cell, ...]:
    """Cells of the value drawn towards the other groups, and of the adjusted p-value."""
    if not together_head(frames):
        return ()
    return (*number_cells(part.shrunk, write), figure(part.adjusted, _p_value))


def _p_value(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def number_cells(estimate: Estimate, write: Format) -> tuple[Cell, ...]:
    """Cells of a value and the ends of its interval."""
    return tuple(figure(v, write) for v in (estimate.value, estimate.low, estimate.high))
