"""Edges of collection, packages and drivers in closed form: adapters serve them like any vector."""

import math

import adapters
import numpy as np
import pytest

adapters.load()


def computed(inputs, *expected):
    adapter = adapters.find({"inputs": inputs, "expected": dict.fromkeys(expected)})
    assert adapter is not None, f"no adapter for {sorted(inputs)} -> {sorted(expected)}"
    got = adapter.compute(inputs)
    return [got[name] for name in expected]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_equal_groups_share_alike(size):
    curves = {"b": [2.0] * size, "gamma": 0.5, "cost": [4.0] * size, "budget": 400.0}
    n, loss = computed({**curves, "weight": [1.0] * size}, "n", "weighted_loss")
    assert n == pytest.approx([100 / size] * size)
    assert loss == pytest.approx(2 / math.sqrt(100 / size))
    n, worst = computed(curves, "n", "worst")
    assert n == pytest.approx([100 / size] * size)
    assert worst == pytest.approx(2 / math.sqrt(100 / size))


def test_without_weights_all_groups_count_alike():
    curves = {"b": [1.0, 4.0], "gamma": 1.0, "cost": [1.0, 1.0], "budget": 90.0}
    (n, gains) = computed(curves, "n", "marginal_per_cost")
    assert n == pytest.approx([30.0, 60.0])
    assert gains == pytest.approx([0.5 / 900] * 2)
    (n, _) = computed({**curves, "eps": 0.0}, "n", "performance")
    assert n == pytest.approx([30.0, 60.0])


@pytest.mark.filterwarnings("ignore::pluralign.errors.DataQualityWarning")
def test_nothing_that_data_can_remove_buys_nothing():
    curves = {"b": [0.0, 0.0], "a": [0.1, 0.3], "gamma": 0.5, "cost": [1, 1], "budget": 9.0}
    n, loss, multiplier = computed({**curves, "weight": [1, 1]}, "n", "weighted_loss", "multiplier")
    assert n.tolist() == [0.0, 0.0]
    assert loss == pytest.approx(0.2)
    assert multiplier == 0.0


def test_held_samples_are_beside_the_budget_and_floors_within_it():
    curves = {"b": [1.0, 1.0], "gamma": 1.0, "cost": [1, 1], "budget": 60.0, "weight": [1, 1]}
    (held,) = computed({**curves, "n0": [50, 10]}, "n")
    (floors,) = computed({**curves, "n_min": [50, 0]}, "n")
    assert held == pytest.approx([60.0, 60.0])
    assert floors == pytest.approx([50.0, 10.0])


def test_no_package_is_rational():
    inputs = {"values": [[1.0], [0.5]], "cost": [1], "budget": 1, "disagreement": [0.0, 1.0]}
    count, ideal, nash = computed(inputs, "n_individually_rational", "ideal", "nash")
    assert (count, ideal, nash) == (0, None, None)


def test_purses_stay_full_where_nothing_can_be_bought():
    inputs = {"values": [[1.0], [1.0]], "cost": [5.0], "budget": 3.0}
    order, left = computed(inputs, "selected_in_order", "money_left")
    assert order == []
    assert list(left) == [1.5, 1.5]


@pytest.mark.parametrize("utilities", [[3.0], [0.0, 0.0], [2.0, 2.0, 2.0]])
def test_equal_utilities_have_no_inequality(utilities):
    gini, worst, total = computed({"utilities": utilities}, "gini", "worst", "total")
    assert (gini, worst, total) == (0.0, utilities[0], sum(utilities))


@pytest.mark.parametrize(("pie", "point"), [(2.0, (0.1, 0.2)), (0.1, (0.0, 0.0))])
def test_the_split_of_any_pie_from_any_point(pie, point):
    kalai, egalitarian, utilitarian = computed(
        {"pie": pie, "disagreement": list(point)}, "kalai_x", "egalitarian_x", "utilitarian_x"
    )
    gains = kalai - point[0], math.sqrt(pie - kalai) - point[1]
    ideals = pie - point[1] ** 2 - point[0], math.sqrt(pie - point[0]) - point[1]
    assert gains[0] / ideals[0] == pytest.approx(gains[1] / ideals[1], abs=1e-9)
    assert egalitarian - point[0] == pytest.approx(math.sqrt(pie - egalitarian) - point[1])
    assert utilitarian == pytest.approx(max(pie - 0.25, 0.0))


def test_a_constant_column_has_no_deviation_and_one_column_no_inflation():
    x = [[1.0, 3.0], [2.0, 3.0], [4.0, 3.0], [3.0, 3.0]]
    (deviation,) = computed({"X": x, "y": [0, 1, 1, 0]}, "feature_sd_ddof0")
    assert deviation == pytest.approx([np.std([1, 2, 4, 3]), 0.0])
    (vif,) = computed({"X": [[1.0], [2.0], [5.0]], "names": ["a"]}, "vif")
    assert vif.tolist() == [1.0]


def test_single_shares_and_impossible_outcomes():
    assert computed({"share": [0.01], "edges": [0.003, 0.015]}, "classes")[0].tolist() == [1]
    certain = {"prob": [[1.0, 0.0]], "y": [1]}
    assert computed(certain, "mean_deviance", "accuracy") == [math.inf, 0.0]
