"""What one selection was made from, in full: the record that an auditor needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ..engines.sampling.base import Candidate, Prompt
from .directions import Used
from .sphere import Floats


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """One prompt, all candidates for it, and which was chosen by the target direction.

    Args:
        prompt: as asked.
        target: unit vector (d,).
        names: the d attributes.
        directions: what each of m candidates was sampled under, (m, d).
        angles_deg: their angles from the target, (m,); signed in two dimensions.
        candidates: m answers, in order of directions.
        rewards: (m, d) in the scorer's units; NaN for a candidate that could not be scored.
        standardised: (m, d) what the scores were computed from, if not ``rewards`` itself.
        ok: (m,) whether a candidate was sampled and scored.
        scores: (m,) projections on the target; minus infinity where not ok.
        chosen: number of the best candidate, the first of equals; ``None`` if all failed.
        scheme: how neighbours were drawn; ``"target"`` is the baseline, best of k.
        k: directions asked for.
        spread: degrees.
        seed: of all draws.
        sampler: what sampled.
        scorer: what scored; several are joined by " + ".
        skipped: directions left out because a candidate was good enough before them.

    Example:
        >>> record = Selection.from_json({
        ...     "prompt": "Hi", "target": [0.6, 0.8], "names": ["a", "b"],
        ...     "directions": [[0.6, 0.8]], "angles_deg": [0.0], "candidates": [{"text": "Yo"}],
        ...     "rewards": [[1.0, 2.0]], "standardised": None, "ok": [True], "scores": [2.2],
        ...     "chosen": 0, "scheme": "target", "k": 1, "spread": 0.0, "seed": 7,
        ...     "sampler": "s", "scorer": "r", "skipped": 0})
        >>> record.text, record.best, record.mean
        ('Yo', 2.2, 2.2)
    """

    prompt: Prompt
    target: Floats
    names: tuple[str, ...]
    directions: Floats
    angles_deg: Floats
    candidates: tuple[Candidate, ...]
    rewards: Floats
    standardised: Floats | None
    ok: np.ndarray[Any, np.dtype[np.bool_]]
    scores: Floats
    chosen: int | None
    scheme: Used
    k: int
    spread: float
    seed: int
    sampler: str
    scorer: str
    skipped: int = 0

    def __len__(self) -> int:
        """How many candidates were generated."""
        return len(self.candidates)

    @property
    def text(self) -> str | None:
        """The chosen answer."""
        return None if self.chosen is None else self.candidates[self.chosen].text

    @property
    def best(self) -> float:
        """Score of the chosen answer; NaN if all failed."""
        return math.nan if self.chosen is None else float(self.scores[self.chosen])

    @property
    def mean(self) -> float:
        """Mean score of the candidates that are ok; NaN if none is."""
        return float(self.scores[self.ok].mean()) if self.ok.any() else math.nan

    @property
    def score_spread(self) -> float:
        """Largest minus smallest score of the candidates that are ok; NaN if none is."""
        return float(np.ptp(self.scores[self.ok])) if self.ok.any() else math.nan

    def to_json(self) -> dict[str, Any]:
        """Plain values, ``null`` for what is not known; ``from_json`` reads them back."""
        return {
            "prompt": self.prompt
            if isinstance(self.prompt, str)
            else [dict(turn) for turn in self.prompt],
            "target": self.target.tolist(),
            "names": list(self.names),
            "directions": self.directions.tolist(),
            "angles_deg": self.angles_deg.tolist(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "rewards": _plain(self.rewards),
            "standardised": None if self.standardised is None else _plain(self.standardised),
            "ok": self.ok.tolist(),
            "scores": _plain(self.scores),
            "chosen": self.chosen,
            "best": _known(self.best),
            "mean": _known(self.mean),
            "score_spread": _known(self.score_spread),
            "scheme": self.scheme,
            "k": self.k,
            "spread": self.spread,
            "seed": self.seed,
            "sampler": self.sampler,
            "scorer": self.scorer,
            "skipped": self.skipped,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Selection:
        """The record of :meth:`to_json`."""
        d = len(values["names"])
        given = {name: values[name] for name in _PLAIN_FIELDS}
        standardised = values["standardised"]
        return cls(
            **given,
            names=tuple(values["names"]),
            target=np.array(values["target"], dtype=np.float64),
            directions=_read(values["directions"]).reshape(-1, d),
            angles_deg=_read(values["angles_deg"]),
            candidates=tuple(Candidate.from_json(dict(one)) for one in values["candidates"]),
            rewards=_read(values["rewards"]).reshape(-1, d),
            standardised=None if standardised is None else _read(standardised).reshape(-1, d),
            ok=np.array(values["ok"], dtype=np.bool_),
            scores=np.nan_to_num(_read(values["scores"]), nan=-np.inf),
        )


_PLAIN_FIELDS = (
    "prompt",
    "chosen",
    "scheme",
    "k",
    "spread",
    "seed",
    "sampler",
    "scorer",
    "skipped",
)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(values: Floats) -> list[Any]:
    """Nested lists with ``None`` for what is not finite: JSON has no word for it."""
    if values.ndim == 1:
        return [_known(value) for value in values.tolist()]
    return [_plain(row) for row in values]


def _read(values: Any) -> Floats:
    return np.array(values, dtype=np.float64)
