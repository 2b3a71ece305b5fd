"""What the page of groups and domains says beside its figures."""

from __future__ import annotations

from typing import Final

STRENGTH: Final = (
    "Each mark is one strength of a penalty: to the right its loss on validation rows, upwards the "
    "dependence of the predictions on the protected attributes. Whiskers are one standard error "
    "over seeds to each side. A hollow mark is beaten by another strength in both. Strengths do "
    "not carry over to other data: they scale with the predictions and the attributes."
)
DENSITIES: Final = (
    "Densities of the predictions in each intersection cell, all on one scale; the short upright "
    "line is the cell's mean. If predictions did not depend on the attributes, all rows would look "
    "alike. A cell of few rows has a density of few rows."
)
DOMAINS: Final = (
    "Each row is a domain, each column a head or a way of combining heads. The stronger the "
    "colour, the higher; the best of each row is framed."
)
DRIFT: Final = (
    "Distance of all weights from their start after so many updates. At a constant learning rate a "
    "straight line on this axis is the ultra-slow diffusion that the method describes: distance "
    "a + b ln t. Hollow marks are not in the fit. Slopes that agree between batch sizes say that "
    "the trainings explore alike."
)
NOTES: Final = (
    (
        "Dependence",
        "Jensen-Shannon divergence of the cells' densities in bits: 0 if all are equal. It "
        "compares only at one bandwidth and one unit.",
    ),
    (
        "Chosen strength",
        "By the rule in the table: the bend of the curve (elbow), the smallest strength under a "
        "target, or by hand. The rule is applied to validation rows, not to the test.",
    ),
    (
        "Heads",
        "One for each source domain and one shared by all. A head that is right on its own domain "
        "may be wrong elsewhere, and may be sure of it.",
    ),
    (
        "Drift",
        "Euclidean distance over all trainable weights. R² says how much of its variation the "
        "logarithm of the updates explains; a power of the updates is given for contrast.",
    ),
)
