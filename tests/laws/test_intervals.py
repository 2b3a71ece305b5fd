"""Intervals hold their level: simulated coverage of 95 % intervals, also for groups of 10."""

import zlib

import numpy as np
import pytest

from pluralign import Preferences, ScoredPairs
from pluralign.audit import GroupFrame, compare, ranking_accuracy
from pluralign.audit.intervals import _resampled_sums, mean_interval, spread_interval

DRAWS = 2000
TRUTH = {
    "normal": (lambda rng, n: rng.normal(1.0, 2.0, n), 1.0),
    "skewed": (lambda rng, n: rng.gamma(2.0, 1.0, n), 2.0),
    "two humps": (lambda rng, n: rng.normal(rng.choice([-1.0, 2.0], n), 1.0), 0.5),
    "heavy": (lambda rng, n: rng.standard_t(5, n), 0.0),
}


def rng_of(*parts):
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def covers(mean, truth):
    return mean.low <= truth <= mean.high


def interval(values, method, rng, n_draws=1000, weights=None):
    return mean_interval(values, weights, method, confidence=0.95, n_draws=n_draws, rng=rng)


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 25, 100])
@pytest.mark.parametrize("kind", TRUTH)
def test_coverage_of_means(kind, size):
    draw, truth = TRUTH[kind]
    rng = rng_of(kind, size)
    inside = [covers(interval(draw(rng, size), "bootstrap_t", rng), truth) for _ in range(DRAWS)]
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 50, 400])
def test_coverage_of_shares_on_average_over_truths(size):
    """For one true share the level of any interval of counts swings about 95 %."""
    rng = rng_of("shares", size)
    inside = []
    for truth in rng.uniform(0.3, 0.9, DRAWS):
        values = (rng.random(size) < truth).astype(float)
        inside.append(covers(interval(values, "wilson", rng, n_draws=10), truth))
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 50, 400])
def test_coverage_of_paired_differences_of_shares(size):
    rng = rng_of("paired", size)
    inside = []
    for _ in range(DRAWS):
        changed, first = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.8)
        shares = [changed * first, changed * (1 - first), 1 - changed]
        values = rng.choice([1.0, -1.0, 0.0], size, p=shares)
        truth = changed * (2 * first - 1)
        inside.append(covers(interval(values, "paired_score", rng, n_draws=10), truth))
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.slow
def test_coverage_of_weighted_means():
    rng = rng_of("weighted")
    inside = []
    for _ in range(DRAWS):
        weights = rng.choice([1.0, 3.0], 30)
        values = rng.normal(weights, 1.0)  # heavier pairs score higher
        truth = (1 * 1 + 3 * 3) / 4
        inside.append(covers(interval(values, "bootstrap_t", rng, weights=weights), truth))
    assert 0.93 <= np.mean(inside) <= 0.97


SETTINGS = {
    "two far": ([0.2, 0.9], [60, 60], 0.93),
    "two equal": ([0.6, 0.6], [60, 60], 0.93),
    "two close": ([0.60, 0.68], [60, 60], 0.90),
    "ladder": (np.linspace(0.4, 0.8, 6), [60] * 6, 0.93),
    "many equal": ([0.6] * 20, [40] * 20, 0.90),
    "uneven": (np.linspace(0.5, 0.7, 10), [10, 200] * 5, 0.93),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["wilson", "bootstrap_t"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_gap_covers_at_least_nearly_its_level(setting, method):
    """The search for the best and worst makes it conservative; it must never mislead."""
    truths, sizes, least = SETTINGS[setting]
    rng = rng_of(setting, method)
    inside = []
    for _ in range(500):
        means = []
        for truth, size in zip(truths, sizes, strict=True):
            noise = (rng.random(size) < truth) if method == "wilson" else rng.normal(truth, 1, size)
            means.append(interval(noise.astype(float), method, rng, n_draws=500))
        values = np.array([mean.value for mean in means])
        _, low, high = spread_interval(values, np.stack([m.draws for m in means], axis=1))
        inside.append(low <= np.ptp(truths) <= high)
    assert np.mean(inside) >= least


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["ladder", "many equal", "uneven"])
def test_gap_of_a_frame_covers(setting):
    """The same where the ends are those of the frame, which ranks by shrunken means."""
    truths, sizes, least = SETTINGS[setting]
    rng = rng_of(setting, "frame")
    names = np.repeat([f"g{i}" for i in range(len(sizes))], sizes).tolist()
    pairs = Preferences(
        prompt=["p"] * len(names),
        chosen=["a"] * len(names),
        rejected=["b"] * len(names),
        group=names,
    )
    inside = []
    for _ in range(400):
        right = (rng.random(len(names)) < np.repeat(truths, sizes)).astype(float)
        scored = ScoredPairs(pairs, chosen=right, rejected=np.full(len(names), 0.5))
        gap = GroupFrame(ranking_accuracy, scored, n_bootstrap=500).gap()
        inside.append(gap.low <= np.ptp(truths) <= gap.high)
    assert np.mean(inside) >= least


@pytest.mark.slow
def test_coverage_through_the_frames():
    """End to end: groups of 10 and 100, one model and two, a metric of real numbers."""
    rng = rng_of("frames")
    groups = ["few"] * 10 + ["many"] * 100
    truth = np.array([1.0] * 10 + [2.0] * 100)
    pairs = Preferences(prompt=["p"] * 110, chosen=["a"] * 110, rejected=["b"] * 110, group=groups)
    inside = []
    for _ in range(DRAWS):
        base = rng.normal(0, 3, 110)
        a = ScoredPairs(pairs, chosen=base + rng.normal(truth, 1.0), rejected=np.zeros(110))
        b = ScoredPairs(pairs, chosen=base, rejected=np.zeros(110))
        for frame in (
            compare(lambda s: s.chosen, a, b, n_bootstrap=500),
            GroupFrame(lambda s: s.chosen, a, n_bootstrap=500),
        ):
            few, many = frame.group("few"), frame.group("many")
            inside.append((few.low <= 1 <= few.high, many.low <= 2 <= many.high))
    coverage = np.mean(inside, axis=0)
    assert ((coverage >= 0.93) & (coverage <= 0.97)).all()


def test_coverage_of_a_mean_of_ten_quickly():
    """A short run of the above for every change; 400 draws tell 85 % from 95 %."""
    rng = rng_of("quick")
    inside = [
        covers(interval(rng.gamma(2.0, 1.0, 10), "bootstrap_t", rng, n_draws=400), 2.0)
        for _ in range(400)
    ]
    assert 0.91 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("weighted", [False, True])
def test_resampled_sums_are_those_of_the_rows_drawn(weighted):
    size, draws = 7, 30
    rng = rng_of("sums", weighted)
    x, w = rng.normal(size=size), rng.uniform(0.5, 2.0, size) if weighted else np.ones(size)
    found = _resampled_sums(x, w, draws, np.random.default_rng(1))
    rows = np.random.default_rng(1).integers(0, size, (draws, size), dtype=np.uint16)
    expected = [(part[rows]).sum(axis=1) for part in (w, w * x, w * w, w * w * x, (w * x) ** 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
