"""What the baseline losses must obey, against formulas written out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import softplus

from pluralign import IncompatibleError, PairScores, ParameterError
from pluralign.objectives import CDPO, CPO, DPO, IPO, RDPO, SimPO, SLiC, margin

NATS = st.floats(-80.0, 0.0)
ROWS = st.lists(st.tuples(NATS, NATS, NATS, NATS), min_size=1, max_size=6)
BETA = st.sampled_from([0.01, 0.1, 1.0, 2.5])


def real(values):
    return torch.as_tensor(values, dtype=torch.float64)


def batch(rows):
    return PairScores(*real(rows).T)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-9)


@given(ROWS, BETA)
def test_formulas(rows, beta):
    scores = batch(rows)
    h = (scores.chosen - scores.ref_chosen) - (scores.rejected - scores.ref_rejected)
    z = beta * h
    close(margin(scores), h)
    # torch's softplus is the identity beyond 20, hence the absolute tolerance
    torch.testing.assert_close(DPO(beta=beta)(scores).loss, softplus(-z), rtol=1e-9, atol=3e-9)
    eps = 0.15
    smoothed = (1 - eps) * softplus(-z) + eps * softplus(z)
    torch.testing.assert_close(
        CDPO(beta=beta, flip_rate=eps)(scores).loss, smoothed, rtol=1e-9, atol=3e-9
    )
    close(IPO(beta=beta)(scores).loss, (h - 1 / (2 * beta)) ** 2)
    close(SLiC(beta=beta)(scores).loss, (1 - z).clamp(min=0))


def test_the_logistic_loss_is_exact_where_torchs_softplus_is_not():
    zero = torch.zeros(1, dtype=torch.float64)
    scores = PairScores(real([21.0]), zero, zero, zero)
    forth, back = DPO(beta=1.0)(scores).loss, DPO(beta=1.0)(scores._replace(chosen=real([-21.0])))
    assert (back.loss - forth - 21.0).abs().item() < 1e-14
    assert forth.item() == pytest.approx(math.log1p(math.exp(-21)), rel=1e-14)
    assert (softplus(real([21.0])) - softplus(real([-21.0])) - 21).abs().item() > 1e-10


@given(ROWS, BETA, st.floats(0.0, 3.0))
def test_simpo(rows, beta, gamma):
    chosen, rejected, _, _ = real(rows).T
    lengths = torch.arange(1, len(rows) + 1), torch.arange(len(rows), 0, -1)
    scores = PairScores(chosen, rejected, chosen_length=lengths[0], rejected_length=lengths[1])
    expected = softplus(-(beta * (chosen / lengths[0] - rejected / lengths[1]) - gamma))
    got = SimPO(beta=beta, target_margin=gamma)(scores).loss
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=3e-9)


def test_simpo_pushes_until_the_margin_and_ignores_a_reference():
    lengths = {"chosen_length": torch.tensor([4]), "rejected_length": torch.tensor([8])}
    scores = PairScores(real([-4.0]), real([-16.0]), **lengths)
    objective = SimPO(beta=2.0, target_margin=2.0)
    assert objective(scores).loss.item() == pytest.approx(math.log(2))
    with_reference = scores._replace(ref_chosen=real([-1.0]), ref_rejected=real([-9.0]))
    assert torch.equal(objective(with_reference).loss, objective(scores).loss)
    assert "ref_chosen" not in objective.needs


def test_defaults_are_the_papers():
    assert DPO().beta == CDPO(flip_rate=0.1).beta == IPO().beta == CPO().beta == 0.1
    assert (SimPO().beta, SimPO().target_margin, SimPO().length_normalise) == (
        2.0,
        1.0,
        "token_mean",
    )
    assert CPO().nll_weight == 1.0


def test_cpo_adds_the_likelihood_of_the_chosen_response_per_token():
    chosen, rejected = real([-10.0, -30.0]), real([-20.0, -25.0])
    lengths = {"chosen_length": torch.tensor([5, 10]), "rejected_length": torch.tensor([4, 5])}
    scores = PairScores(chosen, rejected, **lengths)
    contrast = softplus(-0.1 * (chosen - rejected))
    close(CPO(nll_weight=0.5)(scores).loss, contrast + 0.5 * real([2.0, 3.0]))
    plain = CPO(nll_weight=0.0)
    close(plain(scores).loss, contrast)
    assert plain.needs == {"chosen", "rejected"}
    soft = CPO(nll_weight=0.5)(scores._replace(label_prob=real([0.0, 0.0]))).loss
    close(soft, softplus(0.1 * (chosen - rejected)) + 0.5 * real([5.0, 5.0]))


@given(ROWS)
def test_token_mean_divides_policy_and_reference(rows):
    chosen, rejected, ref_chosen, ref_rejected = real(rows).T
    n, m = torch.arange(2, len(rows) + 2), torch.arange(5, len(rows) + 5)
    scores = PairScores(chosen, rejected, ref_chosen, ref_rejected, n, m)
    expected = (chosen - ref_chosen) / n - (rejected - ref_rejected) / m
    close(margin(scores, "token_mean"), expected)
    close(IPO(length_normalise="token_mean")(scores).loss, (expected - 5.0) ** 2)


def test_padding_with_masked_tokens_would_change_token_mean_only_through_the_length():
    scores = PairScores(*real([[-8.0], [-6.0], [-7.0], [-7.0]]), *torch.tensor([[4], [3]]))
    longer = scores._replace(chosen_length=torch.tensor([8]))
    assert torch.equal(DPO()(scores).loss, DPO()(longer).loss)
    normalised = DPO(length_normalise="token_mean")
    assert not torch.equal(normalised(scores).loss, normalised(longer).loss)


# The weight of the reference (gamma of Chen et al.)


@given(ROWS, BETA, st.floats(0.0, 3.0))
def test_reference_weight(rows, beta, gamma):
    scores = batch(rows)
    m = scores.chosen - scores.rejected
    c = scores.ref_rejected - scores.ref_chosen
    got = DPO(beta=beta, reference_weight=gamma)(scores).loss
    torch.testing.assert_close(got, softplus(-beta * (m + gamma * c)), rtol=1e-8, atol=3e-9)


@given(ROWS)
def test_reference_weight_one_is_dpo_and_zero_forgets_the_reference(rows):
    scores = batch(rows)
    assert torch.equal(DPO(reference_weight=1.0)(scores).loss, DPO()(scores).loss)
    other = scores._replace(ref_chosen=scores.ref_chosen - 50)
    free = DPO(reference_weight=0.0)
    assert torch.equal(free(scores).loss, free(other).loss)
    assert torch.equal(free(scores).metrics["logps/chosen"], scores.chosen)


def test_reference_weight_keeps_the_gradient_and_works_per_token():
    scores = PairScores(*real([[-8.0], [-6.0], [-7.0], [-3.0]]), *torch.tensor([[4], [3]]))
    scores.chosen.requires_grad_()
    loss = DPO(beta=1.0, reference_weight=0.5, length_normalise="token_mean")(scores).loss
    z = (-8 / 4 - 0.5 * -7 / 4) - (-6 / 3 - 0.5 * -3 / 3)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-z)))
    (slope,) = torch.autograd.grad(loss.sum(), scores.chosen)
    assert slope.item() == pytest.approx(-1 / (1 + math.exp(z)) / 4)


# Invariances and metrics


@given(ROWS, st.floats(-50.0, 50.0))
def test_a_constant_of_the_prompt_cancels(rows, shift):
    scores = batch(rows)
    moved = scores._replace(chosen=scores.chosen + shift, rejected=scores.rejected + shift)
    for objective in (DPO(), CDPO(flip_rate=0.2), IPO(), SLiC(), CPO(nll_weight=0.0)):
        close(objective(moved).loss, objective(scores).loss)


def test_at_the_reference_nothing_is_learned_yet():
    scores = PairScores(*real([[-8.0, -3.0], [-6.0, -9.0], [-8.0, -3.0], [-6.0, -9.0]]))
    terms = DPO()(scores)
    close(terms.loss, torch.full((2,), math.log(2), dtype=torch.float64))
    assert terms.metrics["rewards/margins"].tolist() == [0.0, 0.0]
    assert terms.metrics["rewards/accuracies"].tolist() == [0.0, 0.0]


def test_reward_accuracy_is_strict_and_ranking_accuracy_is_not():
    scores = PairScores(*real([[-5.0, -5.0], [-5.0, -7.0], [-5.0, -2.0], [-5.0, -9.0]]))
    metrics = DPO(beta=0.5)(scores).metrics
    assert metrics["rewards/accuracies"].tolist() == [0.0, 0.0]
    assert metrics["ranking_accuracy"].tolist() == [1.0, 1.0]
    assert metrics["rewards/chosen"].tolist() == [0.0, -1.5]
    assert metrics["rewards/margins"].tolist() == [0.0, -2.5]
    assert metrics["logps/rejected"].tolist() == [-5.0, -7.0]


def test_ranking_is_right_exactly_below_the_flip_threshold():
    """A DPO loss of at most softplus(-beta c) is a right ranking, equality included."""
    generator = torch.Generator().manual_seed(0)
    scores = PairScores(*(-30 * torch.rand(4, 4000, generator=generator, dtype=torch.float64)))
    terms = DPO(beta=0.3)(scores)
    c = scores.ref_rejected - scores.ref_chosen
    threshold = torch.nn.functional.softplus(-0.3 * c)
    below = terms.loss <= threshold
    assert torch.equal(below, terms.metrics["ranking_accuracy"] == 1)
    assert 0.2 < below.double().mean() < 0.8


def test_ipo_with_no_loss_left_may_still_rank_wrongly():
    scores = PairScores(*real([[-13.0], [-10.0], [-20.0], [-12.0]]))
    terms = IPO(beta=0.1)(scores)
    assert terms.loss.item() == 0
    assert terms.metrics["ranking_accuracy"].item() == 0


def test_weights_fall_in_this_order_at_a_large_margin():
    """Only robust DPO keeps pushing, only conservative DPO pulls back."""
    slopes = {}
    for objective in (DPO(beta=1.0), CDPO(beta=1.0, flip_rate=0.2), RDPO(beta=1.0, flip_rate=0.2)):
        chosen = real([60.0]).requires_grad_()
        zero = torch.zeros(1, dtype=torch.float64)
        loss = objective(PairScores(chosen, zero, zero, zero)).loss
        (slope,) = torch.autograd.grad(loss.sum(), chosen)
        slopes[type(objective).__name__] = slope.item()
    assert slopes["CDPO"] == pytest.approx(0.2)
    assert slopes["DPO"] == pytest.approx(0.0, abs=1e-20)
    assert slopes["RDPO"] == pytest.approx(-0.2 / 0.6)


@pytest.mark.parametrize("kind", [CDPO])
def test_a_rate_has_no_default(kind):
    with pytest.raises(TypeError, match="flip_rate"):
        kind()
    with pytest.raises(ParameterError, match=r"CDPO.flip_rate must be .*\[0.0, 0.5\).*; got 0.6"):
        kind(flip_rate=0.6)


def test_options_that_an_objective_does_not_have_are_refused():
    for kind in (DPO, IPO, SLiC, SimPO, CPO):
        with pytest.raises(TypeError, match="flip_rate"):
            kind(flip_rate=0.1)


def test_a_batch_of_rewards_is_no_batch_of_log_probabilities():
    with pytest.raises(
        IncompatibleError, match="DPO reads 'logprob' scores; the batch has 'reward'"
    ):
        DPO()(PairScores(real([1.0]), real([0.0]), kind="reward"))
