"""Get preference data: whom to ask next, under a budget."""

from .allocation import allocate
from .curves import PowerCurves
from .fitting import fit_curve
from .heuristics import heuristic
from .welfare import Concave, Isoelastic, Maximin, ParityPenalised
from .whole import allocate_whole

__all__ = [
    "Concave",
    "Isoelastic",
    "Maximin",
    "ParityPenalised",
    "PowerCurves",
    "allocate",
    "allocate_whole",
    "fit_curve",
    "heuristic",
]
