"""Which head a model gets: the chunked linear one, its own in chunks, or full logits.

Architectures scale or cap their logits after the projection. A guess from the
configuration is used only when it is shown to give what the model itself gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import IncompatibleError
from .head import default_chunk, token_logprobs
from .hosts import accepts, bodies_of, device_of, forward_replaced, scoring_mode
from .layout import Inputs
from .logit_shape import LogitShape

HeadKind = Literal["linear", "own", "full"]

# Factors that architectures multiply or divide their logits by, under these names.
_FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_LARGE_LOGIT = 50.0  # caps of released models lie between 15 and 50


@final
@dataclass(frozen=True)
class Projection:
    """How hidden states of a model become log-probabilities.

    Attributes:
        kind: ``"linear"`` (chunked, recomputed in the backward pass), ``"own"`` (the
            model's forward on chunks of hidden states) or ``"full"`` (all logits).
        shape: scale and soft-cap that ``linear`` applies.
        body: index of the transformer body among the candidates of the model.
        differences: largest difference from the model's own logits, for each kind tried,
            relative to the largest logit.
    """

    kind: HeadKind
    shape: LogitShape = field(default_factory=LogitShape)
    body: int = 0
    differences: dict[str, float] = field(default_factory=dict[str, float])


def choose(core: Any, head: HeadKind | Literal["auto"] = "auto") -> Projection:
    """Compare the heads with the model's own logits on a tiny batch; take the fastest right one.

    Args:
        core: a transformers causal language model.
        head: ``"auto"``, or the only kind to accept.

    Raises:
        IncompatibleError: if a head was asked for by name and its logits differ.
    """
    if head == "full":
        return Projection("full")
    with torch.no_grad(), scoring_mode(core):
        found = _right_heads(core)
    if head != "auto":
        found = [p for p in found if p.kind == head]
    if not found:
        raise IncompatibleError(
            f"{type(core).__name__} does not give its own logits through head={head!r}; "
            "use head='auto'."
        )
    if found[0].kind == "full":
        warnings.warn(
            f"{type(core).__name__}: neither a chunked linear head nor the model's own head on "
            f"selected positions gives its logits (differences {found[0].differences}); full "
            "logits are computed, which takes more memory.",
            RuntimeWarning,
            stacklevel=3,
        )
    return found[0]


def _right_heads(core: Any) -> list[Projection]:
    """Every head that gives the model's own logits; the fastest and surest first."""
    ids = _tiny_ids(core)
    positions = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
    truth = core(input_ids=ids, use_cache=False).logits
    unproven: list[Projection] = []
    tried: dict[str, float] = {}
    for index, body in enumerate(bodies_of(core)):
        try:
            output = run_body(body, Inputs(ids, positions, None))
            own = _difference(_own_logits(core, body, output, output.last_hidden_state), truth)
        except STRANGE:  # a forward that does not follow the convention
            continue
        tried["own"] = min(own, tried.get("own", own))
        proven = own <= tolerance(truth.dtype)
        linear = _linear_heads(core, index, output, truth, proven)
        if proven:
            return [*linear, Projection("own", body=index, differences={"own": own})]
        unproven += linear
    return [*unproven, Projection("full", differences=tried)]


STRANGE = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a forward that does not follow the convention may raise."""


def _linear_heads(
    core: Any, index: int, output: Any, truth: Tensor, proven: bool
) -> list[Projection]:
    """The linear heads that give the logits of a tiny batch and, if they can be had, large ones."""
    body, hidden = bodies_of(core)[index], output.last_hidden_state
    found: list[Projection] = []
    for shape in _shapes(core) if _is_plain(core.get_output_embeddings()) else ():
        gap = _difference(_linear_logits(core, hidden, shape), truth)
        if proven:
            gap = max(gap, _probe(core, body, output, hidden, shape))
        if gap <= tolerance(truth.dtype):
            found.append(Projection("linear", shape, index, {"linear": gap}))
    return found


def tolerance(dtype: torch.dtype) -> float:
    """Difference, relative to the largest value, that rounding in a dtype explains."""
    return 1e-4 if torch.finfo(dtype).bits >= 32 else 2e-2


def run_body(body: Any, inputs: Inputs, **more: Any) -> Any:
    """The output of a transformer body; positions are passed wherever it takes them."""
    if accepts(body, "position_ids"):
        more["position_ids"] = inputs.positions
    more.setdefault("use_cache", False)
    return body(input_ids=inputs.ids, attention_mask=inputs.mask, return_dict=True, **more)


def _tiny_ids(core: Any) -> Tensor:
    vocabulary = core.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(10) * 7919 + 11) % vocabulary
    return ids.view(2, 5).to(device_of(core))


def _is_plain(head: Any) -> bool:
    """A linear layer and nothing else: no adapter, no quantisation, no hook."""
    hooks = head is not None and (head._forward_hooks or head._forward_pre_hooks)
    return type(head) is nn.Linear and not hooks


def _shapes(core: Any) -> list[LogitShape]:
    """What the configuration says about the logits, in every way it could be meant."""
    config = core.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    factors = [getattr(config, name, None) for name in _FACTORS]
    scales = [float(f) for f in factors if isinstance(f, (int, float)) and f not in (0, 1)]
    return [LogitShape(s, softcap) for s in (*scales, *(1.0 / s for s in scales), 1.0)]


def _linear_logits(core: Any, hidden: Tensor, shape: LogitShape) -> Tensor:
    head = core.get_output_embeddings()
    z = nn.functional.linear(hidden, head.weight, head.bias) * shape.scale
    return z if shape.softcap is None else torch.tanh(z / shape.softcap) * shape.softcap


def _own_logits(core: Any, body: Any, output: Any, hidden: Tensor) -> Tensor:
    """The model's own head on hidden states ``(R, T, H)``: its forward without its body."""
    ids = torch.zeros(hidden.shape[:2], dtype=torch.int64, device=hidden.device)
    with forward_replaced(body, type(output)(last_hidden_state=hidden)):
        return core(input_ids=ids, use_cache=False, return_dict=True).logits


def _probe(core: Any, body: Any, output: Any, hidden: Tensor, shape: LogitShape) -> float:
    """Difference at logits so large that an unknown cap would show."""
    plain = _linear_logits(core, hidden, LogitShape())
    large = hidden * (_LARGE_LOGIT / plain.abs().max().clamp(min=1e-6))
    return _difference(_linear_logits(core, large, shape), _own_logits(core, body, output, large))


def _difference(logits: Tensor, truth: Tensor) -> float:
    if logits.shape != truth.shape:
        return float("inf")
    gap = (logits.float() - truth.float()).abs().max()
    return float(gap / truth.float().abs().max().clamp(min=1e-6))


def project(
    core: Any,
    projection: Projection,
    hidden: Tensor,
    targets: Tensor,
    *,
    output: Any,
    chunk_tokens: int | None,
) -> Tensor:
    """Log-probabilities ``(S,)`` of targets given their hidden states ``(S, H)``.

    Args:
        core: the model.
        projection: what :func:`choose` found.
        hidden: ``(S, H)``.
        targets: ``(S,)``.
        output: an output of the model's body, whose type the own head expects.
        chunk_tokens: hidden states projected at a time.
    """
    head = core.get_output_embeddings()
    if projection.kind == "linear":
        return token_logprobs(
            hidden,
            head.weight,
            targets,
            bias=head.bias,
            shape=projection.shape,
            chunk_tokens=chunk_tokens,
        )
    body = bodies_of(core)[projection.body]
    chunk = chunk_tokens or default_chunk(len(core.get_input_embeddings().weight), hidden.device)

    def piece(states: Tensor, chosen: Tensor) -> Tensor:
        return log_softmax_at(_own_logits(core, body, output, states[None])[0], chosen)

    return torch.cat([_recomputed(piece, *part) for part in _parts(hidden, targets, chunk)])


def _parts(hidden: Tensor, targets: Tensor, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(hidden.split(chunk), targets.split(chunk), strict=True)


def _recomputed(piece: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return piece(hidden, targets)
    return checkpoint(piece, hidden, targets, use_reentrant=False)  # pyright: ignore[reportReturnType]


def log_softmax_at(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability ``(S,)`` of targets under logits ``(S, V)``, at least float32."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.gather(1, targets[:, None])[:, 0] - torch.logsumexp(wide, dim=1)
