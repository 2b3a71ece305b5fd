"""``GroupFrame`` and ``compare``: values, edges, pairing, and what they refuse."""

import dataclasses
import functools
import json
import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from scipy.stats import t as student

from pluralign import (
    DataError,
    IncompatibleError,
    ParameterError,
    Preferences,
    ScoredPairs,
)
from pluralign.audit import GroupFrame, compare, implicit_margin, ranking_accuracy
from pluralign.audit.frames import group_labels, numbered
from pluralign.audit.intervals import mean_interval, paired_score, spread_interval


def scored(values, groups=None, **columns):
    """Pairs whose margin is ``values``."""
    size = len(values)
    pairs = Preferences(
        prompt=["p"] * size, chosen=["a"] * size, rejected=["b"] * size, group=groups, **columns
    )
    return ScoredPairs(pairs, chosen=np.asarray(values, dtype=float), rejected=np.zeros(size))


def margin(pairs):
    return pairs.chosen - pairs.rejected


def right(*shares, size=50):
    """0/1 outcomes as margins, one share of right pairs a group."""
    values = [1.0 if i < round(share * size) else -1.0 for share in shares for i in range(size)]
    return values, [f"g{k}" for k in range(len(shares)) for _ in range(size)]


def test_binary_metric_by_group():
    frame = GroupFrame(ranking_accuracy, scored(*right(0.8, 0.5, 0.9)))
    assert [(g.name, g.n, g.value) for g in frame.groups] == [
        ("g1", 50, 0.5),
        ("g0", 50, 0.8),
        ("g2", 50, 0.9),
    ]
    for group in frame.groups:
        exact = binomtest(round(group.value * 50), 50).proportion_ci(0.95, method="wilson")
        assert (group.low, group.high) == pytest.approx((exact.low, exact.high))
    assert (frame.worst().name, frame.best().name) == ("g1", "g2")
    assert frame.overall.value == pytest.approx(2.2 / 3)
    assert frame.gap().value == pytest.approx(0.4)
    assert 0 < frame.gap().low < 0.4 < frame.gap().high
    assert frame.ratio().value == pytest.approx(0.5 / 0.9)
    assert frame.ratio().low < 0.5 / 0.9 < frame.ratio().high < 1


def test_continuous_metric_uses_the_bootstrap():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 40), rng.normal(3, 2, 60)])
    frame = GroupFrame(margin, scored(values, ["n"] * 40 + ["s"] * 60))
    assert frame.to_json()["method"] == "bootstrap_t"
    for group, part in (("n", values[:40]), ("s", values[40:])):
        found = frame.group(group)
        error = part.std(ddof=1) / np.sqrt(len(part))
        assert found.value == pytest.approx(part.mean())
        assert found.standard_error == pytest.approx(error, rel=0.15)
        assert found.low == pytest.approx(part.mean() - 2 * error, abs=0.4 * error)
        assert found.high == pytest.approx(part.mean() + 2 * error, abs=0.4 * error)


def test_groups_of_size_zero_and_one_and_without_spread():
    values = [1.0, 2.0, 3.0, -9.0, 4.0, 4.0, np.nan]
    groups = ["n", "n", "n", "one", "same", "same", "lost"]
    frame = GroupFrame(margin, scored(values, groups), levels=["south", "n"])
    flags = {group.name: (group.n, group.flag, group.low is None) for group in frame.groups}
    assert flags == {
        "n": (3, "", False),
        "one": (1, "single", True),
        "same": (2, "constant", True),
        "lost": (0, "empty", True),
        "south": (0, "empty", True),
    }
    assert frame.group("lost").n_excluded == 1
    assert frame.group("south").n_excluded == 0
    assert frame.overall.n == 6
    assert frame.overall.n_excluded == 1
    # One pair does not make a worst-off group.
    assert (frame.worst().name, frame.best().name) == ("n", "same")
    assert [group.name for group in frame.groups][:1] == ["one"]
    assert [group.value for group in frame.groups[-2:]] == [None, None]


def test_only_single_pairs():
    frame = GroupFrame(margin, scored([1.0, 3.0], ["n", "s"]))
    assert (frame.worst().name, frame.best().name) == ("n", "s")
    assert (frame.gap().value, frame.gap().low) == (2.0, None)


def test_one_group_is_overall():
    for metric in (margin, ranking_accuracy):
        values = np.random.default_rng(1).normal(size=30)
        frame = GroupFrame(metric, scored(values, ["n"] * 30))
        group = dataclasses.replace(frame.group("n"), name="all")
        assert group == frame.overall
        assert frame.gap().value == 0.0


