"""How clear the ranking is and how hard the pairs are: distributions, not means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from .behind import Bins, Histogram
from .by_group import model_keys
from .captions import DIFFICULTY, MARGIN, MARGIN_GROUPS
from .histograms import Histograms, Panel
from .intervals import Intervals, Mark, Row
from .parts import Figure, Section, make_figure
from .reading import Run
from .scales import number, percent, signed, signed_tenths
from .svg import ESTIMATE, MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .thresholds import threshold_figure
from .words import count, interval

Shown = Sequence[tuple[str, int, Histogram]]
"""Title, look and histogram of what is drawn, from top to bottom."""

_LOG_2 = math.log(2.0)
_MARGIN_AXIS = "log-probability of chosen minus rejected, nats"
_LOSS_AXIS = "loss from which on the pair is ranked rightly, nats"


def spread_section(run: Run) -> Section | None:
    """Margins of each model; difficulty under the reference; both by group on demand."""
    figures: list[Figure] = []
    margins = _shown(run, [model.behind.log_ratio for model in run.models])
    if margins:
        figures += [_margin_figure(margins), _margin_groups(margins)]
    hard = _distinct(_shown(run, [model.behind.difficulty for model in run.models]))
    if hard:
        curves = threshold_figure([(title, found) for title, _, found in hard], run)
        figures += [_difficulty_figure(hard), _difficulty_groups(hard), curves]
    figures = [made for made in figures if made.table.rows]
    if not figures:
        return None
    return Section("spread", "Margins", "How clear is the ranking?", tuple(figures))


def _shown(run: Run, found: Sequence[Histogram | None]) -> Shown:
    return [
        (model.title, place % MODEL_LOOKS, histogram)
        for place, (model, histogram) in enumerate(zip(run.models, found, strict=True))
        if histogram is not None and histogram.overall.n
    ]


def _distinct(shown: Shown) -> Shown:
    """One panel where all models have one reference and one beta."""
    if len(shown) > 1 and all(histogram == shown[0][2] for _, _, histogram in shown):
        return [("all models", ESTIMATE, shown[0][2])]
    return shown


def _margin_figure(shown: Shown) -> Figure:
    draw = Histograms(
        tuple(_panel(*found) for found in shown),
        shown[0][2].edges,
        signed,
        _MARGIN_AXIS,
        0.0,
        "ranked rightly from here on",
    )
    table = _table("Margins", shown, "nats")
    return make_figure("margin-figure", "By how much chosen wins", [MARGIN], draw, table)


def _panel(title: str, look: int, histogram: Histogram) -> Panel:
    bins = histogram.overall
    right = percent(_right(bins, histogram.edges, 0.0))
    note = f"{right} right, median {signed_tenths(bins.middle.value)}"
    return Panel(isolated(title), note, look, bins.counts)


def _right(bins: Bins, edges: Sequence[float], reference: float) -> float | None:
    """Share of pairs in bins from the reference on."""
    right = sum(n for n, low in zip(bins.counts, edges, strict=False) if low > reference - 1e-6)
    return right / bins.n if bins.n else None


def _margin_groups(shown: Shown) -> Figure:
    draw = Intervals(
        _group_rows(shown),
        model_keys([title for title, *_ in shown]),
        signed,
        _MARGIN_AXIS,
        reference=0.0,
        reference_name="neither is likelier",
    )
    made = make_figure(
        "margin-groups-figure",
        "Margins by group",
        [MARGIN_GROUPS],
        draw,
        _quantile_table("Margins by group", shown),
    )
    return replace(made, folded="Margins by group")


def _difficulty_figure(shown: Shown) -> Figure:
    draw = Histograms(
        tuple(_hard_panel(*found) for found in shown),
        shown[0][2].edges,
        number,
        _LOSS_AXIS,
        _LOG_2,
        "right already under the reference",
    )
    table = _table("Difficulty", shown, "nats")
    return make_figure("difficulty-figure", "Difficulty before training", [DIFFICULTY], draw, table)


def _hard_panel(title: str, look: int, histogram: Histogram) -> Panel:
    right = percent(_right(histogram.overall, histogram.edges, _LOG_2))
    return Panel(isolated(title), f"{right} right already", look, histogram.overall.counts)


def _difficulty_groups(shown: Shown) -> Figure:
    draw = Intervals(
        _group_rows(shown),
        model_keys([title for title, *_ in shown]),
        number,
        _LOSS_AXIS,
        reference=_LOG_2,
        reference_name="right already",
        floor=0.0,
    )
    made = make_figure(
        "difficulty-groups-figure",
        "Difficulty by group",
        [MARGIN_GROUPS],
        draw,
        _quantile_table("Difficulty by group", shown),
    )
    return replace(made, folded="Difficulty by group")


def _group_rows(shown: Shown) -> tuple[Row, ...]:
    """A row for each group, lowest median first, with a mark for each model."""
    lowest: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for _, _, histogram in shown:
        for bins in histogram.groups:
            value = math.inf if bins.middle.value is None else bins.middle.value
            lowest[bins.name] = min(value, lowest.get(bins.name, math.inf))
            sizes[bins.name] = bins.n
    return tuple(
        Row(plain(name), count(sizes[name]), tuple(_mark(name, *found) for found in shown))
        for name in sorted(lowest, key=lambda name: lowest[name])
    )


def _mark(name: str, title: str, look: int, histogram: Histogram) -> Mark:
    bins = next((bins for bins in histogram.groups if bins.name == name), None)
    middle = histogram.overall.middle if bins is None else bins.middle
    if bins is None or middle.value is None:
        return Mark(look, None, None, None, f"{isolated(name)} · {isolated(title)}\nno value")
    said = f"median {signed(middle.value)}, middle half{interval(middle, signed)}"
    tip = f"{isolated(name)} · {isolated(title)}\n{said}"
    return Mark(look, middle.value, middle.low, middle.high, tip, signed(middle.value))


def _table(name: str, shown: Shown, unit: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            word(title),
            figure(low, number),
            figure(high, number),
            figure(int(n), number),
        )
        for title, _, histogram in shown
        for (low, high), n in zip(pairwise(histogram.edges), histogram.overall.counts, strict=True)
    ]
    return Table(name, ("model", f"from, {unit}", "to", "pairs"), tuple(rows))


def _quantile_table(name: str, shown: Shown) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            word(title),
            word(bins.name),
            figure(bins.n, number),
            figure(bins.middle.low, number),
            figure(bins.middle.value, number),
            figure(bins.middle.high, number),
        )
        for title, _, histogram in shown
        for bins in histogram.groups
    ]
    head = ("model", "group", "pairs", "lower quarter", "median", "upper quarter")
    return Table(name, head, tuple(rows))
