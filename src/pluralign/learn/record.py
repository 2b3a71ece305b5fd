"""What a run leaves behind besides the model: ``metrics.jsonl``, and plain values."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, final

import numpy as np
from transformers import ProgressCallback, TrainerCallback

from ..errors import DataQualityWarning
from ..files import write_text


def described(thing: Any) -> dict[str, Any] | None:
    """Name and fields of an objective or another dataclass; ``None`` stays."""
    if thing is None:
        return None
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    values = {field.name: getattr(thing, field.name) for field in fields}
    return {"name": type(thing).__name__, "repr": repr(thing), "fields": plain(values)}


def plain(value: Any) -> Any:
    """A value as JSON can hold it; numbers that are not finite become ``None``."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(cast(Any, value).tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(v) for v in cast("Sequence[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


@final
class MetricsFile(TrainerCallback):
    """Appends each log row to ``metrics.jsonl``; a resumed run drops rows it will redo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the rows up to the step that training starts from."""
        if not state.is_world_process_zero:
            return
        rows = self._rows() if state.global_step or self._started else []
        kept = [row for row in rows if row["step"] <= state.global_step]
        self._start("".join(json.dumps(row) + "\n" for row in kept))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append one row."""
        if not state.is_world_process_zero:
            return
        if not self._started:
            self._start("")
        row = {"step": state.global_step, **(logs or {})}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(row)) + "\n")

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _start(self, text: str) -> None:
        write_text(self.path, text)
        self._started = True


@final
class ChosenDropAlarm(TrainerCallback):
    """Warns once when chosen responses become much less likely than under the reference.

    Args:
        limit: nats a token, negative.
    """

    metric = "log_ratio/chosen_per_token"

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._raised = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Look at the latest value."""
        value = (logs or {}).get(self.metric)
        if value is None or value >= self.limit or self._raised:
            return
        self._raised = True
        warnings.warn(
            f"at step {state.global_step} the chosen responses have lost {-value:.2f} nats a token "
            f"against the reference (alarm at {-self.limit:.2f}). Both log-probabilities may fall "
            "while the margin grows, but this far the model may stop writing like its data: "
            "lower the learning rate, raise beta, or add a likelihood term (CPO's nll_weight).",
            DataQualityWarning,
            stacklevel=2,
        )


@final
class QuietProgress(ProgressCallback):
    """The host's progress bar with the loss beside it; log rows go to ``metrics.jsonl``."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the latest loss."""
        bar: Any = self.training_bar
        if bar is not None and logs and "loss" in logs:
            bar.set_postfix(loss=f"{logs['loss']:.4g}")
