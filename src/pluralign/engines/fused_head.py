"""The head as kernels for a GPU: projection, soft-cap and log-sum-exp in one, tile by tile.

Each tile of logits lives in registers only. Forward, a tile leaves its log-sum-exp, and
the target's logit where it holds one; backward, it is computed again and leaves its
gradient, which two matrix products of the host library turn into the gradients of hidden
states and weight, block of vocabulary by block. Nothing is added atomically, so that the
same input gives the same bits. Loaded on a GPU only; ``TRITON_INTERPRET=1`` runs it on a
CPU, slowly, which is how it is tested where there is no GPU.
"""
# triton comes with the builds of torch for CUDA, not with those for a CPU, and its language
# has no types of its own.
# pyright: reportMissingImports=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false, reportMissingParameterType=false

from __future__ import annotations

from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .logit_shape import LogitShape

_TOKENS, _VOCABULARY, _WIDTH = 128, 128, 32  # of a tile, and of a step along the hidden size


def fused_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    shape: LogitShape,
    chunk: int,
) -> Tensor:
    """What :func:`.head.token_logprobs` returns, by kernels.

    Products are of the dtype of autocast where that is on, else of the wider one of both
    inputs; their sums, the log-sum-exp and the result are float32. The gradient of the
    logits is held in the dtype of the products, ``chunk x V`` elements at a time.

    Args:
        hidden: ``(n, H)``; float32, bfloat16 or float16.
        weight: ``(V, H)``.
        bias: ``(V,)``.
        targets: ``(n,)`` int64.
        shape: scale and soft-cap of the logits.
        chunk: hidden states whose logits may be held at a time.

    Returns:
        ``(n,)`` float32.
    """
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    apply = cast(Any, _FusedLogProbs.apply)
    return apply(hidden, weight, bias, targets, shape, chunk, dtype)


class _FusedLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        shape: LogitShape,
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.shape, ctx.chunk, ctx.dtype = shape, chunk, dtype
        hidden, targets = hidden.contiguous(), targets.contiguous()
        n, vocabulary = len(hidden), len(weight)
        target = hidden.new_zeros(n, dtype=torch.float32)
        part = hidden.new_empty((triton.cdiv(vocabulary, _VOCABULARY), n), dtype=torch.float32)
        if n:
            _launch(_scores, (hidden, weight, bias, targets), (target, part), shape, dtype)
        lse = torch.logsumexp(part, dim=0)
        ctx.save_for_backward(hidden, weight, bias, targets, lse)
        return target - lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, targets, lse = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.zeros_like(hidden, dtype=torch.float32) if wants_hidden else None
        d_weight = torch.zeros_like(weight) if wants_weight else None
        d_bias = torch.zeros_like(bias) if wants_bias else None
        narrow = hidden.to(ctx.dtype)
        for block in _blocks(len(hidden), len(weight), ctx.chunk):
            rows = weight[block]
            z = hidden.new_empty((len(hidden), len(rows)), dtype=ctx.dtype)
            piece = (hidden, rows, None if bias is None else bias[block], targets - block.start)
            _launch(_slopes, piece, (lse, grad.float().contiguous(), z), ctx.shape, ctx.dtype)
            if d_hidden is not None:
                d_hidden += _product(z, rows.to(ctx.dtype))
            if d_weight is not None:
                d_weight[block] = _product(z.t(), narrow)
            if d_bias is not None:
                d_bias[block] = z.sum(0, dtype=torch.float32)
        d_hidden = None if d_hidden is None else d_hidden.to(hidden.dtype)
        return d_hidden, d_weight, d_bias, None, None, None, None


def _blocks(n: int, vocabulary: int, chunk: int) -> list[slice]:
    """Parts of the vocabulary: whole tiles, together with all tokens ``chunk x V`` elements."""
    tiles = chunk * vocabulary // max(n, 1) // _VOCABULARY
    size = max(1, tiles) * _VOCABULARY
    starts = range(0, vocabulary if n else 0, size)
    return [slice(start, min(start + size, vocabulary)) for start in starts]


def _product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product with float32 sums."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _launch(
    kernel: Any,
    inputs: tuple[Tensor, Tensor, Tensor | None, Tensor],
    more: tuple[Tensor, ...],
    shape: LogitShape,
    dtype: torch.dtype,
) -> None:
    hidden, weight, bias, targets = inputs
    n, vocabulary = len(hidden), len(weight)
    wide = dtype == torch.float32
    # Token tiles vary fastest: a tile of the weight is read for all of them in a row.
    grid = (triton.cdiv(n, _TOKENS), triton.cdiv(vocabulary, _VOCABULARY))
    with torch.cuda.device_of(hidden):
        kernel[grid](
            hidden,
            weight.contiguous(),
            bias,
            targets,
            *more,
            n,
            vocabulary,
            hidden.shape[1],
            float(shape.scale),
            float(shape.softcap or 1.0),
            has_bias=bias is not None,
            caps=shape.softcap is not None,
            dtype=_NAMES[dtype],
            tokens=_TOKENS,
            columns=_VOCABULARY,
            steps=_WIDTH,
            num_warps=8,
            num_stages=2 if wide else 4,
        )


