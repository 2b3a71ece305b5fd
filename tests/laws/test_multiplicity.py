"""Many groups at once: false discoveries are held, and luck does not head the list.

Everything is simulated, so that what is true of each group is known.
"""

import zlib

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, ttest_ind
from scipy.stats import norm as normal

from pluralign import DataError, Preferences, ScoredPairs
from pluralign.audit import GroupFrame, compare, ranking_accuracy
from pluralign.audit.moments import moments
from pluralign.audit.multiplicity import benjamini_hochberg, group_tests
from pluralign.audit.shrinkage import shrink

SIZES = np.tile([8, 15, 40, 120], 10)
INDEX = np.repeat(np.arange(40), SIZES)


def rng_of(*parts):
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def scored(values, groups, **columns):
    size = len(values)
    pairs = Preferences(
        prompt=["p"] * size, chosen=["a"] * size, rejected=["b"] * size, group=groups, **columns
    )
    return ScoredPairs(pairs, chosen=np.asarray(values, dtype=float), rejected=np.full(size, 0.5))


def signs(rng, shift):
    gain, loss = (0.15 + shift / 2, 0.15 - shift / 2)
    draw = rng.random(len(shift))
    return np.where(draw < gain, 1.0, np.where(draw < gain + loss, -1.0, 0.0))


def shares(rng, shift):
    return (rng.random(len(shift)) < 0.8 + shift).astype(float)


WORLDS = {  # values, kind of interval, what is tested, shift of the groups that differ
    "shares": (shares, "wilson", "rest", 0.18),
    "normal": (lambda rng, s: rng.normal(s, 1), "bootstrap_t", "rest", 0.8),
    "skewed": (lambda rng, s: rng.gamma(2, 1, len(s)) + s, "bootstrap_t", "rest", 1.1),
    "paired shares": (signs, "paired_score", "zero", 0.25),
    "paired skewed": (lambda rng, s: rng.gamma(2, 1, len(s)) - 2 + s, "bootstrap_t", "zero", 1.1),
}


def discoveries(kind, n_true, repeats, level=0.1):
    """Share of false discoveries, power and the level of single tests at 1 %."""
    draw, method, against, size = WORLDS[kind]
    rng = rng_of(kind, n_true)
    shift = np.zeros(40)
    shift[40 - n_true :] = size * np.tile([1, 1, 1, 1, -1, -1, -1, -1], 5)[:n_true]
    false, power, single = [], [], []
    for _ in range(repeats):
        groups, rest = moments(draw(rng, shift[INDEX]), None, INDEX, 40)
        _, p, adjusted = group_tests(groups, rest, method, against)
        called = adjusted <= level
        false.append(called[: 40 - n_true].sum() / max(1, called.sum()))
        power.append(called[40 - n_true :].mean() if n_true else 0)
        single.append(np.nanmean(p[: 40 - n_true] < 0.01))
    return np.mean(false), np.mean(power), np.mean(single)


@pytest.mark.slow
@pytest.mark.parametrize("n_true", [0, 8])
@pytest.mark.parametrize("kind", WORLDS)
def test_false_discoveries_are_held(kind, n_true):
    """At 10 %: with 800 draws the standard error of the rate is about one point."""
    false, power, single = discoveries(kind, n_true, 800)
    assert false <= 0.1 + 0.025
    assert single <= 0.0125
    assert power >= 0.25 or not n_true


def test_false_discoveries_are_held_quickly():
    """Without adjusting, 40 equal groups give a discovery in most sets; with it, in few."""
    false, _, single = discoveries("normal", 0, 150)
    assert false <= 0.19
    assert 0.005 < single < 0.016


def truths_of(kind, spread, rng, size):
    if kind.startswith("share"):
        mean = {"shares": 0.7, "shares near one": 0.93}[kind]
        scale = mean * (1 - mean) / spread**2 - 1
        return rng.beta(mean * scale, (1 - mean) * scale, size)
    return rng.normal(0.05, spread, size)


def sample(kind, truth, rng):
    if kind.startswith("share"):
        return (rng.random(len(truth)) < truth).astype(float), "wilson"
    if kind == "paired shares":
        return signs(rng, np.clip(truth, -0.3, 0.3)), "paired_score"
    noise = rng.normal(size=len(truth)) if kind == "normal" else rng.gamma(2, 1, len(truth)) - 2
    return truth + noise, "bootstrap_t"


