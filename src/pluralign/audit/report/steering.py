"""The report of a steering run: a page of its own, drawn from ``steering.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from ...files import write_text
from . import steering_words as words
from .by_group import number_cells
from .captions import TEXTS_NOTE
from .fields import Estimate, Slice
from .intervals import Intervals, Mark, Row
from .page import day, environment, origin_of, policy
from .parts import Figure, Section, make_figure
from .reading import Run
from .scales import Format, alike, number, percent, signed, with_sign
from .steering_map import ARMS, BASELINE, STEERED, DirectionMap
from .steering_reading import Example, Near, Steering, Target, read_steering
from .steering_wins import Bar, WinBars
from .svg import isolated, plain
from .tables import Cell, Table, figure, word
from .words import count, interval

_MAX_LINES: Final = 24
_MAX_CHARACTERS: Final = 600


def write_steering_report(record: Mapping[str, Any], path: str | Path) -> Path:
    """Draw the report of a steering run as one self-contained HTML file.

    Use it on the content of ``steering.json``, to show in which directions steering gave
    more than the baseline, for whom, and from which neighbours. The file opens offline, in
    light and dark, on a phone and on paper. Parts that the record lacks are left out. For
    tuned models use :func:`write_report`.

    Args:
        record: the content of ``steering.json``; angles in degrees, scores in the scorer's
            units.
        path: where to write; the file appears whole or not at all.

    Returns:
        The path of the file.

    Raises:
        DataError: if there are no targets, or naming the part that is not of the expected
            kind.

    Example:
        >>> import tempfile
        >>> arms = {"rps": {"mean": 1.1}, "baseline": {"mean": 0.9}, "gain": {"value": 0.2}}
        >>> target = {"angle": 20.0, "direction": [0.94, 0.34], **arms}
        >>> record = {"kind": "steering", "attributes": ["help", "brief"], "targets": [target]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_steering_report(record, f"{folder}/report.html").read_text("utf-8")
        >>> "best of its neighbours" in page
        True
    """
    return write_text(path, render_steering(read_steering(record)))


def render_steering(run: Steering) -> str:
    """The text of the page."""
    line, details = words.headline(run)
    sections = [_directions_section(run), _groups_section(run)]
    return (
        environment()
        .get_template("steering.html.j2")
        .render(
            title=plain(run.title),
            line=line,
            details=details,
            facts=_facts(run),
            sections=[section for section in sections if section is not None],
            examples=_shown_examples(run.examples),
            notes=words.NOTES,
            texts_note=TEXTS_NOTE,
            origin=origin_of(Run(run.title, run.created, {}, (), (), (), None, run.provenance)),
            policy=policy(),
        )
    )


def _facts(run: Steering) -> list[str]:
    told = [
        ", ".join(isolated(name, 40) for name in run.attributes),
        count(len(run.targets), "direction"),
        count(max((t.n for t in run.targets if t.n is not None), default=None), "prompt"),
        f"scored by {isolated(run.scorers[0])}" if run.scorers[0] else "",
        day(run.created),
    ]
    return [fact for fact in told if fact]


def _directions_section(run: Steering) -> Section:
    figures = [_map_figure(run), _wins_figure(run), _near_figure(run)]
    kept = tuple(made for made in figures if made is not None)
    return Section("directions", "Directions", "Where does steering help?", kept)


def _map_figure(run: Steering) -> Figure:
    angles = len(run.attributes) == 2 and all(t.angle is not None for t in run.targets)
    draw: DirectionMap | Intervals
    if angles:
        ordered = sorted(run.targets, key=lambda target: target.angle or 0.0)
        draw = DirectionMap(tuple(ordered), run.cone)
        title = "Score by direction"
    else:
        rows = _arms_rows(run.targets)
        draw = Intervals(rows, ARMS, number, "mean score along the target")
        title = "Score by target"
    caption = words.map_caption(run, angles)
    return make_figure("map-figure", title, caption, draw, _map_table(run.targets))


def _arms_rows(targets: Sequence[Target]) -> tuple[Row, ...]:
    """A row for each target, a mark for each arm, all numbers with equally many decimals."""
    pairs = [(target.outcome.steered, target.outcome.baseline) for target in targets]
    write = alike(arm.value for pair in pairs for arm in pair)
    return tuple(
        Row(
            target.name,
            count(target.n, "prompt"),
            tuple(
                _mark(look, name, target.name, arm, write)
                for (look, name), arm in zip(ARMS, pair, strict=True)
            ),
        )
        for target, pair in zip(targets, pairs, strict=True)
    )


def _mark(look: int, series: str, name: str, estimate: Estimate, write: Format) -> Mark:
    tip = f"{name} · {series}\n{write(estimate.value)}{interval(estimate, write)}"
    return Mark(look, estimate.value, estimate.low, estimate.high, tip, write(estimate.value))


def _map_table(targets: Sequence[Target]) -> Table:
    head = ("target", "scheme", "prompts", "steered", "low", "high", "baseline", "low", "high")
    head += ("gain", "low", "high", "words, steered", "words, baseline")
    head += ("candidates, steered", "candidates, baseline")
    rows = [
        (
            _named(target.name),
            word(target.scheme or "–"),
            figure(target.n, number),
            *number_cells(target.outcome.steered, number),
            *number_cells(target.outcome.baseline, number),
            *number_cells(target.outcome.gain, signed),
            *(figure(value, number) for value in (*target.words, *target.generations)),
        )
        for target in targets
    ]
    return Table("Score by direction", head, tuple(rows))


def _wins_figure(run: Steering) -> Figure | None:
    bars: list[Bar] = []
    for target in run.targets:
        judged = target.independent
        bars.append(Bar(target.name, "own scorer" if judged else "", target.outcome.wins))
        if judged is not None:
            bars.append(Bar(target.name, "independent", judged.wins))
    if not any(bar.wins.total for bar in bars):
        return None
    head = ("target", "judged by", "won", "tied", "lost", "rate without ties", "low", "high")
    rows = [
        (
            _named(bar.name),
            word(bar.judge or "own scorer"),
            *(figure(n, number) for n in (bar.wins.win, bar.wins.tie, bar.wins.loss)),
            *number_cells(bar.wins.rate, percent),
        )
        for bar in bars
    ]
    table = Table("Wins and losses by direction", head, tuple(rows))
    title = "How often the steered answer wins"
    return make_figure("wins-figure", title, words.wins_caption(run), WinBars(tuple(bars)), table)


def _named(name: str) -> Cell:
    """A target's name, which is safe already; a table needs no marks around its parts."""
    return Cell(name.replace("\u2068", "").replace("\u2069", ""))


def _near_figure(run: Steering) -> Figure | None:
    shown = [target for target in run.targets if target.near]
    if not shown:
        return None
    rows: list[Row] = []
    write = alike(near.mean for target in shown for near in target.near)
    for target in shown:
        rows.append(Row(f"Target {target.name}", "", (), ruled=True))
        rows += [_near_row(target, near, write) for near in target.near]
    draw = Intervals(tuple(rows), (), number, "mean score of all candidates")
    head = ("target", "neighbour, degrees from it", "mean", "standard error", "chosen")
    cells: list[tuple[Cell, ...]] = [
        (
            _named(target.name),
            figure(near.angle, number),
            figure(near.mean, number),
            figure(near.error, number),
            figure(near.chosen, number),
        )
        for target in shown
        for near in target.near
    ]
    table = Table("Neighbours of each target", head, tuple(cells))
    title = "Are the neighbours better than the target itself?"
    caption = words.near_caption(shown)
    made = make_figure("near-figure", title, caption, draw, table)
    return replace(made, folded="Every neighbour with its mean score")


def _near_row(target: Target, near: Near, write: Format) -> Row:
    name = f"{signed(near.angle)}°" if near.angle else "0°, the target"
    if near.mean is None or near.error is None:
        estimate = Estimate(near.mean)
    else:
        half = 2 * near.error
        estimate = Estimate(near.mean, near.mean - half, near.mean + half)
    look = STEERED if near.angle else BASELINE
    return Row(name, f"chosen {near.chosen:,}×", (_mark(look, name, target.name, estimate, write),))


def _groups_section(run: Steering) -> Section | None:
    shown = [target for target in run.targets if target.groups]
    if not shown:
        return None
    rows: list[Row] = []
    write = with_sign(alike(part.estimate.value for target in shown for part in target.groups))
    for target in shown:
        rows.append(Row(f"Target {target.name}", "", (), ruled=True))
        rows += [_group_row(target, part, write) for part in target.groups]
    draw = Intervals(
        tuple(rows),
        (),
        signed,
        "gain in score over the baseline",
        reference=0.0,
        reference_name="no gain",
    )
    head = ("target", "group", "prompts", "gain", "low", "high")
    cells: list[tuple[Cell, ...]] = [
        (
            _named(target.name),
            word(part.name),
            figure(part.n, number),
            *number_cells(part.estimate, signed),
        )
        for target in shown
        for part in target.groups
    ]
    table = Table("Gain by group and direction", head, tuple(cells))
    title = words.groups_title(shown)
    made = make_figure("steered-groups-figure", title, [words.GROUPS], draw, table)
    return Section("groups", "Groups", "Whom does each direction serve?", (made,))


def _group_row(target: Target, part: Slice, write: Format) -> Row:
    estimate = part.estimate
    said = f"{words.told(estimate)}\n{count(part.n, 'prompt')}"
    tip = f"{isolated(part.name)} · {target.name}\n{said}"
    mark = Mark(STEERED, estimate.value, estimate.low, estimate.high, tip, write(estimate.value))
    return Row(plain(part.name), count(part.n, "prompt"), (mark,))


@final
@dataclass(frozen=True)
class Shown:
    """An example as the page shows it: texts by lines, scores in words."""

    target: str
    prompt: tuple[str, ...]
    answers: tuple[tuple[str, str, tuple[str, ...]], ...]


def _shown_examples(examples: Sequence[Example]) -> list[tuple[str, list[Shown]]]:
    """Examples by target, in the order of the record."""
    found: dict[str, list[Shown]] = {}
    for example in examples:
        answers = (
            ("Steered", number(example.scores[0]), _lines(example.steered)),
            ("Baseline", number(example.scores[1]), _lines(example.baseline)),
        )
        shown = Shown(example.target, _lines(example.prompt), answers)
        found.setdefault(example.target, []).append(shown)
    return list(found.items())


def _lines(text: str) -> tuple[str, ...]:
    """A text's lines without blank ones; a long text is cut."""
    lines = [plain(line, _MAX_CHARACTERS) for line in text.splitlines() if line.strip()]
    return (*lines[:_MAX_LINES], "…") if len(lines) > _MAX_LINES else tuple(lines or ["(blank)"])
