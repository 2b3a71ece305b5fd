"""``tokenise_pairs`` and ``tokenise_texts``: token ids with every row that was touched counted.

A tokenizer that merges across the boundary of prompt and response is refused above a
stated share, because the model is then trained on prompts that it never sees at inference.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..data import Preferences, Text
from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import shown
from .splitting import (
    Ids,
    Row,
    Texts,
    Truncation,
    check_boundary,
    check_empty,
    split_rows,
    truncated,
)

if TYPE_CHECKING:
    from ..scores import TokenBatch


@final
@dataclass(frozen=True, eq=False)
class TokenPairs:
    """Preference pairs as token ids; row ``i`` is row ``kept[i]`` of the pairs.

    Args:
        prompt: N arrays of int32 ids.
        chosen: N arrays of int32 ids, at least one each.
        rejected: likewise.
        kept: int64 ``(N,)``, rows of the ``Preferences`` that were kept, rising.
        report: what tokenisation did: counts of pairs kept, dropped, truncated, ...
    """

    prompt: Sequence[Ids]
    chosen: Sequence[Ids]
    rejected: Sequence[Ids]
    kept: NDArray[np.int64]
    report: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.prompt)

    def rows(self, i: int) -> list[Ids]:
        """Prompt, chosen and rejected ids of row ``i``."""
        return [self.prompt[i], self.chosen[i], self.rejected[i]]

    def batch(self, index: Sequence[int] | NDArray[Any]) -> TokenBatch:
        """The rows at ``index`` as tensors for a log-probability engine."""
        return token_batch([self.rows(int(i)) for i in index])

    def sizes(self) -> NDArray[np.int64]:
        """Tokens of prompt and both responses of each row, int64 ``(N,)``."""
        return np.array([sum(map(len, self.rows(i))) for i in range(len(self))], dtype=np.int64)

    def hashes(self) -> list[str]:
        """SHA-256 of the ids of each row; equal for equal content in any data set."""
        return [_row_hash(self.rows(i)) for i in range(len(self))]

    def fingerprint(self) -> str:
        """SHA-256 of the ids of all rows in order."""
        return hashlib.sha256("".join(self.hashes()).encode()).hexdigest()


def token_batch(rows: Sequence[Sequence[Ids]]) -> TokenBatch:
    """Rows of (prompt, response, ...) ids as one unpadded ``TokenBatch``."""
    import torch

    from ..scores import TokenBatch

    flat = np.concatenate([part for row in rows for part in row]).astype(np.int64)
    lengths = np.array([[len(part) for part in row] for row in rows], dtype=np.int64)
    return TokenBatch(torch.from_numpy(flat), torch.from_numpy(lengths))


def tokenise_pairs(
    pairs: Preferences,
    tokenizer: Any,
    *,
    max_length: int = 1024,
    max_boundary_share: float = 0.01,
    append_eos: bool = True,
    truncation: Truncation = "error",
) -> TokenPairs:
    """Token ids of preference pairs, cut where prompt and responses part.

    Strings are joined as they are (no blank is inserted) and get one BOS if the tokenizer
    adds one, and one EOS. Conversations go through the chat template with a generation
    prompt. Token ids are taken as given, without BOS, EOS or boundary check.

    Args:
        pairs: the pairs.
        tokenizer: a transformers tokenizer; not used for token ids.
        max_length: longest prompt plus response, in tokens.
        max_boundary_share: share in [0, 1] of pairs that may have a prompt which is no
            prefix of prompt plus response.
        append_eos: end string responses with EOS.
        truncation: for longer pairs: ``"error"``, ``"drop"``, or ``"left_prompt"`` (cut the
            oldest prompt tokens after BOS; drop the pair if a response alone is too long).

    Returns:
        The kept pairs; those with two identical responses are dropped with a warning.

    Raises:
        DataError: naming rows with empty responses, mixed kinds of text, a share of
            boundary breaks above the limit (one is shown), or pairs that are too long.
        IncompatibleError: if the tokenizer lacks EOS or a chat template that is needed.

    Example:
        >>> ids = Preferences.from_records([{"prompt": [5, 6], "chosen": [7], "rejected": [8, 9]}])
        >>> tokenise_pairs(ids, tokenizer=None).batch([0]).lengths.tolist()
        [[2, 1, 2]]
    """
    columns = (pairs.chosen, pairs.rejected)
    texts = Texts(pairs.prompt, columns, ("chosen", "rejected"), pairs.source)
    rows = split_rows(texts, tokenizer, append_eos=append_eos)
    check_empty(rows, texts, tokenizer)
    broken = check_boundary(rows, texts.source, tokenizer, max_boundary_share)
    rows, cut, long = _fitted(rows, texts.source, tokenizer, max_length, truncation)
    same = [i for i, row in enumerate(rows) if np.array_equal(row.responses[0], row.responses[1])]
    kept = _kept(len(rows), long, same)
    counts = _counts(rows, kept, tokenizer, max_length)
    counts |= {"boundary_mismatch": broken, "truncated": cut}
    counts |= {"dropped_too_long": len(long), "dropped_identical": len(same)}
    _warn(counts, texts.source)
    return TokenPairs(
        prompt=tuple(rows[i].prompt for i in kept),
        chosen=tuple(rows[i].responses[0] for i in kept),
        rejected=tuple(rows[i].responses[1] for i in kept),
        kept=kept,
        report=counts,
    )


@final
@dataclass(frozen=True, eq=False)
class TokenTexts:
    """Texts to imitate as token ids: what is given, and what is learned.

    Args:
        context: N arrays of int32 ids, at least one each.
        target: N arrays of int32 ids whose likelihood is raised.
        kept: int64 ``(N,)``, numbers of the kept examples.
        report: what tokenisation did.
    """

    context: Sequence[Ids]
    target: Sequence[Ids]
    kept: NDArray[np.int64]
    report: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.context)

    def rows(self, i: int) -> list[Ids]:
        """Context and target ids of row ``i``."""
        return [self.context[i], self.target[i]]

    def fingerprint(self) -> str:
        """SHA-256 of the ids of all rows in order."""
        hashes = [_row_hash(self.rows(i)) for i in range(len(self))]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def tokenise_texts(
    examples: Sequence[tuple[Text, Text]],
    tokenizer: Any,
    *,
    max_length: int = 1024,
    max_boundary_share: float = 0.01,
    append_eos: bool = True,
    truncation: Truncation = "error",
    loss_on: Literal["completion", "all"] = "completion",
    source: str = "examples",
) -> TokenTexts:
    """Token ids of (prompt, response) examples for supervised fine-tuning.

    Args:
        examples: prompts with responses; an empty prompt makes a plain text.
        tokenizer: a transformers tokenizer.
        max_length: longest prompt plus response, in tokens.
        max_boundary_share: as in :func:`tokenise_pairs`.
        append_eos: end string responses with EOS.
        truncation: as in :func:`tokenise_pairs`.
        loss_on: learn the response, or everything but the first token.
        source: name for messages.

    Raises:
        DataError: as :func:`tokenise_pairs` does.
        IncompatibleError: likewise.
    """
    prompts, responses = zip(*examples, strict=True) if examples else ((), ())
    if not examples:
        raise DataError("there are no examples; give at least one.", source=source)
    texts = Texts(prompts, (responses,), ("response",), source)
    rows = split_rows(texts, tokenizer, append_eos=append_eos)
    if loss_on == "all":
        whole = [np.concatenate([row.prompt, row.responses[0]]) for row in rows]
        rows = [Row(ids[:1], (ids[1:],), row.cut) for ids, row in zip(whole, rows, strict=True)]
    check_empty(rows, texts, tokenizer)
    broken = check_boundary(rows, source, tokenizer, max_boundary_share)
    rows, cut, long = _fitted(rows, source, tokenizer, max_length, truncation)
    kept = _kept(len(rows), long)
    counts = _counts(rows, kept, tokenizer, max_length)
    counts |= {"boundary_mismatch": broken, "truncated": cut, "dropped_too_long": len(long)}
    _warn(counts, source)
    return TokenTexts(
        context=tuple(rows[i].prompt for i in kept),
        target=tuple(rows[i].responses[0] for i in kept),
        kept=kept,
        report=counts,
    )


def _fitted(
    rows: list[Row], source: str, tokenizer: Any, max_length: int, truncation: Truncation
) -> tuple[list[Row], int, list[int]]:
    if truncation not in ("error", "drop", "left_prompt"):
        raise ParameterError(
            f"truncation must be one of 'error', 'drop', 'left_prompt'; got {shown(truncation)}."
        )
    return truncated(rows, source, tokenizer, max_length, truncation)


def _kept(size: int, *dropped: list[int]) -> NDArray[np.int64]:
    gone = set[int]().union(*dropped)
    return np.array([i for i in range(size) if i not in gone], dtype=np.int64)


def _counts(
    rows: list[Row], kept: NDArray[np.int64], tokenizer: Any, max_length: int
) -> dict[str, int]:
    eos = getattr(tokenizer, "eos_token_id", None)
    ends = [[eos in ids[-3:] for ids in rows[i].responses] for i in kept]
    return {
        "rows": len(rows),
        "kept": len(kept),
        "without_eos": sum(not all(row) for row in ends),
        "longest": max((rows[i].size() for i in kept), default=0),
        "max_length": max_length,
    }


def _warn(report: Mapping[str, int], source: str) -> None:
    words = {
        "boundary_mismatch": "have a prompt that is no token prefix of prompt + response",
        "truncated": "lost the oldest tokens of their prompt",
        "dropped_too_long": "were dropped as longer than max_length",
        "dropped_identical": "were dropped because both responses have the same tokens",
    }
    found = [f"{report[key]} {text}" for key, text in words.items() if report.get(key)]
    if found:
        warnings.warn(
            f"{source}: of {report['rows']} rows {'; '.join(found)}.",
            DataQualityWarning,
            stacklevel=3,
        )
    if not report["kept"]:
        raise DataError("no row is left after tokenisation.", source=source)


def _row_hash(parts: Sequence[Ids]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(part, dtype="<i4").tobytes())
    return digest.hexdigest()
