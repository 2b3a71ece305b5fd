"""What robust DPO must obey: identities, limits, optima, and the experiment that justifies it.

P1 to P16 are the numbered properties of the method's page.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from pluralign import DataQualityWarning, PairScores, ParameterError
from pluralign.objectives import CDPO, DPO, IPO, RDPO, RobustPlackettLuce, SLiC
from pluralign.objectives.links import LINKS, conservative, forward, unbiased
from pluralign.objectives.plackett_luce import mean_ranking_nll, ranking_nll

LINK_NAMES = sorted(LINKS)
NOISE = st.floats(0.0, 0.4)
MARGIN = st.floats(-60.0, 60.0)
BETA = st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0])


def real(values):
    return torch.as_tensor(values, dtype=torch.float64)


def scores_of(margin, **columns):
    """A batch whose log-ratio margin is ``margin``."""
    margin = real(margin)
    zero = torch.zeros_like(margin)
    return PairScores(margin, zero, zero, zero, **columns)


def loss_of(objective, margin, **columns):
    return objective(scores_of(margin, **columns)).loss


def slope_of(objective, margin, **columns):
    margin = real(margin).requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(objective, margin, **columns).sum(), margin)
    return slope


GRID = torch.linspace(-40, 40, 161, dtype=torch.float64)


# P1: without noise every variant is the clean loss, bit for bit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "robust",
    [
        RDPO(flip_rate=0.0),
        RDPO(flip_rate="per_pair"),
        RDPO(flip_rate=0.0, variant="forward"),
        RDPO(flip_rate=0.0, margin_cap=2.0),
        RDPO(rho_plus=0.0, rho_minus=0.0),
        CDPO(flip_rate=0.0),
    ],
    ids=repr,
)
def test_no_noise_is_dpo_bit_for_bit(robust, dtype):
    margin = GRID.to(dtype).requires_grad_()
    zero = torch.zeros_like(margin)
    scores = PairScores(margin, zero, zero, zero, flip_rate=zero, chosen_first=zero == 0)
    loss, clean = robust(scores).loss, DPO()(scores).loss
    assert torch.equal(loss, clean)
    slope, clean_slope = (torch.autograd.grad(x.sum(), margin)[0] for x in (loss, clean))
    assert torch.equal(slope, clean_slope)


@pytest.mark.parametrize(("link", "clean"), [("squared", IPO()), ("hinge", SLiC())])
def test_no_noise_is_the_clean_link(link, clean):
    assert torch.equal(loss_of(RDPO(flip_rate=0.0, link=link), GRID), loss_of(clean, GRID))


# P2: unbiased under flips, for every link; the plus sign of many public copies is not


@pytest.mark.parametrize("link", LINK_NAMES)
@given(margin=MARGIN, eps=NOISE, beta=BETA)
def test_unbiased(link, margin, eps, beta):
    robust = RDPO(beta=beta, flip_rate=eps, link=link)
    clean = RDPO(beta=beta, flip_rate=0.0, link=link)
    mean = (1 - eps) * loss_of(robust, [margin]) + eps * loss_of(robust, [-margin])
    scale = loss_of(clean, [margin, -margin]).max() * (1 + eps / (1 - 2 * eps))
    assert (mean - loss_of(clean, [margin])).abs() <= 1e-12 * max(1.0, scale)


@given(margin=MARGIN, plus=st.floats(0.0, 0.5), minus=st.floats(0.0, 0.3), beta=BETA)
@pytest.mark.parametrize("truth", [True, False])
def test_unbiased_with_a_position_bias(truth, margin, plus, minus, beta):
    """``margin`` is of the response shown first; ``truth``: it is the better one."""
    robust = RDPO(beta=beta, rho_plus=plus, rho_minus=minus)
    seen_first = loss_of(robust, [margin], chosen_first=torch.tensor([True]))
    seen_second = loss_of(robust, [-margin], chosen_first=torch.tensor([False]))
    if truth:
        mean, clean = (1 - plus) * seen_first + plus * seen_second, [margin]
    else:
        mean, clean = (1 - minus) * seen_second + minus * seen_first, [-margin]
    scale = max(1.0, beta * abs(margin)) / (1 - plus - minus)
    assert (mean - loss_of(DPO(beta=beta), clean)).abs() <= 1e-12 * scale


def test_cdpo_divided_by_the_rate_is_biased():
    eps, margin = 0.2, real([3.0])
    wrong = conservative(LINKS["logistic"], margin, 1.0, eps) / (1 - 2 * eps)
    wrong_flipped = conservative(LINKS["logistic"], -margin, 1.0, eps) / (1 - 2 * eps)
    bias = (1 - eps) * wrong + eps * wrong_flipped - loss_of(DPO(beta=1.0), margin)
    assert bias.item() > 0.5


# P3: the closed forms are the definition


@pytest.mark.parametrize("link", LINK_NAMES)
@given(margin=MARGIN, eps=NOISE, beta=BETA)
def test_skew_forms_are_the_definitions(link, margin, eps, beta):
    h, one = real([margin]), LINKS[link]
    here, there = one.loss(h, beta), one.loss(-h, beta)
    scale = 1e-12 * (1 + here + there) / (1 - 2 * eps)
    defined = ((1 - eps) * here - eps * there) / (1 - 2 * eps)
    assert (unbiased(one, h, beta, eps / (1 - 2 * eps)) - defined).abs() <= scale
    smoothed = (1 - eps) * here + eps * there
    assert (conservative(one, h, beta, eps) - smoothed).abs() <= scale


@given(margin=MARGIN, eps=st.floats(1e-6, 0.4), beta=BETA)
@pytest.mark.parametrize("link", ["logistic", "probit"])
def test_forward_is_the_likelihood(link, margin, eps, beta):
    z = beta * margin
    cumulative = torch.sigmoid if link == "logistic" else torch.special.ndtr
    expected = -torch.log((1 - eps) * cumulative(real([z])) + eps * cumulative(real([-z])))
    got = loss_of(RDPO(beta=beta, flip_rate=eps, link=link, variant="forward"), [margin])
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-14)
    assert -math.log1p(-eps) - 1e-12 <= got.item() <= -math.log(eps) + 1e-12


# P4, P5: weights


@given(eps=NOISE, beta=BETA)
def test_weights(eps, beta):
    z = beta * GRID
    weight = {
        "dpo": -slope_of(DPO(beta=beta), GRID) / beta,
        "rob": -slope_of(RDPO(beta=beta, flip_rate=eps), GRID) / beta,
        "con": -slope_of(CDPO(beta=beta, flip_rate=eps), GRID) / beta,
    }
    c = eps / (1 - 2 * eps)
    torch.testing.assert_close(weight["dpo"], torch.sigmoid(-z), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(weight["rob"] - weight["dpo"], torch.full_like(z, c))
    torch.testing.assert_close(weight["con"] - weight["dpo"], torch.full_like(z, -eps))
    assert (weight["rob"] >= c - 1e-12).all()
    assert (weight["rob"] <= 1 + c + 1e-12).all()
    assert (loss_of(RDPO(beta=beta, flip_rate=eps), GRID).diff() <= 0).all()


def test_the_forward_weight_redescends_and_the_unbiased_one_does_not():
    far = real([-200.0, 200.0])
    eps, beta = 0.2, 1.0
    assert slope_of(RDPO(beta=beta, flip_rate=eps, variant="forward"), far).abs().max() < 1e-80
    assert slope_of(RDPO(beta=beta, flip_rate=eps), far).abs().min() >= eps / (1 - 2 * eps) - 1e-12
    z = torch.linspace(-8, 8, 33, dtype=torch.float64)
    s, t = torch.sigmoid(z), torch.sigmoid(-z)
    expected = (1 - 2 * eps) * s * t / ((1 - eps) * s + eps * t)
    got = -slope_of(RDPO(beta=beta, flip_rate=eps, variant="forward"), z) / beta
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-15)


# P6: convexity


def curvature(objective, margin):
    def one(h):
        zero = torch.zeros_like(h)
        return objective(PairScores(h, zero, zero, zero)).loss

    return torch.func.vmap(torch.func.grad(torch.func.grad(one)))(real(margin))


@pytest.mark.parametrize("link", ["logistic", "squared"])
def test_convex_links_stay_convex(link):
    bent = curvature(RDPO(beta=0.5, flip_rate=0.3, link=link), GRID)
    assert (bent > 0).all()
    clean = curvature(RDPO(beta=0.5, flip_rate=0.0, link=link), GRID)
    torch.testing.assert_close(bent, clean, rtol=1e-9, atol=1e-12)


def test_the_robust_hinge_is_not_convex():
    left, middle, right = loss_of(
        RDPO(beta=1.0, flip_rate=0.3, link="hinge"), [-2.0, -1.0, 0.0]
    ).tolist()
    assert middle > (left + right) / 2 + 0.1


# P7: finite far out, where the textbook form is not


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("variant", ["unbiased", "forward"])
def test_finite_at_900(dtype, variant):
    z = torch.tensor([900.0, -900.0, 0.0], dtype=dtype, requires_grad=True)
    zero = torch.zeros_like(z)
    objective = RDPO(beta=1.0, flip_rate=0.3, variant=variant)
    loss = objective(PairScores(z, zero, zero, zero)).loss
    (slope,) = torch.autograd.grad(loss.sum(), z)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
    naive = -(torch.sigmoid(z).log() * 0.7 - torch.sigmoid(-z).log() * 0.3) / 0.4
    assert not naive.isfinite().all()


# P8, P9: minimisers


def contradicted(features, eps):
    """Card's criterion (6) by its linear programme, independent of the library."""
    features = np.asarray(features, dtype=float)
    n, d = features.shape
    c = eps / (1 - 2 * eps)
    cost = np.r_[-c * features.sum(0), np.ones(n)]
    solved = linprog(
        cost,
        A_ub=np.c_[-features, -np.eye(n)],
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * d + [(0, None)] * n,
    )
    return solved.fun >= -1e-9


