"""Laws of domain heads: weights, training, sessions, and worlds where steering helps or harms."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pluralign import DataError, DataQualityWarning, ParameterError
from pluralign.audit.domains import adaptivity_gap
from pluralign.nn.domain_heads import DomainHeads
from pluralign.objectives.drm import DomainRisk
from pluralign.steer.domain_sessions import (
    Adaptation,
    DomainSession,
    adaptation_loss,
    pseudo_labels,
)
from pluralign.steer.domain_weights import (
    DomainWeights,
    gap_weights,
    label_weights,
    pair_logits,
    prediction_entropy,
)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_sum_to_one_and_follow_the_heads():
    gap = random(7, 4).abs()
    for gamma in (0.0, 0.5, 5.0, "argmin"):
        weights = gap_weights(gap, gamma)
        torch.testing.assert_close(weights.sum(-1), torch.ones(7, dtype=torch.float64))
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(gap_weights(gap[:, order], gamma), weights[:, order])
    torch.testing.assert_close(gap_weights(gap, 0.0), torch.full_like(gap, 0.25))
    torch.testing.assert_close(gap_weights(gap, 5000.0), gap_weights(gap, "argmin"))
    torch.testing.assert_close(gap_weights(gap, 2.0), gap**-2 / (gap**-2).sum(-1, keepdim=True))
    assert gap_weights(torch.tensor([0.0, 1.0])).tolist() == [1.0, pytest.approx(1e-12)]


def test_entropy_bounds_shift_and_scale():
    logits = random(9, 5)
    entropy = prediction_entropy(logits)
    assert ((entropy >= 0) & (entropy <= math.log(5))).all()
    torch.testing.assert_close(prediction_entropy(logits + 7.0), entropy)
    assert (prediction_entropy(1.5 * logits) < entropy).all()
    assert prediction_entropy(torch.zeros(5, dtype=torch.float64)).item() == pytest.approx(
        math.log(5)
    )
    sure = torch.tensor([0.0, -math.inf])
    assert prediction_entropy(sure).item() == 0.0


def test_equal_heads_are_any_head():
    logits = random(6, 1, 3).expand(6, 4, 3)
    for gamma in (0.0, 2.0, "argmin"):
        found = DomainWeights(gamma=gamma)(logits)
        torch.testing.assert_close(found.probabilities, logits[:, 0].softmax(-1))
        assert found.disagreement == 0.0


def test_a_batch_is_weighed_as_a_whole():
    logits = random(8, 4, 3)
    found = DomainWeights()(logits)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        DomainWeights()(logits[order]).probabilities, found.probabilities[order]
    )
    twice = DomainWeights()(torch.cat([logits, logits]))
    torch.testing.assert_close(twice.weights[0], found.weights[0])
    assert not torch.allclose(DomainWeights(level="sample")(logits).weights, found.weights)
    torch.testing.assert_close(found.probabilities.sum(-1), torch.ones(8, dtype=torch.float64))


def test_a_sure_and_wrong_head_takes_all_the_weight_and_the_disagreement_shows_it():
    logits = random(64, 4, 2)
    logits[:, 1] = -100 * logits[:, 0]
    found = DomainWeights()(logits)
    assert found.weights[0].argmax() == 1
    assert found.weights[0].max() > 0.9
    assert DomainWeights(gamma=0.0)(logits).weights[0].max() == pytest.approx(1 / 3)
    assert label_weights(logits, (-logits[:, 1]).argmax(-1)).argmax() == 0


def test_the_risk_weighs_domains_and_not_rows():
    """By definition: the mean over domains of the mean over their rows."""
    heads = DomainHeads(3, n_classes=4, n_domains=3, dtype=torch.float64)
    x = random(10, 3)
    domain = torch.tensor([0] * 6 + [1] * 3 + [2])
    labels = torch.arange(10) % 4
    logits = heads(x)
    expected = torch.stack(
        [
            0.3 * functional.cross_entropy(logits[domain == i, i], labels[domain == i])
            + 0.7 * functional.cross_entropy(logits[domain == i, 3], labels[domain == i])
            for i in range(3)
        ]
    ).mean()
    terms = DomainRisk(own_weight=0.3)(logits, labels, domain)
    torch.testing.assert_close(terms.loss.mean(), expected)
    assert terms.loss.shape == (10,)
    kept = domain != 1  # an absent domain is left out, the others weigh equally
    with pytest.warns(DataQualityWarning, match=r"no row of domain 1 .* \(1 of 3 domains\)"):
        part = DomainRisk(own_weight=1.0)(logits[kept], labels[kept], domain[kept]).loss.mean()
    both = [functional.cross_entropy(logits[domain == i, i], labels[domain == i]) for i in (0, 2)]
    torch.testing.assert_close(part, sum(both) / 2)


def test_the_shared_head_learns_by_half_of_the_plain_gradient():
    heads = DomainHeads(3, n_classes=2, n_domains=2, dtype=torch.float64)
    x, labels = random(8, 3), torch.arange(8) % 2
    domain = torch.tensor([0] * 4 + [1] * 4)
    DomainRisk()(heads(x), labels, domain).loss.mean().backward()
    weight = heads.weight.detach()[-1].requires_grad_()
    functional.cross_entropy(x @ weight.T + heads.bias.detach()[-1], labels).backward()
    torch.testing.assert_close(heads.weight.grad[-1], weight.grad / 2)
    heads.zero_grad()
    DomainRisk(own_weight=1.0)(heads(x), labels, domain).loss.mean().backward()
    assert not heads.weight.grad[-1].any()


def test_the_gradient_of_pseudo_labels():
    """mean over kept rows of (p - onehot) z."""
    heads = DomainHeads(3, n_classes=3, n_domains=2, dtype=torch.float64)
    z = random(12, 3)
    logits = heads(z)
    pseudo = pseudo_labels(logits.detach(), Adaptation(labels="own", threshold=0.4))
    assert 0 < pseudo.kept.sum() < pseudo.kept.numel()
    adaptation_loss(logits, pseudo).backward()
    for head in range(3):
        kept = pseudo.kept[head]
        error = logits[kept, head].softmax(-1) - functional.one_hot(pseudo.labels[head, kept], 3)
        torch.testing.assert_close(heads.weight.grad[head], error.T.detach() @ z[kept] / kept.sum())


@pytest.mark.parametrize("labels", ["own", "last", "uniform", "drm"])
@pytest.mark.parametrize("update", ["heads", "full"])
def test_a_session_adapts_copies_and_comes_back(labels, update):
    torch.manual_seed(0)
    encoder, heads = nn.Linear(4, 3), DomainHeads(3, n_classes=2, n_domains=2)
    before = copy.deepcopy(heads.state_dict()), copy.deepcopy(encoder.state_dict())
    settings = Adaptation(labels=labels, threshold=0.0, update=update, learning_rate=0.1, steps=2)
    session = DomainSession(heads, encoder, adaptation=settings)
    x = torch.randn(20, 4)
    first = session(x)
    assert all(torch.equal(heads.state_dict()[k], v) for k, v in before[0].items())
    assert all(torch.equal(encoder.state_dict()[k], v) for k, v in before[1].items())
    assert not torch.equal(session.heads.weight, heads.weight)
    assert torch.equal(session.encoder.weight, encoder.weight) == (update == "heads")
    session(x)
    session.reset()
    assert torch.equal(session(x).probabilities, first.probabilities)


def test_nothing_kept_changes_nothing():
    heads = DomainHeads(3, n_classes=2, n_domains=2)
    settings = Adaptation(threshold=1.0, learning_rate=1.0)
    session = DomainSession(heads, adaptation=settings)
    session(random(20, 3).float())
    assert torch.equal(session.heads.weight, heads.weight)
    assert not session._optimiser.state


def test_a_session_remembers_all_its_rows():
    heads = DomainHeads(3, n_classes=2, n_domains=2, dtype=torch.float64)
    x = random(40, 3)
    session = DomainSession(heads)
    session(x[:20])
    last = session(x[20:])
    torch.testing.assert_close(last.weights[0], DomainWeights()(heads(x)).weights[0])


def test_adaptation_stops_when_predictions_collapse():
    heads = DomainHeads(2, n_classes=2, n_domains=2)
    with torch.no_grad():
        heads.bias[:, 0] += 20
    session = DomainSession(
        heads, adaptation=Adaptation(threshold=0.0), class_shares=torch.tensor([0.5, 0.5])
    )
    with pytest.warns(DataQualityWarning, match="collapse to few classes"):
        session(random(32, 2).float())
    assert session.stopped
    assert torch.equal(session.heads.weight, heads.weight)


def sources_and_target(angles, target, n, seed=0):
    """Domain with angle t: y = +-1, x = y m u(t) + N(0, I), m = 2."""
    rng = np.random.default_rng(seed)

    def draw(angle, count):
        y = rng.integers(0, 2, count)
        u = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        x = (2 * y - 1)[:, None] * 2 * u + rng.normal(size=(count, 2))
        return torch.tensor(x), torch.tensor(y)

    return [draw(a, n) for a in angles], draw(target, 20_000)


def fitted(parts):
    heads = DomainHeads(2, n_classes=2, n_domains=len(parts), dtype=torch.float64)
    with torch.no_grad():
        heads.weight.zero_(), heads.bias.zero_()
    x, y = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    domain = torch.cat([torch.full((len(p[1]),), i) for i, p in enumerate(parts)])
    optimiser = torch.optim.LBFGS(heads.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = DomainRisk()(heads(x), y, domain).loss.mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return heads


WORLDS = {
    "outside": ((0, 45, 90), 110, 0.970, 0.795, 0.768),
    "far outside": ((0, 60, 120), 140, 0.964, 0.629, 0.516),
    "inside": ((0, 30, 60), 45, 0.974, 0.974, 0.975),
}


@pytest.mark.parametrize(
    ("angles", "target", "batch", "erm", "sample"), WORLDS.values(), ids=WORLDS
)
def test_the_world_of_rotated_rules(angles, target, batch, erm, sample):
    """Batch weights find the right head; weights of single rows follow the sure and wrong one."""
    parts, (x, y) = sources_and_target(angles, target, 2000)
    heads = fitted(parts)
    with torch.no_grad():
        logits = heads(x)

    def accuracy(found):
        return (found.argmax(-1) == y).double().mean().item()

    for i, angle in enumerate(angles):  # closed form: Phi(m cos(difference))
        exact = 0.5 * (1 + math.erf(2 * math.cos(math.radians(target - angle)) / math.sqrt(2)))
        assert accuracy(logits[:, i]) == pytest.approx(exact, abs=0.03)
    assert accuracy(logits[:, -1]) == pytest.approx(erm, abs=0.03)
    assert accuracy(DomainWeights(gamma="argmin")(logits).probabilities) == pytest.approx(
        batch, abs=0.01
    )
    single = DomainWeights(gamma="argmin", level="sample")(logits)
    assert accuracy(single.probabilities) == pytest.approx(sample, abs=0.03)
    if target != 45:
        assert accuracy(single.probabilities) < accuracy(logits[:, -1])
    session = DomainSession(heads, weights=DomainWeights(gamma="argmin"))
    last = [session(part).probabilities for part in x.split(1000)][-1]
    assert (last.argmax(-1) == y[-1000:]).double().mean() > batch - 0.03


def test_the_bound_and_the_mixture_on_finite_spaces():
    """eps_T(h) <= sum a_i [eps_i(h) + eps_i(h_i) + d(D_i, D_T)] + sum a_i E_T|h_i - f_T|."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        points, m = 6, 3
        space = rng.random((8, points))  # the hypotheses, on all points
        p = rng.dirichlet(np.ones(points), m + 1)
        f = rng.random((m + 1, points))
        a = rng.dirichlet(np.ones(m))
        own = space[rng.integers(0, 8, m)]
        gaps = np.abs(space[:, None] - space[None]).reshape(-1, points)
        distance = [np.abs(gaps @ (p[i] - p[m])).max() for i in range(m)]
        adaptivity = sum(a[i] * p[m] @ np.abs(own[i] - f[m]) for i in range(m))
        for h in space:
            risk = p[m] @ np.abs(h - f[m])
            terms = (
                a[i] * (p[i] @ np.abs(h - f[i]) + p[i] @ np.abs(own[i] - f[i]) + distance[i])
                for i in range(m)
            )
            assert risk <= sum(terms) + adaptivity + 1e-12
        assert p[m] @ np.abs(a @ own - f[m]) <= adaptivity + 1e-12


