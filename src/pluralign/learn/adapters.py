"""Low-rank adapters through peft: put on, read, and taken off again for saving."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def lora_config(rank: int = 16) -> Any:
    """A LoRA configuration of peft for all linear layers but the head, scale 2.

    Args:
        rank: of the adapter, >= 1.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def with_adapter(model: Any, peft_config: Any, seed: int) -> Any:
    """The model with a new adapter, whose weights depend on the seed alone."""
    import torch
    from peft import get_peft_model

    with torch.random.fork_rng(), _calm():
        torch.manual_seed(seed)
        return get_peft_model(model, peft_config)


def load_adapter(base: Any, path: Path) -> Any:
    """The base model with a saved adapter, in evaluation mode."""
    from peft import PeftModel

    with _calm():
        return PeftModel.from_pretrained(base, str(path)).eval()


def base_of(path: Path) -> str:
    """Where a saved adapter says that its base model is."""
    settings = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    return str(settings["base_model_name_or_path"])


def base_weights(model: Any) -> dict[str, Any]:
    """Weights of the model below an adapter, under their own names."""
    prefix = f".{model.base_model.prefix}"
    found: dict[str, Any] = {}
    for name, tensor in model.get_base_model().state_dict().items():
        if prefix in name or ".modules_to_save." in name:
            continue
        found[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = tensor
    return found


@contextmanager
def _calm() -> Generator[None]:
    """Without the warning that peft 0.21 causes: transformers 5.23 renamed what it reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*_gradient_checkpointing.* is deprecated", FutureWarning
        )
        yield
