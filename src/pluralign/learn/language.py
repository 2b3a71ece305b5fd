"""``PreferenceTrainer``: tune a language model on pairs with any objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback

from ..data import Preferences, ScoredPairs
from ..engines import LogProbs, ReferenceCache
from ..engines.reference import token_hash
from ..errors import DataError, IncompatibleError
from ..objectives import Objective
from ..scores import TokenBatch
from .config import TrainingConfig
from .protected import Protected
from .record import described
from .rows import TokenRows, group_names, label_columns, pair_rows
from .scoring import eval_batches, pair_sums, scored_pairs, tokenised
from .steps import REFERENCE_COLUMNS, PairStep
from .tokenise import TokenPairs
from .trainer import LanguageTrainer, all_rows, data_facts

_ALWAYS = frozenset({"chosen", "rejected", "chosen_length", "rejected_length"})


@final
class PreferenceTrainer(LanguageTrainer):
    """Tunes a causal language model on preference pairs with any objective.

    Use it with every objective of log-probabilities. What the objective needs is computed,
    nothing more: the reference scores of all pairs once, with the initial weights of this
    run and before the first step; for a reference-free objective none. One model is held.

    ``loss of a step = sum_i w_i loss_i / n`` over all n pairs of the step, weights ``w``
    scaled to mean 1.

    Args:
        model: a transformers causal language model; trained in place.
        objective: what to minimise.
        pairs: what to train on.
        tokenizer: the model's tokenizer.
        config: settings of the run.
        eval_pairs: held-out pairs; their reference scores are computed before training,
            so that they can be scored against the reference afterwards.
        reference: ``"initial"``, a ``ReferenceCache`` of the training rows followed by the
            evaluation rows, or ``None``.
        peft_config: adapter configuration of peft; then only the adapter is trained.
        callbacks: callbacks of transformers.
        sensitive: columns of the pairs that a ``Regularised`` objective penalises.

    Raises:
        IncompatibleError: before anything is computed, if data or model cannot meet the
            objective's needs.
        DataError: if pairs cannot be tokenised.

    Example:
        >>> import tempfile
        >>> from pluralign import DPO, Preferences
        >>> from pluralign.learn import TrainingConfig, tiny_model, train_tokenizer
        >>> pairs = Preferences.from_records(
        ...     {"prompt": f"{i} + 1 =", "chosen": f" {i + 1}", "rejected": " none"}
        ...     for i in range(8)
        ... )
        >>> tokenizer = train_tokenizer([*pairs.prompt, *pairs.chosen], vocab_size=300)
        >>> config = TrainingConfig(
        ...     output_dir=tempfile.mkdtemp(), learning_rate=1e-2, max_steps=3, disable_tqdm=True
        ... )
        >>> model = tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2)
        >>> trainer = PreferenceTrainer(model, DPO(), pairs, tokenizer=tokenizer, config=config)
        >>> trainer.fit()["train_loss"] < 0.6931
        True
    """

    responses: ClassVar[int] = 2

    def __init__(
        self,
        model: Any,
        objective: Objective,
        pairs: Preferences,
        *,
        tokenizer: Any,
        config: TrainingConfig | None = None,
        eval_pairs: Preferences | None = None,
        reference: Literal["initial"] | ReferenceCache | None = "initial",
        peft_config: Any = None,
        callbacks: Sequence[TrainerCallback] = (),
        sensitive: Sequence[str] = (),
    ) -> None:
        config = config or TrainingConfig()
        self._protected = Protected(sensitive, objective, pairs)
        for data in (pairs, eval_pairs):
            require_columns(objective, data, reference=reference is not None)
        groups = group_names(pairs, eval_pairs)
        tokens = tokenised(pairs, tokenizer, config)
        eval_tokens = None if eval_pairs is None else tokenised(eval_pairs, tokenizer, config)
        train_rows = self._rows(pairs, tokens, groups)
        eval_rows = None
        if eval_pairs is not None and eval_tokens is not None:
            eval_rows = self._rows(eval_pairs, eval_tokens, groups)
        model = self.prepared(model, config, all_rows(train_rows, eval_rows), peft_config)
        self.objective = objective
        self.engine = LogProbs(model)
        self.reads_reference = frozenset(REFERENCE_COLUMNS) <= objective.needs
        self.trained = False
        self._adapter_starts_at_zero = getattr(peft_config, "init_lora_weights", None) is True
        self._cache = reference if isinstance(reference, ReferenceCache) else None
        self._own_reference = reference == "initial"
        self._known: dict[str, NDArray[np.float64]] = {}
        self._sets = [s for s in (tokens, eval_tokens) if s is not None]
        super().__init__(
            model,
            PairStep(objective, self.engine),
            train_rows,
            eval_rows,
            groups=groups,
            tokenizer=tokenizer,
            config=config,
            callbacks=callbacks,
            facts={
                "objective": described(objective),
                "engine": self.engine.describe(),
                "data": data_facts(
                    train=(pairs, tokens),
                    eval=None if eval_tokens is None else (eval_pairs, eval_tokens),
                ),
                "reference": "none" if not self.reads_reference else _name(reference),
            },
        )

    def evaluate(self, pairs: Preferences | None = None) -> dict[str, float]:
        """Metrics on held-out pairs, per example: overall, by group, worst group.

        Args:
            pairs: instead of the ``eval_pairs`` of the constructor.

        Raises:
            IncompatibleError: if the reference of these pairs can no longer be computed.
        """
        self._before_training()
        if pairs is None:
            return self._evaluated(None)
        require_columns(self.objective, pairs, reference=True)
        tokens = tokenised(pairs, self.tokenizer, self.config)
        new = [name for name in group_names(pairs) if name not in self.host.groups]
        self.host.groups = (*self.host.groups, *new)
        rows = self._rows(pairs, tokens, self.host.groups)
        reference = self._reference_of(tokens)
        if reference is None and self.reads_reference:
            raise IncompatibleError(
                "the reference scores of these pairs are unknown and the initial weights are "
                "gone; give the pairs as eval_pairs before training."
            )
        return self._evaluated(_with_reference(rows, reference))

    def scores(self, pairs: Preferences) -> ScoredPairs:
        """Scores of any pairs under the model as it is now.

        Reference scores are part of it if the objective reads them and they are known:
        for training and evaluation pairs, for any pairs before training, and for any pairs
        with a new LoRA adapter, which is switched off for them. For other pairs after full
        fine-tuning they are ``None``: the initial weights no longer exist.
        """
        self._before_training()
        tokens = tokenised(pairs, self.tokenizer, self.config)
        sums, lengths = self._sums(tokens)
        return scored_pairs(
            pairs,
            tokens,
            sums,
            lengths=lengths,
            reference=self._reference_of(tokens),
            beta=getattr(getattr(self.objective, "base", self.objective), "beta", None),
        )

    def fit(self) -> dict[str, float]:
        """Train, then evaluate if there are held-out pairs; see the class."""
        self._before_training()
        self.trained = True
        return super().fit()

    def reference_cache(self) -> ReferenceCache | None:
        """Reference scores of the training rows, then of the evaluation rows.

        Give them as ``reference`` to another run on the same pairs from the same weights.
        ``None`` for a reference-free objective.
        """
        self._before_training()
        return self._cache

    def _rows(self, pairs: Preferences, tokens: TokenPairs, groups: Sequence[str]) -> TokenRows:
        return self._protected.rows(pair_rows(pairs, tokens, groups), pairs, tokens)

    def _before_training(self) -> None:
        """Compute the reference scores of all known rows, once."""
        if not self.reads_reference or self._known:
            return
        cache = self._cache = self._cache or self._computed()
        self._check(cache)
        if self.host.is_world_process_zero():
            cache.save(self.output_dir / "reference")
        sums = cache.sums.double().numpy()
        start = 0
        for tokens in self._sets:
            part = sums[start : start + len(tokens)]
            self._known.update(zip(tokens.hashes(), part, strict=True))
            start += len(tokens)
        host = self.host
        host.train_dataset = _with_reference(host.train_dataset, self._reference_of(self._sets[0]))
        if host.eval_dataset is not None:
            host.eval_dataset = _with_reference(
                host.eval_dataset, self._reference_of(self._sets[1])
            )

    def _computed(self) -> ReferenceCache:
        with self.host.accelerator.autocast():
            return ReferenceCache.compute(
                self.model,
                *known_batches(self._sets, self.config),
                engine=self.engine,
                max_length=self.config.max_length,
                truncation=self.config.truncation,
                disable_adapter=self._adapter_starts_at_zero,
                progress=not self.config.disable_tqdm,
            )

    def _check(self, cache: ReferenceCache) -> None:
        rows = sum(map(len, self._sets))
        if cache.key.tokens != token_hash(*known_batches(self._sets, self.config)):
            raise DataError(
                f"the reference cache has {len(cache)} rows of other texts than the {rows} rows "
                "of training and evaluation; compute it for these pairs."
            )

    def _sums(self, tokens: TokenPairs) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        with self.host.accelerator.autocast():
            return pair_sums(self.model, self.engine, tokens, self.config)

    def _reference_of(self, tokens: TokenPairs) -> NDArray[np.float64] | None:
        """Reference sums ``(N, 2)``, if they are known or can still be computed."""
        if not self.reads_reference:
            return None
        hashes = tokens.hashes()
        if not all(name in self._known for name in hashes):
            if not self._own_reference or (self.trained and not self._adapter_starts_at_zero):
                return None
            self._known.update(zip(hashes, self._initial_sums(tokens), strict=True))
        return np.stack([self._known[name] for name in hashes])

    def _initial_sums(self, tokens: TokenPairs) -> NDArray[np.float64]:
        if not self._adapter_starts_at_zero:
            return self._sums(tokens)[0]
        with self.model.disable_adapter():
            return self._sums(tokens)[0]


def known_batches(
    sets: Sequence[TokenPairs], config: TrainingConfig
) -> tuple[list[TokenBatch], list[list[int]]]:
    """All rows of some sets, in the batches of an evaluation, and the numbers of their rows.

    Rows are numbered through: those of the second set follow those of the first.
    """
    batches: list[TokenBatch] = []
    rows: list[list[int]] = []
    start = 0
    for tokens in sets:
        for index in eval_batches(tokens.sizes(), config):
            batches.append(tokens.batch(index))
            rows.append((index + start).tolist())
        start += len(tokens)
    return batches, rows


def require_columns(objective: Objective, pairs: Preferences | None, *, reference: bool) -> None:
    """Refuse pairs without a column that the objective needs.

    Args:
        objective: declares its needs.
        pairs: the data, or ``None``, which is fine.
        reference: whether there are reference scores.

    Raises:
        IncompatibleError: naming objective, column and what to do.
    """
    if pairs is None:
        return
    offered = _ALWAYS | set(label_columns(pairs))
    if reference:
        offered |= set(REFERENCE_COLUMNS)
    missing = sorted(objective.needs - offered)
    if not missing:
        return
    owner = type(objective).__name__
    if set(missing) <= set(REFERENCE_COLUMNS):
        raise IncompatibleError(
            f"{owner} needs a reference; leave reference='initial', or choose an objective "
            "without one (SimPO, CPO)."
        )
    raise IncompatibleError(
        f"{owner} needs {missing}, which {pairs.source} does not have; add the column(s) to the "
        f"pairs (they have {sorted(label_columns(pairs))}) or change the objective's settings."
    )


def _with_reference(rows: Any, sums: NDArray[np.float64] | None) -> TokenRows:
    if sums is None:
        return rows
    columns = zip(REFERENCE_COLUMNS, sums.astype(np.float32).T, strict=True)
    return rows.with_columns(dict(columns))


def _name(reference: object) -> str:
    return "cache" if isinstance(reference, ReferenceCache) else str(reference)
