"""Laws of the drivers method: optimality on every point, invariances, what screens may see."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pluralign.datasets.market import make_market
from pluralign.learn.drivers import ChoiceDrivers, driver_report
from pluralign.learn.drivers.path import MultinomialLasso
from pluralign.learn.drivers.screening import inflation, screen

VECTORS = json.loads((Path(__file__).parents[1] / "oracles" / "drivers.json").read_text())
CASES = {case["name"]: case for case in VECTORS["cases"]}


def design(n=80, p=12, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) @ (np.eye(p) + 0.4 * rng.normal(size=(p, p)))
    scores = x[:, :3] @ rng.normal(size=(3, classes)) * 0.6 + rng.gumbel(size=(n, classes))
    codes = scores.argmax(1)
    codes[:classes] = np.arange(classes)
    return x, codes


def standardised(x, weights):
    share = weights / weights.sum()
    centred = x - share @ x
    return centred / np.sqrt(share @ centred**2)


def log_softmax(eta):
    eta = eta - eta.max(-1, keepdims=True)
    return eta - np.log(np.exp(eta).sum(-1, keepdims=True))


def violation(z, codes, intercept, table, lam, weights, factors, alpha, grouped):
    """Largest distance of 0 from the subdifferential, from the card's formulas."""
    share = weights / weights.sum()
    p = np.exp(log_softmax(z @ table.T + intercept))
    rest = share[:, None] * (p - np.eye(table.shape[0])[codes])
    gradient = rest.T @ z + lam * (1 - alpha) * factors * table
    limit = lam * alpha * factors
    if grouped:
        norm = np.sqrt((table**2).sum(0))
        at = gradient + limit * table / np.where(norm > 0, norm, 1)
        size = np.sqrt((at**2).sum(0))
        found = np.where(norm > 0, size, np.maximum(size - limit, 0))
    else:
        moved = np.abs(gradient + limit * np.sign(table))
        found = np.where(table != 0, moved, np.maximum(np.abs(gradient) - limit, 0))
    return max(float(found.max()), float(np.abs(rest.sum(0)).max()))


def objective(z, codes, intercept, table, lam, alpha=1.0):
    loss = -log_softmax(z @ table.T + intercept)[np.arange(len(codes)), codes].mean()
    return loss + lam * (alpha * np.abs(table).sum() + (1 - alpha) / 2 * (table**2).sum())


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(2, 5),
    st.sampled_from(["ungrouped", "grouped"]),
    st.sampled_from([1.0, 0.5, 0.1]),
    st.booleans(),
    st.booleans(),
)
def test_every_point_of_the_path_is_optimal(seed, classes, penalty, alpha, weighted, factored):
    x, codes = design(classes=classes, seed=seed)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 3.0, len(x)) if weighted else np.ones(len(x))
    factors = rng.choice([0.0, 0.5, 1.0, 2.0], x.shape[1]) if factored else np.ones(x.shape[1])
    factors[-1] = 1.0
    lasso = MultinomialLasso(penalty=penalty, alpha=alpha, n_lambdas=15, lambda_ratio=1e-2)
    path = lasso.path(x, codes, classes, weights=weights, factors=factors)
    z = standardised(x, weights)
    for lam, intercept, table in zip(path.lambdas, path.intercepts, path.tables, strict=True):
        options = lam, weights, factors, alpha, penalty == "grouped"
        assert violation(z, codes, intercept, table, *options) <= 1e-6 * lam
    assert np.abs(path.intercepts.sum(1)).max() < 1e-12


def test_every_point_of_a_whole_path_of_the_market_is_optimal():
    world = make_market(0)
    x = np.column_stack(list(world.columns.values()))
    path = MultinomialLasso().path(x, world.y, 3)
    ones, z = np.ones(len(x)), standardised(x, np.ones(len(x)))
    assert len(path.lambdas) > 60
    for lam, intercept, table in zip(path.lambdas, path.intercepts, path.tables, strict=True):
        options = lam, ones, np.ones(x.shape[1]), 1.0, False
        assert violation(z, world.y, intercept, table, *options) <= 1e-6 * lam


def test_a_wide_table_with_screened_columns_is_optimal():
    # Over the size from which columns are screened: what never came to the front must still hold.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6000))
    codes = (x[:, :3] @ rng.normal(size=(3, 3)) + rng.gumbel(size=(400, 3))).argmax(1)
    path = MultinomialLasso(n_lambdas=8, lambda_ratio=0.3).path(x, codes, 3)
    ones, z = np.ones(len(x)), standardised(x, np.ones(len(x)))
    for lam, intercept, table in zip(path.lambdas, path.intercepts, path.tables, strict=True):
        options = lam, ones, np.ones(x.shape[1]), 1.0, False
        assert violation(z, codes, intercept, table, *options) <= 1e-6 * lam


