"""Distance covariance as users meet it: messages, choices of path, objectives, tables."""

import logging

import numpy as np
import pytest
import torch

from pluralign import DataQualityWarning, IncompatibleError, PairScores, ParameterError
from pluralign.audit.cells import CellFrame
from pluralign.audit.dependence import (
    between_group_share,
    independence_test,
    intersection_cells,
    jensen_shannon,
    ranked_probability_score,
    shannon_divergence,
)
from pluralign.errors import DataError
from pluralign.learn.tabular import DependenceRegularisedRegressor
from pluralign.learn.tabular_encoding import AttributeEncoder
from pluralign.learn.tabular_strength import StrengthTable
from pluralign.objectives import BradleyTerry, DistanceCovariance, Regularised
from pluralign.objectives.dependence import _say_once, _say_vectors
from pluralign.objectives.dependence_attributes import Attributes
from pluralign.objectives.dependence_losses import OutcomeLoss, Outcomes

Y = torch.tensor([0.0, 1.0, 2.0, 0.5, 0.2])
G = torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "hsic"}, "measure must be one of 'dcov', 'sum_marginal', 'ccdcov', 'jdcov'"),
        ({"estimator": "U"}, "estimator must be one of 'u', 'v'; got 'U'"),
        ({"c": 0.0}, "c must be a finite number > 0.0"),
        ({"exponent": 2.0}, r"exponent must be a finite number in \(0.0, 2.0\); got 2.0"),
        ({"path": "projections"}, "a number of projections go together"),
        ({"path": "projections", "projections": 5, "measure": "jdcov"}, "serve dcov and ccdcov"),
        ({"path": "cells", "exponent": 0.5}, "'blocks' serves every exponent"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ParameterError, match=message):
        DistanceCovariance(**options)


@pytest.mark.parametrize(
    ("y", "blocks", "options", "message"),
    [
        (Y[:3], [G[:3]], {}, "3 rows are too few: estimator='u' needs 4"),
        (Y[:1], [Y[:1]], {"estimator": "v"}, "1 rows are too few"),
        (Y, [G[:4]], {}, r"predictions have shape \(5,\)"),
        (Y, [G, Y[:4]], {}, "attributes have"),
        (Y, [], {}, "no protected attribute"),
        (Y, [G, torch.tensor([0, 1, float("nan"), 0, 1])], {}, "attribute 1, column 0, row 2"),
        (Y / torch.tensor([1, 1, 0, 1, 1]), [G], {}, "prediction of row 2 is not finite"),
        (Y, [G, Y], {"measure": "dcov"}, "'dcov' is for one attribute; there are 2"),
        (Y, [G, Y], {"path": "line"}, "path 'line' is for one column"),
    ],
)
def test_unusable_rows(y, blocks, options, message):
    with pytest.raises(DataError, match=message):
        DistanceCovariance(**options)(y, blocks)


def test_constants_warn_and_give_nothing():
    with pytest.warns(DataQualityWarning, match="attribute 0 is constant"):
        assert DistanceCovariance()(Y, torch.ones(5)).item() == pytest.approx(0, abs=1e-15)
    flat = torch.full((5,), 2.5, requires_grad=True)
    for normalise in (False, True):
        with pytest.warns(DataQualityWarning, match="predictions are constant"):
            psi = DistanceCovariance(normalise=normalise)(flat, G)
        psi.backward()
        assert psi.item() == 0
        assert torch.equal(flat.grad, torch.zeros(5))


def test_the_path_is_chosen_by_the_attributes_and_said_once(caplog):
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(1000, 3, generator=generator)
    cases = {"cells": many[:, 0] > 0, "line": many[:, 0], "blocks": many}
    for path, attribute in cases.items():
        assert DistanceCovariance().plan(attribute) == [path]
    marginal = DistanceCovariance(measure="sum_marginal")
    assert marginal.plan([cases["cells"], cases["line"]]) == ["cells", "line"]
    assert DistanceCovariance(exponent=0.5).plan(cases["cells"]) == ["blocks"]
    _say_once.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            DistanceCovariance()(many[:, 0], many[:, 1])
    assert [record.getMessage() for record in caplog.records] == [
        "distance covariance takes the path 'line' (O(n log n))"
    ]


def test_vectors_of_predictions_are_remarked_once(caplog):
    _say_vectors.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            DistanceCovariance()(torch.stack([Y, Y.flip(0)], 1), G)
    assert [record.getMessage() for record in caplog.records] == [
        "predictions have 2 columns: what is measured is the dependence of the whole vector"
    ]


