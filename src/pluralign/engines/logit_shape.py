"""What an architecture does to its logits, for every head that computes them."""

from __future__ import annotations

from typing import NamedTuple


class LogitShape(NamedTuple):
    """What an architecture does to its logits after the projection.

    Attributes:
        scale: factor on the projection.
        softcap: ``c`` in ``c * tanh(z / c)``, applied after the scale.
    """

    scale: float = 1.0
    softcap: float | None = None
