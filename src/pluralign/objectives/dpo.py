"""Direct preference optimisation and its relatives, the baselines of the house.

All are functions of the margin ``h``: the log-ratio of chosen over rejected, relative
to the reference where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn.functional import softplus

from ..scores import PairScores
from .base import PairObjective


@final
@dataclass(frozen=True, kw_only=True)
class DPO(PairObjective):
    """Direct preference optimisation, the logistic loss of the implicit-reward margin.

    Use it as the plain baseline. With labels that are wrong at different rates in
    different groups it under-weights the noisier group: use ``RDPO`` there.

    ``loss = softplus(-beta * h)``.

    Example:
        >>> import torch
        >>> from pluralign import PairScores
        >>> scores = PairScores(*(torch.tensor([x]) for x in (-38.0, -33.0, -40.0, -30.0)))
        >>> round(DPO(beta=0.1)(scores).loss.item(), 6)
        0.474077

    References:
        Rafailov et al., 2023, arXiv 2305.18290.
    """

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """``softplus(-beta * margin)``, shape ``(B,)``."""
        return softplus(-self.beta * margin)
