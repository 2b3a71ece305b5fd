"""The content of ``audit.json`` as typed values, checked once, tolerant of what is absent.

Each error names the place in the record, as ``models[0].frames.margin.groups[2].value``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from ...errors import DataError
from ...rules import shown

_NOTHING = (
    "the audit record has nothing to report: it needs 'models' with 'frames', "
    "'comparisons' or 'noise'; got {keys}."
)


@final
@dataclass(frozen=True)
class Estimate:
    """A value with its interval, each ``None`` where it is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None

    def overlaps(self, other: Estimate) -> bool:
        """Whether the intervals meet; unknown intervals count as meeting."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low <= other.high and other.low <= self.high

    def excludes(self, value: float) -> bool:
        """Whether the interval is known and lies on one side of ``value``."""
        if self.low is None or self.high is None:
            return False
        return self.low > value or self.high < value


@final
@dataclass(frozen=True)
class Slice:
    """One group (or all pairs) of a frame."""

    name: str
    estimate: Estimate
    n: int | None
    flag: str = ""


@final
@dataclass(frozen=True)
class Frame:
    """A metric by group, as ``GroupFrame.to_json`` writes it."""

    metric: str
    by: str
    confidence: float
    method: str
    overall: Slice
    groups: tuple[Slice, ...]
    worst: Slice | None
    gap: Estimate

    def group(self, name: str) -> Slice | None:
        """The group of a name, if the frame has it."""
        return next((group for group in self.groups if group.name == name), None)


@final
@dataclass(frozen=True)
class Model:
    """One audited model."""

    name: str
    title: str
    objective: Mapping[str, Any]
    frames: Mapping[str, Frame]
    summary: Mapping[str, Any]
    training: tuple[Mapping[str, Any], ...]


@final
@dataclass(frozen=True)
class Comparison:
    """Paired differences ``a`` minus ``b`` of a metric, by group."""

    a: str
    b: str
    metric: str
    frame: Frame


@final
@dataclass(frozen=True)
class NoiseRate:
    """How often the labels of a group seem reversed, against what training assumed."""

    group: str
    estimator: str
    estimate: Estimate
    assumed: float | None
    truth: float | None
    n: int | None


@final
@dataclass(frozen=True)
class Run:
    """All that a report draws."""

    title: str
    created: str
    data: Mapping[str, Any]
    models: tuple[Model, ...]
    comparisons: tuple[Comparison, ...]
    noise: tuple[NoiseRate, ...]
    provenance: Mapping[str, Any]

    def title_of(self, name: str) -> str:
        """The title of a model, or its name where there is none."""
        return next((model.title for model in self.models if model.name == name), name)


def read_run(record: object) -> Run:
    """Check the content of ``audit.json``.

    Raises:
        DataError: if nothing in it can be reported, or naming the part that is not of
            the expected kind.
    """
    top = _mapping(record, "audit record")
    run = Run(
        title=_text(top, "title") or "Audit by group",
        created=_text(top, "created"),
        data=_mapping(top.get("data"), "data"),
        models=tuple(_model(m, at) for m, at in _items(top.get("models"), "models")),
        comparisons=tuple(
            _comparison(c, at) for c, at in _items(top.get("comparisons"), "comparisons")
        ),
        noise=tuple(_noise(rate, at) for rate, at in _items(top.get("noise"), "noise")),
        provenance=_mapping(top.get("provenance"), "provenance"),
    )
    if not (any(m.frames for m in run.models) or run.comparisons or run.noise):
        raise DataError(_NOTHING.format(keys=sorted(map(str, top)) or "an empty mapping"))
    return run


def _model(record: Mapping[str, Any], at: str) -> Model:
    name = _text(record, "name") or at
    frames = _mapping(record.get("frames"), f"{at}.frames")
    return Model(
        name=name,
        title=_text(record, "title") or name,
        objective=_mapping(record.get("objective"), f"{at}.objective"),
        frames={
            str(key): read_frame(frame, f"{at}.frames.{key}")
            for key, frame in frames.items()
            if frame is not None
        },
        summary=_mapping(record.get("summary"), f"{at}.summary"),
        training=tuple(row for row, _ in _items(record.get("training"), f"{at}.training")),
    )


def read_frame(record: object, at: str) -> Frame:
    """One frame, as ``GroupFrame.to_json`` writes it; ``at`` is its place for messages."""
    frame = _mapping(record, at)
    groups = tuple(_slice(g, place) for g, place in _items(frame.get("groups"), f"{at}.groups"))
    overall = _mapping(frame.get("overall"), f"{at}.overall")
    return Frame(
        metric=_text(frame, "metric"),
        by=_text(frame, "by") or "group",
        confidence=_number(frame, "confidence", at) or 0.95,
        method=_text(frame, "method"),
        overall=_slice({"name": "all pairs", **overall}, f"{at}.overall"),
        groups=groups,
        worst=_worst(groups, frame.get("worst")),
        gap=_estimate(_mapping(frame.get("gap"), f"{at}.gap"), f"{at}.gap"),
    )


def _worst(groups: Sequence[Slice], named: object) -> Slice | None:
    known = [group for group in groups if group.estimate.value is not None]
    lowest = min(known, key=lambda group: cast(float, group.estimate.value), default=None)
    return next((group for group in known if group.name == named), lowest)


def _slice(record: Mapping[str, Any], at: str) -> Slice:
    count = _number(record, "n", at)
    return Slice(
        name=_text(record, "name") or "(no name)",
        estimate=_estimate(record, at),
        n=None if count is None else int(count),
        flag=_text(record, "flag"),
    )


def _estimate(record: Mapping[str, Any], at: str) -> Estimate:
    return Estimate(*(_number(record, key, at) for key in ("value", "low", "high")))


def _comparison(record: Mapping[str, Any], at: str) -> Comparison:
    frame = read_frame(record.get("frame"), f"{at}.frame")
    metric = _text(record, "metric") or frame.metric or "ranking_accuracy"
    return Comparison(_text(record, "a"), _text(record, "b"), metric, frame)


def _noise(record: Mapping[str, Any], at: str) -> NoiseRate:
    count = _number(record, "n", at)
    return NoiseRate(
        group=_text(record, "group") or "all pairs",
        estimator=_text(record, "estimator"),
        estimate=Estimate(
            _number(record, "estimate", at), _number(record, "low", at), _number(record, "high", at)
        ),
        assumed=_number(record, "assumed", at),
        truth=_number(record, "truth", at),
        n=None if count is None else int(count),
    )


def finite(value: object) -> float | None:
    """A finite number as a float; anything else is ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _number(record: Mapping[str, Any], key: str, at: str) -> float | None:
    value = record.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise DataError(f"{at}.{key} must be a number or null; got {shown(value)}.")
    return finite(value)


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return "" if value is None else str(value)


def _mapping(value: object, at: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(f"{at} must be a mapping; got {shown(value)}.")
    return cast(Mapping[str, Any], value)


def _items(value: object, at: str) -> list[tuple[Mapping[str, Any], str]]:
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise DataError(f"{at} must be a list; got {shown(value)}.")
    items = cast(Sequence[object], value)
    return [(_mapping(item, f"{at}[{i}]"), f"{at}[{i}]") for i, item in enumerate(items)]
