"""Examples as the host's data loader wants them, with everything known of each.

Group, weight, label columns and reference scores stand in the row beside the token
ids, so nothing has to be looked up again when the loss or a metric needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..data import Preferences
from ..errors import DataError
from ..scores import TokenBatch
from .tokenise import Ids, TokenPairs, token_batch

NO_GROUP = -1
"""Group number of a row of a data set without groups."""

LABEL_COLUMNS = ("label_prob", "flip_rate", "chosen_first")
ATTRIBUTE_COLUMNS = ("target_margin", "tie")


@final
class TokenRows(Dataset[dict[str, Any]]):
    """N examples: token ids, and one scalar a column.

    Args:
        texts: N sequences of (prompt, response, ...) ids.
        columns: arrays of shape ``(N,)``; ``group``, ``weight`` and ``size`` (by how much
            the example counts in a mean) are added where absent.
    """

    def __init__(
        self, texts: Sequence[Sequence[Ids]], columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        size = len(texts)
        self.texts = texts
        self.columns: dict[str, NDArray[Any]] = {
            "index": np.arange(size),
            "group": np.full(size, NO_GROUP),
            "weight": np.ones(size, dtype=np.float32),
            "size": np.ones(size, dtype=np.float32),
            **(columns or {}),
        }

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"texts": self.texts[i], **{name: c[i] for name, c in self.columns.items()}}

    def sizes(self) -> NDArray[np.int64]:
        """Tokens of all texts of each example, int64 ``(N,)``."""
        return np.array([sum(map(len, texts)) for texts in self.texts], dtype=np.int64)

    def with_columns(self, columns: Mapping[str, NDArray[Any]]) -> TokenRows:
        """The same rows with more columns."""
        return TokenRows(self.texts, {**self.columns, **columns})


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Rows as tensors: each column ``(B,)``, ``tokens`` and ``lengths`` as in ``TokenBatch``."""
    batch = {
        name: torch.from_numpy(np.array([row[name] for row in rows]))
        for name in rows[0]
        if name != "texts"
    }
    tokens = token_batch([row["texts"] for row in rows])
    return {**batch, "tokens": tokens.tokens, "lengths": tokens.lengths}


def tokens_of(batch: Mapping[str, Tensor]) -> TokenBatch:
    """The token part of a collated batch."""
    return TokenBatch(batch["tokens"], batch["lengths"])


def group_names(*sets: Preferences | None) -> tuple[str, ...]:
    """Names of all groups of some preference sets, sorted."""
    found: set[str] = set()
    for pairs in sets:
        found.update((pairs.group if pairs is not None else None) or ())
    return tuple(sorted(found))


def pair_rows(pairs: Preferences, tokens: TokenPairs, names: Iterable[str]) -> TokenRows:
    """Rows of preference pairs with all columns that an objective may need.

    Weights are scaled to mean 1, so that they move influence between pairs and leave
    the learning rate alone.

    Raises:
        DataError: if all weights are 0.
    """
    kept = pairs.select(tokens.kept)
    columns = label_columns(kept)
    if kept.weight is not None:
        if not kept.weight.any():
            raise DataError("all weights are 0; give some pair a weight.", source=pairs.source)
        columns["weight"] = (kept.weight / kept.weight.mean()).astype(np.float32)
    if kept.group is not None:
        number = {name: i for i, name in enumerate(names)}
        columns["group"] = np.array([number[name] for name in kept.group])
    return TokenRows([tokens.rows(i) for i in range(len(tokens))], columns)


def label_columns(pairs: Preferences) -> dict[str, NDArray[Any]]:
    """Columns of the pairs that are tensors of ``PairScores``, under those names."""
    found: dict[str, NDArray[Any]] = {
        name: getattr(pairs, name) for name in LABEL_COLUMNS if getattr(pairs, name) is not None
    }
    found.update({k: v for k, v in pairs.attributes.items() if k in ATTRIBUTE_COLUMNS})
    return {
        name: values if values.dtype == np.bool_ else values.astype(np.float32)
        for name, values in found.items()
    }