def test_the_gap_of_a_mixture_is_bounded():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 30), rng.dirichlet(np.ones(3), (4, 30))
    found = adaptivity_gap(y, p, rng.dirichlet(np.ones(4)))
    assert found.soft_gap_of_mixture <= found.upper_bound + 1e-12
    assert found.best_error == min(found.error_per_head)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: DomainHeads(3, 2, 1),
            ParameterError,
            "n_domains must be an integer >= 2; got 1. One",
        ),
        (lambda: DomainHeads(3, 1, 2), ParameterError, "n_classes must be an integer >= 2"),
        (lambda: DomainRisk(own_weight=0.0), ParameterError, "own_weight"),
        (lambda: DomainWeights(gamma=-1.0), ParameterError, r"gamma must be .*'argmin'; got -1.0"),
        (lambda: DomainWeights(measure="cosine", heads="all"), ParameterError, "no meaning"),
        (lambda: Adaptation(threshold=1.1), ParameterError, "threshold must be"),
        (lambda: Adaptation(labels="best"), ParameterError, "labels must be one of"),
        (lambda: DomainWeights()(torch.zeros(0, 3, 2)), DataError, "N >= 1 rows"),
        (
            lambda: DomainWeights()(torch.full((2, 3, 2), math.nan)),
            DataError,
            "head 0 gives logits",
        ),
        (
            lambda: DomainWeights(measure="prototype")(torch.zeros(2, 3, 2)),
            DataError,
            r"needs features \(N, d\) and prototypes \(2, d\)",
        ),
        (
            lambda: DomainRisk()(torch.zeros(2, 3, 2), torch.tensor([0, 2]), torch.tensor([0, 1])),
            DataError,
            r"labels must lie in 0..1; row 1 has 2",
        ),
        (
            lambda: DomainRisk()(torch.zeros(2, 3, 2), torch.tensor([0, 1]), torch.tensor([0, 2])),
            DataError,
            r"domain must lie in 0..1; row 1 has 2",
        ),
        (
            lambda: DomainSession(DomainHeads(3, 2, 2), adaptation=Adaptation(update="full")),
            ParameterError,
            "needs the session to have an encoder",
        ),
        (lambda: adaptivity_gap([0], [[[1.0, 0.0]]], [0.5]), DataError, "sum to 0.5"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_preferences_of_several_origins_are_weighed_by_binary_entropy():
    margins = random(40, 4) * torch.tensor([3.0, 1.0, 0.3, 1.0])
    logits = pair_logits(margins)
    p = margins.sigmoid()
    binary = -(p * p.log() + (1 - p) * (1 - p).log())
    torch.testing.assert_close(prediction_entropy(logits), binary)
    found = DomainWeights()(logits)
    weights = 1 / binary[:, :3].mean(0)
    torch.testing.assert_close(found.weights[0], weights / weights.sum())
    torch.testing.assert_close(found.probabilities[:, 0], p[:, :3] @ found.weights[0])
    # Entropy cannot tell a head from its opposite; a few labelled pairs can.
    opposite = pair_logits(torch.stack([margins[:, 0], -margins[:, 0], margins[:, 1]], 1))
    torch.testing.assert_close(DomainWeights()(opposite).weights[0], torch.full((2,), 0.5).double())
    assert label_weights(opposite, (margins[:, 0] < 0).long()).argmax() == 0


def test_a_row_alone_is_remarked():
    logits = random(1, 3, 2)
    with pytest.warns(DataQualityWarning, match="one row alone chooses"):
        DomainWeights()(logits)
    DomainWeights(measure="uniform")(logits)


def test_a_small_first_batch_is_remarked():
    session = DomainSession(DomainHeads(3, n_classes=2, n_domains=2))
    with pytest.warns(DataQualityWarning, match="first batch has 1 rows"):
        session(torch.zeros(1, 3))
