"""Sets that say who judged: PRISM, DICES and MultiPICo."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from .fields import Record, Row, RowError, choice, mappings, number, text
from .options import PairRules
from .scored import Candidate, scored_pairs
from .spec import CHANCE, Format
from .votes import vote

_UNSAFE = {"No": 0, "Unsure": 1, "Yes": 2}


def _prism(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    """Pairs of each turn; the history holds the responses that the person went on with."""
    said: list[dict[str, Any]] = []
    for spoken in _turns(rows[0]):
        person = [entry for entry in spoken if entry.get("role") == "user"]
        models = [entry for entry in spoken if entry.get("role") == "model"]
        if len(person) != 1 or not models:
            raise RowError("conversation_history has a turn without one user and a model")
        said.append({"role": "user", "content": text(person[0], "content")})
        candidates = [Candidate([_reply(entry)], number(entry, "score")) for entry in models]
        if len({text(entry, "content") for entry in models}) > 1:
            for record in scored_pairs(list(said), candidates, rules, draw):
                yield {**record, "turn": number(models[0], "turn")}
        kept = next((entry for entry in models if entry.get("if_chosen") is True), None)
        if kept is None:
            return  # nothing to go on with
        said.append(_reply(kept))


def _turns(row: Row) -> list[list[Row]]:
    """Entries of a conversation by turn, in order."""
    turns: dict[int, list[Row]] = {}
    for entry in mappings(row, "conversation_history"):
        turns.setdefault(int(number(entry, "turn")), []).append(entry)
    return [turns[turn] for turn in sorted(turns)]


def _reply(entry: Row) -> dict[str, Any]:
    return {"role": "assistant", "content": text(entry, "content")}


def _dices(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    """Pairs of one rater's verdicts on different responses to the same context."""
    candidates: dict[str, Candidate] = {}
    for at, row in enumerate(rows):
        verdict = text(row, "Q_overall")
        if verdict not in _UNSAFE:
            raise RowError(f"Q_overall must be Yes, No or Unsure; got {verdict!r}", at=at)
        response = text(row, "response")
        candidates.setdefault(response, Candidate(response, -_UNSAFE[verdict]))
    if len(candidates) > 1:
        yield from scored_pairs(text(rows[0], "context"), [*candidates.values()], rules, draw)


def _multipico(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    """A judgement as a pair: what this judge would say against what he would not."""
    row = rows[0]
    if "post" not in row and "reply" not in row:
        raise RowError("post and reply are missing; give options={'join': the items' file}")
    prompt = (
        f"Post: {text(row, 'post')}\nReply: {text(row, 'reply')}\n"
        "Is the reply ironic? Answer Yes or No."
    )
    yield {"prompt": prompt, **vote("No", "Yes", float(choice(row, "irony", (0, 1))))}


PRISM = Format(
    name="prism",
    title="PRISM conversations: scored responses in each turn; who rated comes from the survey",
    columns=("conversation_id", "user_id", "conversation_history"),
    convert=_prism,
    options={
        **CHANCE,
        "pairing": ("rest", "random", "lowest", "all"),
        "ties": ("keep", "drop"),
        "join": (None,),
    },
    annotator="user_id",
    domain="conversation_type",
    attributes=("score_chosen", "score_rejected", "margin", "turn"),
    keys=("user_id",),
    files=("conversations.jsonl", "survey.jsonl"),
)

DICES = Format(
    name="dices",
    title="DICES: verdicts of raters on responses; pairs only where a context has several",
    columns=("rater_id", "context", "response", "Q_overall"),
    convert=_dices,
    options={**CHANCE, "pairing": ("all", "random", "lowest", "rest"), "ties": ("keep", "drop")},
    unit=lambda row: (repr(row.get("rater_id")), repr(row.get("context"))),
    scattered=True,
    annotator="rater_id",
    attributes=("score_chosen", "score_rejected", "margin"),
    lacking=(
        "each row rates one response by itself, and no rater judged two responses to one "
        "context, so there is nothing to prefer. These are ratings, not preferences: compare "
        "the raters' verdicts (Q_overall) by group instead of making pairs of them."
    ),
)

MULTIPICO = Format(
    name="multipico",
    title="MultiPICo: judgements of irony; the two answers are the responses, one row a judge",
    columns=("split", "item", "annotator", "irony"),
    convert=_multipico,
    options={"votes": ("each", "share"), "ties": ("keep", "drop"), "join": (None,)},
    annotator="annotator",
    domain="lang",
    keys=("split", "item"),
    files=("annotations.parquet", "items.parquet"),
)
