"""The content of ``audit.json`` as typed values, checked once, tolerant of what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from ...errors import DataError
from .behind import Behind, read_behind
from .fields import Estimate, Frame, items, mapping, number_of, read_frame, text_of
from .findings import DataAudit, read_data_audit

_NOTHING: Final = (
    "the audit record has nothing to report: it needs 'models' with 'frames', "
    "'comparisons', 'noise' or 'data_audit'; got {keys}."
)


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
    behind: Behind
    checkpoints: tuple[Mapping[str, Any], ...]
    relation: Mapping[str, Any]


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
    data_audit: DataAudit | None
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
    top = mapping(record, "audit record")
    run = Run(
        title=text_of(top, "title") or "Audit by group",
        created=text_of(top, "created"),
        data=mapping(top.get("data"), "data"),
        models=tuple(_model(m, at) for m, at in items(top.get("models"), "models")),
        comparisons=tuple(
            _comparison(c, at) for c, at in items(top.get("comparisons"), "comparisons")
        ),
        noise=tuple(_noise(rate, at) for rate, at in items(top.get("noise"), "noise")),
        data_audit=read_data_audit(top.get("data_audit"), "data_audit"),
        provenance=mapping(top.get("provenance"), "provenance"),
    )
    drawn = any(model.frames for model in run.models) or run.comparisons or run.noise
    if not drawn and run.data_audit is None:
        raise DataError(_NOTHING.format(keys=sorted(map(str, top)) or "an empty mapping"))
    return run


def _model(record: Mapping[str, Any], at: str) -> Model:
    name = text_of(record, "name") or at
    frames = mapping(record.get("frames"), f"{at}.frames")
    checkpoints = mapping(record.get("checkpoints"), f"{at}.checkpoints")
    points = items(checkpoints.get("points"), f"{at}.checkpoints.points")
    return Model(
        name=name,
        title=text_of(record, "title") or name,
        objective=mapping(record.get("objective"), f"{at}.objective"),
        frames={
            str(key): read_frame(frame, f"{at}.frames.{key}")
            for key, frame in frames.items()
            if frame is not None
        },
        summary=mapping(record.get("summary"), f"{at}.summary"),
        training=tuple(row for row, _ in items(record.get("training"), f"{at}.training")),
        behind=read_behind(record.get("distributions"), f"{at}.distributions"),
        checkpoints=tuple(point for point, _ in points),
        relation=mapping(checkpoints.get("relation"), f"{at}.checkpoints.relation"),
    )


def _comparison(record: Mapping[str, Any], at: str) -> Comparison:
    frame = read_frame(record.get("frame"), f"{at}.frame")
    metric = text_of(record, "metric") or frame.metric or "ranking_accuracy"
    return Comparison(text_of(record, "a"), text_of(record, "b"), metric, frame)


def _noise(record: Mapping[str, Any], at: str) -> NoiseRate:
    count = number_of(record, "n", at)
    return NoiseRate(
        group=text_of(record, "group") or "all pairs",
        estimator=text_of(record, "estimator"),
        estimate=Estimate(
            number_of(record, "estimate", at),
            number_of(record, "low", at),
            number_of(record, "high", at),
        ),
        assumed=number_of(record, "assumed", at),
        truth=number_of(record, "truth", at),
        n=None if count is None else int(count),
    )