def test_a_fit_names_cells_of_few_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    sensitive = {"sex": ["f"] * 3 + ["m"] * 37, "age": rng.random(40)}
    model = DependenceRegularisedRegressor(strength=1.0, max_epochs=1)
    with pytest.warns(DataQualityWarning, match=r"1 of 2 cells have fewer than 10 rows: f \(3\)"):
        model.fit(x, y, sensitive_features=sensitive)
    model.set_params(strength=0.0).fit(x, y, sensitive_features=sensitive)


def test_equals_dcor():
    dcor = pytest.importorskip("dcor")
    rng = np.random.default_rng(0)
    y, s = rng.normal(size=(40, 1)), rng.normal(size=(40, 3))
    tensors = torch.tensor(y[:, 0]), torch.tensor(s)
    u, v = (DistanceCovariance(estimator=e)(*tensors).item() for e in "uv")
    assert u == pytest.approx(dcor.u_distance_covariance_sqr(y, s), rel=1e-10)
    assert v == pytest.approx(dcor.distance_covariance_sqr(y, s), rel=1e-10)
    power = DistanceCovariance(estimator="v", exponent=0.7)(*tensors).item()
    assert power == pytest.approx(dcor.distance_covariance_sqr(y, s, exponent=0.7), rel=1e-10)


OUTCOMES = {
    "binary": (torch.tensor([0, 1, 1, 0, 1]), None),
    "squared": (torch.tensor([0.1, 2.0, 1.0, 0.4, 0.0]), None),
    "poisson": (torch.tensor([0.0, 2.0, 1.0, 0.0, 3.0]), torch.tensor([0.5, 1.0, 1.0, 0.2, 0.9])),
}


@pytest.mark.parametrize("family", OUTCOMES)
def test_no_strength_leaves_the_terms_alone(family):
    batch = Outcomes(Y, *OUTCOMES[family])
    base = OutcomeLoss(family=family)
    terms = Regularised(base=base, penalty=DistanceCovariance(), strength=0.0)(batch, None)
    assert torch.equal(terms.loss, base(batch).loss)


@pytest.mark.parametrize("family", OUTCOMES)
@pytest.mark.parametrize("on", ["rate", "link"])
def test_strength_adds_the_dependence_of_what_is_asked_for(family, on):
    batch = Outcomes(Y, *OUTCOMES[family])
    base, penalty = OutcomeLoss(family=family), DistanceCovariance()
    link = {"binary": Y.sigmoid(), "squared": Y, "poisson": Y.exp()}[family]
    terms = Regularised(base=base, penalty=penalty, strength=3.0, on=on)(batch, G)
    psi = penalty(Y if on == "link" else link, G)
    torch.testing.assert_close(terms.loss, base(batch).loss + 3 * psi)
    torch.testing.assert_close(terms.metrics["dependence"], psi.expand(5))


def test_counts_carry_their_exposure():
    target, exposure = OUTCOMES["poisson"]
    batch, penalty = Outcomes(Y, target, exposure), DistanceCovariance()
    base = OutcomeLoss(family="poisson")
    mean = exposure * Y.exp()
    torch.testing.assert_close(base(batch).loss, mean - target * mean.log())
    terms = Regularised(base=base, penalty=penalty, strength=1.0, on="count")(batch, G)
    torch.testing.assert_close(terms.metrics["dependence"][0], penalty(mean, G))
    with pytest.raises(IncompatibleError, match="has no exposure"):
        OutcomeLoss(family="binary")(batch)
    with pytest.raises(ParameterError, match="on='count' does not go with family 'squared'"):
        OutcomeLoss(family="squared").prediction(Outcomes(Y, target), "count")


def test_a_rate_that_rounds_to_zero_has_a_finite_loss_and_slope():
    output = torch.tensor([-2000.0, -800.0, 0.0], requires_grad=True)
    exposure = torch.tensor([1.0, 0.5, 2.0])
    batch = Outcomes(output, torch.tensor([0.0, 3.0, 1.0]), exposure)
    loss = OutcomeLoss(family="poisson")(batch).loss
    assert loss.tolist() == pytest.approx([0.0, 3 * (800 + np.log(2)), 2 - np.log(2)], rel=1e-6)
    loss.sum().backward()
    assert output.grad.tolist() == pytest.approx([0.0, -3.0, 1.0])


def test_classes_are_penalised_as_vectors():
    logits = torch.stack([Y, Y.flip(0), 0 * Y], 1).requires_grad_()
    batch = Outcomes(logits, torch.tensor([0, 1, 2, 1, 0]))
    base, penalty = OutcomeLoss(family="multiclass"), DistanceCovariance(estimator="v")
    terms = Regularised(base=base, penalty=penalty, strength=2.0)(batch, G)
    torch.testing.assert_close(
        terms.metrics["dependence"][0], penalty(logits.softmax(1), G).detach()
    )
    (slope,) = torch.autograd.grad(terms.loss.mean(), logits)
    assert slope.isfinite().all()


