"""What the engines need to know about a host's model: its parts, its mode, its wrappers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from ..errors import IncompatibleError

Result = TypeVar("Result")


def core_of(model: nn.Module) -> Any:
    """The transformers model inside wrappers (compiled, distributed, PEFT).

    Raises:
        IncompatibleError: for prompt-learning adapters, which put virtual tokens before
            the prompt, and for modules that are no transformers model.
    """
    model = _unwrapped(model)
    if hasattr(model, "get_base_model"):
        config: Any = getattr(model, "active_peft_config", None)
        if getattr(config, "is_prompt_learning", False):
            raise IncompatibleError(
                f"{type(model).__name__} has a prompt-learning adapter "
                f"({type(config).__name__}); use an adapter on the weights, such as LoRA."
            )
        model = getattr(model, "get_base_model")()  # noqa: B009 - nn.Module types it as a tensor
    if not hasattr(model, "get_output_embeddings"):
        raise IncompatibleError(
            f"{type(model).__name__} is not a transformers model; pass a causal language model."
        )
    config: Any = model.config
    if config.is_encoder_decoder:
        raise IncompatibleError(
            f"{type(model).__name__} is an encoder-decoder; pass a causal language model."
        )
    return model


def _unwrapped(model: nn.Module, names: tuple[str, ...] = ("_orig_mod", "module")) -> nn.Module:
    for name in names:
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module):
            return _unwrapped(inner, names)
    return model


def bodies_of(core: Any) -> list[Any]:
    """Candidates for the transformer body, whose output is the head's input."""
    found = [getattr(core, core.base_model_prefix, None), core.get_decoder()]
    return [body for body in found if isinstance(body, nn.Module) and body is not core]


def accepts(body: nn.Module, name: str) -> bool:
    """Whether a module's forward has a parameter of that name."""
    return name in inspect.signature(body.forward).parameters


def device_of(core: Any) -> torch.device:
    """Where a model wants its token ids."""
    return core.get_input_embeddings().weight.device


def inside(model: nn.Module, function: Callable[[], Result]) -> Result:
    """Call ``function`` within ``model(...)``, so that the hooks of a wrapper run.

    Distributed wrappers prepare gradients and gather weights in their own call; an engine
    that went past it would train on unsynchronised gradients without a word.
    """
    model = _unwrapped(model, ("_orig_mod",))  # a compiled forward cannot be exchanged
    core = _unwrapped(model)
    if core is model and not type(model).__name__.startswith("FSDP"):
        return function()
    before = vars(core).get("forward")

    def restore() -> None:
        if before is None:
            vars(core).pop("forward", None)
        else:
            core.forward = before

    def once(*args: Any, **kwargs: Any) -> Result:
        restore()
        return function()

    core.forward = once
    try:
        return model()
    finally:
        restore()


@contextmanager
def scoring_mode(model: nn.Module) -> Generator[None]:
    """Evaluation mode while gradients are off; each module's own mode is restored."""
    training = [] if torch.is_grad_enabled() else [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def has_dropout(core: Any) -> bool:
    """Whether any dropout would be active in training mode."""
    layers = any(isinstance(m, nn.Dropout) and m.p > 0 for m in core.modules())
    config = core.config.get_text_config().to_dict()
    rates = [v for k, v in config.items() if "drop" in k and isinstance(v, float)]
    return layers or any(rate > 0 for rate in rates)


def recomputes(core: Any) -> bool:
    """Whether activation checkpointing is on, which switches key/value caches off."""
    name = "is_activation_checkpointing"  # since transformers 5.23; the older name warns there
    on = getattr(core, name) if hasattr(core, name) else core.is_gradient_checkpointing
    return bool(core.training and on)


def attention_of(core: Any) -> str:
    """Name of the attention implementation."""
    return str(getattr(core.config, "_attn_implementation", None))


def precision_of(core: Any) -> str:
    """Dtype of the weights, and the one of autocast where that is on."""
    kind = device_of(core).type
    cast = f" autocast {torch.get_autocast_dtype(kind)}" if torch.is_autocast_enabled(kind) else ""
    return f"{core.dtype}{cast}"


def stretches_positions(core: Any) -> bool:
    """Whether rotary frequencies depend on the longest position of a pass.

    A prompt on its own would then be rotated otherwise than within a long row.
    """
    rope = str(getattr(core.config.get_text_config(), "rope_parameters", None))
    return any(f"'{kind}'" in rope for kind in ("dynamic", "longrope"))


@contextmanager
def forward_replaced(body: nn.Module, output: Any) -> Generator[None]:
    """Within it, calling ``body`` returns ``output`` and computes nothing."""
    before = vars(body).get("forward")
    body.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        if before is None:
            vars(body).pop("forward", None)
        else:
            body.forward = before
