"""Score pairs with a model, without training anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Preferences, ScoredPairs
from ..engines import LogProbs
from ..scores import TokenBatch
from .batching import batches_by_size
from .config import TrainingConfig, uses_bf16
from .tokenise import TokenPairs, tokenise_pairs


def score_pairs(
    model: Any,
    pairs: Preferences,
    tokenizer: Any,
    *,
    config: TrainingConfig | None = None,
    reference: Any = None,
    beta: float | None = None,
    max_length: int | None = None,
) -> ScoredPairs:
    """Log-probabilities of both responses of each pair under a model.

    Use it to audit models that were not trained here. Pairs whose responses have the
    same tokens are left out, with a warning.

    Args:
        model: a transformers causal language model, where it should run.
        pairs: what to score.
        tokenizer: the model's tokenizer.
        config: batch size, length and truncation.
        reference: a model to take reference scores from.
        beta: scale that the model was tuned with, kept for the audit.
        max_length: longest prompt plus response in tokens, instead of the config's.

    Returns:
        The scored pairs in the order given.

    Raises:
        DataError: for pairs that cannot be tokenised or are too long.
        IncompatibleError: for a model or tokenizer that does not fit.
    """
    config = config or TrainingConfig()
    tokens = tokenised(pairs, tokenizer, config, max_length=max_length)
    sums, lengths = pair_sums(model, LogProbs(model), tokens, config)
    known = (
        None if reference is None else pair_sums(reference, LogProbs(reference), tokens, config)[0]
    )
    return scored_pairs(pairs, tokens, sums, lengths=lengths, reference=known, beta=beta)


def tokenised(
    pairs: Preferences, tokenizer: Any, config: TrainingConfig, *, max_length: int | None = None
) -> TokenPairs:
    """The pairs as token ids, by the rules of a run."""
    return tokenise_pairs(
        pairs,
        tokenizer,
        max_length=config.max_length if max_length is None else max_length,
        max_boundary_share=config.max_boundary_share,
        truncation=config.truncation,
    )


def scored_pairs(
    pairs: Preferences,
    tokens: TokenPairs,
    sums: NDArray[np.float64],
    *,
    lengths: NDArray[np.int64] | None = None,
    reference: NDArray[np.float64] | None = None,
    **facts: Any,
) -> ScoredPairs:
    """Columns ``(N, 2)`` of chosen and rejected beside the pairs that they belong to."""
    return ScoredPairs(
        pairs=pairs.select(tokens.kept),
        chosen=sums[:, 0],
        rejected=sums[:, 1],
        ref_chosen=None if reference is None else reference[:, 0],
        ref_rejected=None if reference is None else reference[:, 1],
        chosen_length=None if lengths is None else lengths[:, 0],
        rejected_length=None if lengths is None else lengths[:, 1],
        **facts,
    )


def pair_sums(
    model: Any, engine: LogProbs, tokens: TokenPairs, config: TrainingConfig
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Summed log-probabilities and scored tokens ``(N, 2)``, without gradient."""

    def both(batch: TokenBatch) -> tuple[Tensor, Tensor]:
        # The precision of training, so that before and after differ by training alone.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=uses_bf16(config)):
            return engine(model, batch)

    sums, lengths = in_batches(both, tokens, config)
    return sums.astype(np.float64), lengths.astype(np.int64)


@torch.no_grad()
def in_batches(
    score: Callable[[TokenBatch], tuple[Tensor, ...]], tokens: TokenPairs, config: TrainingConfig
) -> list[NDArray[Any]]:
    """Apply a scoring function to the batches of an evaluation; results in row order."""
    batches = eval_batches(tokens.sizes(), config)
    parts = [score(tokens.batch(index)) for index in batches]
    back = np.argsort(np.concatenate(batches), kind="stable")
    return [torch.cat(column).cpu().numpy()[back] for column in zip(*parts, strict=True)]


def eval_batches(sizes: NDArray[np.int64], config: TrainingConfig) -> list[NDArray[np.int64]]:
    """The batches that a run evaluates and scores in.

    The same rows in the same batches give the same numbers to the last bit, so that a
    policy that equals its reference has rewards of exactly 0.
    """
    size = config.per_device_eval_batch_size
    return batches_by_size(sizes, size, config.per_device_eval_batch_tokens)
