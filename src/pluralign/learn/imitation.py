"""``SFTTrainer``: supervised fine-tuning on texts, the step before preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias, final

import numpy as np
from transformers import TrainerCallback

from ..data import Preferences, ScoredPairs, Text
from ..engines import LogProbs
from .config import TrainingConfig
from .rows import TokenRows
from .scoring import pair_sums, scored_pairs, tokenised
from .steps import TextStep
from .tokenise import TokenTexts, tokenise_texts
from .trainer import LanguageTrainer, all_rows, data_facts

Examples: TypeAlias = Preferences | Sequence[str] | Sequence[tuple[Text, Text]]
"""Chosen responses of pairs, plain texts, or (prompt, response) examples."""


@final
class SFTTrainer(LanguageTrainer):
    """Fine-tunes a causal language model to imitate texts.

    Use it before preference tuning: pairs teach little to a model that does not know the
    language of its task. The loss is one mean over the tokens of the whole optimiser step.

    ``loss of a step = -sum over tokens of log pi(token | before) / number of tokens``

    Args:
        model: a transformers causal language model; trained in place.
        examples: texts, (prompt, response) pairs, or ``Preferences`` (the chosen ones).
        tokenizer: the model's tokenizer.
        config: settings of the run.
        eval_examples: held-out examples.
        loss_on: learn the response (``"completion"``) or every token but the first
            (``"all"``); plain texts are always learned whole.
        peft_config: adapter configuration of peft.
        callbacks: callbacks of transformers.

    Raises:
        DataError: if examples cannot be tokenised.
    """

    responses: ClassVar[int] = 1

    def __init__(
        self,
        model: Any,
        examples: Examples,
        *,
        tokenizer: Any,
        config: TrainingConfig | None = None,
        eval_examples: Examples | None = None,
        loss_on: Literal["completion", "all"] = "completion",
        peft_config: Any = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        config = config or TrainingConfig()
        self._loss_on: Literal["completion", "all"] = loss_on
        self.tokenizer = tokenizer
        self.config = config
        tokens = self._tokens(examples)
        eval_tokens = None if eval_examples is None else self._tokens(eval_examples)
        rows = text_rows(tokens)
        eval_rows = None if eval_tokens is None else text_rows(eval_tokens)
        model = self.prepared(model, config, all_rows(rows, eval_rows), peft_config)
        self.engine = LogProbs(model)
        held_out = None if eval_tokens is None else (eval_examples, eval_tokens)
        super().__init__(
            model,
            TextStep(self.engine),
            rows,
            eval_rows,
            tokenizer=tokenizer,
            config=config,
            callbacks=callbacks,
            facts={
                "loss_on": loss_on,
                "engine": self.engine.describe(),
                "data": data_facts(train=(examples, tokens), eval=held_out),
            },
        )

    def evaluate(self, examples: Examples | None = None) -> dict[str, float]:
        """Mean negative log-likelihood a token of held-out examples (``eval_loss``)."""
        return self._evaluated(None if examples is None else text_rows(self._tokens(examples)))

    def scores(self, pairs: Preferences) -> ScoredPairs:
        """Log-probabilities of both responses of pairs under the model as it is now."""
        tokens = tokenised(pairs, self.tokenizer, self.config)
        with self.host.accelerator.autocast():
            sums, lengths = pair_sums(self.model, self.engine, tokens, self.config)
        return scored_pairs(pairs, tokens, sums, lengths=lengths)

    def _before_training(self) -> None:
        return

    def _tokens(self, examples: Examples) -> TokenTexts:
        whole = not isinstance(examples, Preferences) and isinstance(examples[0], str)
        return tokenise_texts(
            as_examples(examples),
            self.tokenizer,
            max_length=self.config.max_length,
            max_boundary_share=self.config.max_boundary_share,
            truncation=self.config.truncation,
            loss_on="all" if whole else self._loss_on,
            source=getattr(examples, "source", "examples"),
        )


def as_examples(examples: Examples) -> list[tuple[Text, Text]]:
    """Every form of examples as (prompt, response)."""
    if isinstance(examples, Preferences):
        return list(zip(examples.prompt, examples.chosen, strict=True))
    return [("", e) if isinstance(e, str) else e for e in examples]


def text_rows(tokens: TokenTexts) -> TokenRows:
    """Rows that count by their number of learned tokens."""
    size = np.array([len(target) for target in tokens.target], dtype=np.float32)
    return TokenRows([tokens.rows(i) for i in range(len(tokens))], {"size": size})
