"""Models and tokenizers in directories, as trainers save them: whole, or refused by one message."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..datasets.hub import is_hub_name
from ..engines.packaged import load_packaged
from ..errors import DataError, IncompatibleError, ParameterError
from ..rules import shown
from .adapters import base_of, load_adapter

PACKAGED = "packaged:"
"""Stands before the name of a model that an installed package ships."""


def load_model(path: str | Path, *, dtype: torch.dtype | None = None) -> Any:
    """A causal language model that a trainer saved, or any in transformers' format.

    Nothing is downloaded and no code of the model's is run. Below an adapter may lie a
    directory or a packaged model.

    Args:
        path: directory of a model or of an adapter.
        dtype: type of the weights; their own if not given.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ParameterError: if there is no model at ``path``; says what is missing.
        DataError: if it cannot be read or lacks weights, naming the file.
        ImportError: if a package is not installed, with the command to run.
    """
    with _intact(Path(path)):
        return _saved(Path(path), dtype).eval()


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer beside a saved model.

    Raises:
        ParameterError: if there is none at ``path``.
        DataError: if it cannot be read.
    """
    from transformers import AutoTokenizer

    path = Path(path)
    if not (path / "tokenizer_config.json").is_file():
        raise ParameterError(
            f"no tokenizer at {path}: tokenizer_config.json is missing; name a saved tokenizer."
        )
    with _intact(path):
        return AutoTokenizer.from_pretrained(path)


def _saved(path: Path, dtype: torch.dtype | None) -> Any:
    """The model in a directory; what lies below an adapter may be a packaged model."""
    if not (path / "adapter_config.json").is_file():
        return _whole(path, dtype)
    if (path / "base").is_dir():
        return load_adapter(_whole(path / "base", dtype), path)
    base = base_of(path)
    if base.startswith(PACKAGED):
        return load_adapter(
            load_packaged(base.removeprefix(PACKAGED), dtype=dtype or torch.float32)[0], path
        )
    if not Path(base).is_dir():
        raise ParameterError(
            f"the adapter at {path} was saved without the model below it, which is not at {base}; "
            f"put it into {path / 'base'}."
        )
    return load_adapter(_whole(Path(base), dtype), path)


def _whole(path: Path, dtype: torch.dtype | None) -> Any:
    """A model all of whose weights are in its directory, and no code."""
    from transformers import AutoModelForCausalLM

    if not (path / "config.json").is_file():
        raise ParameterError(_absent(path))
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype or "auto",
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise DataError(
            f"lacks the weights {shown(missing)}; they would be left random. Take config.json and "
            "weights of one and the same model.",
            source=str(path),
        )
    return model


def _absent(path: Path) -> str:
    """Why there is no model at a path, and what may have been meant."""
    if is_hub_name(str(path)) and not path.parent.exists():
        return (
            f"no model at {path}: models are read from directories and never downloaded; "
            f"first: hf download {path} --local-dir {path.name}"
        )
    below = sorted(str(config.parent) for config in path.glob("models/*/*config.json"))
    hint = f"did you mean {below[0]}?" if below else "name a saved model."
    return f"no model at {path}: config.json is missing; {hint}"


@contextmanager
def _intact(path: Path) -> Generator[None]:
    """Whatever a damaged model makes the libraries raise becomes one message."""
    try:
        yield
    except (ParameterError, DataError, IncompatibleError, ImportError):
        raise
    except Exception as error:  # safetensors and tokenizers raise plain ones
        broken = _broken_weights(path)
        if broken is not None:
            file, detail = broken
            raise DataError(
                f"is no intact safetensors file ({detail}); copy or download it again.",
                source=str(file),
            ) from error
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise DataError(f"is no model that can be read ({detail}).", source=str(path)) from error


def _broken_weights(path: Path) -> tuple[Path, str] | None:
    """The first safetensors file that cannot be opened, and why."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(path.rglob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            return file, str(error)
    return None
