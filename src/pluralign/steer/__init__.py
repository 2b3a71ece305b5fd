"""Steer a model at inference: sample near what a user wants, choose by what they want."""

from .comparison import compare
from .coverage import coverage_gain
from .directions import Neighbourhood
from .gains import Coverage
from .maxima import expected_gap, expected_max, win_probability
from .record import Selection
from .selection import DirectionalSelection

__all__ = [
    "Coverage",
    "DirectionalSelection",
    "Neighbourhood",
    "Selection",
    "compare",
    "coverage_gain",
    "expected_gap",
    "expected_max",
    "win_probability",
]
