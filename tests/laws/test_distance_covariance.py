"""Distance covariance: its identities, its gradient, and every path against the dense form."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from pluralign.audit.dependence import (
    between_group_share,
    jensen_shannon,
    ranked_probability_score,
    shannon_divergence,
)
from pluralign.objectives.dependence import DistanceCovariance
from pluralign.objectives.dependence_attributes import Attributes
from pluralign.objectives.dependence_losses import OutcomeLoss, Outcomes
from pluralign.objectives.dependence_penalty import Regularised

ESTIMATORS = pytest.mark.parametrize("estimator", ["u", "v"])


def length(block, exponent=1.0):
    """All distances, with gradient 0 between equal rows."""
    block = block.reshape(len(block), -1)
    squares = (block[:, None] - block[None]).square().sum(-1)
    safe = squares.where(squares > 0, torch.ones_like(squares))
    return safe.pow(exponent / 2) * (squares > 0)


def centre(table, estimator):
    n = len(table)
    if estimator == "v":
        return table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    rows = table.sum(1)
    inner = table - (rows[:, None] + rows) / (n - 2) + table.sum() / ((n - 1) * (n - 2))
    return inner * (1 - torch.eye(n, dtype=table.dtype))


def dense(y, blocks, measure, estimator, c=1.0, exponent=1.0):
    """The definitions, with all pairs in memory."""
    n = len(y)
    norm = 1 / n**2 if estimator == "v" else 1 / (n * (n - 3))
    blocks = [block.reshape(n, -1).double() for block in blocks]
    own = centre(length(y, exponent), estimator)
    if measure == "jdcov":
        product = c - own
        for block in blocks:
            product = product * (c - centre(length(block, exponent), estimator))
        scale = 1 if estimator == "v" else n / (n - 3)
        return norm * product.sum() - scale * c ** (len(blocks) + 1)
    if measure == "ccdcov":
        blocks = [torch.cat(blocks, 1)]
    return sum(norm * (own * centre(length(b, exponent), estimator)).sum() for b in blocks)


def value_and_slope(function, y):
    y = y.clone().requires_grad_()
    value = function(y)
    return value.item(), torch.autograd.grad(value, y)[0]


def table(n, seed=0, ties=False):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    region = torch.nn.functional.one_hot(torch.randint(0, 3, (n,), generator=generator), 3)
    sex = torch.randint(0, 2, (n,), generator=generator)
    age = torch.randn(n, generator=generator, dtype=torch.float64)
    if ties:
        y, age = (3 * y).round() / 3, (4 * age).round() / 4
    return y, [region, sex, age]


@ESTIMATORS
@pytest.mark.parametrize("measure", ["sum_marginal", "ccdcov", "jdcov"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("path", ["auto", "cells", "blocks"])
@pytest.mark.parametrize("which", [(0,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_every_path_is_the_dense_form(measure, estimator, ties, path, which):
    y, blocks = table(150, ties=ties)
    blocks = [blocks[i] for i in which]
    wanted, slope = value_and_slope(lambda y: dense(y, blocks, measure, estimator, c=0.7), y)
    penalty = DistanceCovariance(measure=measure, estimator=estimator, path=path, c=0.7, block=37)
    got, fast = value_and_slope(lambda y: penalty(y, blocks), y)
    assert got == pytest.approx(wanted, abs=1e-12)
    torch.testing.assert_close(fast, slope, rtol=0, atol=1e-12)


@ESTIMATORS
@pytest.mark.parametrize("n", [4, 5, 64, 65, 127, 300])
@pytest.mark.parametrize("ties", [False, True])
def test_one_continuous_attribute_by_halving(estimator, n, ties):
    y, blocks = table(n, seed=n, ties=ties)
    wanted, slope = value_and_slope(lambda y: dense(y, blocks[2:], "ccdcov", estimator), y)
    penalty = DistanceCovariance(estimator=estimator, path="line")
    got, fast = value_and_slope(lambda y: penalty(y, blocks[2]), y)
    assert got == pytest.approx(wanted, abs=1e-12)
    torch.testing.assert_close(fast, slope, rtol=0, atol=1e-12)


@ESTIMATORS
@pytest.mark.parametrize("block", [1, 2, 16, 49, 50, 51, 4096])
def test_the_size_of_blocks_changes_nothing(estimator, block):
    y, blocks = table(50, ties=True)
    for measure in ("ccdcov", "jdcov"):
        penalty = DistanceCovariance(
            measure=measure, estimator=estimator, path="blocks", block=block
        )
        wanted, slope = value_and_slope(lambda y, m=measure: dense(y, blocks, m, estimator), y)
        got, fast = value_and_slope(lambda y, p=penalty: p(y, blocks), y)
        assert got == pytest.approx(wanted, abs=1e-12)
        torch.testing.assert_close(fast, slope, rtol=0, atol=1e-12)


@ESTIMATORS
@pytest.mark.parametrize("measure", ["sum_marginal", "ccdcov", "jdcov"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("columns", [1, 2])
def test_other_exponents_and_vectors_of_predictions(measure, estimator, exponent, columns):
    y, blocks = table(40, ties=True)
    if columns == 2:
        y = torch.stack([y, y.flip(0)], 1)
    wanted, slope = value_and_slope(
        lambda y: dense(y, blocks, measure, estimator, exponent=exponent), y
    )
    penalty = DistanceCovariance(measure=measure, estimator=estimator, exponent=exponent, block=16)
    got, fast = value_and_slope(lambda y: penalty(y, blocks), y)
    assert got == pytest.approx(wanted, abs=1e-12)
    torch.testing.assert_close(fast, slope, rtol=0, atol=1e-11)


def test_second_derivatives():
    y, blocks = table(12)
    weights = torch.linspace(-1, 1, 12, dtype=torch.float64)

    def second(function, at):
        at = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(at), at, create_graph=True)
        return torch.autograd.grad((slope * weights.reshape(-1, *[1] * (at.ndim - 1))).sum(), at)[0]

    for exponent, shape in [(1.0, (12,)), (0.6, (12,)), (1.0, (12, 2)), (1.5, (12, 2))]:
        penalty = DistanceCovariance(exponent=exponent, block=5)
        point = torch.stack([y, y.flip(0)], 1) if len(shape) == 2 else y
        # A curved model of the predictions, so that slope and curve both enter.
        got = second(lambda x, p=penalty: p(x.sin(), blocks), point)
        wanted = second(
            lambda x, e=exponent: dense(x.sin(), blocks, "ccdcov", "u", exponent=e), point
        )
        assert got.abs().max() > 1e-4
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


@ESTIMATORS
@pytest.mark.parametrize("measure", ["sum_marginal", "ccdcov"])
def test_the_value_is_predictions_times_gradient(measure, estimator):
    y, blocks = table(80)
    penalty = DistanceCovariance(measure=measure, estimator=estimator)
    value, slope = value_and_slope(lambda y: penalty(y, blocks), y)
    assert value == pytest.approx((y * slope).sum().item(), rel=1e-12)


def test_v_is_never_negative_and_u_has_mean_zero_under_independence():
    y, blocks = table(40)
    attributes = Attributes.of(blocks)
    generator = torch.Generator().manual_seed(1)
    draws = [y[torch.randperm(40, generator=generator)] for _ in range(1000)]
    v = np.array([DistanceCovariance(estimator="v")(d, attributes).item() for d in draws])
    u = np.array([DistanceCovariance(estimator="u")(d, attributes).item() for d in draws])
    assert v.min() > 0
    assert abs(u.mean()) < 3 * u.std() / math.sqrt(1000)
    assert v.mean() > 10 * u.std() / math.sqrt(1000)


@ESTIMATORS
def test_scale_shift_rotation_and_order_of_rows(estimator):
    y, (region, sex, age) = table(60)
    matrix = torch.cat([region.double(), sex[:, None].double(), age[:, None]], 1)
    turn, _ = torch.linalg.qr(
        torch.randn(5, 5, generator=torch.Generator().manual_seed(2)).double()
    )
    plain = DistanceCovariance(estimator=estimator)
    ratio = DistanceCovariance(estimator=estimator, normalise=True)
    base = plain(y, matrix).item()
    assert plain(-3 * y + 7, 2 * matrix @ turn).item() == pytest.approx(6 * base, rel=1e-10)
    assert ratio(-3 * y + 7, 2 * matrix @ turn).item() == pytest.approx(
        ratio(y, matrix).item(), rel=1e-10
    )
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    assert plain(y[order], matrix[order]).item() == pytest.approx(base, rel=1e-10)
    assert DistanceCovariance(estimator=estimator, normalise=True)(y, y).item() == pytest.approx(1)


def test_a_binary_attribute_is_the_energy_distance():
    y, (_, sex, _) = table(70)
    share = sex.double().mean().item()
    distance = length(y)
    one, other = sex == 1, sex == 0
    energy = (
        2 * distance[one][:, other].mean()
        - distance[one][:, one].mean()
        - distance[other][:, other].mean()
    )
    wanted = 2 * (share * (1 - share)) ** 2 * energy.item()
    penalty = DistanceCovariance(estimator="v")
    assert penalty(y, sex).item() == pytest.approx(wanted, rel=1e-12)
    coded = torch.nn.functional.one_hot(sex)
    assert penalty(y, coded).item() == pytest.approx(math.sqrt(2) * wanted, rel=1e-12)


def test_parity_is_invisible_to_marginals():
    a, b = (
        torch.tensor(column) for column in zip(*itertools.product([0, 1], repeat=2), strict=True)
    )
    y = (a ^ b).double()
    blocks = [a, b]
    v = {
        m: DistanceCovariance(estimator="v", measure=m)(y, blocks).item()
        for m in ("sum_marginal", "ccdcov", "jdcov")
    }
    assert v["sum_marginal"] == pytest.approx(0, abs=1e-15)
    assert v["ccdcov"] == pytest.approx((1 - (2 + math.sqrt(2)) / 4) / 2, abs=1e-12)
    assert v["jdcov"] == pytest.approx(1 / 8, abs=1e-12)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_parity_of_d_attributes_leaves_only_the_highest_interaction(d):
    columns = [torch.tensor(c) for c in zip(*itertools.product([0, 1], repeat=d), strict=True)]
    y = (sum(columns) % 2).double()
    joint = DistanceCovariance(estimator="v", measure="jdcov")(y, columns).item()
    assert joint == pytest.approx(0.5 ** (d + 1), abs=1e-12)


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_joint_covariance_is_the_sum_over_subsets(c):
    y, blocks = table(25)
    terms = [-centre(length(b.double()), "v") for b in (y, *blocks)]
    wanted = sum(
        c ** (len(terms) - size) * torch.stack(subset).prod(0).mean().item()
        for size in range(2, len(terms) + 1)
        for subset in itertools.combinations(terms, size)
    )
    penalty = DistanceCovariance(estimator="v", measure="jdcov", c=c)
    assert penalty(y, blocks).item() == pytest.approx(wanted, rel=1e-10)
    assert penalty(y, blocks[:1]).item() == pytest.approx(
        DistanceCovariance(estimator="v")(y, blocks[:1]).item(), rel=1e-12
    )


def test_projections_have_no_bias():
    y, blocks = table(60)
    matrix = torch.cat([b.reshape(60, -1).double() for b in blocks], 1)
    exact, slope = value_and_slope(lambda y: DistanceCovariance(path="blocks")(y, matrix), y)
    penalty = DistanceCovariance(path="projections", projections=4000)
    generator = torch.Generator().manual_seed(0)
    near, other = value_and_slope(lambda y: penalty(y, matrix, generator=generator), y)
    assert near == pytest.approx(exact, rel=0.05)
    torch.testing.assert_close(other, slope, rtol=0, atol=0.1 * slope.abs().max().item())


def test_a_batch_shares_the_cells_of_all_rows():
    y, blocks = table(90, ties=True)
    whole = Attributes.of(blocks)
    rows = torch.randperm(90, generator=torch.Generator().manual_seed(4))[:30]
    for measure in ("sum_marginal", "ccdcov", "jdcov"):
        penalty = DistanceCovariance(measure=measure, path="cells")
        wanted = dense(y[rows], [b[rows] for b in blocks], measure, "u").item()
        assert penalty(y[rows], whole.take(rows)).item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_summed_in_float64(dtype):
    generator = torch.Generator().manual_seed(0)
    y = (1 + 1e-3 * torch.randn(500, generator=generator)).to(dtype).requires_grad_()
    group = torch.randint(0, 2, (500,), generator=generator)
    psi = DistanceCovariance()(y, group)
    psi.backward()
    wanted = dense(y.detach().double(), [group], "ccdcov", "u").item()
    assert psi.dtype == torch.float32
    assert psi.item() == pytest.approx(wanted, rel=1e-6)
    assert y.grad.dtype == dtype


def linear_optimum(strength, features, target, attributes):
    """Dependence of a linear model at the optimum of squared loss and penalty."""
    objective = Regularised(
        base=OutcomeLoss(family="squared"),
        penalty=DistanceCovariance(estimator="v"),
        strength=strength,
    )

    def loss(weights):
        batch = Outcomes(features @ torch.tensor(weights), target)
        return objective(batch, attributes).loss.mean().item()

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000}
    found = optimize.minimize(loss, [0.5, 0.4, 0.3], method="Nelder-Mead", options=options).x
    return DistanceCovariance(estimator="v")(features @ torch.tensor(found), attributes).item()


def test_more_strength_never_means_more_dependence():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 2, (200,), generator=generator)
    features = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    features[:, 0] += group
    target = features @ torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)
    found = [linear_optimum(s, features, target, group) for s in (0.0, 2.0, 10.0, 30.0, 300.0)]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(found))
    assert found[-1] < 0.2 * found[0]


def test_divergence_of_groups():
    outputs = [0.1, 0.5, 0.9, 0.1, 0.5, 0.9]
    assert jensen_shannon(outputs, "aaabbb") == pytest.approx(0, abs=1e-12)
    apart = [0.0] * 3 + [100.0]
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert jensen_shannon(apart, "aaab") == pytest.approx(entropy, rel=1e-6)
    mixed = [0.1, 0.2, 0.7, 0.8, 0.3]
    assert jensen_shannon(mixed, "abcab") == pytest.approx(jensen_shannon(mixed, "xazxa"))
    assert jensen_shannon([2.0, 2.0], "ab") == 0
    assert shannon_divergence(np.eye(4)) == pytest.approx(2)


def test_share_between_groups_is_the_correlation_ratio():
    rng = np.random.default_rng(0)
    outputs, groups = rng.random(50), rng.integers(0, 5, 50)
    within = sum(((v := outputs[groups == g]) - v.mean()) @ (v - v.mean()) for g in range(5))
    total = ((outputs - outputs.mean()) ** 2).sum()
    assert between_group_share(outputs, groups) == pytest.approx(1 - within / total)
    assert between_group_share(np.ones(4), "aabb") == 0


def test_binary_score_is_brier_and_poisson_score_by_hand():
    rng = np.random.default_rng(0)
    p, y = rng.random(20), rng.integers(0, 2, 20)
    assert ranked_probability_score(y, p, kind="binary") == pytest.approx((p - y) ** 2)
    rate, count = 0.4, 2
    cdf = np.cumsum([math.exp(-rate) * rate**k / math.factorial(k) for k in range(11)])
    by_hand = ((cdf - (count <= np.arange(11))) ** 2).sum()
    assert ranked_probability_score([count], [rate]) == pytest.approx([by_hand])
