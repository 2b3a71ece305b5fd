"""Shapes of a pair: from what a row holds to prompt, chosen and rejected.

``standard``
    strings ``prompt``, ``chosen``, ``rejected``.
``conversational``
    the same three as lists of messages (``role``, ``content``).
``implicit``
    no prompt: ``chosen`` and ``rejected`` each hold the whole string or conversation,
    and the prompt is what they begin with in common.
``token_ids``
    lists of token ids, as ``prompt``, ... or ``prompt_ids``, ...

A prompt that is a string beside responses that are whole conversations (both are found
in public sets) is read as ``implicit``, once the conversations are seen to contain it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, final

from ..errors import DataError
from ..rows import raise_rows, text_problem
from ..rules import shown

Shape: TypeAlias = Literal["auto", "standard", "conversational", "implicit", "token_ids"]

RESPONSES = ("chosen", "rejected")
_KIND_OF_FORMAT = {"standard": "text", "conversational": "conversation", "token_ids": "ids"}
_ID_COLUMNS = {f"{name}_ids": name for name in ("prompt", *RESPONSES)}

_SPOKEN = {
    "text": "a string",
    "conversation": "a list of messages",
    "ids": "token ids",
    "other": "something unreadable",
}

# Where an assistant's turn starts in a transcript kept as one string.
_TURN = re.compile(
    r"\n\nAssistant:|<\|assistant\|>\n?|<\|im_start\|>assistant\n|### Response:\n?|\[/INST\]"
)


@final
@dataclass(frozen=True)
class Reading:
    """How rows are read: told by the first of them, kept for all that follow.

    Args:
        shape: one of the four shapes.
        kind: kind of text of the responses.
        any_space: whether a shared string may be cut at white space.
    """

    shape: Shape
    kind: str
    any_space: bool = False


def shape_rows(
    rows: Sequence[Mapping[str, Any]], asked: Shape | Reading, source: str
) -> tuple[list[dict[str, Any]], dict[int, str], Reading]:
    """Rows with ``prompt``, ``chosen`` and ``rejected`` of one kind, and the unusable ones.

    Returns:
        All rows in their shape (an unusable one as it was); why each unusable row (by
        number) cannot be used: something is missing, blank, or not told apart; and how
        the rows were read.

    Raises:
        DataError: if a column is missing altogether, or naming the rows that are no
            mappings or not in the format of the others.
    """
    demand_mappings(rows, source)
    shaped = [_renamed(row) for row in rows]
    read = asked if isinstance(asked, Reading) else _detected(shaped, asked)
    _demand_columns(shaped, read.shape, source)
    unusable: dict[int, str] = {}
    broken: list[tuple[int, str]] = []
    for number, row in enumerate(shaped):
        if why := _lack(row, read.shape):
            unusable[number] = why
        elif problem := _misfit(row, read.shape, read.kind):
            broken.append((number, problem))
        elif read.shape == "implicit" and (why := divide(row, any_space=read.any_space)):
            unusable[number] = why
    hint = f" The rows were read as {read.shape!r}; give format= if that is wrong."
    raise_rows(broken, source, len(rows), hint=hint)
    return shaped, unusable, read


def demand_mappings(rows: Sequence[object], source: str) -> None:
    """Refuse rows that have no columns.

    Raises:
        DataError: naming the rows that are no mappings.
    """
    problems = [
        (number, f"must be a mapping of columns to values; got {shown(row)}")
        for number, row in enumerate(rows)
        if not isinstance(row, Mapping)
    ]
    raise_rows(problems, source, len(rows))


def _demand_columns(rows: Sequence[Mapping[str, Any]], form: Shape, source: str) -> None:
    present = {name for row in rows for name in row}
    absent = [name for name in _columns(form) if name not in present]
    if rows and absent:
        raise DataError(
            f"there is no column {' or '.join(map(repr, absent))}; the columns are "
            f"{sorted(map(str, present))}. "
            f"Rename them, or give another format= than {form!r}.",
            source=source,
        )


def _columns(form: Shape) -> tuple[str, ...]:
    return RESPONSES if form == "implicit" else ("prompt", *RESPONSES)


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with ``chosen_ids`` as ``chosen`` and so on, and messages in one form."""
    named = {
        _ID_COLUMNS.get(name, name) if _ID_COLUMNS.get(name) not in row else name: value
        for name, value in row.items()
    }
    for name in ("prompt", *RESPONSES):
        value = named.get(name)
        as_list = getattr(value, "tolist", None)
        value = value if as_list is None else as_list()
        if isinstance(value, (list, tuple)):
            value = tuple(_message(part) for part in cast("Sequence[Any]", value))
        if name in named:
            named[name] = value
    return named


