"""What ``ranking_report`` says of each model, as compact tables with the models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final

from .fields import finite
from .parts import Section
from .reading import Run
from .scales import Format, number, percent, tenths
from .svg import plain
from .tables import Cell, Table, figure, leaves, side_by_side, spoken, word
from .words import SUMMARY_LEAD


@final
@dataclass(frozen=True)
class Digest:
    """A table out of the records: a label, a path and a writer for each line."""

    name: str
    note: str
    lines: tuple[tuple[str, tuple[str, ...], Format], ...]


DIGESTS: Final = (
    Digest(
        "Within reach",
        "In the middle of the grid where no beta is known. The gap is in percentage points. How "
        "sure a label is: by the votes of its raters, or where there are none by the estimated "
        "share of reversed labels.",
        (
            ("idealised accuracy", ("idealised", "median"), percent),
            ("reached on the same pairs", ("idealised", "ranking_accuracy"), percent),
            ("gap", ("idealised", "gap", "median"), tenths),
            ("idealised, per token", ("idealised_normalised", "median"), percent),
            ("reached, per token", ("idealised_normalised", "ranking_accuracy"), percent),
            ("gap, per token", ("idealised_normalised", "gap", "median"), tenths),
        ),
    ),
    Digest(
        "From the reference to the model",
        "Shares of all pairs, but for the last line.",
        (
            ("right before and after", ("flips", "c->c", "share"), percent),
            ("turned right", ("flips", "i->c", "share"), percent),
            ("turned wrong", ("flips", "c->i", "share"), percent),
            ("wrong before and after", ("flips", "i->i", "share"), percent),
            ("of the wrong, turned right", ("flips", "flipped_share_of_wrong"), percent),
        ),
    ),
    Digest(
        "How hard the pairs are",
        "By the reference alone, before training. Beyond reach: even an optimal policy ranks "
        "the pair wrongly, given how its raters were divided.",
        (
            ("already right", ("triage", "classes", "already correct", "share"), percent),
            ("easy", ("triage", "classes", "easy", "share"), percent),
            ("hard", ("triage", "classes", "hard", "share"), percent),
            ("beyond reach", ("triage", "classes", "infeasible", "share"), percent),
            ("of the easy, turned right", ("triage", "classes", "easy", "flipped_share"), percent),
            ("of the hard, turned right", ("triage", "classes", "hard", "flipped_share"), percent),
        ),
    ),
    Digest(
        "Pairs",
        "",
        (
            ("pairs", ("n_pairs",), number),
            ("used", ("n_used",), number),
            ("with equal scores", ("n_equal",), number),
            ("with divided raters", ("n_ties",), number),
            ("without a finite score", ("n_excluded", "non_finite_score"), number),
            ("beta", ("beta",), number),
        ),
    ),
)

_KNOWN: Final = {path[0] for digest in DIGESTS for _, path, _ in digest.lines} | {
    "alpha_from",
    "betas",
    "chance",
    "flip_threshold",
    "length",
    "logps",
    "ranking_accuracy",
    "ranking_accuracy_normalised",
    "ref_log_ratio",
    "reward_accuracy",
    "share_alpha_below_half",
}
"""Parts of the record that a digest, a figure or the method notes already tell."""

Summaries = Sequence[tuple[str, Mapping[str, Any]]]


def summary_section(run: Run) -> Section | None:
    """Digests of the records, then whatever else they hold, laid out flat."""
    summaries = [(model.title, model.summary) for model in run.models if model.summary]
    digests = [made for digest in DIGESTS if (made := _table(digest, summaries)) is not None]
    others = dict.fromkeys(key for _, summary in summaries for key in summary if key not in _KNOWN)
    rest = [
        side_by_side(
            spoken(key).capitalize(),
            [(title, leaves(record.get(key))) for title, record in summaries],
        )
        for key in others
    ]
    tables = tuple(table for table in (*digests, *rest) if table.rows)
    if not tables:
        return None
    return Section("reach", "Reach", "How much was within reach?", (), tables, SUMMARY_LEAD)


def _table(digest: Digest, summaries: Summaries) -> Table | None:
    """The lines of a digest that at least one model has; none if no model has any."""
    rows: list[tuple[Cell, ...]] = []
    for label, path, write in digest.lines:
        values = [finite(_at(record, path)) for _, record in summaries]
        if any(value is not None for value in values):
            rows.append((word(label), *(figure(value, write) for value in values)))
    head = ("", *(plain(title, 60) for title, _ in summaries))
    return Table(digest.name, head, tuple(rows), digest.note) if rows else None


def _at(record: object, path: tuple[str, ...]) -> object:
    for key in path:
        if not isinstance(record, Mapping):
            return None
        record = cast(Mapping[str, object], record).get(key)
    return record
