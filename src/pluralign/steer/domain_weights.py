"""Which domain's head to listen to on unlabelled data of an unknown domain.

Entropy says how sure a head is, not whether it is right: two heads with opposite rules are
equally sure. Weights of a whole batch or session of one domain are therefore the default.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import DataError, DataQualityWarning, ParameterError
from ..rules import AnyOf, OneOf, Within, check, shown

Gamma = float | Literal["argmin"]
Measure = Literal["entropy", "prototype", "cosine", "uniform"]

FLOOR = 1e-12
"""Least entropy or distance that enters a weight: a saturated head must not divide by zero."""

_GAMMA = AnyOf(Within(0.0), OneOf("argmin"))


@final
class SteeredBatch(NamedTuple):
    """What steering says of N rows.

    Attributes:
        probabilities: ``(N, K)`` of the combined heads.
        weights: ``(N, M)`` of the domain heads, or ``(N, M + 1)``; equal rows but for
            ``level="sample"``.
        entropy: ``(N, M + 1)`` of each head's predictions, in nats.
        disagreement: share of rows on which the weightiest head and the combination of all
            heads with equal weights predict different classes.
    """

    probabilities: Tensor
    weights: Tensor
    entropy: Tensor
    disagreement: float


@final
@dataclass(frozen=True, kw_only=True)
class DomainWeights:
    """How heads are weighed on a batch of one unknown domain.

    ``w_h ~ gap_h ** -gamma`` with the gap measured by mean prediction entropy, or by the
    distance of features from the domain's mean; ``cosine`` weighs by a softmax of similarity.

    Args:
        measure: ``"entropy"``, ``"prototype"``, ``"cosine"`` or ``"uniform"``.
        gamma: sharpness >= 0, or ``"argmin"`` for the head of least gap alone. For
            ``"cosine"`` it is the inverse temperature.
        level: ``"batch"`` weighs a batch as a whole, ``"sample"`` each row by itself (worse
            than no steering where heads are sure and wrong).
        heads: ``"domain"`` combines the M domain heads, ``"all"`` the shared head too
            (entropy and uniform only).

    Raises:
        ParameterError: for a value out of range, or a combination without meaning.

    Example:
        >>> logits = torch.tensor([[[4.0, 0.0], [1.0, 0.0], [0.5, 0.0]]]).repeat(2, 1, 1)
        >>> DomainWeights(gamma="argmin")(logits).weights.tolist()
        [[1.0, 0.0], [1.0, 0.0]]

    Differs from the paper:
        Weights are normalised over the heads that are combined, where the authors normalise
        over all and leave one out; batch level by default; ``"cosine"`` takes the most similar
        domain, where the authors' code takes the least.

    References:
        Zhang et al., 2023, arXiv 2208.08661, and the authors' code.
    """

    measure: Annotated[Measure, OneOf("entropy", "prototype", "cosine", "uniform")] = "entropy"
    gamma: Annotated[Gamma, _GAMMA] = 1.0
    level: Annotated[Literal["batch", "sample"], OneOf("batch", "sample")] = "batch"
    heads: Annotated[Literal["domain", "all"], OneOf("domain", "all")] = "domain"

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """Only domains have prototypes."""
        if self.heads == "all" and self.measure in ("prototype", "cosine"):
            return [f"heads='all' has no meaning with measure={self.measure!r}."]
        return []

    def __call__(
        self, logits: Tensor, features: Tensor | None = None, prototypes: Tensor | None = None
    ) -> SteeredBatch:
        """Combine the heads on one batch.

        Args:
            logits: ``(N, M + 1, K)``, the shared head last.
            features: ``(N, d)``, for the measures that look at features.
            prototypes: ``(M, d)``, mean features of the domains.

        Raises:
            DataError: for no rows, values that are not finite (naming the head), or shapes that
                do not fit.
        """
        check_logits(logits)
        if len(logits) == 1 and self.measure == "entropy":
            warnings.warn(
                "one row alone chooses among the heads: entropy often picks one that is sure and "
                "wrong. Give the rows of a domain together, or use DomainSession.",
                DataQualityWarning,
                stacklevel=2,
            )
        entropy = prediction_entropy(logits)
        evidence = self.evidence(logits, features, prototypes)
        if self.level == "batch":
            evidence = evidence.mean(0, keepdim=True)
        weights = self.weights(evidence).expand(len(logits), -1)
        return combine(logits, weights, entropy)

    def evidence(
        self, logits: Tensor, features: Tensor | None = None, prototypes: Tensor | None = None
    ) -> Tensor:
        """What the measure sees of each row and head, ``(N, M)`` or ``(N, M + 1)``.

        Its mean over a batch, or over a session, is what :meth:`weights` takes.
        """
        count = logits.shape[1] - (self.heads == "domain")
        if self.measure == "entropy":
            return prediction_entropy(logits[:, :count])
        if self.measure == "uniform":
            return torch.ones_like(logits[:, :count, 0])
        if features is None or prototypes is None or prototypes.shape[0] != count:
            raise DataError(
                f"measure={self.measure!r} needs features (N, d) and prototypes ({count}, d)."
            )
        if self.measure == "cosine":
            return functional.cosine_similarity(features[:, None], prototypes[None], dim=-1)
        return torch.cdist(features, prototypes)

    def weights(self, evidence: Tensor) -> Tensor:
        """Weights over the last axis; sums are 1."""
        if self.measure != "cosine":
            return gap_weights(evidence, self.gamma)
        if self.gamma == "argmin":
            return _one(evidence.argmax(-1), evidence)
        return (float(self.gamma) * evidence).softmax(-1)


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the predictions of logits ``(..., K)``; shape ``(...)``.

    Example:
        >>> prediction_entropy(torch.zeros(2, dtype=torch.float64)).item()
        0.6931471805599453
    """
    logp = logits.log_softmax(-1)
    # A class of probability 0 adds 0, not 0 times infinity.
    return -(logp.exp() * logp.masked_fill(logp.isneginf(), 0.0)).sum(-1)