def minimiser(objective, features, steps=60, **columns):
    features = real(features)
    zero = torch.zeros(len(features), dtype=torch.float64)

    def mean_loss(theta):
        return objective(PairScores(features @ theta, zero, zero, zero, **columns)).loss.mean()

    theta = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(steps):
        slope = torch.func.grad(mean_loss)(theta)
        step = torch.linalg.solve(torch.func.jacrev(torch.func.grad(mean_loss))(theta), slope)
        size = 1.0
        while size > 1e-9 and mean_loss(theta - size * step) > mean_loss(theta):
            size /= 2
        theta = theta - size * step
        if step.abs().max() < 1e-13:
            break
    return theta


@pytest.mark.parametrize(("plus", "minus"), [(35, 15), (26, 24), (10, 30)])
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.2])
def test_one_dimension_in_closed_form(plus, minus, eps):
    q, beta = plus / (plus + minus), 0.1
    features = [[1.0]] * plus + [[-1.0]] * minus
    logit = torch.special.logit
    robust = minimiser(RDPO(beta=beta, flip_rate=eps), features)
    torch.testing.assert_close(robust, logit(real([(q - eps) / (1 - 2 * eps)])) / beta)
    shrunk = minimiser(CDPO(beta=beta, flip_rate=eps), features)
    torch.testing.assert_close(shrunk, logit(real([(1 - eps) * q + eps * (1 - q)])) / beta)
    assert contradicted(features, eps)


