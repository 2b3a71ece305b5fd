"""The page of drivers: what goes with each class, how stable it is, and a test on unseen rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ...errors import DataError
from ...files import write_text
from .captions import TEXTS_NOTE
from .disagreement import names_of
from .drivers_curve import DevianceCurve
from .fields import finite, items, mapping, number_of, text_of
from .intervals import Intervals, Mark, Row
from .page import day, environment, origin_of, policy
from .parts import Figure, Section, make_figure
from .reading import Run
from .scales import MISSING, number, percent, percent_tick, signed
from .svg import HOLLOW, isolated, plain
from .tables import Cell, Table, figure, spoken, word
from .words import count

Found = tuple[Mapping[str, Any], str]

LISTED: Final = 10
"""Drivers that are drawn for each class, those with the largest effect."""

EFFECTS: Final = (
    "Each dot is a selected column: how far it moves the class's log odds for one standard "
    "deviation more, against the mean of all classes. Full dots were selected in at least {} of "
    "the halves of the training rows, rings in fewer. A column that is not listed was left out."
)
STABLE: Final = (
    "How often half of the training rows select the same column for the same class. Left of the "
    "line a driver may be an accident of these rows."
)
CURVE: Final = (
    "Deviance of rows that were held out while fitting, with one standard error; the penalty falls "
    "to the right. min is the least, 1se the strongest penalty within one standard error of it. "
    "Where it is far worse than with no column at all it is not drawn."
)
TEST: Final = (
    "Share of rows told right that were never used, with a bootstrap interval; whole units are "
    "resampled. The line is what naming the commonest class gives."
)
NOTES: Final = (
    (
        "Driver",
        "A column whose coefficient the lasso did not put to zero. It goes with the class; it "
        "need not cause it.",
    ),
    (
        "Effect",
        "Coefficient of the standardised column less its mean over the classes. Single "
        "coefficients are not unique with an even number of classes; these are.",
    ),
    (
        "Odds factor",
        "By how much the odds of the class are multiplied for one unit more of the column; the "
        "unit is told in the table.",
    ),
    ("Selected is not significant", "There are no p-values after a selection; read frequencies."),
)


def write_drivers_report(record: Mapping[str, Any], path: str | Path) -> Path:
    """Draw drivers of a choice as one self-contained HTML file.

    Use it to show what goes with each class, how stable that is, and what a test on unseen rows
    says. The file opens offline, in light and dark, on a phone and on paper.

    Args:
        record: ``DriverReport.to_json()``, with ``title`` if there is one.
        path: where to write; the file appears whole or not at all.

    Returns:
        The path of the file.

    Raises:
        DataError: if there are no classes, or naming the part that is not as expected.

    Example:
        >>> import tempfile
        >>> price = {"column": "price", "label": "low", "contrast": 1.2, "frequency": 0.9}
        >>> record = {"labels": ["low", "high"], "drivers": [price], "stable": 0.7}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_drivers_report(record, f"{folder}/report.html").read_text("utf-8")
        >>> "What goes with each class?" in page
        True
    """
    return write_text(path, render_drivers(record))


def render_drivers(record: object) -> str:
    """The text of the page."""
    top = mapping(record, "drivers record")
    labels = names_of(top, "labels")
    if not labels:
        raise DataError("the drivers record has nothing to report: it needs 'labels'.")
    drivers = items(top.get("drivers"), "drivers")
    sections = [
        _effects_section(top, labels, drivers),
        _test_section(top),
        _strength_section(top),
        _columns_section(top),
    ]
    created, known = text_of(top, "created"), mapping(top.get("provenance"), "provenance")
    title = text_of(top, "title") or "Drivers of a choice"
    return (
        environment()
        .get_template("drivers.html.j2")
        .render(
            title=plain(title),
            line=_headline(top, drivers),
            details=_details(top),
            facts=[fact for fact in _facts(top, labels, created) if fact],
            sections=[section for section in sections if section is not None],
            notes=NOTES,
            texts_note=TEXTS_NOTE,
            origin=origin_of(Run(title, created, {}, (), (), (), None, known)),
            policy=policy(),
        )
    )


def _stable(top: Mapping[str, Any]) -> float:
    found = number_of(top, "stable", "drivers record")
    return 0.7 if found is None else found


def _is_stable(one: Mapping[str, Any], least: float) -> bool:
    frequency = finite(one.get("frequency"))
    return frequency is None or frequency >= least


def _headline(top: Mapping[str, Any], drivers: Sequence[Found]) -> str:
    rule = text_of(top, "rule")
    if not drivers:
        return f"No column is selected by the rule {rule}." if rule else "No column is selected."
    selected = {text_of(one, "column") for one, _ in drivers}
    stable = {
        text_of(one, "column")
        for one, _ in drivers
        if finite(one.get("frequency")) is not None and _is_stable(one, _stable(top))
    }
    of = len(names_of(top, "columns"))
    told = f"{len(selected)} of {count(of, 'column')}" if of else count(len(selected), "column")
    verb = "goes" if len(selected) == 1 else "go"
    if all(finite(one.get("frequency")) is None for one, _ in drivers):
        return f"{told} {verb} with the choice; how stable they are was not measured."
    return f"{told} {verb} with the choice, {len(stable) or 'none'} of them stably."


def _details(top: Mapping[str, Any]) -> list[str]:
    tests = mapping(top.get("tests"), "tests")
    test = mapping(tests.get("min"), "tests.min")
    right, majority = (finite(test.get(key)) for key in ("accuracy", "majority_accuracy"))
    told: list[str] = []
    if right is not None and majority is not None:
        low, high = (finite(test.get(key)) for key in ("low", "high"))
        told.append(
            f"On {number(finite(test.get('n')))} rows never used, {percent(right)} are told right "
            f"({percent(low)} to {percent(high)}); naming the commonest class gives "
            f"{percent(majority)}."
        )
        if low is not None and low <= majority:
            told.append("That is not surely better than the guess: read the drivers with care.")
    note = text_of(top, "note")
    return [*told, plain(f"The path {note}.", 300)] if note else told


def _facts(top: Mapping[str, Any], labels: Sequence[str], created: str) -> list[str]:
    rows = [finite(top.get(key)) for key in ("n_train", "n_test")]
    return [
        count(len(labels), "class").replace("classs", "classes"),
        "" if rows[0] is None else f"{number(rows[0])} training rows",
        "" if rows[1] is None else f"{number(rows[1])} held out",
        f"rule {isolated(text_of(top, 'rule'))}" if top.get("rule") else "",
        day(created),
    ]


def _effects_section(
    top: Mapping[str, Any], labels: Sequence[str], drivers: Sequence[Found]
) -> Section:
    least = _stable(top)
    by_class = {label: [d for d in drivers if text_of(d[0], "label") == label] for label in labels}
    rows: list[Row] = []
    for label, mine in by_class.items():
        rows.append(Row(_class(label), "", (), ruled=True))
        ordered = sorted(mine, key=lambda pair: -abs(_effect(pair)))
        rows += [_effect_row(label, pair, least) for pair in ordered[:LISTED]]
        if not mine:
            nothing = Mark(0, None, None, None, f"{isolated(label)}\nno column is selected")
            rows.append(Row("no column is selected", "", (nothing,)))
    keys = ((0, "stable"), (HOLLOW, "selected less often")) if drivers else ()
    draw = Intervals(
        tuple(rows), keys, signed, "effect on the log odds", reference=0.0, reference_name="none"
    )
    more = max((len(mine) - LISTED for mine in by_class.values()), default=0)
    fewer = f"The {LISTED} largest of each class; all are in the table." if more > 0 else ""
    caption = [EFFECTS.format(percent_tick(least)), fewer]
    made = make_figure("effects-figure", "Effects by class", caption, draw, _table(drivers))
    measured = [pair for pair in drivers if finite(pair[0].get("frequency")) is not None]
    figures = (made, _stability(measured, labels, least)) if measured else (made,)
    return Section("drivers", "Drivers", "What goes with each class?", figures)


def _class(label: str) -> str:
    """A class by its name; of a number that it is a class is said."""
    return f"class {label}" if label.lstrip("-").isdecimal() else plain(label)


def _effect(pair: Found) -> float:
    return number_of(pair[0], "contrast", pair[1]) or 0.0


def _effect_row(label: str, pair: Found, least: float) -> Row:
    one, at = pair
    value, frequency = number_of(one, "contrast", at), number_of(one, "frequency", at)
    odds = number_of(one, "odds_factor", at)
    often = "" if frequency is None else f"\nselected by {percent_tick(frequency)} of the halves"
    tip = f"{isolated(text_of(one, 'column'))} · {isolated(label)}\neffect {signed(value)}"
    tip += f"\nodds times {number(odds)}{often}"
    hollow = not _is_stable(one, least)
    mark = Mark(0, value, None, None, tip, signed(value), hollow=hollow)
    note = "" if frequency is None else percent_tick(frequency)
    return Row(plain(text_of(one, "column")), note, (mark,))


def _stability(drivers: Sequence[Found], labels: Sequence[str], least: float) -> Figure:
    rows: list[Row] = []
    for label in labels:
        mine = [pair for pair in drivers if text_of(pair[0], "label") == label]
        if not mine:
            continue
        rows.append(Row(_class(label), "", (), ruled=True))
        often = sorted(mine, key=lambda pair: -(finite(pair[0].get("frequency")) or 0.0))
        for one, at in often[:LISTED]:
            value = number_of(one, "frequency", at)
            tip = f"{isolated(text_of(one, 'column'))} · {isolated(label)}\n{percent(value)}"
            mark = Mark(
                0, value, None, None, tip, percent_tick(value), hollow=not _is_stable(one, least)
            )
            rows.append(Row(plain(text_of(one, "column")), "", (mark,)))
    draw = Intervals(
        tuple(rows),
        (),
        percent_tick,
        "share of the halves that select the column",
        reference=least,
        reference_name="stable",
        floor=0.0,
        ceiling=1.0,
    )
    head = ("class", "column", "frequency")
    cells = [
        (word(text_of(one, "label")), word(text_of(one, "column")), _figure(one, "frequency", at))
        for one, at in drivers
    ]
    table = Table("Selection frequencies", head, tuple(cells))
    return make_figure("stability-figure", "How stable is it?", [STABLE], draw, table)


def _figure(one: Mapping[str, Any], key: str, at: str) -> Cell:
    return figure(number_of(one, key, at), number)


def _table(drivers: Sequence[Found]) -> Table:
    keys = ("contrast", "coefficient", "raw", "unit", "odds_factor", "frequency")
    head = ("class", "column", "effect", "coefficient", "as given", "unit", "odds", "frequency")
    rows = [
        (
            word(text_of(one, "label")),
            word(text_of(one, "column")),
            *(_figure(one, k, at) for k in keys),
        )
        for one, at in drivers
    ]
    return Table("Drivers of every class", head, tuple(rows))


def _test_section(top: Mapping[str, Any]) -> Section | None:
    tests = [
        (rule, mapping(found, f"tests.{rule}"))
        for rule, found in mapping(top.get("tests"), "tests").items()
    ]
    if not tests:
        return None
    majority = finite(tests[0][1].get("majority_accuracy"))
    rows: list[Row] = []
    for rule, one in tests:
        value, low, high = (finite(one.get(key)) for key in ("accuracy", "low", "high"))
        tip = f"rule {rule}\n{percent(value)} told right ({percent(low)} to {percent(high)})"
        rows.append(Row(f"rule {rule}", "", (Mark(0, value, low, high, tip, percent(value)),)))
    draw = Intervals(
        tuple(rows),
        (),
        percent_tick,
        "rows told right",
        reference=majority,
        reference_name="commonest class",
    )
    keys = ("accuracy", "balanced_accuracy", "log_loss", "brier", "deviance", "null_deviance")
    cells = [
        (word(rule), *(figure(finite(one.get(key)), number) for key in keys)) for rule, one in tests
    ]
    table = Table("Test by rule", ("rule", *map(spoken, keys)), tuple(cells))
    made = make_figure("test-figure", "Rows told right", [TEST], draw, table)
    confusion = tuple(
        _confusion(f"True classes by foretold, rule {rule}", one) for rule, one in tests
    )
    found = tuple(one for one in confusion if one is not None)
    return Section("test", "Test", "Does it hold for rows never seen?", (made,), found)


def _confusion(name: str, one: Mapping[str, Any]) -> Table | None:
    labels, table = names_of(one, "labels"), cast("Any", one.get("confusion"))
    if not table or len(table) != len(labels) or any(len(row) != len(labels) for row in table):
        return None
    rows = [
        (word(label), *(figure(finite(n), number) for n in row))
        for label, row in zip(labels, table, strict=True)
    ]
    return Table(name, ("true class", *(plain(label, 40) for label in labels)), tuple(rows))


def _strength_section(top: Mapping[str, Any]) -> Section | None:
    curve = mapping(top.get("curve"), "curve")
    keys = ("lambdas", "mean", "error", "selected")
    columns = [[finite(value) for value in cast("Any", curve.get(key) or ())] for key in keys]
    if not columns[0]:
        return None
    if len({len(column) for column in columns}) > 1:
        raise DataError("curve: lambdas, mean, error and selected must be of one length.")
    marks = {rule: finite(curve.get(f"index_{rule}")) for rule in ("min", "1se")}
    chosen = {rule: int(place) for rule, place in marks.items() if place is not None}
    lambdas, mean, error, selected = columns
    draw = DevianceCurve(lambdas, mean, error, selected, chosen)
    rows = tuple(
        tuple(figure(value, number) for value in row) for row in zip(*columns, strict=True)
    )
    table = Table("Held-out deviance by lambda", ("lambda", *keys[1:3], "columns"), rows)
    made = make_figure("strength-figure", "Held-out deviance", [CURVE], draw, table)
    return Section("strength", "Penalty", "How strong a penalty?", (made,))


def _columns_section(top: Mapping[str, Any]) -> Section | None:
    dropped = items(top.get("dropped"), "dropped")
    findings = items(top.get("findings"), "findings")
    groups = mapping(top.get("group_deviance"), "group_deviance")
    tables: list[Table] = []
    if groups:
        rows = [(word(name), figure(finite(value), signed)) for name, value in groups.items()]
        head = ("left out together", "held-out deviance")
        tables.append(Table("Deviance without a group of columns", head, tuple(rows)))
    if dropped:
        rows = [
            (
                word(text_of(one, "name")),
                word("infinite") if one.get("vif") is None else _figure(one, "vif", at),
                word(text_of(one, "partner") or MISSING),
                _figure(one, "correlation", at),
            )
            for one, at in dropped
        ]
        head = ("column", "inflation", "says the same", "correlation")
        tables.append(Table("Left out because others say the same", head, tuple(rows)))
    if findings:
        rows = [
            (word(text_of(one, "column")), word(text_of(one, "kind")), word(text_of(one, "action")))
            for one, _ in findings
        ]
        head = ("column", "what", "what was done")
        tables.append(Table("What the audit of columns found", head, tuple(rows)))
    if not tables:
        return None
    return Section("columns", "Columns", "Which columns were left out?", (), tuple(tables))
