"""Scores of the frozen reference, computed once and kept under a key that guards them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from ..errors import DataError, IncompatibleError
from ..files import replacing, write_json
from ..scores import TokenBatch
from .hosts import attention_of, core_of, precision_of
from .logprobs import ENGINE_VERSION, LogProbs, SequenceScores

_KEY = "reference.json"


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
    batches: Sequence[TokenBatch],
    engine: LogProbs,
    *,
    rows: Sequence[Sequence[int]] | None = None,
    max_length: int | None = None,
    truncation: str = "none",
    disable_adapter: bool = True,
) -> ReferenceKey:
    """The key of the reference that :meth:`ReferenceCache.compute` would compute.

    Args:
        model: the reference model, before any training.
        batches: all rows.
        engine: what scores them.
        rows: numbers of the rows of each batch; in order if not given.
        max_length: tokens that rows were cut to by the caller.
        truncation: how the caller cut them.
        disable_adapter: whether a PEFT model is its own reference without its adapter.
    """
    core = core_of(model)
    adapted = core is not model and hasattr(model, "disable_adapter")
    facts = engine.describe()
    return ReferenceKey(
        tokens=token_hash(batches, rows),
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
        values: log-probabilities of all tokens, rows one after the other, float32, in
            parts that cover whole rows; empty if only sums were kept.
    """

    def __init__(
        self, scores: SequenceScores, key: ReferenceKey, values: Sequence[Tensor] = ()
    ) -> None:
        self.sums, self.lengths = scores
        self.key = key
        self._values = tuple(values)

    @classmethod
    def compute(
        cls,
        model: nn.Module,
        batches: Sequence[TokenBatch],
        rows: Sequence[Sequence[int]] | None = None,
        *,
        engine: LogProbs | None = None,
        token_level: bool = False,
        max_length: int | None = None,
        truncation: str = "none",
        disable_adapter: bool = True,
        progress: bool = True,
    ) -> ReferenceCache:
        """Score all rows, without gradient and in evaluation mode.

        Args:
            model: the reference; a PEFT model without its adapter is its own.
            batches: all rows, each batch with the same K.
            rows: numbers of the rows of each batch, together 0 to N-1; in order if not
                given. The cache is in the order of the numbers.
            engine: what scores them; made for ``model`` if not given.
            token_level: keep the log-probability of every token too.
            max_length: tokens that rows were cut to by the caller; goes into the key.
            truncation: how the caller cut them; goes into the key.
            disable_adapter: ``False`` makes the adapter, as it is now, part of the reference.
            progress: whether to draw a progress bar on standard error.

        Raises:
            DataError: if there is no batch, batches differ in K, or numbers do not fit.
        """
        _check_batches(batches, rows)
        engine = engine or LogProbs(model)
        key = reference_key(
            model,
            batches,
            engine,
            rows=rows,
            max_length=max_length,
            truncation=truncation,
            disable_adapter=disable_adapter,
        )
        bare: Any = getattr(model, "disable_adapter", nullcontext)
        score = _with_tokens if token_level else _without_tokens
        with torch.no_grad(), bare() if key.adapter == "disabled" else nullcontext():
            parts = [score(engine, model, batch) for batch in _tracked(batches, progress)]
        back = _order(batches, rows).argsort()
        sums, lengths = (torch.cat([part[0][i].cpu() for part in parts])[back] for i in range(2))
        texts = [row for part in parts for row in part[1]]
        values = [torch.cat([texts[i] for i in back.tolist()])] if texts else []
        return cls(SequenceScores(sums, lengths), key, values)

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def token_level(self) -> bool:
        """Whether the log-probability of every token is kept."""
        return bool(self._values)

    def rows(self, index: Tensor | Sequence[int]) -> SequenceScores:
        """Scores of some rows, in the order of ``index``."""
        index = torch.as_tensor(index, dtype=torch.int64)
        return SequenceScores(self.sums[index], self.lengths[index])

    def token_values(self, index: Tensor | Sequence[int]) -> Tensor:
        """Log-probability of each response token of some rows ``(n, K, R)``, 0 after the end.

        Raises:
            IncompatibleError: if only sums were kept.
        """
        if not self._values:
            raise IncompatibleError(
                "this reference cache holds sums only; compute it with token_level=True."
            )
        lengths = self.rows(index).lengths
        found = torch.zeros(*lengths.shape, int(lengths.max()))
        # Ends of the responses in the file order; the parts cover whole rows.
        ends = self.lengths.flatten().cumsum(0).view_as(self.lengths)
        bounds = torch.tensor([len(part) for part in self._values]).cumsum(0)
        for place, row in enumerate(torch.as_tensor(index).tolist()):
            part = int(torch.searchsorted(bounds, ends[row, 0]))
            shift = int(bounds[part - 1]) if part else 0
            for response, size in enumerate(lengths[place].tolist()):
                stop = int(ends[row, response]) - shift
                found[place, response, :size] = self._values[part][stop - size : stop]
        return found

    def save(self, directory: str | Path, *, rows_per_shard: int = 2**17) -> None:
        """Write ``reference.json`` (key and names of files) and shards of safetensors.

        Args:
            directory: made if it is not there.
            rows_per_shard: rows of a file; one file is ``reference.safetensors``.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        key = asdict(self.key)
        starts = range(0, max(len(self), 1), rows_per_shard)
        values = iter(self._shard_values(rows_per_shard))
        names = [_shard_name(i, len(starts)) for i in range(len(starts))]
        for name, start in zip(names, starts, strict=True):
            part = slice(start, start + rows_per_shard)
            tensors = {"sums": self.sums[part], "lengths": self.lengths[part]}
            if self._values:
                tensors["values"] = next(values)
            _write_tensors(tensors, directory / name, key)
        write_json(directory / _KEY, {**key, "shards": names})

    def _shard_values(self, rows: int) -> Iterator[Tensor]:
        if self._values:
            sizes = [int(part.sum()) for part in self.lengths.split(rows)]
            yield from torch.cat(self._values).split(sizes)

    @classmethod
    def load(cls, directory: str | Path, key: ReferenceKey) -> ReferenceCache:
        """Read a cache whose key is ``key``; token values stay on disk, mapped into memory.

        Raises:
            DataError: if there is no readable cache in the directory.
            IncompatibleError: naming each part of the key that differs.
        """
        directory = Path(directory)
        wanted = asdict(key)
        parts = [_read(directory / name, wanted) for name in _shards(directory)]
        sums, lengths = (torch.cat([part[name] for part in parts]) for name in ("sums", "lengths"))
        values = [part["values"] for part in parts if "values" in part]
        return cls(SequenceScores(sums, lengths), key, values)


Scored: TypeAlias = tuple[SequenceScores, list[Tensor]]


def _without_tokens(engine: LogProbs, model: nn.Module, batch: TokenBatch) -> Scored:
    return engine(model, batch), []


def _with_tokens(engine: LogProbs, model: nn.Module, batch: TokenBatch) -> Scored:
    """Sums, lengths, and the values of each row's responses one after the other."""
    values = engine.token_values(model, batch).cpu()
    lengths = batch.lengths.cpu()[:, 1:] - (batch.lengths.cpu()[:, :1] == 0).long()
    steps = torch.arange(values.shape[-1])
    scores = SequenceScores(values.double().sum(-1).float(), lengths)
    return scores, [v[steps < n[:, None]] for v, n in zip(values, lengths, strict=True)]


