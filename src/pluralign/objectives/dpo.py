"""Direct preference optimisation and its relatives, the baselines of the house.

All are functions of the margin ``h``: the log-ratio of chosen over rejected, relative
to the reference where there is one. Write ``z = beta h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from torch import Tensor

from ..rules import AnyOf, OneOf, Within
from ..scores import PairScores
from .base import LengthNormalise, PairObjective, given, log_ratios, wide
from .links import LINKS, conservative, softplus


@final
@dataclass(frozen=True, kw_only=True)
class DPO(PairObjective):
    """Direct preference optimisation, the logistic loss of the implicit-reward margin.

    Use it as the plain baseline. With labels that are wrong at different rates in
    different groups it under-weights the noisier group: use ``RDPO`` there.

    ``loss = softplus(-beta * (m - reference_weight * m_ref))`` with the policy's log-ratio
    ``m`` and the reference's ``m_ref`` of chosen over rejected; at weight 1 that is
    ``softplus(-beta * h)``.

    Args:
        beta: scale of the margin, > 0, per nat; the strength of the tie to the reference.
        length_normalise: ``"none"`` (paper) or ``"token_mean"``.
        reference_weight: 1 in DPO; below 1 pairs that the reference ranks wrongly need
            less margin, 0 drops the reference from the loss (gamma of Chen et al.).

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-38.0, -33.0, -40.0, -30.0)))
        >>> round(DPO(beta=0.1)(scores).loss.item(), 6)
        0.474077

    References:
        Rafailov et al., 2023, arXiv 2305.18290; for ``reference_weight`` Chen et al.,
        2024, arXiv 2405.19534.
    """

    reference_weight: Annotated[float, Within(0.0)] = 1.0

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``softplus(-beta * margin)`` at weight 1, shape ``(B,)``."""
        if self.reference_weight != 1:
            chosen, rejected = log_ratios(scores, self.length_normalise, reference=False)
            weight = self.reference_weight
            margin = weight * margin + (1 - weight) * (chosen - rejected)
        return LINKS["logistic"].loss(margin, self.beta)


@final
@dataclass(frozen=True, kw_only=True)
class CDPO(PairObjective):
    """Conservative DPO: label smoothing at an assumed flip rate.

    Use it to keep margins finite when some labels are wrong; at its optimum a
    consistently labelled pair has ``z = log((1 - eps) / eps)``. It shrinks the learned
    reward a second time: to undo the noise instead, use ``RDPO``.

    ``loss = (1 - eps) softplus(-z) + eps softplus(z) = softplus(-z) + eps z``.

    Args:
        beta: scale of the margin, > 0, per nat.
        length_normalise: ``"none"`` or ``"token_mean"``.
        flip_rate: eps in [0, 0.5), or ``"per_pair"`` to read ``PairScores.flip_rate``.

    Raises:
        ParameterError: for a flip rate outside [0, 0.5).

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-12.5, -14.0, -13.0, -13.5)))
        >>> round(CDPO(flip_rate=0.2)(scores).loss.item(), 6)
        0.664397

    References:
        Mitchell, 2023, "A note on DPO with noisy preferences & relationship to IPO".
    """

    flip_rate: Annotated[
        float | Literal["per_pair"], AnyOf(Within(0.0, 0.5, closed="left"), OneOf("per_pair"))
    ]

    def extra_needs(self) -> set[str]:
        """``flip_rate`` where each pair has its own."""
        return {"flip_rate"} if self.flip_rate == "per_pair" else set()

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``softplus(-z) + eps z``, shape ``(B,)``."""
        if isinstance(self.flip_rate, str):
            rate = given(scores.flip_rate).to(margin.dtype)
        else:
            rate = self.flip_rate
        return conservative(LINKS["logistic"], margin, self.beta, rate)


@final
@dataclass(frozen=True, kw_only=True)
class IPO(PairObjective):
    """Identity preference optimisation: regress the margin to ``1 / (2 beta)``.

    Use it when pairs are labelled once and consistently, where DPO has no finite optimum.
    ``beta`` acts through the target only: a small one asks for large margins. The loss is
    in squared nats, so learning rates of DPO do not carry over.

    ``loss = (h - 1 / (2 beta))^2``.

    Args:
        beta: half the inverse of the target margin, > 0, per nat (tau in the paper).
        length_normalise: ``"none"`` (paper) or ``"token_mean"``, which other libraries
            apply here by default; then ``h`` and the target are nats per token.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-12.5, -14.0, -13.0, -13.5)))
        >>> IPO(beta=0.1)(scores).loss.item()
        16.0

    References:
        Azar et al., 2023, arXiv 2310.12036.
    """

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``(margin - 1 / (2 beta))^2``, shape ``(B,)``."""
        return LINKS["squared"].loss(margin, self.beta)


