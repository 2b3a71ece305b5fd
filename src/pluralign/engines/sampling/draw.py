"""From logits to tokens: one uniform number for each row and step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 256
"""Tokens whose probabilities are summed before any of them is looked at."""
_HEAD = 256
"""Likeliest tokens that are sorted first; most nuclei are smaller."""


def uniforms(seeds: NDArray[np.uint64], steps: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The number in [0, 1) of each seed at its step: SplitMix64, a counter and a hash.

    Nothing is kept between steps, so a row draws the same numbers in any batch.

    Args:
        seeds: ``(B,)``.
        steps: ``(B,)``, counted from 0.

    Example:
        >>> once = uniforms(np.array([7, 8], np.uint64), np.array([0, 5], np.uint64))
        >>> bool(once[1] == uniforms(np.array([8], np.uint64), np.array([5], np.uint64))[0])
        True

    References:
        Steele, Lea and Flood, 2014, doi 10.1145/2660193.2660195.
    """
    # The seed is hashed first: neighbouring seeds would else be neighbouring counters.
    word = _hashed(_hashed(seeds) + (steps + np.uint64(1)) * _GOLDEN)
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _hashed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def draw(
    logits: Tensor, uniform: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor
) -> Tensor:
    r"""One token for each row, by inversion of its distribution function.

    ``p \propto exp(logits / temperature)``; of it the ``top_k`` likeliest tokens are kept, of
    those the fewest whose share is at least ``top_p``. Rows share nothing.

    Args:
        logits: ``(B, V)``.
        uniform: float64 ``(B,)`` in [0, 1).
        temperature: ``(B,)``; 0 takes the likeliest token.
        top_p: ``(B,)`` in (0, 1].
        top_k: int64 ``(B,)``; V or more for all.

    Returns:
        int64 ``(B,)``; -1 where logits are NaN or infinite.

    Example:
        >>> logits, one, every = torch.tensor([[0.0, 2.0, 1.0]]), torch.ones(1), torch.tensor([3])
        >>> [int(draw(logits, u * one.double(), one, one, every)) for u in (0.05, 0.5)]
        [0, 1]
    """
    best, token = logits.float().max(1)
    restricted = (top_p < 1) | (top_k < logits.shape[1])
    for rows, chosen in (
        ((temperature > 0) & ~restricted, _of_all),
        ((temperature > 0) & restricted, _of_some),
    ):
        count = int(rows.sum())
        if not count:
            continue
        at: Any = slice(None) if count == len(rows) else rows  # no copy in the usual case
        mass = logits[at].float() - best[at, None]
        mass = mass.div_(temperature[at, None]).exp_()
        token[at] = chosen(mass, uniform[at], top_p[at], top_k[at])
    return token.masked_fill_(~best.isfinite(), -1)


def _of_all(mass: Tensor, uniform: Tensor, top_p: Tensor, top_k: Tensor) -> Tensor:
    """Invert in two steps, block and token within: no running sum over the vocabulary."""
    width = mass.shape[1]
    if width % _BLOCK:
        mass = torch.nn.functional.pad(mass, (0, _BLOCK - width % _BLOCK))
    blocks = mass.view(len(mass), -1, _BLOCK)
    sums = blocks.sum(-1).double()
    target = uniform * sums.sum(1)
    block, left = _inverted(sums, target)
    row = torch.arange(len(mass), device=mass.device)
    return block * _BLOCK + _inverted(blocks[row, block].double(), left)[0]


def _inverted(mass: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """First column whose running sum exceeds the target, and what is left of the target in it."""
    total = mass.cumsum(1)
    # Rounding may leave the target at the very end: the last column with mass is right then.
    last = (total < total[:, -1:]).sum(1)
    column = torch.minimum((total <= target[:, None]).sum(1), last)
    before = (total - mass).gather(1, column[:, None])[:, 0]
    return column, target - before


def _of_some(
    mass: Tensor, uniform: Tensor, top_p: Tensor, top_k: Tensor, size: int = _HEAD
) -> Tensor:
    """Sort no more of the likeliest tokens than a nucleus needs."""
    size = min(size, mass.shape[1])
    values, order = mass.topk(size)
    values = values.double()
    values.masked_fill_(torch.arange(size, device=mass.device) >= top_k[:, None], 0)
    total = values.cumsum(1)
    cut = top_k <= size
    whole = torch.where(cut, total[:, -1], mass.sum(1, dtype=torch.float64))
    goal = top_p * whole
    inside = (total - values) < goal[:, None]
    kept = values * inside
    token = order.gather(1, _inverted(kept, uniform * kept.sum(1))[0][:, None])[:, 0]
    short = ~cut & (total[:, -1] < goal) & (size < mass.shape[1])
    if bool(short.any()):
        rest = mass[short], uniform[short], top_p[short], top_k[short]
        token[short] = _of_some(*rest, 8 * size)
    return token