def test_rewards_of_pairs():
    scores = PairScores(Y, Y.flip(0), kind="reward")
    penalty = DistanceCovariance()
    for on, yhat, group in [
        ("link", Y - Y.flip(0), G),
        ("rate", (Y - Y.flip(0)).sigmoid(), G),
        ("reward", torch.cat([Y, Y.flip(0)]), torch.cat([G, G])),
    ]:
        objective = Regularised(base=BradleyTerry(), penalty=penalty, strength=2.0, on=on)
        for given in (G, [G], Attributes.of(G)):
            terms = objective(scores, given)
            wanted = BradleyTerry()(scores).loss + 2 * penalty(yhat, group)
            torch.testing.assert_close(terms.loss, wanted)
        assert "rewards/accuracies" in terms.metrics


def test_encoding():
    frame = {"race": ["a", "b", "c", "a"], "sex": ["m", "f", "f", "m"], "age": [20, 60, 40, 30]}
    race, sex, age = AttributeEncoder().fit(frame).transform(frame)
    assert race.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert sex[:, 0].tolist() == [1, 0, 0, 1]
    assert age[:, 0].tolist() == [0, 1, 0.5, 0.25]
    for block in AttributeEncoder(scale="unit").fit(frame).transform(frame):
        assert np.linalg.norm(block[:, None] - block[None], axis=-1).mean() == pytest.approx(1)
    with pytest.raises(DataError, match="'race', row 1: category 'd' was not seen"):
        AttributeEncoder().fit(frame).transform({**frame, "race": ["a", "d", "c", "a"]})
    with pytest.raises(DataError, match="'age', row 2: a value is missing"):
        AttributeEncoder().fit({**frame, "age": [20.0, 30.0, float("nan"), 5.0]})
    with pytest.raises(DataError, match="sensitive columns \\['sex'\\] are missing"):
        AttributeEncoder().fit(frame).transform({"race": ["a"], "age": [20]})


def test_strength_table():
    divergence = {0: 0.030, 10: 0.008, 20: 0.004, 40: 0.0016, 80: 0.0008}
    score = {0: 0.1192, 10: 0.1197, 20: 0.1202, 40: 0.1208, 80: 0.1250}
    noise = [-1e-4, 0.0, 1e-4]
    table = StrengthTable.measure(
        lambda s, seed: (score[s] + noise[seed], divergence[s], 0.0), divergence, range(3)
    )
    assert table.lambda_for_target(0.002) == 40
    assert table.elbow() == 20
    assert [row.strength for row in table.pareto()] == [0, 10, 20, 40, 80]
    assert table.rows[0].score_se == pytest.approx(1e-4 / 3**0.5)
    with pytest.raises(DataError, match=r"no strength reaches .* lowest is 0.0008"):
        table.lambda_for_target(1e-4)
    beaten = StrengthTable.measure(lambda s, _: (1 + s, 1 + s, 0.0), [0, 1], [0])
    assert [row.strength for row in beaten.pareto()] == [0]


def test_one_row_has_no_dependence():
    for weighting in ("weighted", "unweighted"):
        assert between_group_share([0.3], ["a"], weighting=weighting) == 0
    assert jensen_shannon([0.3], ["a"]) == 0
    assert between_group_share([0.3, 0.4], ["a", "a"], weighting="unweighted") == 0


def test_cells_and_their_sizes():
    with pytest.warns(DataQualityWarning, match=r"1 of 2 cells .* b × y \(3\)"):
        names, sizes = intersection_cells({"u": "a" * 12 + "bbb", "v": "x" * 12 + "yyy"})
    assert sizes == {"b × y": 3, "a × x": 12}
    assert names[0] == "a × x"
    with pytest.raises(DataError, match="equal length"):
        intersection_cells({"u": "ab", "v": "a"})


