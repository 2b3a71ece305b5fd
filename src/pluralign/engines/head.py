"""The language-model head without its logits: log-probabilities chunk by chunk.

One buffer of ``chunk_tokens x vocabulary`` is reused for all chunks, forward and
backward; a tensor of all logits never exists. The last chunk's is kept for the backward
pass, which would need as much to compute it again. On a GPU ``fused_head`` does the same by
kernels, with the logits in registers.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .logit_shape import LogitShape

# Logits held at a time: near a core's cache on a CPU, enough work for a GPU.
_BUFFER_ELEMENTS = {"cpu": 2**22, "cuda": 2**27}
_LEAST_TOKENS = 128  # fewer would read the weight too often
_UPCAST_ROWS = 8192  # vocabulary rows of a low-precision weight that are widened at a time


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    shape: LogitShape | None = None,
    chunk_tokens: int | None = None,
) -> Tensor:
    """Log-probability of one target token per hidden state.

    Use it wherever the head is a plain linear layer; a head with adapters or other
    modules needs the model's own forward. Once differentiable. Logits are computed again
    in the backward pass, unless only the hidden states want a gradient: theirs is then
    made in the forward pass, which saves a product.

    ``z = cap(scale * (W h + bias));  out = z[target] - logsumexp(z)``

    Args:
        hidden: ``(n, H)``; any floating dtype.
        weight: ``(V, H)``; any floating dtype.
        targets: ``(n,)`` int64 in ``[0, V)``.
        bias: ``(V,)``.
        shape: scale and soft-cap of the logits; none by default.
        chunk_tokens: hidden states projected at a time; by default as many as fill
            a buffer of 16 MiB (512 MiB on CUDA), at least 128.

    Returns:
        ``(n,)`` in nats, float32 (float64 for float64 hidden states).

    Example:
        >>> hidden, weight = torch.zeros(3, 4), torch.zeros(10, 4)
        >>> lp = token_logprobs(hidden, weight, torch.tensor([0, 5, 9]))
        >>> [round(x, 4) for x in lp.tolist()]
        [-2.3026, -2.3026, -2.3026]
    """
    chunk = chunk_tokens or default_chunk(len(weight), hidden.device)
    shape = shape or LogitShape()
    if kernel_of(hidden) == "triton":
        from .fused_head import fused_logprobs  # never loaded where it cannot run

        return fused_logprobs(hidden, weight, bias, targets, shape, chunk)
    frozen = not (weight.requires_grad or (bias is not None and bias.requires_grad))
    ahead = torch.is_grad_enabled() and hidden.requires_grad and frozen
    apply = cast(Any, (_HiddenOnly if ahead else _TokenLogProbs).apply)
    return apply(hidden, weight, bias, targets, shape, chunk)


def kernel_of(hidden: Tensor) -> Literal["triton", "torch"]:
    """What computes the head for hidden states of that dtype, where they lie."""
    if not hidden.is_cuda or hidden.dtype == torch.float64 or find_spec("triton") is None:
        return "torch"
    # Older GPUs have no bfloat16 and too little memory on the chip for the tiles.
    return "triton" if torch.cuda.get_device_capability(hidden.device) >= (8, 0) else "torch"


def default_chunk(vocabulary: int, device: torch.device) -> int:
    """Hidden states projected at a time if the caller does not say."""
    elements = _BUFFER_ELEMENTS.get(device.type, _BUFFER_ELEMENTS["cpu"])
    return max(_LEAST_TOKENS, elements // vocabulary)


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: LogitShape,
        chunk: int,
    ) -> Tensor:
        out, lse, last = _scored(hidden, weight, bias, targets, shape, chunk)
        ctx.save_for_backward(hidden, weight, bias, targets, lse)
        ctx.shape, ctx.chunk, ctx.last = shape, chunk, _Last(last)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, targets, lse = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        wide = _wide(hidden)
        d_hidden = torch.zeros_like(hidden, dtype=wide) if wants_hidden else None
        d_weight = torch.zeros_like(weight, dtype=wide) if wants_weight else None
        d_bias = torch.zeros_like(bias, dtype=wide) if wants_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            last, buffer = ctx.last.taken(), None
            for rows in reversed(_chunks(len(hidden), ctx.chunk)):
                if last is not None:
                    z = _d_kept(last, targets[rows], grad[rows], ctx.shape)
                else:
                    buffer = _buffer(hidden, weight, ctx.chunk) if buffer is None else buffer
                    z = _logits(buffer, hidden[rows], weight, bias, ctx.shape)
                    z = _d_logits(z, lse[rows], targets[rows], grad[rows], ctx.shape)
                if d_hidden is not None:
                    _add_product(d_hidden[rows], z, weight)
                if d_weight is not None:
                    d_weight.addmm_(z.t(), hidden[rows].to(wide))
                if d_bias is not None:
                    d_bias += z.sum(0)
                z = last = None  # before the buffer is made
        return (
            None if d_hidden is None else d_hidden.to(hidden.dtype),
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
            None,
        )


class _HiddenOnly(torch.autograd.Function):
    """The head whose weight is frozen: a loss scales the gradient of each row, no more."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: LogitShape,
        chunk: int,
    ) -> Tensor:
        slope = torch.zeros_like(hidden, dtype=_wide(hidden))
        out, _, _ = _scored(hidden, weight, bias, targets, shape, chunk, slope)
        ctx.save_for_backward(slope)
        ctx.dtype = hidden.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return (slope * grad[:, None]).to(ctx.dtype), None, None, None, None, None


