"""The words of OpenAI's interface: requests from prompts, candidates from answers."""

from __future__ import annotations

from typing import Any, Literal

from .base import Candidate, Finish, Prompt, SamplingParams, sample_seed
from .retry import TRANSIENT, Failure, retry_after

Api = Literal["chat", "completions"]

PATHS: dict[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}
SEED_BITS = 0x7FFFFFFF
"""Servers take seeds of 31 bits; :func:`sample_seed` gives 63."""


def request_body(
    model: str, api: Api, prompt: Prompt, i: int, params: SamplingParams
) -> dict[str, Any]:
    """The JSON of the request for candidate ``i`` of a prompt.

    Example:
        >>> body = request_body("m", "chat", "Hello", 0, SamplingParams(max_tokens=8))
        >>> body["messages"], body["max_tokens"], 0 <= body["seed"] < 2**31
        ([{'role': 'user', 'content': 'Hello'}], 8, True)
    """
    body: dict[str, Any] = {
        "model": model,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_tokens,
        "seed": sample_seed(params.seed, prompt, i) & SEED_BITS,
    }
    if params.top_k is not None:
        body["top_k"] = params.top_k
    if params.stop:
        body["stop"] = list(params.stop)
    if api == "completions":
        return {**body, "prompt": prompt}
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {**body, "messages": [dict(turn) for turn in turns]}


def read_answer(payload: Any, api: Api, stop: tuple[str, ...]) -> Candidate | Failure:
    """The candidate in a decoded answer; a failure if it has another shape.

    Some servers leave the stop text in: what follows its first place is cut here.
    """
    try:
        choice = payload["choices"][0]
        text = choice["message"]["content"] if api == "chat" else choice["text"]
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Failure("the answer is JSON without choices[0]")
    if reason == "content_filter":
        return Failure("the server's content filter withheld the answer", again=False)
    if not isinstance(text, str):
        return Failure("the answer holds no text", again=False)
    # JSON can spell half a character, which no file and no tokenizer takes.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    cut = until_stop(text, stop)
    finish: Finish = "length" if reason == "length" and cut == text else "stop"
    return Candidate(text=cut, finish=finish, n_tokens=_n_tokens(payload))


def until_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first stop text in it.

    Example:
        >>> until_stop("one. two! three", ("!", "."))
        'one'
    """
    places = [place for place in (text.find(mark) for mark in stop) if place >= 0]
    return text[: min(places)] if places else text


def read_refusal(status: int, headers: Any, text: str) -> Failure:
    """What a status other than 200 means: try again, or not."""
    said = " ".join(text.split())[:200]
    return Failure(
        f"status {status}{f': {said}' if said else ''}",
        again=status in TRANSIENT,
        after=retry_after(headers.get("retry-after")),
        limited=status == 429,
    )


def _n_tokens(payload: Any) -> int:
    usage = payload.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else 0
    if isinstance(count, bool) or not isinstance(count, int):
        return 0
    return max(count, 0)
