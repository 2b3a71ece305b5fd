"""What every metric of the catalogue promises, whatever it measures.

A method enrols by its catalogue entry; nothing here names one.
"""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from pluralign import DataError, Preferences, ScoredPairs, catalog
from pluralign.audit import GroupFrame, compare

LISTED = [(part, example) for part in catalog.parts("metric") for example in part.examples]
EVERY = pytest.mark.parametrize(
    ("part", "example"), LISTED, ids=[part.name.split(".")[-1] for part, _ in LISTED]
)


def made(part, example):
    package, _, name = part.name.partition(".")
    function = getattr(importlib.import_module(f"pluralign.{package}"), name)

    def metric(scored):
        return function(scored, **example)

    return metric


def scored(size=60, seed=0, groups=("n", "s", "o"), **columns):
    rng = np.random.default_rng(seed)
    pairs = Preferences(
        prompt=[f"p{i}" for i in range(size)],
        chosen=["a"] * size,
        rejected=["b"] * size,
        group=[groups[i % len(groups)] for i in range(size)],
        label_prob=rng.uniform(0.5, 1.0, size),
        **columns,
    )
    scores = rng.normal(-40, 8, (4, size))
    lengths = rng.integers(5, 30, (2, size))
    return ScoredPairs(
        pairs,
        chosen=scores[0],
        rejected=scores[1],
        ref_chosen=scores[2],
        ref_rejected=scores[3],
        chosen_length=lengths[0],
        rejected_length=lengths[1],
        beta=0.1,
    )


def test_the_catalogue_lists_a_metric():
    assert LISTED


@EVERY
def test_one_value_a_pair_and_no_mutation(part, example):
    pairs = scored()
    before = {name: getattr(pairs, name).copy() for name in pairs.arrays()}
    values = made(part, example)(pairs)
    assert values.shape == (60,)
    assert values.dtype == np.float64
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(pairs, name), array)


@EVERY
def test_rows_in_any_order(part, example):
    metric, pairs = made(part, example), scored()
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_array_equal(metric(pairs)[order], metric(pairs.select(order)))
    assert GroupFrame(metric, pairs) == GroupFrame(metric, pairs.select(order))


@EVERY
def test_empty_and_single_groups_appear_with_a_flag(part, example):
    pairs = scored(61, groups=("n", "s"))
    labels = ["one", *pairs.pairs.group[1:]]
    pairs = dataclasses.replace(pairs, pairs=pairs.pairs.with_columns(group=labels))
    frame = GroupFrame(made(part, example), pairs, levels=["nobody"])
    flags = {group.name: group.flag for group in frame.groups}
    assert flags == {"n": "", "s": "", "one": "single", "nobody": "empty"}
    assert {frame.worst().name, frame.best().name} <= {"n", "s"}


@EVERY
def test_one_group_is_overall(part, example):
    frame = GroupFrame(made(part, example), scored(groups=("n",)))
    assert dataclasses.replace(frame.group("n"), name="all") == frame.overall


@EVERY
def test_unusable_scores_are_left_out_and_counted(part, example):
    pairs = scored()
    pairs.chosen[[4, 11]] = np.nan, -np.inf
    values = made(part, example)(pairs)
    assert np.flatnonzero(np.isnan(values)).tolist() == [4, 11]
    frame = GroupFrame(made(part, example), pairs)
    assert (frame.overall.n, frame.overall.n_excluded) == (58, 2)
    assert sum(group.n for group in frame.groups) == 58
    used = values[np.isfinite(values)]
    assert frame.overall.value == pytest.approx(used.mean())
    pairs.chosen[:10] = np.nan
    with pytest.raises(DataError, match="not finite"):
        made(part, example)(pairs)


@EVERY
def test_json_round_trip(part, example):
    frame = GroupFrame(made(part, example), scored(), levels=["nobody"])
    record = json.loads(json.dumps(frame.to_json(), allow_nan=False))
    assert GroupFrame.from_json(record) == frame


@EVERY
def test_intervals_hold_the_value_and_narrow_with_size(part, example):
    metric = made(part, example)
    small, large = (GroupFrame(metric, scored(size)) for size in (60, 3000))
    for frame in (small, large):
        for estimate in (*frame.groups, frame.overall, frame.gap()):
            assert estimate.low <= estimate.value <= estimate.high
    width = [frame.overall.high - frame.overall.low for frame in (small, large)]
    assert width[1] == pytest.approx(width[0] / 50**0.5, rel=0.25)


@EVERY
def test_draws_depend_on_the_seed_alone(part, example):
    metric, pairs = made(part, example), scored()
    first, again, other = (GroupFrame(metric, pairs, seed=seed) for seed in (0, 0, 7))
    assert first == again
    assert first.gap().value == other.gap().value
    assert first != other


@EVERY
def test_a_model_compared_with_itself(part, example):
    frame = compare(made(part, example), scored(), scored())
    assert frame.overall.value == 0.0
    assert frame.gap().value == 0.0
