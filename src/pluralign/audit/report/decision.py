"""The page of a decision: what each group gets by every rule, and how it was agreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ...errors import DataError
from ...files import write_text
from .captions import TEXTS_NOTE
from .decision_reasons import money_section, raters_section, reasons_section
from .decision_trace import trace_section
from .disagreement import disagreement_section, names_of
from .fields import finite, items, mapping, number_of, text_of
from .intervals import Intervals, Mark, Row
from .page import day, environment, origin_of, policy
from .parts import Section, make_figure
from .reading import Run
from .scales import MISSING, number, percent
from .svg import ORIGIN, isolated, plain
from .tables import Cell, Table, figure, spoken, word
from .words import count

Decided = tuple[Mapping[str, Any], str]

CAPTION: Final = (
    "The grey dot is what a group has if nothing is bought, the other dot what the rule's package "
    "gives it. Look down a group for the rule that serves it best. Utilities of different groups "
    "are comparable only as far as the published values of the items are."
)
NOTES: Final = (
    ("Utility", "What a package gives a group, by the values in the plan; computed by code."),
    (
        "Worst-off group",
        "The group with the smallest utility. A rule can raise the total and lower the worst-off "
        "group, so both stand beside each other.",
    ),
    (
        "Share of the way",
        "From what a group has without agreement (0 %) to the most that it could get (100 %).",
    ),
    (
        "Satisfaction",
        "A group's place between its worst and best package among those compared here. 100 % "
        "says that nothing compared is better for it, no more.",
    ),
)


def write_decision_report(
    record: Mapping[str, Any],
    path: str | Path,
    *,
    disagreement: Mapping[str, Any] | None = None,
) -> Path:
    """Draw a decision as one self-contained HTML file.

    Use it to show those concerned what each rule would give each group, and how a negotiated
    package came about. The file opens offline, in light and dark, on a phone and on paper.

    Args:
        record: the content of ``decision.json``.
        path: where to write; the file appears whole or not at all.
        disagreement: the plain values of a ``Disagreement``, drawn in a section of its own.

    Returns:
        The path of the file.

    Raises:
        DataError: if there are no decisions, or naming the part that is not as expected.

    Example:
        >>> import tempfile
        >>> one = {"concept": "nash", "groups": ["a", "b"], "utilities": [2.0, 1.0]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_decision_report({"decisions": [one]}, f"{folder}/report.html")
        ...     "What does each group get?" in page.read_text("utf-8")
        True
    """
    return write_text(path, render_decision(record, disagreement))


def render_decision(record: object, disagreement: object = None) -> str:
    """The text of the page."""
    top = mapping(record, "decision record")
    decisions = items(top.get("decisions"), "decisions")
    if not decisions:
        raise DataError("the decision record has nothing to report: it needs 'decisions'.")
    chosen = text_of(top, "chosen") or text_of(decisions[0][0], "concept")
    own = next((d for d in decisions if d[0].get("concept") == chosen), decisions[0])
    sections = [
        _utilities_section(top, decisions, chosen),
        trace_section(own[0], own[1], names_of(mapping(top.get("problem"), "problem"), "items")),
        reasons_section(top),
        money_section(top),
        raters_section(top),
        disagreement_section(disagreement or top.get("disagreement")),
    ]
    created, known = text_of(top, "created"), mapping(top.get("provenance"), "provenance")
    title = text_of(top, "title") or "A package between groups"
    return (
        environment()
        .get_template("decision.html.j2")
        .render(
            title=plain(title),
            line=_headline(own[0]),
            details=[plain(note, 400) for note in names_of(own[0], "notes")],
            facts=[fact for fact in _facts(top, decisions, own[0]) if fact],
            sections=[section for section in sections if section is not None],
            notes=NOTES,
            texts_note=TEXTS_NOTE,
            origin=origin_of(Run(title, created, {}, (), (), (), None, known)),
            policy=policy(),
        )
    )


def _headline(own: Mapping[str, Any]) -> str:
    if own.get("status") == "disagreement":
        return "No package leaves every group at least where it is without one."
    choice = [isolated(name, 40) for name in names_of(own, "choice")]
    worst = mapping(mapping(own.get("measures"), "measures").get("worst"), "worst")
    named = ", ".join(choice[:4]) + (f" and {len(choice) - 4} more" if len(choice) > 4 else "")
    end = f"; the worst-off group is {isolated(worst['group'])}" if worst.get("group") else ""
    return f"Chosen: {named or 'nothing'}{end}."


def _facts(
    top: Mapping[str, Any], decisions: Sequence[Decided], own: Mapping[str, Any]
) -> list[str]:
    spent = number_of(own, "cost", "decision")
    return [
        count(len(names_of(own, "groups")), "group"),
        count(len(decisions), "rule"),
        f"rule {isolated(spoken(text_of(own, 'concept')))}",
        f"cost {number(spent)} of {number(number_of(own, 'budget', 'decision'))}" if spent else "",
        day(text_of(top, "created")),
    ]


def _numbers(record: Mapping[str, Any], key: str, at: str, size: int) -> list[float | None]:
    value = record.get(key)
    if value is None:
        return [None] * size
    if not isinstance(value, (list, tuple)) or len(cast("list[object]", value)) != size:
        raise DataError(f"{at}.{key} must be {size} numbers, one for each group.")
    return [finite(part) for part in cast("list[object]", value)]


def _utilities_section(
    top: Mapping[str, Any], decisions: Sequence[Decided], chosen: str
) -> Section:
    groups = names_of(decisions[0][0], "groups")
    quo = _numbers(mapping(top.get("before"), "before"), "utilities", "before", len(groups))
    rows: list[Row] = []
    cells: list[tuple[Cell, ...]] = []
    told = [
        (text_of(d, "concept"), *(_numbers(d, k, at, len(groups)) for k in _SERIES))
        for d, at in decisions
    ]
    for place, group in enumerate(groups):
        rows.append(Row(plain(group), "", (), ruled=True))
        for concept, utilities, shares in told:
            value, before = utilities[place], quo[place]
            rows.append(_row(group, concept, value, before, concept == chosen))
            values = (figure(value, number), figure(before, number), figure(shares[place], percent))
            cells.append((word(group), word(spoken(concept)), *values))
    keys = ((0, "with the package"), (8, "by the chosen rule"), (ORIGIN, "nothing bought"))
    draw = Intervals(tuple(rows), keys, number, "utility")
    head = ("group", "rule", "utility", "nothing bought", "share of the way")
    table = Table("Utilities by group and rule", head, tuple(cells))
    made = make_figure("utilities-figure", "Utility of each group by rule", [CAPTION], draw, table)
    title = "What does each group get?"
    return Section("utilities", "Groups", title, (made,), (_rules_table(decisions),))


_SERIES: Final = ("utilities", "normalised")


def _row(group: str, concept: str, value: float | None, before: float | None, own: bool) -> Row:
    name = plain(spoken(concept), 40)
    tip = f"{isolated(group)} · {name}\n{number(value)}, from {number(before)}"
    mark = Mark(8 if own else 0, value, None, None, tip, number(value), before=before)
    return Row(name, "", (mark,), tag="chosen" if own else "")


def _rules_table(decisions: Sequence[Decided]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one, at in decisions:
        measures = mapping(one.get("measures"), f"{at}.measures")
        worst = mapping(measures.get("worst"), f"{at}.measures.worst")
        proved = {True: "yes", False: f"no, gap {number(finite(one.get('gap')))}"}
        rows.append(
            (
                word(spoken(text_of(one, "concept"))),
                word(", ".join(names_of(one, "choice")) or "nothing"),
                figure(number_of(one, "cost", at), number),
                figure(number_of(measures, "total", at), number),
                word(text_of(worst, "group") or MISSING),
                figure(number_of(worst, "value", at), number),
                figure(number_of(measures, "gini", at), number),
                word(proved.get(bool(one.get("optimal", True)), "")),
            )
        )
    head = ("rule", "package", "cost", "total", "worst-off group", "its utility", "Gini", "proved")
    return Table("Packages by rule", head, tuple(rows))
