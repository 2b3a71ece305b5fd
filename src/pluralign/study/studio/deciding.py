"""A decision as it was taken, and what another budget or other weights would choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from ...decide import Decision, PackageProblem, solve
from ...decide.concepts import CONCEPTS
from ...errors import DataError, ParameterError

WEIGHED: Final = ("utilitarian", "nash")
"""Concepts that weights of groups count in."""

_SECONDS = 3.0  # for the mixed-integer solver: a person waits


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Settled:
    """What ``pluralign decide`` has written.

    Args:
        problem: items, groups, budget.
        concept: that was asked for.
        package: numbers of the items that it chose.
        title: for people.
    """

    problem: PackageProblem
    concept: str
    package: tuple[int, ...]
    title: str

    @property
    def utilities(self) -> list[float]:
        """What each group gets by the decision that was taken."""
        return self.problem.utilities(self.package).tolist()

    @property
    def most(self) -> float:
        """Money that buys every item."""
        return max(float(self.problem.prices.sum()), self.problem.budget)


def read_decision(path: Path) -> Settled:
    """Read ``decision.json``.

    Raises:
        DataError: naming the file, if it is truncated or no decision.

    Example:
        >>> import tempfile
        >>> from pluralign.decide.record import decision_record
        >>> problem = PackageProblem([[3, 0, 1], [0, 2, 1]], cost=[2, 2, 1], budget=3)
        >>> path = Path(tempfile.mkdtemp()) / "decision.json"
        >>> record = decision_record(problem, [solve(problem, "nash")], chosen="nash")
        >>> _ = path.write_text(json.dumps(record))
        >>> read_decision(path).package, decided_anew(read_decision(path), 5.0).package
        ((0, 2), (0, 1, 2))
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["kind"] != "decision":
            raise DataError(f"its kind is {record['kind']!r}")
        chosen = next(d for d in record["decisions"] if d["concept"] == record["chosen"])
        return Settled(
            problem=PackageProblem.from_json(record["problem"]),
            concept=record["chosen"],
            package=tuple(chosen["package"]),
            title=str(record.get("title") or "Decision"),
        )
    except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise DataError(
            f"is no record of pluralign decide ({error}); decide again.", source=str(path)
        ) from error


def decided_anew(
    found: Settled,
    budget: float,
    concept: str | None = None,
    weights: Sequence[float] | None = None,
) -> Decision:
    """What a concept chooses for another budget and other weights of the groups.

    Use it to see what hangs on the budget or on who counts how much. Weights count in
    :data:`WEIGHED` alone.

    Args:
        found: the decision that was taken.
        budget: money, >= 0.
        concept: one of those of :func:`pluralign.decide.solve`; that of the decision by default.
        weights: of the groups, >= 0, not all 0; those of the problem by default.

    Raises:
        ParameterError: for weights, a budget or a concept out of range.
    """
    name = found.concept if concept is None else concept
    if name not in CONCEPTS:
        raise ParameterError(f"concept {name!r} is unknown; it is one of {', '.join(CONCEPTS)}.")
    changed = found.problem.changed(
        budget=float(budget), weights=found.problem.weights if weights is None else weights
    )
    return solve(changed, name, time_limit=_SECONDS)
