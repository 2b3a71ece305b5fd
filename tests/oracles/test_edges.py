"""Vectors at the edges, in closed form: adapters must serve any size and any limit."""

import math

import adapters
import pytest
import torch

from pluralign import catalog

adapters.load()


def computed(inputs, *expected):
    case = {"inputs": inputs, "expected": dict.fromkeys(expected)}
    adapter = adapters.find(case)
    assert adapter is not None, f"no adapter for {sorted(inputs)} -> {sorted(expected)}"
    got = adapter.compute(inputs)
    return [got[name] for name in expected]


def logit(p):
    return math.log(p / (1 - p))


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.25])
@pytest.mark.parametrize(
    ("plus", "minus"), [(1, 0), (0, 3), (19, 1), (1, 19), (9, 1), (3, 1), (2, 2), (60, 40)]
)
def test_identical_pairs(plus, minus, eps):
    inputs = {"n_consistent": plus, "n_inconsistent": minus, "eps": eps, "beta": 0.5}
    q = plus / (plus + minus)
    exists, h_rdpo, p_rdpo, h_dpo, p_cdpo = computed(
        inputs, "rdpo_has_finite_minimiser", "h_rdpo", "p_rdpo", "h_dpo", "p_cdpo"
    )
    assert exists == (eps < q < 1 - eps)
    if exists:
        p = (q - eps) / (1 - 2 * eps)
        assert p_rdpo == pytest.approx(p, rel=1e-10)
        assert h_rdpo == pytest.approx(logit(p) / 0.5, rel=1e-10, abs=1e-11)
    else:
        assert p_rdpo is None
        assert h_rdpo is None
    if 0 < q < 1:
        assert h_dpo == pytest.approx(logit(q) / 0.5, rel=1e-10, abs=1e-11)
    else:
        assert h_dpo is None
    assert p_cdpo == pytest.approx((1 - eps) * q + eps * (1 - q), rel=1e-10)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_equal_utilities_make_every_ranking_equal(size):
    expected = math.log(math.factorial(size))
    inputs = {"utilities_best_to_worst": [0.7] * size, "eps": 0.3}
    names = ("pl_nll", "pl_nll_reversed", "robust_reversal", "robust_uniform")
    assert computed(inputs, *names) == pytest.approx([expected] * 4)


def test_more_noise_than_a_reversal_can_bear_is_null():
    (reversal,) = computed({"utilities_best_to_worst": [1.0, 0.0], "eps": 0.6}, "robust_reversal")
    assert reversal is None


def test_separable_rows_have_no_minimiser():
    rows = {"signed_feature_differences": [[1.0, 0.2], [0.5, -0.1], [2.0, 0.3]], "beta": 1.0}
    theta, shrunk, exists = computed(
        {**rows, "eps": 0.1}, "theta_rdpo", "theta_cdpo", "rdpo_has_finite_minimiser"
    )
    assert theta is None
    assert exists is False
    assert torch.isfinite(shrunk).all()
    assert computed({**rows, "eps": 0.0}, "theta_dpo", "theta_cdpo") == [None, None]


def test_noise_rates_at_their_limits():
    gold, interval = computed({"gold_errors": 0, "gold_total": 50}, "eps_gold", "eps_gold_ci95")
    assert gold == 0
    assert interval == pytest.approx([0.0, 1 - 0.025 ** (1 / 50)])
    pairs = {"agreements": 40, "double_annotated": 100}
    assert computed(pairs, "eps_from_agreement_upper") == [0.5]
    flipped, following = computed(
        {"z": [0.0, 2.0], "eps0": 0.0}, "em_flip_posterior", "em_eps_next"
    )
    assert list(flipped) == [0.0, 0.0]
    assert following == 0.0


def test_a_subset_of_links_and_rates_of_each_pair():
    inputs = {"margin_h": [1.0, -2.0], "beta": 1.0, "eps": [0.0, 0.25]}
    robust, clean = computed(inputs, "sigmoid_robust", "sigmoid_clean")
    assert robust[0] == clean[0]
    assert robust[1].item() == pytest.approx(clean[1].item() + 0.5 * 2.0)


@pytest.mark.parametrize("margin", [{}, {"margin": None}])
def test_rewards_without_margins(margin):
    inputs = {"rewards_chosen": [0.5], "rewards_rejected": [0.5], **margin}
    loss, accuracy = computed(inputs, "loss", "accuracy")
    assert loss.item() == pytest.approx(math.log(2))
    assert accuracy.item() == 0


def test_every_method_with_vectors_is_in_the_catalogue():
    assert {"rdpo", "ranking_accuracy", "unpacking"} <= {m.key for m in catalog.METHODS}


def test_neighbours_of_other_targets_and_with_what_is_usual_left_out():
    grid = {"mode": "grid", "grid_lo_deg": -40, "grid_hi_deg": 40, "step_deg": 5}
    (found,) = computed({**grid, "target_angles_deg": [60, 75, -45]}, "angles_deg")
    assert found == [[40, 35, 30], [], [-40, -35, -30, -25, -20]]
    whole = {"mode": "grid", "grid_lo_deg": -180, "grid_hi_deg": 180, "target_angle_deg": 175.0}
    assert computed(whole, "angles_deg") == [[175, 180, 170, -175, 165]]
    one = {"mode": "offset", "target_angle_deg": -15, "k": 1, "theta_max_deg": 25}
    assert computed(one, "angles_deg") == [[-15]]


def test_rewards_that_are_none_have_failed():
    scores, index = computed({"rewards": [[9, None], [0, 1]], "target": [0, 2]}, "scores", "index")
    assert (scores, index) == ([None, 1.0], 1)
    nothing = {"rewards": [[-1, -1]], "ok": [False], "target": [1, 1]}
    assert computed(nothing, "scores", "index", "best") == [[None], None, None]
    several = {"rewards": [[[4, 0], [3, 0]], [[0, 0], [2, 9]]], "target": [1, 0]}
    assert computed({**several, "aggregate": "min"}, "scores") == [[0.0, 2.0]]
    assert computed(several, "index") == [[0, 1]]  # two prompts, not two scorers


def test_rates_of_single_counts_and_of_none():
    names = ("rate_no_ties", "rate_all", "rate_half_ties", "z_sign")
    assert computed({"wins": 6, "losses": 3, "ties": 1}, *names) == [6 / 9, 0.6, 0.65, 1.0]
    assert computed({"wins": 0, "losses": 0, "ties": 4}, *names) == [0.5, 0.0, 0.5, 0.0]
    assert computed({"wins": [3, 0], "losses": [1, 0]}, "rate_all") == [[0.75, None]]


@pytest.mark.parametrize("target", [(0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 2.0)])
def test_the_change_by_a_turn_in_any_dimension(target):
    inputs = {"reward": [60.0, 35.0, 1.0][: len(target)], "target": list(target)}
    bound, minus = computed({**inputs, "angles_deg": [0.0, 30.0]}, "bound", "actual_minus")
    assert bound[0] == minus[0] == 0.0
    assert 0 < minus[1] <= bound[1]
    single = computed({**inputs, "angles_deg": 30.0}, "bound", "actual_minus")
    assert single == [bound[1], minus[1]]
