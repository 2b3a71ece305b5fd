"""From a collated batch to unreduced terms: the three things a host is asked to minimise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ..engines import LogProbs
from ..objectives import Objective, Terms
from ..scores import PairScores
from .protected import judged
from .rows import ATTRIBUTE_COLUMNS, LABEL_COLUMNS, tokens_of

REFERENCE_COLUMNS = ("ref_chosen", "ref_rejected")
_COLUMNS = (*LABEL_COLUMNS, *ATTRIBUTE_COLUMNS, *REFERENCE_COLUMNS)


@final
@dataclass(frozen=True)
class PairStep:
    """Pairs scored by log-probability, then any objective.

    Args:
        objective: what to minimise.
        engine: sequence log-probabilities.
    """

    objective: Objective
    engine: LogProbs

    def __call__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Terms:
        """Loss and metrics ``(B,)`` of a batch of pairs."""
        sums, lengths = self.engine(model, tokens_of(inputs))
        columns: dict[str, Any] = {name: inputs[name] for name in _COLUMNS if name in inputs}
        scores = PairScores(
            chosen=sums[:, 0],
            rejected=sums[:, 1],
            chosen_length=lengths[:, 0],
            rejected_length=lengths[:, 1],
            **columns,
        )
        loss, metrics = judged(self.objective, scores, inputs)
        return Terms(loss, metrics | _drift(scores))


@final
@dataclass(frozen=True)
class RewardStep:
    """Pairs scored by a reward model, then an objective of rewards.

    Args:
        objective: what to minimise.
    """

    objective: Objective

    def __call__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Terms:
        """Loss and metrics ``(B,)`` of a batch of pairs."""
        rewards = model(tokens_of(inputs))[..., 0]
        columns: dict[str, Any] = {name: inputs[name] for name in _COLUMNS if name in inputs}
        scores = PairScores(chosen=rewards[:, 0], rejected=rewards[:, 1], kind="reward", **columns)
        return judged(self.objective, scores, inputs)


@final
@dataclass(frozen=True)
class TextStep:
    """Negative log-likelihood of texts, in nats.

    Args:
        engine: sequence log-probabilities.
    """

    engine: LogProbs

    def __call__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Terms:
        """Summed negative log-likelihood ``(B,)``; the host divides by tokens."""
        return Terms(-self.engine(model, tokens_of(inputs)).sums[:, 0], {})


def _drift(scores: PairScores) -> dict[str, Tensor]:
    """How far both log-probabilities have moved from the reference: whole, and a token."""
    if scores.ref_chosen is None or scores.ref_rejected is None:
        return {}
    with torch.no_grad():
        chosen = scores.chosen - scores.ref_chosen
        rejected = scores.rejected - scores.ref_rejected
        found = {"log_ratio/chosen": chosen, "log_ratio/rejected": rejected}
        if scores.chosen_length is not None and scores.rejected_length is not None:
            found["log_ratio/chosen_per_token"] = chosen / scores.chosen_length
            found["log_ratio/rejected_per_token"] = rejected / scores.rejected_length
    return found
