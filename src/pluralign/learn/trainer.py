"""What the trainers of language models share: a host, a record, fit, evaluate and save."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from transformers import TrainerCallback, TrainingArguments

from ..errors import IncompatibleError, ParameterError
from ..files import replacing, write_json
from ..provenance import provenance
from .adapters import base_weights, with_adapter
from .config import TrainingConfig, training_arguments
from .host import Host, Step, disable_dropout
from .memory import MemoryEstimate, estimate_memory
from .record import ChosenDropAlarm, MetricsFile, plain
from .rows import TokenRows


class LanguageTrainer(ABC):
    """A run: a model, rows to train on, and a directory that records it.

    A subclass tokenises its data, prepares its model with :meth:`prepared`, and calls
    this constructor with the step that gives the terms of a batch.

    Args:
        model: the prepared model.
        step: loss and metrics of each example of a batch.
        train_rows: examples to train on.
        eval_rows: held-out examples.
        groups: names of the groups by number.
        tokenizer: saved beside the model.
        config: settings of the run.
        callbacks: callbacks of transformers.
        facts: what the subclass adds to ``run.json``.
    """

    responses: ClassVar[int]
    """Responses a prompt."""

    def __init__(
        self,
        model: Any,
        step: Step,
        train_rows: TokenRows,
        eval_rows: TokenRows | None,
        *,
        groups: Sequence[str] = (),
        tokenizer: Any,
        config: TrainingConfig,
        callbacks: Sequence[TrainerCallback] = (),
        facts: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.output_dir = Path(config.output_dir)
        self.facts = dict(facts)
        alarm = (
            []
            if config.chosen_ratio_alarm is None
            else [ChosenDropAlarm(config.chosen_ratio_alarm)]
        )
        self.host = Host(
            model,
            training_arguments(config, evaluates=eval_rows is not None),
            step,
            train_rows=train_rows,
            eval_rows=eval_rows,
            groups=groups,
            tokenizer=tokenizer,
            config=config,
            callbacks=[MetricsFile(self.output_dir / "metrics.jsonl"), *alarm, *callbacks],
        )

    @staticmethod
    def prepared(
        model: Any, config: TrainingConfig, rows: TokenRows, peft_config: Any = None
    ) -> Any:
        """The model as it will be trained: adapted, without dropout, on its device.

        Raises:
            IncompatibleError: if token ids or lengths are beyond the model.
        """
        check_fit(model, rows)
        if peft_config is not None:
            model = with_adapter(model, peft_config, config.seed)
        disable_dropout(model)
        arguments: TrainingArguments = training_arguments(config)
        return model.to(arguments.device)

    def fit(self) -> dict[str, float]:
        """Train, then evaluate if there is held-out data.

        Returns:
            The host's summary (``train_loss``, ``train_runtime`` ...) and the metrics of
            the evaluation.
        """
        memory = self.memory()
        first = self.host.is_world_process_zero()
        if first and not self.config.disable_tqdm:
            print(memory, file=sys.stderr)
        self._before_training()
        origin = provenance(seed=self.config.seed)
        record = {
            "trainer": type(self).__name__,
            "config": self.config.as_dict(),
            "memory": memory.as_dict(),
            "groups": list(self.host.groups),
            **self.facts,
            **origin,
        }
        if first:
            write_json(self.output_dir / "run.json", plain(record))
        output = self.host.train(resume_from_checkpoint=self.config.resume_from_checkpoint)
        metrics: dict[str, float] = dict(output.metrics)
        if self.host.eval_dataset is not None:
            metrics |= self._evaluated(None)
        return metrics

    def memory(self) -> MemoryEstimate:
        """Estimate of the memory that a training step needs."""
        model = getattr(self.model, "body", self.model)  # a reward model wraps a host's
        return estimate_memory(
            model, self.config, responses=self.responses, longest=self.facts["data"]["longest"]
        )

    def save(self, path: str | Path, *, adapter_only: bool = False) -> Path:
        """Write model (safetensors), tokenizer and settings, whole or not at all.

        A model with an adapter is written as the adapter, with the weights below it in
        ``base/``: the directory can be loaded without the model it came from.

        Args:
            path: directory; one that exists is replaced.
            adapter_only: leave ``base/`` out; loading then needs the same base model.
        """
        if not self.host.is_world_process_zero():
            return Path(path)
        with replacing(path) as part:
            part.mkdir()
            self._save_model(part, adapter_only)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(part)
            settings = {"trainer": type(self).__name__, "config": self.config.as_dict()}
            settings |= {k: self.facts[k] for k in ("objective",) if k in self.facts}
            write_json(part / "pluralign.json", plain(settings))
        return Path(path)

    def _save_model(self, part: Path, adapter_only: bool) -> None:
        if not hasattr(self.model, "peft_config"):
            self.model.save_pretrained(part)
            return
        # Embeddings are the base's: peft would look for that on the hub to see them resized.
        self.model.save_pretrained(part, save_embedding_layers=False)
        if not adapter_only:
            core = self.model.get_base_model()
            core.save_pretrained(part / "base", state_dict=base_weights(self.model))

    def _evaluated(self, rows: TokenRows | None) -> dict[str, float]:
        if rows is None and self.host.eval_dataset is None:
            raise ParameterError(
                f"{type(self).__name__} has no held-out data; pass some to evaluate()."
            )
        return self.host.evaluate(rows)  # pyright: ignore[reportArgumentType]

    @abstractmethod
    def _before_training(self) -> None:
        """What must be computed with the initial weights."""


def check_fit(model: Any, rows: TokenRows) -> None:
    """Refuse rows with token ids or lengths that the model cannot take.

    Raises:
        IncompatibleError: naming the limit.
    """
    config = model.config.get_text_config()
    largest = max(int(part.max()) for texts in rows.texts for part in texts if len(part))
    if largest >= config.vocab_size:
        raise IncompatibleError(
            f"token id {largest} is beyond the model's vocabulary of {config.vocab_size}; "
            "use the model's own tokenizer, or resize its embeddings."
        )
    positions = getattr(config, "max_position_embeddings", None)
    longest = max(len(texts[0]) + max(map(len, texts[1:])) for texts in rows.texts)
    if positions is not None and longest > positions:
        raise IncompatibleError(
            f"a row has {longest} tokens but the model has {positions} positions; "
            f"set max_length <= {positions} and a truncation."
        )


def data_facts(**sets: tuple[Any, Any] | None) -> dict[str, Any]:
    """What ``run.json`` says of the data: for each set (source, tokens) its size and hashes."""
    facts: dict[str, Any] = {}
    longest: list[int] = []
    for name, item in sets.items():
        if item is None:
            continue
        source, tokens = item
        longest.append(int(tokens.report["longest"]))
        facts[name] = {
            "n": len(tokens),
            "source": getattr(source, "source", name),
            "fingerprint": source.fingerprint() if hasattr(source, "fingerprint") else None,
            "tokens": tokens.fingerprint(),
            "tokenisation": dict(tokens.report),
            "groups": source.group_sizes() if hasattr(source, "group_sizes") else {},
        }
    return {"longest": max(longest), **facts}


def all_rows(*sets: TokenRows | None) -> TokenRows:
    """The texts of several sets, to check them at once."""
    return TokenRows([texts for rows in sets if rows is not None for texts in rows.texts])
