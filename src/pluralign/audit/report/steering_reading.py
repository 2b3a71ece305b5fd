"""The content of ``steering.json`` as typed values, checked once, tolerant of what is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan2, degrees
from typing import Any, Final, cast, final

from ...errors import DataError
from ...rules import shown
from .fields import Estimate, Slice, finite, items, mapping, number_of, read_estimate, text_of
from .scales import number

KIND: Final = "steering"


@final
@dataclass(frozen=True)
class Wins:
    """How often the steered answer won, tied and lost; the rate leaves ties out."""

    win: int
    tie: int
    loss: int
    rate: Estimate

    @property
    def total(self) -> int:
        """All prompts compared."""
        return self.win + self.tie + self.loss


@final
@dataclass(frozen=True)
class Outcome:
    """Both arms and their paired difference, by one scorer."""

    steered: Estimate
    baseline: Estimate
    gain: Estimate
    wins: Wins
    correlation: float | None = None


@final
@dataclass(frozen=True)
class Near:
    """One neighbouring direction: its angle from the target, its mean score, how often chosen."""

    angle: float
    mean: float | None
    error: float | None
    chosen: int


@final
@dataclass(frozen=True)
class Target:
    """One direction that a user asked for."""

    name: str
    angle: float | None
    direction: tuple[float, ...]
    scheme: str
    n: int | None
    outcome: Outcome
    independent: Outcome | None
    words: tuple[float | None, float | None]
    generations: tuple[float | None, float | None]
    near: tuple[Near, ...]
    one_sided: str
    groups: tuple[Slice, ...]
    helps: bool | None


@final
@dataclass(frozen=True)
class Example:
    """One prompt with the answers of both arms and their scores."""

    target: str
    prompt: str
    steered: str
    baseline: str
    scores: tuple[float | None, float | None]


@final
@dataclass(frozen=True)
class Steering:
    """All that the report of a steering run draws."""

    title: str
    created: str
    attributes: tuple[str, ...]
    trained: tuple[tuple[float, ...], ...]
    targets: tuple[Target, ...]
    overall: Outcome | None
    examples: tuple[Example, ...]
    scorers: tuple[str, str]
    provenance: Mapping[str, Any]

    @property
    def cone(self) -> tuple[float, float] | None:
        """The angles between which training directions lie, in degrees near the targets."""
        if len(self.attributes) != 2 or not self.trained:
            return None
        middle = angle_of([sum(part) for part in zip(*self.trained, strict=True)])
        offsets = [_turned(angle_of(row) - middle) for row in self.trained]
        known = [target.angle for target in self.targets if target.angle is not None]
        around = sum(known) / len(known) if known else middle
        middle = around + _turned(middle - around)
        return middle + min(offsets), middle + max(offsets)


def read_steering(record: object) -> Steering:
    """Check the content of ``steering.json``.

    Raises:
        DataError: if it has no targets, or naming the part that is not of the expected kind.
    """
    top = mapping(record, "steering record")
    told = items(top.get("targets"), "targets")
    if top.get("kind") != KIND or not told:
        raise DataError(
            "the steering record has nothing to report: it needs kind 'steering' and one or "
            f"more 'targets'; got kind {shown(top.get('kind'))} with keys {sorted(map(str, top))}."
        )
    attributes = tuple(str(name) for name in _listed(top.get("attributes"), "attributes"))
    coverage = [part.get("helps") for part, _ in items(top.get("coverage_gain"), "coverage_gain")]
    targets = tuple(
        _target(part, at, attributes, coverage[place] if len(coverage) == len(told) else None)
        for place, (part, at) in enumerate(told)
    )
    overall = mapping(top.get("overall"), "overall")
    return Steering(
        title=text_of(top, "title") or "Steering by direction",
        created=text_of(top, "created"),
        attributes=attributes,
        trained=_directions(top.get("trained"), len(attributes)),
        targets=targets,
        overall=_outcome(overall, "overall") if overall else None,
        examples=_examples(top.get("examples"), targets),
        scorers=(text_of(top, "scorer"), text_of(top, "independent_scorer")),
        provenance=mapping(top.get("provenance"), "provenance"),
    )


def angle_of(direction: Sequence[float]) -> float:
    """The angle of a direction of two attributes, in degrees."""
    return degrees(atan2(direction[1], direction[0]))


def _turned(angle: float) -> float:
    """The same angle between -180 and 180 degrees."""
    return (angle + 180.0) % 360.0 - 180.0


def _target(record: Mapping[str, Any], at: str, names: Sequence[str], helps: object) -> Target:
    angle = number_of(record, "angle", at)
    direction = _numbers(record.get("direction"), f"{at}.direction")
    independent = mapping(record.get("independent"), f"{at}.independent")
    count = number_of(record, "n_prompts", at)
    return Target(
        name=_name(angle, direction, at),
        angle=angle,
        direction=direction,
        scheme=text_of(record, "scheme"),
        n=None if count is None else int(count),
        outcome=_outcome(record, at),
        independent=_outcome(independent, f"{at}.independent") if independent else None,
        words=_arms(record, "length", at),
        generations=_arms(record, "generations", at),
        near=_near(record, at),
        one_sided=text_of(record, "one_sided"),
        groups=_groups(record, at),
        helps=helps if isinstance(helps, bool) else None,
    )


def _name(angle: float | None, direction: Sequence[float], at: str) -> str:
    if angle is not None:
        return f"{angle:.4g}°".replace("-", "−")
    weights = ", ".join(number(round(weight, 2)) for weight in direction)
    return f"({weights})" if weights else at


def _outcome(record: Mapping[str, Any], at: str) -> Outcome:
    rps, baseline, gain, wins = (
        mapping(record.get(key), f"{at}.{key}") for key in ("rps", "baseline", "gain", "wins")
    )
    win, tie, loss = (
        int(number_of(wins, key, f"{at}.wins") or 0) for key in ("win", "tie", "loss")
    )
    rate = {**wins, "value": wins.get("rate")}
    return Outcome(
        steered=read_estimate({**rps, "value": rps.get("mean")}, f"{at}.rps"),
        baseline=read_estimate({**baseline, "value": baseline.get("mean")}, f"{at}.baseline"),
        gain=read_estimate(gain, f"{at}.gain"),
        wins=Wins(win, tie, loss, read_estimate(rate, f"{at}.wins")),
        correlation=number_of(record, "correlation", at),
    )


def _near(record: Mapping[str, Any], at: str) -> tuple[Near, ...]:
    """Neighbours with their means and counts, which the record keeps apart."""
    chosen: dict[float, int] = {}
    for key, times in mapping(record.get("chosen_angles"), f"{at}.chosen_angles").items():
        try:
            chosen[round(float(key), 4)] = int(finite(times) or 0)
        except ValueError:
            message = f"{at}.chosen_angles must have angles as keys; got {shown(key)}."
            raise DataError(message) from None
    means = {
        round(angle, 4): (number_of(part, "mean", place), number_of(part, "se", place))
        for part, place in items(record.get("neighbour_means"), f"{at}.neighbour_means")
        if (angle := number_of(part, "angle", place)) is not None
    }
    angles = sorted({*chosen, *means})
    return tuple(Near(a, *means.get(a, (None, None)), chosen.get(a, 0)) for a in angles)


def _groups(record: Mapping[str, Any], at: str) -> tuple[Slice, ...]:
    found: list[Slice] = []
    for part, place in items(record.get("groups"), f"{at}.groups"):
        estimate = Estimate(*(number_of(part, key, place) for key in ("gain", "low", "high")))
        count = number_of(part, "n", place)
        name = text_of(part, "name") or "(no name)"
        found.append(Slice(name, estimate, None if count is None else int(count)))
    return tuple(found)


def _examples(value: object, targets: Sequence[Target]) -> tuple[Example, ...]:
    found: list[Example] = []
    for part, at in items(value, "examples"):
        place = number_of(part, "target", at)
        at_known = place is not None and 0 <= place < len(targets)
        found.append(
            Example(
                target=targets[int(cast(float, place))].name if at_known else "",
                prompt=text_of(part, "prompt"),
                steered=text_of(part, "rps"),
                baseline=text_of(part, "baseline"),
                scores=_arms(part, "scores", at),
            )
        )
    return tuple(found)


def _arms(record: Mapping[str, Any], key: str, at: str) -> tuple[float | None, float | None]:
    place = f"{at}.{key}"
    found = mapping(record.get(key), place)
    return number_of(found, "rps", place), number_of(found, "baseline", place)


def _directions(value: object, d: int) -> tuple[tuple[float, ...], ...]:
    rows = [_numbers(row, f"trained[{i}]") for i, row in enumerate(_listed(value, "trained"))]
    for place, row in enumerate(rows):
        if len(row) != d:
            raise DataError(f"trained[{place}] must have {d} numbers; got {len(row)}.")
    return tuple(rows)


def _numbers(value: object, at: str) -> tuple[float, ...]:
    found = [finite(part) for part in _listed(value, at)]
    if None in found:
        raise DataError(f"{at} must hold finite numbers; got {shown(value)}.")
    return tuple(cast(list[float], found))


def _listed(value: object, at: str) -> Sequence[object]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise DataError(f"{at} must be a list; got {shown(value)}.")
    return cast(Sequence[object], value)
