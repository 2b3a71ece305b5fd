"""A sampler that follows a rule, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ...errors import IncompatibleError
from .base import Candidate, Prompt, SamplingParams, check_request, sample_seed

Answer = Callable[[Prompt, NDArray[np.float64] | None, np.random.Generator], str | Candidate]


@final
@dataclass(frozen=True, kw_only=True)
class ScriptedSampler:
    """Draws candidates from a function, each with random numbers of its own.

    Use it where the law of the candidates must be known: a world with a closed form, a
    test, a demonstration without a model. A word counts as a token.

    Args:
        answer: ``(prompt, direction, rng)`` to a text, or to a :class:`Candidate` where
            the script wants to fail; ``direction`` of shape (d,), or ``None``.
        follows_directions: whether directions are taken; else they are refused.
        name: for records.

    Example:
        >>> sampler = ScriptedSampler(answer=lambda p, v, rng: f"{p} {rng.integers(100)}")
        >>> one, two = sampler.sample(["a", "b"], 3, SamplingParams(seed=1))
        >>> sampler.sample(["b"], 3, SamplingParams(seed=1)) == [two]
        True
        >>> sampler.sample(["a"], 3, SamplingParams(seed=2)) == [one]
        False
    """

    answer: Answer
    follows_directions: bool = True
    name: str = "scripted"

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each prompt; temperature 0 repeats the first one.

        Raises:
            DataError: for an empty prompt, with its row.
            ParameterError: for ``n`` below 1.
            IncompatibleError: for ``top_p`` or ``top_k``, which a script has no use for.
        """
        takes = self.follows_directions
        check_request(self.name, prompts, n, directions, takes_directions=takes)
        if params.top_p != 1 or params.top_k is not None:
            raise IncompatibleError(
                f"{self.name} has no tokens to choose from: no top_p, no top_k."
            )
        rows = [None] * len(prompts) if directions is None else list(directions)
        return [
            [self._draw(prompt, row, i if params.temperature else 0, params) for i in range(n)]
            for prompt, row in zip(prompts, rows, strict=True)
        ]

    def _draw(
        self, prompt: Prompt, row: NDArray[np.float64] | None, i: int, params: SamplingParams
    ) -> Candidate:
        # The direction is part of what is asked, as it is where a model reads it in words.
        seen = [{"prompt": str(sample_seed(0, prompt, 0)), "direction": str(_plain(row))}]
        rng = np.random.default_rng(sample_seed(params.seed, seen, i))
        found = self.answer(prompt, row, rng)
        return found if isinstance(found, Candidate) else _ended(found, params)


def _plain(row: NDArray[np.float64] | None) -> list[float] | None:
    return None if row is None else [float(value) for value in row]


def _ended(text: str, params: SamplingParams) -> Candidate:
    """The text up to the first stop text and the allowed number of words."""
    ends = [at for stop in params.stop if (at := text.find(stop)) >= 0]
    text = text[: min(ends)] if ends else text
    words = text.split()
    if len(words) <= params.max_tokens:
        return Candidate(text=text, n_tokens=len(words))
    kept = " ".join(words[: params.max_tokens])
    return Candidate(text=kept, finish="length", n_tokens=params.max_tokens)
