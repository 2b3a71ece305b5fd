"""Sequence log-probabilities of a transformers causal language model.

Three things vary and are chosen apart: the layout of a batch (``layout``, ``packing``;
which of them, ``forms``), the head (``projection``), and what is summed here. Logits of
shape ``[B, T, V]`` never exist.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..errors import IncompatibleError
from ..rules import AnyOf, OneOf, Within, check
from ..scores import TokenBatch
from .forms import (
    RULE,
    cost_of,
    multiply_adds,
    probe_batch,
    select,
    short_window,
    similar,
    slowdown_on,
)
from .head import kernel_of
from .hosts import (
    attention_of,
    bodies_of,
    core_of,
    device_of,
    has_dropout,
    horizon_of,
    inside,
    precision_of,
    recomputes,
    scoring_mode,
    stretching_length,
    training_mode,
    warn_of_router_loss,
)
from .layout import Form, Rows, Side, lay_out
from .packing import BLOCK, pack
from .passes import NoSharedCacheError, prepare_packing, states_of
from .projection import STRANGE, HeadKind, choose, log_softmax_at, project, run_body, tolerance

ENGINE_VERSION = 1
"""Raised when the numbers an engine returns change; part of the key of a reference cache."""

FORWARD, HEAD = "pluralign.forward", "pluralign.head"
"""What a profiler's trace calls the two parts of a forward pass."""

_SPARSE_ROW = 8192  # with FlexAttention, pairs that do not see each other cost nothing
_PROBE_WINDOW = 5  # shorter than the rows of the probe

_SHARING: tuple[Form, ...] = ("shared", "packed")
_log = logging.getLogger(__name__)


class SequenceScores(NamedTuple):
    """Scores of K responses to each of B prompts.

    Attributes:
        sums: float32 ``(B, K)``; summed log-probability of the response, in nats.
        lengths: int64 ``(B, K)``; number of scored tokens.
    """

    sums: Tensor
    lengths: Tensor


@dataclass(frozen=True, kw_only=True)
class LogProbsOptions:
    """Rules of what :class:`LogProbs` is asked for."""

    form: Annotated[str, OneOf("auto", "two_rows", "shared", "packed")]
    head: Annotated[str, OneOf("auto", "linear", "own", "full")]
    padding_side: Annotated[str, OneOf("right", "left")]
    chunk_tokens: Annotated[int | None, AnyOf(None, Within(1, integer=True))]
    row_tokens: Annotated[int | None, AnyOf(None, Within(0, integer=True))]

    def __post_init__(self) -> None:
        check(self)


