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