def coverage(kind, spread, n_groups, repeats):
    """Coverage over all groups and over those of 8, and mean squared errors with and without."""
    rng = rng_of(kind, spread, n_groups)
    sizes = np.resize([8, 20, 60, 200], n_groups)
    index = np.repeat(np.arange(n_groups), sizes)
    inside, error, plain = [], [], []
    for _ in range(repeats):
        truth = truths_of(kind, spread, rng, n_groups)
        truth = np.clip(truth, -0.3, 0.3) if kind == "paired shares" else truth
        values, method = sample(kind, truth[index], rng)
        groups, _ = moments(values, None, index, n_groups)
        found = shrink(groups, method, 1000, rng)
        low, high = np.quantile(found.draws, [0.025, 0.975], axis=0)
        inside.append((low <= truth) & (truth <= high))
        error.append((found.value - truth) ** 2)
        plain.append((groups.mean - truth) ** 2)
    inside = np.array(inside)
    return inside.mean(), inside[:, sizes == 8].mean(), np.mean(error), np.mean(plain)


CASES = [
    ("shares", 0.02),
    ("shares", 0.05),
    ("shares", 0.15),
    ("shares near one", 0.05),
    ("normal", 0.05),
    ("normal", 0.3),
    ("normal", 1.0),
    ("skewed", 0.3),
    ("paired shares", 0.1),
]


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [5, 10, 40])
@pytest.mark.parametrize(("kind", "spread"), CASES)
def test_shrunken_intervals_hold_their_level_on_average_over_groups(kind, spread, n_groups):
    """Above 95 % where the groups hardly differ: their spread is then known only from above."""
    overall, few, error, plain = coverage(kind, spread, n_groups, 12_000 // n_groups)
    assert 0.92 <= overall <= 0.99
    assert 0.89 <= few <= 1.0
    assert error < plain


def test_shrunken_intervals_hold_their_level_quickly():
    overall, few, error, plain = coverage("shares", 0.05, 40, 60)
    assert 0.92 <= overall <= 0.975
    assert 0.90 <= few <= 0.985
    assert error < 0.3 * plain  # most of the error of groups of 8 and 20 is luck


def heads(n_sets, seed=0):
    """How often a group of 8 heads 24 groups by its mean, by ``shrunk``, and in truth."""
    rng = np.random.default_rng(seed)
    sizes = np.array([8, 8, 8, 8] + [150] * 20)
    names = np.array([f"g{i:02d}" for i in range(24)])
    groups = np.repeat(names, sizes).tolist()
    by_mean, by_shrunk, in_truth, mean_of_head, true_of_head = 0, 0, 0, [], []
    for _ in range(n_sets):
        truth = rng.beta(70, 30, 24)  # 0.7, standard deviation 0.046
        values = (rng.random(sizes.sum()) < np.repeat(truth, sizes)).astype(float)
        frame = GroupFrame(ranking_accuracy, scored(values, groups), n_bootstrap=200)
        means = {g.name: g.value for g in frame.groups}
        small = set(names[:4])
        by_mean += min(means, key=means.get) in small
        by_shrunk += frame.worst().name in small
        in_truth += names[truth.argmin()] in small
        head = frame.shrunk()[0]
        mean_of_head.append(head.value)
        true_of_head.append(truth[names.tolist().index(head.name)])
    return by_mean / n_sets, by_shrunk / n_sets, in_truth / n_sets, mean_of_head, true_of_head


def test_a_lucky_group_of_eight_does_not_head_the_list():
    by_mean, by_shrunk, in_truth, said, true = heads(120)
    print(f"a group of 8 heads: mean {by_mean:.2f}, shrunk {by_shrunk:.2f}, truth {in_truth:.2f}")
    assert by_mean > 0.5
    assert by_shrunk < 0.08
    assert abs(np.mean(said) - np.mean(true)) < 0.012  # the head of the list is not too low


def test_equal_sizes_keep_the_order_of_the_means():
    rng = np.random.default_rng(1)
    groups = np.repeat([f"g{i}" for i in range(12)], 50).tolist()
    frame = GroupFrame(ranking_accuracy, scored(rng.random(600) < 0.7, groups))
    values = [group.value for group in frame.groups]
    assert values == sorted(values)
    shrunk = [group.value for group in frame.shrunk()]
    assert shrunk == sorted(shrunk)
    assert np.ptp(shrunk) < np.ptp(values)


def test_adjusted_p_values_equal_scipy():
    p = np.random.default_rng(2).random(50) ** 3
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))
    held = p.copy()
    held[[3, 7]] = np.nan
    kept = np.isfinite(held)
    assert benjamini_hochberg(held)[kept] == pytest.approx(false_discovery_control(p[kept]))
    assert np.isnan(benjamini_hochberg(held)[[3, 7]]).all()
    for wrong in ([0.5, 1.5], [-0.1], [[0.1]]):
        with pytest.raises(DataError, match="p_values"):
            benjamini_hochberg(wrong)