def _check_batches(batches: Sequence[TokenBatch], rows: Sequence[Sequence[int]] | None) -> None:
    if not batches:
        raise DataError("a reference needs at least one batch; got none.")
    widths = sorted({batch.lengths.shape[1] - 1 for batch in batches})
    if len(widths) > 1:
        raise DataError(f"all batches must have the same number of responses; got {widths}.")
    if rows is None:
        return
    sizes = [len(batch.lengths) for batch in batches]
    numbers = sorted(number for part in rows for number in part)
    if [len(part) for part in rows] != sizes or numbers != list(range(sum(sizes))):
        raise DataError(
            f"rows must number the {sum(sizes)} rows of the batches from 0, each once; got "
            f"{len(numbers)} numbers."
        )


def _order(batches: Sequence[TokenBatch], rows: Sequence[Sequence[int]] | None) -> Tensor:
    if rows is None:
        return torch.arange(sum(len(batch.lengths) for batch in batches))
    return torch.tensor([number for part in rows for number in part])


def _shard_name(number: int, shards: int) -> str:
    return (
        "reference.safetensors"
        if shards == 1
        else (f"reference-{number + 1:05d}-of-{shards:05d}.safetensors")
    )


def _write_tensors(tensors: dict[str, Tensor], path: Path, key: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as part:
        save_file(whole, part, metadata={"key": json.dumps(key)})


def _shards(directory: Path) -> list[str]:
    path = directory / _KEY
    try:
        return json.loads(path.read_text(encoding="utf-8"))["shards"]
    except FileNotFoundError as error:
        raise DataError("no reference cache here; compute one.", source=str(directory)) from error
    except (KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"not a reference cache ({error}); remove it and compute one.", source=str(path)
        ) from error


def _read(path: Path, wanted: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file, mapped into memory, if its key is the wanted one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads((file.metadata() or {})["key"])
            _require_key(path, stored, wanted)
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise DataError("this file of the cache is gone; compute it.", source=str(path)) from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DataError(
            f"not a reference cache ({error}); remove it and compute one.", source=str(path)
        ) from error


def _require_key(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
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


def token_hash(batches: Sequence[TokenBatch], rows: Sequence[Sequence[int]] | None = None) -> str:
    """SHA-256 of token ids and lengths in the order of the row numbers, however batched."""
    tokens, lengths = hashlib.sha256(), hashlib.sha256()
    if rows is not None:
        texts = [t for b in batches for t in b.tokens.split(b.lengths.sum(1).tolist())]
        back = _order(batches, rows).argsort()
        sizes = torch.cat([batch.lengths for batch in batches])[back]
        batches = [TokenBatch(torch.cat([texts[i] for i in back.tolist()]), sizes)]
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
