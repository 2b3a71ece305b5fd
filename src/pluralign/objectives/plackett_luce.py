"""Rankings of K responses with a noise correction; the pair losses are its case K = 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor

from ..errors import IncompatibleError
from ..rules import OneOf, Within, check
from .base import Terms, wide

MOST_UNIFORM = 12
"""Largest K with uniform noise; its correction sums over the 2^K subsets."""


@final
@dataclass(frozen=True, kw_only=True)
class RobustPlackettLuce:
    """Plackett-Luce loss of rankings that are wrong at a known rate.

    Use it where raters rank K >= 2 responses. Two clear kinds of noise, each inverted
    exactly: with probability ``flip_rate`` the whole ranking is ``"reversal"``, reversed, or
    ``"uniform"``, replaced by a random one. Like ``RDPO`` it is unbounded below: few epochs.

    With ``nll(tau) = sum_k logsumexp(u[tau(k..K)]) - u[tau(k)]``::

        reversal:  loss = [(1-eps) nll(tau) - eps nll(reversed tau)] / (1-2 eps)
        uniform:   loss = [nll(tau) - eps * mean of nll over all rankings] / (1-eps)

    At K = 2 both are ``RDPO``; uniform noise at eps is a flip rate of eps / 2.

    Args:
        flip_rate: eps, in [0, 0.5) for reversal and [0, 1) for uniform noise.
        noise: ``"reversal"`` or ``"uniform"``.

    Raises:
        ParameterError: for a rate out of range.

    Example:
        >>> import torch
        >>> ranked = torch.tensor([[1.2, 0.3, -0.5]])
        >>> round(RobustPlackettLuce(flip_rate=0.2)(ranked).loss.item(), 6)
        -0.02232

    Differs from the paper: it names Plackett-Luce models; both noise models are ours.

    References:
        Ray Chowdhury, Kini and Natarajan, 2024, arXiv 2403.00409.
    """

    flip_rate: Annotated[float, Within(0.0, 1.0, closed="left")]
    noise: Annotated[Literal["reversal", "uniform"], OneOf("reversal", "uniform")] = "reversal"

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> Iterator[str]:
        """A reversal rate of 1/2 or more."""
        if self.noise == "reversal" and self.flip_rate >= 0.5:
            yield f"flip_rate must be < 0.5 for noise 'reversal'; got {self.flip_rate}."

    def __call__(self, utilities: Tensor) -> Terms:
        """Loss and metrics of a batch of rankings.

        Args:
            utilities: ``(B, K)``, in the observed order, first ranked best; for a tuned
                policy ``beta`` times the log-ratio to the reference.

        Returns:
            Terms with ``loss`` of shape ``(B,)``, and the metrics ``nll`` (uncorrected) and
            ``rewards/accuracies`` (share of the K(K-1)/2 pairs ordered as observed).

        Raises:
            IncompatibleError: for K < 2, or K > 12 with uniform noise.
        """
        size = utilities.shape[-1] if utilities.dim() else 0
        if size < 2:
            raise IncompatibleError(
                f"RobustPlackettLuce ranks 2 responses or more; got {tuple(utilities.shape)}."
            )
        if self.noise == "uniform" and size > MOST_UNIFORM:
            raise IncompatibleError(
                f"RobustPlackettLuce with noise 'uniform' takes at most {MOST_UNIFORM} responses; "
                f"got {size}. Use noise 'reversal' or rank fewer."
            )
        utilities = wide(utilities)
        nll = ranking_nll(utilities)
        rate = self.flip_rate
        if self.noise == "uniform":
            loss = nll + rate / (1 - rate) * (nll - mean_ranking_nll(utilities))
        else:
            loss = nll + rate / (1 - 2 * rate) * (nll - ranking_nll(utilities.flip(-1)))
        return Terms(loss, {"nll": nll.detach(), "rewards/accuracies": _ordered(utilities)})


def ranking_nll(utilities: Tensor) -> Tensor:
    """``-log P(ranking)`` of shape ``(B,)`` for utilities ``(B, K)`` in ranked order."""
    size = utilities.shape[-1]
    still_there = torch.ones(size, size, dtype=torch.bool, device=utilities.device).triu()
    choices = _among(utilities, still_there)
    return (choices - utilities)[..., :-1].sum(-1)


def mean_ranking_nll(utilities: Tensor) -> Tensor:
    """Mean of :func:`ranking_nll` over all K! rankings, from the 2^K subsets.

    In a random ranking the m responses still there are a random m-subset S and the next
    is random among them: ``sum over m of mean over S of logsumexp(u_S) - mean(u)``.
    """
    size = utilities.shape[-1]
    number = torch.arange(2**size, device=utilities.device)
    members = (number[:, None] >> torch.arange(size, device=utilities.device)) & 1
    count = members.sum(-1)
    members, count = members[count >= 2], count[count >= 2]
    share = 1.0 / torch.bincount(count)[count].to(utilities.dtype)
    choices = _among(utilities, members.bool())
    return (choices * share).sum(-1) - (size - 1) * utilities.mean(-1)


def _among(utilities: Tensor, subsets: Tensor) -> Tensor:
    """For each subset ``(S, K)`` the logsumexp of its utilities: shape ``(B, S)``."""
    masked = utilities[..., None, :].masked_fill(~subsets, -torch.inf)
    return masked.logsumexp(-1)


def _ordered(utilities: Tensor) -> Tensor:
    values = utilities.detach()
    size = values.shape[-1]
    pairs = torch.ones(size, size, dtype=torch.bool, device=values.device).triu(1)
    right = (values[..., :, None] > values[..., None, :]) & pairs
    return right.sum((-2, -1)).to(values.dtype) / (size * (size - 1) / 2)
