"""What every pair objective shares: needs, margin, soft labels, metrics.

An objective is a frozen set of hyper-parameters with one pure call. It sees tensors
only and returns unreduced terms; a trainer weights, reduces and steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import IncompatibleError
from ..rules import OneOf, Within, check
from ..scores import PairScores

LengthNormalise = Literal["none", "token_mean"]


class Terms(NamedTuple):
    """Unreduced result of an objective.

    Attributes:
        loss: shape ``(B,)``, float32 or wider, with gradient.
        metrics: detached tensors of shape ``(B,)`` by metric name.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


@runtime_checkable
class Objective(Protocol):
    """The role: hyper-parameters, declared needs and one pure call."""

    @property
    def needs(self) -> frozenset[str]:
        """Names of the ``PairScores`` tensors that the call reads."""
        ...

    def __call__(self, scores: PairScores) -> Terms:
        """Per-example loss and metrics of a batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class PairObjective(ABC):
    """Base of objectives whose loss of a pair is a function of its margin.

    A subclass is final, adds its own fields and implements :meth:`pair_loss`; needs,
    soft labels (``label_prob``), metrics and checks come from here.

    Args:
        beta: scale of the margin, > 0, per nat.
        length_normalise: ``"none"`` scores a response by its summed log-probability,
            ``"token_mean"`` by the mean over its tokens.
    """

    reads_reference: ClassVar[bool] = True

    beta: Annotated[float, Within(0.0, closed="neither")] = 0.1
    length_normalise: Annotated[LengthNormalise, OneOf("none", "token_mean")] = "none"

    def __post_init__(self) -> None:
        check(self)

    @abstractmethod
    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """Loss ``(B,)`` of the pairs if their labels are as observed.

        Args:
            margin: ``(B,)``; log-ratio of chosen over rejected in nats, before any scale.
                It is negated to ask for the loss of the swapped pair.
            scores: the batch, for tensors other than the margin.
        """

    @property
    def needs(self) -> frozenset[str]:
        """Names of the ``PairScores`` tensors that the call reads."""
        names = {"chosen", "rejected"} | self.extra_needs()
        if self.reads_reference:
            names |= {"ref_chosen", "ref_rejected"}
        if self.length_normalise == "token_mean":
            names |= {"chosen_length", "rejected_length"}
        return frozenset(names)

    def extra_needs(self) -> set[str]:
        """Needs beyond scores, references and lengths; none by default."""
        return set()

    def __call__(self, scores: PairScores) -> Terms:
        """Per-example loss and metrics of a batch of pairs.

        Raises:
            IncompatibleError: if the batch lacks a tensor that is needed.
        """
        require(self, scores)
        policy = log_ratios(scores.chosen, scores.rejected, scores, self.length_normalise)
        if self.reads_reference:
            reference = log_ratios(
                _given(scores.ref_chosen),
                _given(scores.ref_rejected),
                scores,
                self.length_normalise,
            )
            rewards = (policy[0] - reference[0], policy[1] - reference[1])
        else:
            rewards = policy
        margin = rewards[0] - rewards[1]
        loss = self.pair_loss(margin, scores)
        if scores.label_prob is not None:
            prob = scores.label_prob.to(loss.dtype)
            loss = prob * loss + (1 - prob) * self.pair_loss(-margin, scores)
        loss = loss + self.extra_loss(scores)
        return Terms(loss, self._metrics(scores, rewards))

    def extra_loss(self, scores: PairScores) -> Tensor | float:
        """A term that does not depend on which response was preferred; 0 by default."""
        return 0.0

    def _metrics(self, scores: PairScores, rewards: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        chosen, rejected = (self.beta * reward.detach() for reward in rewards)
        sums = scores.chosen.detach().to(chosen.dtype), scores.rejected.detach().to(chosen.dtype)
        return {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
            "logps/chosen": sums[0],
            "logps/rejected": sums[1],
            "ranking_accuracy": (sums[0] >= sums[1]).to(chosen.dtype),
        }


def require(objective: Objective, scores: PairScores) -> None:
    """Refuse a batch that lacks a need, or whose tensors differ in shape.

    Raises:
        IncompatibleError: naming the objective, what it needs and what there is.
    """
    available = scores.available()
    owner = type(objective).__name__
    if not objective.needs <= available:
        raise IncompatibleError(
            f"{owner} needs {sorted(objective.needs - available)}; "
            f"the batch has {sorted(available)}."
        )
    shape = scores.chosen.shape
    for name in sorted(available):
        if getattr(scores, name).shape != shape:
            raise IncompatibleError(
                f"{owner}: {name} has shape {tuple(getattr(scores, name).shape)}; "
                f"chosen has {tuple(shape)}."
            )


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it has that already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def log_ratios(
    chosen: Tensor, rejected: Tensor, scores: PairScores, length_normalise: LengthNormalise
) -> tuple[Tensor, Tensor]:
    """Scores of both responses, float32 or wider, per token if asked."""
    if length_normalise == "none":
        return wide(chosen), wide(rejected)
    return (
        wide(chosen) / _given(scores.chosen_length),
        wide(rejected) / _given(scores.rejected_length),
    )


def margin(scores: PairScores, length_normalise: LengthNormalise = "none") -> Tensor:
    """Log-ratio margin ``(B,)`` of chosen over rejected, in nats, before any scale.

    Relative to the reference where the batch has one. The audit, the noise estimators
    and the objectives all use this function.
    """
    first, second = log_ratios(scores.chosen, scores.rejected, scores, length_normalise)
    if scores.ref_chosen is None or scores.ref_rejected is None:
        return first - second
    ref = log_ratios(scores.ref_chosen, scores.ref_rejected, scores, length_normalise)
    return (first - ref[0]) - (second - ref[1])


def _given(tensor: Tensor | None) -> Tensor:
    if tensor is None:  # unreachable after require(); keeps the type checker honest
        raise IncompatibleError("a tensor that the objective needs is missing.")
    return tensor
