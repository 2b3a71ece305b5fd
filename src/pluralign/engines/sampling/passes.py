"""The next token's logits of many rows, with a cache of keys and values or without one."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor

from ..forms import short_window, windows_of
from ..hosts import attention_of, bodies_of, device_of, forward_replaced, horizon_of
from ..layout import Inputs
from ..projection import STRANGE, run_body, tolerance

_ROUNDINGS = (1.0, 4.0)
"""Most that rows may move, in median and each, in units of what rounding the embeddings does.

Measured on SmolLM2 in bfloat16: a right cache gives 0.4 and 2.7; where a token is hidden or
positions are off by one, every row that is touched moves by 2.4 to 13."""


class Start(NamedTuple):
    """A prompt from which rows begin.

    Attributes:
        ids: its tokens, at least one.
        rows: how many rows begin from it.
        offset: ``(H,)``, added to the residual stream from the last prompt token on.
        family: of prompts that begin alike.
        shared: tokens that the whole family has in common, fewer than ``ids``.
    """

    ids: tuple[int, ...]
    rows: int = 1
    offset: Tensor | None = None
    family: int = 0
    shared: int = 0


class Rows(Protocol):
    """Rows of text that grow by one token at a time."""

    def add(self, starts: Sequence[Start]) -> Tensor:
        """Begin rows after those in use; logits of their first tokens ``(R, V)``."""
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to every row, int64 ``(R,)``; logits of the next ones ``(R, V)``."""
        ...

    def keep(self, order: Tensor) -> None:
        """Go on with these rows, in this order."""
        ...


