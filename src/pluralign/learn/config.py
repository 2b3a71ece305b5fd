"""``TrainingConfig``: how a run is trained, in the names that the host framework uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

from ..rules import AnyOf, Kind, OneOf, Within, check
from .splitting import Truncation

if TYPE_CHECKING:
    from transformers import TrainingArguments

_POSITIVE = Within(1, integer=True)
_COUNT = Within(0, integer=True)
_SAME_NAME = (
    *("learning_rate", "optim", "weight_decay", "adam_beta1", "adam_beta2", "max_grad_norm"),
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("num_train_epochs", "max_steps", "seed", "logging_steps", "save_total_limit"),
    *("report_to", "disable_tqdm"),
)
_BY_LENGTH = "group_by_length"
_SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")


@final
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training run; leaf names equal those of transformers and TRL.

    Use it with every trainer of ``pluralign.learn``. Differences in defaults from TRL:
    gradient checkpointing is off, bf16 is used only where the device has it, and the
    learning rate is 5e-7 (full fine-tuning of a large model). Take 1e-5 to 1e-4 for
    adapters and up to 1e-3 for small models trained from scratch.

    Args:
        output_dir: directory for ``run.json``, ``metrics.jsonl``, checkpoints.
        learning_rate: highest learning rate, > 0.
        lr_end: learning rate at the end of a linear schedule, >= 0.
        lr_scheduler_type: shape of the schedule.
        warmup_ratio: share of the steps with rising rate, [0, 1).
        per_device_train_batch_size: examples in a forward pass, >= 1.
        per_device_eval_batch_size: likewise in evaluation and scoring, where examples of
            similar length come together.
        per_device_train_batch_tokens: tokens of a forward pass (a prompt counted once and
            its responses), instead of a number of examples; batches are then made of
            examples of similar length, once a run, and come in another order each epoch.
        per_device_eval_batch_tokens: likewise in evaluation and scoring.
        gradient_accumulation_steps: forward passes in an optimiser step, >= 1. Exact:
            4 passes of 2 pairs give the gradient of 1 pass of 8.
        num_train_epochs: passes over the data, > 0.
        max_steps: optimiser steps; -1 lets the epochs decide.
        max_length: longest prompt plus response in tokens.
        truncation: what to do with longer ones: ``"error"``, ``"drop"`` the pair, or
            ``"left_prompt"`` cuts the oldest prompt tokens.
        max_boundary_share: share in [0, 1] of pairs whose prompt may tokenise otherwise
            alone than together with a response.
        weight_decay: of AdamW, >= 0.
        adam_beta1: of AdamW, [0, 1).
        adam_beta2: of AdamW, [0, 1).
        max_grad_norm: gradient norm to clip at; 0 does not clip.
        optim: name of an optimiser of transformers.
        seed: of data order and initialisation.
        train_sampling_strategy: ``"random"`` or ``"sequential"`` order of examples, or
            ``"group_by_length"``: batches of similar length in random order.
        group_sampling: how often pairs of a group are drawn in an epoch of as many draws
            as there are pairs: ``"natural"`` (each pair once), ``"balanced"`` (groups
            equally often), or a weight by name of group, 1 being as in the data.
        logging_steps: optimiser steps between log rows.
        save_steps: optimiser steps between checkpoints; 0 saves none.
        save_total_limit: checkpoints to keep; ``None`` keeps all.
        eval_steps: optimiser steps between evaluations; 0 evaluates at the end only.
        report_to: trackers of transformers (``"tensorboard"``, ``"trackio"``, ``"wandb"``
            ...); ``metrics.jsonl`` is always written.
        bf16: mixed precision; ``"auto"`` uses it on devices that have it.
        gradient_checkpointing: recompute activations to save memory.
        resume_from_checkpoint: a checkpoint directory, ``True`` for the last one of
            ``output_dir``, or ``None``.
        chosen_ratio_alarm: warn once when the mean log-ratio of chosen responses to the
            reference falls below this many nats a token; ``None`` never warns.
        disable_tqdm: no progress bars.

    Raises:
        ParameterError: listing every field that breaks its rule.

    Example:
        >>> TrainingConfig(learning_rate=1e-4, gradient_accumulation_steps=4).seed
        0
    """

    output_dir: Annotated[str, Kind(str)] = "runs/latest"
    learning_rate: Annotated[float, Within(0.0, closed="neither")] = 5e-7
    lr_end: Annotated[float, Within(0.0)] = 0.0
    lr_scheduler_type: Annotated[str, OneOf(*_SCHEDULES)] = "linear"
    warmup_ratio: Annotated[float, Within(0.0, 1.0, closed="left")] = 0.1
    per_device_train_batch_size: Annotated[int, _POSITIVE] = 16
    per_device_eval_batch_size: Annotated[int, _POSITIVE] = 16
    per_device_train_batch_tokens: Annotated[int | None, AnyOf(None, _POSITIVE)] = None
    per_device_eval_batch_tokens: Annotated[int | None, AnyOf(None, _POSITIVE)] = None
    gradient_accumulation_steps: Annotated[int, _POSITIVE] = 1
    num_train_epochs: Annotated[float, Within(0.0, closed="neither")] = 1.0
    max_steps: Annotated[int, Within(-1, integer=True)] = -1
    max_length: Annotated[int, Within(2, integer=True)] = 1024
    truncation: Annotated[Truncation, OneOf("error", "drop", "left_prompt")] = "error"
    max_boundary_share: Annotated[float, Within(0.0, 1.0)] = 0.01
    weight_decay: Annotated[float, Within(0.0)] = 0.0
    adam_beta1: Annotated[float, Within(0.0, 1.0, closed="left")] = 0.9
    adam_beta2: Annotated[float, Within(0.0, 1.0, closed="left")] = 0.999
    max_grad_norm: Annotated[float, Within(0.0)] = 1.0
    optim: Annotated[str, Kind(str)] = "adamw_torch_fused"
    seed: Annotated[int, _COUNT] = 0
    train_sampling_strategy: Annotated[str, OneOf("random", "sequential", _BY_LENGTH)] = "random"
    group_sampling: Annotated[
        str | Mapping[str, float], AnyOf(OneOf("natural", "balanced"), Kind(dict))
    ] = "natural"
    logging_steps: Annotated[int, _POSITIVE] = 10
    save_steps: Annotated[int, _COUNT] = 0
    save_total_limit: Annotated[int | None, AnyOf(None, _POSITIVE)] = None
    eval_steps: Annotated[int, _COUNT] = 0
    report_to: Annotated[str, Kind(str)] = "none"
    bf16: Annotated[bool | Literal["auto"], AnyOf(Kind(bool), OneOf("auto"))] = "auto"
    gradient_checkpointing: Annotated[bool, Kind(bool)] = False
    resume_from_checkpoint: Annotated[
        str | bool | None, AnyOf(None, Kind(str), OneOf(True, False))
    ] = None
    chosen_ratio_alarm: Annotated[float | None, AnyOf(None, Within(high=0.0))] = -1.0
    disable_tqdm: Annotated[bool, Kind(bool)] = False

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def for_rewards(cls, **changes: Any) -> TrainingConfig:
        """Defaults of the reward-model card: 1e-5 down to 1e-6, 3 % warm-up, one epoch."""
        card: dict[str, Any] = {"learning_rate": 1e-5, "lr_end": 1e-6, "warmup_ratio": 0.03}
        return cls(**(card | changes))

    def conflicts(self) -> list[str]:
        """Combinations of fields that exclude each other, in words."""
        found: list[str] = []
        if self.lr_end and self.lr_scheduler_type != "linear":
            found.append(
                f"lr_end has no effect with lr_scheduler_type={self.lr_scheduler_type!r}; "
                "use 'linear' or leave lr_end at 0."
            )
        if self.lr_end >= self.learning_rate:
            found.append(
                f"lr_end must be below learning_rate={self.learning_rate}; got {self.lr_end}."
            )
        if self.warmup_ratio and self.lr_scheduler_type == "constant":
            found.append(
                "warmup_ratio has no effect with lr_scheduler_type='constant'; "
                "use 'constant_with_warmup' or set warmup_ratio to 0."
            )
        if self.per_device_train_batch_tokens and self.train_sampling_strategy == "sequential":
            found.append(
                "per_device_train_batch_tokens makes batches of examples of similar length, not "
                "of neighbours; leave train_sampling_strategy at 'random'."
            )
        if not isinstance(self.group_sampling, str):
            bad = {k: v for k, v in self.group_sampling.items() if not _is_weight(v)}
            if bad:
                found.append(f"group_sampling needs finite weights >= 0; got {bad}.")
        if self.max_steps == 0:
            found.append("max_steps=0 trains nothing; use -1 to let num_train_epochs decide.")
        return found

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, for ``run.json``."""
        return dataclasses.asdict(self)


def _is_weight(value: object) -> bool:
    return Within(0.0).admits(value)


def training_arguments(config: TrainingConfig, *, evaluates: bool = False) -> TrainingArguments:
    """The host's ``TrainingArguments`` for a run.

    Args:
        config: the run.
        evaluates: whether there is a data set to evaluate on at every ``eval_steps``.
    """
    import torch
    from transformers import TrainingArguments

    values: dict[str, Any] = {name: getattr(config, name) for name in _SAME_NAME}
    values.update(_schedule(config), output_dir=str(Path(config.output_dir)))
    values.update(save_strategy="steps" if config.save_steps else "no")
    values.update(eval_strategy="steps" if config.eval_steps and evaluates else "no")
    values.update(
        {f"{name}_steps": getattr(config, f"{name}_steps") or 1 for name in ("save", "eval")}
    )
    values["bf16"] = uses_bf16(config)
    values[_checkpointing_name()] = config.gradient_checkpointing
    if config.train_sampling_strategy == "sequential":
        values["train_sampling_strategy"] = config.train_sampling_strategy
    return TrainingArguments(
        **values,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is NaN must be seen
        remove_unused_columns=False,
        label_names=[],
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def uses_bf16(config: TrainingConfig) -> bool:
    """Whether the run computes in bf16: as asked, or where a GPU has it."""
    import torch

    if config.bf16 == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.bf16


def _schedule(config: TrainingConfig) -> dict[str, Any]:
    schedule: dict[str, Any] = {
        "lr_scheduler_type": config.lr_scheduler_type,
        "warmup_steps": config.warmup_ratio,  # transformers 5 reads a value below 1 as a share
    }
    if config.lr_end:
        schedule["lr_scheduler_type"] = "polynomial"
        schedule["lr_scheduler_kwargs"] = {"lr_end": config.lr_end, "power": 1.0}
    return schedule


def _checkpointing_name() -> str:
    """``activation_checkpointing`` from transformers 5.23 on, the old name before."""
    from transformers import TrainingArguments

    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    new = "activation_checkpointing"
    return new if new in names else "gradient_checkpointing"