@pytest.mark.parametrize(("plus", "minus", "eps"), [(18, 2, 0.15), (20, 0, 0.01), (3, 17, 0.2)])
def test_no_minimiser_when_too_few_contradict(plus, minus, eps):
    objective = RDPO(beta=1.0, flip_rate=eps)
    sign = 1.0 if plus > minus else -1.0
    far = [
        plus * loss_of(objective, [sign * t]) + minus * loss_of(objective, [-sign * t])
        for t in (10.0, 100.0, 1000.0)
    ]
    assert far[0] > far[1] > far[2]
    assert far[2] < -1.0
    assert not contradicted([[1.0]] * plus + [[-1.0]] * minus, eps)


def labelled(generator, features, theta, flips):
    """Rows oriented by labels drawn from the logistic model and then flipped."""
    wins = torch.rand(len(features), generator=generator) < torch.sigmoid(features @ theta)
    flipped = torch.rand(len(features), generator=generator) < flips
    return features * torch.where(wins ^ flipped, 1.0, -1.0)[:, None]


def test_criterion_tells_when_newton_converges():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    rows = labelled(generator, features, real([1.0, -0.5, 0.2]), 0.2)
    answers = {eps: contradicted(rows, eps) for eps in (0.0, 0.1, 0.2, 0.3, 0.4)}
    assert answers[0.0]
    assert not answers[0.4]
    for eps, exists in answers.items():
        objective = RDPO(beta=1.0, flip_rate=eps)
        theta = minimiser(objective, rows, steps=60 if exists else 4)

        def mean_loss(theta, objective=objective):
            return loss_of(objective, rows @ theta).mean()

        slope = torch.func.grad(mean_loss)(theta)
        assert (slope.abs().max() < 1e-9) == exists, eps
        assert (mean_loss(1_000 * theta) < mean_loss(theta)) == (not exists), eps


