"""Flip rates: closed forms, recovery of planted rates, coverage, and who has no evidence."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar
from scipy.stats import binomtest

from pluralign import (
    DataError,
    IncompatibleError,
    ParameterError,
    Preferences,
    ScoredPairs,
)
from pluralign.audit import FlipRate, flip_rate, has_finite_minimiser
from pluralign.audit.noise import (
    corrected_accuracy,
    em_step,
    flip_posterior,
    forward_nll,
    from_double_annotation,
    from_gold,
    from_margins,
    heldout_grid,
)


def pairs_of(rows, **options):
    base = {"prompt": "p", "chosen": "a", "rejected": "b"}
    return Preferences.from_records([base | row for row in rows], **options)


def noisy_margins(rng, size, spread, rate, shrink=1.0):
    """Margins of observed chosen over rejected; ``shrink`` times the true ones."""
    z = rng.normal(0, spread, size)
    first = (rng.random(size) < 1 / (1 + np.exp(-z))) ^ (rng.random(size) < rate)
    return shrink * np.where(first, z, -z)


# ------------------------------------------------------------------ gold and agreement


@pytest.mark.parametrize(("errors", "total"), [(0, 10), (3, 10), (10, 10), (18, 120)])
def test_gold_interval_is_the_exact_one(errors, total):
    rate = from_gold(errors, total, confidence=0.9)
    exact = binomtest(errors, total).proportion_ci(0.9, method="exact")
    assert (rate.low, rate.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert (rate.value, rate.n, rate.is_upper_bound) == (errors / total, total, False)
    wilson = binomtest(errors, total).proportion_ci(0.9, method="wilson")
    rate = from_gold(errors, total, confidence=0.9, interval="wilson")
    assert (rate.low, rate.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_agreement_bound_inverts_two_noisy_raters():
    for eps in (0.0, 0.1, 0.3, 0.45):
        agreement = eps**2 + (1 - eps) ** 2
        bound = from_double_annotation(agreement * 1e6, 1e6)
        assert bound.value == pytest.approx(eps, abs=1e-9)
        assert bound.low <= bound.value <= bound.high
        assert bound.is_upper_bound
        assert "upper bound" in bound.note
    assert from_double_annotation(3, 10).value == 0.5
    assert from_double_annotation(600, 1000).value == pytest.approx(0.276, abs=1e-3)


@pytest.mark.parametrize("call", [from_gold, from_double_annotation])
@pytest.mark.parametrize(("count", "total"), [(0, 0), (5, 4), (-1, 4), (float("nan"), 4)])
def test_impossible_counts(call, count, total):
    with pytest.raises(DataError, match=f"got {count} of {total}"):
        call(count, total)


def test_levels_and_kinds_out_of_range():
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(ParameterError, match="confidence"):
            from_gold(1, 4, confidence=confidence)
    with pytest.raises(ParameterError, match="'exact', 'wilson'"):
        from_gold(1, 4, interval="wald")
    with pytest.raises(ParameterError, match="'free', 'fixed'"):
        from_margins([1.0, 2.0], scale="loose")


# ------------------------------------------------------------------ likelihood


def test_posterior_and_likelihood_from_their_definitions():
    z, eps = np.array([-30.0, -1.0, 0.0, 0.3, 40.0]), 0.2
    right, wrong = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    both = (1 - eps) * right + eps * wrong
    np.testing.assert_allclose(forward_nll(z, eps), -np.log(both), rtol=1e-13)
    np.testing.assert_allclose(flip_posterior(z, eps), eps * wrong / both, rtol=1e-12)
    rates = np.full(5, 0.2)
    np.testing.assert_array_equal(forward_nll(z, rates), forward_nll(z, eps))
    assert np.isfinite(forward_nll([-900.0, 900.0], 0.1)).all()
    np.testing.assert_allclose(forward_nll(z, 0.0), np.logaddexp(0, -z), rtol=1e-14)
    np.testing.assert_array_equal(flip_posterior(z, 0.0), 0.0)


@pytest.mark.parametrize("rate", [0.5, -0.1, 0.7, float("nan")])
def test_rates_out_of_range(rate):
    for call in (forward_nll, flip_posterior, corrected_accuracy):
        with pytest.raises(ParameterError, match=r"\[0, 0.5\)"):
            call([0.6, 0.7], [0.1, rate])


def test_em_climbs_the_likelihood_to_the_estimate():
    z = noisy_margins(np.random.default_rng(0), 3000, 4.0, 0.2)
    eps, loss = 0.4, np.inf
    for _ in range(300):
        now = forward_nll(z, eps).mean()
        assert now <= loss + 1e-12
        eps, loss = em_step(z, eps), now
    fixed = from_margins(z, scale="fixed")
    assert eps == pytest.approx(fixed.value, abs=1e-4)
    best = minimize_scalar(
        lambda rate: forward_nll(z, rate).sum(), bounds=(0, 0.499), method="bounded"
    )
    for end in (fixed.low, fixed.high):
        assert forward_nll(z, end).sum() - best.fun == pytest.approx(3.8415 / 2, abs=0.01)


def test_a_free_scale_survives_shrunken_margins():
    z = noisy_margins(np.random.default_rng(1), 8000, 5.0, 0.25, shrink=0.3)
    free, fixed = from_margins(z), from_margins(z, scale="fixed")
    assert free.low < 0.25 < free.high
    assert free.high - free.low < 0.15
    assert not fixed.low < 0.25 < fixed.high


def test_clean_margins_give_an_interval_that_starts_at_zero():
    rate = from_margins(noisy_margins(np.random.default_rng(2), 2000, 4.0, 0.0))
    assert rate.low == 0.0
    assert rate.high < 0.05


def test_few_or_unusable_margins():
    with pytest.raises(DataError, match="at least two"):
        from_margins([1.0])
    with pytest.raises(DataError) as error:
        from_margins([1.0, np.nan, 2.0])
    assert error.value.rows == (1,)


def test_grid_prefers_the_rate_that_predicts():
    rng = np.random.default_rng(3)
    z = noisy_margins(rng, 5000, 4.0, 0.2)
    found = heldout_grid(dict.fromkeys((0.0, 0.1, 0.2, 0.3, 0.4), z))
    assert (found.value, found.low, found.high) == (0.2, 0.2, 0.2)
    loose = heldout_grid(dict.fromkeys((0.0, 0.1, 0.2, 0.3), z[:60]))
    assert loose.low <= 0.2 <= loose.high
    assert loose.low < loose.high
    with pytest.raises(DataError, match="lengths differ"):
        heldout_grid({0.0: z, 0.1: z[:-1]})
    with pytest.raises(ParameterError, match="two rates"):
        heldout_grid({0.1: z})


def test_corrected_accuracy_recovers_the_true_one():
    rng = np.random.default_rng(4)
    right, flipped = rng.random(400_000) < 0.83, rng.random(400_000) < 0.3
    observed = (right ^ flipped).mean()
    assert corrected_accuracy(observed, 0.3) == pytest.approx(0.83, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("total", [10, 200])
def test_wilson_and_exact_coverage_of_gold_rates(total):
    rng = np.random.default_rng(5)
    truth = rng.uniform(0.05, 0.45, 2000)
    errors = rng.binomial(total, truth)
    for interval, low, high in (("wilson", 0.93, 0.97), ("exact", 0.94, 1.0)):
        rates = [from_gold(int(k), total, interval=interval) for k in errors]
        inside = np.mean([r.low <= t <= r.high for r, t in zip(rates, truth, strict=True)])
        assert low <= inside <= high


@pytest.mark.slow
@pytest.mark.parametrize("total", [10, 200])
def test_coverage_of_rates_from_double_annotation(total):
    """Two people who err independently: the bound that their agreement gives is the rate."""
    rng = np.random.default_rng(7)
    inside = []
    for truth in rng.uniform(0.05, 0.35, 2000):
        flipped = rng.random((2, total)) < truth
        agreed = int((flipped[0] == flipped[1]).sum())
        rate = from_double_annotation(agreed, total, interval="wilson")
        inside.append(rate.low <= truth <= rate.high)
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["free", "fixed"])
def test_coverage_of_rates_from_margins(scale):
    rng = np.random.default_rng(6)
    inside = []
    for _ in range(2000):
        truth = rng.uniform(0.1, 0.35)
        rate = from_margins(noisy_margins(rng, 500, 6.0, truth), scale=scale)
        inside.append(rate.low <= truth <= rate.high)
    assert 0.93 <= np.mean(inside) <= 0.97


# ------------------------------------------------------------------ the entry point


def test_gold_by_group():
    rows = [
        {"group": g, "gold": v} for g, v in zip("aaaabbb", [1, 0, 1, 1, 0, 1, np.nan], strict=True)
    ]
    pairs = pairs_of(rows, attributes=["gold"])
    overall = flip_rate(pairs, "gold")
    assert (overall.value, overall.n, overall.group) == (pytest.approx(2 / 6), 6, None)
    found = flip_rate(pairs, "gold", by="group")
    assert {name: (rate.value, rate.n) for name, rate in found.items()} == {
        "a": (0.25, 4),
        "b": (0.5, 2),
    }
    assert [rate.group for rate in found.values()] == ["a", "b"]


def test_groups_without_evidence_are_all_named():
    rows = [{"group": g, "gold": v} for g, v in zip("abc", [1, np.nan, np.nan], strict=True)]
    with pytest.raises(DataError, match=r"2 of 3 groups: 'b'.*'c'"):
        flip_rate(pairs_of(rows, attributes=["gold"]), "gold", by="group")


def test_gold_of_another_kind():
    with pytest.raises(DataError, match="needs an attribute 'gold'"):
        flip_rate(pairs_of([{}]), "gold")
    with pytest.raises(DataError, match=r"row 1 has 0.5"):
        flip_rate(pairs_of([{"gold": 1}, {"gold": 0.5}], attributes=["gold"]), "gold")


def votes(*rows):
    """(prompt, chosen, annotator, group); the responses are a and b."""
    return [
        {
            "prompt": prompt,
            "chosen": chosen,
            "rejected": {"a": "b", "b": "a"}[chosen],
            "annotator": annotator,
            "group": group,
        }
        for prompt, chosen, annotator, group in rows
    ]


def test_double_annotation_pairs_up_annotators():
    pairs = pairs_of(
        votes(
            ("p", "a", "x", "n"), ("p", "b", "y", "n"),  # disagree
            ("q", "a", "x", "n"), ("q", "a", "y", "n"),  # agree
            ("r", "b", "x", "n"), ("r", "b", "x", "n"),  # one annotator: no evidence
            ("s", "a", "x", "n"), ("s", "a", "y", "n"), ("s", "b", "z", "n"),  # 1 of 3 agree
            ("t", "a", "x", "n"),
        )
    )  # fmt: skip
    rate = flip_rate(pairs, "double_annotation")
    agreement = (0 + 1 + 1 / 3) / 3
    assert rate.n == 3
    assert rate.value == pytest.approx(from_double_annotation(agreement * 3, 3).value)
    duplicates = flip_rate(pairs, "duplicates")
    assert (duplicates.n, duplicates.method) == (4, "duplicates")
    assert duplicates.is_upper_bound


def test_agreement_counts_within_a_group_only():
    pairs = pairs_of(
        votes(
            *[(f"p{i}", "a", who, "n") for i in range(20) for who in "xy"],
            *[(f"p{i}", "ab"[i % 2 if who == "v" else 0], who, "s") for i in range(20)
              for who in "uv"],
        )
    )  # fmt: skip
    found = flip_rate(pairs, "double_annotation", by="group")
    assert found["n"].value == 0.0
    assert found["s"].value == 0.5
    assert found["s"].n == 20


def test_double_annotation_of_conversations():
    turn = [{"role": "user", "content": "hi"}]
    pairs = pairs_of(
        [
            {"prompt": turn, "chosen": turn, "rejected": [{"role": "user", "content": "ho"}],
             "annotator": who}
            for who in "xy"
        ]
    )  # fmt: skip
    assert flip_rate(pairs, "double_annotation").n == 1


def test_planted_rates_are_recovered_from_double_annotation():
    rng = np.random.default_rng(7)
    rows = []
    for group, eps in (("n", 0.05), ("s", 0.35)):
        for i in range(3000):
            for who in "xy":
                chosen = "b" if rng.random() < eps else "a"
                rows += votes((f"{group}{i}", chosen, who, group))
    found = flip_rate(pairs_of(rows), "double_annotation", by="group")
    assert found["n"].low < 0.05 < found["n"].high
    assert found["s"].low < 0.35 < found["s"].high


def test_double_annotation_without_annotators():
    with pytest.raises(DataError, match="'duplicates'"):
        flip_rate(pairs_of([{}]), "double_annotation")
    with pytest.raises(DataError, match="pairs annotated twice"):
        flip_rate(pairs_of([{"annotator": "x"}]), "double_annotation")


def test_em_by_group_on_scored_pairs():
    rng = np.random.default_rng(18)
    z = np.concatenate([noisy_margins(rng, 2500, 6.0, eps) for eps in (0.05, 0.35)])
    pairs = pairs_of([{"group": g} for g in ["n"] * 2500 + ["s"] * 2500])
    scored = ScoredPairs(pairs, chosen=z / 0.1 - 50, rejected=np.full(5000, -50.0), beta=0.1)
    found = flip_rate(scored, "em", by="group")
    assert found["n"].low < 0.05 < found["n"].high
    assert found["s"].low < 0.35 < found["s"].high
    for data in (pairs, ScoredPairs(pairs, chosen=z, rejected=z)):
        with pytest.raises(IncompatibleError, match="margins and beta"):
            flip_rate(data, "em")


def test_unknown_method_and_column():
    with pytest.raises(ParameterError, match="did you mean 'gold'"):
        flip_rate(pairs_of([{}]), "golf")
    with pytest.raises(DataError, match="no column 'group'"):
        flip_rate(pairs_of([{"gold": 1}], attributes=["gold"]), "gold", by="group")


def test_a_rate_is_a_plain_record():
    assert from_gold(1, 4) == from_gold(1, 4)
    assert FlipRate(0.1, 0.0, 0.2, 10, "gold").group is None


# ------------------------------------------------------------------ existence of a minimum


@pytest.mark.parametrize(
    ("plus", "minus", "eps", "exists"),
    [
        (35, 15, 0.2, True),
        (18, 2, 0.15, False),
        (17, 3, 0.15, False),  # on the boundary: a share of exactly eps contradicts
        (16, 4, 0.15, True),
        (3, 17, 0.15, False),
        (5, 0, 0.0, False),
        (5, 1, 0.0, True),
        (1, 0, 0.4, False),
    ],
)
def test_minimiser_of_identical_pairs(plus, minus, eps, exists):
    rows = [[2.0]] * plus + [[-2.0]] * minus
    assert has_finite_minimiser(rows, eps) is exists
    assert has_finite_minimiser(rows, np.full(plus + minus, eps)) is exists
    # A further feature that no pair moves along decides nothing.
    assert has_finite_minimiser([[x[0], 0.0] for x in rows], eps) is exists


def test_minimiser_at_rate_zero_is_non_separability():
    rng = np.random.default_rng(9)
    seen = set()
    for _ in range(60):
        rows = rng.normal(size=(12, 4)) + 0.4
        separable = linprog(np.zeros(4), A_ub=-rows, b_ub=-np.ones(12), bounds=(None, None))
        assert has_finite_minimiser(rows, 0.0) is (separable.status == 2)
        seen.add(separable.status)
    assert seen == {0, 2}


def test_minimiser_against_directions_by_brute_force():
    rng = np.random.default_rng(10)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    verdicts = []
    for _ in range(80):
        rows = rng.normal(size=(15, 2)) + 0.25
        rates = rng.uniform(0, 0.25, 15)
        moved = rows @ directions
        odds = rates / (1 - 2 * rates)
        slope = np.maximum(0, -moved).sum(axis=0) - odds @ moved
        if abs(slope.min()) > 1e-3:
            verdicts.append(slope.min() > 0)
            assert has_finite_minimiser(rows, rates) is bool(verdicts[-1])
    assert {True, False} == set(verdicts)


def test_minimiser_is_invariant_to_the_scale_of_features():
    rng = np.random.default_rng(11)
    for shift in (0.2, 0.6, 1.2):
        rows = rng.normal(size=(40, 3)) + shift
        expected = has_finite_minimiser(rows, 0.1)
        assert has_finite_minimiser(rows * [1e-6, 1.0, 1e6], 0.1) is expected
        assert has_finite_minimiser(rows @ rng.normal(size=(3, 3)), 0.1) is expected


def test_more_parameters_than_pairs_never_have_a_minimum():
    rows = np.random.default_rng(12).normal(size=(20, 30))
    assert not has_finite_minimiser(rows, 0.0)
    assert not has_finite_minimiser(rows, 0.3)


def test_minimiser_without_any_margin():
    assert has_finite_minimiser(np.zeros((4, 2)), 0.2)


def test_minimiser_of_bad_input():
    with pytest.raises(DataError, match="matrix"):
        has_finite_minimiser([1.0, 2.0], 0.1)
    with pytest.raises(DataError, match="matrix"):
        has_finite_minimiser([[np.nan]], 0.1)
    for rate in (0.5, -0.1, [0.1, 0.2]):
        with pytest.raises(ParameterError, match="flip_rate"):
            has_finite_minimiser([[1.0]], rate)
