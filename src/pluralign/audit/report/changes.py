"""What tuning changed: from the start to each tuned model, and between tuned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .by_group import group_order, mark_of, number_cells, together_cells, together_head
from .captions import CHANGE
from .fields import Estimate, Frame, Slice
from .intervals import Intervals, Mark, Row
from .many import correction
from .parts import Figure, Section, make_figure
from .reading import Comparison, Model, Run
from .scales import number, percent, percent_tick, points
from .svg import ESTIMATE, HOLLOW, ORIGIN, isolated, plain
from .tables import Table, figure, word
from .words import (
    MAIN,
    MEASURES,
    Measure,
    count,
    differences_caption,
    differences_title,
    interval,
    measure,
    verdicts,
)


def changes_section(run: Run) -> Section | None:
    """From the first model to each tuned one; then all other paired differences."""
    if not run.comparisons:
        return None
    base = run.models[0] if run.models else None
    tuned = [c for c in run.comparisons if base is not None and _starts_at(c, base)]
    figures = [_change_figure(run, base, tuned)] if base is not None and tuned else []
    others = [comparison for comparison in run.comparisons if comparison not in tuned]
    for place, metric in enumerate(dict.fromkeys(c.metric for c in others)):
        shown = [c for c in others if c.metric == metric]
        figures.append(_differences_figure(run, shown, place))
    return Section(
        "differences", "Changes", "What did tuning change, pair by pair?", tuple(figures)
    )


def _starts_at(comparison: Comparison, base: Model) -> bool:
    return comparison.metric == MAIN and comparison.b == base.name and MAIN in base.frames


def _change_figure(run: Run, base: Model, shown: Sequence[Comparison]) -> Figure:
    order = group_order([model.frames[MAIN] for model in run.models if MAIN in model.frames])
    rows = [
        row
        for comparison in shown
        for row in _change_rows(run, base, comparison, order, headed=len(shown) > 1)
    ]
    tuned = "tuned model" if len(shown) > 1 else isolated(run.title_of(shown[0].a))
    draw = Intervals(
        tuple(rows),
        ((ORIGIN, isolated(base.title)), (ESTIMATE, tuned), (HOLLOW, "no change told")),
        percent_tick,
        MEASURES[MAIN].title.lower(),
        reference=0.5,
        reference_name="guessing",
        floor=0.0,
        ceiling=1.0,
    )
    title = f"From {isolated(base.title)} to {tuned if len(shown) == 1 else 'each tuned model'}"
    caption = [CHANGE, *verdicts(run, shown), correction([one.frame for one in shown])]
    return make_figure("change-figure", title, caption, draw, _change_table(run, base, shown))


def _change_rows(
    run: Run, base: Model, comparison: Comparison, order: Sequence[str], *, headed: bool
) -> list[Row]:
    rank = {name: place for place, name in enumerate(order)}
    frame = comparison.frame
    groups = sorted(frame.groups, key=lambda group: rank.get(group.name, len(rank)))
    title = isolated(run.title_of(comparison.a))
    rows = [Row(title, "", (), ruled=True)] if headed else []
    for part in (*groups, frame.overall):
        mark = _change_mark(frame, part, _before(base, part, frame.overall), title, base)
        rows.append(Row(plain(part.name), count(part.n), (mark,)))
    return rows


def _before(base: Model, part: Slice, overall: Slice) -> Estimate:
    """What the start reached in the same group."""
    frame = base.frames[MAIN]
    found = frame.overall if part is overall else frame.group(part.name)
    return Estimate() if found is None else found.estimate


def _after(before: Estimate, change: Estimate) -> Estimate:
    """The change with its interval, laid on what was before."""
    if before.value is None:
        return Estimate()
    ends = (change.value, change.low, change.high)
    return Estimate(*(None if end is None else before.value + end for end in ends))


def _change_mark(frame: Frame, part: Slice, before: Estimate, title: str, base: Model) -> Mark:
    after, change = _after(before, part.estimate), part.estimate
    tip = [
        f"{isolated(part.name)} · {title}",
        f"{isolated(base.title)} {percent(before.value)}, now {percent(after.value)}",
        f"change {points(change.value)} points{interval(change, points)}",
        count(part.n),
    ]
    return Mark(
        ESTIMATE,
        after.value,
        after.low,
        after.high,
        "\n".join(filter(None, tip)),
        points(change.value),
        hollow=not frame.differs(part),
        before=before.value,
    )


def _change_table(run: Run, base: Model, shown: Sequence[Comparison]) -> Table:
    corrected = [comparison.frame for comparison in shown]
    head = ("model", "group", "pairs", "before", "after", "change, points", "low", "high")
    head = (*head, *together_head(corrected))
    rows = []
    for comparison in shown:
        for part in (*comparison.frame.groups, comparison.frame.overall):
            before = _before(base, part, comparison.frame.overall)
            rows.append(
                (
                    word(run.title_of(comparison.a)),
                    word(part.name),
                    figure(part.n, number),
                    figure(before.value, percent),
                    figure(_after(before, part.estimate).value, percent),
                    *number_cells(part.estimate, points),
                    *together_cells(part, points, corrected),
                )
            )
    return Table("Change by group", head, tuple(rows))


def _differences_figure(run: Run, shown: Sequence[Comparison], place: int) -> Figure:
    how = measure(shown[0].metric)
    frames = [model.frames[MAIN] for model in run.models if MAIN in model.frames]
    order = group_order(frames or [comparison.frame for comparison in shown])
    rows = [row for comparison in shown for row in _difference_rows(run, comparison, order, how)]
    keys = [(ESTIMATE, "difference told"), (HOLLOW, "no difference told")]
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
            Row(plain(part.name), count(part.n), (_difference_mark(frame, part, title, how),))
            for part in (*groups, frame.overall)
        ),
    ]


def _difference_mark(frame: Frame, part: Slice, title: str, how: Measure) -> Mark:
    mark = mark_of(ESTIMATE, title, part.name, part, how.difference)
    return replace(mark, hollow=not frame.differs(part))


def _differences_table(run: Run, shown: Sequence[Comparison], how: Measure) -> Table:
    corrected = [comparison.frame for comparison in shown]
    head = ("first", "second", "group", "pairs", f"difference, {how.unit}", "low", "high")
    head = (*head, *together_head(corrected))
    rows = [
        (
            word(run.title_of(comparison.a)),
            word(run.title_of(comparison.b)),
            word(part.name),
            figure(part.n, number),
            *number_cells(part.estimate, how.difference),
            *together_cells(part, how.difference, corrected),
        )
        for comparison in shown
        for part in (*comparison.frame.groups, comparison.frame.overall)
    ]
    return Table(f"Paired differences in {how.title.lower()}", head, tuple(rows))
