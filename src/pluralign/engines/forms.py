"""Which layouts a model may be given, and which one a batch gets: the cheapest that holds.

The rule is one sum, counted from lengths before anything runs:
``tokens * (2 * weights of the body) + seen pairs * (4 * layers * width of attention) * slowdown``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..scores import TokenBatch
from .hosts import attention_of
from .layout import Form
from .packing import filled

RULE = "fewest multiply-adds, counted from lengths; attention weighs {slowdown:g}"

# Seconds of a multiply-add in attention over one in a matrix product, forward and backward.
# CPU: measured 1.2 to 1.5 (docs/speed.md). CUDA: not measured.
_SLOWDOWN = {"cpu": 1.25, "cuda": 2.0}
_CAUSAL = 0.7  # of the pairs, which a causal kernel takes as long for as a masked one for all
_GROUP_TOKENS = 1024
"""Padded tokens of a pass on a CPU that keep matrix products fast."""
_MORE_PADDING = 1.05


class Cost(NamedTuple):
    """What a token and a pair of a query with a key cost, in multiply-adds of the body.

    Attributes:
        token: weights that a token is multiplied with.
        pair: products of a query with a key and of a weight with a value, times slowdown.
        sparse: whether keys that a packed row hides are skipped.
    """

    token: float
    pair: float
    sparse: bool


def cost_of(core: Any, device: torch.device) -> Cost:
    """The costs of a model's body where it runs."""
    config = core.config.get_text_config()
    outside = {id(core.get_input_embeddings().weight)}
    head = core.get_output_embeddings()
    outside |= {id(p) for p in head.parameters()} if head is not None else set[int]()
    weights = sum(p.numel() for p in core.parameters() if p.ndim > 1 and id(p) not in outside)
    heads = getattr(config, "num_attention_heads", None) or 1  # a state-space model has none
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    slowdown = _SLOWDOWN.get(device.type, 1.0)
    pair = 2.0 * config.num_hidden_layers * heads * size * slowdown
    return Cost(float(weights), pair, attention_of(core) == "flex_attention")


def slowdown_on(device: torch.device) -> float:
    """The weight of attention in the rule on a device."""
    return _SLOWDOWN.get(device.type, 1.0)


def multiply_adds(lengths: Tensor, form: Form, cost: Cost, row_tokens: int = 0) -> float:
    """What the body computes for a batch in a form, padding included.

    Args:
        lengths: int64 ``(B, 1 + K)``.
        form: the layout.
        cost: of the model.
        row_tokens: capacity of packed rows.

    Example:
        >>> lengths = torch.tensor([[1000, 100, 100]])
        >>> cost = Cost(token=1.0, pair=0.0, sparse=False)
        >>> [multiply_adds(lengths, form, cost) for form in ("two_rows", "shared", "packed")]
        [2198.0, 1198.0, 1198.0]
    """
    rows, responses = len(lengths), lengths.shape[1] - 1
    prompt = int(lengths[:, 0].max())
    if form == "two_rows":
        width = int((lengths[:, :1] + lengths[:, 1:]).max()) - 1
        tokens, pairs = rows * responses * width, _CAUSAL * rows * responses * width**2
    elif form == "shared":
        width = int(lengths[:, 1:].max()) - 1
        tokens = rows * (prompt + responses * width)
        pairs = rows * (_CAUSAL * prompt**2 + responses * width * (prompt + width))
    else:
        tokens, pairs = _packed_counts(lengths, cost.sparse, row_tokens)
    return tokens * cost.token + pairs * cost.pair


def _packed_counts(lengths: Tensor, sparse: bool, row_tokens: int) -> tuple[int, float]:
    sizes = (lengths.sum(1) - (lengths.shape[1] - 1)).tolist()
    row, _, width = filled(sizes, row_tokens)
    tokens = (max(row) + 1) * width
    if not sparse:
        return tokens, float(tokens * width)
    prompt, response = lengths[:, :1].double(), lengths[:, 1:].double()
    return tokens, float((prompt**2 / 2).sum() + (response * (prompt + response / 2)).sum())


def similar(lengths: Tensor) -> list[list[int]]:
    """Rows of a batch in groups of similar size, so that little of a pass is padding.

    A row begins a new group if the pass before it has enough tokens and padding would
    grow by more than a twentieth. On a CPU small passes cost no more than one large pass;
    on a GPU rows are packed instead.

    Example:
        >>> similar(torch.tensor([[10, 500, 500], [10, 20, 20], [10, 480, 490], [9, 20, 21]]))
        [[0, 2], [1, 3]]
    """
    sizes: list[int] = lengths.sum(1).tolist()
    responses = lengths.shape[1] - 1
    if responses < 1:  # refused with its reason when the batch is laid out
        return [list(range(len(sizes)))]
    widest = torch.stack([lengths[:, 0], lengths[:, 1:].amax(1)], 1).tolist()
    groups: list[list[int]] = []
    prompt = response = 0
    for row in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        alone = widest[row][0] + responses * widest[row][1]
        held = len(groups[-1]) if groups else 0
        before = held * (prompt + responses * response)
        wider = max(prompt, widest[row][0]), max(response, widest[row][1])
        joined = (held + 1) * (wider[0] + responses * wider[1])
        if not held or (before > _GROUP_TOKENS and joined > _MORE_PADDING * (before + alone)):
            groups.append([row])
            prompt, response = widest[row]
        else:
            groups[-1].append(row)
            prompt, response = wider
    return groups


def select(batch: TokenBatch, index: Sequence[int]) -> TokenBatch:
    """Some rows of a batch, in the order of ``index``."""
    parts = batch.tokens.split(batch.lengths.sum(1).tolist())
    return TokenBatch(torch.cat([parts[i] for i in index]), batch.lengths[list(index)])


def windows_of(core: Any) -> dict[str, int | None] | None:
    """Window of each kind of attention layer (``None``: all keys); ``None`` for other layers."""
    config = core.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return {"attention": window}
    if not kinds <= {"full_attention", "sliding_attention"}:
        return None
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


@contextmanager
def short_window(core: Any, window: int) -> Generator[None]:
    """Within it a model's sliding window is short, so that a short batch shows its edges."""
    config = core.config.get_text_config()
    before = getattr(config, "sliding_window", None)
    if before is not None:
        config.sliding_window = min(window, before)
    try:
        yield
    finally:
        if before is not None:
            config.sliding_window = before


def probe_batch(core: Any) -> TokenBatch:
    """Two prompts of unequal length with two responses of unequal length each."""
    lengths = torch.tensor([[7, 3, 5], [4, 1, 2]])
    vocabulary = core.get_input_embeddings().weight.shape[0]
    tokens = (torch.arange(int(lengths.sum())) * 7919 + 13) % vocabulary
    return TokenBatch(tokens, lengths)
