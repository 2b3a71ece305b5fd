"""The decision as HTML: the package for a budget and weights, and what each group gets."""

from __future__ import annotations

from collections.abc import Sequence

from ...audit.report.intervals import Intervals, Mark, Row
from ...audit.report.scales import number
from ...audit.report.svg import ORIGIN, isolated, plain
from ...audit.report.tables import spoken
from ...decide import Decision
from .deciding import WEIGHED, Settled, decided_anew
from .fragments import drawn, filled

LISTED = 60
"""Items that are listed: those chosen or changed first."""


def decision_view(
    found: Settled,
    budget: float,
    concept: str | None = None,
    weights: Sequence[float] | None = None,
) -> str:
    """What would be chosen, whom it serves, and which items come in or go.

    Args:
        found: the decision that was taken.
        budget: money.
        concept: that of the decision by default.
        weights: of the groups; those of the decision by default.
    """
    now = decided_anew(found, budget, concept, weights)
    rows = sorted(enumerate(found.problem.item_names), key=lambda one: _place(found, now, one[0]))
    notes = [plain(note, 200) for note in now.notes]
    if not now.optimal:
        notes.append("That nothing is better was not proved in the time of this page.")
    if now.concept not in WEIGHED:
        notes.append(f"Weights count in the rules {' and '.join(WEIGHED)}; not in this one.")
    return filled(
        "decision.html.j2",
        headline=_headline(now),
        intervals=drawn(_drawing(found, now)),
        rows=[_row(found, now, place, name) for place, name in rows[:LISTED]],
        left=max(0, len(rows) - LISTED),
        notes=notes,
    )


def _headline(now: Decision) -> str:
    worst, least = now.worst()
    chosen = ", ".join(isolated(name, 40) for name in now.choice[:6]) or "nothing"
    more = f" and {len(now.choice) - 6} more" if len(now.choice) > 6 else ""
    return (
        f"{chosen}{more} for {number(now.cost)} of {number(now.budget)} by the rule "
        f"{spoken(now.concept)}; worst off: {isolated(worst)} with {number(least)}."
    )


def _drawing(found: Settled, now: Decision) -> Intervals:
    worst, _ = now.worst()
    rows = [
        Row(
            plain(name, 60),
            "",
            (
                Mark(
                    0,
                    after,
                    None,
                    None,
                    f"{isolated(name)}\n{number(after)} here, {number(before)} as decided",
                    number(after),
                    before=before,
                ),
            ),
            tag="worst" if name == worst else "",
        )
        for name, after, before in zip(now.groups, now.utilities, found.utilities, strict=True)
    ]
    keys = ((0, "with this package"), (ORIGIN, "as decided"))
    return Intervals(tuple(rows), keys, number, "utility")


def _place(found: Settled, now: Decision, item: int) -> tuple[int, int]:
    """Items that changed first, then the chosen ones."""
    before, after = item in found.package, item in now.package
    return (0 if before != after else 1 if after else 2), item


def _row(found: Settled, now: Decision, item: int, name: str) -> tuple[str, str, str, str]:
    before, after = item in found.package, item in now.package
    change = {(True, False): "goes out", (False, True): "comes in"}.get((before, after), "")
    cost = number(float(found.problem.prices[item]))
    return plain(name, 60), cost, "in" if after else "out", change
