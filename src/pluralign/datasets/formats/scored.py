"""Pairs from responses with scores, and from labels that scores can check."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from .fields import Record, RowError
from .options import PairRules


@final
@dataclass(frozen=True)
class Candidate:
    """A response to a prompt with its score.

    Args:
        text: the response.
        score: what puts it in order; more is better.
        extra: further columns; each appears as ``<name>_chosen`` and ``<name>_rejected``.
    """

    text: Any
    score: float
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def scored_pairs(
    prompt: Any, candidates: Sequence[Candidate], rules: PairRules, draw: random.Random
) -> Iterator[Record]:
    """Pairs of responses by score, as ``rules.pairing`` asks; equal texts are no pair.

    Of equal best responses the first is taken; equal scores give a tie.
    """
    best_first = sorted(candidates, key=lambda candidate: -candidate.score)
    others = [other for other in best_first[1:] if other.text != best_first[0].text]
    if not others:
        raise RowError(
            f"a pair needs two different scored responses; the prompt has {len(candidates)}",
            unusable=True,
        )
    for better, other in _matched(best_first, others, rules.pairing, draw):
        if better.text != other.text:
            yield scored_pair(prompt, better, other)


def _matched(
    ordered: Sequence[Candidate], others: Sequence[Candidate], pairing: str, draw: random.Random
) -> Iterator[tuple[Candidate, Candidate]]:
    if pairing == "all":
        yield from itertools.combinations(ordered, 2)
        return
    if pairing == "random":
        others = [draw.choice(others)]
    elif pairing == "lowest":
        others = others[-1:]
    for other in others:
        yield ordered[0], other


def scored_pair(prompt: Any, better: Candidate, other: Candidate) -> Record:
    """One pair with both scores, their difference and the further columns of both."""
    record: Record = {
        "prompt": prompt,
        "chosen": better.text,
        "rejected": other.text,
        "score_chosen": better.score,
        "score_rejected": other.score,
        "margin": better.score - other.score,
        "label_prob": 0.5 if better.score == other.score else 1.0,
    }
    for side, candidate in (("chosen", better), ("rejected", other)):
        record |= {f"{name}_{side}": value for name, value in candidate.extra.items()}
    return record


def directed(prompt: Any, chosen: Candidate, rejected: Candidate, rules: PairRules) -> Record:
    """A pair whose label is given, held against the scores of both responses.

    A published conversion that sorted the wrong way round has the worse response as
    chosen in every row, which nothing but the scores can tell.
    """
    if chosen.score < rejected.score:
        if rules.direction == "check":
            raise RowError(
                f"chosen has the lower score ({chosen.score:g} < {rejected.score:g}): the labels "
                "may be inverted; direction='mend' follows the scores, 'trust' the labels"
            )
        if rules.direction == "mend":
            chosen, rejected = rejected, chosen
    return scored_pair(prompt, chosen, rejected)


def share_of(chosen: float, rejected: float) -> float:
    """``chosen / (chosen + rejected)``: preference by the ratio of two positive scores."""
    if chosen <= 0 or rejected <= 0:
        raise RowError(f"confidence='scores' needs positive scores; got {chosen:g}, {rejected:g}")
    return 1.0 / (1.0 + math.exp(math.log(rejected) - math.log(chosen)))