def test_uniform_noise_changes_the_length_and_not_the_direction():
    generator = torch.Generator().manual_seed(0)
    truth = real([1.2, -1.0, 0.8, 0.6, -0.4])
    features = torch.randn(40_000, 5, generator=generator, dtype=torch.float64)
    rows = labelled(generator, features, truth, 0.2)
    fits = [
        minimiser(objective, rows)
        for objective in (
            DPO(beta=1.0),
            CDPO(beta=1.0, flip_rate=0.2),
            RDPO(beta=1.0, flip_rate=0.2),
        )
    ]
    test = torch.randn(5_000, 5, generator=generator, dtype=torch.float64)
    right = [((test @ fit > 0) == (test @ truth > 0)).double().mean().item() for fit in fits]
    for one, other in itertools.combinations(fits, 2):
        assert torch.cosine_similarity(one, other, dim=0) > 0.999
    assert max(right) - min(right) < 0.005
    assert min(right) > 0.97
    lengths = [fit.norm().item() / truth.norm().item() for fit in fits]
    assert lengths[1] < lengths[0] - 0.1 < lengths[2] - 0.3
    assert lengths[2] == pytest.approx(1.0, abs=0.08)


# P10: robust IPO is IPO with a larger target


@given(eps=NOISE, beta=BETA)
def test_robust_ipo_rescales_the_target(eps, beta):
    robust = RDPO(beta=beta, flip_rate=eps, link="squared")
    rescaled = IPO(beta=beta * (1 - 2 * eps))
    torch.testing.assert_close(
        slope_of(robust, GRID), slope_of(rescaled, GRID), rtol=1e-9, atol=1e-9 / beta
    )
    difference = loss_of(robust, GRID) - loss_of(rescaled, GRID)
    torch.testing.assert_close(difference, difference[:1].expand(161), rtol=1e-9, atol=1e-8)


# P11, P12, P14 and soft labels


@pytest.mark.parametrize(
    "options",
    [{}, {"variant": "forward"}, {"margin_cap": 3.0}, *({"link": name} for name in LINK_NAMES)],
    ids=repr,
)
def test_one_rate_is_that_rate_for_each_pair(options):
    each = scores_of(GRID, flip_rate=torch.full_like(GRID, 0.2))
    one, per_pair = RDPO(flip_rate=0.2, **options), RDPO(flip_rate="per_pair", **options)
    assert torch.equal(one(each).loss, per_pair(each).loss)
    same = RDPO(rho_plus=0.2, rho_minus=0.2, **options)
    both = scores_of(GRID, chosen_first=GRID > 1)
    torch.testing.assert_close(same(both).loss, one(both).loss, rtol=1e-12, atol=1e-12)


