"""HelpSteer and HelpSteer2: responses to one prompt in consecutive rows, with attributes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .fields import Record, Row, RowError, choice, number, text
from .options import PairRules
from .scored import Candidate, scored_pairs
from .spec import CHANCE, Format
from .votes import vote

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")

# Complexity and verbosity describe a style; more of them is not better.
_QUALITY = ATTRIBUTES[:3]


def _responses(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    candidates = [_candidate(row, rules.score) for row in rows]
    yield from scored_pairs(text(rows[0], "prompt"), candidates, rules, draw)


def _candidate(row: Row, score: str) -> Candidate:
    values = {name: number(row, name) for name in ATTRIBUTES}
    parts = _QUALITY if score == "mean" else (score,)
    mean = sum(values[name] for name in parts) / len(parts)
    return Candidate(text(row, "response"), mean, values)


def _two(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    if len(rows) != 2:
        raise RowError(
            f"the prompt has {len(rows)} responses in a row where HelpSteer2 has two; "
            "format='helpsteer' takes any number",
            unusable=True,
        )
    yield from _responses(rows, rules, draw)


def _compared(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    strength = choice(row, "preference_strength", range(-3, 4))
    prefers_second = 0.5 if strength == 0 else float(strength > 0)
    pair = vote(text(row, "response_1"), text(row, "response_2"), prefers_second)
    yield {"prompt": text(row, "prompt"), **pair, "margin": abs(strength)}


_RATED = ("prompt", "response", *ATTRIBUTES)
_SCORES = ("helpfulness", "mean", "correctness", "coherence")
_COMPARED = ("prompt", "response_1", "response_2", "preference_strength")


def _prompt_of(row: Row) -> str:
    return repr(row.get("prompt"))


_BOTH = (
    "score_chosen",
    "score_rejected",
    "margin",
    *(f"{name}_{side}" for name in ATTRIBUTES for side in ("chosen", "rejected")),
)

HELPSTEER = Format(
    name="helpsteer",
    title="HelpSteer: responses to one prompt in consecutive rows, each with five ratings",
    columns=_RATED,
    convert=_responses,
    options={**CHANCE, "ties": ("drop", "keep"), "score": _SCORES},
    unit=_prompt_of,
    attributes=_BOTH,
)

HELPSTEER2 = Format(
    name="helpsteer2",
    title="HelpSteer2: as HelpSteer, with exactly two responses to a prompt",
    columns=_RATED,
    telling=None,  # told as HelpSteer, which takes two responses as well
    convert=_two,
    options={"ties": ("drop", "keep"), "score": _SCORES},
    unit=_prompt_of,
    attributes=_BOTH,
)

HELPSTEER2_PREFERENCE = Format(
    name="helpsteer2_preference",
    title="HelpSteer2's preferences: two responses with a strength from -3 to 3",
    columns=_COMPARED,
    convert=_compared,
    options={"ties": ("drop", "keep")},
    attributes=("margin",),
)
