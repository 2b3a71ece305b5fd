"""Candidates from many machines: batches of prompts through Ray Data, Parquet out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, IncompatibleError, ParameterError
from ...files import replacing, write_json
from ...rules import Kind, Within, check, shown
from .base import Candidate, Prompt, Sampler, SamplingParams, check_request
from .journal import request_key
from .template import PromptTemplate

# Errors of a user's making: an actor hands them to the caller as they are.
_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (ParameterError, DataError, IncompatibleError, ImportError, ConnectionError)
}


@final
@dataclass(frozen=True)
class RaySampler:
    """Samples with one sampler in each of several Ray actors, on one machine or many.

    Use it when one machine is not enough. Ray Data gives batches of prompts to the actors and
    starts an actor anew that dies. Each batch becomes one Parquet file, written whole or not
    at all under a name that its content fixes: a batch that is drawn a second time, since its
    worker died, replaces itself, and a call that is made again after an interruption draws
    only the batches that are missing. A candidate depends on seed, prompt, direction and
    number, so any number of workers gives what one process gives.

    A batch that holds failed candidates is drawn again by the next call. A batch that kills
    its worker is tried ``restarts`` times more; then the call ends with one error and can be
    made again.

    Ray is started with its defaults, but without usage reports, if it does not run; call
    ``ray.init`` first to choose a cluster.

    Args:
        make: makes the sampler inside an actor; a function without arguments that Ray can
            send, e.g. ``functools.partial(ServerSampler, "http://host:8000/v1", "model")``.
        folder: where the Parquet files go, one folder for each request; on a cluster a path
            that all machines share.
        name: what draws, model and version: requests of two samplers are told apart by it.
        template: how directions are put into words, before prompts are sent to the actors.
        workers: number of actors.
        batch_size: prompts of a batch. All neighbours of a prompt should be in one.
        num_cpus: cores of an actor.
        num_gpus: GPUs of an actor, or a share of one.
        restarts: how often a batch is tried anew when its worker dies.

    Raises:
        ParameterError: for a value out of its range.
        ImportError: from ``sample``, if Ray is not installed.

    Example:
        >>> from functools import partial
        >>> from pluralign.engines.sampling import ServerSampler
        >>> make = partial(ServerSampler, "http://localhost:8000/v1", "tiny")
        >>> RaySampler(make, "candidates", name="tiny", workers=4).name
        'ray:tiny'
    """

    make: Callable[[], Sampler]
    folder: str | Path
    _: KW_ONLY
    name: Annotated[str, Kind(str)]
    template: PromptTemplate | None = None
    workers: Annotated[int, Within(1, None, integer=True)] = 2
    batch_size: Annotated[int, Within(1, None, integer=True)] = 32
    num_cpus: Annotated[float, Within(0.0, None)] = 1.0
    num_gpus: Annotated[float, Within(0.0, None)] = 0.0
    restarts: Annotated[int, Within(0, None, integer=True)] = 3

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "name", f"ray:{self.name.removeprefix('ray:')}")

    def conflicts(self) -> list[str]:
        """The maker can be called, and the name is one."""
        made = [] if callable(self.make) else [f"make must be callable; got {shown(self.make)}."]
        return made + ([] if self.name.strip() else ["name must say which model draws."])

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each of P prompts.

        Raises:
            DataError: for an empty prompt or directions that do not fit.
            ParameterError: for ``n`` below 1.
            IncompatibleError: for an option that the actors' sampler lacks.
            ConnectionError: if a batch kills its workers, or their server is gone.
        """
        drawn = self.write(prompts, n, params, directions)
        return read_candidates(drawn, len(prompts), n)

    def write(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> Path:
        """Draw what is missing of a request.

        Returns:
            The request's folder: ``_request.json`` and Parquet files with the columns
            ``row``, ``i``, ``prompt`` (as the model saw it; messages as JSON), ``text``,
            ``finish``, ``n_tokens`` and ``error``.
        """
        takes = self.template is not None
        check_request(self.name, prompts, n, directions, takes_directions=takes)
        seen = list(prompts)
        if directions is not None and self.template is not None:
            pairs = zip(prompts, directions, strict=True)
            seen = [self.template.render(prompt, direction) for prompt, direction in pairs]
        coded = [json.dumps(_plain(prompt)) for prompt in seen]
        request = {"sampler": self.name, "n": n, "params": asdict(params)}
        key = request_key({**request, "prompts": coded, "batch_size": self.batch_size})
        folder = Path(self.folder).absolute() / key
        write_json(folder / "_request.json", {**request, "n_prompts": len(prompts)})
        starts = range(0, len(coded), self.batch_size)
        missing = [start for start in starts if not _complete(folder / _part(start))]
        for tries in folder.glob("_tries-*"):
            tries.unlink()
        if missing:
            batches = [(start, coded[start : start + self.batch_size]) for start in missing]
            self._run(batches, _Worker(self.make, folder, n, params, self.restarts))
        return folder

    def _run(self, batches: list[tuple[int, list[str]]], worker: _Worker) -> None:
        ray = _started_ray()
        import pyarrow as pa

        tables = [pa.table({"start": [start], "prompts": [texts]}) for start, texts in batches]
        outcomes = ray.data.from_arrow(tables).map_batches(
            _Actor,
            fn_constructor_args=(worker,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(batches))),
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
        )
        for outcome in outcomes.iter_rows():
            if outcome["error"]:
                raise _ERRORS[outcome["error"]](outcome["message"])