_NAMES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit
def _tile(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    n: tl.tensor,
    vocabulary: tl.tensor,
    size: tl.tensor,
    scale: tl.tensor,
    cap: tl.tensor,
    has_bias: tl.constexpr,
    caps: tl.constexpr,
    dtype: tl.constexpr,
    tokens: tl.constexpr,
    columns: tl.constexpr,
    steps: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """A tile of logits, its tokens and its columns of the vocabulary."""
    token = tl.program_id(0).to(tl.int64) * tokens + tl.arange(0, tokens)
    column = tl.program_id(1).to(tl.int64) * columns + tl.arange(0, columns)
    step = tl.arange(0, steps)
    z = tl.zeros((tokens, columns), dtype=tl.float32)
    for start in range(0, size, steps):
        at = start + step
        h = tl.load(
            hidden + token[:, None] * size + at[None, :],
            mask=(token[:, None] < n) & (at[None, :] < size),
            other=0.0,
        )
        w = tl.load(
            weight + column[None, :] * size + at[:, None],
            mask=(column[None, :] < vocabulary) & (at[:, None] < size),
            other=0.0,
        )
        z = tl.dot(h.to(dtype), w.to(dtype), z, input_precision="ieee")
    if has_bias:
        z += tl.load(bias + column, mask=column < vocabulary, other=0.0).to(tl.float32)[None, :]
    z *= scale
    if caps:
        z = cap * (2.0 * tl.sigmoid(2.0 * z / cap) - 1.0)  # the hyperbolic tangent
    return z, token, column


@triton.jit
def _scores(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    targets: tl.tensor,
    target_logit: tl.tensor,
    part: tl.tensor,
    n: tl.tensor,
    vocabulary: tl.tensor,
    size: tl.tensor,
    scale: tl.tensor,
    cap: tl.tensor,
    has_bias: tl.constexpr,
    caps: tl.constexpr,
    dtype: tl.constexpr,
    tokens: tl.constexpr,
    columns: tl.constexpr,
    steps: tl.constexpr,
) -> None:
    """Log-sum-exp of each tile ``(tiles, n)``, and the logit of each target ``(n,)``."""
    z, token, column = _tile(
        hidden,
        weight,
        bias,
        n,
        vocabulary,
        size,
        scale,
        cap,
        has_bias,
        caps,
        dtype,
        tokens,
        columns,
        steps,
    )
    z = tl.where(column[None, :] < vocabulary, z, float("-inf"))
    top = tl.max(z, axis=1)
    lse = top + tl.log(tl.sum(tl.exp(z - top[:, None]), axis=1))
    tl.store(part + tl.program_id(1).to(tl.int64) * n + token, lse, mask=token < n)
    target = tl.load(targets + token, mask=token < n, other=-1)
    hit = column[None, :] == target[:, None]
    logit = tl.sum(tl.where(hit, z, 0.0), axis=1)
    here = (target >= tl.program_id(1) * columns) & (target < (tl.program_id(1) + 1) * columns)
    tl.store(target_logit + token, logit, mask=here & (token < n))


@triton.jit
def _slopes(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    targets: tl.tensor,
    lse: tl.tensor,
    grad: tl.tensor,
    out: tl.tensor,
    n: tl.tensor,
    vocabulary: tl.tensor,
    size: tl.tensor,
    scale: tl.tensor,
    cap: tl.tensor,
    has_bias: tl.constexpr,
    caps: tl.constexpr,
    dtype: tl.constexpr,
    tokens: tl.constexpr,
    columns: tl.constexpr,
    steps: tl.constexpr,
) -> None:
    """Gradient of the projection ``(n, V)``, of a loss with gradient ``grad`` in the outputs."""
    z, token, column = _tile(
        hidden,
        weight,
        bias,
        n,
        vocabulary,
        size,
        scale,
        cap,
        has_bias,
        caps,
        dtype,
        tokens,
        columns,
        steps,
    )
    target = tl.load(targets + token, mask=token < n, other=-1)
    total = tl.load(lse + token, mask=token < n, other=0.0)
    factor = tl.load(grad + token, mask=token < n, other=0.0) * scale
    hit = (column[None, :] == target[:, None]).to(tl.float32)
    slope = (hit - tl.exp(z - total[:, None])) * factor[:, None]
    if caps:
        slope *= 1.0 - (z / cap) * (z / cap)
    inside = (token[:, None] < n) & (column[None, :] < vocabulary)
    tl.store(out + token[:, None] * vocabulary + column[None, :], slope.to(dtype), mask=inside)
