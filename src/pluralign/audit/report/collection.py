"""The report of a collection: forecasts, money by round, learning curves, the next gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ...files import write_text
from . import collection_words as words
from .by_group import number_cells
from .captions import TEXTS_NOTE
from .collection_curves import Curves, drawn_over
from .collection_reading import Collection, Group, Strategy, read_collection
from .collection_rounds import Purchases, Rounds
from .fields import Estimate
from .intervals import Intervals, Mark, Row
from .page import day, environment, origin_of, policy
from .parts import Figure, Section, make_figure
from .reading import Run
from .scales import number, percent
from .svg import MODEL_LOOKS, isolated, plain
from .tables import Cell, Table, figure, word
from .words import count, interval

_MOST_PANELS: Final = 12
_FEW: Final = 12
"""With more groups than this, fewer strategies are drawn for each."""

_BESIDE: Final = ("maximin", "utilitarian", "equal count", "proportional", "equal spend")
_PER: Final = 100.0


def write_collection_report(record: Mapping[str, Any], path: str | Path) -> Path:
    """Draw the report of a planned or running collection as one self-contained HTML file.

    Use it to decide what to buy next, and to show others why: what every strategy would leave
    each group with, what was bought round by round, the learning curves, and how much the next
    samples of each group are worth. The file opens offline, in light and dark, on a phone and on
    paper. Parts that the record lacks are left out.

    Args:
        record: what ``pluralign plan PLAN --json`` prints, or
            :func:`pluralign.collect.forecast.collection_record` gives.
        path: where to write; the file appears whole or not at all.

    Returns:
        The path of the file.

    Raises:
        DataError: if there is no plan, or naming the part that is not of the expected kind.

    Example:
        >>> import tempfile
        >>> plan = {"groups": ["a", "b"], "cost": [1.0, 2.0], "budget": 300.0}
        >>> rounds = [{"round": 0, "bought": {"a": 20, "b": 20}, "spent": 60.0}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = f"{folder}/report.html"
        ...     page = write_collection_report({"plan": plan, "rounds": rounds}, target)
        ...     "Money by round" in page.read_text("utf-8")
        True
    """
    return write_text(path, render_collection(read_collection(record)))


def render_collection(run: Collection) -> str:
    """The text of the page."""
    line, details = words.headline(run)
    sections = [_forecast_section(run), _rounds_section(run), _curves_section(run)]
    return (
        environment()
        .get_template("collection.html.j2")
        .render(
            title=plain(run.title),
            line=line,
            details=details,
            facts=_facts(run),
            sections=[section for section in sections if section is not None],
            notes=words.NOTES,
            texts_note=TEXTS_NOTE,
            origin=origin_of(Run(run.title, run.created, {}, (), (), (), None, run.provenance)),
            policy=policy(),
        )
    )


def _facts(run: Collection) -> list[str]:
    told = [
        count(len(run.names), "group"),
        f"budget {number(run.budget)}",
        f"objective {isolated(run.objective)}" if run.objective else "",
        day(run.created),
    ]
    return [fact for fact in told if fact]


def _forecast_section(run: Collection) -> Section | None:
    able = [one for one in run.strategies if one.groups and not one.impossible]
    if not able:
        return None
    shown = _shown(able, len(run.names))
    names = [f"{shown[0].name} (the plan)", *(one.name for one in shown[1:])]
    rows = tuple(_forecast_row(name, shown) for name in _by_loss(run, able[0]))
    draw = Intervals(rows, tuple(enumerate(names)), number, "predicted loss", floor=0.0)
    left = len(able) - len(shown)
    more = f"{count(left, 'more strategy').replace('ys', 'ies')} in the table." if left else ""
    table = _forecast_table(able)
    caption = [words.FORECAST, more]
    made = make_figure("forecast-figure", "Predicted loss by strategy", caption, draw, table)
    title = "What would each way to spend leave every group with?"
    return Section("forecast", "Forecast", title, (made,))


def _shown(able: Sequence[Strategy], groups: int) -> list[Strategy]:
    """The plan's own strategy and those that say most beside it, as many as can be told apart."""
    names = _BESIDE if groups <= _FEW else _BESIDE[2:4]
    beside = [one for name in names for one in able[1:] if one.name == name]
    return [able[0], *beside][:MODEL_LOOKS]


def _by_loss(run: Collection, own: Strategy) -> list[str]:
    losses = {share.name: share.loss or 0.0 for share in own.groups}
    return sorted(run.names, key=lambda name: -losses.get(name, 0.0))


def _forecast_row(name: str, shown: Sequence[Strategy]) -> Row:
    marks: list[Mark] = []
    for look, one in enumerate(shown):
        share = one.of(name)
        loss, buy = (None, None) if share is None else (share.loss, share.buy)
        tip = f"{isolated(name)} · {one.name}\nloss {number(loss)}\n{_whole(buy)} more samples"
        marks.append(Mark(look, loss, None, None, tip, number(loss)))
    return Row(plain(name), "", tuple(marks), ruled=len(shown) > 1)


def _whole(value: float | None) -> str:
    return number(None if value is None else float(round(value)))


def _forecast_table(able: Sequence[Strategy]) -> Table:
    head = ("strategy", "group", "samples", "to buy", "loss")
    rows: list[tuple[Cell, ...]] = []
    for one in able:
        rows += [
            (
                word(one.name),
                word(share.name),
                figure(share.n, number),
                figure(share.buy, number),
                figure(share.loss, number),
            )
            for share in one.groups
        ]
    return Table("Predicted loss by strategy and group", head, tuple(rows))


def _rounds_section(run: Collection) -> Section | None:
    if not run.rounds:
        return None
    money = [words.money_of(run, one) for one in run.rounds]
    rows = tuple(
        Purchases(
            plain(name),
            tuple(one.bought.get(name, 0.0) for one in run.rounds),
            tuple(one[name] for one in money),
            _total(run, name),
        )
        for name in run.names
    )
    draw = Rounds(rows, tuple(words.round_name(one.number) for one in run.rounds))
    title, caption = words.rounds_title(run), words.rounds_caption(run)
    made = make_figure("rounds-figure", title, caption, draw, _rounds_table(run))
    tables = (_weights_table(run),) if any(g.weight for g in run.groups) else ()
    return Section("rounds", "Rounds", "Money by round", (made,), tables)


def _total(run: Collection, name: str) -> str:
    n = sum(one.bought.get(name, 0.0) for one in run.rounds)
    cost = dict(zip(run.names, run.costs, strict=True))[name]
    return f"{number(n)} for {number(n * cost)}"


def _rounds_table(run: Collection) -> Table:
    head = ("round", "group", "bought", "money", "predicted loss", "measured loss")
    rows = [
        (
            word(words.round_name(one.number)),
            word(name),
            figure(one.bought.get(name), number),
            figure(words.money_of(run, one)[name], number),
            figure(one.predicted.get(name), number),
            figure(one.obtained.get(name), number),
        )
        for one in run.rounds
        for name in run.names
    ]
    return Table("What each round bought, what was predicted and measured", head, tuple(rows))


def _weights_table(run: Collection) -> Table:
    rows = [
        (
            word(group.name),
            figure(group.n, number),
            figure(group.population, percent),
            figure(group.weight, number),
        )
        for group in run.groups
    ]
    head = ("group", "samples", "share of the population", "weight of a sample")
    return Table("Inclusion weights", head, tuple(rows))


def _curves_section(run: Collection) -> Section | None:
    order = [group for group in words.by_gain(run) if drawn_over(group) is not None]
    if not order:
        return None
    panels = order[:_MOST_PANELS]
    left = len(order) - len(panels)
    fewer = f"The {len(panels)} groups where money does most; {left} more in the table."
    caption = [words.CURVES, fewer if left else ""]
    table = _curves_table(order)
    curves = make_figure(
        "learning-figure", "Learning curves", caption, Curves(tuple(panels)), table
    )
    title = "What do more samples bring?"
    return Section("curves", "Curves", title, (_gains_figure(order, run), curves))


def _gains_figure(order: Sequence[Group], run: Collection) -> Figure:
    shares = [f"{100 * words.worth(group, order):.0f} %" for group in order]
    if run.counts_worst:
        shares = [f"loss {number(group.loss)}" for group in order]
    rows = tuple(_gain_row(group, note) for group, note in zip(order, shares, strict=True))
    draw = Intervals(rows, (), number, "fall of the loss by 100 more samples", floor=0.0)
    head = ("group", "price", "samples", "loss", "next 100", "low", "high", "objective per money")
    cells = [
        (
            word(group.name),
            figure(group.cost, number),
            figure(group.n, number),
            figure(group.loss, number),
            *number_cells(_scaled(group.gain), number),
            figure(group.welfare, number),
        )
        for group in order
    ]
    table = Table("Gain of the next samples", head, tuple(cells))
    caption = [words.GAINS, words.WORST if run.counts_worst else words.WORTH]
    made = make_figure("gain-figure", words.gains_title(order, run), caption, draw, table)
    guessed = not any(group.gain.has_interval for group in order)
    alert = "These curves are guesses: no interval can be given before something is measured."
    return replace(made, alert=alert) if guessed else made


def _scaled(gain: Estimate) -> Estimate:
    parts = (gain.value, gain.low, gain.high)
    return Estimate(*(None if part is None else _PER * part for part in parts))


def _gain_row(group: Group, note: str) -> Row:
    gain = _scaled(group.gain)
    text = number(gain.value)
    said = f"{text}{interval(gain, number)} by the next 100"
    tip = f"{isolated(group.name)}\n{said}\n{number(group.n)} samples, price {number(group.cost)}"
    mark = Mark(0, gain.value, gain.low, gain.high, tip, text)
    return Row(plain(group.name), note, (mark,))


def _curves_table(order: Sequence[Group]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group in order:
        fitted = [figure(value, number) for value in group.curve or (None, None, None)]
        points = [(point.n, point.loss, point.error) for point in group.points]
        rows += [
            (word(group.name), *(figure(value, number) for value in point), *fitted)
            for point in points or [(group.n, group.loss, None)]
        ]
    head = ("group", "samples", "loss", "standard error", "a", "b", "gamma")
    return Table("Measured losses and fitted curves", head, tuple(rows))
