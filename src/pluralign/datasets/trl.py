"""``to_trl``: pairs as the rows that TRL's preference trainers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..data import Preferences
from ..errors import DataError, IncompatibleError
from ..rows import raise_rows
from .shapes import divide, kind_of

_SIDES = ("chosen", "rejected")


def to_trl(
    pairs: Preferences,
    *,
    conversational: bool | None = None,
    implicit: bool = False,
    as_dataset: bool = False,
) -> list[dict[str, Any]] | Any:
    """Pairs as rows of TRL's preference formats; ``load_preferences`` is the way back.

    Use it to hand pairs to another trainer. Every other column (group, annotator, weight,
    attributes, ...) goes along under its own name, so ``load_preferences(to_trl(pairs),
    attributes=[...])`` gives the same pairs. Token ids are refused: TRL makes its own.

    Args:
        pairs: strings or conversations.
        conversational: ``True`` for lists of messages (a string becomes one message of the
            user or the assistant), ``False`` for strings (only single such messages can be
            undone), ``None`` to leave the texts as they are.
        implicit: leave the prompt out and begin both responses with it. Rows from which
            the same prompt could not be recovered are refused.
        as_dataset: give a ``datasets.Dataset`` instead of a list.

    Returns:
        One row a pair, in order.

    Raises:
        DataError: naming the rows whose implicit prompt could not be read back.
        IncompatibleError: for token ids, or conversations that are no single messages.
        ImportError: if ``datasets`` is needed and not installed.

    Example:
        >>> rows = [{"prompt": "2+2?", "chosen": "4", "rejected": "5"}]
        >>> to_trl(Preferences.from_records(rows), conversational=True)[0]["chosen"]
        [{'role': 'assistant', 'content': '4'}]
    """
    rows = [_spoken(row, conversational, pairs.source) for row in pairs.records()]
    if implicit:
        rows = _implicit(rows, pairs.source)
    if not as_dataset:
        return rows
    try:
        import datasets
    except ImportError as error:
        raise ImportError("a Dataset needs datasets; pip install 'pluralign[language]'") from error
    return datasets.Dataset.from_list(rows)


def _spoken(row: dict[str, Any], conversational: bool | None, source: str) -> dict[str, Any]:
    """A row with its texts as strings or as messages."""
    for name in ("prompt", *_SIDES):
        text = row[name]
        if not isinstance(text, str) and kind_of(tuple(text)) == "ids":
            raise IncompatibleError(f"{source}: TRL's formats hold no token ids; give it texts.")
        role = "user" if name == "prompt" else "assistant"
        if conversational is True and isinstance(text, str):
            row[name] = [{"role": role, "content": text}]
        elif isinstance(text, str):
            continue
        elif conversational is False:
            row[name] = _unspoken(text, role, f"{source}: pair {row['id']!r}: {name}")
        else:
            row[name] = [dict(cast("Mapping[str, Any]", message)) for message in text]
    return row


def _unspoken(messages: Sequence[Mapping[str, Any]], role: str, where: str) -> str:
    if len(messages) == 1 and dict(messages[0]) == {
        "role": role,
        "content": messages[0]["content"],
    }:
        return messages[0]["content"]
    raise IncompatibleError(
        f"{where} is a conversation that only a chat template can make one string; leave it as "
        "messages (conversational=None)."
    )


def _implicit(rows: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Rows without a prompt, each seen to give the same prompt back."""
    whole: list[dict[str, Any]] = []
    problems: list[tuple[int, str]] = []
    for number, row in enumerate(rows):
        if len({kind_of(row[name]) == "text" for name in ("prompt", *_SIDES)}) > 1:
            raise DataError("mixes strings and messages; choose conversational.", source=source)
        joined = {name: value for name, value in row.items() if name != "prompt"}
        joined |= {side: row["prompt"] + row[side] for side in _SIDES}
        again = dict(joined)
        if divide(again, any_space=False) or again["prompt"] != row["prompt"]:
            problems.append((number, "the prompt could not be told from the responses again"))
        whole.append(joined)
    raise_rows(problems, source, len(rows), hint=" implicit=False keeps the prompt apart.")
    return whole