def test_rates_act_pair_by_pair():
    rates = real([0.0, 0.1, 0.3])
    got = loss_of(RDPO(flip_rate="per_pair"), [4.0, 4.0, 4.0], flip_rate=rates)
    alone = [loss_of(RDPO(flip_rate=rate), [4.0]) for rate in rates.tolist()]
    torch.testing.assert_close(got, torch.cat(alone))
    assert got[0] > got[1] > got[2]


@given(st.lists(st.tuples(MARGIN, MARGIN, MARGIN, MARGIN), min_size=1, max_size=5), NOISE)
def test_swapping_the_pair_negates_the_margin(rows, eps):
    chosen, rejected, ref_chosen, ref_rejected = real(rows).T
    objective = RDPO(flip_rate=eps)
    swapped = objective(PairScores(rejected, chosen, ref_rejected, ref_chosen)).loss
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    torch.testing.assert_close(swapped, loss_of(objective, -margin), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shift", [-100.0, 7.5])
def test_a_constant_of_the_prompt_changes_nothing(shift):
    chosen, rejected, ref_chosen, ref_rejected = torch.randn(4, 9, dtype=torch.float64)
    objective = RDPO(flip_rate=0.2)
    torch.testing.assert_close(
        objective(PairScores(chosen + shift, rejected + shift, ref_chosen, ref_rejected)).loss,
        objective(PairScores(chosen, rejected, ref_chosen, ref_rejected)).loss,
        rtol=1e-12,
        atol=1e-12,
    )


@given(margin=MARGIN, eps=NOISE, share=st.floats(0.0, 1.0), beta=BETA)
def test_soft_labels_in_closed_form(margin, eps, share, beta):
    z, c = beta * margin, eps / (1 - 2 * eps)
    got = loss_of(RDPO(beta=beta, flip_rate=eps), [margin], label_prob=real([share]))
    softplus = np.logaddexp(0, -z)
    expected = softplus + (1 - share) * z - c * (2 * share - 1) * z
    assert got.item() == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_a_soft_label_swaps_the_position_too():
    rates = {"rho_plus": 0.1, "rho_minus": 0.3}
    first = torch.tensor([True])
    soft = loss_of(RDPO(**rates, beta=1.0), [2.0], chosen_first=first, label_prob=real([0.0]))
    other_way = loss_of(RDPO(**rates, beta=1.0), [-2.0], chosen_first=~first)
    assert torch.equal(soft, other_way)


# P13: rankings


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=2), NOISE)
def test_two_responses_are_a_pair(utilities, eps):
    pair = loss_of(RDPO(beta=1.0, flip_rate=eps), [utilities[0] - utilities[1]])
    ranked = real([utilities])
    for flipped in (
        RobustPlackettLuce(flip_rate=eps, noise="reversal"),
        RobustPlackettLuce(flip_rate=2 * eps, noise="uniform"),
    ):
        torch.testing.assert_close(flipped(ranked).loss, pair, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_rankings_by_brute_force(size):
    utilities = torch.randn(3, size, generator=torch.Generator().manual_seed(size)).double() * 2
    orders = [list(order) for order in itertools.permutations(range(size))]
    every = torch.stack([ranking_nll(utilities[:, order]) for order in orders], -1)
    torch.testing.assert_close((-every).exp().sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(mean_ranking_nll(utilities), every.mean(-1))
    eps = 0.35
    uniform = RobustPlackettLuce(flip_rate=eps, noise="uniform")
    reversal = RobustPlackettLuce(flip_rate=eps, noise="reversal")
    everywhere = torch.stack([uniform(utilities[:, order]).loss for order in orders], -1)
    mean = (1 - eps) * uniform(utilities).loss + eps * everywhere.mean(-1)
    torch.testing.assert_close(mean, ranking_nll(utilities))
    mean = (1 - eps) * reversal(utilities).loss + eps * reversal(utilities.flip(-1)).loss
    torch.testing.assert_close(mean, ranking_nll(utilities))


def test_rankings_far_out_are_finite():
    utilities = torch.tensor([[9e3, 0.0, -9e3], [-9e3, 0.0, 9e3]], requires_grad=True)
    for noise in ("reversal", "uniform"):
        loss = RobustPlackettLuce(flip_rate=0.2, noise=noise)(utilities).loss
        (slope,) = torch.autograd.grad(loss.sum(), utilities)
        assert loss.isfinite().all()
        assert slope.isfinite().all()


# P15: the price in variance


@pytest.mark.parametrize("eps", [0.1, 0.3])
def test_mean_and_variance_of_the_gradient_under_flips(eps):
    z, draws = 0.7, 100_000
    flips = torch.rand(draws, generator=torch.Generator().manual_seed(1)) < eps
    sign = torch.where(flips, -1.0, 1.0).double()
    noisy = {
        name: sign * slope_of(objective, sign * z)
        for name, objective in (
            ("robust", RDPO(beta=1.0, flip_rate=eps)),
            ("plain", DPO(beta=1.0)),
        )
    }
    clean = slope_of(DPO(beta=1.0), [z]).item()
    error = noisy["robust"].std() / math.sqrt(draws)
    assert abs(noisy["robust"].mean() - clean) < 4 * error
    assert abs(noisy["plain"].mean() - clean) > 20 * error
    ratio = noisy["robust"].var() / noisy["plain"].var()
    assert ratio.item() == pytest.approx((1 - 2 * eps) ** -2, rel=0.05)
    exact = eps * (1 - eps) / (1 - 2 * eps) ** 2
    assert noisy["robust"].var().item() == pytest.approx(exact, rel=0.05)


# P16: optima of a consistently labelled pair


def test_optimum_of_one_consistent_pair():
    eps, beta = 0.2, 0.5
    assert slope_of(CDPO(beta=beta, flip_rate=eps), [math.log(4) / beta]).abs() < 1e-15
    assert slope_of(IPO(beta=beta), [1 / (2 * beta)]) == 0
    robust_target = 1 / (2 * beta * (1 - 2 * eps))
    assert slope_of(RDPO(beta=beta, flip_rate=eps, link="squared"), [robust_target]).abs() < 1e-14
    assert (slope_of(DPO(beta=beta), GRID) < 0).all()
    assert (slope_of(RDPO(beta=beta, flip_rate=eps), GRID) < 0).all()


# Traps


def test_the_cap_stops_the_bonus():
    capped, free = RDPO(beta=0.5, flip_rate=0.2, margin_cap=3.0), RDPO(beta=0.5, flip_rate=0.2)
    inside, outside = real([-50.0, 5.9]), real([20.0, 900.0])
    assert torch.equal(loss_of(capped, inside), loss_of(free, inside))
    assert (loss_of(capped, outside) >= -3.0 / 3).all()
    torch.testing.assert_close(loss_of(capped, [900.0]), real([-1.0]))
    assert slope_of(capped, [900.0]).abs() < 1e-100


@pytest.mark.parametrize("link", ["hinge", "probit"])
def test_the_cap_bounds_other_links(link):
    capped = RDPO(beta=0.5, flip_rate=0.2, link=link, margin_cap=3.0)
    assert slope_of(capped, [500.0]).abs() < 1e-100
    assert loss_of(RDPO(beta=0.5, flip_rate=0.2, link=link), [500.0]) < -80


def test_memorising_sends_the_unbiased_loss_down_and_not_the_bounded_ones():
    margins = torch.full((4,), 2_000.0, dtype=torch.float64)
    assert loss_of(RDPO(flip_rate=0.3), margins).max() < -149
    assert loss_of(RDPO(flip_rate=0.3, variant="forward"), margins).min() > 0
    assert loss_of(RDPO(flip_rate=0.3, margin_cap=10.0), margins).min() > -7.6


@pytest.mark.parametrize("rate", [0.41, 0.49])
def test_rates_near_a_half_warn_once(rate):
    with pytest.warns(DataQualityWarning, match="times DPO's noise variance") as caught:
        objective = RDPO(flip_rate=rate)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    loss_of(objective, [1.0])
    with pytest.warns(DataQualityWarning):
        RDPO(rho_plus=0.5, rho_minus=0.45)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give flip_rate"),
        ({"flip_rate": 0.5}, r"RDPO.flip_rate must be .*\[0.0, 0.5\).*; got 0.5"),
        ({"flip_rate": 0.1, "rho_plus": 0.1, "rho_minus": 0.1}, "not both kinds"),
        ({"rho_plus": 0.1}, "rho_plus and rho_minus go together"),
        ({"rho_plus": 0.6, "rho_minus": 0.4}, "must be < 1; got 1"),
        ({"flip_rate": 0.1, "variant": "forward", "link": "hinge"}, "is a probability"),
        ({"flip_rate": 0.1, "variant": "forward", "margin_cap": 1.0}, "margin_cap has no effect"),
        ({"flip_rate": 0.1, "link": "squared", "margin_cap": 1.0}, "bounded below"),
        ({"flip_rate": 0.1, "variant": "conservative"}, "'unbiased', 'forward'"),
        ({"flip_rate": 0.1, "beta": 0.0}, "beta must be a finite number > 0"),
    ],
    ids=repr,
)
def test_options_that_contradict_or_do_nothing_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        RDPO(**options)


