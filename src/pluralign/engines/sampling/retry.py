"""When and how long to wait before a request is sent again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

from .base import Candidate

TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Status codes after which the same request may succeed."""

LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is treated as out of service."""


@final
@dataclass(frozen=True)
class Failure:
    """A request that gave no candidate.

    Args:
        why: one sentence for the user, free of keys.
        again: whether the same request may succeed later.
        after: seconds that the server asked to wait, if it did.
        limited: whether the server said "too many requests".
    """

    why: str
    again: bool = True
    after: float | None = None
    limited: bool = False


def backoff(attempt: int, base: float, after: float | None = None) -> float:
    """Seconds to wait after the ``attempt``-th failure, counted from 0.

    ``base * 2**attempt``, at most ``LONGEST_WAIT``, times a random factor in [0.5, 1], so that
    clients that failed together do not come back together. Never less than the server asked.

    Example:
        >>> 1.0 <= backoff(2, 0.5) <= 2.0, backoff(0, 0.5, after=7.0)
        (True, 7.0)
    """
    wait = min(base * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
    return max(wait, after or 0.0)


def retry_after(header: str | None) -> float | None:
    """Seconds in a ``Retry-After`` header: a number or a date; ``None`` if it is neither.

    Example:
        >>> retry_after("2"), retry_after("soon"), retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
        (2.0, None, 0.0)
    """
    text = (header or "").strip()
    if text.isdecimal() and text.isascii():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def persist(
    send: Callable[[], Candidate | Failure],
    *,
    retries: int,
    base: float,
    pause: Callable[[float], bool],
) -> Candidate | Failure:
    """Send until a candidate comes, the failure is final or the retries are used up.

    Args:
        send: one try.
        retries: tries after the first.
        base: seconds before the first retry.
        pause: waits so many seconds; true if waiting was called off.

    Returns:
        The candidate or the last failure.
    """
    outcome = send()
    for attempt in range(retries):
        if isinstance(outcome, Candidate) or not outcome.again:
            return outcome
        wait = backoff(attempt, base, outcome.after)
        if wait > LONGEST_WAIT or pause(wait):
            return outcome
        outcome = send()
    return outcome