def test_p_values_agree_with_known_tests():
    """Sign test exactly; binomial test where the rest is huge; Welch's t without skewness."""
    rng = np.random.default_rng(3)
    values = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.5, 0.4])
    groups = np.repeat(["a", "b", "c"], 100).tolist()
    frame = compare(
        lambda s: s.chosen, scored(values, groups), scored(np.zeros(300), groups), n_bootstrap=100
    )
    for test in frame.adjusted():
        own = values[np.array(groups) == test.name]
        exact = binomtest(int((own > 0).sum()), int((own != 0).sum())).pvalue
        assert test.p_value == pytest.approx(exact)
        assert test.difference == pytest.approx(own.mean())

    right = np.concatenate([np.arange(20) < 11, np.arange(2_000_000) % 10 < 8]).astype(float)
    index = np.repeat([0, 1], [20, 2_000_000])
    _, p, _ = group_tests(*moments(right, None, index, 2), "wilson", "rest")
    one_sided = binomtest(11, 20, 0.8, alternative="less").pvalue
    assert p[0] == pytest.approx(2 * one_sided, rel=1e-3)

    half = rng.normal(0.2, 1, 30)
    even = np.concatenate([half, 0.4 - half])  # symmetric, so that nothing is to be unskewed
    other = rng.normal(0, 2, 40)
    other = np.concatenate([other, -other])
    index = np.repeat([0, 1], [60, 80])
    both = np.concatenate([even, other])
    _, p, _ = group_tests(*moments(both, None, index, 2), "bootstrap_t", "rest")
    assert p[0] == pytest.approx(ttest_ind(even, other, equal_var=False).pvalue, rel=1e-9)


def test_a_normal_hierarchy_of_known_variance_is_the_closed_form():
    """With 40 large groups the posterior is that of the textbook, up to what is estimated."""
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 0.3, 200)
    index = np.repeat(np.arange(200), 400)
    groups, _ = moments(rng.normal(np.repeat(truth, 400), 2.0), None, index, 200)
    found = shrink(groups, "bootstrap_t", 4000, rng)
    noise = 4.0 / 400
    weight = 0.09 / (0.09 + noise)
    exact = groups.mean.mean() + weight * (groups.mean - groups.mean.mean())
    assert np.abs(found.value - exact).max() < 0.02
    width = np.quantile(found.draws, 0.975, axis=0) - np.quantile(found.draws, 0.025, axis=0)
    known = 2 * normal.ppf(0.975) * np.sqrt(weight * noise)
    assert np.median(width) == pytest.approx(known, rel=0.04)


def test_edges():
    """Empty, single and constant groups, one group, and weights."""
    frame = GroupFrame(
        lambda s: s.chosen,
        scored([1.0, 2.0, 4.0, 0.5, 0.5, 9.0], list("aaabbc")),
        levels=["void"],
        n_bootstrap=200,
    )
    shrunk = {one.name: one for one in frame.shrunk()}
    tests = {one.name: one for one in frame.adjusted()}
    assert shrunk["void"].value is None
    assert (tests["void"].p_value, tests["c"].p_value, tests["b"].p_value) == (None, None, None)
    assert 0 < tests["a"].p_value < 1
    assert tests["a"].adjusted == tests["a"].p_value  # the only test
    assert shrunk["c"].low < shrunk["c"].value < 9.0
    alone = GroupFrame(lambda s: s.chosen, scored([1.0, 2.0, 4.0], list("aaa")))
    assert alone.adjusted()[0].p_value is None
    flat = GroupFrame(lambda s: s.chosen, scored([2.0] * 4, list("aabb")))
    assert [(one.value, one.low) for one in flat.shrunk()] == [(2.0, None)] * 2
    back = GroupFrame.from_json(frame.to_json())
    assert (back.shrunk(), back.adjusted()) == (frame.shrunk(), frame.adjusted())
    old = {key: item for key, item in frame.to_json().items() if key not in ("shrunk", "tests")}
    with pytest.raises(DataError, match="shrunk"):
        GroupFrame.from_json(old).shrunk()


def test_weights_count_by_their_effective_number():
    values, groups = [1.0, 1.0, 0.0, 1.0, 0.0] * 20, list("aabba") * 20
    plain = GroupFrame(ranking_accuracy, scored(values, groups))
    doubled = GroupFrame(ranking_accuracy, scored(values, groups, weight=[2.0] * 100))
    for first, second in zip(plain.shrunk(), doubled.shrunk(), strict=True):
        assert (first.value, first.low) == pytest.approx((second.value, second.low))
    for first, second in zip(plain.adjusted(), doubled.adjusted(), strict=True):
        assert first.p_value == pytest.approx(second.p_value)


def test_a_name_of_a_million_characters_costs_its_own_size():
    """Group names are not stored in an array as wide as the widest."""
    import tracemalloc

    groups = ["x" * 1_000_000, *(f"g{i % 50}" for i in range(4_999))]
    pairs = scored(np.arange(5_000) % 2, groups)
    tracemalloc.start()
    frame = GroupFrame(ranking_accuracy, pairs, n_bootstrap=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(frame.groups) == 51
    assert peak < 50_000_000  # 5,000 times a million characters would be 20 GB