@final
class LogProbs:
    """Log-probabilities of responses given prompts, without logits of all positions.

    Use it to train and to score. Only response tokens are projected; the head is
    recomputed in the backward pass; sums do not depend on batch size or padding. While
    gradients are off the model is scored in evaluation mode. Mixed precision is the
    caller's: wrap the call in ``torch.autocast``.

    ``sums[b, k] = sum_t log softmax(z_t)[y_t]`` over the tokens ``y_t`` of response k.

    Forms. ``"two_rows"`` writes prompt and response once per response. ``"shared"``
    computes each prompt once and lets all its responses see its keys and values.
    ``"packed"`` fills rows with whole pairs under a mask: no padding, and the prompt once
    also under activation checkpointing, which switches key/value caches off. ``"auto"``
    takes, batch by batch, the one with the fewest multiply-adds among those that were
    found to hold for the model; on a CPU it also splits a batch into rows of similar
    length. A form is left, call by call, where it cannot hold: ``"shared"`` for
    ``"packed"`` under checkpointing, both for ``"two_rows"`` under active dropout.

    Args:
        model: a transformers causal language model, also wrapped by PEFT or for
            distributed training. What is chosen here is checked against its own forward.
        form: ``"auto"``, ``"two_rows"``, ``"shared"`` or ``"packed"``.
        head: ``"auto"``, ``"linear"``, ``"own"`` or ``"full"`` (see ``projection``).
        chunk_tokens: hidden states projected at a time; by default as many as fill a buffer.
        row_tokens: tokens that a packed row may hold; at least the longest pair's. By
            default 0 with a dense mask and 8192 with FlexAttention.
        padding_side: of ``two_rows``; results do not depend on it.

    Raises:
        ParameterError: for an option outside its rule.
        IncompatibleError: for a prompt-learning adapter, no transformers model, or a form
            or head asked for by name that does not give the model's own numbers.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> tiny = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1)
        >>> config = LlamaConfig(vocab_size=32, num_attention_heads=2, **tiny)
        >>> engine = LogProbs(model := LlamaForCausalLM(config))
        >>> engine.form, engine.head
        ('shared', 'linear')
        >>> batch = TokenBatch(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([[2, 1, 2]]))
        >>> engine(model, batch).lengths.tolist()
        [[1, 2]]
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        form: Literal["auto", "two_rows", "shared", "packed"] = "auto",
        head: Literal["auto", "linear", "own", "full"] = "auto",
        chunk_tokens: int | None = None,
        row_tokens: int | None = None,
        padding_side: Side = "right",
    ) -> None:
        LogProbsOptions(
            form=form,
            head=head,
            padding_side=padding_side,
            chunk_tokens=chunk_tokens,
            row_tokens=row_tokens,
        )
        core = core_of(model)
        device = device_of(core)
        self.padding_side: Side = padding_side
        self.chunk_tokens = chunk_tokens
        self._asked = form
        self._projection = choose(core, head)
        self._kernel = kernel_of(core.get_input_embeddings().weight)
        self._limit = stretching_length(core) or math.inf
        self._horizon = horizon_of(core) or math.inf
        warn_of_router_loss(core)
        self._noisy = has_dropout(core) or self._differs_from_itself(model)
        self._differences: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._row_tokens = row_tokens or 0
        self._forms: tuple[Form, ...] = self._holding(model)
        self._cost = cost_of(core, device)
        if row_tokens is None and self._cost.sparse:
            self._row_tokens = _SPARSE_ROW
        # Ranks of a sharded model must make the same number of passes.
        sharded = any("FSDP" in type(part).__name__ for part in (model, core))
        self._splits = form == "auto" and device.type == "cpu" and not sharded
        self._facts = {
            "attention": attention_of(core),
            "dtype": precision_of(core),
            "form_rule": RULE.format(slowdown=slowdown_on(device)),
        }

    @property
    def form(self) -> Form:
        """The first choice among the layouts that hold."""
        return self._forms[0]

    @property
    def head(self) -> HeadKind:
        """The head that was chosen."""
        return self._projection.kind

    def describe(self) -> dict[str, Any]:
        """What was chosen and what the checks found, for the record of a run."""
        return {
            "engine_version": ENGINE_VERSION,
            "form": self.form,
            "forms": list(self._forms),
            "form_difference": dict(self._differences),
            "form_refused": dict(self._reasons),
            "active_dropout": self._noisy,
            "head": self.head,
            "head_kernel": self._kernel,
            "logit_scale": self._projection.shape.scale,
            "logit_softcap": self._projection.shape.softcap,
            "chunk_tokens": self.chunk_tokens,
            "row_tokens": self._row_tokens,
            "head_difference": dict(self._projection.differences),
            **self._facts,
        }

    def __call__(self, model: nn.Module, batch: TokenBatch) -> SequenceScores:
        """Sums and lengths of every response, differentiable.

        Args:
            model: the model that the engine was made for, or one of its architecture.
            batch: B prompts with K responses each, on any device.

        Raises:
            DataError: naming the rows that have nothing to score.
        """
        values, lengths = self._score(model, batch)
        # Float64 on the way: the order of a sum of hundreds of terms must not show.
        exact = values if values.device.type == "mps" else values.double()
        return SequenceScores(exact.sum(-1).float(), lengths)

    def token_values(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """Log-probability of each response token, float32 ``(B, K, R)``, 0 after the end."""
        return self._score(model, batch)[0]

    def form_of(self, model: nn.Module, batch: TokenBatch) -> Form:
        """The layout that a batch gets if the model is called on it now, unsplit."""
        return self._form_for(core_of(model), batch.lengths)

    def _score(self, model: nn.Module, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        core = core_of(model)
        groups = self._groups(batch)
        parts = [self._laid_out(core, part) for part in _taken(batch, groups)]
        with scoring_mode(model):
            values = inside(model, lambda: [self._values(core, rows) for rows in parts])
        if len(parts) == 1:
            return values[0], parts[0].lengths
        width = max(rows.width for rows in parts)
        whole = torch.cat([_widened(part, width) for part in values])
        lengths = torch.cat([rows.lengths for rows in parts])
        order = [row for group in groups for row in group]
        back = torch.tensor(order, device=whole.device).argsort()
        return whole[back], lengths[back]

    def _groups(self, batch: TokenBatch) -> list[list[int]]:
        if not self._splits or batch.lengths.ndim != 2:
            return [[]]
        total = int(batch.lengths.clamp(min=0).sum())
        return similar(batch.lengths) if total == len(batch.tokens) else [[]]

    def _laid_out(self, core: Any, batch: TokenBatch) -> Rows:
        return self._rows(core, batch, self._form_for(core, batch.lengths), self._row_tokens)

    def _rows(self, core: Any, batch: TokenBatch, form: Form, row_tokens: int) -> Rows:
        if form == "packed":
            block = BLOCK if attention_of(core) == "flex_attention" else 1
            rows = pack(batch, row_tokens=row_tokens, block=block)
        else:
            rows = lay_out(batch, form, padding_side=self.padding_side)
        return rows.to(device_of(core))

    def _form_for(self, core: Any, lengths: Tensor) -> Form:
        """The cheapest layout among those that hold for this call."""
        forms: tuple[Form, ...] = self._forms
        if lengths.ndim != 2 or lengths.shape[1] < 2 or not len(lengths):
            return "two_rows"  # which says what is wrong
        longest = int((lengths[:, :1] + lengths[:, 1:]).max())
        widest = int(lengths[:, 0].max() + lengths[:, 1:].sum(1).max())
        noisy = self._noisy and core.training and torch.is_grad_enabled()
        if noisy or longest >= self._limit or widest > self._horizon:
            return "two_rows"
        if recomputes(core) and torch.is_grad_enabled():
            forms = forms[1:] if forms[0] == "shared" else forms
        if self._asked != "auto":
            return forms[0]
        costs = [multiply_adds(lengths, f, self._cost, self._row_tokens) for f in forms]
        return forms[costs.index(min(costs))]

    def _values(self, core: Any, rows: Rows) -> Tensor:
        """Log-probability of each response token ``(B, K, R)``, 0 after the end."""
        values = self._token_scores(core, rows)
        padded = values.new_zeros(rows.lengths.numel() * rows.width)
        padded = padded.index_put((rows.cell,), values)
        return padded.view(*rows.lengths.shape, rows.width)

    def _token_scores(self, core: Any, rows: Rows) -> Tensor:
        if self.head == "full":
            logits = run_body(core, rows.passes[0]).logits.flatten(0, 1)
            return log_softmax_at(logits[rows.source], rows.targets)
        body = bodies_of(core)[self._projection.body]
        with record_function(FORWARD):
            output, hidden = states_of(core, body, rows)
        with record_function(HEAD):
            return project(
                core,
                self._projection,
                hidden[rows.source],
                rows.targets,
                output=output,
                chunk_tokens=self.chunk_tokens,
            )

    def _holding(self, model: nn.Module) -> tuple[Form, ...]:
        """The layouts that hold for a model, the first choice first."""
        if self._asked == "two_rows":
            return ("two_rows",)
        core = core_of(model)
        wanted: tuple[Form, ...] = _SHARING[1:] if self._asked == "packed" else _SHARING
        for form in wanted:
            problem = self._why_not(model, form)
            if problem:
                self._reasons[form] = problem
                message = f"{type(core).__name__} cannot use form={form!r}: {problem}"
                if form == self._asked:
                    raise IncompatibleError(f"{message}; use form='auto'.")
                _log.info("%s; another layout is used.", message)
        holding: list[Form] = [form for form in wanted if form not in self._reasons]
        return (*holding, "two_rows")

    def _why_not(self, model: nn.Module, form: Form) -> str:
        core = core_of(model)
        if self.head == "full":
            return "full logits need every row whole"
        if self.padding_side == "left":
            return "only two_rows is padded on the left"
        if form == "packed":
            problem = prepare_packing(core)
            if problem:
                return problem
        try:
            difference = self._difference(model, form)
        except NoSharedCacheError as error:
            return str(error)
        except STRANGE as error:  # a forward that takes no mask of our making
            return f"its forward fails ({type(error).__name__}: {error})"
        self._differences[form] = difference
        if difference > tolerance(core.dtype):
            return f"log-probabilities differ by {difference:.2g} (relative)"
        if torch.finfo(core.dtype).bits >= 32:  # else rounding hides what is looked for
            difference = self._states_difference(model, form)
            if difference > tolerance(core.dtype):
                return f"hidden states differ by {difference:.2g} (relative)"
        return ""

    @torch.no_grad()
    def _difference(self, model: nn.Module, form: Form) -> float:
        """Largest relative difference of a form from ``two_rows`` on a tiny batch."""
        core = core_of(model)
        batch = probe_batch(core)
        with short_window(core, _PROBE_WINDOW), scoring_mode(model):
            plain, found = (self._probed(model, batch, f).sum(-1) for f in ("two_rows", form))
        return float(((found - plain) / plain).abs().max())

    @torch.no_grad()
    def _states_difference(self, model: nn.Module, form: Form) -> float:
        """The same of what the head reads: weights before training hardly move a logit."""
        core = core_of(model)
        batch, body = probe_batch(core), bodies_of(core)[self._projection.body]

        def states(rows: Rows) -> Tensor:
            hidden = inside(model, lambda: states_of(core, body, rows)[1])
            return hidden[rows.source][rows.cell.argsort()]

        with short_window(core, _PROBE_WINDOW), scoring_mode(model):
            ways = (self._rows(core, batch, f, len(batch.tokens)) for f in ("two_rows", form))
            plain, found = map(states, ways)
        return float(((found - plain).norm(dim=-1) / plain.norm(dim=-1)).max())

    @torch.no_grad()
    def _differs_from_itself(self, model: nn.Module) -> bool:
        """Whether two passes in training mode differ: dropout that no module shows."""
        batch = probe_batch(core_of(model))
        device = device_of(core_of(model))
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), training_mode(model):
            first, second = (self._probed(model, batch, "two_rows", seed) for seed in (1, 2))
        return not torch.equal(first, second)

    def _probed(
        self, model: nn.Module, batch: TokenBatch, form: Form, seed: int | None = None
    ) -> Tensor:
        core = core_of(model)
        # Both pairs in one packed row, or the mask would not be tried.
        rows = self._rows(core, batch, form, row_tokens=len(batch.tokens))
        if seed is not None:
            torch.manual_seed(seed)
        return inside(model, lambda: self._values(core, rows))


def _taken(batch: TokenBatch, groups: list[list[int]]) -> list[TokenBatch]:
    return [batch] if len(groups) == 1 else [select(batch, group) for group in groups]


def _widened(values: Tensor, width: int) -> Tensor:
    return nn.functional.pad(values, (0, width - values.shape[-1]))
