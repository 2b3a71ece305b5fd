r"""Ghost batch normalisation: the statistics of small batches inside a large one.

With ghosts :math:`G_1..G_K` of a batch, for channel c over :math:`q_k` values,

.. math::
    y = weight_c \frac{x - \mu_{kc}}{\sqrt{\sigma^2_{kc} + \epsilon}} + bias_c
    \quad\text{for } x \in G_k .

The default grouping is interleaved: row :math:`jK + k` belongs to ghost k, so that a contiguous
``(N, C, *S)`` tensor *is* an ``(n, K C, *S)`` tensor and one stock kernel does all ghosts.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, Literal, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from ..errors import DataQualityWarning, IncompatibleError, ParameterError
from ..rules import AnyOf, OneOf, Within, shown

Grouping = Literal["interleaved", "contiguous"]
RunningUpdate = Literal["sequential", "scaled", "mean"]
Remainder = Literal["own", "merge", "error"]
Model = TypeVar("Model", bound=nn.Module)

STALE = 0.01
"""Share of the initial running statistics from which evaluation is warned about."""

_RULES = {
    "ghost_batch_size": Within(1, None, integer=True),
    "grouping": OneOf("interleaved", "contiguous"),
    "running_update": OneOf("sequential", "scaled", "mean"),
    "remainder": OneOf("own", "merge", "error"),
    "eps": Within(0.0, None, closed="neither"),
    "momentum": AnyOf(None, Within(0.0, 1.0, closed="right")),
}


class GhostBatchNorm(_BatchNorm):
    """What the layers for one, two and three spatial axes share.

    Args:
        num_features: channels C.
        ghost_batch_size: rows of a ghost, n (``virtual_batch_size`` elsewhere). A batch of
            at most n rows is an ordinary batch.
        eps: added to the variance.
        momentum: weight of new statistics in (0, 1]; ``None`` averages all of them.
        affine: learn ``weight`` and ``bias``, shared by all ghosts.
        track_running_stats: keep statistics for evaluation; without them evaluation uses
            ghosts exactly as training does.
        grouping: ``"interleaved"`` (rows k, k + K, ...: one kernel without a copy) or
            ``"contiguous"`` (rows (k-1)n..kn-1, as published). They are equal in law for
            shuffled batches.
        running_update: ``"sequential"`` updates once for each ghost in turn (the authors'
            code), ``"scaled"`` does so with ``momentum / K``, ``"mean"`` once with the average.
        remainder: rows left over by K full ghosts are a ghost of their ``"own"``, join the
            last (``"merge"``) or are an ``"error"``.
        device: as for torch layers.
        dtype: as for torch layers.

    Raises:
        ParameterError: for a setting out of range, or a batch that cannot be normalised.
    """

    axes: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        ghost_batch_size: int = 128,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        grouping: Grouping = "interleaved",
        running_update: RunningUpdate = "sequential",
        remainder: Remainder = "own",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.ghost_batch_size = ghost_batch_size
        self.grouping: Grouping = grouping
        self.running_update: RunningUpdate = running_update
        self.remainder: Remainder = remainder
        owner = type(self).__name__
        broken = [
            f"{owner}.{name} must be {rule.wants()}; got {shown(getattr(self, name))}."
            for name, rule in _RULES.items()
            if not rule.admits(getattr(self, name))
        ]
        if broken:
            raise ParameterError("\n".join(broken))

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch of shape (N, C, *S); the result has its shape and dtype."""
        self._check_input_dim(input)
        rows = len(input)
        if not (self.training or self.running_mean is None):
            return super().forward(input)
        if rows <= self.ghost_batch_size:
            self._check_ghost(rows, rows, input)
            return super().forward(input)
        sizes = self._sizes(rows)
        self._check_ghost(min(sizes), rows, input)
        normalised, means, variances = self._normalise(input, sizes)
        if self.running_mean is not None:
            with torch.no_grad():
                self._update(torch.cat(means), torch.cat(variances))
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised)

    def train(self, mode: bool = True) -> GhostBatchNorm:
        """Switch modes; going to evaluation warns if the running statistics are stale."""
        if self.training and not mode:
            share = initial_share(self)
            if share is not None and share > STALE:
                warnings.warn(
                    f"{type(self).__name__}: {share:.0%} of the running statistics are still their "
                    "initial values; evaluate after pluralign.nn.recalibrate(model, batches).",
                    DataQualityWarning,
                    stacklevel=2,
                )
        super().train(mode)
        return self

    def extra_repr(self) -> str:
        """Settings, as torch layers show them."""
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self.axes:
            wanted = " or ".join(f"{axes}D" for axes in self.axes)
            raise ParameterError(
                f"{type(self).__name__} takes {wanted} input; got shape {tuple(input.shape)}."
            )
        if input.shape[1] != self.num_features:
            raise ParameterError(
                f"{type(self).__name__} has {self.num_features} channels; got {input.shape[1]} "
                f"in an input of shape {tuple(input.shape)}."
            )
        if not input.is_floating_point():
            raise ParameterError(
                f"{type(self).__name__} takes floating-point input; got {input.dtype}."
            )

    def _check_ghost(self, smallest: int, rows: int, input: Tensor) -> None:
        values = smallest * input[0, 0].numel() if rows else 0
        if values < 2:
            raise ParameterError(
                f"{type(self).__name__}: a batch of {rows} rows in ghosts of "
                f"{self.ghost_batch_size} leaves {values} value(s) per channel in a ghost, and a "
                'variance needs 2; use remainder="merge", another ghost_batch_size, or drop_last.'
            )

    def _sizes(self, rows: int) -> list[int]:
        """Rows of each ghost; all equal but for the last."""
        full, left = divmod(rows, self.ghost_batch_size)
        sizes = [self.ghost_batch_size] * full
        if not left:
            return sizes
        if self.remainder == "error":
            raise ParameterError(
                f"{type(self).__name__}: {rows} rows are no multiple of ghost_batch_size "
                f'{self.ghost_batch_size}; use remainder="own" or "merge", or drop_last.'
            )
        if self.remainder == "merge":
            return [*sizes[:-1], sizes[-1] + left]
        return [*sizes, left]

    def _normalise(
        self, x: Tensor, sizes: list[int]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Parts of the result in order, and mean and unbiased variance of each ghost, (K, C)."""
        equal = sizes if sizes[-1] == sizes[0] else sizes[:-1]
        # A slice of all rows would cost a copy in backward.
        full, *left = (x,) if len(equal) == len(sizes) else x.split([sum(equal), sizes[-1]])
        if self.grouping == "interleaved":
            parts = [(full, len(equal))]
        else:
            parts = [(rows, 1) for rows in full.split(sizes[0])]
        parts += [(rows, 1) for rows in left]
        done = [self._one_kernel(rows, ghosts) for rows, ghosts in parts]
        normalised, means, variances = zip(*done, strict=True)
        return list(normalised), list(means), list(variances)

    def _one_kernel(self, x: Tensor, ghosts: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch-normalise interleaved ghosts as channels of their own."""
        rows, channels = len(x) // ghosts, self.num_features
        # Half precision keeps its statistics in float32; with momentum 1 the kernel leaves
        # exactly the ghosts' means and unbiased variances in the buffers: no second pass.
        exact = torch.promote_types(x.dtype, torch.float32)
        mean = torch.zeros(ghosts * channels, dtype=exact, device=x.device)
        variance = torch.ones_like(mean)
        weight, bias = (
            p.to(exact).repeat(ghosts) if self.affine else None for p in (self.weight, self.bias)
        )
        view = x.reshape(rows, ghosts * channels, *x.shape[2:])
        y = functional.batch_norm(view, mean, variance, weight, bias, True, 1.0, self.eps)
        return y.view(x.shape), mean.view(ghosts, channels), variance.view(ghosts, channels)

    def _update(self, means: Tensor, variances: Tensor) -> None:
        ghosts = len(means)
        in_turn = self.running_update == "sequential"
        steps = ghosts if in_turn else 1
        tracked: Any = self.num_batches_tracked
        tracked.add_(steps)
        if self.momentum is None:  # the plain average of all statistics so far
            keep: Any = (tracked - steps) / tracked
            share = torch.full((ghosts,), 1.0 / ghosts, dtype=means.dtype, device=means.device)
            share = share * (1 - keep)
        else:
            momentum = self.momentum / ghosts if self.running_update == "scaled" else self.momentum
            one_by_one = self.running_update != "mean"
            keep = (1 - momentum) ** (ghosts if one_by_one else 1)
            age = torch.arange(ghosts - 1, -1, -1, dtype=means.dtype, device=means.device)
            share = momentum * (1 - momentum) ** age
            if not one_by_one:
                share = torch.full_like(age, momentum / ghosts)
        pairs: Any = ((self.running_mean, means), (self.running_var, variances))
        for running, new in pairs:
            running.mul_(keep).add_((share.to(new.dtype) @ new).to(running.dtype))


@final
class GhostBatchNorm1d(GhostBatchNorm):
    """Ghost batch normalisation of (N, C) or (N, C, L); see :class:`GhostBatchNorm`.

    Use it in networks with batch normalisation that train on batches much larger than the
    statistics should be taken over. Networks with layer or RMS normalisation have nothing
    to gain. With few updates most of the effect is that running statistics are updated more
    often: compare with ``recalibrate`` before crediting the ghosts.

    Example:
        >>> layer = GhostBatchNorm1d(3, ghost_batch_size=4)
        >>> y = layer(torch.randn(8, 3))
        >>> bool(y[::2].mean(0).abs().max() < 1e-6)  # rows 0, 2, 4, 6 are one ghost
        True

    Differs from the paper:
        Groups are interleaved by default (ours); ``grouping="contiguous"`` is the paper's.

    References:
        Hoffer, Hubara, Soudry, 2017, arXiv 1705.08741.
    """

    axes = (2, 3)


@final
class GhostBatchNorm2d(GhostBatchNorm):
    """Ghost batch normalisation of (N, C, H, W); see :class:`GhostBatchNorm1d`."""

    axes = (4,)


@final
class GhostBatchNorm3d(GhostBatchNorm):
    """Ghost batch normalisation of (N, C, D, H, W); see :class:`GhostBatchNorm1d`."""

    axes = (5,)


def initial_share(layer: _BatchNorm) -> float | None:
    """Share of a layer's initial running statistics that is left, if it was trained at all."""
    if layer.num_batches_tracked is None or layer.momentum is None:
        return None
    tracked = int(layer.num_batches_tracked)
    return (1 - layer.momentum) ** tracked if tracked else None


_GHOST_OF: dict[type[nn.Module], type[GhostBatchNorm]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    nn.BatchNorm3d: GhostBatchNorm3d,
}


def convert_ghost_norm(
    model: nn.Module,
    ghost_batch_size: int = 128,
    *,
    grouping: Grouping = "interleaved",
    running_update: RunningUpdate = "sequential",
    remainder: Remainder = "own",
    skip: Collection[str] = (),
) -> nn.Module:
    """The model with ghost layers in place of its batch-norm layers, which is changed in place.

    The new layers own the same parameters and buffers, so optimisers keep working and
    checkpoints interchange with plain batch normalisation. Across processes the statistics
    stay local to each process, as for plain batch normalisation.

    Args:
        model: any module; if it is itself a batch-norm layer, the new layer is returned.
        ghost_batch_size: rows of a ghost.
        grouping: see :class:`GhostBatchNorm`.
        running_update: see :class:`GhostBatchNorm`.
        remainder: see :class:`GhostBatchNorm`.
        skip: names of modules to leave as they are.

    Raises:
        ParameterError: for a setting out of range, or a name in ``skip`` that is no module.
        IncompatibleError: for a synchronised layer that is not skipped.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        >>> convert_ghost_norm(model, 32)[1].ghost_batch_size
        32
    """
    modules = dict(model.named_modules())
    unknown = sorted(set(skip) - set(modules))
    if unknown:
        raise ParameterError(f"skip names no module of the model: {shown(unknown)}.")
    for name, module in modules.items():
        if isinstance(module, nn.SyncBatchNorm) and name not in skip:
            raise IncompatibleError(
                f"{name or 'the model'} is a SyncBatchNorm, whose statistics span processes; "
                "convert it back to BatchNorm or name it in skip."
            )
    settings: dict[str, Any] = {
        "grouping": grouping,
        "running_update": running_update,
        "remainder": remainder,
    }

    def ghost(layer: _BatchNorm) -> nn.Module:
        kind = _GHOST_OF[type(layer)]
        return _taking_over(layer, _made(kind, layer, ghost_batch_size, **settings))

    converted = _replaced(model, set(_GHOST_OF), ghost, skip)
    if not any(isinstance(module, GhostBatchNorm) for module in converted.modules()):
        warnings.warn(
            "0 layers converted: the model has no BatchNorm layer (layer and RMS normalisation "
            "do not depend on the batch).",
            DataQualityWarning,
            stacklevel=2,
        )
    return converted


def revert_ghost_norm(model: nn.Module) -> nn.Module:
    """The model with plain batch-norm layers again, parameters and buffers shared."""
    plain: dict[Any, type[nn.Module]] = {ghost: kind for kind, ghost in _GHOST_OF.items()}

    def ordinary(layer: _BatchNorm) -> nn.Module:
        return _taking_over(layer, _made(plain[type(layer)], layer))

    return _replaced(model, set(plain), ordinary, ())


def _made(kind: Any, layer: _BatchNorm, *more: Any, **settings: Any) -> Any:
    return kind(
        layer.num_features,
        *more,
        eps=layer.eps,
        momentum=layer.momentum,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
        device="meta",
        **settings,
    )


def _taking_over(old: _BatchNorm, new: _BatchNorm) -> _BatchNorm:
    for name, parameter in old.named_parameters(recurse=False):
        new.register_parameter(name, parameter)
    for name, buffer in old.named_buffers(recurse=False):
        new.register_buffer(name, buffer)
    new.training = old.training
    return new


def _replaced(model: nn.Module, kinds: Any, make: Any, skip: Collection[str]) -> nn.Module:
    """The model with each layer of some kinds replaced; tied layers stay tied."""
    made: dict[nn.Module, nn.Module] = {
        module: make(module)
        for name, module in model.named_modules()
        if type(module) in kinds and name not in skip
    }
    for module in list(model.modules()):
        # named_children() would name a child that is tied to another only once.
        for name, child in list(vars(module)["_modules"].items()):
            if child in made:
                setattr(module, name, made[child])
    return made.get(model, model)
