"""The tensors that flow between rooms: what a model reads and what an objective sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class PairScores(NamedTuple):
    """What an objective sees of a batch of pairs; every tensor has shape ``(B,)``.

    Attributes:
        chosen: score of the chosen response: summed log-probability in nats, or a
            reward if ``kind`` is ``"reward"``.
        rejected: score of the rejected response.
        ref_chosen: the same under the frozen reference; no gradient.
        ref_rejected: the same under the frozen reference; no gradient.
        chosen_length: number of scored tokens.
        rejected_length: number of scored tokens.
        label_prob: probability in [0, 1] that chosen is truly preferred.
        flip_rate: probability in [0, 0.5) that this label is reversed.
        chosen_first: whether the chosen response was shown first to the rater.
        target_margin: reward difference that the pair should reach at least.
        tie: whether the rater saw no difference.
        kind: ``"logprob"`` (sums of token log-probabilities) or ``"reward"``.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor | None = None
    ref_rejected: Tensor | None = None
    chosen_length: Tensor | None = None
    rejected_length: Tensor | None = None
    label_prob: Tensor | None = None
    flip_rate: Tensor | None = None
    chosen_first: Tensor | None = None
    target_margin: Tensor | None = None
    tie: Tensor | None = None
    kind: str = "logprob"

    def available(self) -> frozenset[str]:
        """Names of the tensors that this batch has."""
        return frozenset(
            name for name in self._fields if name != "kind" and getattr(self, name) is not None
        )


class TokenBatch(NamedTuple):
    """Prompts with K responses each, as token ids without padding.

    Attributes:
        tokens: int64 ``(N,)``; for each row the prompt, then its K responses.
        lengths: int64 ``(B, 1 + K)``; number of tokens of the prompt and of each response.
    """

    tokens: Tensor
    lengths: Tensor
