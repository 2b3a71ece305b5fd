"""A key/value cache whose rows grow, end and are replaced one by one.

Row r keeps the token at position t in column t, so who sees whom is one comparison of
positions, for prompts, suffixes and single tokens alike. Sliding-window layers keep all
columns too; their mask hides what lies outside.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_CHUNK = 64
"""Columns that a buffer grows by."""


@final
class Slots:
    """Keys and values of rows that are at different positions.

    Attributes:
        cache: what a transformers model takes as ``past_key_values``.
        rows: rows in use.
        start: int64 ``(rows,)``; first column that the next pass writes; ``None`` for column 0
            in all of them, with nothing before.
        width: columns that the next pass reads.
    """

    def __init__(self) -> None:
        self.cache: Any = Cache(layer_class_to_replicate=lambda: _Layer(self))  # pyright: ignore[reportArgumentType]
        self.rows = 0
        self.start: Tensor | None = None
        self.width = 0

    def plan(self, rows: int, start: Tensor | None, width: int) -> None:
        """Say what the next pass of the model writes and reads."""
        self.rows, self.start, self.width = rows, start, width
        for layer in self._layers():
            layer.reserve(rows, width)

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows over others."""
        for layer in self._layers():
            layer.keys[target] = layer.keys[source]
            layer.values[target] = layer.values[source]

    def append(self, other: Slots, chosen: Tensor, width: int) -> None:
        """Rows of another cache, its first ``width`` columns, after the rows in use."""
        while len(self.cache.layers) < len(other.cache.layers):
            self.cache.layers.append(_Layer(self))
        first, last = self.rows, self.rows + len(chosen)
        for layer, source in zip(self._layers(), other._layers(), strict=True):
            layer.begin(source.keys, source.values)
            layer.reserve(last, width)
            layer.keys[first:last, :, :width] = source.keys[chosen, :, :width]
            layer.values[first:last, :, :width] = source.values[chosen, :, :width]
        self.rows = last

    def _layers(self) -> list[Any]:
        return list(self.cache.layers)


class _Layer(CacheLayerMixin):
    """One layer's buffers ``(rows, heads, columns, size)``; zeros at first, never undefined."""

    is_sliding = False
    is_compileable = False

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.slots = slots
        self.keys: Any = None
        self.values: Any = None

    def begin(self, keys: Tensor, values: Tensor) -> None:
        """Empty buffers for states like these."""
        if not self.is_initialized:
            self.keys = keys.new_zeros(0, keys.shape[1], 0, keys.shape[3])
            self.values = values.new_zeros(0, values.shape[1], 0, values.shape[3])
            self.is_initialized = True

    def reserve(self, rows: int, columns: int) -> None:
        """Room for that many rows and columns."""
        if self.is_initialized:
            self.keys = _grown(self.keys, rows, columns)
            self.values = _grown(self.values, rows, columns)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new states where the plan says; return all that may be seen."""
        slots = self.slots
        if slots.start is None and not self.is_initialized:
            self.keys, self.values, self.is_initialized = key_states, value_states, True
            return key_states, value_states
        steps = torch.arange(key_states.shape[2], device=key_states.device)
        row = torch.arange(slots.rows, device=key_states.device)[:, None]
        start = steps.new_zeros(slots.rows) if slots.start is None else slots.start
        column = start[:, None] + steps
        self.keys[row, :, column] = key_states.transpose(1, 2)
        self.values[row, :, column] = value_states.transpose(1, 2)
        seen = slice(None, slots.rows), slice(None), slice(None, slots.width)
        return self.keys[seen], self.values[seen]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """What the base class asks for; the same as :meth:`begin`."""
        self.begin(key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Of the first pass, for which the model makes its own mask."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """0: positions are always given."""
        return 0

    def get_max_length(self) -> int:
        """Without bound."""
        return -1


def _grown(buffer: Tensor, rows: int, columns: int) -> Tensor:
    have = buffer.shape
    if rows <= have[0] and columns <= have[2]:
        return buffer
    wide = have[2] if columns <= have[2] else -(-columns // _CHUNK) * _CHUNK
    larger = buffer.new_zeros(max(rows, have[0]), have[1], wide, have[3])
    larger[: have[0], :, : have[2]] = buffer
    return larger
