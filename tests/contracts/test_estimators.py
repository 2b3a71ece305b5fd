"""What every estimator of the catalogue promises: scikit-learn's contract, and ours."""

import importlib

import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from pluralign import ParameterError, catalog


def made(part, example):
    package, _, name = part.name.rpartition(".")
    return getattr(importlib.import_module(f"pluralign.{package}"), name)(**example)


LISTED = [made(part, example) for part in catalog.parts("estimator") for example in part.examples]
REGULARISED = [model for model in LISTED if "strength" in model.get_params()]
EVERY = pytest.mark.parametrize("model", REGULARISED, ids=repr)


@pytest.mark.filterwarnings("ignore")  # the checks feed constant and tiny data on purpose
@parametrize_with_checks(LISTED)
def test_scikit_learn(estimator, check):
    check(estimator)


def rows(model, n=160, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 3))
    features[:, 0] += 1.5 * group
    signal = features[:, 0] + 0.5 * features[:, 1]
    counts = rng.poisson(np.exp(0.3 * signal))
    if not is_regressor(model):
        return features, signal > np.median(signal), group
    poisson = model.get_params()["loss"] == "poisson"
    return features, counts if poisson else signal, group


def prepared(model, **changes):
    return clone(model).set_params(**{"max_epochs": 30, "random_state": 0, **changes})


def predicted(model, features):
    return model.predict(features) if is_regressor(model) else model.predict_proba(features)[:, 1]


@EVERY
def test_no_strength_is_the_plain_estimator(model):
    features, target, group = rows(model)
    plain = prepared(model, strength=0.0).fit(features, target)
    given = prepared(model, strength=0.0).fit(features, target, sensitive_features={"g": group})
    assert np.array_equal(predicted(plain, features), predicted(given, features))


@EVERY
def test_strength_lowers_the_gap_of_groups_that_predict_never_sees(model):
    features, target, group = rows(model)

    def gap(strength):
        fitted = prepared(model, strength=strength, normalise=True, max_epochs=80)
        fitted.fit(features, target, sensitive_features={"g": group})
        found = predicted(fitted, features)
        return abs(found[group == 1].mean() - found[group == 0].mean()) / found.std()

    assert gap(20.0) < 0.3 * gap(0.0)


@EVERY
def test_strength_without_attributes_is_refused(model):
    features, target, _ = rows(model)
    with pytest.raises(ParameterError, match="sensitive_features"):
        prepared(model, strength=1.0).fit(features, target)


@EVERY
def test_the_same_seed_gives_the_same_model(model):
    features, target, group = rows(model)
    one, other = (
        predicted(
            prepared(model, strength=1.0, batch_size=50, dropout=0.1).fit(
                features, target, sensitive_features={"g": group}
            ),
            features,
        )
        for _ in range(2)
    )
    assert np.array_equal(one, other)
