"""Texts cut into prompt tokens and response tokens, for any number of responses.

The prompt is what prompt and every prompt + response have in common as *tokens*. A
tokenizer that merges across the boundary shortens it; :func:`check_boundary` counts that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray

from ..data import Text
from ..errors import DataError, IncompatibleError
from ..rows import raise_rows
from ..rules import shown

Ids: TypeAlias = NDArray[np.int32]
Truncation: TypeAlias = Literal["error", "drop", "left_prompt"]

_EMPTY: Ids = np.zeros(0, dtype=np.int32)


@final
class Texts(NamedTuple):
    """N prompts with K responses each.

    Attributes:
        prompts: N texts.
        responses: K columns of N texts.
        names: K names of the columns, for messages.
        source: where they came from, for messages.
    """

    prompts: Sequence[Text]
    responses: tuple[Sequence[Text], ...]
    names: tuple[str, ...]
    source: str


@final
class Row(NamedTuple):
    """One prompt with its responses as token ids.

    Attributes:
        prompt: the common prefix.
        responses: what follows it in each response.
        cut: tokens of the prompt alone that are no prefix of prompt + response.
    """

    prompt: Ids
    responses: tuple[Ids, ...]
    cut: Ids = _EMPTY

    def size(self) -> int:
        """Tokens of the prompt with the longest response."""
        return len(self.prompt) + max(map(len, self.responses))


def split_rows(texts: Texts, tokenizer: Any, *, append_eos: bool) -> list[Row]:
    """Token ids of every row, cut at the common prefix.

    Raises:
        DataError: naming rows that mix kinds of text or have a response without tokens.
        IncompatibleError: if the tokenizer lacks EOS or a chat template that is needed.
    """
    kinds = _kinds(texts)
    rows: list[Row] = [Row(_EMPTY, ())] * len(kinds)
    for kind in sorted(set(kinds)):
        index = [i for i, value in enumerate(kinds) if value == kind]
        found = (
            [
                Row(_array(texts.prompts[i]), tuple(_array(c[i]) for c in texts.responses))
                for i in index
            ]
            if kind == "ids"
            else _split(texts, index, kind, tokenizer, append_eos)
        )
        for i, row in zip(index, found, strict=True):
            rows[i] = row
    return rows


def _kinds(texts: Texts) -> list[str]:
    """Kind of text of each row; an empty prompt goes with any kind of response."""
    kinds: list[str] = []
    problems: list[tuple[int, str]] = []
    for i, row in enumerate(zip(texts.prompts, *texts.responses, strict=True)):
        found = {kind_of(text) for text in row if text}
        if len(found) > 1:
            problems.append((i, f"prompt and responses are of different kinds: {sorted(found)}"))
        kinds.append(min(found))
    raise_rows(problems, texts.source, len(kinds))
    return kinds


def kind_of(text: Text) -> str:
    """``"text"``, ``"chat"`` or ``"ids"`` of a text that is not empty."""
    if isinstance(text, str):
        return "text"
    return "ids" if isinstance(text[0], int) else "chat"


def _split(
    texts: Texts, index: list[int], kind: str, tokenizer: Any, append_eos: bool
) -> list[Row]:
    _check_tokenizer(tokenizer, kind, append_eos)
    prompts = [_as_text(texts.prompts[i], (), tokenizer, texts.source, i) for i in index]
    whole: list[list[Ids]] = []
    for column in texts.responses:
        joined = [_as_text(texts.prompts[i], column[i], tokenizer, texts.source, i) for i in index]
        ids = _encoded(joined, kind, tokenizer)
        if append_eos and kind == "text":
            ids = [_with_eos(row, tokenizer.eos_token_id) for row in ids]
        whole.append(ids)
    alone = _encoded(prompts, kind, tokenizer)
    alone = [
        _without_added_eos(ids, text, tokenizer) for ids, text in zip(alone, prompts, strict=True)
    ]
    return [_parted(*row, bos=tokenizer.bos_token_id) for row in zip(alone, *whole, strict=True)]


def _check_tokenizer(tokenizer: Any, kind: str, append_eos: bool) -> None:
    if not hasattr(tokenizer, "eos_token_id"):
        raise IncompatibleError(f"texts need a transformers tokenizer; got {shown(tokenizer)}.")
    owner = type(tokenizer).__name__
    if kind == "chat" and not getattr(tokenizer, "chat_template", None):
        raise IncompatibleError(
            f"{owner} has no chat template, which conversations need; set "
            "tokenizer.chat_template or give the texts as strings."
        )
    if kind == "text" and append_eos and tokenizer.eos_token_id is None:
        raise IncompatibleError(
            f"{owner} has no EOS token, so a model tuned on these pairs would not learn to stop; "
            "set tokenizer.eos_token, or pass append_eos=False if that is meant."
        )


def _as_text(prompt: Text, response: Text, tokenizer: Any, source: str, row: int) -> str:
    """Prompt and response as one string; a conversation through the chat template."""
    if isinstance(prompt, str) and isinstance(response, str):
        return prompt + response
    if isinstance(prompt, str) and not response:
        return prompt
    messages = [dict(cast("Mapping[str, Any]", turn)) for turn in (*(prompt or ()), *response)]
    if not messages:
        return ""
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not response
        )
    except Exception as error:  # templates are programs and raise what they like
        raise DataError(
            f"row {row}: the chat template refuses the conversation ({error}).",
            source=source,
            rows=[row],
        ) from error
    return text


def _encoded(texts: list[str], kind: str, tokenizer: Any) -> list[Ids]:
    ids = tokenizer(
        texts, add_special_tokens=kind == "text", return_attention_mask=False, verbose=False
    )["input_ids"]
    return [_single_bos(_array(row), tokenizer.bos_token_id) for row in ids]


def _array(ids: Any) -> Ids:
    return np.asarray(ids, dtype=np.int32)


def _single_bos(ids: Ids, bos: int | None) -> Ids:
    """Without the second BOS that a text gets which names BOS itself."""
    doubled = bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos
    return ids[1:] if doubled else ids


def _with_eos(ids: Ids, eos: int) -> Ids:
    return ids if len(ids) and ids[-1] == eos else np.append(ids, np.int32(eos))


def _without_added_eos(ids: Ids, text: str, tokenizer: Any) -> Ids:
    """Without the EOS that some tokenizers put behind every text, prompts too."""
    eos = tokenizer.eos_token_id
    added = len(ids) and eos is not None and ids[-1] == eos
    return ids[:-1] if added and not text.endswith(tokenizer.eos_token) else ids


def _parted(alone: Ids, *whole: Ids, bos: int | None) -> Row:
    length = min(_common_prefix(alone, ids) for ids in whole)
    start = whole[0][:length]
    if not length and bos is not None:  # the first response token needs a context
        start = _array([bos])
    return Row(start, tuple(ids[length:] for ids in whole), alone[length:])


def _common_prefix(first: Ids, second: Ids) -> int:
    size = min(len(first), len(second))
    differ = np.flatnonzero(first[:size] != second[:size])
    return int(differ[0]) if len(differ) else size


def check_empty(rows: list[Row], texts: Texts, tokenizer: Any, *, prompt: bool = True) -> None:
    """Refuse responses without tokens (EOS alone is none) and, if asked, empty prompts.

    Raises:
        DataError: naming the rows.
    """
    eos = getattr(tokenizer, "eos_token_id", None)
    problems: list[tuple[int, str]] = []
    for i, row in enumerate(rows):
        if prompt and not len(row.prompt):
            problems.append((i, "prompt has no tokens and the tokenizer has no BOS to stand in"))
        for name, column, ids in zip(texts.names, texts.responses, row.responses, strict=True):
            only_eos = len(ids) == 1 and ids[0] == eos and kind_of(column[i]) != "ids"
            if not len(ids) or only_eos:
                problems.append((i, f"{name} has no tokens"))
    raise_rows(problems, texts.source, len(rows))


def check_boundary(rows: list[Row], source: str, tokenizer: Any, max_share: float) -> int:
    """Number of rows whose prompt tokenises otherwise alone than before a response.

    Raises:
        DataError: showing one of them, if their share is above ``max_share``.
    """
    broken = [i for i, row in enumerate(rows) if len(row.cut)]
    share = len(broken) / len(rows)
    if share > max_share:
        first = broken[0]
        tail = tokenizer.decode(rows[first].cut.tolist())
        after = tokenizer.decode(rows[first].responses[0][:5].tolist())
        raise DataError(
            f"in {len(broken)} of {len(rows)} rows ({share:.1%}, limit {max_share:.1%}) the "
            f"prompt's tokens are no prefix of prompt + response; in row {first} the prompt "
            f"ends in {shown(tail)} but the response then starts at {shown(after)}. End prompts "
            "on a token boundary (put the blank or line break into the response), mend the chat "
            "template, or raise max_boundary_share.",
            source=source,
            rows=broken,
        )
    return len(broken)


def truncated(
    rows: list[Row], source: str, tokenizer: Any, max_length: int, truncation: Truncation
) -> tuple[list[Row], int, list[int]]:
    """Rows after truncation, how many were cut, and the numbers of those still too long.

    Raises:
        DataError: with ``truncation="error"``, if a row is too long.
    """
    long = [i for i, row in enumerate(rows) if row.size() > max_length]
    if long and truncation == "error":
        longest = max(row.size() for row in rows)
        raise DataError(
            f"{len(long)} of {len(rows)} rows are longer than max_length={max_length} tokens "
            f"(the longest has {longest}); first row {long[0]}. Raise max_length, or choose "
            "truncation='drop' or 'left_prompt'.",
            source=source,
            rows=long,
        )
    if truncation != "left_prompt":
        return rows, 0, long
    cut = list(rows)
    for i in long:
        cut[i] = _left_cut(rows[i], max_length, getattr(tokenizer, "bos_token_id", None))
    still = [i for i in long if cut[i].size() > max_length]
    return cut, len(long) - len(still), still


def _left_cut(row: Row, max_length: int, bos: int | None) -> Row:
    surplus = row.size() - max_length
    head = int(len(row.prompt) > 0 and row.prompt[0] == bos)
    if surplus > len(row.prompt) - head - (1 - head):
        return row  # one token of context must stay
    return row._replace(prompt=np.concatenate([row.prompt[:head], row.prompt[head + surplus :]]))
