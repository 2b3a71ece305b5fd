"""Candidates from any server that speaks OpenAI's interface."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, final
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from ...errors import IncompatibleError, ParameterError
from ...rules import Kind, OneOf, Within, check, shown
from .base import Candidate, Prompt, SamplingParams, check_request
from .exchange import Exchange
from .journal import Journal, request_key
from .retry import Failure, persist
from .template import PromptTemplate
from .wire import PATHS, Api, read_answer, read_refusal, request_body

Job = tuple[str, int]
"""What a candidate is kept under: key of the request and number of the sample."""


@final
@dataclass(frozen=True)
class ServerSampler:
    """Samples from a server with OpenAI's interface: vLLM, SGLang, llama.cpp, hosted models.

    Use it where the model runs elsewhere. For a model in this process take
    ``TransformersSampler``. Each candidate is one request with a seed of its own,
    ``sample_seed(seed, prompt, i)`` cut to 31 bits, so a candidate does not depend on ``n``,
    on the batch or on an interruption; servers keep the prompt they share. Whether a seed
    gives the same text twice is the server's promise, and some make none.

    A request that fails is sent again after a growing, random wait, or after what
    ``Retry-After`` asks for. One that fails to the end becomes a candidate with
    ``finish="error"`` as long as the server still answers (``GET base_url/models``); else
    sampling ends with one :class:`ConnectionError`, and what was drawn is in the journal.

    Args:
        base_url: address up to the version, such as ``http://localhost:8000/v1``.
        model: the server's name of the model.
        template: how directions are put into words; without it they are refused.
        api: ``"chat"`` (messages; a text becomes a user's message) or ``"completions"``
            (texts as they are; for base models).
        api_key_env: environment variable that holds the key; read for each request, sent to
            ``base_url`` only, and kept nowhere. Unset means no key.
        max_concurrency: requests under way at once.
        timeout: seconds for one request from start to last byte.
        retries: tries after the first.
        backoff: seconds before the first retry; doubles with each, at most 60.
        accepts_top_k: whether the server knows ``top_k`` (vLLM, SGLang and llama.cpp do;
            OpenAI's interface has none).
        journal: file of finished candidates, opened for each call, or an open
            :class:`Journal`. Give one for work that costs: a run that is killed at any point
            and started again asks for nothing that is in it.

    Raises:
        ParameterError: for a value out of its range or an address with a key in it; from
            ``sample``, for a key or model that the server refuses.
        IncompatibleError: from ``sample``, for ``top_k`` or messages that it cannot pass on.
        ConnectionError: from ``sample``, if the server is gone.
        ImportError: from ``sample``, if httpx is not installed.

    Example:
        >>> sampler = ServerSampler("http://localhost:8000/v1", "tiny")
        >>> sampler.name
        'server:tiny'
        >>> sampler.sample(["Hello"], 1, SamplingParams(top_k=5))
        Traceback (most recent call last):
        pluralign.errors.IncompatibleError: server:tiny has no top_k; leave it None, ...
    """

    base_url: Annotated[str, Kind(str)]
    model: Annotated[str, Kind(str)]
    _: KW_ONLY
    template: PromptTemplate | None = None
    api: Annotated[Api, OneOf("chat", "completions")] = "chat"
    api_key_env: Annotated[str, Kind(str)] = "OPENAI_API_KEY"
    max_concurrency: Annotated[int, Within(1, 1024, integer=True)] = 8
    timeout: Annotated[float, Within(0.0, None, closed="right")] = 120.0
    retries: Annotated[int, Within(0, 100, integer=True)] = 5
    backoff: Annotated[float, Within(0.0, 60.0)] = 0.5
    accepts_top_k: Annotated[bool, Kind(bool)] = False
    journal: Journal | str | Path | None = None

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """The address is one, and holds no key."""
        parts = _parts(self.base_url)
        if parts is None:
            return ["base_url must be an address such as http://localhost:8000/v1."]
        if parts.username or parts.password or parts.query:
            # The value is not shown: it may be a key.
            return ["base_url must hold no user, password or query; put keys into api_key_env."]
        return [] if self.model.strip() else ["model must be the server's name of a model."]

    @property
    def name(self) -> str:
        """``server:`` and the model."""
        return f"server:{self.model}"

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each of P prompts; equal prompts are asked for once.

        Raises:
            DataError: for an empty prompt or directions that do not fit; a broken journal.
            ParameterError: for ``n`` below 1; a key or model that the server refuses.
            IncompatibleError: for an option that the server lacks.
            ConnectionError: if the server is gone.
        """
        seen = self._seen(prompts, n, params, directions)
        rows = [
            [(self._key(prompt, params), i, request_body(self.model, self.api, prompt, i, params))
             for i in range(n)]
            for prompt in seen
        ]  # fmt: skip
        wanted = {(key, i): body for row in rows for key, i, body in row}
        if self.journal is None or isinstance(self.journal, Journal):
            drawn = _Draw(self, params, self.journal).all(wanted)
        else:
            with Journal(self.journal) as journal:
                drawn = _Draw(self, params, journal).all(wanted)
        return [[drawn[key, i] for key, i, _ in row] for row in rows]

    def _seen(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None,
    ) -> list[Prompt]:
        """The prompts as the model sees them, once all of them can be asked."""
        template = self.template
        takes = template is not None
        check_request(self.name, prompts, n, directions, takes_directions=takes)
        if params.top_k is not None and not self.accepts_top_k:
            raise IncompatibleError(
                f"{self.name} has no top_k; leave it None, or set accepts_top_k=True if the "
                f"server knows it (vLLM, SGLang and llama.cpp do)."
            )
        seen = list(prompts)
        if directions is not None and template is not None:
            pairs = zip(prompts, directions, strict=True)
            seen = [template.render(prompt, direction) for prompt, direction in pairs]
        for row, prompt in enumerate(seen):
            if self.api == "completions" and not isinstance(prompt, str):
                raise IncompatibleError(
                    f"{self.name} with api='completions' takes texts, but prompt {row} is a list "
                    f"of messages; use api='chat'."
                )
        return seen

    def _key(self, prompt: Prompt, params: SamplingParams) -> str:
        # Without the address: a server that comes back on another port goes on.
        body = request_body(self.model, self.api, prompt, 0, params)
        return request_key({**body, "api": self.api, "seed": params.seed})


class _GoneError(Exception):
    """The server is out of service; the last failure says how that showed."""


@dataclass
class _Draw:
    """One call of ``sample``: the requests that are still to be answered."""

    sampler: ServerSampler
    params: SamplingParams
    journal: Journal | None
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[BaseException] = field(default_factory=list[BaseException])
    exchanges: queue.SimpleQueue[Exchange] = field(default_factory=queue.SimpleQueue[Exchange])

    def all(self, wanted: dict[Job, dict[str, Any]]) -> dict[Job, Candidate]:
        """A candidate for each job, from the journal or the server."""
        kept = self.journal.get if self.journal is not None else _nothing
        found = {job: kept(*job) for job in wanted}
        drawn = {job: candidate for job, candidate in found.items() if candidate is not None}
        missing = {job: body for job, body in wanted.items() if job not in drawn}
        if not missing:
            return drawn
        drawn.update(self._side_by_side(missing))
        if self.journal is not None:
            self.journal.sync()
        return drawn

    def _side_by_side(self, missing: dict[Job, dict[str, Any]]) -> dict[Job, Candidate]:
        sampler = self.sampler
        at_once = min(sampler.max_concurrency, len(missing))
        exchanges = [Exchange(sampler.base_url, sampler.timeout) for _ in range(at_once)]
        for exchange in exchanges:
            self.exchanges.put(exchange)
        pool = ThreadPoolExecutor(at_once)
        try:
            waiting = {job: pool.submit(self._one, job, body) for job, body in missing.items()}
            wait(waiting.values(), return_when=FIRST_EXCEPTION)
        finally:
            self.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for exchange in exchanges:
                exchange.close()
        if self.errors:
            first = self.errors[0]
            raise ConnectionError(self._gone(first)) if isinstance(first, _GoneError) else first
        return {job: answer.result() for job, answer in waiting.items()}

    def _one(self, job: Job, body: dict[str, Any]) -> Candidate:
        exchange = self.exchanges.get()  # as many as threads
        try:
            candidate = self._answered(exchange, body)
            if self.journal is not None:
                self.journal.add(*job, candidate)
        except BaseException as error:
            # The first one tells the cause; those after it were called off.
            self.errors.append(error)
            self.stop.set()
            raise
        finally:
            self.exchanges.put(exchange)
        return candidate

    def _answered(self, exchange: Exchange, body: dict[str, Any]) -> Candidate:
        sampler = self.sampler
        if self.stop.is_set():
            raise _GoneError("called off")
        outcome = persist(
            lambda: self._send(exchange, body),
            retries=sampler.retries,
            base=sampler.backoff,
            pause=self.stop.wait,
        )
        if isinstance(outcome, Candidate):
            return outcome
        if outcome.again and not self.stop.is_set() and (outcome.limited or not exchange.alive()):
            raise _GoneError(outcome.why)
        return Candidate(text="", finish="error", error=outcome.why)

    def _send(self, exchange: Exchange, body: dict[str, Any]) -> Candidate | Failure:
        sampler = self.sampler
        headers, hide = _authorization(sampler.api_key_env)
        answer = exchange.post(PATHS[sampler.api], body, headers)
        if isinstance(answer, Failure):
            return answer
        status, got, text = answer
        if status == 200:
            try:
                return read_answer(json.loads(text), sampler.api, self.params.stop)
            except (ValueError, RecursionError):
                return Failure("the answer is not JSON")
        self._refuse(status, got)
        return read_refusal(status, got, hide(text))

    def _refuse(self, status: int, headers: Any) -> None:
        """End at once where no other request could succeed either."""
        sampler = self.sampler
        if status in (401, 403):
            raise ParameterError(
                f"{sampler.name}: {sampler.base_url} refused the key (status {status}); set the "
                f"environment variable {sampler.api_key_env} to a valid one."
            )
        if status in (404, 405):
            raise ParameterError(
                f"{sampler.name}: {sampler.base_url} has no model {shown(sampler.model)} or no "
                f"{PATHS[sampler.api]} (status {status}); check base_url, model and api."
            )
        if 300 <= status < 400:
            raise ParameterError(
                f"{sampler.name}: {sampler.base_url} points elsewhere (status {status}, "
                f"{shown(headers.get('location'))}); give that address as base_url."
            )

    def _gone(self, last: _GoneError) -> str:
        sampler = self.sampler
        kept = (
            f"{len(self.journal)} candidates are in {self.journal.path}; run again to go on."
            if self.journal is not None
            else "Nothing was kept; give a journal to be able to go on."
        )
        return (
            f"{sampler.name}: {sampler.base_url} is out of service after {sampler.retries + 1} "
            f"tries ({last}). {kept}"
        )


def _nothing(key: str, i: int) -> Candidate | None:
    return None


def _parts(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known else None


def _authorization(variable: str) -> tuple[dict[str, str], Callable[[str], str]]:
    """The header with the key, and a function that takes the key out of what a server says."""
    key = os.environ.get(variable, "").strip()
    if not key:
        return {}, str
    if not (key.isascii() and key.isprintable()):
        raise ParameterError(f"the key in {variable} must be printable ASCII in one line.")
    return {"Authorization": f"Bearer {key}"}, lambda text: text.replace(key, "***")
