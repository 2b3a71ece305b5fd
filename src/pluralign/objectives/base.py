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
    soft labels (``label_prob``), metrics and checks come from here. With a soft label
    ``s`` the loss is ``s L(pair) + (1 - s) L(swapped pair)``.

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
            scores: the batch, for tensors other than the margin. For the loss of the
                swapped pairs it is called with the margin negated and the batch swapped.
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
        require(self, scores, kind="logprob")
        rewards = log_ratios(scores, self.length_normalise, reference=self.reads_reference)
        margin = rewards[0] - rewards[1]
        loss = self.pair_loss(margin, scores)
        if scores.label_prob is not None:
            loss = mixed(loss, self.pair_loss(-margin, swapped(scores)), scores.label_prob)
        own = self.extra_metrics(margin.detach(), scores)
        return Terms(loss, pair_metrics(scores, rewards, self.beta) | own)

    def extra_metrics(self, margin: Tensor, scores: PairScores) -> dict[str, Tensor]:
        """Metrics beyond those of every pair objective, from the detached margin."""
        return {}


def require(objective: Objective, scores: PairScores, *, kind: str) -> None:
    """Refuse a batch of another kind, one that lacks a need, or whose tensors differ in shape.

    Raises:
        IncompatibleError: naming the objective, what it needs and what there is.
    """
    available = scores.available()
    owner = type(objective).__name__
    if scores.kind != kind:
        raise IncompatibleError(f"{owner} reads {kind!r} scores; the batch has {scores.kind!r}.")
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


def mixed(loss: Tensor, swapped_loss: Tensor, label_prob: Tensor) -> Tensor:
    """Expected loss ``(B,)`` under a soft label: the probability that the label is right."""
    prob = label_prob.to(loss.dtype)
    return prob * loss + (1 - prob) * swapped_loss


def swapped(scores: PairScores) -> PairScores:
    """The batch as it would be had the raters answered the other way round."""
    first = scores.chosen_first
    return scores._replace(
        chosen=scores.rejected,
        rejected=scores.chosen,
        ref_chosen=scores.ref_rejected,
        ref_rejected=scores.ref_chosen,
        chosen_length=scores.rejected_length,
        rejected_length=scores.chosen_length,
        chosen_first=None if first is None else first.logical_not(),
    )


def log_ratios(
    scores: PairScores, length_normalise: LengthNormalise, *, reference: bool
) -> tuple[Tensor, Tensor]:
    """Scores ``(B,)`` of both responses, float32 or wider, in nats (a token, if asked).

    Relative to the reference if asked; no gradient flows into the reference.
    """
    chosen, rejected = wide(scores.chosen), wide(scores.rejected)
    if reference:
        chosen = chosen - wide(given(scores.ref_chosen)).detach()
        rejected = rejected - wide(given(scores.ref_rejected)).detach()
    if length_normalise == "token_mean":
        chosen = chosen / given(scores.chosen_length)
        rejected = rejected / given(scores.rejected_length)
    return chosen, rejected


def margin(scores: PairScores, length_normalise: LengthNormalise = "none") -> Tensor:
    """Log-ratio margin ``(B,)`` of chosen over rejected, in nats, before any scale.

    Relative to the reference where the batch has one. The audit, the noise estimators
    and the objectives all use this difference.
    """
    reference = scores.ref_chosen is not None and scores.ref_rejected is not None
    chosen, rejected = log_ratios(scores, length_normalise, reference=reference)
    return chosen - rejected


def pair_metrics(
    scores: PairScores, rewards: tuple[Tensor, Tensor], beta: float
) -> dict[str, Tensor]:
    """The metrics of every pair objective, detached, under the names that dashboards know."""
    chosen, rejected = (beta * reward.detach() for reward in rewards)
    sums = wide(scores.chosen.detach()), wide(scores.rejected.detach())
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
        "logps/chosen": sums[0],
        "logps/rejected": sums[1],
        "ranking_accuracy": (sums[0] >= sums[1]).to(chosen.dtype),
    }


def given(tensor: Tensor | None) -> Tensor:
    """The tensor, which :func:`require` has seen to be there."""
    if tensor is None:
        raise IncompatibleError("a tensor that the objective needs is missing.")
    return tensor
