"""The network behind the tabular estimators: one loop, one seed, float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ..objectives.dependence_attributes import Attributes
from ..objectives.dependence_losses import Outcomes
from ..objectives.dependence_penalty import Regularised


@final
@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a network is trained.

    Args:
        learning_rate: of Adam.
        max_epochs: passes over the rows.
        batch_size: rows of a step; ``None`` for all.
        weight_decay: of Adam.
        seed: of the initial weights and the order of the rows.
    """

    learning_rate: float
    max_epochs: int
    batch_size: int | None
    weight_decay: float
    seed: int


def network(inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float, seed: int) -> Any:
    """A multilayer perceptron in float64; no hidden layer makes it linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs)).double()


def train(
    model: nn.Module,
    objective: Regularised,
    rows: tuple[Tensor, Tensor, Tensor | None],
    attributes: Attributes | None,
    schedule: Schedule,
) -> list[float]:
    """Minimise the objective over rows of features, target and exposure.

    Returns:
        Mean loss of each epoch, penalty included.
    """
    features, target, exposure = rows
    optimiser = torch.optim.Adam(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        model.train()
        for _ in range(schedule.max_epochs):
            epoch: list[Tensor] = []
            for batch in _batches(len(features), schedule.batch_size):
                part = Outcomes(
                    _squeezed(model(features[batch])),
                    target[batch],
                    None if exposure is None else exposure[batch],
                )
                known = None if attributes is None else attributes.take(batch)
                loss = objective(part, known).loss.mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                epoch.append(loss.detach())
            losses.append(torch.stack(epoch).mean().item())
    model.eval()
    return losses


def outputs(model: nn.Module, features: Tensor) -> Tensor:
    """Outputs of the trained network, ``(n,)`` or ``(n, classes)``."""
    with torch.no_grad():
        return _squeezed(model(features))


def _squeezed(output: Tensor) -> Tensor:
    return output[:, 0] if output.shape[1] == 1 else output


def _batches(n: int, size: int | None) -> Iterator[Tensor]:
    """All rows, or shuffled batches; a last batch below half the size joins its neighbour."""
    if size is None or size >= n:
        yield torch.arange(n)
        return
    order = torch.randperm(n)
    count = max(1, round(n / size))
    yield from torch.tensor_split(order, count)
