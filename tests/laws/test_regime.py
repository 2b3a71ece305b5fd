"""The large-batch regime: covariance of increments, counts of updates, drift of weights."""

import numpy as np
import pytest
import torch
from torch import nn

from pluralign import DataError, IncompatibleError, ParameterError, TrainingConfig
from pluralign.audit.drift import fit_drift
from pluralign.learn.drift import DriftLog, WeightDistance
from pluralign.learn.regime import (
    adapt_config,
    adapt_schedule,
    epoch_multiplier,
    scale_learning_rate,
    updates,
)


def test_scaling_composes_and_keeps():
    assert scale_learning_rate(0.3, 64, 64) == 0.3
    for rule in ("sqrt", "linear", "none"):
        twice = scale_learning_rate(scale_learning_rate(0.1, 64, 32, rule), 4096, 64, rule)
        assert twice == pytest.approx(scale_learning_rate(0.1, 4096, 32, rule), rel=1e-14)
    assert scale_learning_rate(0.4, 32, 128) == pytest.approx(0.2)


def test_the_exact_rule_keeps_the_covariance_of_an_increment():
    """Draws without replacement: Cov(eta g) = eta^2 / M (N - M) / (N - 1) Sigma."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3)) + 1.0
    n, small, large = len(gradients), 6, 40
    rate = scale_learning_rate(0.1, large, small, "exact", n_examples=n)

    def covariance(size, eta, draws=40_000):
        order = rng.random((draws, n)).argsort(1)[:, :size]
        return np.cov(eta * gradients[order].mean(1), rowvar=False)

    one, two = covariance(small, 0.1), covariance(large, rate)
    centred = gradients - gradients.mean(0)
    sigma = centred.T @ centred / n
    np.testing.assert_allclose(one, 0.1**2 / small * (n - small) / (n - 1) * sigma, rtol=0.06)
    np.testing.assert_allclose(two, one, rtol=0.06)
    sqrt = covariance(large, scale_learning_rate(0.1, large, small))
    assert np.trace(sqrt) < 0.5 * np.trace(one)  # the plain rule is for batches far below N


@pytest.mark.parametrize(("batch", "reference"), [(1024, 32), (1000, 384), (100, 7)])
def test_adapted_regimes_keep_the_updates_within_a_batch_per_epoch(batch, reference):
    n, epochs = 5000, 3
    longer = epochs * epoch_multiplier(batch, reference)
    kept, wanted = updates(n, batch, longer), updates(n, reference, epochs)
    # ceil() of the multiplier adds at most one more pass for each reference epoch.
    assert wanted - longer <= kept <= wanted * (1 + reference / batch) + longer


def test_a_schedule_is_never_changed_in_place():
    schedule = {"0": {"lr": 0.1, "momentum": 0.9}, "5": {"lr": 0.01}}
    once = adapt_schedule(schedule, 64, 16)
    assert schedule["0"]["lr"] == 0.1
    assert once == adapt_schedule(schedule, 64, 16)
    assert once == {"0": {"lr": 0.2, "momentum": 0.9}, "20": {"lr": 0.02}}


def test_settings_of_the_language_trainer():
    config = TrainingConfig(
        learning_rate=1e-4,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        num_train_epochs=1.5,
    )
    adapted = adapt_config(config, n_pairs=800, reference_batch_size=8, n_devices=2)
    assert adapted.learning_rate == pytest.approx(1e-4 * 8**0.5)
    assert adapted.max_steps == 150
    fixed = adapt_config(adapted, n_pairs=800, reference_batch_size=64, n_devices=2)
    assert (fixed.learning_rate, fixed.max_steps) == (adapted.learning_rate, 150)
    budget = TrainingConfig(per_device_train_batch_tokens=4096)
    with pytest.raises(ParameterError, match="token budget have no fixed size"):
        adapt_config(budget, n_pairs=800, reference_batch_size=8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale_learning_rate(0.0, 8, 8), "learning_rate must be a finite number > 0.0"),
        (lambda: scale_learning_rate(0.1, 0, 8), "batch_size must be an integer >= 1; got 0"),
        (lambda: scale_learning_rate(0.1, 8, 2.5), "reference_batch_size must be an integer"),
        (lambda: scale_learning_rate(0.1, 8, 8, "cube"), "rule must be one of 'sqrt'"),
        (lambda: scale_learning_rate(0.1, 8, 4, "exact"), "needs n_examples"),
        (lambda: scale_learning_rate(0.1, 8, 4, "exact", n_examples=8), ">= 9; got 8"),
        (lambda: adapt_schedule({-1: {"lr": 1}}, 8, 4), "epoch must be an integer >= 0; got -1"),
        (lambda: updates(0, 8, 1), "n_examples must be an integer >= 1"),
    ],
)
def test_bad_regimes(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


def test_the_fit_tells_ultra_slow_from_ordinary_diffusion():
    t = np.unique(np.logspace(0, 4, 60).astype(int))
    fit = fit_drift(t, 2.0 + 1.5 * np.log(t))
    assert fit.log_intercept == pytest.approx(2.0)
    assert fit.log_slope == pytest.approx(1.5)
    assert fit.log_r2 == pytest.approx(1.0)
    walk = np.random.default_rng(0).normal(size=(10_000, 200)).cumsum(0)
    brownian = fit_drift(t, np.linalg.norm(walk, axis=1)[t - 1])
    assert abs(brownian.power_exponent - 0.5) < 0.05
    assert brownian.power_r2 > brownian.log_r2 + 0.1
    assert fit_drift([0, 1, 2, 3, 50], [0, 1, 2, 3, 9], before=10).n == 3


@pytest.mark.parametrize(
    ("step", "distance", "message"),
    [
        ([1, 2], [1.0, 2.0], "needs 3 distinct steps"),
        ([1, 2, 3], [1.0, 2.0], "equally long"),
        ([1, 2, 3], [1.0, float("nan"), 2.0], "finite"),
        ([1, 2, 3], [1.0, -1.0, 2.0], "negative"),
        ([0, 0.5, 3], [1.0, 1.0, 2.0], "got 1"),
    ],
)
def test_bad_drift(step, distance, message):
    with pytest.raises(DataError, match=message):
        fit_drift(step, distance)


def test_other_parameters_are_refused():
    measure = WeightDistance(nn.Linear(2, 2))
    with pytest.raises(IncompatibleError, match="not those of the start"):
        measure(nn.Linear(2, 3))
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ParameterError, match="no trainable parameter"):
        WeightDistance(frozen)


def test_a_resumed_training_without_its_start_is_refused(tmp_path):
    state = type("State", (), {"global_step": 3, "is_world_process_zero": True})()
    with pytest.raises(IncompatibleError, match="is missing"):
        DriftLog(tmp_path).on_train_begin(None, state, None, model=nn.Linear(2, 2))


def test_the_start_is_taken_up_again(tmp_path):
    state = type("State", (), {"global_step": 0, "is_world_process_zero": True})()
    model = nn.Linear(2, 1, bias=False)
    log = DriftLog(tmp_path)
    log.on_train_begin(None, state, None, model=model)
    with torch.no_grad():
        model.weight += torch.tensor([[3.0, 4.0]])
    state.global_step = 1
    log.on_step_end(None, state, None, model=model)
    again = DriftLog(tmp_path)
    again.on_train_begin(None, state, None, model=model)
    assert [row["step"] for row in again.rows] == [1]
    with torch.no_grad():
        model.weight += torch.tensor([[3.0, 4.0]])
    state.global_step = 2
    again.on_step_end(None, state, None, model=model)
    assert again.rows[-1]["distance"] == pytest.approx(10.0, rel=1e-6)
