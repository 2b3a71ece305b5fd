"""Losses of one outcome a row, and what of a model's output a penalty reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor

from ..errors import IncompatibleError, ParameterError
from ..rules import OneOf, check
from ..scores import PairScores
from .base import Terms, margin

Family = Literal["binary", "multiclass", "squared", "poisson"]
On = Literal["rate", "count", "link", "reward"]


class Outcomes(NamedTuple):
    """What an outcome loss sees of a batch.

    Attributes:
        output: ``(n,)`` of a model on the scale of the link: log-odds, log-rate or the mean;
            ``(n, classes)`` logits for ``"multiclass"``.
        target: ``(n,)`` outcomes: 0/1, class numbers, values or counts.
        exposure: ``(n,)`` > 0, of counts; 1 by default.
    """

    output: Tensor
    target: Tensor
    exposure: Tensor | None = None


@final
@dataclass(frozen=True, kw_only=True)
class OutcomeLoss:
    """Negative log-likelihood of one outcome a row, without its constant.

    Use it as the base of ``Regularised`` for tables; pairs have their own objectives. ::

        binary      softplus(output) - target output
        multiclass  -log softmax(output)_target
        squared     (output - target)^2
        poisson     mu - target log mu,  mu = exposure exp(output)

    Args:
        family: which of them.

    Example:
        >>> import torch
        >>> OutcomeLoss(family="squared")(Outcomes(torch.ones(2), torch.zeros(2))).loss
        tensor([1., 1.])

    References:
        McCullagh and Nelder, 1989.
    """

    family: Annotated[Family, OneOf("binary", "multiclass", "squared", "poisson")] = "binary"

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, batch: Outcomes) -> Terms:
        """Loss of each row, shape ``(n,)``.

        Raises:
            IncompatibleError: for an exposure with another family than ``"poisson"``.
        """
        output, target = batch.output, batch.target
        if batch.exposure is not None and self.family != "poisson":
            raise IncompatibleError(f"family {self.family!r} has no exposure; use 'poisson'.")
        if self.family == "multiclass":
            return Terms(torch.nn.functional.cross_entropy(output, target, reduction="none"), {})
        target = target.to(output.dtype)
        if self.family == "binary":
            return Terms(torch.nn.functional.softplus(output) - target * output, {})
        if self.family == "squared":
            return Terms((output - target).square(), {})
        # In logarithms: a rate that rounds to zero has log-rates, and a logarithm of it has not.
        log_mean = output if batch.exposure is None else output + batch.exposure.log()
        return Terms(log_mean.exp() - target * log_mean, {})

    def prediction(self, batch: Outcomes, on: On) -> Tensor:
        """What a penalty reads: probability or rate, expected count, or the output itself."""
        if on == "link":
            return batch.output
        if on == "count" and self.family == "poisson":
            rate = batch.output.exp()
            return rate if batch.exposure is None else batch.exposure * rate
        if on != "rate":
            raise ParameterError(f"on={on!r} does not go with family {self.family!r}; use 'rate'.")
        if self.family == "multiclass":
            return batch.output.softmax(-1)
        if self.family == "binary":
            return batch.output.sigmoid()
        return batch.output.exp() if self.family == "poisson" else batch.output


def pair_prediction(scores: PairScores, on: On) -> Tensor:
    """What a penalty reads of pairs: margin, probability of the observed choice, or rewards.

    ``"link"`` is the margin ``(B,)``, ``"rate"`` its sigmoid, ``"reward"`` the scores of
    chosen and rejected responses, ``(2 B,)``.
    """
    if on == "reward":
        return torch.cat([scores.chosen, scores.rejected])
    if on == "count":
        raise ParameterError("on='count' is for Poisson outcomes; pairs have 'link' or 'reward'.")
    difference = margin(scores)
    return difference.sigmoid() if on == "rate" else difference