def test_reversal_needs_less_than_half_and_uniform_does_not():
    with pytest.raises(ParameterError, match=r"flip_rate must be < 0.5 for noise 'reversal'"):
        RobustPlackettLuce(flip_rate=0.5)
    assert RobustPlackettLuce(flip_rate=0.9, noise="uniform").flip_rate == 0.9


# Metrics


def test_flip_posterior_by_bayes():
    z, eps = torch.linspace(-6, 6, 25, dtype=torch.float64), 0.2
    metrics = RDPO(beta=1.0, flip_rate=eps)(scores_of(z)).metrics
    right, wrong = (1 - eps) * torch.sigmoid(z), eps * torch.sigmoid(-z)
    torch.testing.assert_close(metrics["flip_posterior"], wrong / (right + wrong))
    torch.testing.assert_close(metrics["forward_nll"], -(right + wrong).log())
    torch.testing.assert_close(metrics["dpo_loss"], torch.nn.functional.softplus(-z))
    assert torch.equal(metrics["flip_suspected"] == 1, z < -math.log(4))


def test_flip_posterior_of_a_position_bias():
    """Chosen shown first: its label is wrong with odds rho_minus to 1 - rho_plus."""
    objective = RDPO(beta=1.0, rho_plus=0.1, rho_minus=0.3)
    first = torch.tensor([True, False])
    metrics = objective(scores_of([0.0, 0.0], chosen_first=first)).metrics
    expected = real([0.3 / (0.9 + 0.3), 0.1 / (0.7 + 0.1)])
    torch.testing.assert_close(metrics["flip_posterior"], expected)


