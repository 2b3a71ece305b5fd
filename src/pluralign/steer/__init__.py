"""Steer a model at inference: sample near what a user wants, choose by what they want."""

from .coverage import coverage_gain
from .directions import Neighbourhood, Neighbours
from .gains import Coverage
from .maxima import consistency_bound, expected_gap, expected_max, win_probability
from .record import Selection
from .selection import Cost, DirectionalSelection

__all__ = [
    "Cost",
    "Coverage",
    "DirectionalSelection",
    "Neighbourhood",
    "Neighbours",
    "Selection",
    "consistency_bound",
    "coverage_gain",
    "expected_gap",
    "expected_max",
    "win_probability",
]
