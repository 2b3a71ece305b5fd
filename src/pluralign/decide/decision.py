"""What a rule decided: the package, what each group gets, and how it came about.

``decision.json``, which ``pluralign decide`` writes and the report draws (values may be ``null``)::

    {"kind": "decision", "title", "created", "source": path of the plan or run,
     "problem": {"values": [[G x m]], "cost": [m], "budget", "base": [G], "disagreement": [G],
                 "weights": [G], "groups": [G names], "items": [m names],
                 "conflicts": [[i, j]], "requires": [[i, j]], "members": [[P x G]] or null},
     "ideal": [G], the most each group gets in any individually rational package,
     "chosen": the concept that was asked for,
     "before": {"name": "nothing bought", "package", "choice", "cost", "utilities": [G],
                "measures": Measures},
     "decisions": [{"concept", "package": [item numbers], "choice": [item names],
                    "utilities": [G], "normalised": [G], share of the way from disagreement to
                    ideal, "cost", "budget", "groups": [G names],
                    "status": "solved" | "agreement" | "disagreement", "optimal": bool,
                    "gap": number or null, "trace": [Event], "notes": [text],
                    "measures": Measures}],
     "explanation": {"items": [{"item": name, "cost", "chosen": bool, "reason": text,
                                "utilities_otherwise": [G] or null}],
                     "budgets": [{"budget", "extra", "added": [names], "dropped": [names],
                                  "utilities": [G], "total", "worst"}],
                     "binding": [{"constraint": text, "kind", "total", "worst"}]} or null,
     "bootstrap": {"n", "confidence", "items": [{"item", "share"}],
                   "groups": [{"name", "value", "low", "high"}],
                   "total": {"value", "low", "high"}, "worst": {...}} or null,
     "notes": [text]}

Measures: ``{"total", "person_total" or null, "worst": {"group", "value"}, "gini" or null,
"satisfaction": [G], "percentile": {"q", "value"}}``; satisfaction is among the decisions of the
record and ``before``.

Events of a negotiation have ``event`` and ``round`` (0 before the first) and

- ``opening``: ``group``, ``package``, ``choice``, ``utilities``
- ``proposal``: ``package``, ``choice``, ``utilities``, ``aspirations`` (G), ``accepts`` (names)
- ``counter``: ``group``, ``drop`` and ``add`` (item numbers or ``null``), ``utilities``, ``by``
  (``rubric`` or ``stakeholder``), ``text``
- ``invalid``: ``group``, ``reason``, ``text``: what a stakeholder said could not be used
- ``swap``: ``group``, ``drop``, ``add``, ``package``, ``utilities``, ``accepts``
- ``agreement``, ``quorum`` or ``disagreement``: ``package``, ``utilities``
- ``finish``: ``add``, ``utilities``

Events of equal shares are ``purchase`` (``item``, ``rho``, ``money_left``: G) and ``completion``
(``item``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from ..errors import DataError
from .fields import Floats
from .problem import PackageProblem

Status = Literal["solved", "agreement", "disagreement"]
Event = Mapping[str, Any]


@final
@dataclass(frozen=True, kw_only=True)
class Decision:
    """A package and its consequences; plain values, so ``==`` compares what was decided.

    Args:
        concept: the rule that decided.
        package: numbers of the chosen items, ascending (of equal shares: sorted as well; the
            order of purchase is in the trace).
        choice: their names.
        utilities: what each group gets, in the order of ``groups``.
        cost: what the package costs.
        budget: what could be spent.
        groups: names of the groups.
        status: ``solved``; of a negotiation ``agreement``; ``disagreement`` where no package
            leaves every group at its disagreement point or above: then nothing is bought and
            each group keeps that point.
        optimal: whether the solver proved that nothing is better.
        gap: how much better, at most, something else could be, as a share of the concept's
            value; 0 if proved; ``None`` if no bound is known.
        trace: what happened, step by step; plain values.
        notes: remarks for the reader.

    Example:
        >>> from pluralign.decide import PackageProblem, solve
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=4)
        >>> decision = solve(problem, concept="leximin")
        >>> decision.choice, decision.worst(), Decision.from_json(decision.to_json()) == decision
        (('item 0', 'item 1'), ('group 1', 2.0), True)
    """

    concept: str
    package: tuple[int, ...]
    choice: tuple[str, ...]
    utilities: tuple[float, ...]
    cost: float
    budget: float
    groups: tuple[str, ...]
    status: Status = "solved"
    optimal: bool = True
    gap: float | None = 0.0
    trace: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()

    def worst(self) -> tuple[str, float]:
        """The group that gets least, and what it gets."""
        group = int(np.argmin(self.utilities))
        return self.groups[group], self.utilities[group]

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` reads them back."""
        found = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Decision:
        """The decision of :meth:`to_json`."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not {"concept", "package", "utilities"} <= set(values) <= names:
            raise DataError(f"this is no decision: its keys are {sorted(map(str, values))}.")
        tuples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**tuples)


def decided(
    problem: PackageProblem, concept: str, package: Sequence[int], **others: Any
) -> Decision:
    """The decision for a package of a problem."""
    items = tuple(sorted(int(j) for j in package))
    return Decision(
        concept=concept,
        package=items,
        choice=problem.named(items),
        utilities=floats(problem.utilities(items)),
        cost=problem.spent(items),
        budget=problem.budget,
        groups=problem.group_names,
        **others,
    )


def status_quo(problem: PackageProblem, concept: str, **others: Any) -> Decision:
    """No agreement is possible: nothing is bought, each group keeps its disagreement point."""
    note = "no package leaves every group at its disagreement point or above; nothing is bought."
    nothing = decided(problem, concept, (), status="disagreement", notes=(note,), **others)
    return dataclasses.replace(nothing, utilities=floats(problem.point))


def floats(values: Floats) -> tuple[float, ...]:
    """An array as Python numbers."""
    return tuple(float(value) for value in values)