def test_selection_metrics_do_not_depend_on_the_variant():
    unlike = [
        RDPO(flip_rate=0.2, **options)(scores_of(GRID)).metrics
        for options in ({}, {"variant": "forward"}, {"link": "squared"}, {"margin_cap": 1.0})
    ]
    for metrics in unlike[1:]:
        for name in ("dpo_loss", "forward_nll", "flip_posterior"):
            assert torch.equal(metrics[name], unlike[0][name])


# The experiment that justifies the method: two groups, noise 0.05 and 0.35


def two_groups(seed, n=4_000):
    """(rows, rates, test features, truth): each group labels its own block of 4 features."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    truth = 1.5 * truth / truth.norm(dim=1, keepdim=True)
    rows, rates = [], []
    for group, flips in enumerate((0.05, 0.35)):
        own = torch.randn(n, 4, generator=generator, dtype=torch.float64)
        features = torch.zeros(n, 8, dtype=torch.float64)
        features[:, 4 * group : 4 * group + 4] = labelled(generator, own, truth[group], flips)
        rows.append(features)
        rates.append(torch.full((n,), flips, dtype=torch.float64))
    test = torch.randn(8_000, 8, generator=generator, dtype=torch.float64)
    return torch.cat(rows), torch.cat(rates), test, truth.flatten()


def test_a_rate_for_each_group_gives_the_noisier_group_its_voice_back():
    found = {"dpo": [], "cdpo": [], "rdpo": [], "forward": []}
    for seed in range(5):
        rows, rates, test, truth = two_groups(seed)
        fits = {
            "dpo": minimiser(DPO(beta=1.0), rows),
            "cdpo": minimiser(CDPO(beta=1.0, flip_rate=0.2), rows),
            "rdpo": minimiser(RDPO(beta=1.0, flip_rate="per_pair"), rows, flip_rate=rates),
        }
        start = RDPO(beta=1.0, flip_rate="per_pair", variant="forward")
        fits["forward"] = descend(start, rows, rates, fits["rdpo"])
        for name, theta in fits.items():
            accuracy = ((test @ theta > 0) == (test @ truth > 0)).double().mean().item()
            ratio = (theta[4:].norm() / theta[:4].norm()).item()
            found[name].append((accuracy, ratio))
    mean = {name: np.mean(values, axis=0) for name, values in found.items()}
    assert mean["rdpo"][0] >= mean["dpo"][0] + 0.10, mean
    assert mean["forward"][0] >= mean["dpo"][0] + 0.10, mean
    assert 0.8 <= mean["rdpo"][1] <= 1.25, mean
    assert 0.8 <= mean["forward"][1] <= 1.25, mean
    assert mean["dpo"][1] < 0.4, mean
    assert mean["cdpo"][1] < 0.45, mean


def test_a_pooled_rate_is_worse_than_none():
    accuracy = {"dpo": [], "pooled": []}
    for seed in (0, 1, 3):  # seeds whose pooled loss has a minimum at all
        rows, _, test, truth = two_groups(seed)
        fits = {
            "dpo": minimiser(DPO(beta=1.0), rows),
            "pooled": minimiser(RDPO(beta=1.0, flip_rate=0.2), rows),
        }
        for name, theta in fits.items():
            right = (test @ theta > 0) == (test @ truth > 0)
            accuracy[name].append(right.double().mean().item())
        assert fits["pooled"][4:].norm() < 0.1 * fits["pooled"][:4].norm()
    assert np.mean(accuracy["pooled"]) < np.mean(accuracy["dpo"]) - 0.04, accuracy
    rows, _, _, _ = two_groups(2)
    assert not contradicted(rows[:4_000, :4].numpy(), 0.2)
    assert contradicted(rows[:4_000, :4].numpy(), 0.05)


def descend(objective, rows, rates, theta):
    """The forward loss is not convex: quasi-Newton from the unbiased fit."""
    theta = theta.clone().requires_grad_()
    zero = torch.zeros(len(rows), dtype=torch.float64)
    solver = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        solver.zero_grad()
        loss = objective(PairScores(rows @ theta, zero, zero, zero, flip_rate=rates)).loss.mean()
        loss.backward()
        return loss

    solver.step(closure)
    return theta.detach()


def test_forward_keeps_the_smaller_of_two_rates_as_its_floor():
    keep, leak = real([0.9]), real([0.3])
    far = forward(LINKS["logistic"], real([400.0]), 1.0, keep, leak)
    torch.testing.assert_close(far, -keep.log())
    torch.testing.assert_close(
        forward(LINKS["logistic"], real([-400.0]), 1.0, keep, leak), -leak.log()
    )
