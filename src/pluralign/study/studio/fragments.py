"""Parts of the page as HTML: every text from a run is escaped, every number computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader
from numpy.typing import ArrayLike

from ...audit.report.fields import Estimate
from ...audit.report.intervals import Intervals, Mark, Row
from ...audit.report.scales import Format, alike, number, with_sign
from ...audit.report.svg import Element, Markup, isolated, legible, plain, written
from ...audit.report.words import count, interval
from ...steer.sphere import angle_of, unit
from .candidates import Asked, Candidates
from .curves import GroupCurves
from .records import Records
from .turning import EVERYONE, Ranked, Served, angle_range, every_angle, nearest, profile, ranked
from .turning import served as served_by

SHOWN = 10
"""Candidates of a prompt that the page lists; the ranking is of all."""

_MAX_CHARACTERS = 1500
_FAR_DEG = 10.0
_WIDTHS = (("wide", 460.0), ("narrow", 330.0))


@cache
def templates() -> Environment:
    """The templates of the fragments; every text is escaped."""
    loader = PackageLoader("pluralign.study.studio", package_path="")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def heading(records: Records) -> str:
    """What is shown, and what a reader must know of it."""
    found = records.candidates
    facts: list[str] = []
    remarks: list[str] = []
    if found is not None:
        drawn = sum(sum(one.times) for one in found.asked)
        facts += [
            ", ".join(plain(name, 40) for name in found.names),
            count(len(found.asked), "prompt"),
            count(drawn, "candidate"),
            f"scored by {plain(found.scorer)}",
        ]
        if found.n_failed:
            remarks.append(f"{count(found.n_failed, 'candidate')} failed and are left out.")
        if found.standardised:
            remarks.append("The run chose by standardised rewards; here they count as they are.")
        if records.steering is None:
            remarks.append("The run is not finished: what was done by now is shown.")
    return filled("heading.html.j2", title=plain(records.title), facts=facts, remarks=remarks)


def remark(text: str) -> str:
    """One sentence to the reader."""
    return filled("direction.html.j2", parts=[], warning=text)


def direction_line(found: Candidates, direction: ArrayLike) -> str:
    """The direction in words, with a warning where little was drawn."""
    v = unit(direction)
    parts = [f"{number(round(x, 2))} {plain(n, 40)}" for x, n in zip(v, found.names, strict=True)]
    away = nearest(found, v)
    warning = ""
    if away > _FAR_DEG:
        warning = (
            f"The nearest direction that anything was drawn under is {away:.0f}° away: the best "
            "of these candidates is not the best that could be had here."
        )
    return filled("direction.html.j2", parts=parts, warning=warning)


def candidates_list(found: Candidates, asked: Asked, direction: ArrayLike) -> str:
    """The best candidates of a prompt, in their order at this direction."""
    order = ranked(asked, direction)
    shown = order[:SHOWN]
    low, high = min(one.score for one in order), max(one.score for one in order)
    width = (high - low) or 1.0
    write = alike((low, high))
    rows = [
        {
            "place": one.place,
            "text": legible(one.text)[:_MAX_CHARACTERS],
            "score": write(one.score),
            "share": f"{100 * (one.score - low) / width:.1f}",
            "facts": _facts(found, one),
        }
        for one in shown
    ]
    return filled(
        "candidates.html.j2",
        rows=rows,
        prompt=legible(asked.prompt)[:_MAX_CHARACTERS],
        group=plain(asked.group) if asked.group else "",
        total=count(len(order), "candidate"),
        left=len(order) - len(shown),
    )


def groups_view(found: Candidates, direction: ArrayLike) -> str:
    """Whom the direction serves: each group's score and attributes, the worst-off first."""
    rows = served_by(found, direction)
    writers = [alike(row.rewards[i] for row in rows) for i in range(len(found.names))]
    curves = drawn(_curves(found, direction, rows[0])) if len(found.names) == 2 else ""
    return filled(
        "groups.html.j2",
        headline=_headline(rows),
        intervals=drawn(_intervals(rows)),
        curves=curves,
        names=[plain(name, 40) for name in found.names],
        rows=[
            (
                plain(row.name, 60),
                count(row.n, "prompt"),
                [write(x) for write, x in zip(writers, row.rewards, strict=True)],
            )
            for row in rows
        ],
        named=bool(found.groups),
    )


