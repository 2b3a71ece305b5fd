"""Protected columns of pairs, carried to a penalty on a model's scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from ..data import LABEL_COLUMNS, Preferences
from ..errors import DataQualityWarning, IncompatibleError, ParameterError
from ..objectives import Objective, Regularised, Terms
from ..objectives.dependence_attributes import Attributes
from ..rules import nearest, shown
from ..scores import PairScores
from .rows import TokenRows
from .tabular_encoding import AttributeEncoder
from .tokenise import TokenPairs

PREFIX = "protected/"
"""Of the columns of a row that hold the encoded blocks."""


@final
class Protected:
    """The protected columns of a training, encoded as its pairs teach.

    Args:
        names: label columns or attributes of the pairs.
        objective: must be :class:`~pluralign.objectives.Regularised` if there are names.
        pairs: what is trained on; categories and ranges are learned from them.

    Raises:
        ParameterError: for names without such an objective, the reverse, or unknown names.
        DataError: for missing values.
    """

    def __init__(
        self, names: Sequence[str], objective: Objective, pairs: Preferences | None
    ) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names)
        regularised = isinstance(objective, Regularised)
        if regularised and not self.names:
            raise ParameterError(
                "Regularised needs protected columns; name them: sensitive=('group', ...)."
            )
        if self.names and (not regularised or pairs is None):
            raise ParameterError(
                f"sensitive={shown(self.names)} is for pairs under a Regularised objective; "
                f"got {type(objective).__name__}."
            )
        self._encoder = AttributeEncoder()
        if self.names and pairs is not None:
            self._encoder.fit(_columns(pairs, self.names))

    def rows(self, rows: TokenRows, pairs: Preferences, tokens: TokenPairs) -> TokenRows:
        """The rows of some pairs with their encoded blocks, if there are any to add."""
        if not self.names:
            return rows
        given = _columns(pairs.select(tokens.kept), self.names)
        blocks = zip(self.names, self._encoder.transform(given), strict=True)
        return rows.with_columns({PREFIX + name: block for name, block in blocks})


def judged(objective: Any, scores: PairScores, inputs: Mapping[str, Tensor]) -> Terms:
    """Terms of any pair objective; a penalty gets the protected blocks of the batch.

    A batch of too few rows for the penalty's estimator has the base's terms alone, with a
    ``dependence`` of 0.
    """
    if not isinstance(objective, Regularised):
        return objective(scores)
    device = scores.chosen.device
    blocks = tuple(
        value.to(device, torch.float64) for name, value in inputs.items() if name.startswith(PREFIX)
    )
    rows = len(scores.chosen) * (2 if objective.on == "reward" else 1)
    if rows < (4 if getattr(objective.penalty, "estimator", "u") == "u" else 2):
        terms = objective.base(scores)
        return Terms(terms.loss, terms.metrics | {"dependence": torch.zeros_like(terms.loss)})
    with warnings.catch_warnings():
        # A new head gives one reward to all, and a batch may hold one group: both are usual.
        warnings.simplefilter("ignore", DataQualityWarning)
        terms = objective(scores, Attributes(blocks))
    if "dependence" in terms.metrics:
        return terms
    return Terms(terms.loss, terms.metrics | {"dependence": torch.zeros_like(terms.loss)})


def refuse_several(objective: Objective, several: bool) -> None:
    """Refuse a penalty on a model with several outputs, of which a pair compares one.

    Raises:
        IncompatibleError: saying what to do.
    """
    if isinstance(objective, Regularised) and several:
        raise IncompatibleError(
            "a Regularised objective serves a RewardModel with one output and pairs alone; "
            "train the outputs one by one, or without the penalty."
        )


def _columns(pairs: Preferences, names: Sequence[str]) -> dict[str, Any]:
    labels = {name: getattr(pairs, name) for name in LABEL_COLUMNS}
    known = {name: column for name, column in labels.items() if column is not None}
    known |= dict(pairs.attributes)
    for name in names:
        if name not in known:
            raise ParameterError(
                f"sensitive: the pairs have no column {shown(name)}; {nearest(name, list(known))}"
            )
    return {name: np.asarray(known[name]) for name in names}