def _message(part: Any) -> Any:
    """A message without the empty fields that columnar files add to every message."""
    if not isinstance(part, Mapping):
        return part
    fields = cast("Mapping[str, Any]", part)
    return {name: value for name, value in fields.items() if value is not None}


def _detected(rows: Sequence[Mapping[str, Any]], form: Shape) -> Reading:
    """The shape, and the kind of text that the responses have, by the first full row."""
    readable = (r for r in rows if all(kind_of(r.get(name)) != "other" for name in RESPONSES))
    first = next(readable, {})
    kind = kind_of(first.get("chosen"))
    if form != "auto":
        return Reading(form, _KIND_OF_FORMAT.get(form, kind), any_space=form == "implicit")
    has_prompt = any(row.get("prompt") is not None for row in rows)
    if not has_prompt or (isinstance(first.get("prompt"), str) and kind == "conversation"):
        # Without any responses the columns are not there: say so, not "no prompt".
        return Reading("implicit" if first else "standard", kind)
    named = {kind: name for name, kind in _KIND_OF_FORMAT.items()}
    return Reading(cast("Shape", named.get(kind, "standard")), kind)


def kind_of(text: object) -> str:
    """``text``, ``conversation``, ``ids`` or ``other``."""
    if isinstance(text, str):
        return "text"
    parts = cast("tuple[Any, ...]", text) if isinstance(text, tuple) else ()
    if parts and all(isinstance(part, Mapping) for part in parts):
        return "conversation"
    ints = parts and all(isinstance(part, int) and not isinstance(part, bool) for part in parts)
    return "ids" if ints else "other"


def _lack(row: Mapping[str, Any], form: Shape) -> str:
    """Which text a row lacks; empty if it has all."""
    for name in _columns(form):
        if row.get(name) is None:
            return f"{name} is missing or null"
    return _blank(row)


def _blank(row: Mapping[str, Any]) -> str:
    """Which response has nothing in it; empty if both have."""
    for name in RESPONSES:
        text: Any = row[name]
        if text == () or (isinstance(text, str) and not text.strip()):
            return f"{name} is blank"
        if kind_of(text) == "conversation":
            messages = cast("tuple[Mapping[str, Any], ...]", text)
            contents = [message.get("content", "?") for message in messages]
            if all(isinstance(said, str) and not said.strip() for said in contents):
                return f"{name} has only blank messages"
    return ""


def _misfit(row: Mapping[str, Any], form: Shape, kind: str) -> str:
    """Why a row is not in the format of its neighbours; empty if it is."""
    for name in _columns(form):
        if problem := text_problem(row[name], empty_allowed=True):
            return f"{name} {problem}"
    for name in _columns(form):
        found = kind_of(row[name])
        if found != kind and not (name == "prompt" and row[name] == ()):
            return f"{name} is {_SPOKEN[found]} where {_SPOKEN[kind]} is expected"
    if form == "implicit" and kind == "ids":
        return "token ids need a prompt of their own; give the column prompt_ids"
    return ""


def divide(row: dict[str, Any], *, any_space: bool) -> str:
    """Take the prompt off a row whose two columns hold the whole exchange, or say why not."""
    chosen, rejected = row["chosen"], row["rejected"]
    shared = _shared(chosen, rejected)
    if not shared:
        return "chosen and rejected begin with nothing in common, so there is no prompt"
    stated = row.get("prompt")
    if isinstance(chosen, str):
        cut = _cut(chosen[:shared], any_space=any_space)
        if not cut:
            return (
                "chosen and rejected share no mark of an assistant's turn; add a prompt column, "
                "or give format='implicit' to cut at the last shared white space"
            )
    else:
        cut = shared
        contents = [message["content"].strip() for message in chosen[:cut]]
        if isinstance(stated, str) and stated.strip() not in ("", *contents):
            return "prompt is not among the messages that chosen and rejected share"
    row.update(prompt=chosen[:cut], chosen=chosen[cut:], rejected=rejected[cut:])
    return _blank(row)


def _cut(shared: str, *, any_space: bool) -> int:
    """Length of the prompt in what two whole strings share.

    It ends with the last mark of an assistant's turn; without one, if asked for, before
    the last white space, so that no word is cut in two.
    """
    turns = list(_TURN.finditer(shared))
    if turns:
        return turns[-1].end()
    return max(shared.rfind(" "), shared.rfind("\n"), 0) if any_space else 0


def _shared(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """Number of leading messages, or characters, that two responses share."""
    for number, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one != other:
            return number
    return min(len(chosen), len(rejected))
