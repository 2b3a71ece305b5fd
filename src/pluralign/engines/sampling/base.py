"""What every sampler takes and gives, and the seed of each sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Protocol, cast, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, IncompatibleError, ParameterError
from ...rules import AnyOf, Within, check, shown

Prompt = str | Sequence[dict[str, str]]
"""A text, or messages with ``role`` and ``content``, as in ``Preferences.prompt``."""

Finish = Literal["stop", "length", "error"]


@final
@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How candidates are drawn; the names are those of vLLM and of OpenAI's interface.

    Args:
        temperature: 0 takes the likeliest token.
        top_p: smallest set of tokens with this mass, (0, 1].
        top_k: number of likeliest tokens to draw from; ``None`` for all.
        max_tokens: longest answer, tokens.
        stop: texts that end an answer; they are not part of it.
        seed: with the prompt and the number of the sample it decides every draw.

    Raises:
        ParameterError: for a value out of its range.
    """

    temperature: Annotated[float, Within(0.0, 100.0)] = 1.0
    top_p: Annotated[float, Within(0.0, 1.0, closed="right")] = 1.0
    top_k: Annotated[int | None, AnyOf(None, Within(1, None, integer=True))] = None
    max_tokens: Annotated[int, Within(1, None, integer=True)] = 256
    stop: tuple[str, ...] = ()
    seed: Annotated[int, Within(0, 2**63 - 1, integer=True)] = 0

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """Stop texts are non-empty texts."""
        stop: Any = self.stop
        if isinstance(stop, tuple) and all(isinstance(s, str) and s for s in cast(Any, stop)):
            return []
        return [f"stop must be a tuple of non-empty texts; got {shown(stop)}."]


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One sampled answer.

    Args:
        text: the answer, without prompt, stop text and special tokens.
        finish: ``stop`` (ended by itself or by a stop text), ``length`` or ``error``.
        n_tokens: tokens drawn, the ending one included; 0 where the back-end does not say.
        error: what went wrong, if ``finish`` is ``error``; such a candidate never wins.
    """

    text: str
    finish: Finish = "stop"
    n_tokens: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether it may be scored and chosen."""
        return self.finish != "error"

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Candidate:
        """The candidate of :meth:`to_json`."""
        return cls(**values)


@runtime_checkable
class Sampler(Protocol):
    """Draws candidates for prompts; back-ends differ only in how.

    The order of prompts is kept, each gets exactly ``n`` candidates, and candidate ``i`` of
    a prompt depends on nothing but the seed, the prompt, its direction and ``i``: not on the
    other prompts of the call, nor on where a run was interrupted.

    ``directions`` of shape (P, d) conditions prompt ``p`` on ``directions[p]``. All neighbours
    of one prompt belong into one call, one row each: a back-end computes what they share once.
    """

    @property
    def name(self) -> str:
        """What draws: back-end and model, for records."""
        ...

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each of P prompts.

        Raises:
            DataError: for an empty prompt, with its row.
            ParameterError: for ``n`` below 1.
            IncompatibleError: for an option that the back-end lacks, with its name.
        """
        ...


def check_request(
    name: str,
    prompts: Sequence[Prompt],
    n: int,
    directions: NDArray[np.float64] | None,
    *,
    takes_directions: bool,
) -> None:
    """What all back-ends refuse, in the same words.

    Raises:
        DataError: for an empty prompt, or directions that do not fit the prompts.
        ParameterError: for ``n`` below 1 or a text in place of prompts.
        IncompatibleError: for directions that the back-end cannot follow.
    """
    if isinstance(prompts, str):
        raise ParameterError("prompts must be a sequence of prompts; got one text.")
    if not Within(1, None, integer=True).admits(n):
        raise ParameterError(f"n must be an integer >= 1; got {shown(n)}.")
    for row, prompt in enumerate(prompts):
        turns = [prompt] if isinstance(prompt, str) else [turn.get("content") for turn in prompt]
        roles = [] if isinstance(prompt, str) else [turn.get("role") for turn in prompt]
        if not all(isinstance(part, str) for part in (*turns, *roles)):
            raise DataError(
                f"prompt {row} has a message without role or content as text: {shown(prompt)}."
            )
        if not turns or not cast(str, turns[-1]).strip():
            raise DataError(f"prompt {row} is empty; give a text or messages with content.")
    if directions is None:
        return
    if not takes_directions:
        raise IncompatibleError(
            f"{name} got directions but has no way to follow them; give it a PromptTemplate."
        )
    shape = np.shape(directions)
    if len(shape) != 2 or shape[0] != len(prompts):
        raise DataError(
            f"directions must have one row for each of {len(prompts)} prompts; got shape {shape}."
        )
    bad = np.flatnonzero(~np.isfinite(directions).all(axis=1))
    if len(bad):
        raise DataError(f"directions of prompt {bad[0]} are not finite: {directions[bad[0]]}.")


def sample_seed(seed: int, prompt: Prompt, i: int) -> int:
    """Seed of candidate ``i`` of a prompt as the model sees it, in [0, 2**63).

    It hashes the content, so a sample is the same in any batch, order, process or resumed run.
    Equal prompts of one call therefore get equal candidates.

    Example:
        >>> sample_seed(0, "a", 0) == sample_seed(0, "a", 0) != sample_seed(0, "a", 1)
        True
    """
    content = prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    text = json.dumps([seed, content, i], sort_keys=True, ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
