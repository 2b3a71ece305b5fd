"""The reward-model loss: Bradley-Terry with margins, ties and noisy labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor

from ..rules import AnyOf, OneOf, Within, check
from ..scores import PairScores
from .base import Terms, given, mixed, require, wide
from .links import softplus

Choice = Literal["per_pair"]


@final
@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """Bradley-Terry loss of a reward model, for scores of kind ``"reward"``.

    Use it to train a scalar reward model from pairs, with graded preferences
    (``target_margin``), with ties that raters reported (``tie_threshold``), or with labels
    that are wrong at a known rate (``flip_rate``: the correction of ``RDPO`` at beta 1).

    With ``d = r(chosen) - r(rejected) - target_margin`` and ``c = eps / (1 - 2 eps)``::

        loss = softplus(-d), at a flip rate eps: l(d) + c (l(d) - l(swapped))
        with ties (Rao-Kupper, t = tie_threshold), of r = r(chosen) - r(rejected):
            preferred:  softplus(t - d)
            tied:       softplus(t - r) + softplus(t + r) - log(exp(2 t) - 1)

    Args:
        target_margin: reward difference that a preferred response should exceed, >= 0, or
            ``"per_pair"`` to read ``PairScores.target_margin``.
        tie_threshold: log of Rao and Kupper's threshold, > 0, in units of reward; then
            ``PairScores.tie`` is read and tied pairs enter the likelihood.
        flip_rate: eps in [0, 0.5), or ``"per_pair"`` to read ``PairScores.flip_rate``.

    Raises:
        ParameterError: for values out of range, or ties together with a flip rate.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(torch.tensor([1.0]), torch.tensor([0.0]), kind="reward")
        >>> round(BradleyTerry()(scores).loss.item(), 6)
        0.313262

    Differs from the paper: the model is trained without margins there; ties and the
    closed form for their likelihood are Rao and Kupper's.

    References:
        Bradley and Terry, 1952; Rao and Kupper, 1967; as a reward-model loss Ivison et al.,
        2024, arXiv 2406.09279; noise correction Ray Chowdhury et al., 2024, arXiv 2403.00409.
    """

    target_margin: Annotated[float | Choice, AnyOf(Within(0.0), OneOf("per_pair"))] = 0.0
    tie_threshold: Annotated[float | None, AnyOf(Within(0.0, closed="neither"), None)] = None
    flip_rate: Annotated[
        float | Choice, AnyOf(Within(0.0, 0.5, closed="left"), OneOf("per_pair"))
    ] = 0.0

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> Iterator[str]:
        """Ties together with a flip rate: what a flipped tie is has no answer."""
        if self.tie_threshold is not None and self.flip_rate != 0:
            yield "give tie_threshold or flip_rate, not both; noise among ties is not modelled."

    @property
    def needs(self) -> frozenset[str]:
        """Names of the ``PairScores`` tensors that the call reads."""
        names = {"chosen", "rejected"}
        names |= {"target_margin"} if self.target_margin == "per_pair" else set()
        names |= {"flip_rate"} if self.flip_rate == "per_pair" else set()
        names |= {"tie"} if self.tie_threshold is not None else set()
        return frozenset(names)

    def __call__(self, scores: PairScores) -> Terms:
        """Per-example loss and metrics of a batch of scored pairs.

        Returns:
            Terms with ``loss`` of shape ``(B,)``; ``rewards/accuracies`` is strict: equal
            rewards count as wrong.

        Raises:
            IncompatibleError: for scores that are no rewards, or a tensor that is missing.
        """
        require(self, scores, kind="reward")
        chosen, rejected = wide(scores.chosen), wide(scores.rejected)
        difference = chosen - rejected
        loss = self._loss(difference, scores)
        if scores.label_prob is not None:
            loss = mixed(loss, self._loss(-difference, scores), scores.label_prob)
        return Terms(loss, _metrics(chosen.detach(), rejected.detach()))

    def _loss(self, difference: Tensor, scores: PairScores) -> Tensor:
        target = _value(self.target_margin, scores.target_margin, difference)
        if self.tie_threshold is not None:
            preferred = softplus(self.tie_threshold + target - difference)
            tied = _tie_loss(difference, self.tie_threshold)
            return torch.where(given(scores.tie).bool(), tied, preferred)
        loss = softplus(target - difference)
        if self.flip_rate == 0:
            return loss
        rate = _value(self.flip_rate, scores.flip_rate, difference)
        return loss + rate / (1 - 2 * rate) * (loss - softplus(target + difference))


def _tie_loss(difference: Tensor, threshold: float) -> Tensor:
    # -log P(tie); the last term is log(exp(2 t) - 1), which overflows if written so
    log_room = 2 * threshold + math.log(-math.expm1(-2 * threshold))
    return softplus(threshold - difference) + softplus(threshold + difference) - log_room


def _value(own: float | Choice, column: Tensor | None, like: Tensor) -> Tensor:
    if isinstance(own, str):
        return given(column).to(like.dtype)
    return torch.full_like(like, own)


def _metrics(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
    }
