"""Get preference data: whom to ask next, under a budget."""

from .allocation import allocate
from .curves import PowerCurves
from .fitting import fit_curve
from .heuristics import heuristic
from .ledger import Evaluation
from .plan import SamplingPlan
from .pool import GroupPool
from .sampling import AdaptiveSampler
from .welfare import Concave, Isoelastic, Maximin
from .whole import allocate_whole

__all__ = [
    "AdaptiveSampler",
    "Concave",
    "Evaluation",
    "GroupPool",
    "Isoelastic",
    "Maximin",
    "PowerCurves",
    "SamplingPlan",
    "allocate",
    "allocate_whole",
    "fit_curve",
    "heuristic",
]