class _Exponentials(NamedTuple):
    """``exp(z - max z)`` of a chunk, and the sum of each row."""

    values: Tensor
    sums: Tensor


class _Last:
    """Keeps the last chunk of the newest call only; a batch of many calls computes again."""

    _newest: weakref.ref[_Last] | None = None

    def __init__(self, kept: _Exponentials | None) -> None:
        before = _Last._newest and _Last._newest()
        if before is not None:
            before.taken()
        self._kept = kept
        _Last._newest = weakref.ref(self)

    def taken(self) -> _Exponentials | None:
        """What is kept, once: the backward pass writes over it."""
        kept, self._kept = self._kept, None
        return kept


def _scored(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    shape: LogitShape,
    chunk: int,
    slope: Tensor | None = None,
) -> tuple[Tensor, Tensor, _Exponentials | None]:
    """Log-probabilities, log-sum-exps, and what is left of the last chunk.

    The derivatives by hidden state go to ``slope``; then, or with a soft-cap, whose
    derivative needs the logits, nothing of use is left.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        out = torch.empty(len(hidden), dtype=_wide(hidden), device=hidden.device)
        lse = torch.empty_like(out)
        buffer, last = _buffer(hidden, weight, chunk), None
        for rows in _chunks(len(hidden), chunk):
            z = _logits(buffer, hidden[rows], weight, bias, shape)
            at_target = z.gather(1, targets[rows, None])[:, 0]
            if slope is None:
                lse[rows], last = _exponentiate(z)
            else:
                lse[rows] = torch.logsumexp(z, dim=1)
                one = torch.ones_like(lse[rows])
                d_z = _d_logits(z, lse[rows], targets[rows], one, shape)
                _add_product(slope[rows], d_z, weight)
            out[rows] = at_target - lse[rows]
    return out, lse, last if shape.softcap is None else None


def _wide(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def _buffer(hidden: Tensor, weight: Tensor, chunk: int) -> Tensor:
    size = (min(chunk, len(hidden)), len(weight))
    return torch.empty(size, dtype=_wide(hidden), device=hidden.device)


def _chunks(size: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, size)) for start in range(0, size, chunk)]


def _weight_blocks(weight: Tensor, wide: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """The weight in the accumulation dtype; a low-precision one a block at a time."""
    rows = len(weight) if weight.dtype == wide else _UPCAST_ROWS
    return ((block, weight[block].to(wide)) for block in _chunks(len(weight), rows))


def _logits(
    buffer: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None, shape: LogitShape
) -> Tensor:
    z = buffer[: len(hidden)]
    if hidden.is_cuda and hidden.dtype == weight.dtype and hidden.dtype != z.dtype:
        z = torch.mm(hidden, weight.t(), out_dtype=z.dtype)  # tensor cores, float32 sums
    else:
        wide = hidden.to(z.dtype)
        for block, rows in _weight_blocks(weight, z.dtype):
            torch.mm(wide, rows.t(), out=z[:, block])
    if bias is not None:
        z += bias
    if shape.scale != 1.0:
        z *= shape.scale
    if shape.softcap is not None:
        z.div_(shape.softcap).tanh_().mul_(shape.softcap)
    return z


def _exponentiate(z: Tensor) -> tuple[Tensor, _Exponentials]:
    """Log-sum-exp of each row; the exponentials are written over the logits."""
    top = z.amax(1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    sums = z.sub_(top).exp_().sum(1)
    return sums.log().add_(top[:, 0]), _Exponentials(z, sums)


def _d_logits(z: Tensor, lse: Tensor, targets: Tensor, grad: Tensor, shape: LogitShape) -> Tensor:
    """Gradient of the projection, written over the logits ``z`` where that is possible."""
    slope = None
    if shape.softcap is not None:
        slope = 1.0 - (z / shape.softcap).square_()
    factor = grad.to(z.dtype)[:, None] * shape.scale
    z.sub_(lse[:, None]).exp_().mul_(-factor)
    z.scatter_add_(1, targets[:, None], factor)
    return z if slope is None else z.mul_(slope)


def _d_kept(last: _Exponentials, targets: Tensor, grad: Tensor, shape: LogitShape) -> Tensor:
    """Gradient of the projection from the exponentials that were kept, written over them."""
    z = last.values
    factor = grad.to(z.dtype)[:, None] * shape.scale
    return z.mul_(-factor / last.sums[:, None]).scatter_add_(1, targets[:, None], factor)


def _add_product(out: Tensor, z: Tensor, weight: Tensor) -> None:
    for block, rows in _weight_blocks(weight, z.dtype):
        out.addmm_(z[:, block], rows)
