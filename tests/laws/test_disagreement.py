"""Laws of the statistics of disagreement."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import friedmanchisquare, kendalltau

from pluralign.audit import disagreement as d

TABLES = arrays(np.float64, (4, 6), elements=st.integers(1, 4).map(float))


def varied(table):
    return all(len(set(row)) > 1 for row in table)


@settings(max_examples=50, deadline=None)
@given(TABLES.filter(varied))
def test_concordance_is_friedmans_statistic_and_tau_that_of_scipy(table):
    chi_squared = friedmanchisquare(*table.T).statistic
    assert d.kendall_w(table) == pytest.approx(chi_squared / (4 * 5), abs=1e-12)
    taus = [kendalltau(a, b).statistic for a, b in combinations(table, 2)]
    assert d.mean_tau(table) == pytest.approx(np.mean(taus), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(TABLES.filter(varied))
def test_order_alone_counts_for_concordance(table):
    assert d.kendall_w(np.exp(table)) == pytest.approx(d.kendall_w(table))
    assert d.kendall_w(table[[0, 0, 0]]) == pytest.approx(1)


@settings(max_examples=50, deadline=None)
@given(TABLES, st.permutations(range(6)), st.integers(-3, 3))
def test_distances_know_no_order_of_options_and_no_common_level(table, order, level):
    means = table[:, :, None]
    np.testing.assert_allclose(
        d.distance_to_others(means[:, list(order)] + level), d.distance_to_others(means), atol=1e-12
    )
    np.testing.assert_allclose(d.change(means, means + level), 0, atol=1e-12)


def test_agreement_of_raters_who_guess_is_not_called_systematic_too_often():
    rng = np.random.default_rng(0)
    values = [d.agreement_test(rng.normal(size=(4, 8)), 99, seed).p_value for seed in range(200)]
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.05)


def test_groups_drawn_by_lot_have_no_effect_and_groups_that_differ_do():
    rng = np.random.default_rng(1)
    labels = "aaaabbbbcccc"
    noise = [rng.normal(size=(12, 5)) for _ in range(100)]
    chance = [d.group_effect(x, labels, 199).p_value for x in noise]
    assert np.mean(np.array(chance) <= 0.05) == pytest.approx(0.05, abs=0.06)
    shift = np.repeat([[0.0], [3.0], [-3.0]], 4, axis=0) * np.array([1, -1, 1, -1, 1])
    assert all(d.group_effect(x + shift, labels, 199).systematic for x in noise[:20])


def test_variance_between_groups_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(7, 1)), np.array(list("aaabbcc"))
    within = sum(((x[labels == g] - x[labels == g].mean()) ** 2).sum() for g in "abc")
    expected = 1 - within / ((x - x.mean()) ** 2).sum()
    assert d.group_effect(x, labels, 99).value == pytest.approx(expected)


def test_raters_who_all_say_the_same_show_no_effect():
    found = d.group_effect(np.full((4, 3), 2.0), "aabb", 99)
    assert (found.value, found.p_value, found.systematic) == (0, 1, False)


def test_discussion_removes_what_was_missing_information_only():
    values = np.array([[[4.0], [1.0]], [[1.0], [1.0]]])
    misjudged = values + np.array([[[0.0], [2.0]], [[0.0], [0.0]]])
    np.testing.assert_allclose(d.change(misjudged, values), -1)
    np.testing.assert_allclose(d.distance_to_others(values), 1.5)
