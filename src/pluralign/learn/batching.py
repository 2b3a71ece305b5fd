"""Which examples make a batch, and in which order batches come: decided by seed and epoch alone.

A host that resumes in the middle of an epoch asks for the same epoch again and skips
what it has done; nothing has to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler
from transformers import TrainerCallback

from ..errors import DataError, ParameterError
from ..rules import shown
from .config import TrainingConfig
from .rows import NO_GROUP, TokenRows

Index = NDArray[np.int64]

_BUCKET = 50  # batches that are sorted by length together: enough to save padding, still random


def batches_by_size(
    sizes: NDArray[np.int64], batch_size: int, batch_tokens: int | None = None
) -> list[Index]:
    """Rows of similar size in batches, the longest first: too little memory shows at once.

    Args:
        sizes: tokens of each row ``(N,)``.
        batch_size: rows of a batch, if there is no budget of tokens.
        batch_tokens: tokens that a batch may hold; a longer row is a batch of its own.

    Example:
        >>> [b.tolist() for b in batches_by_size(np.array([3, 9, 4, 4]), batch_size=2)]
        [[1, 2], [3, 0]]
        >>> [b.tolist() for b in batches_by_size(np.array([3, 9, 4, 4]), 2, batch_tokens=8)]
        [[1], [2, 3], [0]]
    """
    return _cut(np.argsort(-sizes, kind="stable"), sizes, batch_size, batch_tokens)


def _cut(
    order: Index, sizes: NDArray[np.int64], batch_size: int, batch_tokens: int | None
) -> list[Index]:
    if batch_tokens is None:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    cuts: list[int] = []
    held = 0
    for place, size in enumerate(sizes[order].tolist()):
        if held and held + size > batch_tokens:
            cuts.append(place)
            held = 0
        held += size
    return np.split(order, cuts)


@final
@dataclass(frozen=True)
class GroupShares:
    """How many examples of each group an epoch draws.

    Args:
        group: number of each row's group ``(N,)``.
        quota: draws of each group, by number; they add up to N.
    """

    group: NDArray[np.int64]
    quota: Mapping[int, int]

    def draw(self, generator: np.random.Generator) -> Index:
        """Rows of an epoch: each row of a group as often as any other, up to one draw."""
        parts: list[Index] = []
        for number, quota in self.quota.items():
            rows = np.flatnonzero(self.group == number)
            whole, rest = divmod(quota, len(rows))
            parts += [np.repeat(rows, whole), generator.permutation(rows)[:rest]]
        return np.sort(np.concatenate(parts))


def group_shares(
    rows: TokenRows, names: Sequence[str], asked: str | Mapping[str, float]
) -> GroupShares | None:
    """Draws by group for ``"balanced"`` or for weights by name; ``None`` if all are as in the data.

    Args:
        rows: examples with a column ``group``.
        names: names of the groups by number.
        asked: ``"natural"``, ``"balanced"``, or how much more often than in the data a
            pair of a group is drawn; 1 for groups that are not named.

    Raises:
        DataError: if there are no groups.
        ParameterError: for a group that is not there, or if nothing would be drawn.
    """
    if asked == "natural":
        return None
    group = rows.columns["group"].astype(np.int64)
    if (group == NO_GROUP).any():
        raise DataError("group_sampling needs pairs with a group; set it to 'natural'.")
    numbers, counts = np.unique(group, return_counts=True)
    weight = np.ones(len(numbers)) / counts
    if not isinstance(asked, str):
        unknown = sorted(set(asked) - set(names))
        if unknown:
            raise ParameterError(
                f"group_sampling names {shown(unknown)}; the groups are {list(names)}."
            )
        weight = np.array([asked.get(names[int(i)], 1.0) for i in numbers])
    share = weight * counts
    if not share.sum() > 0:
        raise ParameterError("group_sampling gives every group weight 0; raise one.")
    exact = len(group) * share / share.sum()
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: len(group) - quota.sum()]] += 1
    found = zip(numbers.tolist(), quota.tolist(), strict=True)
    return GroupShares(group, {number: n for number, n in found if n})


@final
class TrainBatches(Sampler[list[int]]):
    """Batches of a training run; every epoch has the same number of them.

    Batches of a fixed number of rows are composed anew in each epoch, of rows of similar
    size within buckets of 50 batches if ``by_length``. Batches with a budget of tokens are
    composed once and come in another order in each epoch. The batch with the longest row
    comes first in the first epoch.

    Args:
        sizes: tokens of each row ``(N,)``.
        batch_size: rows of a batch.
        batch_tokens: tokens of a batch, instead.
        by_length: whether rows of similar size come together.
        shuffle: ``False`` keeps rows and batches in order.
        shares: draws by group.
        seed: of all orders.
    """

    def __init__(
        self,
        sizes: NDArray[np.int64],
        batch_size: int,
        *,
        batch_tokens: int | None = None,
        by_length: bool = True,
        shuffle: bool = True,
        shares: GroupShares | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes = sizes
        self.batch_size = None if batch_tokens else batch_size  # accelerate reads it
        self.drop_last = False
        self.epoch = 0
        self._rows = batch_size
        self._tokens = batch_tokens
        self._by_length = by_length
        self._shuffle = shuffle
        self._shares = shares
        self._seed = seed
        self._length = len(self.batches(0))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in self.batches(self.epoch)])

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose batches are wanted next."""
        self.epoch = epoch

    def batches(self, epoch: int) -> list[Index]:
        """The batches of an epoch, in order."""
        random = np.random.default_rng([self._seed, epoch])
        first = np.random.default_rng([self._seed, 0])
        if self._tokens is not None:
            found = _cut(self._by_size(self._drawn(first)), self.sizes, 1, self._tokens)
        else:
            order = self._drawn(random)
            if self._shuffle:
                order = random.permutation(order)
            bucket = _BUCKET * self._rows if self._by_length else len(order)
            buckets = [order[i : i + bucket] for i in range(0, len(order), bucket)]
            if self._by_length:
                buckets = [self._by_size(part) for part in buckets]
            found = [b for part in buckets for b in _cut(part, self.sizes, self._rows, None)]
        if self._shuffle and (self._by_length or self._tokens is not None):
            found = [found[i] for i in random.permutation(len(found))]
            if epoch == 0:
                longest = int(np.argmax([self.sizes[batch].max() for batch in found]))
                found.insert(0, found.pop(longest))
        return found

    def _drawn(self, random: np.random.Generator) -> Index:
        return np.arange(len(self.sizes)) if self._shares is None else self._shares.draw(random)

    def _by_size(self, rows: Index) -> Index:
        return rows[np.argsort(-self.sizes[rows], kind="stable")]


