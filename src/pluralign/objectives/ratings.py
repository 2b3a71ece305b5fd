"""Regression to ratings of several attributes, some of which may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import torch
from torch import Tensor

from ..errors import IncompatibleError
from ..rules import Within, check
from .base import Terms, wide


class RatingScores(NamedTuple):
    """What a rating objective sees of a batch of responses.

    Attributes:
        predicted: rewards ``(B, A)``, one for each attribute.
        rating: what raters gave ``(B, A)``, on the same scale; NaN where there is no rating.
    """

    predicted: Tensor
    rating: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class RatingRegression:
    """Squared error of predicted ratings; missing ratings have no part in it.

    Use it to learn a reward model with several outputs from responses that were rated
    rather than compared, as in HelpSteer. Where ratings of different sets are mixed, leave
    what a set does not rate missing. Bring attributes to a common spread before: an
    attribute with twice the spread weighs four times as much.

    ``loss = strength / A * sum over rated a of (predicted_a - rating_a)^2``

    The sum is divided by all A attributes, not by the rated ones, so that every rating
    weighs the same, whatever else its response was rated for.

    Args:
        strength: weight of the loss, where it stands beside another, > 0.

    Raises:
        ParameterError: for a strength out of range.

    Example:
        >>> predicted = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
        >>> rating = torch.tensor([[0.0, 4.0], [4.0, float("nan")]])
        >>> RatingRegression()(RatingScores(predicted, rating)).loss.tolist()
        [1.0, 2.0]

    Differs from the paper: the treatment of missing ratings is ours.

    References:
        Wang et al., 2024, arXiv 2406.08673 (regression reward models of HelpSteer2); Wang et
        al., 2024, arXiv 2402.18571 (attributes of several sets in one model).
    """

    strength: Annotated[float, Within(0.0, closed="neither")] = 1.0

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, scores: RatingScores) -> Terms:
        """Per-response loss and metrics.

        Returns:
            Terms with ``loss`` of shape ``(B,)``, and the metrics ``ratings/squared_error``
            (the loss at strength 1) and ``ratings/known`` (share of attributes rated).

        Raises:
            IncompatibleError: if predictions and ratings are not both ``(B, A)``.
        """
        shapes = tuple(scores.predicted.shape), tuple(scores.rating.shape)
        if len(shapes[0]) != 2 or shapes[0] != shapes[1] or not shapes[0][1]:
            raise IncompatibleError(
                f"RatingRegression needs predictions and ratings of one shape (B, A); got "
                f"{shapes[0]} and {shapes[1]}."
            )
        predicted = wide(scores.predicted)
        rating = scores.rating.to(predicted.dtype).detach()
        known = ~rating.isnan()
        # A missing rating is replaced before the difference: NaN times 0 is NaN, and so is
        # its gradient.
        error = predicted - torch.where(known, rating, predicted.detach())
        squared = error.square().mean(dim=-1)
        metrics = {
            "ratings/squared_error": squared.detach(),
            "ratings/known": known.to(predicted.dtype).mean(dim=-1),
        }
        return Terms(self.strength * squared, metrics)
