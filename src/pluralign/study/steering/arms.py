"""The other arm of a steering run, and a second opinion on both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engines.scorers import Item, Scorer
from ...steer import DirectionalSelection, Selection
from ...steer.sphere import Floats


def matched(
    selection: DirectionalSelection, steered: Sequence[Selection], seed: int
) -> list[Selection]:
    """Best of as many at the target as each prompt had: the baseline at equal cost.

    Args:
        selection: the steered arm.
        steered: what it selected, one for each prompt and target.
        seed: of the baseline's draws.
    """
    counts = np.array([len(one) for one in steered])
    found: dict[int, Selection] = {}
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count).tolist()
        prompts = [steered[row].prompt for row in rows]
        directions = np.array([steered[row].target for row in rows])
        records = selection.best_of(count).select(prompts, directions, seed)
        found |= dict(zip(rows, records, strict=True))
    return [found[row] for row in range(len(steered))]


def rescored(
    scorer: Scorer, pairs: Sequence[tuple[Selection, Selection]]
) -> list[tuple[Floats, Floats]]:
    """Scores of all candidates by another scorer, NaN where it or the sampler failed.

    Args:
        scorer: with one attribute, or as many as a direction.
        pairs: steered selection and baseline.
    """
    records = [record for pair in pairs for record in pair]
    fine = [[one.ok for one in record.candidates] for record in records]
    items = [Item(r.prompt, one.text) for r in records for one in r.candidates if one.ok]
    result = scorer.score(items)
    parts = np.split(result.values, np.cumsum([sum(ok) for ok in fine])[:-1])
    found: list[Floats] = []
    for record, ok, values in zip(records, fine, parts, strict=True):
        scores = np.full(len(ok), np.nan)
        scores[np.array(ok, dtype=np.bool_)] = (
            values[:, 0] if values.shape[1] == 1 else values @ record.target
        )
        found.append(scores)
    return list(zip(found[::2], found[1::2], strict=True))