@pytest.mark.parametrize("form", ["frame", "dict", "series", "list", "array", "absent cell"])
@pytest.mark.parametrize("several", [True, False])
def test_frame_equals_fairlearn(form, several):
    metrics = pytest.importorskip("fairlearn.metrics")
    import pandas as pd

    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 60), rng.random(60)
    table = pd.DataFrame({"sex": rng.choice(["f", "m"], 60), "race": rng.choice(["a", "b"], 60)})
    if form == "absent cell":
        table.loc[table.sex == "f", "race"] = "a"
    sensitive = {
        "dict": {name: table[name].to_list() for name in table},
        "series": table.sex,
        "list": table.sex.to_list(),
        "array": table.to_numpy(),
    }.get(form, table)
    functions = {"brier": lambda t, s: np.mean((t - s) ** 2), "mean": lambda t, s: np.mean(s)}
    chosen = functions if several else functions["mean"]
    given = {"metrics": chosen, "y_true": y, "y_pred": p, "sensitive_features": sensitive}
    ours, theirs = CellFrame(**given), metrics.MetricFrame(**given)

    def same(one, other):
        assert np.allclose(np.array(one, float), np.array(other, float), equal_nan=True)

    same(ours.overall, theirs.overall)
    same(ours.by_group, theirs.by_group)
    assert list(ours.by_group.index) == list(theirs.by_group.index)
    assert list(ours.by_group.index.names) == list(theirs.by_group.index.names)
    assert ours.sensitive_levels == theirs.sensitive_levels
    assert ours.counts.sum() == 60
    if form == "absent cell":
        assert ours.counts[("f", "b")] == 0
    for name in ("group_min", "group_max"):
        same(getattr(ours, name)(), getattr(theirs, name)())
    for name in ("difference", "ratio"):
        for method in ("between_groups", "to_overall"):
            same(getattr(ours, name)(method), getattr(theirs, name)(method=method))


def test_frame_passes_weights_and_says_what_is_wrong():
    def weighted(t, s, sample_weight):
        return float(np.average(s, weights=sample_weight))

    given = {"y_true": [0, 1, 1], "y_pred": [0.0, 1.0, 3.0], "sensitive_features": ["a", "b", "b"]}
    frame = CellFrame(metrics=weighted, sample_params={"sample_weight": [1, 1, 3]}, **given)
    assert frame.by_group["b"] == 2.5
    several = CellFrame(
        metrics={"w": weighted}, sample_params={"w": {"sample_weight": [1, 3, 1]}}, **given
    )
    assert several.by_group.loc["b", "w"] == 1.5
    with pytest.raises(ParameterError, match=r"sample_params name no metric: \['x'\]"):
        CellFrame(metrics={"w": weighted}, sample_params={"x": {}}, **given)
    with pytest.raises(ParameterError, match="method must be one of 'between_groups'"):
        frame.difference("worst")
    with pytest.raises(DataError, match=r"\[2, 3\] rows"):
        CellFrame(metrics=weighted, **{**given, "y_pred": [0.0, 1.0]})
    with pytest.raises(DataError, match="'sex' has missing values"):
        CellFrame(metrics=weighted, **{**given, "sensitive_features": {"sex": ["a", None, "b"]}})


def test_independence_tests_keep_their_level_and_see_xor():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 200))
    noise = rng.normal(size=200)
    xor = (a ^ b) + 0.5 * noise
    assert independence_test(xor, [a, b]).p_value < 0.01
    assert independence_test(xor, [a]).p_value > 0.05
    permuted = independence_test(xor, [a, b], method="permutation", n_permutations=99)
    assert permuted.p_value == pytest.approx(0.01)
    fresh = [
        independence_test(
            rng.normal(size=40), [a[:40]], method="permutation", n_permutations=39
        ).p_value
        for _ in range(40)
    ]
    assert np.mean(np.array(fresh) <= 0.1) < 0.25
    with pytest.raises(ParameterError, match="chi-square test is for"):
        independence_test(xor, [a, b], measure="jdcov")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jensen_shannon([0.1, 0.2], "ab", bandwidth=0.0), "bandwidth must be"),
        (lambda: jensen_shannon([0.1, 0.2], "ab", grid=10), "grid must be an integer >= 50"),
        (lambda: jensen_shannon([0.1, 0.2], "ab", weights="n"), "weights must be one of"),
        (lambda: jensen_shannon([0.1], "ab"), "must be equal"),
        (lambda: jensen_shannon([0.1, float("nan")], "ab"), "output of row 1 is not finite"),
        (lambda: jensen_shannon([0.0, 333.3, 1e6], "aba", bandwidth=1e-3), "too narrow"),
        (lambda: ranked_probability_score([], []), r"must be equal, \(n,\), n >= 1"),
        (lambda: ranked_probability_score([0, -1], [0.5, 0.5]), "row 1 is not"),
        (lambda: ranked_probability_score([0, float("nan")], [0.5, 0.5]), "row 1 is not"),
        (lambda: ranked_probability_score([11], [0.5]), "max_count is 10"),
        (lambda: ranked_probability_score([1], [1.5], kind="binary"), r"must be in \[0, 1\]"),
        (lambda: shannon_divergence([[0.5, 0.6]]), "sum to 1"),
    ],
)
def test_audit_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
