"""Vectors of the ranking audit in other shapes: single numbers, several scales, absent options."""

import math

import adapters
import numpy as np
import pytest

adapters.load()


def computed(inputs, *expected):
    case = {"inputs": inputs, "expected": dict.fromkeys(expected)}
    adapter = adapters.find(case)
    assert adapter is not None, f"no adapter for {sorted(inputs)} -> {sorted(expected)}"
    got = adapter.compute(inputs)
    return [np.asarray(got[name]).tolist() for name in expected]


def softplus(x):
    return math.log1p(math.exp(x))


def test_pairs_without_lengths_and_equal_scores_counted_wrong():
    pairs = {"logp_w": [-1.0, -2.0, -9.0], "logp_l": [-1.0, -3.0, -1.0]}
    assert computed(pairs, "correct_sum", "accuracy_sum") == [[1, 1, 0], pytest.approx(2 / 3)]
    lengths = {"len_w": [1, 2, 9], "len_l": [1, 3, 1], "strict": True}
    assert computed(pairs | lengths, "correct_sum", "correct_mean") == [[0, 1, 0], [0, 0, 0]]
    assert computed({"logp_w": -1.0, "logp_l": -2.0}, "correct_sum", "n_used") == [1.0, 1]


def test_scales_and_weights_of_the_reference():
    c = {"ref_log_ratio_l_over_w": [-3.0, 4.0]}
    (rows,) = computed({**c, "beta": [1.0, 0.5]}, "threshold")
    np.testing.assert_allclose(rows, [[softplus(3), softplus(-4)], [softplus(1.5), softplus(-2)]])
    (lighter,) = computed({**c, "beta": 1.0, "gamma": 0.5}, "threshold")
    np.testing.assert_allclose(lighter, [softplus(1.5), softplus(-2)])
    (far,) = computed({"ref_log_ratio_l_over_w": 1e5, "beta": 0.1}, "log_threshold")
    assert far == pytest.approx(-1e4)
    assert computed({"ref_log_ratio_l_over_w": [1e308], "beta": 10.0}, "threshold") == [[0.0]]
    m = {"policy_log_ratio_w_over_l": [1.0, 2.0], **c, "beta": 1.0}
    (loss,) = computed(m, "loss")
    np.testing.assert_allclose(loss, [softplus(2), softplus(-6)])


def test_raters_who_agree_and_raters_who_are_divided():
    ratio = {"ref_log_ratio_w_over_l": [0.0, 0.0], "alpha": [1.0, 0.0], "beta": 1.0}
    clipped = math.log(0.999 / 0.001)
    (found,) = computed(ratio, "log_ratio")
    np.testing.assert_allclose(found, [clipped, -clipped])
    (paper,) = computed({**ratio, "eps_rule": "paper", "eps": 0.01}, "log_ratio")
    np.testing.assert_allclose(paper, [math.log(100), -math.log(100)])
    divided = {"ref_log_ratio_w_over_l": [3.0], "votes_w": [2], "n_raters": [4], "beta": [1.0]}
    assert computed(divided, "n_used", "accuracy", "median") == [0, [None], None]
    shares = {"ref_log_ratio_w_over_l": [3.0, -9.0], "alpha": [0.6, 0.9], "beta": 1.0}
    assert computed(shares, "n_used", "accuracy") == [2, 0.5]


def test_lists_of_several_lengths_and_lists_without_an_order():
    scores, ranks = [[3.0, 1.0, 2.0], [1.0, 2.0]], [[1, 3, 2], [1, 1]]
    found = computed(
        {"scores": scores, "human_ranks": ranks},
        "correct", "pairwise_accuracy", "kendall_tau",
    )  # fmt: skip
    assert found == [[1.0, 0.0], [1.0, None], [1.0, None]]


def test_a_table_of_logits_by_any_formula():
    case = {
        "vocab_size": 3,
        "logits_of_token_j": "log(1 + j % 2) at every position",
        "prompt_ids": [[0]],
        "response_ids": [[1, 2]],
        "padding_sides": ["left", "right"],
    }
    (total,) = computed(case, "sum")
    assert total[0] == pytest.approx(math.log(2 / 4) + math.log(1 / 4))
