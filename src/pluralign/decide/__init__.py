"""Settle between groups that disagree: a package within a budget, by rules that can be read."""

from .bargaining import negotiate, replay
from .concepts import compare, solve
from .decision import Decision
from .explanation import explain
from .measuring import measures
from .problem import PackageProblem
from .resampling import bootstrap
from .shares import equal_shares
from .weights import weights_from_rankings, weights_from_ratings

__all__ = [
    "Decision",
    "PackageProblem",
    "bootstrap",
    "compare",
    "equal_shares",
    "explain",
    "measures",
    "negotiate",
    "replay",
    "solve",
    "weights_from_rankings",
    "weights_from_ratings",
]
