"""Whom does a model serve: metrics of arrays, frames by group, one report."""

from .difficulty import flip_threshold, idealised_accuracy
from .groups import GroupFrame, compare
from .labels import flip_rate
from .minimiser import has_finite_minimiser
from .noise import FlipRate
from .ranking import implicit_margin, ranking_accuracy, reward_accuracy
from .ranking_report import ranking_report
from .report import write_report

__all__ = [
    "FlipRate",
    "GroupFrame",
    "compare",
    "flip_rate",
    "flip_threshold",
    "has_finite_minimiser",
    "idealised_accuracy",
    "implicit_margin",
    "ranking_accuracy",
    "ranking_report",
    "reward_accuracy",
    "write_report",
]
