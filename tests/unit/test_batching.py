"""Batches of similar length, budgets of tokens, and draws by group."""

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [language] extra")

from pluralign import DataError, ParameterError
from pluralign.learn import TrainingConfig
from pluralign.learn.batching import TrainBatches, batches_by_size, group_shares, train_batches
from pluralign.learn.rows import TokenRows

SIZES = np.random.default_rng(0).lognormal(5.0, 0.8, 400).astype(np.int64) + 1


def padded(batches, sizes):
    return sum(len(batch) * sizes[batch].max() for batch in batches)


def rows_of(groups, sizes=None):
    sizes = np.full(len(groups), 3) if sizes is None else sizes
    texts = [[np.zeros(n, np.int32)] for n in sizes]
    return TokenRows(texts, {"group": np.array(groups)})


@pytest.mark.parametrize("budget", [None, 900])
@pytest.mark.parametrize("by_length", [False, True])
def test_an_epoch_has_every_row_once_and_epochs_are_of_one_length(budget, by_length):
    batches = TrainBatches(SIZES, 7, batch_tokens=budget, by_length=by_length, seed=3)
    for epoch in range(4):
        batches.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(i for batch in found for i in batch) == list(range(400))


@pytest.mark.parametrize("budget", [None, 900])
def test_order_depends_on_seed_and_epoch_alone(budget):
    def made(seed, epoch):
        return [
            b.tolist()
            for b in TrainBatches(SIZES, 7, batch_tokens=budget, seed=seed).batches(epoch)
        ]

    np.random.seed(0)
    first = made(1, 2)
    np.random.seed(5)
    assert made(1, 2) == first
    assert made(1, 3) != first
    assert made(2, 2) != first


def test_similar_lengths_waste_less():
    random = TrainBatches(SIZES, 8, by_length=False).batches(1)
    grouped = TrainBatches(SIZES, 8).batches(1)
    assert padded(random, SIZES) > 1.6 * SIZES.sum()
    assert padded(grouped, SIZES) < 1.25 * SIZES.sum()
    assert padded(batches_by_size(SIZES, 8), SIZES) < 1.25 * SIZES.sum()


def test_batches_still_mix_lengths_over_an_epoch():
    means = [SIZES[batch].mean() for batch in TrainBatches(SIZES, 8).batches(1)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.5


def test_no_batch_is_over_its_budget_but_a_row_that_is():
    budget = int(np.quantile(SIZES, 0.95))
    found = TrainBatches(SIZES, 1, batch_tokens=budget).batches(0)
    held = np.array([SIZES[batch].sum() for batch in found])
    alone = np.array([len(batch) == 1 for batch in found])
    assert (held[~alone] <= budget).all()
    alone_by_need = np.count_nonzero(budget < SIZES)
    assert (held > budget).sum() == alone_by_need > 0


def test_the_longest_row_comes_first_in_the_first_epoch():
    for budget in (None, 900):
        batches = TrainBatches(SIZES, 7, batch_tokens=budget)
        assert SIZES[batches.batches(0)[0]].max() == SIZES.max()


GROUPS = [0] * 60 + [1] * 30 + [2] * 10


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("balanced", [34, 33, 33]),
        ({"c": 3.0}, [50, 25, 25]),
        ({"a": 0.0}, [0, 75, 25]),
        ({}, [60, 30, 10]),
    ],
)
def test_draws_by_group(asked, expected):
    shares = group_shares(rows_of(GROUPS), ["a", "b", "c"], asked)
    for epoch in range(3):
        drawn = shares.draw(np.random.default_rng(epoch))
        assert np.bincount(np.array(GROUPS)[drawn], minlength=3).tolist() == expected
        times = np.bincount(drawn, minlength=100)
        for number in range(3):  # within a group no row comes twice before all have come once
            own = times[np.array(GROUPS) == number]
            assert own.max() - own.min() <= 1


def test_epochs_draw_other_rows_of_a_large_group():
    shares = group_shares(rows_of(GROUPS), ["a", "b", "c"], "balanced")
    first, second = (shares.draw(np.random.default_rng(e)) for e in (0, 1))
    assert set(first) != set(second)


def test_groups_that_are_not_there_are_named():
    rows = rows_of(GROUPS)
    assert group_shares(rows, ["a", "b", "c"], "natural") is None
    with pytest.raises(ParameterError, match=r"names \['x'\]; the groups are \['a', 'b', 'c'\]"):
        group_shares(rows, ["a", "b", "c"], {"x": 1.0})
    with pytest.raises(ParameterError, match="every group weight 0"):
        group_shares(rows, ["a", "b", "c"], {"a": 0.0, "b": 0.0, "c": 0.0})
    with pytest.raises(DataError, match="needs pairs with a group"):
        group_shares(rows_of([-1, 0]), ["a"], "balanced")


def test_the_host_s_own_batches_unless_asked():
    rows = rows_of(GROUPS)
    assert train_batches(rows, ["a", "b", "c"], TrainingConfig()) is None
    by_length = TrainingConfig(train_sampling_strategy="group_by_length")
    assert len(train_batches(rows, [], by_length)) == 7
    tokens = TrainingConfig(per_device_train_batch_tokens=30)
    assert len(train_batches(rows, [], tokens)) == 10
    ordered = TrainingConfig(train_sampling_strategy="sequential", group_sampling={"a": 0.0})
    first = train_batches(rows, ["a", "b", "c"], ordered).batches(0)[0]
    assert first.tolist() == sorted(first.tolist())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"per_device_train_batch_tokens": 9, "train_sampling_strategy": "sequential"},
            "not of neighbours",
        ),
        ({"group_sampling": {"a": -1.0}}, "finite weights >= 0"),
        ({"group_sampling": "even"}, "group_sampling must be one of 'natural', 'balanced'"),
        ({"per_device_eval_batch_tokens": 0}, "must be None or an integer >= 1"),
    ],
)
def test_settings_that_cannot_be_meant(settings, words):
    with pytest.raises(ParameterError, match=words):
        TrainingConfig(**settings)
