"""Running statistics estimated anew: the control without which ghost batches are over-credited."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from ..errors import DataError
from .ghost_norm import GhostBatchNorm, initial_share


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> nn.Module:
    """Re-estimate the running statistics of all batch-norm layers in one pass over data.

    Use it after training with few updates or a large momentum, before evaluation. Everything
    else of the model stays in evaluation mode: dropout does not disturb the statistics. They
    are those of whole batches, averaged over batches of any size with equal weight.

    Args:
        model: with batch-norm or ghost layers; changed in place, its modes are restored.
        batches: inputs of the model: a tensor, a tuple of arguments or a mapping of names.

    Returns:
        The model.

    Raises:
        DataError: if there is no batch; the statistics are then as before.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> data = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
        >>> recalibrate(model, [data])[0].running_mean.tolist()
        [1.0, 3.0]
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    modes = {module: module.training for module in model.modules()}
    sums = {layer: _Sums() for layer in layers}
    hooks = [layer.register_forward_pre_hook(sums[layer].observe) for layer in layers]
    # Set the flag itself: train(False) of a ghost layer warns of what is being mended here.
    for module in model.modules():
        module.training = module in sums
    ghosts = [layer for layer in layers if isinstance(layer, GhostBatchNorm)]
    sizes = [layer.ghost_batch_size for layer in ghosts]
    for layer in ghosts:
        layer.ghost_batch_size = sys.maxsize  # later layers see what they see in evaluation
    kept = {
        layer: {name: b.clone() for name, b in layer.named_buffers(recurse=False)}
        for layer in layers
    }
    try:
        with torch.no_grad():
            for batch in batches:
                _forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for layer, size in zip(ghosts, sizes, strict=True):
            layer.ghost_batch_size = size
        for layer, buffers in kept.items():
            for name, value in buffers.items():
                getattr(layer, name).copy_(value)
    if layers and not any(s.count for s in sums.values()):
        raise DataError("recalibrate got no batch; the running statistics are as before.")
    for layer, found in sums.items():
        found.write(layer)
    return model


def stale_share(model: nn.Module) -> dict[str, float]:
    """Share of the initial running statistics that each trained batch-norm layer still holds.

    Above 0.01 an evaluation says more about the initial statistics than it should.
    """
    shares = {
        name: initial_share(module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
    }
    return {name: share for name, share in shares.items() if share is not None}


class _Sums:
    """Means of the statistics of a layer's inputs."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.variance: Any = 0.0

    def observe(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = cast(torch.Tensor, inputs[0]).detach()
        exact = torch.promote_types(x.dtype, torch.float32)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variance, mean = torch.var_mean(x.to(exact), dim=axes, correction=1)
        self.count += 1
        self.mean = self.mean + (mean - self.mean) / self.count
        self.variance = self.variance + (variance - self.variance) / self.count

    def write(self, layer: _BatchNorm) -> None:
        if self.count:
            cast(Any, layer.running_mean).copy_(self.mean)
            cast(Any, layer.running_var).copy_(self.variance)


def _forward(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    else:
        model(batch)
