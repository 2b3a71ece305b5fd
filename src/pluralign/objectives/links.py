"""Losses of one margin, and what label noise does to them: pure functions of tensors.

A link ``l`` turns the margin ``h`` (nats) and ``beta`` into a loss. Every noise
correction of this library is the link plus a multiple of its *skew*
``l(h) - l(-h)``, which each link knows in closed form: for the logistic link it is
``-beta h``, so that the corrected loss has one transcendental and cannot give inf - inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Rate = float | Tensor
LinkName = Literal["logistic", "squared", "hinge", "probit"]


class Link(NamedTuple):
    """A loss of the margin and its skew; both map ``(h, beta)`` to a tensor like ``h``.

    Attributes:
        loss: ``l(h)``.
        skew: ``l(h) - l(-h)``, the price of believing the wrong label.
        is_likelihood: whether ``exp(-l(h)) + exp(-l(-h)) = 1``.
        bounded_below: whether the corrected loss has a lower bound at any flip rate.
    """

    loss: Callable[[Tensor, float], Tensor]
    skew: Callable[[Tensor, float], Tensor]
    is_likelihood: bool
    bounded_below: bool


def softplus(value: Tensor) -> Tensor:
    """``log(1 + exp(value))``, exact in both tails (torch's own is the identity beyond 20)."""
    return -logsigmoid(-value)


def _logistic(margin: Tensor, beta: float) -> Tensor:
    return softplus(-beta * margin)


def _logistic_skew(margin: Tensor, beta: float) -> Tensor:
    return -beta * margin


def _squared(margin: Tensor, beta: float) -> Tensor:
    return (margin - 0.5 / beta).square()


def _squared_skew(margin: Tensor, beta: float) -> Tensor:
    return -2.0 / beta * margin


def _hinge(margin: Tensor, beta: float) -> Tensor:
    return (1 - beta * margin).relu()


def _hinge_skew(margin: Tensor, beta: float) -> Tensor:
    return (1 - beta * margin).relu() - (1 + beta * margin).relu()


def _probit(margin: Tensor, beta: float) -> Tensor:
    return -torch.special.log_ndtr(beta * margin)


def _probit_skew(margin: Tensor, beta: float) -> Tensor:
    return torch.special.log_ndtr(-beta * margin) - torch.special.log_ndtr(beta * margin)


LINKS: dict[LinkName, Link] = {
    "logistic": Link(_logistic, _logistic_skew, is_likelihood=True, bounded_below=False),
    "squared": Link(_squared, _squared_skew, is_likelihood=False, bounded_below=True),
    "hinge": Link(_hinge, _hinge_skew, is_likelihood=False, bounded_below=False),
    "probit": Link(_probit, _probit_skew, is_likelihood=True, bounded_below=False),
}


def unbiased(
    link: Link, margin: Tensor, beta: float, bonus: Rate, cap: float | None = None
) -> Tensor:
    """``l(h) + c (l(h) - l(-h))``: its mean over random flips is the clean ``l(h)``.

    Args:
        link: the loss to correct.
        margin: ``h``, any shape, nats.
        beta: scale of the margin, > 0.
        bonus: ``c``, that is ``eps / (1 - 2 eps)`` at flip rate ``eps``.
        cap: the correction stops growing at ``beta h = cap``.

    Returns:
        The corrected loss, shaped like ``margin``.
    """
    rewarded = margin if cap is None else margin.clamp(max=cap / beta)
    return link.loss(margin, beta) + bonus * link.skew(rewarded, beta)


def conservative(link: Link, margin: Tensor, beta: float, flip_rate: Rate) -> Tensor:
    """``(1 - eps) l(h) + eps l(-h)``, label smoothing: a penalty where :func:`unbiased` rewards."""
    return link.loss(margin, beta) - flip_rate * link.skew(margin, beta)


def forward(link: Link, margin: Tensor, beta: float, keep: Tensor, leak: Tensor) -> Tensor:
    """``-log(keep exp(-l(h)) + leak exp(-l(-h)))``: the likelihood of the observed label.

    Args:
        link: a link whose ``exp(-l)`` is a probability.
        margin: ``h``, any shape, nats.
        beta: scale of the margin, > 0.
        keep: P(this label | it is true); ``1 - eps`` at flip rate ``eps``.
        leak: P(this label | the other is true); ``eps`` at flip rate ``eps``.

    Returns:
        The loss, between ``-log(max(keep, leak))`` and ``-log(min(keep, leak))``.
    """
    truth = keep.log() - link.loss(margin, beta)
    error = leak.log() - link.loss(-margin, beta)
    return -torch.logaddexp(truth, error)


def posterior(margin: Tensor, beta: float, keep: Tensor, leak: Tensor) -> Tensor:
    """P(the label is a flip | margin) where ``sigmoid(beta h)`` is P(chosen is truly better)."""
    return torch.sigmoid(leak.log() - keep.log() - beta * margin)
