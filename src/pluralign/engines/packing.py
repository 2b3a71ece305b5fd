"""The packed layout: rows filled with whole pairs, each prompt once, told apart by a mask.

One formula says which token sees which; attention reads it as a dense mask or, on a GPU,
as the block mask of FlexAttention.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..scores import TokenBatch
from .layout import Inputs, Rows, Segments, check_batch

BLOCK = 128
"""Rows of FlexAttention are whole blocks of so many tokens."""

Visible = Callable[[Any, Any, Any, Any], Any]
"""From (row, head, query, key) to whether the key is seen."""


def pack(batch: TokenBatch, *, row_tokens: int = 0, block: int = 1, pad_id: int = 0) -> Rows:
    """Lay whole pairs one after the other in rows, each prompt followed by all its responses.

    Positions of every response restart after its prompt. Rows are filled first-fit, the
    longest pair first.

    Args:
        batch: B prompts with K responses each.
        row_tokens: tokens a row may hold; at least those of the longest pair. Few keep a
            dense mask small, many leave less padding.
        block: rows are a multiple of so many tokens wide.
        pad_id: any valid token id.

    Raises:
        DataError: naming the rows whose lengths do not fit, or with nothing to score.

    Example:
        >>> batch = TokenBatch(torch.tensor([5, 6, 7, 8, 9]), torch.tensor([[2, 1, 2]]))
        >>> rows = pack(batch)
        >>> rows.passes[0].ids.tolist(), rows.passes[0].positions.tolist()
        ([[5, 6, 8]], [[0, 1, 2]])
        >>> rows.targets.tolist(), rows.source.tolist()
        ([7, 8, 9], [1, 1, 2])
    """
    check_batch(batch)
    lengths = batch.lengths
    kept = lengths.clone()
    kept[:, 1:] -= 1  # the last token of a response predicts nothing
    row, start, width = filled(kept.sum(1).tolist(), row_tokens)
    width = -(-width // block) * block
    n_rows = max(row) + 1
    origin = torch.tensor([r * width + s for r, s in zip(row, start, strict=True)])
    first = origin.to(lengths.device)[:, None] + kept.cumsum(1) - kept
    token = _Tokens(batch, first)
    stays = token.step < kept.flatten()[token.segment]
    place = token.place[stays]

    def spread(values: Tensor, empty: int) -> Tensor:
        flat = values.new_full((n_rows * width,), empty)
        return flat.index_put((place,), values[stays]).view(n_rows, width)

    segments = Segments(spread(token.owner, -1), spread(token.part, 0))
    positions = token.step + torch.where(token.part > 0, token.prompt, 0)
    scored = (token.part > 0) & ((token.step > 0) | (token.prompt > 0))
    bare = (lengths[:, :1] == 0).long()
    answers = lengths[:, 1:] - bare
    longest = int(answers.max())
    response = token.owner * answers.shape[1] + token.part - 1
    column = token.step - (token.prompt == 0).long()
    last = first[:, 0] + lengths[:, 0] - 1
    source = torch.where(token.step > 0, token.place - 1, last[token.owner])
    return Rows(
        form="packed",
        passes=(Inputs(spread(batch.tokens, pad_id), spread(positions, 0), None, segments),),
        source=source[scored],
        targets=batch.tokens[scored],
        cell=(response * longest + column)[scored],
        width=longest,
        lengths=answers,
    )


class _Tokens:
    """For each token of a batch, flat: its pair, part, step in the part, and place in the rows."""

    def __init__(self, batch: TokenBatch, first: Tensor) -> None:
        lengths = batch.lengths
        parts = lengths.shape[1]
        flat = lengths.flatten()
        number = torch.arange(len(flat), device=flat.device)
        self.segment = number.repeat_interleave(flat)
        begin = flat.cumsum(0) - flat
        self.step = torch.arange(len(batch.tokens), device=flat.device) - begin[self.segment]
        self.owner = self.segment // parts
        self.part = self.segment % parts
        self.prompt = lengths[:, 0][self.owner]
        self.place = first.flatten()[self.segment] + self.step


def filled(sizes: list[int], capacity: int) -> tuple[list[int], list[int], int]:
    """Row and first column of each pair, first-fit from the longest; tokens of the fullest row.

    Args:
        sizes: tokens of each pair.
        capacity: tokens a row may hold; at least the longest pair's.
    """
    capacity = max(capacity, *sizes, 1)
    row, start = [0] * len(sizes), [0] * len(sizes)
    fill: list[int] = []
    for pair in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        home = next((r for r, used in enumerate(fill) if used + sizes[pair] <= capacity), None)
        if home is None:
            home = len(fill)
            fill.append(0)
        row[pair], start[pair] = home, fill[home]
        fill[home] += sizes[pair]
    return row, start, max(fill)


def visible(segments: Segments, positions: Tensor, window: int | None = None) -> Visible:
    """The rule of who sees whom.

    A token sees itself, the tokens of its prompt up to itself and, within a response, the
    tokens of that response before it; with a window only those less than ``window``
    positions back.

    Args:
        segments: pair and part of each token ``(R, T)``.
        positions: ``(R, T)``.
        window: of sliding attention.
    """
    owner, part = segments

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        same = (owner[row, query] == owner[row, key]) & (owner[row, key] >= 0)
        same = same & ((part[row, key] == 0) | (part[row, key] == part[row, query]))
        if window is not None:
            same = same & (positions[row, query] - positions[row, key] < window)
        return ((query >= key) & same) | (query == key)  # padding sees itself: no row is empty

    return sees


def dense_mask(sees: Visible, rows: int, width: int, device: torch.device) -> Tensor:
    """A rule as a bool mask ``(R, 1, T, T)``."""
    at = torch.arange(width, device=device)
    row = torch.arange(rows, device=device)[:, None, None]
    return sees(row, None, at[None, :, None], at[None, None, :])[:, None]


def block_mask(sees: Visible, rows: int, width: int, device: torch.device) -> Any:
    """A rule as the block mask of FlexAttention; compiled where there is a GPU."""
    return _maker(device.type == "cuda")(sees, rows, None, width, width, device=str(device))


@cache
def _maker(compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask) if compiled else create_block_mask


def attention_mask(
    inputs: Inputs, windows: dict[str, int | None], implementation: str, dtype: torch.dtype
) -> Any:
    """What a transformers body takes as ``attention_mask`` for packed rows.

    Args:
        inputs: the rows.
        windows: for each kind of attention layer its window; one kind gives one mask,
            several a dictionary of masks.
        implementation: ``"sdpa"``, ``"eager"`` or ``"flex_attention"``.
        dtype: of the hidden states; see :func:`added`.
    """
    if inputs.segments is None:
        return inputs.mask
    rows, width = inputs.ids.shape
    masks: dict[str, Any] = {}
    for kind, window in windows.items():
        sees = visible(inputs.segments, inputs.positions, window)
        make = block_mask if implementation == "flex_attention" else dense_mask
        masks[kind] = make(sees, rows, width, inputs.ids.device)
        if implementation != "flex_attention":
            masks[kind] = added(masks[kind], implementation, dtype)
    return masks if len(masks) > 1 else next(iter(masks.values()))


def added(mask: Tensor, implementation: str, dtype: torch.dtype) -> Tensor:
    """A bool mask as numbers added to the scores, where attention would make those in each layer.

    Eager attention takes nothing else; SDPA on a CPU turns a bool mask into numbers anew.
    """
    if implementation != "eager" and mask.is_cuda:
        return mask
    zero = torch.zeros((), dtype=dtype, device=mask.device)
    return torch.where(mask, zero, torch.finfo(dtype).min)
