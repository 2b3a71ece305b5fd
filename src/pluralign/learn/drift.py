"""How far training moves the weights, measured at log-spaced updates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from ..errors import IncompatibleError, ParameterError
from ..rules import Within, shown

_START, _LOG = "drift_start.safetensors", "drift.jsonl"


@final
class WeightDistance:
    """Euclidean distance of trainable parameters from where they were.

    ``d_t = ||w_t - w_0||`` over all trainable parameters together, and for each tensor. The
    start is kept in float32 on the CPU; with adapters that is the adapters only.

    Args:
        model: at its start, its parameters whole on this process.

    Raises:
        ParameterError: if nothing is trainable.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> measure = WeightDistance(model)
        >>> with torch.no_grad():
        ...     _ = model.weight.add_(torch.tensor([[3.0, 4.0]]))
        >>> total, by_tensor = measure(model)
        >>> round(total, 6), list(by_tensor)
        (5.0, ['weight'])
    """

    def __init__(self, model: nn.Module, start: Mapping[str, Tensor] | None = None) -> None:
        self.start = dict(start) if start is not None else _trainable(model)
        if not self.start:
            raise ParameterError("WeightDistance: the model has no trainable parameter.")

    def __call__(self, model: nn.Module) -> tuple[float, dict[str, float]]:
        """Distance over all parameters, and by tensor.

        Raises:
            IncompatibleError: if the model has other trainable parameters than at the start.
        """
        now = _trainable(model)
        if {n: t.shape for n, t in now.items()} != {n: t.shape for n, t in self.start.items()}:
            differing = sorted(set(now) ^ set(self.start))[:3]
            raise IncompatibleError(
                f"the trainable parameters are not those of the start; differing: {differing}."
            )
        by_tensor = {
            name: float(torch.linalg.vector_norm(value.double() - self.start[name]))
            for name, value in now.items()
        }
        return sum(d * d for d in by_tensor.values()) ** 0.5, by_tensor


@final
class DriftLog(TrainerCallback):
    """Writes the weight distance to ``drift.jsonl`` at log-spaced updates.

    Give it to any trainer as a callback, and read its rows with ``audit.fit_drift``. The
    start is written beside the log, so that a resumed training measures from the same place.

    Args:
        directory: where both files go.
        per_decade: measurements for each factor of ten in updates.

    Raises:
        ParameterError: for ``per_decade`` below 1.
        IncompatibleError: when a resumed training finds no start.
    """

    def __init__(self, directory: str | Path, per_decade: int = 10) -> None:
        if not Within(1, 1000, integer=True).admits(per_decade):
            raise ParameterError(
                f"DriftLog.per_decade must be an integer in [1, 1000]; got {shown(per_decade)}."
            )
        self.directory = Path(directory)
        self.per_decade = per_decade
        self.rows: list[dict[str, Any]] = []
        self._measure: WeightDistance | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Keep the start, or take up that of an interrupted training."""
        start, log = self.directory / _START, self.directory / _LOG
        if state.global_step == 0:
            self._measure = WeightDistance(model)
            if state.is_world_process_zero:
                self.directory.mkdir(parents=True, exist_ok=True)
                save_file(self._measure.start, str(start))
                log.write_text("", encoding="utf-8")
            return
        if not start.exists():
            raise IncompatibleError(
                f"{start} is missing, so a training resumed at step {state.global_step} cannot "
                "measure from its start; remove DriftLog or begin anew."
            )
        self._measure = WeightDistance(model, load_file(str(start)))
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        self.rows = [row for row in rows if row["step"] <= state.global_step]
        log.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Measure, if this update is one of the log-spaced ones."""
        if self._measure is None or not self._due(state.global_step):
            return
        total, by_tensor = self._measure(model)
        row = {"step": state.global_step, "distance": total, "by_tensor": by_tensor}
        self.rows.append(row)
        if state.is_world_process_zero:
            with (self.directory / _LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _due(self, step: int) -> bool:
        """Whether a power of ``10 ** (1 / per_decade)`` falls into (step - 1, step]."""
        if step == 1:
            return True
        ratio = 10 ** (1 / self.per_decade)
        power = ratio ** round(torch.tensor(float(step)).log10().item() * self.per_decade)
        return any(step - 1 < p <= step for p in (power / ratio, power, power * ratio))


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", torch.float32, copy=True)
        for name, value in model.named_parameters()
        if value.requires_grad
    }
