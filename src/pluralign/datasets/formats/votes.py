"""Single votes, and the votes on one pair as one row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from .fields import Record

Numbered: TypeAlias = tuple[int, Record]
"""A record and the number of the row of the source that it came from."""

# Columns that belong to a single vote and say nothing of several together.
_OF_ONE_VOTE = ("annotator", "chosen_first")


def vote(first: Any, second: Any, prefers_second: float) -> Record:
    """The pair that one vote makes: ``prefers_second`` is 0, 1, or between (a tie is 0.5)."""
    if prefers_second > 0.5:
        pair = {"chosen": second, "rejected": first, "label_prob": prefers_second}
    else:
        pair = {"chosen": first, "rejected": second, "label_prob": 1.0 - prefers_second}
    return {**pair, "chosen_first": prefers_second <= 0.5}


def shares(votes: Iterable[Numbered], within: Sequence[str]) -> list[Numbered]:
    """One row for all votes on a pair, with the share of the votes for chosen.

    ``label_prob = sum of the votes for chosen / n_votes``, where a tie counts one half for
    each side. Votes belong together if prompt, both responses (in either order) and the
    columns ``within`` are equal. With equal shares the first vote's order stands.
    """
    found: dict[str, tuple[int, Record, float, int]] = {}
    for number, record in votes:
        key = _key(record, within)
        prob = record.get("label_prob", 1.0)
        if key not in found:
            found[key] = (number, record, prob, 1)
            continue
        start, first, total, count = found[key]
        same = record["chosen"] == first["chosen"]
        found[key] = (start, first, total + (prob if same else 1.0 - prob), count + 1)
    return [(number, _merged(first, total, n)) for number, first, total, n in found.values()]


def _merged(first: Record, total: float, count: int) -> Record:
    merged = {name: value for name, value in first.items() if name not in _OF_ONE_VOTE}
    merged |= {"label_prob": total / count, "n_votes": count}
    if 2 * total < count:
        merged |= {"chosen": first["rejected"], "rejected": first["chosen"]}
        merged["label_prob"] = (count - total) / count
    return merged


def _key(record: Record, within: Sequence[str]) -> str:
    pair = sorted(repr(record[name]) for name in ("chosen", "rejected"))
    return repr((record["prompt"], pair, [record.get(name) for name in within]))
