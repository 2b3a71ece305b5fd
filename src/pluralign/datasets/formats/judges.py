"""LLMBar and the AlpacaEval pool: answers of models, told apart by a label or by scores."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .fields import Record, Row, RowError, choice, instruction, mapping, number, text
from .options import PairRules
from .scored import Candidate, scored_pairs
from .spec import CHANCE, Format
from .votes import vote

_SCORES = "preference_vs_gpt4_turbo"


def _llmbar(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    prompt = text(row, "prompt") if "prompt" in row else text(row, "input")
    prefers_second = float(choice(row, "label", (1, 2)) == 2)
    pair = vote(text(row, "output_1"), text(row, "output_2"), prefers_second)
    for side in ("chosen", "rejected"):
        if row.get(side) is not None and row[side] != pair[side]:
            raise RowError(f"label {row['label']} contradicts the column {side!r}")
    yield {"prompt": prompt, **pair}


def _pool(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    answers, scores = mapping(rows[0], "responses"), mapping(rows[0], _SCORES)
    unscored = [str(model) for model in answers if model not in scores]
    if unscored:
        raise RowError(f"{_SCORES} has no score for {unscored[0]!r}")
    candidates = [
        Candidate(text(answers, model), number(scores, model), {"model": str(model)})
        for model in answers
        if answers[model] is not None
    ]
    written = [candidate for candidate in candidates if candidate.text.strip()]
    yield from scored_pairs(instruction(rows[0]), written, rules, draw)


LLMBAR = Format(
    name="llmbar",
    title="LLMBar: two outputs with the label of the better one, in named subsets",
    columns=("output_1", "output_2", "label"),
    convert=_llmbar,
    domain="subset",
)

ALPACA_EVAL = Format(
    name="alpaca_eval",
    title="A pool of models' answers to one prompt, each with its preference score",
    columns=("instruction", "responses", _SCORES),
    convert=_pool,
    options={**CHANCE, "ties": ("drop", "keep")},
    domain="dataset",
    attributes=("score_chosen", "score_rejected", "margin"),
)