@final
class Steer:
    """Adds an offset to what a module gives, for the passes within :meth:`adding`."""

    def __init__(self, module: Any = None) -> None:
        self.module = module

    @contextmanager
    def adding(self, offset: Tensor | None) -> Generator[None]:
        """Within it ``offset``, which broadcasts to ``(R, T, H)``, is added."""
        if self.module is None or offset is None:
            yield
            return

        def add(module: Any, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (output[0] + offset.to(output[0]), *output[1:])
            return output + offset.to(output)

        handle = self.module.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()


@final
class CachedRows:
    """Rows whose past is kept as keys and values; a prompt is read once for all its rows."""

    def __init__(self, core: Any, body: Any, steer: Steer, limit: int | None) -> None:
        from .slots import Slots

        self._new_slots = Slots
        self._core, self._body, self._steer, self._limit = core, body, steer, limit
        self._windows = windows_of(core) or {"attention": None}
        self._slots = Slots()
        self._device = device_of(core)
        self._lengths: list[int] = []
        self._offsets: list[Tensor | None] = []
        self._prefixes: dict[int, tuple[Any, int]] = {}

    def add(self, starts: Sequence[Start]) -> Tensor:
        """Begin rows; see :class:`Rows`."""
        found = [
            self._begun(list(run)) for _, run in groupby(starts, key=lambda start: start.shared > 0)
        ]
        # Families stand together in the queue: only those of the last call may go on.
        alive = {start.family for start in starts if start.shared}
        self._prefixes = {f: kept for f, kept in self._prefixes.items() if f in alive}
        return torch.cat(found)

    def _begun(self, starts: list[Start]) -> Tensor:
        slots = self._new_slots()
        rows = [i for i, start in enumerate(starts) for _ in range(start.rows)]
        begin = self._with_prefixes(slots, starts) if starts[0].shared else None
        texts = [start.ids[start.shared :] for start in starts]
        hidden, output = self._pass(slots, texts, begin, [start.offset for start in starts])
        ends = torch.tensor([len(text) - 1 for text in texts], device=self._device)
        logits = self._logits(output, hidden[torch.arange(len(texts), device=self._device), ends])
        index = torch.tensor(rows, device=self._device)
        self._slots.append(slots, index, max(len(start.ids) for start in starts))
        self._lengths += [len(starts[i].ids) for i in rows]
        self._offsets += [starts[i].offset for i in rows]
        return logits[index]

    def _with_prefixes(self, slots: Any, starts: list[Start]) -> Tensor:
        """Fill a cache with what the families share; the column at which each prompt goes on."""
        missing = {s.family: s for s in starts if s.family not in self._prefixes}
        if missing:
            made = self._new_slots()
            texts = [start.ids[: start.shared] for start in missing.values()]
            self._pass(made, texts, None, [])
            self._prefixes |= {family: (made, row) for row, family in enumerate(missing)}
        for start in starts:
            source, row = self._prefixes[start.family]
            slots.append(source, torch.tensor([row], device=self._device), start.shared)
        return torch.tensor([start.shared for start in starts], device=self._device)

    def _pass(
        self,
        slots: Any,
        texts: Sequence[Sequence[int]],
        begin: Tensor | None,
        offsets: Sequence[Tensor | None],
    ) -> tuple[Tensor, Any]:
        """Hidden states of right-padded texts, which are written to a cache from ``begin`` on."""
        ids = padded(texts).to(self._device)
        steps = torch.arange(ids.shape[1], device=self._device)
        positions = steps.expand(len(ids), -1) if begin is None else begin[:, None] + steps
        width = int(positions.max()) + 1
        slots.plan(len(ids), begin, width)
        mask = None if begin is None else self._mask(positions, width)
        if self._limit is not None:
            positions = positions.clamp(max=self._limit - 1)  # of padding alone
        inputs = Inputs(ids, positions, mask)
        with self._steer.adding(_from_last(texts, offsets, ids.shape[1])):
            output = run_body(self._body, inputs, use_cache=True, past_key_values=slots.cache)
        return output.last_hidden_state, output

    def advance(self, tokens: Tensor) -> Tensor:
        """Append tokens; see :class:`Rows`."""
        start = torch.tensor(self._lengths, device=self._device)
        width = max(self._lengths) + 1
        self._slots.plan(len(self._lengths), start, width)
        mask = self._mask(start[:, None], width)
        inputs = Inputs(tokens[:, None].to(self._device), start[:, None], mask)
        with self._steer.adding(_stacked(self._offsets)):
            output = run_body(self._body, inputs, use_cache=True, past_key_values=self._slots.cache)
        self._lengths = [length + 1 for length in self._lengths]
        return self._logits(output, output.last_hidden_state[:, -1])

    def keep(self, order: Tensor) -> None:
        """Rows keep their places where they can, so that few are copied; see :class:`Rows`."""
        places: list[int] = order.tolist()
        moved = [(row, i) for i, row in enumerate(places) if row != i]
        if moved:
            source, target = torch.tensor(moved, device=self._device).T
            self._slots.move(source, target)
        self._slots.rows = len(places)
        self._lengths = [self._lengths[row] for row in places]
        self._offsets = [self._offsets[row] for row in places]

    def _mask(self, positions: Tensor, width: int) -> Any:
        """Who sees whom ``(R, 1, T, width)``, in the form that the model's attention takes."""
        column = torch.arange(width, device=self._device)
        query = positions[:, None, :, None]
        masks: dict[str, Tensor] = {}
        for kind, window in self._windows.items():
            sees = column <= query
            if window is not None:
                sees = sees & (column > query - window)
            if attention_of(self._core) == "eager":
                zero = torch.zeros((), dtype=self._core.dtype, device=self._device)
                sees = torch.where(sees, zero, torch.finfo(self._core.dtype).min)
            masks[kind] = sees
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _logits(self, output: Any, hidden: Tensor) -> Tensor:
        """The model's own head on ``(R, H)``: its forward without its body."""
        ids = torch.zeros(len(hidden), 1, dtype=torch.int64, device=hidden.device)
        states = type(output)(last_hidden_state=hidden[:, None])
        with forward_replaced(self._body, states):
            return self._core(input_ids=ids, use_cache=False, return_dict=True).logits[:, -1]


@final
class PlainRows:
    """Rows that are read anew for every token: slow, and right for any causal model."""

    def __init__(self, core: Any, steer: Steer) -> None:
        self._core, self._steer = core, steer
        self._starts: list[Start] = []
        self._texts: list[list[int]] = []

    def add(self, starts: Sequence[Start]) -> Tensor:
        """Begin rows; see :class:`Rows`."""
        new = [start for start in starts for _ in range(start.rows)]
        texts = [list(start.ids) for start in new]
        logits = self._last(texts, new)
        self._starts += new
        self._texts += texts
        return logits

    def advance(self, tokens: Tensor) -> Tensor:
        """Append tokens; see :class:`Rows`."""
        for text, token in zip(self._texts, tokens.tolist(), strict=True):
            text.append(token)
        return self._last(self._texts, self._starts)

    def keep(self, order: Tensor) -> None:
        """Go on with some rows; see :class:`Rows`."""
        places = order.tolist()
        self._starts = [self._starts[row] for row in places]
        self._texts = [self._texts[row] for row in places]

    def _last(self, texts: list[list[int]], starts: list[Start]) -> Tensor:
        ids = padded(texts).to(device_of(self._core))
        offset = _from_last([s.ids for s in starts], [s.offset for s in starts], ids.shape[1])
        with self._steer.adding(offset):
            logits = self._core(input_ids=ids, use_cache=False, return_dict=True).logits
        ends = torch.tensor([len(text) - 1 for text in texts], device=logits.device)
        return logits[torch.arange(len(texts), device=logits.device), ends]


def padded(texts: Sequence[Sequence[int]]) -> Tensor:
    """Token ids, padded on the right with 0, int64 ``(R, T)``."""
    width = max(map(len, texts))
    return torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])


