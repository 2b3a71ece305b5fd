"""How much penalty: train at several strengths, see what each buys, choose by a stated rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from ..errors import DataError, ParameterError
from ..rules import Within

Measured = tuple[float, float, float]
"""Score (lower is better), divergence between groups, share of variance between groups."""


@final
@dataclass(frozen=True)
class StrengthRow:
    """What one strength gave on validation rows, over seeds.

    Attributes:
        strength: of the penalty.
        score: mean loss, such as the ranked probability score.
        jsd: mean Jensen-Shannon divergence between groups, bits.
        uf: mean share of the predictions' variance between groups.
        score_se: standard error over seeds; 0 for one seed.
        jsd_se: the same.
        uf_se: the same.
        n_seeds: seeds.
        on_front: no other row has both a lower score and a lower divergence.
    """

    strength: float
    score: float
    jsd: float
    uf: float
    score_se: float
    jsd_se: float
    uf_se: float
    n_seeds: int
    on_front: bool


@final
@dataclass(frozen=True)
class StrengthTable:
    """Rows by ascending strength, and the rules to choose one.

    Example:
        >>> table = StrengthTable.measure(
        ...     lambda strength, seed: (1 + strength, 1 / (1 + strength), 0.0), [0, 1, 4], [0]
        ... )
        >>> table.lambda_for_target(0.5), table.elbow()
        (1.0, 1.0)
    """

    rows: tuple[StrengthRow, ...]

    @classmethod
    def measure(
        cls,
        run: Callable[[float, int], Measured],
        strengths: Iterable[float],
        seeds: Sequence[int],
    ) -> StrengthTable:
        """Train and measure at every strength with every seed.

        Args:
            run: ``run(strength, seed) -> (score, jsd, uf)`` on validation rows.
            strengths: >= 0.
            seeds: at least one; the same for all strengths, so that differences are paired.
        """
        grid = sorted(float(s) for s in strengths)
        rule = Within(0.0)
        if not grid or not seeds or not all(rule.admits(s) for s in grid):
            raise ParameterError(f"strengths must be {rule.wants()} and seeds given; got {grid}.")
        found = [np.array([run(strength, seed) for seed in seeds]) for strength in grid]
        means = np.array([values.mean(0) for values in found])
        errors = [
            values.std(0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.zeros(3)
            for values in found
        ]
        rows = [
            StrengthRow(
                strength,
                *(float(mean[0]), float(mean[1]), float(mean[2])),
                *(float(error[0]), float(error[1]), float(error[2])),
                len(seeds),
                _on_front(mean, means),
            )
            for strength, mean, error in zip(grid, means, errors, strict=True)
        ]
        return cls(tuple(rows))

    def lambda_for_target(self, jsd: float) -> float:
        """The smallest strength whose mean divergence is at most ``jsd``.

        Raises:
            DataError: naming the lowest divergence reached, if none is low enough.
        """
        for row in self.rows:
            if row.jsd <= jsd:
                return row.strength
        lowest = min(row.jsd for row in self.rows)
        raise DataError(f"no strength reaches a divergence of {jsd:g}; the lowest is {lowest:g}.")

    def elbow(self) -> float:
        """The strength farthest from the chord between both ends, in scaled (score, jsd)."""
        points = np.array([[row.score, row.jsd] for row in self.rows])
        span = np.ptp(points, axis=0)
        scaled = (points - points.min(0)) / np.where(span > 0, span, 1.0)
        across, up = scaled[-1] - scaled[0]
        below = up * (scaled[:, 0] - scaled[0, 0]) - across * (scaled[:, 1] - scaled[0, 1])
        return self.rows[int(below.argmax())].strength

    def pareto(self) -> list[StrengthRow]:
        """The rows that no other row beats in both score and divergence."""
        return [row for row in self.rows if row.on_front]

    def to_json(self) -> str:
        """The table as JSON."""
        return json.dumps({"rows": [asdict(row) for row in self.rows], "elbow": self.elbow()})

    def record(
        self, name: str, *, score: str = "loss", chosen: float | None = None, rule: str = ""
    ) -> dict[str, Any]:
        """The table with its chosen strength, as a record for ``write_groups_report``.

        Args:
            name: of the penalty.
            score: what the score is.
            chosen: one of the strengths; the elbow by default.
            rule: how it was chosen.

        Raises:
            ParameterError: for a strength that is not in the table.
        """
        if chosen is None:
            chosen, rule = self.elbow(), rule or "the elbow"
        if chosen not in (known := [row.strength for row in self.rows]):
            raise ParameterError(f"chosen must be one of the strengths {known}; got {chosen:g}.")
        rows = [asdict(row) for row in self.rows]
        return {"name": name, "score": score, "rows": rows, "chosen": chosen, "rule": rule}


def _on_front(mean: Any, means: Any) -> bool:
    better = (means[:, :2] <= mean[:2]).all(1) & (means[:, :2] < mean[:2]).any(1)
    return not bool(better.any())
