"""Several outputs of a reward model at once: pairs that compare one, ratings of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..objectives import Objective, RatingRegression, Terms
from ..objectives.ratings import RatingScores
from ..scores import PairScores, TokenBatch
from .rows import ATTRIBUTE_COLUMNS, LABEL_COLUMNS, TokenRows, tokens_of

RATED = -1
"""Output number of a row that is rated rather than compared."""

_COLUMNS = (*LABEL_COLUMNS, *ATTRIBUTE_COLUMNS)


@final
@dataclass(frozen=True, eq=False)
class AttributeStep:
    """Pairs compared in one output each, and responses rated in several.

    A batch may hold both. Rows with a column ``output`` of 0 or more are pairs, rows with
    ``RATED`` are single responses with their ratings. Ratings are learned in units of the
    model's ``scale``, so that attributes with another range weigh the same.

    Args:
        objective: loss of pairs.
        rating_objective: loss of ratings.
        offset: of the model's outputs, ``(A,)``.
        scale: of the model's outputs, ``(A,)``.
    """

    objective: Objective
    rating_objective: RatingRegression
    offset: Tensor
    scale: Tensor

    def __call__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Terms:
        """Loss and metrics ``(B,)``; of mixed rows what each kind adds to the loss."""
        rewards = rewards_of(model, tokens_of(inputs))
        if "rating" not in inputs:
            return self._compared(rewards, inputs, inputs["output"])
        if "output" not in inputs:
            return self._rated(rewards, inputs["rating"])
        pairs = inputs["output"] != RATED
        columns = {name: value[pairs] for name, value in inputs.items() if name in _COLUMNS}
        compared = self._compared(rewards[pairs], columns, inputs["output"][pairs])
        rated = self._rated(rewards[~pairs], inputs["rating"][~pairs])
        loss = rewards.new_zeros(len(rewards)).masked_scatter(pairs, compared.loss.float())
        loss = loss.masked_scatter(~pairs, rated.loss.float())
        parts = {"loss/pairs": loss.detach() * pairs, "loss/ratings": loss.detach() * ~pairs}
        return Terms(loss, parts)

    def _compared(self, rewards: Tensor, inputs: Mapping[str, Tensor], output: Tensor) -> Terms:
        both = rewards.gather(2, output[:, None, None].expand(-1, 2, 1))[..., 0]
        columns: dict[str, Any] = {name: inputs[name] for name in _COLUMNS if name in inputs}
        return self.objective(
            PairScores(chosen=both[:, 0], rejected=both[:, 1], kind="reward", **columns)
        )

    def _rated(self, rewards: Tensor, rating: Tensor) -> Terms:
        offset, scale = (part.to(rewards.device) for part in (self.offset, self.scale))
        predicted = (rewards[:, 0] - offset) / scale
        return self.rating_objective(RatingScores(predicted, (rating - offset) / scale))


def rewards_of(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Rewards ``(B, K, A)``; 0 where a row has no k-th response (its length is 0)."""
    there = batch.lengths[:, 1:] > 0
    if bool(there.all()):
        return model(batch)
    lengths = batch.lengths.tolist()
    segments = iter(batch.tokens.split([length for row in lengths for length in row]))
    texts: list[Tensor] = []
    for row in lengths:
        prompt, *responses = [next(segments) for _ in row]
        texts += [torch.cat([prompt, response]) for response in responses if len(response)]
    sizes = torch.tensor([[0, len(text)] for text in texts], device=batch.lengths.device)
    rewards = model(TokenBatch(torch.cat(texts), sizes))[:, 0]
    full = rewards.new_zeros(*there.shape, rewards.shape[-1])
    full[there.to(full.device)] = rewards
    return full


def compared_in(rows: TokenRows, output: int) -> TokenRows:
    """Rows of pairs that compare one output."""
    return rows.with_columns({"output": np.full(len(rows), output)})


def joined_rows(parts: Sequence[TokenRows]) -> TokenRows:
    """Several sets of rows as one; a rated row has an empty second response beside pairs.

    Columns that one set has and another lacks are filled with what has no effect there.
    """
    if len(parts) == 1:
        return parts[0]
    responses = max(len(rows.texts[0]) for rows in parts)
    empty = np.zeros(0, dtype=np.int32)
    texts = [[*row, *[empty] * (responses - len(row))] for rows in parts for row in rows.texts]
    names = {name for rows in parts for name in rows.columns} - {"index"}
    columns = {
        name: np.concatenate([_filled(rows, name, parts) for rows in parts]) for name in names
    }
    return TokenRows(texts, columns)


def _filled(rows: TokenRows, name: str, parts: Sequence[TokenRows]) -> NDArray[Any]:
    if name in rows.columns:
        return rows.columns[name]
    like = next(other.columns[name] for other in parts if name in other.columns)
    missing = {"output": RATED, "rating": np.nan}.get(name, 0)
    return np.full((len(rows), *like.shape[1:]), missing, dtype=like.dtype)
