"""Scores of the frozen reference, computed once and kept under a key that guards them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from ..errors import DataError, IncompatibleError
from ..scores import TokenBatch
from .hosts import attention_of, core_of, precision_of
from .logprobs import ENGINE_VERSION, LogProbs, SequenceScores

_TENSORS, _KEY = "reference.safetensors", "reference.json"


@final
@dataclass(frozen=True, kw_only=True)
class ReferenceKey:
    """Everything that the numbers of a reference depend on.

    Attributes:
        tokens: SHA-256 of token ids and lengths, however they are batched.
        weights: SHA-256 of names and values of the weights, with the adapter's if active.
        adapter: ``"none"``, ``"disabled"`` or ``"active"``.
        dtype: dtype of the weights, and of autocast.
        attention: attention implementation.
        logits: head, scale and soft-cap.
        max_length: tokens a row was cut to; ``None`` if it was not cut.
        truncation: name of the way of cutting.
        engine_version: version of the arithmetic.
    """

    tokens: str
    weights: str
    adapter: str
    dtype: str
    attention: str
    logits: str
    max_length: int | None
    truncation: str
    engine_version: int = ENGINE_VERSION


def reference_key(
    model: nn.Module,
    batches: Iterable[TokenBatch],
    engine: LogProbs,
    *,
    max_length: int | None = None,
    truncation: str = "none",
    disable_adapter: bool = True,
) -> ReferenceKey:
    """The key of the reference that :meth:`ReferenceCache.compute` would compute.

    Args:
        model: the reference model, before any training.
        batches: all rows, in order.
        engine: what scores them.
        max_length: tokens that rows were cut to by the caller.
        truncation: how the caller cut them.
        disable_adapter: whether a PEFT model is its own reference without its adapter.
    """
    core = core_of(model)
    adapted = core is not model and hasattr(model, "disable_adapter")
    facts = engine.describe()
    return ReferenceKey(
        tokens=_hash_tokens(batches),
        weights=_hash_weights(core, _adapter_prefix(model) if disable_adapter else None),
        adapter=("disabled" if disable_adapter else "active") if adapted else "none",
        dtype=precision_of(core),
        attention=attention_of(core),
        logits="{head} scale={logit_scale} softcap={logit_softcap}".format(**facts),
        max_length=max_length,
        truncation=truncation,
    )


@final
class ReferenceCache:
    """Sums and lengths of N rows with K responses under the frozen reference.

    Use it for every objective that needs a reference: training then holds one model.
    Compute it before the first step, never from a trained policy. Rows scored in the
    batches that training uses give an implicit reward of exactly 0 at the first step;
    other batches give it up to rounding.

    Args:
        scores: sums float32 ``(N, K)`` and lengths int64 ``(N, K)``, on the CPU.
        key: what the numbers depend on.
    """

    def __init__(self, scores: SequenceScores, key: ReferenceKey) -> None:
        self.sums, self.lengths = scores
        self.key = key

    @classmethod
    def compute(
        cls,
        model: nn.Module,
        batches: Sequence[TokenBatch],
        *,
        engine: LogProbs | None = None,
        max_length: int | None = None,
        truncation: str = "none",
        disable_adapter: bool = True,
        progress: bool = True,
    ) -> ReferenceCache:
        """Score all rows, without gradient and in evaluation mode.

        Args:
            model: the reference; a PEFT model without its adapter is its own.
            batches: all rows, in order, each batch with the same K.
            engine: what scores them; made for ``model`` if not given.
            max_length: tokens that rows were cut to by the caller; goes into the key.
            truncation: how the caller cut them; goes into the key.
            disable_adapter: ``False`` makes the adapter, as it is now, part of the reference.
            progress: whether to draw a progress bar on standard error.

        Raises:
            DataError: if there is no batch, or batches differ in K.
        """
        if not batches:
            raise DataError("a reference needs at least one batch; got none.")
        widths = sorted({batch.lengths.shape[1] - 1 for batch in batches})
        if len(widths) > 1:
            raise DataError(f"all batches must have the same number of responses; got {widths}.")
        engine = engine or LogProbs(model)
        key = reference_key(
            model,
            batches,
            engine,
            max_length=max_length,
            truncation=truncation,
            disable_adapter=disable_adapter,
        )
        bare: Any = getattr(model, "disable_adapter", nullcontext)
        with torch.no_grad(), bare() if key.adapter == "disabled" else nullcontext():
            parts = [engine(model, batch) for batch in _tracked(batches, progress)]
        columns = (torch.cat([part[i].cpu() for part in parts]) for i in range(2))
        return cls(SequenceScores(*columns), key)

    def __len__(self) -> int:
        return len(self.sums)

    def rows(self, index: Tensor | Sequence[int]) -> SequenceScores:
        """Scores of some rows, in the order of ``index``."""
        index = torch.as_tensor(index, dtype=torch.int64)
        return SequenceScores(self.sums[index], self.lengths[index])

    def save(self, directory: str | Path) -> None:
        """Write ``reference.safetensors`` (numbers and key) and ``reference.json`` (the key)."""
        from safetensors.torch import save_file

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self.key), indent=2)
        tensors = {"sums": self.sums.contiguous(), "lengths": self.lengths.contiguous()}
        temporary = directory / f".{_TENSORS}.{os.getpid()}"
        save_file(tensors, temporary, metadata={"key": text})
        temporary.replace(directory / _TENSORS)
        temporary = directory / f".{_KEY}.{os.getpid()}"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(directory / _KEY)

    @classmethod
    def load(cls, directory: str | Path, key: ReferenceKey) -> ReferenceCache:
        """Read a cache whose key is ``key``.

        Raises:
            DataError: if there is no readable cache in the directory.
            IncompatibleError: naming each part of the key that differs.
        """
        path = Path(directory) / _TENSORS
        tensors, stored = _read(path)
        wanted = asdict(key)
        changed = [
            f"{name} (stored {stored.get(name)!r}, now {wanted[name]!r})"
            for name in wanted
            if stored.get(name) != wanted[name]
        ]
        if changed:
            raise IncompatibleError(
                f"{path} was computed for something else; changed: {'; '.join(changed)}. "
                "Compute the reference again, or restore what changed."
            )
        return cls(SequenceScores(tensors["sums"], tensors["lengths"]), key)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in ("sums", "lengths")}
            return tensors, json.loads((file.metadata() or {})["key"])
    except FileNotFoundError as error:
        raise DataError("no reference cache here; compute one.", source=str(path)) from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DataError(
            f"not a reference cache ({error}); remove it and compute one.", source=str(path)
        ) from error


def _tracked(batches: Sequence[TokenBatch], progress: bool) -> Iterator[TokenBatch]:
    from rich.console import Console
    from rich.progress import track

    yield from track(
        batches,
        description="Reference log-probabilities",
        disable=not progress,
        console=Console(stderr=True),
        transient=True,
    )


def _hash_tokens(batches: Iterable[TokenBatch]) -> str:
    tokens, lengths = hashlib.sha256(), hashlib.sha256()
    for batch in batches:
        tokens.update(_bytes(batch.tokens.to(torch.int64)))
        lengths.update(_bytes(batch.lengths.to(torch.int64)))
    return hashlib.sha256(tokens.digest() + lengths.digest()).hexdigest()


def _hash_weights(core: Any, adapter: str | None) -> str:
    """Hash of the weights; without an adapter's, it is that of the model before adaptation."""
    digest = hashlib.sha256()
    for name, tensor in sorted(core.state_dict().items()):
        if adapter is not None:
            if f".{adapter}" in name or ".modules_to_save." in name:
                continue
            name = name.replace(".base_layer.", ".").replace(".original_module.", ".")
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _adapter_prefix(model: nn.Module) -> str | None:
    """What PEFT puts before the names of an adapter's weights, such as ``lora_``."""
    return getattr(getattr(model, "base_model", None), "prefix", None)


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