@final
@dataclass(frozen=True, kw_only=True)
class SLiC(PairObjective):
    """Sequence likelihood calibration: a hinge on the implicit-reward margin.

    Use it to stop pushing a pair once its margin is reached; pairs beyond it have no
    gradient.

    ``loss = max(0, 1 - beta h)``: the margin asked for is ``1 / beta`` nats.

    Args:
        beta: inverse of the margin asked for, > 0, per nat.
        length_normalise: ``"none"`` or ``"token_mean"``.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-12.5, -14.0, -13.0, -13.5)))
        >>> round(SLiC(beta=0.1)(scores).loss.item(), 6)
        0.9

    Differs from the paper: the margin is relative to the reference and there is no
    likelihood term on reference samples; this is the form that the field compares with.

    References:
        Zhao et al., 2023, arXiv 2305.10425.
    """

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``max(0, 1 - beta * margin)``, shape ``(B,)``."""
        return LINKS["hinge"].loss(margin, self.beta)


@final
@dataclass(frozen=True, kw_only=True)
class SimPO(PairObjective):
    """Simple preference optimisation: length-normalised rewards, no reference model.

    Use it when a second model does not fit, or when length bias matters. Nothing ties
    the policy to where it started: watch ``logps/chosen`` and samples.

    ``loss = softplus(-(beta (s_w - s_l) - target_margin))`` with ``s`` the mean
    log-probability per token.

    Args:
        beta: scale of the margin, > 0; the paper uses 2.0 to 2.5.
        length_normalise: ``"token_mean"`` (paper) or ``"none"``.
        target_margin: reward difference to reach, >= 0; the paper's gamma, 0.3 to 1.6.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> nats, lengths = torch.tensor([-12.0]), torch.tensor([10])
        >>> scores = PairScores(nats, nats - 8, chosen_length=lengths, rejected_length=lengths)
        >>> round(SimPO(beta=2.0, target_margin=1.0)(scores).loss.item(), 6)
        0.437488

    References:
        Meng et al., 2024, arXiv 2405.14734.
    """

    reads_reference: ClassVar[bool] = False

    beta: Annotated[float, Within(0.0, closed="neither")] = 2.0
    length_normalise: Annotated[LengthNormalise, OneOf("none", "token_mean")] = "token_mean"
    target_margin: Annotated[float, Within(0.0)] = 1.0

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``softplus(target_margin - beta * margin)``, shape ``(B,)``."""
        return softplus(self.target_margin - self.beta * margin)


@final
@dataclass(frozen=True, kw_only=True)
class CPO(PairObjective):
    """Contrastive preference optimisation: no reference model, a likelihood term instead.

    Use it when a second model does not fit and the chosen responses are good enough to
    imitate; the likelihood term keeps their log-probability from falling.

    ``loss = softplus(-beta (log pi(y_w) - log pi(y_l))) + nll_weight * nll`` with ``nll``
    the negative log-likelihood of the chosen response per token.

    Args:
        beta: scale of the margin, > 0, per nat.
        length_normalise: ``"none"`` (paper) or ``"token_mean"``; acts on the margin.
        nll_weight: weight of the likelihood term, >= 0.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> nats, lengths = torch.tensor([-12.0]), torch.tensor([10])
        >>> scores = PairScores(nats, nats - 8, chosen_length=lengths, rejected_length=lengths)
        >>> round(CPO(beta=0.1)(scores).loss.item(), 6)
        1.571101

    Differs from the paper: the likelihood term is averaged over the tokens of each
    response, not summed, so that its weight does not depend on length.

    References:
        Xu et al., 2024, arXiv 2401.08417.
    """

    reads_reference: ClassVar[bool] = False

    nll_weight: Annotated[float, Within(0.0)] = 1.0

    def extra_needs(self) -> set[str]:
        """Lengths, where there is a likelihood term (both: a soft label may swap the pair)."""
        return {"chosen_length", "rejected_length"} if self.nll_weight else set()

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``softplus(-beta * margin) + nll_weight * nll``, shape ``(B,)``."""
        loss = LINKS["logistic"].loss(margin, self.beta)
        if self.nll_weight:
            loss = loss - self.nll_weight * wide(scores.chosen) / given(scores.chosen_length)
        return loss
