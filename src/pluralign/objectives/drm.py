"""Domain-specific risk: every example trains its domain's head and the shared one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import DataError, DataQualityWarning
from ..rules import Within, check
from .base import Terms, wide


@final
@dataclass(frozen=True, kw_only=True)
class DomainRisk:
    r"""Cross-entropy of the own head and the shared head, domains weighing equally.

    Use it with ``nn.DomainHeads`` when domains may label by different rules. Where all share
    one rule it is plain training with more heads.

    .. math:: L = \frac1M \sum_i \frac1{B_i} \sum_{n \in D_i}
              [\rho\, CE(h_i(z_n), y_n) + (1-\rho)\, CE(h_0(z_n), y_n)]

    Args:
        own_weight: rho in (0, 1]; the authors' code has one half, 1 leaves the shared head
            untrained.

    Example:
        >>> logits = torch.zeros(4, 3, 2)
        >>> labels, domain = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1])
        >>> round(DomainRisk()(logits, labels, domain).loss.mean().item(), 4)
        0.6931

    Differs from the paper:
        ``own_weight`` is ours. Domains absent from a batch are left out with a warning, the
        others weigh equally.

    References:
        Zhang et al., 2023, arXiv 2208.08661, and the authors' code.
    """

    own_weight: Annotated[float, Within(0.0, 1.0, closed="right")] = 0.5

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, logits: Tensor, labels: Tensor, domain: Tensor) -> Terms:
        """Loss ``(N,)`` whose plain mean is L, and metrics.

        Args:
            logits: ``(N, M + 1, K)``, the shared head last.
            labels: ``(N,)`` classes 0..K-1.
            domain: ``(N,)`` domains 0..M-1.

        Raises:
            DataError: for labels or domains out of range, or shapes that do not fit.
        """
        heads, classes = logits.shape[-2:]
        if logits.dim() != 3 or labels.shape != logits.shape[:1] or domain.shape != labels.shape:
            raise DataError(
                f"logits must be (N, M + 1, K) with labels and domain (N,); got "
                f"{tuple(logits.shape)}, {tuple(labels.shape)} and {tuple(domain.shape)}."
            )
        _in_range("labels", labels, classes)
        _in_range("domain", domain, heads - 1)
        _remark_absent(domain, heads - 1)
        rows = torch.arange(len(labels), device=logits.device)
        scores = wide(logits)
        own = functional.cross_entropy(scores[rows, domain], labels, reduction="none")
        shared = functional.cross_entropy(scores[:, -1], labels, reduction="none")
        loss = self.own_weight * own + (1 - self.own_weight) * shared
        right = scores.detach().argmax(-1) == labels[:, None]
        metrics = {
            "own/loss": own.detach(),
            "shared/loss": shared.detach(),
            "own/accuracy": right[rows, domain].to(own.dtype),
            "shared/accuracy": right[:, -1].to(own.dtype),
        }
        return Terms(loss * domain_balance(domain, heads - 1).to(loss.dtype), metrics)


def domain_balance(domain: Tensor, n_domains: int) -> Tensor:
    """Weights ``(N,)`` of mean 1 under which the domains that occur weigh equally.

    Example:
        >>> domain_balance(torch.tensor([0, 0, 0, 1]), 2).tolist()
        [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    counts = torch.bincount(domain, minlength=n_domains).double()
    return len(domain) / (counts.count_nonzero() * counts[domain])


def _remark_absent(domain: Tensor, n_domains: int) -> None:
    absent = (torch.bincount(domain, minlength=n_domains) == 0).nonzero().flatten().tolist()
    if absent:
        warnings.warn(
            f"no row of domain {', '.join(map(str, absent[:5]))} in this batch "
            f"({len(absent)} of {n_domains} domains); the others weigh equally.",
            DataQualityWarning,
            stacklevel=3,
        )


def _in_range(name: str, values: Tensor, limit: int) -> None:
    if values.dtype != torch.int64:
        raise DataError(f"{name} must be int64; got {values.dtype}.")
    bad = ((values < 0) | (values >= limit)).nonzero().flatten()
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{name} must lie in 0..{limit - 1}; row {row} has {int(values[row])} "
            f"({len(bad)} such rows)."
        )
