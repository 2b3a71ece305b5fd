"""The classifier with a head for each domain keeps scikit-learn's contract, and its own."""

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from pluralign import DataError, DataQualityWarning, ParameterError
from pluralign.learn.domains import DomainEnsembleClassifier
from pluralign.steer.domain_sessions import Adaptation
from pluralign.steer.domain_weights import DomainWeights


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([DomainEnsembleClassifier(max_epochs=30, learning_rate=0.05)])
def test_scikit_learn(estimator, check):
    check(estimator)


def world(seed=0, n=600):
    """Two domains that label by opposite coordinates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * 2
    domain = np.repeat(["north", "south"], n // 2)
    y = np.where(domain == "north", x[:, 0] > 0, x[:, 1] > 0)
    return x, np.where(y, "yes", "no"), domain


def test_each_domain_is_served_by_its_own_head_and_weights_follow_the_batch():
    x, y, domain = world()
    model = DomainEnsembleClassifier(random_state=0).fit(x, y, domain=domain)
    fresh, labels, where = world(seed=1)
    heads = model.head_probabilities(fresh).argmax(-1)
    for i, name in enumerate(model.domains_):
        rows = where == name
        assert (model.classes_[heads[i, rows]] == labels[rows]).mean() > 0.95
        assert (model.classes_[heads[-1, rows]] == labels[rows]).mean() < 0.9
    assert model.steered(fresh).weights.shape == (600, 2)
    assert model.prototypes_.shape == (2, 3)
    again = DomainEnsembleClassifier(random_state=0).fit(x, y, domain=domain)
    np.testing.assert_array_equal(again.predict_proba(fresh), model.predict_proba(fresh))
    session = model.session(Adaptation(threshold=0.8))
    found = session(model.features(fresh[:300]))
    np.testing.assert_allclose(
        found.probabilities.numpy(), model.predict_proba(fresh[:300]), rtol=1e-12
    )


@pytest.mark.parametrize("measure", ["entropy", "prototype", "cosine", "uniform"])
def test_every_measure(measure):
    x, y, domain = world()
    x = x + (domain == "south")[:, None] * 4
    weights = DomainWeights(measure=measure, gamma=5.0)
    model = DomainEnsembleClassifier(weights=weights, max_epochs=20, random_state=0)
    model.fit(x, y, domain=domain)
    for i, name in enumerate(model.domains_):
        found = model.steered(x[domain == name]).weights[0]
        if measure in ("prototype", "cosine"):
            assert found.argmax() == i
            assert found[i] > 0.9
        if measure == "uniform":
            assert found.tolist() == [0.5, 0.5]


def test_rows_of_known_domains_listen_to_their_own_heads():
    x, y, domain = world()
    model = DomainEnsembleClassifier(max_epochs=30, random_state=0).fit(x, y, domain=domain)
    mixed = np.random.default_rng(0).permutation(600)[:50]
    found = model.predict_proba(x[mixed], domain=domain[mixed])
    heads = model.head_probabilities(x[mixed])
    for row, name in enumerate(domain[mixed]):
        np.testing.assert_array_equal(found[row], heads[int(name == "south"), row])
    assert (model.predict(x[mixed], domain=domain[mixed]) == y[mixed]).mean() > 0.9
    with pytest.raises(DataError, match=r"domain 'west' was not fitted \(1 unknown\); known are"):
        model.predict(x[:2], domain=["north", "west"])
    with pytest.raises(DataError, match=r"shape \(2,\); got \(1,\)"):
        model.predict(x[:2], domain=["north"])
    plain = DomainEnsembleClassifier(max_epochs=1).fit(x, y)
    with pytest.raises(DataError, match="was not fitted"):
        plain.predict(x[:1], domain=["north"])


def test_sums_and_batches():
    x, y, domain = world()
    model = DomainEnsembleClassifier(max_epochs=3, random_state=0).fit(x, y, domain=domain)
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1.0)
    assert not np.allclose(model.predict_proba(x[:50]), model.predict_proba(x)[:50], rtol=1e-9)
    plain = DomainEnsembleClassifier(max_epochs=3, random_state=0).fit(x, y)
    np.testing.assert_allclose(plain.predict_proba(x[:50]), plain.predict_proba(x)[:50])


def test_bad_input():
    x, y, domain = world(n=40)
    with pytest.raises(DataError, match="domain has one value, 'a'"):
        DomainEnsembleClassifier().fit(x, y, domain=["a"] * 40)
    with pytest.raises(DataError, match=r"domain must have shape \(40,\)"):
        DomainEnsembleClassifier().fit(x, y, domain=["a", "b"])
    with pytest.raises(ParameterError, match="own_weight must be"):
        DomainEnsembleClassifier(own_weight=0.0).fit(x, y, domain=domain)
    with pytest.raises(ParameterError, match="fitted without domain"):
        DomainEnsembleClassifier(max_epochs=1).fit(x, y).steered(x)
    y[domain == "north"] = "yes"
    with pytest.warns(DataQualityWarning, match="'north' has no row of class 'no'"):
        DomainEnsembleClassifier(max_epochs=1).fit(x, y, domain=domain)
    assert torch.get_default_dtype() == torch.float32
