"""One linear head for each domain, and one for all, on a shared encoder."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from ..errors import ParameterError
from ..rules import Within, shown


@final
class DomainHeads(nn.Module):
    """M domain heads and, last, a head shared by all domains, as one matrix product.

    Use it on features of any encoder when domains label by different rules. With one domain
    it is an ordinary head twice.

    ``logits[n, h] = weight[h] z_n + bias[h]``

    Args:
        in_features: width d of the features.
        n_classes: K >= 2.
        n_domains: M >= 2.
        device: as for torch layers.
        dtype: as for torch layers.

    Raises:
        ParameterError: for a count out of range.

    Example:
        >>> heads = DomainHeads(4, n_classes=3, n_domains=2)
        >>> tuple(heads(torch.randn(5, 4)).shape)
        (5, 3, 3)

    References:
        Zhang et al., 2023, arXiv 2208.08661 (the shared head is in the authors' code).
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        n_domains: int,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        for name, value, low in (
            ("in_features", in_features, 1),
            ("n_classes", n_classes, 2),
            ("n_domains", n_domains, 2),
        ):
            rule = Within(low, None, integer=True)
            if not rule.admits(value):
                hint = " One domain is plain risk minimisation." if name == "n_domains" else ""
                raise ParameterError(
                    f"DomainHeads.{name} must be {rule.wants()}; got {shown(value)}.{hint}"
                )
        self.in_features, self.n_classes, self.n_domains = in_features, n_classes, n_domains
        shape = (n_domains + 1, n_classes, in_features)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:2], device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values, as those of ``nn.Linear``, for each head."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(N, M + 1, K)`` of features ``(N, d)``; the shared head is last."""
        heads, classes, width = self.weight.shape
        flat = nn.functional.linear(
            features, self.weight.view(heads * classes, width), self.bias.view(-1)
        )
        return flat.view(*features.shape[:-1], heads, classes)

    def extra_repr(self) -> str:
        """Settings, as torch layers show them."""
        return f"{self.in_features}, n_classes={self.n_classes}, n_domains={self.n_domains}"
