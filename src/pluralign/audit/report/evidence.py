"""What stands behind the figures by group: the labels, and how training went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from .captions import CHECKPOINTS
from .fields import finite
from .intervals import Intervals, Mark, Row
from .multiples import Line, Multiples, Panel, thinned
from .parts import Figure, Section, make_figure
from .reading import Model, NoiseRate, Run
from .scales import Format, number, percent, percent_tick, signed
from .svg import ASSUMED, ESTIMATE, TRUTH, isolated, plain
from .tables import Cell, Table, figure, word
from .training import checkpoint_lines, group_lines, loss_lines
from .words import (
    CURVES_CAPTION,
    LOSS_CAPTION,
    NOISE_CAPTION,
    count,
    interval,
    listed,
)


def noise_section(run: Run) -> Section | None:
    """Estimated share of reversed labels by group, against what training assumed."""
    if not run.noise:
        return None
    rates = sorted(run.noise, key=lambda rate: -(rate.estimate.value or 0.0))
    keys = [(ESTIMATE, "estimated share of reversed labels")]
    if any(rate.assumed is not None for rate in rates):
        keys.append((ASSUMED, "assumed in training"))
    if any(rate.truth is not None for rate in rates):
        keys.append((TRUTH, "truth"))
    draw = Intervals(
        tuple(map(_noise_row, rates)),
        tuple(keys),
        percent_tick,
        "share of labels that are reversed",
        floor=0.0,
        ceiling=1.0,
    )
    made = make_figure(
        "noise-figure", _noise_title(rates), _noise_caption(rates), draw, _noise_table(rates)
    )
    return Section("noise", "Labels", "Can the labels be trusted?", (made,))


def _noise_row(rate: NoiseRate) -> Row:
    estimate = rate.estimate
    others = ((ASSUMED, "assumed", rate.assumed), (TRUTH, "truth", rate.truth))
    known = [(look, name, value) for look, name, value in others if value is not None]
    around = interval(estimate, percent)
    said = [f"estimated {percent(estimate.value)}{around}"]
    tip = "\n".join([isolated(rate.group), *said, *(f"{n} {percent(v)}" for _, n, v in known)])
    text = percent(estimate.value)
    marks = [Mark(ESTIMATE, estimate.value, estimate.low, estimate.high, tip, text)]
    marks += [Mark(look, value, None, None, tip, percent(value)) for look, _, value in known]
    return Row(plain(rate.group), count(rate.n), tuple(marks))


def _noise_title(rates: Sequence[NoiseRate]) -> str:
    first = rates[0]
    if first.estimate.value is None:
        return "Share of reversed labels by group"
    return f"Labels of {isolated(first.group)} are reversed most often"


def _noise_caption(rates: Sequence[NoiseRate]) -> list[str]:
    outside = [
        isolated(rate.group)
        for rate in rates
        if rate.assumed is not None and rate.estimate.excludes(rate.assumed)
    ]
    found = (
        f"For {listed(outside)} training assumed a rate outside the interval." if outside else ""
    )
    return [NOISE_CAPTION, found]


def _noise_table(rates: Sequence[NoiseRate]) -> Table:
    head = ("group", "pairs", "estimator", "estimate", "low", "high", "assumed", "truth")
    return Table(
        "Reversed labels by group",
        head,
        tuple(
            (
                word(rate.group),
                figure(rate.n, number),
                word(rate.estimator),
                *(
                    figure(value, percent)
                    for value in (
                        rate.estimate.value,
                        rate.estimate.low,
                        rate.estimate.high,
                        rate.assumed,
                        rate.truth,
                    )
                ),
            )
            for rate in rates
        ),
    )


def training_section(run: Run) -> Section | None:
    """Loss and ranking accuracy by group over steps, and win rates at checkpoints."""
    makers = (_loss_figure, _curves_figure, _checkpoints_figure)
    figures = tuple(made for maker in makers if (made := maker(run.models)) is not None)
    if not figures:
        return None
    return Section("training", "Training", "What happened in training?", figures)


def panels_of(
    models: Sequence[Model], lines: Callable[[Model], tuple[Line, ...]]
) -> tuple[Panel, ...]:
    """A panel for each model that has such curves."""
    found = ((model, lines(model)) for model in models)
    return tuple(Panel(isolated(model.title), drawn) for model, drawn in found if drawn)


def _loss_figure(models: Sequence[Model]) -> Figure | None:
    panels = panels_of(models, loss_lines)
    if not panels:
        return None
    draw = Multiples(panels, legend_of(panels, _LOSS_LEGEND), number, shared=False)
    return make_figure(
        "loss-figure", "Loss", [LOSS_CAPTION], draw, curve_table("Loss", panels, number)
    )


def _curves_figure(models: Sequence[Model]) -> Figure | None:
    panels = panels_of(models, group_lines)
    if not panels:
        return None
    draw = Multiples(
        panels,
        legend_of(panels, _GROUP_LEGEND),
        percent_tick,
        reference=0.5,
        floor=0.0,
        ceiling=1.0,
        tip=percent,
    )
    table = curve_table("Ranking accuracy during training", panels, percent)
    title = "Ranking accuracy by group during training"
    return make_figure("curves-figure", title, [CURVES_CAPTION], draw, table)


def _checkpoints_figure(models: Sequence[Model]) -> Figure | None:
    panels = panels_of(models, checkpoint_lines)
    if not panels:
        return None
    draw = Multiples(
        panels,
        legend_of(panels, _CHECKPOINT_LEGEND),
        percent_tick,
        reference=0.5,
        floor=0.0,
        ceiling=1.0,
        tip=percent,
    )
    table = curve_table("Ranking accuracy and win rate at checkpoints", panels, percent)
    said = [CHECKPOINTS, *(_relation(model) for model in models if model.checkpoints)]
    title = "Ranking accuracy is not win rate"
    return make_figure("checkpoints-figure", title, said, draw, table)


def _relation(model: Model) -> str:
    """Correlation up to the peak of the win rate, and past it."""
    parts = (("to_peak", "up to the peak"), ("after_peak", "past it"), ("all", "over all"))
    told = [
        f"{signed(value)} {where}"
        for key, where in parts
        if (value := _correlation(model.relation.get(key))) is not None
    ]
    if not told:
        return ""
    return f"{isolated(model.title)}: rank correlation of the two {listed(told)}."


def _correlation(record: object) -> float | None:
    known = cast(Mapping[str, object], record) if isinstance(record, Mapping) else {}
    return finite(known.get("spearman"))


_CHECKPOINT_LEGEND = (("held-out", "ranking accuracy"), ("wins", "win rate"))
_LOSS_LEGEND = (("train", "training"), ("held-out", "held out"))
_GROUP_LEGEND = (("worst", "worst-off group"), ("all", "all pairs"), ("rest", "other groups"))


def legend_of(
    panels: Sequence[Panel], keys: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """The keys whose curves are drawn."""
    looks = {line.look for panel in panels for line in panel.lines}
    return tuple(key for key in keys if key[0] in looks)


_MAX_STEPS = 24


def curve_table(name: str, panels: Sequence[Panel], write: Format, across: str = "step") -> Table:
    """A line for each step of each model, evenly chosen where there are many."""
    curves = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    rows: list[tuple[Cell, ...]] = []
    for panel in panels:
        values = {line.name: dict(line.points) for line in panel.lines}
        steps = sorted({step for line in panel.lines for step, _ in line.points})
        rows += [
            (
                word(bare(panel.title)),
                figure(step, number),
                *(figure(values.get(curve, {}).get(step), write) for curve in curves),
            )
            for step in thinned(steps, _MAX_STEPS)
        ]
    return Table(name, ("model", across, *map(bare, curves)), tuple(rows))


def bare(text: str) -> str:
    """A name without the signs that isolate it in a sentence."""
    return text.strip("\u2068\u2069")
