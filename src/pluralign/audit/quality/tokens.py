"""What a tokenizer makes of the pairs: end, beginning, seam and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray

from ...errors import IncompatibleError
from ...rules import shown
from .findings import Finding, Severity, pairs_of, percent
from .ledger import Ledger, Located, Pair

Ids = NDArray[np.int64]
Truncation = Literal["error", "drop", "left_prompt"]
"""What training does with pairs longer than ``max_length``."""

_BOUNDARY_SHARE = 0.01  # above it, tokenisation for training refuses the set
_BATCH = 512


class _Encoded(NamedTuple):
    prompt: Ids
    chosen: Ids  # prompt + chosen
    rejected: Ids  # prompt + rejected


@final
class TokenScanner:
    """Tokenises pairs chunk by chunk and keeps three lengths and the trouble of each.

    Args:
        tokenizer: callable as transformers tokenizers are; ``eos_token_id``,
            ``bos_token_id``, ``chat_template`` and ``decode`` are used where it has them.
        max_length: longest prompt plus response in tokens.
        truncation: what training does with longer pairs; ``None`` if that is not known.
    """

    def __init__(
        self, tokenizer: Any, max_length: int, truncation: Truncation | None = None
    ) -> None:
        if not callable(tokenizer):
            raise IncompatibleError(
                f"tokenizer must be callable like those of transformers; got {shown(tokenizer)}."
            )
        self.tokenizer: Any = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.surplus: list[int] = []  # tokens too many, of each pair that is longer
        self.eos: int | None = getattr(tokenizer, "eos_token_id", None)
        self.bos: int | None = getattr(tokenizer, "bos_token_id", None)
        self.found: dict[str, list[Located]] = {}
        self._lengths: list[NDArray[np.int32]] = []

    def add(self, pairs: Sequence[Pair]) -> None:
        """Tokenise some pairs."""
        lengths = np.full((len(pairs), 3), -1, dtype=np.int32)
        for start in range(0, len(pairs), _BATCH):
            part = pairs[start : start + _BATCH]
            for place, pair, row in self._encoded(part):
                self._scan(pair, row)
                whole = len(row.prompt), len(row.chosen), len(row.rejected)
                lengths[start + place] = whole[0], whole[1] - whole[0], whole[2] - whole[0]
        self._lengths.append(lengths)

    def lengths(self) -> NDArray[np.int32]:
        """Tokens of prompt, chosen, rejected ``(N, 3)``; -1 where a pair has none."""
        return np.concatenate(self._lengths)

    def _encoded(self, pairs: Sequence[Pair]) -> list[tuple[int, Pair, _Encoded]]:
        """The pairs that can be tokenised, with their place among those given."""
        rows: list[tuple[int, Pair, _Encoded]] = []
        texts: list[str] = []
        places: dict[bool, list[int]] = {True: [], False: []}
        for place, pair in enumerate(pairs):
            if pair.ids:
                rows.append((place, pair, _joined(pair)))
                continue
            chat = not _is_text(pair)
            if chat and not getattr(self.tokenizer, "chat_template", None):
                self._note("no_chat_template", pair)
                continue
            places[chat].append(place)
        for chat, chosen in places.items():
            texts = [text for place in chosen for text in self._texts(pairs[place], chat)]
            ids = self._ids(texts, special=not chat)
            for k, place in enumerate(chosen):
                row = _Encoded(self._open(ids[3 * k]), ids[3 * k + 1], ids[3 * k + 2])
                rows.append((place, pairs[place], row))
        return rows

    def _ids(self, texts: Sequence[str], *, special: bool) -> list[Ids]:
        if not texts:
            return []
        safe = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        ids = self.tokenizer(safe, add_special_tokens=special)["input_ids"]
        return [np.asarray(row, dtype=np.int64) for row in ids]

    def _texts(self, pair: Pair, chat: bool) -> list[str]:
        prompt, chosen, rejected = pair.texts
        if not chat:
            return [prompt, prompt + chosen, prompt + rejected]
        turns = [_turns(text, role) for text, role in zip(pair.sources, _ROLES, strict=True)]
        render = self.tokenizer.apply_chat_template
        start = render(turns[0], tokenize=False, add_generation_prompt=True) if turns[0] else ""
        return [start, *(render(turns[0] + turn, tokenize=False) for turn in turns[1:])]

    def _open(self, prompt: Ids) -> Ids:
        """The prompt without the end that some tokenizers put behind every text."""
        ended = len(prompt) > 1 and self.eos is not None and prompt[-1] == self.eos
        return prompt[:-1] if ended and self.eos != self.bos else prompt

    def _scan(self, pair: Pair, row: _Encoded) -> None:
        for whole in row[1:]:
            if not pair.ids and not _starts_with(whole, row.prompt):
                self._note("token_boundary", pair, self._seam(pair, row, whole))
            if self.bos is not None and len(whole) > 1 and whole[0] == whole[1] == self.bos:
                self._note("double_bos", pair)
            if self._unended(pair, whole):
                self._note("missing_eos", pair)
        ends = int(self.eos is not None and _is_text(pair))  # what training adds to strings
        surplus = max(len(row.chosen), len(row.rejected)) + ends - self.max_length
        if surplus > 0:
            self.surplus.append(surplus)
            self._note("truncation", pair, self._lost(row, surplus))

    def _unended(self, pair: Pair, whole: Ids) -> bool:
        """Whether ids or a chat template forgot EOS; strings get theirs at training."""
        return self.eos is not None and not _is_text(pair) and self.eos not in whole[-3:]

    def _lost(self, row: _Encoded, surplus: int) -> str:
        limit = self.max_length
        if self.truncation is not None:
            fits = self.truncation == "left_prompt" and surplus < len(row.prompt)
            return "cut" if fits else "dropped"
        if len(row.prompt) >= limit:
            return "empty"
        return "identical" if np.array_equal(row.chosen[:limit], row.rejected[:limit]) else "cut"

    def _seam(self, pair: Pair, row: _Encoded, whole: Ids) -> str:
        same = _common(row.prompt, whole)
        decode = getattr(self.tokenizer, "decode", None)
        if decode is None:
            return f"{shown(pair.texts[0][-20:], 30)} then {shown(pair.texts[1][:20], 30)}"
        parts = (row.prompt[same:], whole[same : same + 3])
        ends, merged = (shown(decode(part.tolist()), 30) for part in parts)
        return f"the prompt ends in {ends}, merged into {merged}"

    def _note(self, key: str, pair: Pair, example: str = "") -> None:
        places = self.found.setdefault(key, [])
        if not places or places[-1].row != pair.row:
            places.append(Located(pair.row, example))


_ROLES = ("user", "assistant", "assistant")

_WORDS: dict[str, tuple[Severity, str]] = {
    "no_chat_template": ("error", "are conversations, for which the tokenizer has no template"),
    "missing_eos": ("error", "have a response that does not end in the end-of-text token"),
    "double_bos": ("warning", "begin with two begin-of-text tokens"),
}


def token_findings(ledger: Ledger, scanner: TokenScanner) -> list[Finding]:
    """Findings of a scanner that has seen all pairs of the ledger."""
    found: list[Finding] = []
    if scanner.eos is None:
        what = f"{type(scanner.tokenizer).__name__} has no end-of-text token."
        found.append(Finding("tokenizer_without_eos", "error", what, len(ledger)))
    for key, (severity, words) in _WORDS.items():
        places = scanner.found.get(key, [])
        if places:
            what = f"{pairs_of(len(places), len(ledger))} {words}."
            found.append(_finding(key, severity, what, places, ledger))
    return [*found, *_boundary(ledger, scanner), *_truncation(ledger, scanner)]


def _boundary(ledger: Ledger, scanner: TokenScanner) -> list[Finding]:
    places = scanner.found.get("token_boundary", [])
    if not places:
        return []
    share = len(places) / len(ledger)
    what = (
        f"{pairs_of(len(places), len(ledger))} ({percent(share)}) have a prompt whose tokens are "
        "no prefix of those of prompt + response."
    )
    severity = "error" if share > _BOUNDARY_SHARE else "warning"
    return [_finding("token_boundary", severity, what, places, ledger)]


def _truncation(ledger: Ledger, scanner: TokenScanner) -> list[Finding]:
    places = scanner.found.get("truncation", [])
    if not places:
        return []
    rows = tuple(place.row for place in places)
    lost = {
        kind: [place.row for place in places if place.example == kind]
        for kind in ("identical", "empty", "cut", "dropped")
    }
    what = f"{pairs_of(len(rows), len(ledger))} are longer than {scanner.max_length} tokens"
    what += _loss(lost, scanner)
    useless = lost["identical"] or lost["empty"]
    refused = scanner.truncation == "error"
    data = {
        "truncation": scanner.truncation,
        "longest": scanner.max_length + max(scanner.surplus),
        "tokens_too_many": sum(scanner.surplus),
        "groups": ledger.by_group(rows),
        **lost,
    }
    severity = "error" if useless or refused else "warning"
    return [Finding("truncation", severity, what, len(rows), rows, data=data)]


def _loss(lost: Mapping[str, Sequence[int]], scanner: TokenScanner) -> str:
    """The rest of the sentence: what is lost of the longer pairs."""
    if scanner.truncation is None:
        return (
            f"; cut there, {len(lost['identical'])} become identical and {len(lost['empty'])} "
            "lose both responses."
        )
    if scanner.truncation == "error":
        return ', and training refuses them; choose truncation "drop" or "left_prompt".'
    if scanner.truncation == "drop":
        return " and are dropped."
    median, most = np.median(scanner.surplus), max(scanner.surplus)
    return (
        f": in {len(lost['cut'])} the prompt loses its oldest tokens, {len(lost['dropped'])} are "
        f"dropped as too long even so ({median:.0f} tokens too many in the median, at most {most})."
    )


def _finding(
    key: str, severity: Severity, what: str, places: Sequence[Located], ledger: Ledger
) -> Finding:
    rows = sorted(place.row for place in places)
    examples = [place.example for place in places if place.example][:5]
    data = {"examples": examples, "groups": ledger.by_group(rows)}
    return Finding(key, severity, what, len(rows), tuple(rows), data=data)


def _is_text(pair: Pair) -> bool:
    return all(isinstance(text, str) for text in pair.sources)


def _joined(pair: Pair) -> _Encoded:
    prompt, chosen, rejected = (np.asarray(text or (), dtype=np.int64) for text in pair.sources)
    return _Encoded(prompt, np.append(prompt, chosen), np.append(prompt, rejected))


def _turns(text: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(text, str):
        return [{"role": role, "content": text}] if text else []
    return [dict(turn) for turn in cast("Sequence[Mapping[str, Any]]", text)]


def _starts_with(whole: Ids, start: Ids) -> bool:
    return np.array_equal(whole[: len(start)], start)


def _common(first: Ids, second: Ids) -> int:
    size = min(len(first), len(second))
    differ = np.flatnonzero(first[:size] != second[:size])
    return int(differ[0]) if len(differ) else size
