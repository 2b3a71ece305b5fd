"""``RewardTrainer``: fit a reward model to preference pairs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from transformers import TrainerCallback

from ..data import Preferences, ScoredPairs
from ..engines import RewardModel
from ..errors import DataQualityWarning, IncompatibleError
from ..objectives import BradleyTerry, Objective
from ..scores import TokenBatch
from .config import TrainingConfig
from .language import require_columns
from .record import described
from .rows import group_names, pair_rows
from .scoring import in_batches, scored_pairs, tokenised
from .steps import RewardStep
from .trainer import LanguageTrainer, all_rows, data_facts

_CHANCE = 0.55


@final
class RewardTrainer(LanguageTrainer):
    """Trains a reward model on preference pairs.

    Use it for best-of-n, for labelling new pairs, or to audit rewards by group. The
    learning rate falls from 1e-5 to 1e-6 over one epoch unless ``config`` says otherwise.

    ``loss of a pair = softplus(-(R(x, chosen) - R(x, rejected)))`` by default.

    Args:
        model: a reward model with one output; trained in place.
        pairs: what to train on.
        objective: an objective of rewards.
        tokenizer: the model's tokenizer.
        config: settings of the run; ``TrainingConfig.for_rewards()`` if not given.
        eval_pairs: held-out pairs.
        callbacks: callbacks of transformers.

    Raises:
        IncompatibleError: for a model with several outputs, or data that lack a column.
        DataError: if pairs cannot be tokenised.

    References:
        Ivison et al., 2024, arXiv 2406.09279.
    """

    responses: ClassVar[int] = 2

    def __init__(
        self,
        model: RewardModel,
        pairs: Preferences,
        *,
        tokenizer: Any,
        objective: Objective | None = None,
        config: TrainingConfig | None = None,
        eval_pairs: Preferences | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        config = config or TrainingConfig.for_rewards()
        objective = objective or BradleyTerry()
        if len(model.names) != 1:
            raise IncompatibleError(
                f"pairs say which response is better, not in what; the model has outputs "
                f"{list(model.names)}. Use a RewardModel with one name."
            )
        for data in (pairs, eval_pairs):
            require_columns(objective, data, reference=False)
        groups = group_names(pairs, eval_pairs)
        tokens = tokenised(pairs, tokenizer, config)
        rows = pair_rows(pairs, tokens, groups)
        held_out, eval_rows = None, None
        if eval_pairs is not None:
            held_out = (eval_pairs, tokenised(eval_pairs, tokenizer, config))
            eval_rows = pair_rows(*held_out, groups)
        self.prepared(model.body, config, all_rows(rows, eval_rows))
        self.objective = objective
        super().__init__(
            _ready(model),
            RewardStep(objective),
            rows,
            eval_rows,
            groups=groups,
            tokenizer=tokenizer,
            config=config,
            callbacks=callbacks,
            facts={
                "objective": described(objective),
                "data": data_facts(train=(pairs, tokens), eval=held_out),
            },
        )

    def fit(self) -> dict[str, float]:
        """Train, then evaluate; warns if the model is near chance on held-out pairs."""
        metrics = super().fit()
        accuracy = metrics.get("eval_rewards/accuracies", 1.0)
        if accuracy < _CHANCE:
            warnings.warn(
                f"the reward model is right on {accuracy:.1%} of held-out pairs, near chance; what "
                "is optimised against it would chase noise.",
                DataQualityWarning,
                stacklevel=2,
            )
        return metrics

    def evaluate(self, pairs: Preferences | None = None) -> dict[str, float]:
        """Metrics on held-out pairs, per example: overall, by group, worst group."""
        if pairs is None:
            return self._evaluated(None)
        require_columns(self.objective, pairs, reference=False)
        new = [name for name in group_names(pairs) if name not in self.host.groups]
        self.host.groups = (*self.host.groups, *new)
        tokens = tokenised(pairs, self.tokenizer, self.config)
        return self._evaluated(pair_rows(pairs, tokens, self.host.groups))

    def scores(self, pairs: Preferences) -> ScoredPairs:
        """Rewards of both responses of any pairs; ``kind`` is ``"reward"``."""
        tokens = tokenised(pairs, self.tokenizer, self.config)

        def reward(batch: TokenBatch) -> tuple[torch.Tensor]:
            return (self.model(batch)[..., 0].float(),)

        with self.host.accelerator.autocast():
            (rewards,) = in_batches(reward, tokens, self.config)
        return scored_pairs(pairs, tokens, rewards.astype(np.float64), kind="reward")

    def _before_training(self) -> None:
        return

    def _save_model(self, part: Path, adapter_only: bool) -> None:
        self.model.save(part)


def _ready(model: RewardModel) -> RewardModel:
    """The model with its head where its body is, and the body's switch for checkpointing."""
    model.head.to(next(model.body.parameters()).device)
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        if hasattr(model.body, name):
            setattr(model, name, getattr(model.body, name))
    return model
