"""Sequence log-probabilities of a transformers causal language model.

Three things vary and are chosen apart: the layout of a batch (``layout``), the head
(``projection``), and what is summed here. Logits of shape ``[B, T, V]`` never exist.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from ..errors import IncompatibleError
from ..rules import AnyOf, OneOf, Within, check
from ..scores import TokenBatch
from .hosts import (
    attention_of,
    bodies_of,
    core_of,
    device_of,
    has_dropout,
    inside,
    precision_of,
    recomputes,
    scoring_mode,
    stretches_positions,
)
from .layout import Form, Rows, Side, lay_out
from .projection import HeadKind, choose, log_softmax_at, project, run_body, tolerance

ENGINE_VERSION = 1
"""Raised when the numbers an engine returns change; part of the key of a reference cache."""

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

    form: Annotated[str, OneOf("auto", "two_rows", "shared")]
    head: Annotated[str, OneOf("auto", "linear", "own", "full")]
    padding_side: Annotated[str, OneOf("right", "left")]
    chunk_tokens: Annotated[int | None, AnyOf(None, Within(1, integer=True))]

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

    ``form="shared"`` computes each prompt once and lets all its responses see its keys
    and values. It is left, call by call, for ``"two_rows"`` where it cannot hold:
    activation checkpointing, active dropout, an empty prompt.

    Args:
        model: a transformers causal language model, also wrapped by PEFT or for
            distributed training. What is chosen here is checked against its own forward.
        form: ``"auto"``, ``"two_rows"`` or ``"shared"``.
        head: ``"auto"``, ``"linear"``, ``"own"`` or ``"full"`` (see ``projection``).
        chunk_tokens: hidden states projected at a time; by default as many as fill a buffer.
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
        form: Literal["auto", "two_rows", "shared"] = "auto",
        head: Literal["auto", "linear", "own", "full"] = "auto",
        chunk_tokens: int | None = None,
        padding_side: Side = "right",
    ) -> None:
        LogProbsOptions(form=form, head=head, padding_side=padding_side, chunk_tokens=chunk_tokens)
        core = core_of(model)
        self.padding_side: Side = padding_side
        self.chunk_tokens = chunk_tokens
        self._projection = choose(core, head)
        self._dropout = has_dropout(core)
        self._form_difference: float | None = None
        self._form: Form = "two_rows"
        self._form = self._choose_form(model, form)
        self._facts = {"attention": attention_of(core), "dtype": precision_of(core)}

    @property
    def form(self) -> Form:
        """The layout that was chosen."""
        return self._form

    @property
    def head(self) -> HeadKind:
        """The head that was chosen."""
        return self._projection.kind

    def describe(self) -> dict[str, Any]:
        """What was chosen and what the checks found, for the record of a run."""
        return {
            "engine_version": ENGINE_VERSION,
            "form": self.form,
            "head": self.head,
            "logit_scale": self._projection.shape.scale,
            "logit_softcap": self._projection.shape.softcap,
            "chunk_tokens": self.chunk_tokens,
            "head_difference": dict(self._projection.differences),
            "form_difference": self._form_difference,
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

    def _score(self, model: nn.Module, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        core = core_of(model)
        form = self._form_for(core)
        rows = lay_out(batch, form, padding_side=self.padding_side).to(device_of(core))
        with scoring_mode(model):
            values = inside(model, lambda: self._token_scores(core, rows))
        padded = values.new_zeros(rows.lengths.numel() * rows.width)
        padded = padded.index_put((rows.cell,), values)
        return padded.view(*rows.lengths.shape, rows.width), rows.lengths

    def _form_for(self, core: Any) -> Form:
        noisy = self._dropout and core.training and torch.is_grad_enabled()
        return "two_rows" if noisy or recomputes(core) else self._form

    def _token_scores(self, core: Any, rows: Rows) -> Tensor:
        if self.head == "full":
            logits = run_body(core, rows.passes[0]).logits.flatten(0, 1)
            return log_softmax_at(logits[rows.source], rows.targets)
        body = bodies_of(core)[self._projection.body]
        output, hidden = _shared_pass(body, rows) if rows.form == "shared" else _pass(body, rows)
        return project(
            core,
            self._projection,
            hidden[rows.source],
            rows.targets,
            output=output,
            chunk_tokens=self.chunk_tokens,
        )

    def _choose_form(self, model: nn.Module, form: str) -> Form:
        if form == "two_rows":
            return "two_rows"
        problem = self._why_not_shared(model)
        if not problem:
            return "shared"
        message = f"{type(core_of(model)).__name__} cannot share prompts: {problem}"
        if form == "shared":
            raise IncompatibleError(f"{message}; use form='auto'.")
        _log.info("%s; one row per response is used.", message)
        return "two_rows"

    def _why_not_shared(self, model: nn.Module) -> str:
        core = core_of(model)
        if self.head == "full":
            return "full logits need every row whole"
        if self.padding_side == "left":
            return "prompts are padded on the right"
        if stretches_positions(core):
            return "its rotary frequencies depend on the length of a row"
        try:
            self._form_difference = self._difference_when_shared(model, _probe_batch(core))
        except _NoSharedCacheError as error:
            return str(error)
        if self._form_difference <= tolerance(core.dtype):
            return ""
        return f"log-probabilities differ by {self._form_difference:.2g} (relative)"

    @torch.no_grad()
    def _difference_when_shared(self, model: nn.Module, batch: TokenBatch) -> float:
        plain = self(model, batch).sums
        self._form = "shared"
        try:
            return float(((self(model, batch).sums - plain) / plain).abs().max())
        finally:
            self._form = "two_rows"


class _NoSharedCacheError(TypeError):
    """The model's cache does not hold plain keys and values."""


def _pass(body: Any, rows: Rows) -> tuple[Any, Tensor]:
    output = run_body(body, rows.passes[0])
    return output, output.last_hidden_state.flatten(0, 1)


def _shared_pass(body: Any, rows: Rows) -> tuple[Any, Tensor]:
    prompts, responses = rows.passes
    output = run_body(body, prompts, use_cache=True)
    states = output.last_hidden_state.flatten(0, 1)
    if responses.ids.shape[1] == 0:
        return output, states
    cache = output.past_key_values
    _require_plain(cache)
    cache.batch_repeat_interleave(rows.lengths.shape[1])
    after = run_body(body, responses, use_cache=True, past_key_values=cache)
    return output, torch.cat([states, after.last_hidden_state.flatten(0, 1)])


def _require_plain(cache: Any) -> None:
    from transformers.cache_utils import DynamicLayer

    layers: Sequence[Any] = getattr(cache, "layers", ())
    kinds = {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    if kinds or not layers:
        raise _NoSharedCacheError(f"its cache has layers {sorted(kinds)} besides plain ones")


def _probe_batch(core: Any) -> TokenBatch:
    """Two prompts of unequal length with two responses of unequal length each."""
    lengths = torch.tensor([[7, 3, 5], [4, 1, 2]])
    vocabulary = core.get_input_embeddings().weight.shape[0]
    tokens = (torch.arange(int(lengths.sum())) * 7919 + 13) % vocabulary
    return TokenBatch(tokens, lengths)