def _stacked(offsets: Sequence[Tensor | None]) -> Tensor | None:
    """``(R, 1, H)``; rows without an offset get 0."""
    given = [offset for offset in offsets if offset is not None]
    if not given:
        return None
    zero = torch.zeros_like(given[0])
    return torch.stack([zero if offset is None else offset for offset in offsets])[:, None]


def _from_last(
    prompts: Sequence[Sequence[int]], offsets: Sequence[Tensor | None], width: int
) -> Tensor | None:
    """Offsets ``(R, width, H)`` that act from the last token of each prompt on."""
    stacked = _stacked(offsets)
    if stacked is None:
        return None
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=stacked.device)
    acts = torch.arange(width, device=stacked.device) >= last[:, None]
    return stacked * acts[..., None]


@final
class Maker:
    """Makes rows for a model, with a cache if that gives the model's own logits.

    Attributes:
        form: ``"cached"`` or ``"plain"``.
        difference: of the cached logits of a row from the model's own, by their norm; the largest.
        reason: why the cache was refused.
        horizon: tokens beyond which rows are read anew all the same; see ``horizon_of``.
    """

    def __init__(self, core: Any, limit: int | None) -> None:
        self.horizon = horizon_of(core) or math.inf
        self._core, self._limit = core, limit
        self._body: Any = None
        self.difference: float | None = None
        self.reason = ""
        for body in bodies_of(core):
            self.reason = self._why_not(body)
            if not self.reason:
                self._body = body
                break

    @property
    def form(self) -> str:
        """How rows are computed."""
        return "plain" if self._body is None else "cached"

    def rows(self, steer: Steer, longest: int = 0) -> Rows:
        """No rows yet; ``longest`` is the most tokens that one will have."""
        if self._body is None or longest > self.horizon:
            return PlainRows(self._core, steer)
        return CachedRows(self._core, self._body, steer, self._limit)

    def _why_not(self, body: Any) -> str:
        if windows_of(self._core) is None:
            return "it has layers that are neither full nor sliding attention"
        try:
            with short_window(self._core, 5):
                cached = _probe(CachedRows(self._core, body, Steer(), self._limit), self._core)
                plain = _probe(PlainRows(self._core, Steer()), self._core)
        except STRANGE as error:  # a forward that takes no cache of our making
            return f"its forward fails ({type(error).__name__}: {error})"
        gaps = (cached - plain).norm(dim=-1)
        self.difference = float((gaps / plain.norm(dim=-1).clamp(min=1e-6)).max())
        if self.difference <= tolerance(self._core.dtype):
            return ""
        if torch.finfo(self._core.dtype).bits < 32:
            moves = gaps / _moved_by_rounding(self._core, plain)
            if moves.median() <= _ROUNDINGS[0] and moves.max() <= _ROUNDINGS[1]:
                return ""
        return f"logits differ by {self.difference:.2g} (relative)"


def _moved_by_rounding(core: Any, plain: Tensor) -> Tensor:
    """How far each row of :func:`_probe` moves if the embeddings are rounded once more, ``(R,)``.

    A fixed bound cannot tell a deep model in half precision, whose logits move by some per cent
    when products are summed in another order, from one whose cache is wrong by as much.
    """
    draw = torch.Generator().manual_seed(0)

    def rounded(_module: Any, _inputs: Any, found: Tensor) -> Tensor:
        noise = torch.rand(found.shape, generator=draw).to(found.device) * 2 - 1
        return (found * (1 + torch.finfo(found.dtype).eps * noise)).to(found.dtype)

    hook = core.get_input_embeddings().register_forward_hook(rounded)
    try:
        moved = [_probe(PlainRows(core, Steer()), core) - plain for _ in range(8)]
    finally:
        hook.remove()
    return torch.stack(moved).norm(dim=-1).mean(0).clamp(min=1e-6)


def _probe(rows: Rows, core: Any) -> Tensor:
    """Logits of a few rows that begin together, end apart and are joined by others."""
    vocabulary = core.get_input_embeddings().weight.shape[0]
    ids = [(i * 7919 + 13) % vocabulary for i in range(40)]
    longer = Start((*ids[:6], *ids[8:10]), rows=2, family=1, shared=6)
    shorter = Start((*ids[:6], ids[9]), family=1, shared=6)
    found = [rows.add([Start(tuple(ids[10:14])), longer, shorter])]
    rows.keep(torch.tensor([0, 3, 2]))
    found.append(rows.add([Start(tuple(ids[20:29]))]))
    for step in range(3):
        found.append(rows.advance(torch.tensor(ids[30 + step : 34 + step], device=found[0].device)))
    return torch.cat(found).float()
