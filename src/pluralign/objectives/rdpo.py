"""Robust DPO: an unbiased preference loss when labels are flipped at known rates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor

from ..errors import DataQualityWarning
from ..rules import AnyOf, OneOf, Within
from ..scores import PairScores
from .base import PairObjective, given
from .links import LINKS, LinkName, forward, posterior, unbiased

_SOFT_CEILING = 0.4


class _Noise(NamedTuple):
    """How an observed label of each pair comes about; all of shape ``(B,)``."""

    keep: Tensor  # P(this label | it is true)
    leak: Tensor  # P(this label | the other is true)
    bonus: Tensor  # weight of the skew that makes the loss unbiased


@final
@dataclass(frozen=True, kw_only=True)
class RDPO(PairObjective):
    """Robust DPO: the DPO loss that flipped labels leave unbiased.

    Use it when flip rates are known or bounded, above all when they differ between
    groups, annotators or sources (``flip_rate="per_pair"``): DPO then silently
    under-weights the noisier group. Not for many epochs over pairs that are labelled
    once: the unbiased form is unbounded below and memorises wrong labels; use
    ``variant="forward"``, ``margin_cap`` or ``link="squared"`` there. With one rate for
    all it ranks like DPO with a smaller ``beta``; an over-stated rate harms more than an
    under-stated one. Never select a model by this loss; ``forward_nll`` is comparable.

    With ``z = beta h`` and flip rate eps, ``c = eps / (1 - 2 eps)``::

        unbiased:  loss = [(1-eps) l(h) - eps l(-h)] / (1-2 eps) = l(h) + c (l(h) - l(-h))
                   logistic: softplus(-z) - c z
        forward:   loss = -log((1-eps) sigmoid(z) + eps sigmoid(-z))

    Args:
        beta: scale of the margin, > 0, per nat.
        length_normalise: ``"none"`` (paper) or ``"token_mean"``.
        flip_rate: eps in [0, 0.5), or ``"per_pair"`` to read ``PairScores.flip_rate``.
        rho_plus: P(observed second | first truly preferred), in [0, 1); given together
            with ``rho_minus`` instead of ``flip_rate`` for raters with a position bias;
            reads ``PairScores.chosen_first``.
        rho_minus: P(observed first | second truly preferred); ``rho_plus + rho_minus < 1``.
        variant: ``"unbiased"``, or ``"forward"``: bounded, ignores gross errors, the same
            population optimum; logistic and probit links only.
        link: ``"logistic"``, ``"squared"`` (robust IPO, bounded below), ``"hinge"`` or
            ``"probit"``.
        margin_cap: the correction stops growing at ``z = margin_cap`` > 0; for the
            unbiased variant with a link that is unbounded below.

    Raises:
        ParameterError: for rates out of range, none or both kinds of rates, or an option
            that would have no effect.

    Warns:
        DataQualityWarning: at rates above 0.4, where the variance is 25 times DPO's or more.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-12.5, -14.0, -13.0, -13.5)))
        >>> round(RDPO(flip_rate=0.2)(scores).loss.item(), 6)
        0.611063

    Differs from the paper: rates per pair and by position, ``forward``, ``margin_cap`` and
    the closed forms for the other links are ours. ``flip_rate`` has no default.

    References:
        Ray Chowdhury, Kini and Natarajan, 2024, arXiv 2403.00409.
    """

    flip_rate: Annotated[
        float | Literal["per_pair"] | None,
        AnyOf(Within(0.0, 0.5, closed="left"), OneOf("per_pair"), None),
    ] = None
    rho_plus: Annotated[float | None, AnyOf(Within(0.0, 1.0, closed="left"), None)] = None
    rho_minus: Annotated[float | None, AnyOf(Within(0.0, 1.0, closed="left"), None)] = None
    variant: Annotated[Literal["unbiased", "forward"], OneOf("unbiased", "forward")] = "unbiased"
    link: Annotated[LinkName, OneOf(*LINKS)] = "logistic"
    margin_cap: Annotated[float | None, AnyOf(Within(0.0, closed="neither"), None)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        noise = self.flip_rate
        if self.rho_plus is not None and self.rho_minus is not None:
            noise = (self.rho_plus + self.rho_minus) / 2
        if isinstance(noise, float) and noise > _SOFT_CEILING:
            warnings.warn(
                f"RDPO: at a flip rate of {noise:g} the gradient has {(1 - 2 * noise) ** -2:.0f} "
                f"times DPO's noise variance; get cleaner labels or a lower rate than "
                f"{_SOFT_CEILING}.",
                DataQualityWarning,
                stacklevel=3,
            )

    def conflicts(self) -> Iterator[str]:
        """Combinations of options that contradict each other or would have no effect."""
        rhos = [rate for rate in (self.rho_plus, self.rho_minus) if rate is not None]
        if self.flip_rate is not None and rhos:
            yield "give flip_rate, or rho_plus and rho_minus, not both kinds of rates."
        elif self.flip_rate is None and not rhos:
            yield "give flip_rate (a rate or 'per_pair'), or rho_plus and rho_minus."
        elif len(rhos) == 1:
            yield "rho_plus and rho_minus go together; give both."
        elif sum(rhos) >= 1:
            yield (
                f"rho_plus + rho_minus must be < 1; got {sum(rhos):g}. At 1 labels carry no "
                "information; above it swap them."
            )
        link = LINKS[self.link]
        if self.variant == "forward" and not link.is_likelihood:
            yield (
                f"variant 'forward' needs a link that is a probability, 'logistic' or 'probit'; "
                f"got link {self.link!r}."
            )
        if self.margin_cap is not None and self.variant == "forward":
            yield "margin_cap has no effect on variant 'forward', which is bounded; remove it."
        elif self.margin_cap is not None and link.bounded_below:
            yield f"margin_cap is not for link {self.link!r}, which is bounded below; remove it."

    def extra_needs(self) -> set[str]:
        """``flip_rate`` or ``chosen_first``, as the rates ask for."""
        if self.flip_rate is None:
            return {"chosen_first"}
        return {"flip_rate"} if self.flip_rate == "per_pair" else set()

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """The corrected loss of the observed label, shape ``(B,)``."""
        noise = self._noise(margin, scores)
        link = LINKS[self.link]
        if self.variant == "forward":
            return forward(link, margin, self.beta, noise.keep, noise.leak)
        return unbiased(link, margin, self.beta, noise.bonus, self.margin_cap)

    def extra_metrics(self, margin: Tensor, scores: PairScores) -> dict[str, Tensor]:
        """What to select by, and which labels look flipped; logistic whatever the link.

        ``dpo_loss`` is the unhedged loss, ``forward_nll`` the likelihood of the observed
        label, comparable between rates; ``flip_posterior`` is P(label is a flip | margin)
        and ``flip_suspected`` whether it exceeds 1/2.
        """
        noise = self._noise(margin, scores)
        logistic = LINKS["logistic"]
        flipped = posterior(margin, self.beta, noise.keep, noise.leak)
        return {
            "dpo_loss": logistic.loss(margin, self.beta),
            "forward_nll": forward(logistic, margin, self.beta, noise.keep, noise.leak),
            "flip_posterior": flipped,
            "flip_suspected": (flipped > 0.5).to(flipped.dtype),
        }

    def _noise(self, margin: Tensor, scores: PairScores) -> _Noise:
        if self.rho_plus is not None and self.rho_minus is not None:
            plus = torch.full_like(margin, self.rho_plus)
            minus = torch.full_like(margin, self.rho_minus)
            first = given(scores.chosen_first).bool()
            own, other = torch.where(first, plus, minus), torch.where(first, minus, plus)
            return _Noise(1 - own, other, own / (1 - own - other))
        if self.flip_rate == "per_pair":
            rate = given(scores.flip_rate).to(margin.dtype)
        else:
            rate = torch.full_like(margin, float(self.flip_rate or 0.0))
        return _Noise(1 - rate, rate, rate / (1 - 2 * rate))
