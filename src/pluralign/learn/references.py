"""``precompute``: reference scores as a phase of their own, before any run and for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data import Preferences
from ..engines import LogProbs, ReferenceCache, reference_key
from ..errors import DataError, IncompatibleError
from .config import TrainingConfig, uses_bf16
from .language import known_batches
from .rows import TokenRows
from .scoring import tokenised
from .trainer import check_fit


def precompute(
    model: Any,
    pairs: Preferences,
    tokenizer: Any,
    config: TrainingConfig | None = None,
    directory: str | Path | None = None,
    *,
    eval_pairs: Preferences | None = None,
    token_level: bool = False,
) -> ReferenceCache:
    """Reference scores of pairs, computed once and kept where every run finds them.

    Use it before several runs from the same weights on the same pairs, and give the result
    to each as ``reference``: then no run computes them. What lies in ``directory`` is read
    if its key is the same (weights, token ids, precision, length, truncation); otherwise it
    is computed and written. Give the model as it is before any tuning: a cache of another
    policy has another key and is refused where this one is wanted.

    Args:
        model: a transformers causal language model, where it should run.
        pairs: what will be trained on.
        tokenizer: the model's tokenizer.
        config: length, truncation, precision and batches of the runs.
        directory: for ``reference.json`` and shards of safetensors; ``None`` writes nothing.
        eval_pairs: held-out pairs of the runs.
        token_level: keep the log-probability of every token too.

    Returns:
        Scores of the training rows, then of the evaluation rows.

    Raises:
        DataError: for pairs that cannot be tokenised or are too long.
        IncompatibleError: for a model or tokenizer that does not fit.

    Example:
        >>> import tempfile
        >>> from pluralign.learn import tiny_model, train_tokenizer
        >>> pairs = Preferences.from_records([{"prompt": "a", "chosen": " b", "rejected": " c"}])
        >>> tokenizer = train_tokenizer(["a b c"], vocab_size=262)
        >>> model = tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2)
        >>> config = TrainingConfig(disable_tqdm=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = precompute(model, pairs, tokenizer, config, folder)
        ...     again = precompute(model, pairs, tokenizer, config, folder)
        >>> bool((first.sums == again.sums).all())
        True
    """
    config = config or TrainingConfig()
    sets = [tokenised(p, tokenizer, config) for p in (pairs, eval_pairs) if p is not None]
    check_fit(model, TokenRows([s.rows(i) for s in sets for i in range(len(s))]))
    batches, rows = known_batches(sets, config)
    engine = LogProbs(model)
    facts: dict[str, Any] = {"max_length": config.max_length, "truncation": config.truncation}
    with torch.autocast(model.device.type, torch.bfloat16, enabled=uses_bf16(config)):
        if directory is not None and Path(directory).exists():
            key = reference_key(model, batches, engine, rows=rows, **facts)
            try:
                found = ReferenceCache.load(directory, key)
            except (DataError, IncompatibleError):
                found = None  # nothing there, torn, or of something else: compute it
            if found is not None and (found.token_level or not token_level):
                return found
        cache = ReferenceCache.compute(
            model,
            batches,
            rows,
            engine=engine,
            token_level=token_level,
            progress=not config.disable_tqdm,
            **facts,
        )
    if directory is not None:
        cache.save(directory)
    return cache
