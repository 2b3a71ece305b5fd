"""Vectors of the regression to ratings; ``null`` is a missing rating."""

import math

import torch

from adapters import adapter
from pluralign.objectives import RatingRegression
from pluralign.objectives.ratings import RatingScores


@adapter(
    inputs={"predicted", "ratings", "strength"}, expected_any={"loss_per_response", "mean_loss"}
)
def rating_regression(inputs):
    rows = [[math.nan if value is None else value for value in row] for row in inputs["ratings"]]
    scores = RatingScores(
        torch.tensor(inputs["predicted"], dtype=torch.float64),
        torch.tensor(rows, dtype=torch.float64),
    )
    loss = RatingRegression(strength=inputs["strength"])(scores).loss
    return {"loss_per_response": loss, "mean_loss": loss.mean()}
