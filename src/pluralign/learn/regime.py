"""The large-batch regime: learning rates, schedules and steps for another batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from ..errors import ParameterError
from ..rules import OneOf, Rule, Within, shown
from .config import TrainingConfig

LearningRateRule = Literal["sqrt", "linear", "none", "exact"]
Key = TypeVar("Key", int, str)

_COUNT = Within(1, None, integer=True)


def scale_learning_rate(
    learning_rate: float,
    batch_size: int,
    reference_batch_size: int,
    rule: LearningRateRule = "sqrt",
    *,
    n_examples: int | None = None,
) -> float:
    r"""The learning rate for another batch size.

    ``"sqrt"`` keeps the covariance of a weight increment:
    :math:`\eta_L = \eta_S \sqrt{B_L / B_S}` for batches much smaller than the data. ``"exact"``
    (ours) does so for draws without replacement from ``n_examples``:
    :math:`\eta_L = \eta_S \sqrt{(B_L / B_S) (N - B_S) / (N - B_L)}`. ``"linear"`` multiplies by
    :math:`B_L / B_S`, ``"none"`` by 1. A smaller batch than the reference lowers the rate.

    Args:
        learning_rate: rate that was right for ``reference_batch_size``, > 0.
        batch_size: examples in a step now, over all devices and accumulation.
        reference_batch_size: examples in a step then.
        rule: how the rate follows.
        n_examples: size of the data, for ``"exact"``; above both batch sizes.

    Raises:
        ParameterError: for a value out of range.

    Example:
        >>> scale_learning_rate(0.1, 2048, 512)
        0.2

    References:
        Hoffer, Hubara, Soudry, 2017, arXiv 1705.08741.
    """
    _admit("learning_rate", learning_rate, Within(0.0, None, closed="neither"))
    _admit("batch_size", batch_size, _COUNT)
    _admit("reference_batch_size", reference_batch_size, _COUNT)
    _admit("rule", rule, OneOf("sqrt", "linear", "none", "exact"))
    ratio = batch_size / reference_batch_size
    if rule == "none":
        return learning_rate
    if rule == "linear":
        return learning_rate * ratio
    if rule == "sqrt":
        return learning_rate * math.sqrt(ratio)
    if n_examples is None:
        raise ParameterError("rule 'exact' needs n_examples, the size of the data.")
    largest = max(batch_size, reference_batch_size)
    _admit("n_examples", n_examples, Within(largest + 1, None, integer=True))
    rest = (n_examples - reference_batch_size) / (n_examples - batch_size)
    return learning_rate * math.sqrt(ratio * rest)


def adapt_schedule(
    schedule: Mapping[Key, Mapping[str, Any]],
    batch_size: int,
    reference_batch_size: int,
    rule: LearningRateRule = "sqrt",
) -> dict[Key, dict[str, Any]]:
    """A schedule by epochs for another batch size, with about as many updates as before.

    Every epoch is multiplied by ``ceil(B_L / B_S)`` and every ``lr`` scaled by ``rule``; the
    given schedule is left as it is.

    Args:
        schedule: settings that begin at an epoch, such as ``{0: {"lr": 0.1}, 81: {"lr": 0.01}}``.
        batch_size: examples in a step now.
        reference_batch_size: examples in a step when the schedule was made.
        rule: see :func:`scale_learning_rate`; ``"exact"`` is not offered here.

    Raises:
        ParameterError: for an epoch that is no count, or a value out of range.

    Example:
        >>> adapt_schedule({0: {"lr": 0.1}, 81: {"lr": 0.01}}, 1024, 256)
        {0: {'lr': 0.2}, 324: {'lr': 0.02}}
    """
    _admit("rule", rule, OneOf("sqrt", "linear", "none"))
    factor = epoch_multiplier(batch_size, reference_batch_size)
    adapted: dict[Any, dict[str, Any]] = {}
    for epoch, settings in schedule.items():
        if not str(epoch).isdigit():
            raise ParameterError(f"schedule: an epoch must be an integer >= 0; got {shown(epoch)}.")
        later = dict(settings)
        if "lr" in later:
            later["lr"] = scale_learning_rate(later["lr"], batch_size, reference_batch_size, rule)
        adapted[type(epoch)(int(epoch) * factor)] = later
    return adapted


def epoch_multiplier(batch_size: int, reference_batch_size: int) -> int:
    """How many times more epochs keep the number of updates, ``ceil(B_L / B_S)``.

    Example:
        >>> epoch_multiplier(1000, 384)
        3
    """
    _admit("batch_size", batch_size, _COUNT)
    _admit("reference_batch_size", reference_batch_size, _COUNT)
    return -(-batch_size // reference_batch_size)


def updates(n_examples: int, batch_size: int, epochs: int) -> int:
    """Optimiser steps of a training, the last partial batch of each epoch included.

    Example:
        >>> updates(50_000, 256, 100)
        19600
    """
    for name, value in (
        ("n_examples", n_examples),
        ("batch_size", batch_size),
        ("epochs", epochs),
    ):
        _admit(name, value, _COUNT)
    return epochs * -(-n_examples // batch_size)


def adapt_config(
    config: TrainingConfig,
    n_pairs: int,
    reference_batch_size: int,
    rule: LearningRateRule = "sqrt",
    *,
    n_devices: int = 1,
) -> TrainingConfig:
    """A language trainer's settings for the batch it has, from those of a smaller one.

    The learning rate is scaled and ``max_steps`` set to the updates that the reference batch
    would have made: the schedule in updates stays. Each pair is then seen
    ``max_steps * batch / n_pairs`` times, and repetition fits noisy labels too: watch the
    held-out accuracy.

    Args:
        config: with the rate and the epochs (or steps) that were right for the reference.
        n_pairs: pairs that are trained on.
        reference_batch_size: pairs in a step then.
        rule: see :func:`scale_learning_rate`.
        n_devices: processes that each take a batch.

    Raises:
        ParameterError: for a value out of range, or token-budget batches, whose size varies.

    Example:
        >>> config = TrainingConfig(learning_rate=1e-4, per_device_train_batch_size=64)
        >>> adapted = adapt_config(config, n_pairs=640, reference_batch_size=16)
        >>> adapted.learning_rate, adapted.max_steps
        (0.0002, 40)
    """
    if config.per_device_train_batch_tokens is not None:
        raise ParameterError(
            "adapt_config: batches of a token budget have no fixed size; "
            "set per_device_train_batch_size instead of per_device_train_batch_tokens."
        )
    _admit("n_devices", n_devices, _COUNT)
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * n_devices
    rate = scale_learning_rate(
        config.learning_rate, batch, reference_batch_size, rule, n_examples=n_pairs
    )
    steps = config.max_steps
    if steps <= 0:
        steps = math.ceil(config.num_train_epochs * -(-n_pairs // reference_batch_size))
    return replace(config, learning_rate=rate, max_steps=steps)


def _admit(name: str, value: object, rule: Rule) -> None:
    if not rule.admits(value):
        raise ParameterError(f"{name} must be {rule.wants()}; got {shown(value)}.")
