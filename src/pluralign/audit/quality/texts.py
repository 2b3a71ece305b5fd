"""What is wrong with single texts and with the seam of prompt and response."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...rules import shown
from .findings import Finding, Severity, pairs_of
from .ledger import PARTS, Ledger, Pair, Places

_MARKERS = re.compile(
    r"\n\n(?:Human|Assistant):|<\|[a-z_]{3,20}\|>|\[/?INST\]|<</?SYS>>"
    r"|</?(?:start|end)_of_turn>|</s>|\n#{2,3} (?:Instruction|Response|Input):"
)
_MARKER_HINTS = ("Human:", "Assistant:", "<|", "INST]", "SYS>>", "_of_turn>", "</s>", "\n##")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_UNUSUAL = (
    ("bidi_controls", re.compile("[\u202a-\u202e\u2066-\u2069]")),
    ("replacement_characters", re.compile("\ufffd")),
    # UTF-8 read as cp1252 or Latin-1: a lead byte as a letter, then a continuation byte
    (
        "mojibake",
        re.compile(
            "Ã[\x80-\x9f¡-¿€‚ƒ„†‡ˆ‰Š‹ŒŽ‘•˜™š›œžŸ]|Â[\x80-\xbf]|â€[\x80-\x9f™œ˜“”¦¢•\x9d]|â\x80[\x80-\xbf]|ðŸ|ï»¿"
        ),
    ),
)
_LONG = 10_000
_LONG_FACTOR = 20
_ECHO = 12  # characters; a shorter prompt may begin an answer by chance


class _Words(NamedTuple):
    severity: Severity
    what: str


_WORDS: dict[str, _Words] = {
    "blank": _Words("error", "have a text without a visible character"),
    "control_characters": _Words("warning", "contain control characters"),
    "bidi_controls": _Words("warning", "contain characters that reorder the text shown"),
    "mojibake": _Words("warning", "look like UTF-8 read with another encoding"),
    "replacement_characters": _Words("warning", "contain the replacement character U+FFFD"),
    "identical_responses": _Words("error", "have the same text as chosen and as rejected"),
    "same_but_for_form": _Words(
        "warning", "have responses equal but for case, blanks or outer punctuation"
    ),
    "prompts_differ": _Words("error", "compare answers to different prompts"),
    "prompt_in_response": _Words("error", "have a response that starts with the prompt"),
    "role_markers": _Words("warning", "have a role marker inside a response"),
    "whitespace_mismatch": _Words(
        "warning", "have one response only that begins or ends with white space"
    ),
}


def scan(pairs: Iterable[Pair], found: dict[str, Places]) -> None:
    """Add what is wrong with each pair to ``found``, by kind, with the offending text."""
    for pair in pairs:
        if pair.ids:
            if pair.sources[1] == pair.sources[2]:
                found.setdefault("identical_responses", Places()).add(pair.row)
            continue
        problems: dict[str, str] = {}
        for key, example in (*_text_problems(pair), *_seam_problems(pair)):
            problems.setdefault(key, example)
        for key, example in problems.items():
            found.setdefault(key, Places()).add(pair.row, example)


def text_findings(ledger: Ledger) -> list[Finding]:
    """Findings of :func:`scan`, and texts that are far longer than the others."""
    more = {"blank": _blank_prompts(ledger), "same_but_for_form": _same_form(ledger)}
    found: list[Finding] = []
    for key in _WORDS:
        places = ledger.scanned.get(key, Places())
        rows = np.union1d(places.rows, more.get(key, places.rows))
        if len(rows):
            examples = places.examples or (["prompt: ''"] if key == "blank" else [])
            found.append(_finding(key, rows, examples, ledger))
    return found + _long_texts(ledger)


def visible(text: str) -> bool:
    """Whether a text has a character to read."""
    return any(unicodedata.category(letter)[0] not in "CZ" for letter in text)


def _text_problems(pair: Pair) -> Iterator[tuple[str, str]]:
    for name, text in zip(PARTS, pair.texts, strict=True):
        if (text or name != "prompt") and not visible(text):
            yield "blank", f"{name}: {shown(text, 40)}"
        control = _CONTROL.search(text)
        if control:
            yield "control_characters", f"{name}: {_around(text, control)}"
        if text.isascii():
            continue
        for key, pattern in _UNUSUAL:
            match = pattern.search(text)
            if match:
                yield key, f"{name}: {_around(text, match)}"


def _seam_problems(pair: Pair) -> Iterator[tuple[str, str]]:
    prompt, chosen, rejected = pair.texts
    if chosen.strip() == rejected.strip():
        yield "identical_responses", ""
    other = pair.implicit and _other_prompt(pair)
    if other:
        yield "prompts_differ", _parting(chosen, rejected)
    start = prompt.strip()
    for name, text in zip(PARTS[1:], (chosen, rejected), strict=True):
        if len(start) >= _ECHO and text.lstrip().startswith(start):
            yield "prompt_in_response", f"{name}: {shown(text[:40], 50)}"
        marker = _marker(text, allowed=other or (pair.implicit and not prompt))
        if marker:
            yield "role_markers", f"{name}: {_around(text, marker)}"
    if _ends(chosen) != _ends(rejected) and visible(chosen) and visible(rejected):
        yield "whitespace_mismatch", f"chosen {_edges(chosen)}, rejected {_edges(rejected)}"


def _other_prompt(pair: Pair) -> bool:
    """Whether what follows the common turns begins or holds a turn of the user."""
    rest = pair.sources[1:]
    if all(isinstance(text, str) for text in rest):
        return any("\n\nHuman:" in text for text in pair.texts[1:])
    turns = [cast("tuple[dict[str, Any], ...]", text) for text in rest]
    return any(turn["role"] in ("user", "system") for text in turns for turn in text)


def _marker(text: str, *, allowed: bool) -> re.Match[str] | None:
    # An implicit prompt that could not be cut off has markers by right.
    if allowed or not any(hint in text for hint in _MARKER_HINTS):
        return None
    return _MARKERS.search(text)


def _ends(text: str) -> tuple[bool, bool]:
    return text[:1].isspace(), text[-1:].isspace()


def _edges(text: str) -> str:
    return repr(text) if len(text) < 12 else f"{text[:5]!r}...{text[-5:]!r}"


def _around(text: str, match: re.Match[str]) -> str:
    return shown(text[max(match.start() - 15, 0) : match.end() + 15], 80)


def _parting(chosen: str, rejected: str) -> str:
    return f"chosen goes on {shown(chosen[:30], 40)}, rejected {shown(rejected[:30], 40)}"


def _blank_prompts(ledger: Ledger) -> NDArray[np.int64]:
    """Rows without a prompt, if others have one (all without: the implicit form)."""
    blank = np.flatnonzero(ledger.length[:, 0] == 0)
    if len(blank) == len(ledger):
        return blank[:0]
    return np.setdiff1d(blank, ledger.scanned.get("prompts_differ", Places()).rows)


def _same_form(ledger: Ledger) -> NDArray[np.int64]:
    """Rows with responses that are equal as a reader reads them, but not as text."""
    same = np.flatnonzero(ledger.form[:, 1] == ledger.form[:, 2])
    return np.setdiff1d(same, ledger.scanned.get("identical_responses", Places()).rows)


def _finding(key: str, rows: NDArray[np.int64], examples: Sequence[str], ledger: Ledger) -> Finding:
    words = _WORDS[key]
    return Finding(
        key,
        words.severity,
        f"{pairs_of(len(rows), len(ledger))} {words.what}.",
        len(rows),
        tuple(rows.tolist()),
        data={"examples": list(examples), "groups": ledger.by_group(rows)},
    )


def _long_texts(ledger: Ledger) -> list[Finding]:
    limits = np.maximum(_LONG, _LONG_FACTOR * np.median(ledger.length, axis=0))
    rows = np.flatnonzero((ledger.length > limits).any(axis=1)).tolist()
    if not rows:
        return []
    longest = int(ledger.length.max())
    return [
        Finding(
            "long_texts",
            "warning",
            f"{pairs_of(len(rows), len(ledger))} have a text of more than {_LONG:,} characters "
            f"and {_LONG_FACTOR} times the median; the longest has {longest:,}.",
            len(rows),
            tuple(rows),
            data={
                "longest": longest,
                "limits": dict(zip(PARTS, limits.tolist(), strict=True)),
                "groups": ledger.by_group(rows),
            },
        )
    ]
