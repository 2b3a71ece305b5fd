"""One batch through a transformer body, in the layout that was chosen for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .forms import windows_of
from .hosts import attention_of, counts_mask, device_of, grouped_keys
from .layout import Inputs, Rows
from .packing import added, attention_mask
from .projection import run_body


class NoSharedCacheError(TypeError):
    """The model's cache does not hold plain keys and values."""


def states_of(core: Any, body: Any, rows: Rows) -> tuple[Any, Tensor]:
    """An output of the body, and the hidden states of all passes, flattened ``(N, H)``.

    Raises:
        NoSharedCacheError: for shared rows and a model without plain keys and values.
    """
    if rows.form == "shared":
        return _shared(core, body, rows)
    inputs = rows.passes[0]
    if rows.form == "packed":
        mask = attention_mask(inputs, windows_of(core) or {}, attention_of(core), core.dtype)
        inputs = inputs._replace(mask=mask)
    output = run_body(body, inputs)
    return output, output.last_hidden_state.flatten(0, 1)


def _shared(core: Any, body: Any, rows: Rows) -> tuple[Any, Tensor]:
    prompts, responses = rows.passes
    output = run_body(body, prompts, use_cache=True)
    states = output.last_hidden_state.flatten(0, 1)
    if responses.ids.shape[1] == 0:
        return output, states
    cache = output.past_key_values
    _require_plain(cache)
    cache.batch_repeat_interleave(rows.lengths.shape[1])
    responses = responses._replace(mask=_after_prompts(core, responses))
    with grouped_keys(responses.ids.device):
        after = run_body(body, responses, use_cache=True, past_key_values=cache)
    return output, torch.cat([states, after.last_hidden_state.flatten(0, 1)])


def _after_prompts(core: Any, responses: Inputs) -> Tensor:
    """The mask of the second pass: made once where each layer would make it for itself."""
    seen, width = responses.mask, responses.ids.shape[1]
    implementation = attention_of(core)
    if implementation not in ("sdpa", "eager") or seen.is_cuda or counts_mask(core):
        return seen
    causal = torch.ones(width, seen.shape[1], dtype=torch.bool).tril(seen.shape[1] - width)
    return added(seen[:, None, None, :] & causal, implementation, core.dtype)


def _require_plain(cache: Any) -> None:
    from transformers.cache_utils import DynamicLayer

    layers: Sequence[Any] = getattr(cache, "layers", ())
    kinds = {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    if kinds or not layers:
        raise NoSharedCacheError(f"its cache has layers {sorted(kinds)} besides plain ones")


def prepare_packing(core: Any) -> str:
    """Let packed rows run on FlexAttention where there is a GPU; why they cannot run at all."""
    if windows_of(core) is None:
        return "it has layers that are neither full nor sliding attention"
    if attention_of(core) not in ("sdpa", "eager", "flex_attention"):
        return f"attention {attention_of(core)!r} takes no mask of who sees whom"
    if device_of(core).type == "cuda" and getattr(core, "_supports_flex_attn", False):
        core.set_attn_implementation("flex_attention")
    return ""
