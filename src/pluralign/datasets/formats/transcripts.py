"""HH-RLHF: two whole dialogues as transcripts that part at an answer."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .fields import Record, Row, RowError, text
from .options import PairRules
from .spec import Format

_ANSWER = "\n\nAssistant:"
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _convert(rows: Sequence[Row], rules: PairRules, draw: random.Random) -> Iterator[Record]:
    chosen, rejected = text(rows[0], "chosen"), text(rows[0], "rejected")
    cut = chosen.rfind(_ANSWER, 0, _shared(chosen, rejected))
    if cut < 0:
        raise RowError(
            "chosen and rejected share no '\\n\\nAssistant:' before they differ, so there is no "
            "prompt",
            unusable=True,
        )
    end = cut + len(_ANSWER)
    prompt, better, other = chosen[:end], chosen[end:].strip(), rejected[end:].strip()
    if not rules.messages:
        yield {"prompt": prompt, "chosen": better, "rejected": other}
        return
    yield {
        "prompt": _messages(prompt)[:-1],  # the last turn is the empty one to be answered
        "chosen": _messages(f"{_ANSWER} {better}"),
        "rejected": _messages(f"{_ANSWER} {other}"),
    }


def _shared(one: str, other: str) -> int:
    """Number of leading characters that two dialogues share."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))


def _messages(transcript: str) -> list[dict[str, Any]]:
    turns = list(_TURN.finditer(transcript))
    ends = [turn.start() for turn in turns[1:]] + [len(transcript)]
    return [
        {"role": _ROLES[turn.group(1)], "content": transcript[turn.end() : end].strip()}
        for turn, end in zip(turns, ends, strict=True)
    ]


HH_RLHF = Format(
    name="hh_rlhf",
    title="HH-RLHF: chosen and rejected are transcripts; cut at the last shared answer",
    columns=("chosen", "rejected"),
    convert=_convert,
    telling=None,  # the columns are those of any set without a prompt of its own
    options={"messages": (False,)},
)
