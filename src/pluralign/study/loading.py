"""Models by name: a directory, a GGUF file, or what an installed package ships."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..datasets.hub import is_hub_name
from ..engines.gguf import load_gguf, tokenizer_from_gguf
from ..engines.packaged import load_packaged, packaged_file
from ..errors import DataError, IncompatibleError, ParameterError
from ..learn.adapters import base_of, load_adapter
from ..learn.scratch import load_tokenizer
from ..rules import shown

PACKAGED = "packaged:"
"""Stands before the name of a model that an installed package ships."""


def load_named(name: str | Path) -> tuple[Any, Any]:
    """A causal language model, on the GPU if there is one, and its tokenizer.

    Use it wherever a user names a model. Nothing is downloaded.

    Args:
        name: directory of a saved model (or adapter) with its tokenizer, path of a
            ``.gguf`` file, or ``packaged:NAME``.

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
    if text.startswith(PACKAGED):
        model, tokenizer = load_packaged(text.removeprefix(PACKAGED))
        model.name_or_path = text  # where an adapter will say that its base is
    elif text.endswith(".gguf"):
        model, tokenizer = load_gguf(_existing(text))
    else:
        with _intact(Path(text)):
            model, tokenizer = _saved(Path(text)).eval(), load_tokenizer(text)
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
    with _intact(Path(text)):
        return load_tokenizer(text)


def on_device(model: Any) -> Any:
    """The model where it is scored and tuned: on the GPU if there is one."""
    return model.to("cuda") if torch.cuda.is_available() else model


def _existing(path: str) -> str:
    if not Path(path).is_file():
        raise ParameterError(f"no model at {path}: there is no such file.")
    return path


def _saved(path: Path) -> Any:
    """The model in a directory; what lies below an adapter may be a packaged model."""
    if not (path / "adapter_config.json").is_file():
        return _whole(path)
    if (path / "base").is_dir():
        return load_adapter(_whole(path / "base"), path)
    base = base_of(path)
    if base.startswith(PACKAGED):
        return load_adapter(load_packaged(base.removeprefix(PACKAGED))[0], path)
    if not Path(base).is_dir():
        raise ParameterError(
            f"the adapter at {path} was saved without the model below it, which is not at {base}; "
            f"put it into {path / 'base'}."
        )
    return load_adapter(_whole(Path(base)), path)


def _whole(path: Path) -> Any:
    """A model all of whose weights are in its directory, and no code."""
    from transformers import AutoModelForCausalLM

    if not (path / "config.json").is_file():
        raise ParameterError(_absent(path))
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype="auto",
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
