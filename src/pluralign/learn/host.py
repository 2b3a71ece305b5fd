"""The host: a thin ``transformers.Trainer`` that trains on unreduced terms.

Checkpoints, resume, callbacks, trackers, progress bars and distribution are the host
framework's own. Ours are three things: the loss of an optimiser step is one exact mean
over all its examples, however they are split into batches; metrics are collected per
example; groups are reported beside the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ..errors import IncompatibleError
from ..objectives import Terms
from .batching import EpochClock, FixedBatches, train_batches
from .config import TrainingConfig
from .record import QuietProgress
from .rows import NO_GROUP, TokenRows, collate
from .scoring import eval_batches

Step: TypeAlias = Callable[[nn.Module, Mapping[str, Tensor]], Terms]
"""From a model and a collated batch to the loss and the metrics of each example."""

BY_GROUP = ("ranking_accuracy", "rewards/accuracies", "rewards/margins")
"""Metrics that are also reported by group."""

WORST = ("ranking_accuracy", "rewards/accuracies")
"""Of these the lowest group value is reported too."""


@final
class Host(Trainer):
    """Trains a model on the terms of a step function.

    The loss of an optimiser step is ``sum(weight * loss) / sum(size)`` over all examples
    of all its micro-batches and processes.

    Args:
        model: the model, moved to the device of ``args``.
        args: the host's settings.
        step: unreduced loss and metrics of a batch.
        train_rows: examples to train on.
        eval_rows: examples to evaluate on.
        groups: names of the groups by number.
        config: says how batches are made; the host's own way if not given.
        tokenizer: saved with checkpoints.
        callbacks: callbacks of transformers.

    Raises:
        IncompatibleError: under ``nn.DataParallel``, which splits batches blindly.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        step: Step,
        *,
        train_rows: TokenRows,
        eval_rows: TokenRows | None = None,
        groups: Sequence[str] = (),
        config: TrainingConfig | None = None,
        tokenizer: Any = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        if args.n_gpu > 1:
            raise IncompatibleError(
                f"{args.n_gpu} devices in one process would use nn.DataParallel; start one "
                "process a device (accelerate launch) or set CUDA_VISIBLE_DEVICES."
            )
        shape = getattr(model, "config", None)
        use_cache = getattr(shape, "use_cache", None)
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=train_rows,
            eval_dataset=eval_rows,
            processing_class=tokenizer,
            compute_metrics=self._evaluated,
            callbacks=list(callbacks),
        )
        if shape is not None:  # the host switches it off for good, and a saved model keeps it
            shape.use_cache = use_cache
        self.remove_callback(PrinterCallback)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(QuietProgress())
        self.groups = tuple(groups)
        self.settings = config or TrainingConfig()
        self._batches = train_batches(train_rows, self.groups, self.settings)
        if self._batches is not None:
            self.add_callback(EpochClock(self._batches))
        budget = self.settings.per_device_train_batch_tokens
        budget = budget or self.settings.per_device_eval_batch_tokens
        if budget and self.accelerator.num_processes > 1:
            raise IncompatibleError(
                "budgets of tokens (per_device_..._batch_tokens) work in one process; with "
                f"{self.accelerator.num_processes} set train_sampling_strategy='group_by_length'."
            )
        self.step = step
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the whole optimiser step
        self.model_accepts_loss_kwargs = True  # the same for transformers before 5.19
        self._seen: list[NDArray[np.float64]] = []  # rows of training metrics since the last log
        self._names: list[str] = []

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches that the settings ask for, or the host's own."""
        if self._batches is None:
            return super().get_train_dataloader()
        return self._loader(self.train_dataset, self._batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Rows of similar length together; metrics are of examples, so order is free."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        batches = eval_batches(rows.sizes(), self.settings)
        size = None if self.settings.per_device_eval_batch_tokens else max(map(len, batches))
        return self._loader(rows, FixedBatches(batches, size))

    def _loader(self, rows: Any, batches: Sampler[list[int]]) -> DataLoader[Any]:
        pinned = self.args.dataloader_pin_memory
        loader: DataLoader[Any] = DataLoader(
            rows, batch_sampler=batches, collate_fn=collate, pin_memory=pinned
        )
        return self.accelerator.prepare(loader)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of an optimiser step and the sum of all their sizes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        total = sum((batch["size"].sum() for batch in batches), torch.zeros(())).to(device)
        return batches, cast(Tensor, self.accelerator.reduce(total, reduction="sum"))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This micro-batch's part of the mean loss of the optimiser step."""
        terms = self._terms(model, inputs)
        table = self._table(terms, inputs)
        if model.training:
            self._seen.append(table.cpu().numpy())
        total = inputs["size"].sum() if num_items_in_batch is None else num_items_in_batch
        loss = (inputs["weight"] * terms.loss).sum() / total
        # Data-parallel processes average their gradients; the exact mean is over all.
        loss = loss * self.accelerator.num_processes
        return (loss, table) if return_outputs else loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """No loss of the batch, but the values of each example and its number."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            table = self._table(self._terms(model, inputs), inputs)
        return None, table, inputs["index"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the training metrics of all examples since the last training log."""
        if "loss" in logs and self._seen:
            seen = self._gathered(np.concatenate(self._seen))
            metrics = self._summary(seen)
            metrics.pop("loss")  # the host's own value is the same mean
            logs.update(metrics)
            self._seen = []
        super().log(logs, start_time)

    def _terms(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Terms:
        with self.accelerator.autocast():
            return self.step(model, inputs)

    def _table(self, terms: Terms, inputs: Mapping[str, Tensor]) -> Tensor:
        """Float64 ``(B, 3 + metrics)``: group, weighted loss, size and the metrics."""
        self._names = list(terms.metrics)
        loss = inputs["weight"] * terms.loss.detach()
        columns = [inputs["group"], loss, inputs["size"], *terms.metrics.values()]
        return torch.stack([c.to(loss.device, torch.float64) for c in columns], dim=1)

    def _evaluated(self, prediction: Any) -> dict[str, float]:
        _, first = np.unique(prediction.label_ids, return_index=True)  # padded batches repeat rows
        return self._summary(prediction.predictions[first])

    def _gathered(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.accelerator.num_processes == 1:
            return table
        from accelerate.utils import gather_object

        return np.concatenate(gather_object([table]))

    def _summary(self, table: NDArray[np.float64]) -> dict[str, float]:
        group = table[:, 0].astype(np.int64)
        metrics = dict(zip(self._names, table[:, 3:].T, strict=True))
        loss = float(table[:, 1].sum() / table[:, 2].sum())
        return {"loss": loss, **summary(metrics, group, self.groups)}


def summary(
    metrics: Mapping[str, NDArray[np.float64]], group: NDArray[np.int64], groups: Sequence[str]
) -> dict[str, float]:
    """Means over examples, by group for some, and the lowest group value.

    Args:
        metrics: values ``(N,)`` by metric name.
        group: ``(N,)`` numbers into ``groups``, or ``NO_GROUP``.
        groups: names; a group without examples is left out.

    Example:
        >>> accuracy = {"ranking_accuracy": np.array([1.0, 0.0, 1.0])}
        >>> found = summary(accuracy, np.array([0, 1, 0]), ["north", "south"])
        >>> found["group/north/ranking_accuracy"], found["worst_group/ranking_accuracy"]
        (1.0, 0.0)
    """
    found = {name: float(values.mean()) for name, values in metrics.items()}
    present = [(i, groups[i]) for i in np.unique(group) if i != NO_GROUP]
    for metric in BY_GROUP:
        if metric not in metrics or not present:
            continue
        means = {name: float(metrics[metric][group == i].mean()) for i, name in present}
        found.update({f"group/{name}/{metric}": value for name, value in means.items()})
        if metric in WORST:
            found[f"worst_group/{metric}"] = min(means.values())
    return found


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate of a model to 0.

    Policy and reference are compared on the same pair; noise in one of them would be
    taken for a difference.
    """
    for module in model.modules():
        dropout = type(module).__name__.endswith("Dropout")
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (dropout and name == "p")):
                setattr(module, name, 0.0)
