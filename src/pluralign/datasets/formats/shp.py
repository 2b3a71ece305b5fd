"""Stanford Human Preferences: two comments on a post, with the votes that each got."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .fields import Record, Row, choice, number, text
from .options import PairRules
from .scored import Candidate, directed, share_of
from .spec import Format


def _convert(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    first, second = (
        Candidate(text(row, f"human_ref_{side}"), number(row, f"score_{side}")) for side in "AB"
    )
    a_preferred = choice(row, "labels", (0, 1)) == 1
    chosen, rejected = (first, second) if a_preferred else (second, first)
    record = directed(text(row, "history"), chosen, rejected, rules)
    if rules.confidence == "scores":
        record["label_prob"] = share_of(record["score_chosen"], record["score_rejected"])
    yield record


SHP = Format(
    name="shp",
    title="SHP: two comments on a post with scores; label_prob from their ratio on request",
    columns=("history", "human_ref_A", "human_ref_B", "labels", "score_A", "score_B"),
    convert=_convert,
    options={
        "ties": ("keep", "drop"),
        "direction": ("check", "mend", "trust"),
        "confidence": ("none", "scores"),
    },
    domain="domain",
    attributes=("score_chosen", "score_rejected", "margin"),
)