def gap_weights(gap: Tensor, gamma: Gamma = 1.0) -> Tensor:
    """Weights over the last axis, proportional to ``gap ** -gamma``.

    Args:
        gap: entropies or distances ``(..., H)``, >= 0.
        gamma: 0 weighs all alike, ``"argmin"`` takes the least (the lowest index of equals).

    Raises:
        ParameterError: for a gamma out of range.

    Example:
        >>> gap_weights(torch.tensor([0.1, 0.3]), 1.0)
        tensor([0.7500, 0.2500])
    """
    if not _GAMMA.admits(gamma):
        raise ParameterError(f"gamma must be {_GAMMA.wants()}; got {shown(gamma)}.")
    if gamma == "argmin":
        return _one(gap.argmin(-1), gap)
    return (-float(gamma) * gap.clamp_min(FLOOR).log()).softmax(-1)


def pair_logits(margins: Tensor) -> Tensor:
    """Logits ``(N, H, 2)`` of preference pairs from each head's reward margins ``(N, H)``.

    Class 0 is "the first response is better", with probability ``sigmoid(margin)`` under
    Bradley-Terry: heads of preferences are weighed like heads of classes. A head and its opposite
    are equally sure; where the sources may hold both, use :func:`label_weights` on a few pairs.

    Args:
        margins: reward of the first less that of the second response, the shared head last; of a
            ``RewardModel`` whose outputs are the domains and one trained on all pairs.

    Example:
        >>> pair_logits(torch.tensor([[2.0, -1.0]])).softmax(-1)[..., 0]
        tensor([[0.8808, 0.2689]])
    """
    return torch.stack([margins, torch.zeros_like(margins)], -1)


def label_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """Weights ``(H,)`` by the likelihood of a few labelled rows (ours).

    Use it where entropy cannot tell: a head and its opposite are equally sure.

    Args:
        logits: ``(N, H, K)``.
        labels: ``(N,)``.
    """
    logp = logits.log_softmax(-1)
    picked = logp.gather(-1, labels[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]
    return picked.sum(0).softmax(0)


def combine(logits: Tensor, weights: Tensor, entropy: Tensor) -> SteeredBatch:
    """The mixture of the first heads' predictions under weights ``(N, H)``."""
    probabilities = logits[:, : weights.shape[1]].softmax(-1)
    mixture = torch.einsum("nh,nhk->nk", weights, probabilities)
    heaviest = weights.argmax(-1)
    own = probabilities[torch.arange(len(logits), device=logits.device), heaviest].argmax(-1)
    differs = own != probabilities.mean(1).argmax(-1)
    return SteeredBatch(mixture, weights, entropy, float(differs.double().mean()))


def check_logits(logits: Tensor) -> None:
    """Refuse logits without rows or with values that are not finite.

    Raises:
        DataError: naming the head.
    """
    if logits.dim() != 3 or len(logits) == 0 or logits.shape[1] < 3:
        raise DataError(
            "logits must be (N, M + 1, K) with N >= 1 rows and M >= 2 domains; got "
            f"{tuple(logits.shape)}."
        )
    bad = (~logits.isfinite()).any(-1)
    if bad.any():
        row, head = (int(i) for i in bad.nonzero()[0])
        raise DataError(f"head {head} gives logits that are not finite, first in row {row}.")


def _one(index: Tensor, like: Tensor) -> Tensor:
    return functional.one_hot(index, like.shape[-1]).to(like.dtype)