@pytest.mark.parametrize("name", ["ungrouped_path_three_lambdas", "elastic_net_half"])
def test_the_objective_is_not_above_the_vectors(name):
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    x, codes = np.array(inputs["X_standardised"]), np.array(inputs["y"])
    alpha = inputs.get("alpha", 1.0)
    fits = expected["fits"] if "fits" in expected else [{"lam": inputs["lam"], **expected}]
    for fit in fits:
        lasso = MultinomialLasso(alpha=alpha, tol=1e-10)
        path = lasso.path(x, codes, 3, lambdas=np.array([fit["lam"]]), scaled=np.zeros(4, bool))
        theirs = np.array(fit["coef_p_by_K"]).T, np.array(fit["intercept"])
        found = objective(x, codes, path.intercepts[0], path.tables[0], fit["lam"], alpha)
        # Means of the vectors' columns are 0 up to rounding.
        assert found <= objective(x, codes, theirs[1], theirs[0], fit["lam"], alpha) + 1e-9


@pytest.mark.parametrize("penalty", ["ungrouped", "grouped"])
def test_the_path_starts_where_the_first_column_enters(penalty):
    x, codes = design()
    lasso = MultinomialLasso(penalty=penalty)
    top = lasso.path(x, codes, 3).lambdas[0]
    at, below = (
        lasso.path(x, codes, 3, lambdas=np.array([top * share])).tables[0] for share in (1.0, 0.999)
    )
    assert not at.any()
    assert below.any()
    z, hits = standardised(x, np.ones(len(x))), np.eye(3)[codes]
    asked = z.T @ (hits - hits.mean(0)) / len(x)
    by_hand = np.abs(asked).max() if penalty == "ungrouped" else np.sqrt((asked**2).sum(1)).max()
    assert top == pytest.approx(by_hand, rel=1e-12)


def test_zero_is_a_median_and_the_path_explains_more_and_more():
    for classes in (2, 3, 4, 5):
        x, codes = design(classes=classes)
        path = MultinomialLasso().path(x, codes, classes)
        assert np.abs(np.median(path.tables, axis=1)).max() < 1e-12
        assert (np.diff(path.losses) <= 1e-12).all()
        assert not path.tables[0].any()


