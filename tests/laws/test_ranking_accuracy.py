"""What the ranking audit must obey: the numbered properties of the method's card.

The score of a sequence itself (batching, padding side) is proved with the engines; here
the masked reduction is.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import kendalltau, norm

from pluralign import PairScores, Preferences, ScoredPairs
from pluralign.audit import (
    flip_threshold,
    idealised_accuracy,
    implicit_margin,
    ranking_accuracy,
    ranking_report,
    reward_accuracy,
)
from pluralign.audit.difficulty import (
    alpha_needed,
    ipo_sufficient_loss,
    ipo_zero_loss_is_correct,
    log_flip_threshold,
    margin_needed,
    perfect_log_ratio,
    scaled_dpo_loss,
)
from pluralign.audit.ranking import ranking_agreement, sequence_score
from pluralign.objectives import DPO
from pluralign.objectives.base import margin as tensor_margin

NATS = st.floats(-500, 500)
BETA = st.floats(1e-3, 10)
SHARE = st.floats(0.01, 0.99)


def scored(chosen, rejected, **more):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}] * len(chosen)
    return ScoredPairs(
        Preferences.from_records(rows), chosen=np.array(chosen), rejected=np.array(rejected), **more
    )


def random_pairs(size=200, seed=0, **more):
    rng = np.random.default_rng(seed)
    scores = rng.normal(-60, 20, (4, size))
    lengths = rng.integers(1, 60, (2, size))
    return scored(
        scores[0],
        scores[1],
        ref_chosen=scores[2],
        ref_rejected=scores[3],
        chosen_length=lengths[0],
        rejected_length=lengths[1],
        **more,
    )


@given(m=NATS, c=NATS, beta=BETA)
def test_a_pair_is_right_iff_its_loss_is_at_most_the_threshold(m, c, beta):
    loss, threshold = scaled_dpo_loss(m, c, beta), flip_threshold(c, beta)
    slack = 1e-12 * max(1.0, abs(beta * c))
    if abs(beta * m) > 1e-9 * max(1.0, abs(beta * c)) and threshold > 1e-290:
        assert (loss <= threshold * (1 + slack)) == (m >= 0)
    assert scaled_dpo_loss(0.0, c, beta) == pytest.approx(float(threshold), rel=1e-12, abs=1e-300)


@given(c=st.floats(-300, 300), step=st.floats(0.01, 50), beta=BETA)
def test_threshold_falls_in_c_and_obeys_the_reflection_identity(c, step, beta):
    # In logarithms, because for very negative c the threshold itself is -beta c to rounding.
    assert log_flip_threshold(c + step, beta) < log_flip_threshold(c, beta)
    difference = flip_threshold(-c, beta) - flip_threshold(c, beta)
    assert difference == pytest.approx(beta * c, rel=1e-12, abs=1e-12)
    assert flip_threshold(0.0, beta) == pytest.approx(np.log(2), rel=1e-15)


@given(c=NATS, beta=BETA, alpha=SHARE)
def test_feasible_iff_the_share_exceeds_the_share_needed(c, beta, alpha):
    needed = alpha_needed(c, beta)
    assert needed == pytest.approx(1 / (1 + np.exp(-np.clip(beta * c, -700, 700))), rel=1e-9)
    assert np.exp(-flip_threshold(c, beta)) == pytest.approx(float(needed))
    if abs(alpha - needed) > 1e-9:
        right = idealised_accuracy([-c], [alpha], [beta], drop_ties=False)
        if alpha != 0.5:
            assert right.accuracy[0] == float(alpha > needed)


def test_log_threshold_holds_where_the_threshold_underflows():
    c = np.array([-50.0, 0.0, 10.0, 299.0, 301.0, 1e5])
    expected = np.array([np.log(np.logaddexp(0, -0.1 * x)) if x < 5000 else -0.1 * x for x in c])
    np.testing.assert_allclose(log_flip_threshold(c, 0.1), expected, rtol=1e-12)


def test_limits_of_beta():
    rng = np.random.default_rng(1)
    ratio, alpha = rng.normal(0, 20, 400), rng.uniform(0.5, 0.99, 400)
    reference = float((ratio > 0).mean())
    assert idealised_accuracy(ratio, alpha, [1e9]).accuracy[0] == reference
    assert idealised_accuracy(ratio, np.maximum(alpha, 0.51), [1e-9]).accuracy[0] == 1.0
    half = perfect_log_ratio(ratio, np.full(400, 0.5), [0.01, 1.0, 100.0])
    np.testing.assert_array_equal((half > 0).mean(axis=1), reference)


@pytest.mark.parametrize("c", [-7.0, 0.0, 12.0])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_perfect_policy_minimises_the_expected_loss(c, alpha, beta):
    def expected(m):
        z = beta * (m + c)
        return alpha * np.logaddexp(0, -z) + (1 - alpha) * np.logaddexp(0, z)

    found = minimize_scalar(expected, bounds=(-200, 200), method="bounded", options={"xatol": 1e-9})
    optimum = perfect_log_ratio([-c], [alpha], beta)[0]
    assert optimum == pytest.approx(found.x, abs=1e-4)
    entropy = -alpha * np.log(alpha) - (1 - alpha) * np.log(1 - alpha)
    assert expected(optimum) == pytest.approx(entropy, rel=1e-12)


def test_worked_example():
    c, beta = 10.0, 0.1
    assert float(margin_needed(c, beta)) == pytest.approx(1.0)
    assert float(flip_threshold(c, beta)) == pytest.approx(0.313262, abs=1e-6)
    assert float(alpha_needed(c, beta)) == pytest.approx(0.731059, abs=1e-6)
    assert perfect_log_ratio([-c], [0.75], 0.1)[0] == pytest.approx(0.986, abs=1e-3)
    assert idealised_accuracy([-c], [0.75], [0.1, 1.0]).accuracy == (1.0, 0.0)


def test_policy_equal_to_its_reference():
    pairs = random_pairs()
    same = scored(
        pairs.ref_chosen, pairs.ref_rejected, ref_chosen=pairs.ref_chosen,
        ref_rejected=pairs.ref_rejected, beta=0.1,
    )  # fmt: skip
    np.testing.assert_array_equal(implicit_margin(same), 0.0)
    np.testing.assert_array_equal(reward_accuracy(same), 0.0)
    report = ranking_report(same)
    assert report["flips"]["c->i"]["count"] == report["flips"]["i->c"]["count"] == 0
    assert report["flips"]["flipped_share_of_wrong"] == 0.0
    assert report["flips"]["c->c"]["mean_loss"] == pytest.approx(np.log(2))
    assert report["ranking_accuracy"]["value"] == float(
        (pairs.ref_chosen >= pairs.ref_rejected).mean()
    )


@given(m=NATS, c=NATS, beta=BETA)
def test_gamma_one_is_dpo_and_gamma_zero_forgets_the_reference(m, c, beta):
    batch = PairScores(*(torch.tensor([x], dtype=torch.float64) for x in (m, 0.0, -c, 0.0)))
    dpo = DPO(beta=beta)(batch).loss.item()
    assert float(scaled_dpo_loss(m, c, beta, 1.0)) == pytest.approx(dpo, rel=1e-10, abs=1e-200)
    assert scaled_dpo_loss(m, c, beta, 0.0) == scaled_dpo_loss(m, 0.0, beta, 0.0)
    assert flip_threshold(c, beta, 0.0) == pytest.approx(np.log(2))


def test_accuracy_ignores_what_depends_on_the_prompt_alone():
    pairs = random_pairs()
    shift = np.random.default_rng(3).integers(-50, 50, len(pairs))
    # Integers, so that the shift is exact.
    whole = scored(np.round(pairs.chosen), np.round(pairs.rejected))
    moved = scored(whole.chosen + shift, whole.rejected + shift)
    np.testing.assert_array_equal(ranking_accuracy(whole), ranking_accuracy(moved))


def test_masked_tokens_change_nothing():
    rng = np.random.default_rng(4)
    logps, mask = rng.normal(-2, 1, (6, 9)), rng.random((6, 9)) < 0.6
    mask[:, 0] = True
    alone = sequence_score(logps, mask)
    junk = np.full((6, 5), -np.inf)
    for order in ((logps, junk), (junk, logps)):
        masks = [mask if part is logps else np.zeros((6, 5)) for part in order]
        longer = sequence_score(np.concatenate(order, axis=1), np.concatenate(masks, axis=1))
        np.testing.assert_allclose(longer.total, alone.total, rtol=1e-15)
        np.testing.assert_array_equal(longer.length, alone.length)
        np.testing.assert_allclose(longer.mean, alone.mean, rtol=1e-15)


def test_swapping_the_responses():
    rng = np.random.default_rng(5)
    first, second = rng.integers(-5, 5, (2, 300)).astype(float)
    equal = (first == second).astype(float)
    assert equal.sum() > 10
    both = ranking_accuracy(scored(first, second)) + ranking_accuracy(scored(second, first))
    np.testing.assert_array_equal(both, 1 + equal)
    strict = ranking_accuracy(scored(first, second), strict=True)
    np.testing.assert_array_equal(strict, ranking_accuracy(scored(first, second)) - equal)


@pytest.mark.parametrize("normalise", ["none", "token_mean"])
def test_the_margin_of_arrays_is_that_of_the_objectives(normalise):
    pairs = random_pairs()
    batch = PairScores(**{name: torch.as_tensor(getattr(pairs, name)) for name in pairs.arrays()})
    np.testing.assert_allclose(
        implicit_margin(pairs, normalise=normalise),
        tensor_margin(batch, normalise).numpy(),
        rtol=1e-12,
        atol=1e-12,
    )


def test_ipo_condition():
    tau = 0.1
    rng = np.random.default_rng(6)
    ratio = np.append(rng.uniform(-12, 12, 500), -1 / (2 * tau))
    at_zero_loss = ratio + 1 / (2 * tau)
    np.testing.assert_array_equal(ipo_zero_loss_is_correct(ratio, tau), at_zero_loss >= 0)
    sufficient = ipo_sufficient_loss(ratio, tau)
    m = rng.uniform(-30, 30, ratio.shape)
    loss = np.square(m - ratio - 1 / (2 * tau))
    below = loss <= sufficient  # False where there is no such level
    assert below.sum() > 50
    assert (m[below] >= 0).all()
    wrong_at_zero = np.isnan(sufficient)
    assert (at_zero_loss[wrong_at_zero] < 0).all()
    assert wrong_at_zero.any()


def test_agreement_of_rankings_with_scipy():
    rng = np.random.default_rng(7)
    scores, human = rng.integers(0, 5, (60, 4)).astype(float), rng.integers(1, 4, (60, 4))
    found = ranking_agreement(scores, human)
    for row in range(60):
        if np.ptp(scores[row]) and np.ptp(human[row]):
            expected = kendalltau(-scores[row], human[row]).statistic
            assert found.kendall[row] == pytest.approx(expected)
        else:
            assert np.isnan(found.kendall[row])
    own = ranking_agreement(scores, found.ranks)
    np.testing.assert_array_equal(own.exact, 1.0)


def test_random_scores_reach_the_chance_levels():
    rng = np.random.default_rng(8)
    ranks = np.argsort(rng.random((24_000, 4)), axis=1) + 1
    found = ranking_agreement(rng.random((24_000, 4)), ranks)
    assert found.exact.mean() == pytest.approx(1 / 24, abs=4 * np.sqrt(1 / 24 / 24_000))
    assert found.pairwise.mean() == pytest.approx(0.5, abs=0.01)


def test_tabular_flips_follow_the_closed_form():
    """Free logits, gradient descent: a wrong pair flips iff beta c is below the margin."""
    beta, rate, spread, n, k = 0.1, 1.0, 12.0, 3000, 20
    generator = torch.Generator().manual_seed(0)
    start = spread / 2**0.5 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    reference = torch.log_softmax(start, dim=1)
    logits = start.clone().requires_grad_()
    expected = 0.0  # the margin, by its recursion
    for step in range(1, 201):
        logps = torch.log_softmax(logits, dim=1)
        batch = PairScores(logps[:, 0], logps[:, 1], reference[:, 0], reference[:, 1])
        (gradient,) = torch.autograd.grad(DPO(beta=beta)(batch).loss.sum(), logits)
        logits = (logits.detach() - rate * gradient).requires_grad_()
        expected += 2 * beta**2 * rate / (1 + np.exp(expected))
        if step in (50, 200):
            after = torch.log_softmax(logits.detach(), dim=1).numpy()
            pairs = scored(
                after[:, 0],
                after[:, 1],
                ref_chosen=reference[:, 0].numpy(),
                ref_rejected=reference[:, 1].numpy(),
                beta=beta,
            )
            np.testing.assert_allclose(beta * implicit_margin(pairs), expected, rtol=1e-9)
            report = ranking_report(pairs)
            wanted = 2 * norm.cdf(expected / (beta * spread)) - 1
            noise = np.sqrt(wanted * (1 - wanted) / (n / 2))
            flipped = report["flips"]["flipped_share_of_wrong"]
            assert flipped == pytest.approx(wanted, abs=4 * noise)
            accuracy = report["ranking_accuracy"]["value"]
            assert accuracy == pytest.approx(norm.cdf(expected / (beta * spread)), abs=0.04)
            assert report["reward_accuracy"]["value"] == 1.0
            c = pairs.ref_rejected - pairs.ref_chosen
            np.testing.assert_array_equal(ranking_accuracy(pairs), (beta * c <= expected))
