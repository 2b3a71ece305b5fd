"""Vectors of disagreement between groups: concordance, distances, ranges."""

import numpy as np

from adapters import adapter
from pluralign.audit.disagreement.concordance import kendall_w, rank_matrix
from pluralign.audit.disagreement.distances import (
    deviation_from_mean,
    disagreement,
    distance_to_others,
)


@adapter(inputs={"ranks"}, expected_any={"W", "column_rank_sums"})
def concordance(inputs):
    ranks = inputs["ranks"]
    return {"W": kendall_w(ranks), "column_rank_sums": rank_matrix(ranks).sum(axis=0)}


@adapter(
    inputs={"group_means"},
    expected_any={
        "deviation_from_mean_of_groups",
        "range_per_criterion",
        "sd_per_criterion_ddof0",
        "mean_abs_pairwise_01",
    },
)
def matrix(inputs):
    """Group means over the options: one option, its ratings taken as they are."""
    means = np.asarray(inputs["group_means"], dtype=float)
    twice = np.repeat(means[:, None, :], 2, axis=1)  # the tests of order need two options
    found = disagreement(
        twice,
        groups=[str(g) for g in range(len(means))],
        criteria=[str(c) for c in range(means.shape[1])],
        n_permutations=99,
    )
    return {
        "deviation_from_mean_of_groups": deviation_from_mean(means),
        "range_per_criterion": found.range,
        "sd_per_criterion_ddof0": found.sd,
        "mean_abs_pairwise_01": distance_to_others(twice[:2])[0].mean(),
    }