def test_two_classes_are_the_logistic_lasso_of_the_contrast():
    x, codes = design(classes=2, p=4)
    lam = 0.03
    path = MultinomialLasso(tol=1e-10).path(x, codes, 2, lambdas=np.array([lam]))
    contrast = path.tables[0, 1] - path.tables[0, 0]
    z, sign = standardised(x, np.ones(len(x))), 2 * codes - 1.0

    def logistic(parts):
        # Positive and negative parts, so that the penalty is smooth.
        slope = parts[1:5] - parts[5:]
        fall = np.logaddexp(0, -sign * (parts[0] + z @ slope))
        pull = -sign * np.exp(-sign * (parts[0] + z @ slope) - fall)
        gradient = np.concatenate([[pull.mean()], z.T @ pull / len(z), -z.T @ pull / len(z)])
        gradient[1:] += lam
        return fall.mean() + lam * parts[1:].sum(), gradient

    bounds = [(None, None)] + [(0, None)] * 8
    best = minimize(
        logistic, np.zeros(9), jac=True, bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    assert contrast == pytest.approx(best.x[1:5] - best.x[5:], abs=1e-5)


def fitted(columns, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ChoiceDrivers(rule="min", random_state=0, **options).fit(columns, y)


def small_market(seed=0):
    return make_market(seed, n_ancillary=8, n_noise=3)


def test_scale_and_shift_of_a_column_change_no_probability():
    world = small_market()
    changed = {**world.columns, "moop": 3.0 + 0.01 * world.columns["moop"]}
    one = fitted(world.columns, world.y).predict_proba(world.columns)
    assert fitted(changed, world.y).predict_proba(changed) == pytest.approx(one, abs=1e-6)


def test_a_repeated_column_changes_no_probability_and_keeps_its_effect():
    x, codes = design()
    lam = np.array([0.03])
    lasso = MultinomialLasso(tol=1e-9)
    one = lasso.path(x, codes, 3, lambdas=lam)
    twice = np.column_stack([x, x[:, 0]])
    two = lasso.path(twice, codes, 3, lambdas=lam)
    assert two.log_probabilities(twice) == pytest.approx(one.log_probabilities(x), abs=1e-6)
    assert two.tables[0][:, [0, -1]].sum(1) == pytest.approx(one.tables[0][:, 0], abs=1e-6)


@pytest.mark.parametrize("penalty", ["ungrouped", "grouped"])
def test_a_weight_of_two_is_a_row_twice(penalty):
    world = small_market()
    twice = np.arange(len(world.y)) % 3 == 0
    rows = np.concatenate([np.arange(len(world.y)), np.flatnonzero(twice)])
    more = {name: column[rows] for name, column in world.columns.items()}
    weighted = ChoiceDrivers(penalty=penalty, random_state=0).fit(
        world.columns, world.y, sample_weight=1.0 + twice
    )
    repeated = ChoiceDrivers(penalty=penalty, random_state=0).fit(more, world.y[rows])
    assert weighted.lambda_ == pytest.approx(repeated.lambda_, rel=1e-9)
    assert weighted.coef_ == pytest.approx(repeated.coef_, abs=1e-6)


def test_new_names_of_classes_permute_coefficients():
    x, codes = design()
    order = np.array([2, 0, 1])
    lam = np.array([0.02])
    one = MultinomialLasso().path(x, codes, 3, lambdas=lam).tables[0]
    other = MultinomialLasso().path(x, order[codes], 3, lambdas=lam).tables[0]
    assert other[order] == pytest.approx(one, abs=1e-6)


def test_folds_share_one_grid_and_the_rules_are_ordered():
    world = small_market()
    model = fitted(world.columns, world.y)
    assert model.curve_.folds.shape == (5, len(model.path_.lambdas))
    assert model.lambda_1se_ >= model.lambda_min_ == model.lambda_


def test_inflation_has_its_known_values_and_no_scale():
    r = 0.6
    assert inflation(np.eye(4)) == pytest.approx(np.ones(4))
    assert inflation(np.array([[1, r], [r, 1]])) == pytest.approx(1 / (1 - r**2))
    x = np.random.default_rng(0).normal(size=(60, 5))
    x[:, 3] += x[:, 0] + x[:, 1]
    names = list("abcde")
    plain, scaled = (screen(x * s, names, 1.5) for s in (1.0, np.array([1, 10, 0.1, -3, 7])))
    assert scaled.first == pytest.approx(plain.first)
    assert [one.name for one in scaled.dropped] == [one.name for one in plain.dropped]
    turned = screen(x[:, ::-1], names[::-1], 1.5)
    assert [one.name for one in turned.dropped] == [one.name for one in plain.dropped]


def test_a_sum_of_drivers_is_screened():
    world = make_market(0)
    rng = np.random.default_rng(0)
    total = world.columns["ppo"] + world.columns["drug"] + 0.05 * rng.normal(size=len(world.y))
    model = fitted({**world.columns, "total": total}, world.y)
    first = model.screen_.dropped[0]
    assert first.name == "total"
    assert first.partner in ("ppo", "drug")


def test_test_rows_leave_no_trace_in_what_is_fitted():
    world = small_market()
    one = driver_report(ChoiceDrivers(), world.columns, world.y, units=world.unit, n_subsamples=3)
    spoilt = {
        name: np.where(one.held_out, 100.0 - column, column)
        for name, column in world.columns.items()
    }
    other = driver_report(ChoiceDrivers(), spoilt, world.y, units=world.unit, n_subsamples=3)
    assert np.array_equal(one.model.coef_, other.model.coef_)
    assert np.array_equal(one.model.screen_.first, other.model.screen_.first)
    assert one.drivers == other.drivers
    assert one.tests != other.tests


def test_all_or_no_class_has_a_column_where_grouped():
    world = small_market()
    grouped = fitted(world.columns, world.y, penalty="grouped")
    entered = (grouped.path_.tables != 0).sum(1)
    assert set(np.unique(entered)) == {0, 3}
    single = fitted(world.columns, world.y)
    assert 1 in (single.path_.tables != 0).sum(1)


def test_a_factor_of_zero_is_never_held_back():
    world = small_market()
    model = fitted(world.columns, world.y, penalty_factors={"ppo": 0.0, "drug": 1e6})
    names = [column.name for column in model.columns_]
    assert model.path_.tables[0][:, names.index("ppo")].any()
    assert not model.path_.tables[:, :, names.index("drug")].any()


def test_only_numbers_are_scaled_if_asked():
    world = small_market()
    model = fitted(world.columns, world.y, standardize="numeric_only")
    names = [column.name for column in model.columns_]
    assert model.path_.scale[names.index("ppo")] == 1.0
    assert model.path_.scale[names.index("moop")] > 100