def test_rows_in_any_order():
    rng = np.random.default_rng(2)
    pairs = scored(rng.normal(size=90), list("nso" * 30), weight=rng.choice([0.0, 1.0, 2.0], 90))
    frame = GroupFrame(margin, pairs)
    assert GroupFrame(margin, pairs.select(rng.permutation(90))) == frame
    assert GroupFrame(margin, pairs, seed=1) != frame


def test_weights_count_as_repeats_and_zero_leaves_out():
    values, groups = [1.0, -1.0, 1.0, 1.0, -1.0, -1.0], list("nnnsss")
    weighted = GroupFrame(ranking_accuracy, scored(values, groups, weight=[3, 1, 0, 1, 1, 2]))
    assert weighted.group("n").value == 0.75
    assert (weighted.group("n").n, weighted.group("n").n_excluded) == (2, 1)
    assert weighted.overall.value == pytest.approx(4 / 8)
    equal = GroupFrame(ranking_accuracy, scored(values, groups, weight=[2.0] * 6))
    plain = GroupFrame(ranking_accuracy, scored(values, groups))
    assert equal.groups == plain.groups


def test_weighted_spread_matches_a_long_simulation():
    rng = np.random.default_rng(3)
    means = []
    for _ in range(4000):
        w, x = rng.choice([1.0, 4.0], 40), rng.normal(size=40)
        means.append(np.average(x, weights=w))
    w = np.resize([1.0, 4.0], 400)
    x = rng.normal(size=400)
    frame = GroupFrame(margin, scored(x, ["n"] * 400, weight=w))
    assert frame.overall.standard_error == pytest.approx(np.std(means) / 10**0.5, rel=0.1)


def test_slicing_by_any_column_and_by_intersections():
    pairs = Preferences(
        prompt=["p"] * 4,
        chosen=["a"] * 4,
        rejected=["b"] * 4,
        group=list("nnss"),
        annotator=list("xyxy"),
        domain=["d"] * 4,
        attributes={"age": np.array([30.0, 30.0, 41.5, 41.5])},
    )
    assert group_labels(pairs, "annotator") == list("xyxy")
    assert group_labels(pairs, "age") == ["30", "30", "41.5", "41.5"]
    crossed = group_labels(pairs, ("group", "annotator"))
    assert crossed == ["n × x", "n × y", "s × x", "s × y"]
    values = ScoredPairs(pairs, chosen=np.array([1.0, 2, 3, 4]), rejected=np.zeros(4))
    frame = GroupFrame(margin, values, by=["group", "domain"])
    assert frame.to_json()["by"] == "group × domain"
    assert [group.name for group in frame.groups] == ["n × d", "s × d"]


def test_labels_are_never_cut_or_rounded():
    """Long names, names that share a start, numbers that differ in their last digit."""
    long = "ü" * 5_000
    names = [long + "a", long + "b", "n", "n\0"]
    numbers = np.array([1234567.0, 1234568.0, 0.1234567, -0.5])
    data = scored([1.0, 2, 3, 4], names, attributes={"number": numbers})
    assert group_labels(data.pairs, "number") == ["1234567", "1234568", "0.1234567", "-0.5"]
    frame = GroupFrame(margin, data)
    assert {group.name: group.value for group in frame.groups} == dict(
        zip(names, [1.0, 2.0, 3.0, 4.0], strict=True)
    )