def train_batches(
    rows: TokenRows, groups: Sequence[str], config: TrainingConfig
) -> TrainBatches | None:
    """The batches that a run asks for; ``None`` if the host's own are meant.

    Args:
        rows: what to train on.
        groups: names of the groups by number.
        config: the run.
    """
    shares = group_shares(rows, groups, config.group_sampling)
    by_length = config.train_sampling_strategy == "group_by_length"
    if shares is None and not by_length and config.per_device_train_batch_tokens is None:
        return None
    return TrainBatches(
        rows.sizes(),
        config.per_device_train_batch_size,
        batch_tokens=config.per_device_train_batch_tokens,
        by_length=by_length,
        shuffle=config.train_sampling_strategy != "sequential",
        shares=shares,
        seed=config.seed,
    )


@final
class FixedBatches(Sampler[list[int]]):
    """Batches of an evaluation, in the order given.

    Args:
        batches: rows of each batch.
        batch_size: the most rows of a batch.
    """

    def __init__(self, batches: Sequence[Index], batch_size: int | None) -> None:
        self.batch_size = batch_size
        self.drop_last = False
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in self._batches])


@final
class EpochClock(TrainerCallback):
    """Tells training batches which epoch begins, also after a resume."""

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch from the host's own count."""
        self.batches.set_epoch(int((state.epoch or 0.0) + 1e-6))
