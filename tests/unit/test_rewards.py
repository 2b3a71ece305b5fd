"""Best of n and section scores: identities, brute force, refusals."""

from itertools import combinations

import numpy as np
import pytest

from pluralign import DataError, ParameterError
from pluralign.audit.rewards import best_of_first_n, expected_best_of_n, section_scores


def brute(rewards, metric, n):
    values = []
    for reward, worth in zip(rewards, metric, strict=True):
        for subset in combinations(range(len(reward)), n):
            values.append(worth[max(subset, key=lambda i: (reward[i], -i))])
    return np.mean(values)


@pytest.mark.parametrize("n", range(1, 7))
def test_expectation_equals_all_subsets(n):
    rng = np.random.default_rng(n)
    rewards = rng.integers(0, 4, size=(5, 6)).astype(float)  # ties are common
    metric = rng.normal(size=(5, 6))
    assert expected_best_of_n(rewards, metric, n) == pytest.approx(brute(rewards, metric, n))


def test_more_answers_never_hurt_a_true_reward():
    values = np.random.default_rng(0).normal(size=(50, 8))
    curve = [expected_best_of_n(values, values, n) for n in range(1, 9)]
    assert curve == sorted(curve)
    assert curve[0] == pytest.approx(values.mean())
    assert curve[-1] == pytest.approx(values.max(axis=1).mean())
    assert best_of_first_n(values, values, 8) == pytest.approx(curve[-1])


def test_sections_weigh_their_examples():
    scores = section_scores(
        {"a": 1.0, "b": 0.0, "c": 0.5}, {"a": 1, "b": 3, "c": 9}, {"x": "ab", "y": "c"}
    )
    assert scores == {"x": 0.25, "y": 0.5}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: best_of_first_n([[1.0]], [[1.0, 2.0]], 1), DataError, "must both be"),
        (lambda: best_of_first_n([[np.nan]], [[1.0]], 1), DataError, "NaN"),
        (lambda: expected_best_of_n([[1.0]], [[1.0]], 2), ParameterError, "got 2"),
        (lambda: section_scores({}, {}, {"x": ["a"]}), DataError, "'x' lacks"),
        (lambda: section_scores({}, {}, {"x": []}), DataError, "'x' lacks"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
