"""What the reward-model loss must obey: margins, ties that add up to one, noise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import softplus

from pluralign import IncompatibleError, PairScores, ParameterError
from pluralign.objectives import RDPO, BradleyTerry

REWARD = st.floats(-30.0, 30.0)
ROWS = st.lists(st.tuples(REWARD, REWARD), min_size=1, max_size=6)


def real(values):
    return torch.as_tensor(values, dtype=torch.float64)


def batch(rows, **columns):
    return PairScores(*real(rows).T, **columns, kind="reward")


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@given(ROWS, REWARD, st.floats(0.0, 4.0))
def test_a_value_of_the_prompt_cancels(rows, shift, target):
    scores = batch(rows)
    moved = scores._replace(chosen=scores.chosen + shift, rejected=scores.rejected + shift)
    objective = BradleyTerry(target_margin=target)
    close(objective(moved).loss, objective(scores).loss)
    torch.testing.assert_close(
        objective(scores).loss,
        softplus(-(scores.chosen - scores.rejected - target)),
        rtol=1e-9,
        atol=3e-9,
    )


def test_target_margins_act_pair_by_pair():
    scores = batch([(2.0, 0.0)] * 3, target_margin=real([0.0, 1.0, 3.0]))
    got = BradleyTerry(target_margin="per_pair")(scores).loss
    close(got, softplus(real([-2.0, -1.0, 1.0])))
    one = BradleyTerry(target_margin=1.0)(scores).loss
    close(one, got[1].expand(3))


def test_accuracy_is_strict():
    metrics = BradleyTerry()(batch([(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])).metrics
    assert metrics["rewards/accuracies"].tolist() == [1.0, 0.0, 0.0]
    assert metrics["rewards/margins"].tolist() == [1.0, 0.0, -1.0]
    assert "logps/chosen" not in metrics


@given(difference=REWARD, threshold=st.floats(0.01, 5.0))
def test_win_loss_and_tie_are_all_that_can_happen(difference, threshold):
    objective = BradleyTerry(tie_threshold=threshold)
    rows = [(difference, 0.0), (0.0, difference), (difference, 0.0)]
    loss = objective(batch(rows, tie=torch.tensor([False, False, True]))).loss
    close((-loss).exp().sum(), real(1.0))


def test_rao_and_kuppers_formulas():
    threshold, first, second = 0.3, 1.2, 0.4
    theta, p, q = math.exp(threshold), math.exp(first), math.exp(second)
    scores = batch([(first, second)] * 2, tie=torch.tensor([False, True]))
    loss = BradleyTerry(tie_threshold=threshold)(scores).loss
    tied = (theta**2 - 1) * p * q / ((p + theta * q) * (q + theta * p))
    close(loss, -real([p / (p + theta * q), tied]).log())


def test_a_tie_is_best_explained_by_equal_rewards_and_a_small_threshold_is_bradley_terry():
    grid = torch.linspace(-5, 5, 101, dtype=torch.float64)
    scores = PairScores(grid, torch.zeros_like(grid), tie=torch.ones(101) > 0, kind="reward")
    loss = BradleyTerry(tie_threshold=0.5)(scores).loss
    assert loss.argmin() == 50
    close(loss, loss.flip(0))
    decided = scores._replace(tie=~scores.tie)
    almost = BradleyTerry(tie_threshold=1e-12)(decided).loss
    close(almost, BradleyTerry()(scores).loss)


@pytest.mark.parametrize("threshold", [1e-6, 400.0])
def test_ties_are_finite_at_any_threshold(threshold):
    scores = batch([(9e3, -9e3), (0.0, 0.0)], tie=torch.tensor([True, True]))
    scores.chosen.requires_grad_()
    loss = BradleyTerry(tie_threshold=threshold)(scores).loss
    (slope,) = torch.autograd.grad(loss.sum(), scores.chosen)
    assert loss.isfinite().all()
    assert slope.isfinite().all()


@given(ROWS, st.floats(0.0, 0.4))
def test_noise_is_corrected_as_in_robust_dpo_at_beta_one(rows, eps):
    scores = batch(rows)
    zero = torch.zeros_like(scores.chosen)
    policy = PairScores(scores.chosen, scores.rejected, zero, zero)
    close(BradleyTerry(flip_rate=eps)(scores).loss, RDPO(beta=1.0, flip_rate=eps)(policy).loss)


@given(difference=REWARD, eps=st.floats(0.01, 0.4), target=st.floats(0.0, 3.0))
def test_the_corrected_loss_is_unbiased_with_a_target_too(difference, eps, target):
    clean, noisy = (
        BradleyTerry(target_margin=target),
        BradleyTerry(target_margin=target, flip_rate=eps),
    )
    right, flipped = batch([(difference, 0.0)]), batch([(0.0, difference)])
    mean = (1 - eps) * noisy(right).loss + eps * noisy(flipped).loss
    close(mean, clean(right).loss)


def test_rates_act_pair_by_pair():
    scores = batch([(1.0, 0.0)] * 2, flip_rate=real([0.0, 0.3]))
    loss = BradleyTerry(flip_rate="per_pair")(scores).loss
    close(loss, softplus(real([-1.0, -1.0])) - real([0.0, 0.75]))


def test_soft_labels_mix_both_orders():
    scores = batch([(1.5, 0.0)], label_prob=real([0.3]))
    expected = 0.3 * softplus(real([-1.5])) + 0.7 * softplus(real([1.5]))
    close(BradleyTerry()(scores).loss, expected)


def test_misuse_is_refused():
    with pytest.raises(IncompatibleError, match="reads 'reward' scores; the batch has 'logprob'"):
        BradleyTerry()(PairScores(real([1.0]), real([0.0])))
    with pytest.raises(IncompatibleError, match=r"needs \['tie'\]"):
        BradleyTerry(tie_threshold=0.3)(batch([(1.0, 0.0)]))
    for rate in (0.1, "per_pair"):
        with pytest.raises(ParameterError, match="tie_threshold or flip_rate, not both"):
            BradleyTerry(tie_threshold=0.3, flip_rate=rate)


def test_recovers_rewards_from_comparisons():
    """Three items, labels from the model: the fit finds the differences of their rewards."""
    generator = torch.Generator().manual_seed(0)
    truth = real([0.0, 1.0, 2.5])
    first, second = torch.randint(0, 3, (2, 60_000), generator=generator)
    keep = first != second
    first, second = first[keep], second[keep]
    wins = torch.rand(len(first), generator=generator) < torch.sigmoid(truth[first] - truth[second])
    flips = torch.rand(len(first), generator=generator) < 0.2
    seen = wins ^ flips
    chosen, rejected = torch.where(seen, first, second), torch.where(seen, second, first)
    fits = {}
    for name, objective in {"plain": BradleyTerry(), "robust": BradleyTerry(flip_rate=0.2)}.items():
        rewards = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([rewards], max_iter=60, line_search_fn="strong_wolfe")

        def closure(rewards=rewards, objective=objective, solver=solver):
            solver.zero_grad()
            scores = PairScores(rewards[chosen], rewards[rejected], kind="reward")
            loss = objective(scores).loss.mean()
            loss.backward()
            return loss

        solver.step(closure)
        fits[name] = (rewards - rewards[0]).detach()
    assert (fits["robust"] - truth).abs().max() < 0.1
    assert fits["plain"][2] < 0.6 * truth[2]
