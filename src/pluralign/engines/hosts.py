"""What the engines need to know about a host's model: its parts, its mode, its wrappers."""

from __future__ import annotations

import inspect
import os
import warnings
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


@contextmanager
def training_mode(model: nn.Module) -> Generator[None]:
    """Training mode for every module; each module's own mode is restored."""
    resting = [module for module in model.modules() if not module.training]
    for module in resting:
        module.training = True
    try:
        yield
    finally:
        for module in resting:
            module.training = False


def has_dropout(core: Any) -> bool:
    """Whether a module has a dropout rate above zero, in whatever attribute it keeps it.

    The configuration is not asked: a trainer that switches dropout off does so in the
    modules. What a forward reads from elsewhere only a run in training mode can show.
    """
    for module in core.modules():
        dropout = type(module).__name__.endswith("Dropout")
        for name, value in vars(module).items():
            rate = "drop" in name or (dropout and name == "p")
            if rate and isinstance(value, float) and value > 0:
                return True
    return False


def recomputes(core: Any) -> bool:
    """Whether activation checkpointing is on, which switches key/value caches off."""
    name = "is_activation_checkpointing"  # since transformers 5.23; the older name warns there
    on = getattr(core, name) if hasattr(core, name) else core.is_gradient_checkpointing
    return bool(core.training and on)


def attention_of(core: Any) -> str:
    """Name of the attention implementation."""
    return str(getattr(core.config, "_attn_implementation", None))


def counts_mask(core: Any) -> bool:
    """Whether positions are counted from the mask (ALiBi), which must then be ``(R, S)``."""
    config = core.config.get_text_config()
    return bool(getattr(config, "alibi", False)) or config.model_type == "bloom"


def precision_of(core: Any) -> str:
    """Dtype of the weights, and the one of autocast where that is on."""
    kind = device_of(core).type
    cast = f" autocast {torch.get_autocast_dtype(kind)}" if torch.is_autocast_enabled(kind) else ""
    return f"{core.dtype}{cast}"


def stretching_length(core: Any) -> int | None:
    """Row length from which rotary frequencies depend on the longest row; ``None``: never.

    Beyond it a prompt on its own would be rotated otherwise than within a long row.
    """
    config = core.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    stretching = [k for k in kinds if k.get("rope_type") in ("dynamic", "longrope")]
    if not stretching:
        return None
    usual = config.max_position_embeddings
    return min(int(k.get("original_max_position_embeddings") or usual) for k in stretching)


_HORIZONS = (
    *("window_size", "sliding_window_size", "attention_window_size", "keep_window_size"),
    *("local_attention", "attention_chunk_size", "index_topk"),
)


def horizon_of(core: Any) -> int | None:
    """Tokens from which some layers see a part of a row only, by a rule that no mask of ours tells.

    Such as GPT-Neo's local attention, counted in columns, not positions. ``None``: there is no
    such rule, or it is the configuration's ``sliding_window``, which masks follow.
    """
    config = core.config.get_text_config()
    known = [getattr(config, name, None) for name in _HORIZONS]
    return min((n for n in known if isinstance(n, int) and n > 0), default=None)


def warn_of_router_loss(core: Any) -> None:
    """Say that no loss balances the experts of a mixture, if the model is set to have one.

    It counts the tokens that each expert gets, so that its value would depend on how often
    a layout computes a prompt.
    """
    if getattr(core.config.get_text_config(), "output_router_logits", False):
        warnings.warn(
            f"{type(core).__name__}: the loss that balances its experts (router_aux_loss_coef) is "
            "not part of log-probabilities and not trained; set output_router_logits=False.",
            RuntimeWarning,
            stacklevel=3,
        )


@contextmanager
def grouped_keys(device: torch.device) -> Generator[None]:
    """Within it a CPU's masked attention reads a key head once for all queries that share it.

    transformers copies keys and values for each query head where there is a mask, which
    CUDA's kernels need and the CPU's do not. Not for passes under activation checkpointing:
    what is computed again in the backward pass must be computed alike.
    """
    name = "TRANSFORMERS_SDPA_FORCE_GQA"
    before = os.environ.get(name)
    if device.type == "cpu" and before is None:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


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
