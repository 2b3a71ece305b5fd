"""A value whose gradient is known in closed form, differentiable twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Curve = Callable[[Tensor, Tensor], Tensor]
"""Product of the second derivative at a point with a direction, both float64."""


def with_slope(yhat: Tensor, value: Tensor, slope: Tensor, curve: Curve) -> Tensor:
    """``value`` as a function of ``yhat`` with the gradient ``slope``.

    Args:
        yhat: predictions, of any floating type.
        value: scalar, float64.
        slope: gradient of the value, of the shape of ``yhat``, float64.
        curve: asked only when the gradient itself is differentiated.
    """
    result: Any = _Value.apply(yhat, value, slope, curve)
    return result


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, yhat: Tensor, value: Tensor, slope: Tensor, curve: Curve) -> Tensor:
        ctx.save_for_backward(yhat, slope)
        ctx.curve = curve
        return value.to(torch.float64 if yhat.dtype == torch.float64 else torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        yhat, slope = ctx.saved_tensors
        known: Any = _Slope.apply(yhat, slope, ctx.curve)
        return grads[0].to(yhat.dtype) * known, None, None, None


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, yhat: Tensor, slope: Tensor, curve: Curve) -> Tensor:
        ctx.save_for_backward(yhat)
        ctx.curve = curve
        return slope.to(yhat.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        (yhat,) = ctx.saved_tensors
        turned = ctx.curve(yhat.double(), grads[0].double())
        return turned.to(yhat.dtype), None, None
