"""UltraFeedback: several rated completions a prompt, and sets binarised from it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from .fields import Record, Row, RowError, mapping, mappings, number, present, text
from .options import PairRules
from .scored import Candidate, directed, scored_pairs
from .spec import CHANCE, Format

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")

# Names under which converted sets keep the scores of both responses.
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)


def _completions(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    found = [_candidate(part, rules.score) for part in mappings(rows[0], "completions")]
    rated = [candidate for candidate in found if candidate is not None]
    yield from scored_pairs(text(rows[0], "instruction"), rated, rules, draw)


def _candidate(completion: Row, score: str) -> Candidate | None:
    """A completion with its score; ``None`` if it was never rated."""
    ratings = _ratings(completion)
    if score == "overall":
        value = None if completion.get("overall_score") is None else overall(completion)
    elif score == "mean":
        value = sum(ratings.values()) / len(ratings) if ratings else None
    else:
        value = ratings.get(score)
    if value is None:
        return None
    aspects = {name: ratings.get(name, float("nan")) for name in ASPECTS}
    return Candidate(text(completion, "response"), value, aspects)


def overall(completion: Row) -> float:
    """The critique's score of a completion."""
    return number(completion, "overall_score")


def _ratings(completion: Row) -> dict[str, float]:
    """Ratings by aspect; ``N/A``, which the annotator gives where one does not apply, is none."""
    if completion.get("annotations") is None:
        return {}
    stated: dict[str, Any] = {}
    for name, note in mapping(completion, "annotations").items():
        # One note a completion, or a list of one.
        only: Any = cast("list[Any]", note)[0] if isinstance(note, list) and note else note
        stated[name] = cast("Row", only).get("Rating") if isinstance(only, Mapping) else only
    return {
        name: number(stated, name)
        for name, value in stated.items()
        if name in ASPECTS and value not in (None, "N/A")
    }


def _binarised(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    names = next((pair for pair in _SCORES if set(pair) <= set(row)), None)
    if names is None:
        raise RowError(f"there are no scores; known names are {_SCORES[0]} and the like")
    chosen, rejected = (
        Candidate(present(row, side), number(row, name))
        for side, name in zip(("chosen", "rejected"), names, strict=True)
    )
    record = directed(row.get("prompt"), chosen, rejected, rules)
    yield {name: value for name, value in record.items() if value is not None}


ULTRAFEEDBACK = Format(
    name="ultrafeedback",
    title="UltraFeedback: completions with ratings by aspect; the best against another",
    columns=("instruction", "completions"),
    convert=_completions,
    options={
        **CHANCE,
        "ties": ("drop", "keep"),
        "score": ("mean", "overall", *ASPECTS),
    },
    domain="source",
    attributes=(
        "score_chosen",
        "score_rejected",
        "margin",
        *(f"{name}_{side}" for name in ASPECTS for side in ("chosen", "rejected")),
    ),
)

ULTRAFEEDBACK_BINARIZED = Format(
    name="ultrafeedback_binarized",
    title="Binarised UltraFeedback and other pairs with both scores; their direction is checked",
    columns=("chosen", "rejected"),
    telling=("prompt_id", "messages", "score_chosen", "score_rejected"),
    convert=_binarised,
    options={"ties": ("keep", "drop"), "direction": ("check", "mend", "trust")},
    attributes=("score_chosen", "score_rejected", "margin"),
)