def test_one_long_name_costs_one_long_name():
    """An array of strings would take four bytes a letter in every row: 2 GB here."""
    size = 100_000
    labels = ["a", "b"] * (size // 2 - 1) + ["x" * 5_000, "a"]
    tracemalloc.start()
    names, index = numbered(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [names[place] for place in index.tolist()] == labels
    assert peak < 10e6


def test_missing_column_names_those_there_are():
    pairs = scored([1.0, 2.0], ["n", "s"], attributes={"age": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"no column 'region'.*\['group', 'age'\]"):
        GroupFrame(margin, pairs, by="region")
    with pytest.raises(DataError, match="at least one"):
        GroupFrame(margin, pairs, by=())


def test_json_round_trip_is_plain_and_independent():
    frame = GroupFrame(margin, scored([1.0, 2.0, 4.0, 7.0], list("nnss")), levels=["o"])
    record = json.loads(json.dumps(frame.to_json(), allow_nan=False))
    again = GroupFrame.from_json(record)
    assert again == frame
    assert repr(again) == repr(frame)
    frame.to_json()["groups"][0]["value"] = 99.0
    record["groups"][0]["value"] = 99.0
    assert again == frame
    keys = {"metric", "by", "confidence", "method", "seed", "overall", "groups", "worst", "best"}
    assert keys | {"gap", "ratio"} <= set(frame.to_json())
    with pytest.raises(DataError, match="lacks"):
        GroupFrame.from_json({"metric": "m"})


def test_printing_shows_every_group():
    text = repr(GroupFrame(margin, scored([1.0, 2.0, 4.0], ["north", "north", "s"]), levels=["o"]))
    assert text.splitlines()[0] == "margin by group"
    for part in ("north  n=2  1.500", "single", "empty", "all"):
        assert part in text


def test_group_that_is_not_there():
    frame = GroupFrame(margin, scored([1.0, 2.0], ["north", "south"]))
    with pytest.raises(DataError, match="did you mean 'north'"):
        frame.group("nort")


def test_ratio_is_safe_at_zero_and_below():
    zero = GroupFrame(ranking_accuracy, scored(*right(0.0, 0.5)))
    ratio = zero.ratio()
    assert ratio.value == ratio.low == 0.0
    assert 0 < ratio.high < 0.6
    nothing = GroupFrame(ranking_accuracy, scored(*right(0.0, 0.0)))
    assert nothing.ratio().value is None
    negative = GroupFrame(margin, scored([-1.0, -2.0, 3.0, 4.0], list("nnss")))
    assert negative.ratio().value is None
    assert negative.gap().value == 5.0


def test_options_out_of_range_are_listed_together():
    with pytest.raises(ParameterError) as error:
        GroupFrame(margin, scored([1.0], ["n"]), confidence=95, n_bootstrap=10, seed=-1)
    for name in ("confidence", "n_bootstrap", "seed"):
        assert f"Settings.{name}" in str(error.value)


def test_metrics_of_the_wrong_shape_or_infinite():
    pairs = scored([1.0, 2.0], ["n", "s"])
    with pytest.raises(IncompatibleError, match="one value a pair"):
        GroupFrame(lambda s: s.chosen[:1], pairs)
    with pytest.raises(DataError, match="infinite") as error:
        GroupFrame(lambda s: np.array([1.0, np.inf]), pairs)
    assert error.value.rows == (1,)
    with pytest.raises(DataError, match="no value"):
        GroupFrame(lambda s: np.full(2, np.nan), pairs)


def test_metric_names():
    pairs = scored([1.0, 2.0], ["n", "s"])
    named = functools.partial(ranking_accuracy, strict=True)
    assert GroupFrame(named, pairs).to_json()["metric"] == "ranking_accuracy(strict=True)"


# ------------------------------------------------------------------ comparisons


def test_comparison_is_paired_and_matched_by_id():
    rng = np.random.default_rng(4)
    base = rng.normal(0, 10, 80)
    a, b = scored(base + 1 + 0.1 * rng.normal(size=80), list("ns" * 40)), scored(base)
    frame = compare(margin, a, b)
    paired = (a.chosen - b.chosen).mean()
    assert frame.overall.value == pytest.approx(paired)
    assert frame.overall.high - frame.overall.low < 0.1  # the common spread cancels
    order = rng.permutation(80)
    assert compare(margin, a, b.select(order)) == frame
    assert frame.to_json()["metric"] == "margin (a minus b)"
    back = compare(margin, dataclasses.replace(a, chosen=b.chosen),
                   dataclasses.replace(b, chosen=a.chosen))  # fmt: skip
    assert back.overall.value == pytest.approx(-paired)


def test_comparison_of_shares_uses_the_score_interval():
    a, groups = right(0.8, 0.4)
    frame = compare(ranking_accuracy, scored(a, groups), scored([1.0] * 50 + [-1.0] * 50))
    assert frame.to_json()["method"] == "paired_score"
    low, high = paired_score(0, 10, 50)
    assert (frame.group("g0").low, frame.group("g0").high) == pytest.approx((low, high))
    assert (frame.worst().name, frame.worst().value) == ("g0", pytest.approx(-0.2))
    same = compare(ranking_accuracy, scored(a, groups), scored(a, groups))
    assert same.overall.value == 0.0
    assert same.overall.low < 0 < same.overall.high


def test_comparison_leaves_out_what_either_lacks():
    frame = compare(margin, scored([1.0, np.nan, 3.0], ["n"] * 3), scored([0.0, 0.0, np.nan]))
    assert (frame.overall.n, frame.overall.n_excluded) == (1, 2)


def test_comparison_of_other_pairs_is_refused():
    a = scored([1.0, 2.0], ["n", "n"])
    with pytest.raises(IncompatibleError, match=r"1 of the first.*0 of the second"):
        compare(margin, a, scored([1.0]))
    with pytest.raises(IncompatibleError, match=r"0 of the first.*1 of the second"):
        compare(margin, a, scored([1.0, 2.0, 3.0]))
    other = dataclasses.replace(a, pairs=a.pairs.with_columns(chosen=["a", "c"]))
    with pytest.raises(IncompatibleError, match="'1' has another chosen"):
        compare(margin, a, other)


# ------------------------------------------------------------------ intervals


@pytest.mark.parametrize(("gains", "losses", "n"), [(4, 1, 10), (12, 2, 50), (0, 3, 10), (0, 0, 8)])
def test_paired_score_inverts_the_test_with_the_nuisance_at_its_likeliest(gains, losses, n):
    def statistic(assumed):
        def loss(q):  # q: P(only second right); P(only first right) = q + assumed
            p = np.array([q + assumed, q, 1 - 2 * q - assumed]).clip(1e-300)
            return -(np.array([gains, losses, n - gains - losses]) * np.log(p)).sum()

        bounds = (max(0, -assumed) + 1e-12, (1 - assumed) / 2 - 1e-12)
        q = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (gains - losses - n * assumed) / np.sqrt(n * (2 * q + assumed * (1 - assumed)))

    low, high = paired_score(gains, losses, n)
    assert statistic(low) == pytest.approx(1.96, abs=2e-3)
    assert statistic(high) == pytest.approx(-1.96, abs=2e-3)
    mirrored = paired_score(losses, gains, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_interval_of_many_values_continues_that_of_fewer():
    """Above the size where resampling gives way to its expansion nothing jumps."""
    values = np.random.default_rng(5).exponential(size=5001)
    options = {"confidence": 0.95, "n_draws": 20_000}
    ends = [
        mean_interval(values[:size], None, "bootstrap_t", rng=np.random.default_rng(0), **options)
        for size in (5000, 5001)
    ]
    error = values.std() / np.sqrt(5000)
    for name in ("value", "low", "high"):  # an end is known to 0.03 errors from 20,000 draws
        assert getattr(ends[0], name) == pytest.approx(getattr(ends[1], name), abs=0.08 * error)
    # Skewed values: the upper end lies further from the mean than the lower.
    assert ends[1].high + ends[1].low > 2 * ends[1].value + 0.05 * error


def test_gap_of_equal_groups_reaches_down_to_zero():
    rng = np.random.default_rng(6)
    values = rng.normal(0, 1, 30)
    gap, low, high = spread_interval(values, rng.normal(values, 1, (4000, 30)))
    assert gap > 2.5
    assert low == 0.0
    assert high > gap


def test_gap_of_two_far_groups_is_their_difference():
    draws = np.random.default_rng(7).normal([0.0, 10.0], 1, (20_000, 2))
    gap, low, high = spread_interval(np.array([0.0, 10.0]), draws)
    assert gap == 10.0
    assert (low, high) == pytest.approx((10 - 1.96 * 2**0.5, 10 + 1.96 * 2**0.5), abs=0.1)


def test_margin_of_log_probabilities_by_group():
    frame = GroupFrame(implicit_margin, scored([1.0, 2.0, 3.0, 5.0], list("nnss")))
    assert frame.gap().value == 2.5


def test_groups_with_equal_data_are_drawn_apart():
    for metric, values in ((ranking_accuracy, right(0.6, 0.6)), (margin, ([1.0, 2, 4, 8] * 10,))):
        groups = values[1] if len(values) > 1 else ["n"] * 20 + ["s"] * 20
        gap = GroupFrame(metric, scored(values[0], groups)).gap()
        assert gap.value == gap.low == 0.0
        assert gap.high > 0.1


def test_few_values_have_students_interval():
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    found = mean_interval(
        values, None, "bootstrap_t", confidence=0.9, n_draws=200_000, rng=np.random.default_rng(0)
    )
    low, high = student.interval(0.9, 4, values.mean(), values.std(ddof=1) / 5**0.5)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05)
