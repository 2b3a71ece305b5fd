"""Models by name: a directory, a GGUF file, or what an installed package ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..engines.gguf import load_gguf, tokenizer_from_gguf
from ..engines.packaged import load_packaged, packaged_file
from ..errors import ParameterError
from ..learn.saved import PACKAGED, load_model, load_tokenizer

DTYPES = ("float32", "bfloat16", "float16")


def load_named(name: str | Path, *, dtype: str | None = None) -> tuple[Any, Any]:
    """A causal language model, on the GPU if there is one, and its tokenizer.

    Use it wherever a user names a model. Nothing is downloaded.

    Args:
        name: directory of a saved model (or adapter) with its tokenizer, path of a
            ``.gguf`` file, or ``packaged:NAME``.
        dtype: one of :data:`DTYPES`; as saved (float32 for a ``.gguf`` file) if not given.

    Raises:
        ParameterError: if there is no such model; says what is missing.
        DataError: if it cannot be read, naming the file.
        ImportError: if a package is not installed, with the command to run.

    Example:
        >>> load_named("no/where")
        Traceback (most recent call last):
        pluralign.errors.ParameterError: no model at no/where: models are read from \
directories and never downloaded; first: hf download no/where --local-dir where
    """
    text = str(name)
    given: torch.dtype | None = None if dtype is None else getattr(torch, dtype)
    unpacked = given or torch.float32
    if text.startswith(PACKAGED):
        model, tokenizer = load_packaged(text.removeprefix(PACKAGED), dtype=unpacked)
        model.name_or_path = text  # where an adapter will say that its base is
    elif text.endswith(".gguf"):
        model, tokenizer = load_gguf(_existing(text), dtype=unpacked)
    else:
        model, tokenizer = load_model(text, dtype=given), load_tokenizer(text)
    return on_device(model), tokenizer


def named_tokenizer(name: str | Path) -> Any:
    """The tokenizer of what :func:`load_named` takes; weights are not read.

    Raises:
        ParameterError: if there is no such tokenizer.
        DataError: if it cannot be read.
        ImportError: if a package is not installed.
    """
    text = str(name)
    if text.startswith(PACKAGED):
        return tokenizer_from_gguf(packaged_file(text.removeprefix(PACKAGED)))
    if text.endswith(".gguf"):
        return tokenizer_from_gguf(_existing(text))
    return load_tokenizer(text)


def on_device(model: Any) -> Any:
    """The model where it is scored and tuned: on the GPU if there is one."""
    return model.to("cuda") if torch.cuda.is_available() else model


def _existing(path: str) -> str:
    if not Path(path).is_file():
        raise ParameterError(f"no model at {path}: there is no such file.")
    return path