@dataclass(frozen=True)
class _Worker:
    """What every actor is told."""

    make: Callable[[], Sampler]
    folder: Path
    n: int
    params: SamplingParams
    restarts: int


class _Actor:
    """Draws one batch after the other with one sampler."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._sampler: Sampler | None = None

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        (row,) = table.to_pylist()
        start, prompts = row["start"], [json.loads(text) for text in row["prompts"]]
        error, message = "", ""
        try:
            self._draw(start, prompts)
        except tuple(_ERRORS.values()) as caught:
            # Ray would wrap the error, and try again what cannot succeed.
            error = next(name for name, kind in _ERRORS.items() if isinstance(caught, kind))
            message = f"in the batch that begins with prompt {start}: {caught}"
        return pa.table({"start": [start], "error": [error], "message": [message]})

    def _draw(self, start: int, prompts: list[Prompt]) -> None:
        worker = self._worker
        # On disk, since a dying worker tells nobody, and Ray itself would try for ever.
        tries = worker.folder / f"_tries-{start:09d}"
        with tries.open("ab") as file:
            file.write(b".")
        if tries.stat().st_size > worker.restarts + 1:
            raise ConnectionError(
                f"its worker died {worker.restarts + 1} times; run again to go on."
            )
        if self._sampler is None:
            self._sampler = worker.make()
        drawn = self._sampler.sample(prompts, worker.n, worker.params)
        rows = [
            {"row": start + p, "i": i, "prompt": _shown(prompt), **candidate.to_json()}
            for p, (prompt, candidates) in enumerate(zip(prompts, drawn, strict=True))
            for i, candidate in enumerate(candidates)
        ]
        _write(worker.folder / _part(start), rows)
        tries.unlink()


def read_candidates(folder: str | Path, n_prompts: int, n: int) -> list[list[Candidate]]:
    """The candidates in a folder of :meth:`RaySampler.write`, in the order of the prompts.

    Raises:
        DataError: if a candidate is missing or there twice.
    """
    import pyarrow.parquet as pq

    parts = sorted(Path(folder).glob("part-*.parquet"))
    rows: list[dict[str, Any]] = [row for part in parts for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: (row["row"], row["i"]))
    found = [(row["row"], row["i"]) for row in rows]
    if found != [(row, i) for row in range(n_prompts) for i in range(n)]:
        raise DataError(
            f"holds {len(found)} candidates, {len(set(found))} of them different, instead of "
            f"{n} for each of {n_prompts} prompts; call write again.",
            source=str(folder),
        )
    names = ("text", "finish", "n_tokens", "error")
    flat = [Candidate.from_json({name: row[name] for name in names}) for row in rows]
    return [flat[start : start + n] for start in range(0, len(flat), n)]


def _started_ray() -> Any:
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise ImportError("RaySampler needs Ray: pip install 'pluralign[scale]'") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init()
    return ray


def _part(start: int) -> str:
    return f"part-{start:09d}.parquet"


def _write(target: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(target) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)


def _complete(part: Path) -> bool:
    """Whether a batch is there, without failed candidates."""
    import pyarrow.parquet as pq

    if not part.exists():
        return False
    return "error" not in pq.read_table(part, columns=["finish"]).column("finish").to_pylist()


def _plain(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def _shown(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
