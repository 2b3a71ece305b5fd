"""Worlds of directions with known truth: one where neighbours help, one where they do not.

A response is its own reward: two numbers in a text, so that samplers and scorers need no
model. Both worlds are asked for a direction between two attributes and were "trained" on
the directions from -45 to 0 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ParameterError
from ..rules import Within, check, shown

Floats = NDArray[np.float64]

TRAINED_DEG = (-45.0, 0.0)
"""The trained cone of both worlds, degrees."""

_STEPS = 600
_WIDTH = 32


@final
@dataclass(frozen=True, kw_only=True)
class DirectionWorld:
    """A generator that follows directions, and the truth about what it gives.

    A candidate for direction u has the reward ``mean(u) + noise * normal``. The methods fit
    a scripted sampler (``answer``) and a scripted scorer (``rule``).

    Args:
        mean: mean reward (2,) of what is drawn for an angle in degrees.
        noise: standard deviation in each attribute, >= 0.
        names: of the two attributes.

    Example:
        >>> world = fading_world(kappa=0.5)
        >>> world.expected_score(45.0, [45.0, 0.0]).round(4).tolist()
        [0.6065, 0.7071]
        >>> candidate = world.answer("any prompt", (1.0, 0.0), np.random.default_rng(0))
        >>> world.rule("any prompt", candidate)
        (1.0188595..., -0.0198157...)
    """

    mean: Callable[[float], Floats]
    noise: Annotated[float, Within(0.0)] = 0.15
    names: tuple[str, str] = ("helpfulness", "verbosity")

    def __post_init__(self) -> None:
        check(self)

    @property
    def train_directions(self) -> Floats:
        """The trained cone as unit vectors, one a degree, (46, 2)."""
        low, high = TRAINED_DEG
        radians = np.deg2rad(np.arange(low, high + 1))
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    def expected_score(self, target_deg: float, degrees: ArrayLike) -> Floats:
        """Mean score at the target of a draw from each angle, shape (m,)."""
        t = math.radians(target_deg)
        target = np.array([math.cos(t), math.sin(t)])
        angles = np.atleast_1d(np.asarray(degrees, dtype=np.float64))
        return np.array([float(self.mean(float(angle)) @ target) for angle in angles])

    def answer(
        self, prompt: Any, direction: Sequence[float] | Floats | None, rng: np.random.Generator
    ) -> str:
        """A candidate: its two rewards as text, exact to the last digit.

        Raises:
            DataError: without a direction; the world is asked for nothing else.
        """
        if direction is None:
            raise DataError("this world answers to a direction; give one with each prompt.")
        degrees = math.degrees(math.atan2(direction[1], direction[0]))
        reward = self.mean(degrees) + self.noise * rng.normal(size=2)
        return " ".join(repr(float(value)) for value in reward)

    def rule(self, prompt: Any, response: str) -> tuple[float, ...] | None:
        """The rewards of a candidate, ``None`` for a text that is none."""
        try:
            values = tuple(float(word) for word in response.split())
        except ValueError:
            return None
        return values if len(values) == 2 and all(map(math.isfinite, values)) else None


def fading_world(*, kappa: float, noise: float = 0.15) -> DirectionWorld:
    r"""Quality fades beyond the trained cone: :math:`q(\phi) = e^{-\kappa \max(0, \phi) / 45}`.

    The mean reward at angle phi is ``q(phi) (cos phi, sin phi)``, hence the score at target t
    is normal with mean ``q(phi) cos(t - phi)``. With ``kappa = 0`` there is no gap and any
    turn costs.

    Args:
        kappa: how fast quality fades, >= 0.
        noise: standard deviation in each attribute, >= 0.

    Raises:
        ParameterError: for a value out of range.

    Example:
        >>> fading_world(kappa=0.0).expected_score(20.0, [20.0]).tolist()
        [1.0]
    """
    _admitted("kappa", Within(0.0), kappa)

    def mean(degrees: float) -> Floats:
        phi = math.radians(degrees)
        quality = math.exp(-kappa * max(0.0, degrees) / 45.0)
        return quality * np.array([math.cos(phi), math.sin(phi)])

    return DirectionWorld(mean=mean, noise=noise)


def learned_world(*, seed: int = 0, noise: float = 0.15) -> DirectionWorld:
    """The negative control: a network tuned on the cone that extrapolates smoothly.

    A small MLP learns the best response on the trained cone alone; beyond the frontier
    (length 1) a response is worth no more. What it says at a target outside is about as
    good as what it says next to it, so neighbours have nothing to offer.

    Args:
        seed: of the network.
        noise: standard deviation in each attribute, >= 0.

    Raises:
        ParameterError: for a value out of range.

    Example:
        >>> world = learned_world()
        >>> bool(world.expected_score(-20.0, [-20.0])[0] > 0.99)  # inside the cone
        True
    """
    _admitted("seed", Within(0, integer=True), seed)
    respond = _trained_network(seed)

    def mean(degrees: float) -> Floats:
        response = respond(degrees)
        return response / max(1.0, float(np.linalg.norm(response)))

    return DirectionWorld(mean=mean, noise=noise)


def _admitted(name: str, rule: Within, value: Any) -> None:
    if not rule.admits(value):
        raise ParameterError(f"{name} must be {rule.wants()}; got {shown(value)}.")


def _trained_network(seed: int) -> Callable[[float], Floats]:
    """An MLP from a direction to a response, fitted on the cone in float64."""
    import torch
    from torch import Tensor, nn

    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Linear(2, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, 2)
    ).double()
    with torch.no_grad():
        for weights in layers.parameters():
            size = weights.shape[-1] ** -0.5
            weights.copy_((2 * torch.rand(weights.shape, generator=generator) - 1) * size)

    def directions(degrees: Tensor) -> Tensor:
        radians = torch.deg2rad(degrees)
        return torch.stack([radians.cos(), radians.sin()], dim=-1)

    cone = directions(torch.linspace(*TRAINED_DEG, 46, dtype=torch.float64))
    optimiser = torch.optim.Adam(layers.parameters(), lr=0.01)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        ((layers(cone) - cone) ** 2).sum(-1).mean().backward()
        optimiser.step()

    def respond(degrees: float) -> Floats:
        with torch.no_grad():
            return layers(directions(torch.tensor(degrees, dtype=torch.float64))).numpy()

    return respond
