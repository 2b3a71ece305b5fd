"""The content of ``decision.json``: one problem, all concepts, measures and reasons."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from .decision import Decision, floats
from .explanation import explain
from .measuring import measures
from .problem import PackageProblem
from .solving import Solver


def decision_record(
    problem: PackageProblem,
    decisions: Sequence[Decision],
    *,
    chosen: str,
    title: str = "Decision",
    source: str = "",
    percentile: float = 20.0,
    resampled: dict[str, Any] | None = None,
    explained: bool = True,
) -> dict[str, Any]:
    """Plain values for a report; their shape is told in :mod:`pluralign.decide.decision`.

    Args:
        problem: that was decided.
        decisions: one for each concept; that of ``chosen`` is explained.
        chosen: the concept that was asked for.
        title: for people.
        source: path of the plan or run.
        percentile: of satisfaction.
        resampled: result of :func:`bootstrap`, if there is one.
        explained: whether reasons are worked out; that takes several solutions for each item.
    """
    nothing = problem.start
    table = [nothing, *(np.array(one.utilities) for one in decisions)]
    asked = next(one for one in decisions if one.concept == chosen)
    frame = Solver(problem, time_limit=5.0).frame if asked.status != "disagreement" else None
    return {
        "kind": "decision",
        "title": title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": source,
        "problem": problem.to_json(),
        "ideal": None if frame is None else list(floats(frame.ideal)),
        "chosen": chosen,
        "before": {
            "name": "nothing bought",
            "package": [],
            "choice": [],
            "cost": 0.0,
            "utilities": list(floats(nothing)),
            "measures": measures(problem, nothing, compared=table, percentile=percentile),
        },
        "decisions": [
            {
                **one.to_json(),
                "normalised": None
                if frame is None
                else list(floats(frame.normalised(np.array(one.utilities)))),
                "measures": measures(problem, one.utilities, compared=table, percentile=percentile),
            }
            for one in decisions
        ],
        "explanation": explain(problem, asked)
        if explained and asked.status != "disagreement"
        else None,
        "bootstrap": resampled,
        "notes": list(asked.notes),
    }
