"""Several votes on a pair: AlpacaFarm's and PandaLM's annotators, and pairs that repeat."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from ...rules import shown
from .fields import Record, Row, RowError, choice, instruction, number, present, text
from .options import PairRules
from .spec import Format
from .votes import vote

_VOTES = {"votes": ("each", "share"), "ties": ("keep", "drop")}
_ANNOTATORS = ("annotator1", "annotator2", "annotator3")


def _alpaca_farm(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    preference = number(row, "preference")
    if preference != 0 and not 1 <= preference <= 2:
        raise RowError(
            "preference must be 1 (first output), 2 (second), between them, or 0 (tie); got "
            f"{shown(row['preference'])}"
        )
    pair = vote(text(row, "output_1"), text(row, "output_2"), preference - 1 if preference else 0.5)
    yield {"prompt": instruction(row), **pair}


def _pandalm(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    first, second = (_answer(row, name) for name in ("response1", "response2"))
    prompt = instruction(row)
    for name in _ANNOTATORS:
        prefers_second = (0.5, 0.0, 1.0)[choice(row, name, (0, 1, 2))]
        yield {"prompt": prompt, **vote(first, second, prefers_second), "annotator": name}


def _answer(row: Row, name: str) -> str:
    """An answer; six of the published ones are the word "True", kept as JSON's ``true``."""
    return str(row[name]) if isinstance(row.get(name), bool) else text(row, name)


def _repeated(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    row = rows[0]
    texts = {name: present(row, name) for name in ("prompt", "chosen", "rejected")}
    stated = 1.0 if row.get("label_prob") is None else number(row, "label_prob")
    if not 0 <= stated <= 1:
        raise RowError(f"label_prob must be in [0, 1]; got {stated}")
    yield {**texts, "label_prob": stated}


ALPACA_FARM = Format(
    name="alpaca_farm",
    title="AlpacaFarm and AlpacaEval annotations: one vote a row, several rows a pair",
    columns=("instruction", "output_1", "output_2", "preference"),
    convert=_alpaca_farm,
    options=_VOTES,
    annotator="annotator",
    domain="dataset",
)

PANDALM = Format(
    name="pandalm",
    title="PandaLM's test set: three annotators a pair, ties among their votes",
    columns=("instruction", "response1", "response2", *_ANNOTATORS),
    convert=_pandalm,
    options=_VOTES,
    annotator="annotator",
    domain="motivation_app",
)

CROSS_ANNOTATIONS = Format(
    name="cross_annotations",
    title="Pairs that repeat, one row a rater, with chosen and rejected as each saw them",
    columns=("prompt", "chosen", "rejected", "annotator"),
    convert=_repeated,
    telling=None,  # nothing in the columns asks that votes be joined
    options={"votes": ("share", "each"), "ties": ("keep", "drop")},
    annotator="annotator",
)