def gains_table(record: Mapping[str, Any]) -> str:
    """Gain of steering over the baseline by group at the run's own targets.

    Args:
        record: the content of ``steering.json``.

    Returns:
        A table; empty where the run names no groups.
    """
    targets = [target for target in record["targets"] if target["groups"]]
    cells = [{part["name"]: part for part in target["groups"]} for target in targets]
    names = list(dict.fromkeys(name for column in cells for name in column))
    if not names:
        return ""
    gains = [part["gain"] for column in cells for part in column.values()]
    write = alike(gains)
    return filled(
        "gains.html.j2",
        heads=[_target_name(target) for target in targets],
        rows=[
            (plain(name, 60), [_gain(column.get(name), write) for column in cells])
            for name in names
        ],
    )


def _facts(found: Candidates, one: Ranked) -> list[str]:
    facts = [f"{plain(n, 40)} {number(x)}" for n, x in zip(found.names, one.rewards, strict=True)]
    if len(found.names) == 2:
        facts.append(f"drawn under {number(round(angle_of(one.drawn_under), 1))}°")
    else:
        facts.append(f"drawn under {_weights(one.drawn_under)}")
    return [*facts, *([f"drawn {one.times} times"] if one.times > 1 else [])]


def _headline(rows: Sequence[Served]) -> str:
    first, last = rows[0], rows[-1]
    write = _writer(rows)
    said, most = (f"{write(r.score)}{interval(_estimate(r), write)}" for r in (first, last))
    if len(rows) == 1:
        return f"The best candidates score {said} along this direction."
    chance = ""
    if _estimate(first).overlaps(_estimate(last)):
        chance = " The intervals overlap: the order could be chance."
    return (
        f"{isolated(first.name)} is served least: {said}. {isolated(last.name)} is served most: "
        f"{most}.{chance}"
    )


def _writer(rows: Sequence[Served]) -> Format:
    return alike(value for row in rows for value in (row.score, row.low, row.high))


def _estimate(row: Served) -> Estimate:
    return Estimate(row.score, row.low, row.high)


def _intervals(rows: Sequence[Served]) -> Intervals:
    made: list[Row] = []
    write = _writer(rows)
    for place, row in enumerate(rows):
        text = write(row.score)
        tip = f"{isolated(row.name)}\n{text}{interval(_estimate(row), write)}"
        mark = Mark(0, row.score, row.low, row.high, tip, text)
        tag = "least" if place == 0 and len(rows) > 1 else ""
        made.append(Row(plain(row.name, 60), count(row.n, "prompt"), (mark,), tag=tag))
    return Intervals(tuple(made), (), number, "mean score along the direction")


def _curves(found: Candidates, direction: ArrayLike, worst: Served) -> GroupCurves:
    low, high = angle_range(found)
    at = angle_of(direction)
    angles, directions = every_angle(min(low, at), max(high, at))
    curves = profile(found, directions)
    targets = [angle_of(row) for row in found.targets]
    shown = worst.name if len(curves) > 1 else EVERYONE
    return GroupCurves(angles, curves, at, shown, targets)


def drawn(draw: Callable[[float], Element]) -> Markup:
    """Both forms of a drawing, wide and narrow; the stylesheet shows the one that fits."""
    texts: list[str] = []
    for form, width in _WIDTHS:
        drawing = draw(width)
        drawing.set("class", f"drawing {form}")
        texts.append(written(drawing))
    return Markup("".join(texts))


def _gain(part: Mapping[str, Any] | None, write: Format) -> tuple[str, str, str]:
    """The look, the gain and its interval."""
    if part is None or part["gain"] is None:
        return "", "–", ""
    estimate = Estimate(part["gain"], part["low"], part["high"])
    look = ""
    if estimate.excludes(0.0):
        look = "better" if part["gain"] > 0 else "worse"
    return look, with_sign(write)(estimate.value), interval(estimate, write, bare=True)


def _target_name(target: Mapping[str, Any]) -> str:
    if target["angle"] is not None:
        return f"{number(round(target['angle'], 1))}°"
    return _weights(target["direction"])


def _weights(direction: Sequence[float]) -> str:
    return f"({', '.join(number(round(x, 2)) for x in direction)})"


def filled(name: str, **values: Any) -> str:
    """A template with its values."""
    return templates().get_template(name).render(**values)
