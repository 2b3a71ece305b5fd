"""How much groups and raters disagree about the same options, and whether it is chance."""

from .concordance import agreement_test, kendall_w, mean_tau
from .distances import (
    Disagreement,
    change,
    correlations,
    disagreement,
    distance_to_others,
    fill_in_shares,
)
from .shuffling import PermutationTest, group_effect
from .tables import group_means

__all__ = [
    "Disagreement",
    "PermutationTest",
    "agreement_test",
    "change",
    "correlations",
    "disagreement",
    "distance_to_others",
    "fill_in_shares",
    "group_effect",
    "group_means",
    "kendall_w",
    "mean_tau",
]
