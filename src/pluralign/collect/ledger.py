"""What has been bought, measured and asked for so far: the state of a collection as plain JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast, final

from ..errors import DataError, ParameterError
from ..files import write_json
from ..rules import Kind, Within, check, shown
from .plan import SamplingPlan

FORMAT, VERSION = "pluralign adaptive sampling", 1


@final
@dataclass(frozen=True)
class Evaluation:
    """A measured loss: a model trained on ``n`` samples of a group, tested on others of it.

    Args:
        group: name.
        n: samples of the group that the model was trained on, > 0.
        loss: on held-out data of the group.
        se: standard error of the loss, > 0; pass it, the fit then knows what is noise.

    Raises:
        ParameterError: for a value out of range.

    Example:
        >>> Evaluation("north", 40, 0.31, se=0.01).loss
        0.31
    """

    group: Annotated[str, Kind(str)]
    n: Annotated[float, Within(0.0, closed="neither")]
    loss: Annotated[float, Within()]
    se: float | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.se is not None and not Within(0.0, closed="neither").admits(self.se):
            raise ParameterError(f"Evaluation.se must be a finite number > 0; got {self.se!r}.")


@final
@dataclass(frozen=True)
class Purchase:
    """What to buy now, and at which sizes to measure afterwards.

    Attributes:
        id: the same for the same purchase, also after a restart: buy each id once.
        round: 0 is the pilot.
        counts: samples to buy of each group.
        totals: samples of each group after it.
        cost: money that it takes.
        evaluate_at: sizes at which each group is to be measured, on nested subsets.
        predicted: loss of each group after the purchase, by the curves; empty in the pilot.
        note: what a planner should know of this round.
    """

    id: str
    round: int
    counts: Mapping[str, int]
    totals: Mapping[str, int]
    cost: float
    evaluate_at: Mapping[str, Sequence[int]]
    predicted: Mapping[str, float]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Point(NamedTuple):
    """A measured loss as kept: ``worth`` is the effective number of samples with transfer."""

    group: str
    n: float
    worth: float
    loss: float
    se: float | None
    round: int


@dataclass
class Ledger:
    """The whole state of a collection.

    Args:
        totals: samples of each group, held ones included.
        spent: money so far.
        round: next round; 0 is the pilot.
        points: measured losses.
        trace: one record for each round that was told.
        pending: a purchase that was asked for and not told of.
    """

    totals: dict[str, int]
    spent: float = 0.0
    round: int = 0
    points: list[Point] = field(default_factory=list[Point])
    trace: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    pending: Purchase | None = None

    def to_json(self, plan: SamplingPlan) -> dict[str, Any]:
        """Plain values with the plan that they belong to and a checksum."""
        body = {
            "format": FORMAT,
            "version": VERSION,
            "plan": plan.to_json(),
            "totals": self.totals,
            "spent": self.spent,
            "round": self.round,
            "points": [list(point) for point in self.points],
            "trace": self.trace,
            "pending": None if self.pending is None else self.pending.to_json(),
        }
        return {**body, "checksum": _checksum(body)}

    @staticmethod
    def from_json(record: Any, plan: SamplingPlan, source: str = "state") -> Ledger:
        """The state again.

        Raises:
            DataError: naming the source, for a state that is incomplete, was changed, or
                belongs to another plan (naming the field that differs).
        """
        if not isinstance(record, dict) or cast(Any, record).get("format") != FORMAT:
            raise DataError(
                f"is no state of adaptive sampling; got {shown(record, 60)}.", source=source
            )
        body = cast("dict[str, Any]", dict(cast(Any, record)))
        if body.get("version") != VERSION:
            raise DataError(
                f"is a state of version {body.get('version')!r}; this reads {VERSION}.",
                source=source,
            )
        if body.pop("checksum", None) != _checksum(body):
            raise DataError(
                "was changed or is incomplete: its checksum does not fit; restore it from a copy.",
                source=source,
            )
        _check_plan(body["plan"], plan.to_json(), source)
        pending = body["pending"]
        return Ledger(
            totals=body["totals"],
            spent=body["spent"],
            round=body["round"],
            points=[Point(*row) for row in body["points"]],
            trace=body["trace"],
            pending=None if pending is None else Purchase(**pending),
        )


def read_ledger(path: Path, plan: SamplingPlan) -> Ledger:
    """The state in a file.

    Raises:
        DataError: naming the file, if it is truncated, changed or of another plan.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"is truncated or no JSON ({error}); restore it from a copy, or remove it to begin "
            "again.",
            source=str(path),
        ) from error
    return Ledger.from_json(record, plan, str(path))


def write_ledger(path: Path, ledger: Ledger, plan: SamplingPlan) -> None:
    """Write the state, whole or not at all."""
    write_json(path, ledger.to_json(plan))


def _check_plan(found: Mapping[str, Any], wanted: Mapping[str, Any], source: str) -> None:
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        name = differing[0]
        raise DataError(
            f"belongs to another plan: {name} is {shown(found.get(name))} there and "
            f"{shown(wanted[name])} here"
            f"{f' ({len(differing)} fields differ)' if len(differing) > 1 else ''}; use its own "
            "plan, or another file.",
            source=source,
        )


def _checksum(body: Mapping[str, Any]) -> str:
    plain = json.dumps(body, sort_keys=True, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()
