"""Formulas that training minimises: pure functions of tensors, unreduced."""

from .base import Objective, PairObjective, Terms, margin
from .dependence import DistanceCovariance
from .dependence_penalty import Regularised
from .dpo import CDPO, CPO, DPO, IPO, SimPO, SLiC
from .plackett_luce import RobustPlackettLuce
from .ratings import RatingRegression
from .rdpo import RDPO
from .reward import BradleyTerry

__all__ = [
    "CDPO",
    "CPO",
    "DPO",
    "IPO",
    "RDPO",
    "BradleyTerry",
    "DistanceCovariance",
    "Objective",
    "PairObjective",
    "RatingRegression",
    "Regularised",
    "RobustPlackettLuce",
    "SLiC",
    "SimPO",
    "Terms",
    "margin",
]
