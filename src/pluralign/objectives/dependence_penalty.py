"""Any objective plus a penalty on the dependence of its predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor

from ..rules import OneOf, Within, check
from ..scores import PairScores
from .base import Terms
from .dependence_losses import On, OutcomeLoss, Outcomes, pair_prediction

Blocks = Any
"""Attributes as the penalty takes them: ``Attributes``, a tensor or a sequence of tensors."""


@final
@dataclass(frozen=True, kw_only=True)
class Regularised:
    """An objective plus ``strength`` times the dependence of its predictions on attributes.

    Use it to train any differentiable score that should not depend on protected attributes:
    ``OutcomeLoss`` of tables, ``BradleyTerry`` of rewards, any pair objective. Not where an
    attribute legitimately drives the outcome. ::

        loss_k = base_k + strength psi(yhat, S)        its mean is mean(base) + strength psi

    Args:
        base: called with the batch (``Outcomes`` or ``PairScores``), returns ``Terms``.
        penalty: ``penalty(yhat, attributes) -> scalar``, such as ``DistanceCovariance()``.
        strength: lambda >= 0. At 0 the base's terms are returned untouched. It scales with
            1 / |yhat|: choose it by validation, or set ``normalise`` of the penalty.
        on: what of the output is penalised. ``"rate"``: probability, mean, or rate at unit
            exposure, for pairs the probability of the observed choice; ``"count"``: exposure
            times rate (Poisson); ``"link"``: the output itself, the margin of pairs;
            ``"reward"``: the scores of both responses of a pair.

    Raises:
        ParameterError: for a negative strength, or an unknown ``on``.

    Example:
        >>> import torch
        >>> from pluralign.objectives.dependence import DistanceCovariance
        >>> group = torch.tensor([0, 0, 1, 1])
        >>> batch = Outcomes(torch.tensor([-1.0, 0.0, 1.0, 2.0]), torch.tensor([0, 0, 1, 1]))
        >>> objective = Regularised(base=OutcomeLoss(), penalty=DistanceCovariance(), strength=2.0)
        >>> round(objective(batch, group).metrics["dependence"][0].item(), 4)
        0.154

    Differs from the paper: the lab's insurance code penalises the expected count, which
    random exposure dilutes; here the rate unless asked. Pairs are ours.

    References:
        Lee, Antonio, Avanzi, Marchi and Zhou, 2025, arXiv 2509.08163.
    """

    base: Callable[[Any], Terms]
    penalty: Callable[[Tensor, Blocks], Tensor]
    strength: Annotated[float, Within(0.0)]
    on: Annotated[On, OneOf("rate", "count", "link", "reward")] = "rate"

    def __post_init__(self) -> None:
        check(self)

    @property
    def needs(self) -> frozenset[str]:
        """Tensors of pairs that the base reads; attributes come beside them."""
        return getattr(self.base, "needs", frozenset())

    def __call__(self, batch: Outcomes | PairScores, attributes: Blocks) -> Terms:
        """Terms of the base with the penalty added to each row.

        Args:
            batch: what the base takes.
            attributes: of the same rows, or of both responses for ``on="reward"``: those of
                a pair then count for each of its responses.

        Returns:
            Terms with ``loss`` of shape ``(n,)`` and the metric ``dependence`` beside the
            base's own.
        """
        terms = self.base(batch)
        if self.strength == 0:
            return terms
        psi = self.penalty(self._prediction(batch), self._rows(batch, attributes))
        dependence = psi.detach().to(terms.loss.dtype).expand_as(terms.loss)
        return Terms(
            terms.loss + (self.strength * psi).to(terms.loss.dtype),
            terms.metrics | {"dependence": dependence},
        )

    def _prediction(self, batch: Outcomes | PairScores) -> Tensor:
        if isinstance(batch, PairScores):
            return pair_prediction(batch, self.on)
        base = self.base if isinstance(self.base, OutcomeLoss) else OutcomeLoss(family="squared")
        return base.prediction(batch, self.on)

    def _rows(self, batch: Outcomes | PairScores, attributes: Blocks) -> Blocks:
        if self.on != "reward" or not isinstance(batch, PairScores):
            return attributes
        if isinstance(attributes, Tensor):
            return torch.cat([attributes, attributes])
        if isinstance(attributes, Sequence):
            return [torch.cat([block, block]) for block in attributes]
        rows = torch.arange(len(attributes))
        return attributes.take(torch.cat([rows, rows]))
