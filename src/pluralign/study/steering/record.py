"""From selections to ``steering.json``: what steering gave, target by target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ...steer.comparison import Comparison
from ...steer.evidence import Bootstrap, at_one_angle
from ...steer.record import Selection
from ...steer.sphere import Floats

Pair = tuple[Selection, Selection]

EXAMPLES = 3
"""Prompts for each target whose answers are shown side by side."""


@final
@dataclass(frozen=True, kw_only=True)
class Steered:
    """One prompt steered to one target.

    Args:
        target: number of the target.
        prompt: number of the prompt.
        group: of the prompt; empty if none was named.
        pair: the steered selection and the baseline's.
        independent: scores of all candidates of both by another scorer, if there is one.
    """

    target: int
    prompt: int
    group: str
    pair: Pair
    independent: tuple[Floats, Floats] | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, one line of ``selections.jsonl``."""
        second = self.independent
        return {
            "target": self.target,
            "prompt": self.prompt,
            "group": self.group,
            "rps": self.pair[0].to_json(),
            "baseline": self.pair[1].to_json(),
            "independent": None
            if second is None
            else {"rps": _plain(second[0]), "baseline": _plain(second[1])},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Steered:
        """What :meth:`to_json` wrote."""
        second = values["independent"]
        return cls(
            target=values["target"],
            prompt=values["prompt"],
            group=values["group"],
            pair=(Selection.from_json(values["rps"]), Selection.from_json(values["baseline"])),
            independent=None
            if second is None
            else (
                np.array(second["rps"], dtype=np.float64),
                np.array(second["baseline"], dtype=np.float64),
            ),
        )


def steering_record(
    steered: Sequence[Sequence[Steered]],
    targets: Floats,
    *,
    trained: Floats | None,
    coverage: Sequence[dict[str, Any]],
    independent_name: str,
    bootstrap: Bootstrap,
    about: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``steering.json``; its shape is told in :mod:`pluralign.study.steering`.

    Args:
        steered: for each target, all prompts in their order.
        targets: unit vectors (A, d).
        trained: trained directions (n, d), if known.
        coverage: reports of ``coverage_gain``, one for each target, or none.
        independent_name: of the second scorer; empty without one.
        bootstrap: how intervals are made.
        about: title, creation and provenance.
    """
    first = steered[0][0].pair[0]
    arms = [[one.pair for one in rows] for rows in steered]
    second = [[one.independent for one in rows if one.independent is not None] for rows in steered]
    found = Comparison(
        targets=targets,
        arms=arms,
        independent=second if independent_name else None,
        independent_name=independent_name,
        bootstrap=bootstrap,
    ).report()
    angles = zip(found["angles"], steered, strict=True)
    return {
        "kind": "steering",
        "title": about["title"],
        "created": about["created"],
        "attributes": list(first.names),
        "trained": None if trained is None else trained.tolist(),
        "sampler": found["sampler"],
        "scorer": found["scorer"],
        "independent_scorer": independent_name or None,
        "k": found["k"],
        "spread": found["spread"],
        "confidence": bootstrap.confidence,
        "n_bootstrap": bootstrap.draws,
        "targets": [_target(angle, rows, bootstrap) for angle, rows in angles],
        "overall": _overall(found["overall"]),
        "coverage_gain": list(coverage),
        "examples": [example for rows in steered for example in _examples(rows)],
        "provenance": about["provenance"],
    }


def _target(angle: dict[str, Any], rows: Sequence[Steered], bootstrap: Bootstrap) -> dict[str, Any]:
    records = [one.pair[0] for one in rows]
    near = angle["neighbours"]
    return {
        "angle": angle["target_deg"],
        "direction": angle["target"],
        "scheme": records[0].scheme,
        "neighbours": [row["angle_deg"] for row in near],
        "n_prompts": angle["n"],
        "n_failed": angle["n_failed"],
        **_outcome(angle),
        "independent": _independent(angle["independent"]),
        "length": _arms(angle["mean_words"]),
        "generations": _arms(angle["generations"]),
        "chosen_angles": {_key(row["angle_deg"]): row["chosen"] for row in near},
        "neighbour_means": [
            {"angle": row["angle_deg"], "mean": row["mean"], "se": row["standard_error"]}
            for row in near
        ],
        "one_sided": angle["one_sided"],
        "groups": _groups(rows, bootstrap),
    }


def _outcome(found: dict[str, Any]) -> dict[str, Any]:
    """Both arms, their paired difference, and wins."""
    best = found["best"]
    interval = found["wilson_no_ties"] or (None, None)
    return {
        "rps": _mean(best["steered"]),
        "baseline": _mean(best["baseline"]),
        "gain": dict(best["difference"]),
        "wins": {
            "win": found["wins"],
            "tie": found["ties"],
            "loss": found["losses"],
            "rate": found["rate_no_ties"],
            "low": interval[0],
            "high": interval[1],
        },
    }


def _independent(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**_outcome(found), "n": found["n"], "correlation": found.get("correlation")}


def _overall(found: dict[str, Any]) -> dict[str, Any]:
    return {
        **_outcome(found),
        "n_prompts": found["prompts"],
        "independent": _independent(found["independent"]),
        "generations": _arms(found["generations"]),
    }


def _groups(rows: Sequence[Steered], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """The gain in each group of prompts, the one that gains least first; none without groups."""
    sizes = Counter(one.group for one in rows)
    found: list[dict[str, Any]] = []
    for name in sizes if len(sizes) > 1 else ():
        pairs = [one.pair for one in rows if one.group == name]
        seen = at_one_angle(pairs[0][0].target, pairs, None, bootstrap)
        cell = seen["best"]["difference"]
        limits = {"low": cell["low"], "high": cell["high"]}
        found.append({"name": name, "n": seen["n"], "gain": cell["value"], **limits})
    return sorted(found, key=lambda one: (one["gain"] is None, one["gain"], one["name"]))


def _examples(rows: Sequence[Steered]) -> list[dict[str, Any]]:
    """The first prompts, not the best ones: nobody has picked them."""
    return [
        {
            "prompt": _asked(one.pair[0]),
            "target": one.target,
            "rps": one.pair[0].text,
            "baseline": one.pair[1].text,
            "scores": {"rps": one.pair[0].best, "baseline": one.pair[1].best},
        }
        for one in rows
        if None not in (one.pair[0].chosen, one.pair[1].chosen)
    ][:EXAMPLES]


def _asked(record: Selection) -> str:
    prompt = record.prompt
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def _mean(cell: dict[str, Any]) -> dict[str, Any]:
    return {"mean": cell["value"], "low": cell["low"], "high": cell["high"]}


def _arms(found: dict[str, Any]) -> dict[str, Any]:
    return {"rps": found["steered"], "baseline": found["baseline"]}


def _key(angle: float) -> str:
    return f"{angle:g}"


def _plain(scores: Floats) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in scores.tolist()]
