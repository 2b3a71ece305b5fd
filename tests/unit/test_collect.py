"""What a planner is told who asks for the impossible; what is bought and how it is weighted."""

import numpy as np
import pytest

from pluralign import DataError, DataQualityWarning, ParameterError, Preferences
from pluralign.collect import (
    Concave,
    Evaluation,
    GroupPool,
    Isoelastic,
    Maximin,
    PowerCurves,
    SamplingPlan,
    allocate,
    allocate_whole,
    fit_curve,
    heuristic,
)
from pluralign.collect.pool import inclusion_weights, pool_of
from pluralign.collect.welfare import ParityPenalised, objective_named

CURVES = PowerCurves([0.1, 0.2], [0.5, 0.9], 0.5, names=("north", "south"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": [1, 0]}, "cost must be finite and > 0; got 0.0 for group 'south'"),
        ({"cost": [-1, -2]}, "got -1.0 for group 'north', and 1 more groups"),
        ({"cost": [1, np.nan]}, "cost must be finite"),
        ({"cost": [1, 2, 3]}, r"one value for each of 2 groups; got shape \(3,\)"),
        ({"cost": ["a", "b"]}, "cost must hold numbers"),
        ({"budget": 0}, "budget must be > 0"),
        ({"budget": np.nan}, "budget must be a finite number"),
        ({"budget": -5.0}, "budget must be > 0; got -5.0"),
        ({"budget": np.inf}, "budget must be a finite number"),
        ({"budget": True}, "budget must be a finite number"),
        ({"weights": [0, 0]}, "weights must not all be 0"),
        ({"weights": [1, -1]}, "weights must be finite and >= 0; got -1.0 for group 'south'"),
        ({"held": [-1, 0]}, "held must be finite and >= 0"),
        ({"limit": [5, 5], "held": 9}, "limit must be at least what is held"),
        ({"best": np.nan}, "best must be finite"),
        ({"transfer": np.eye(3)}, r"transfer must have shape \(2, 2\)"),
        ({"transfer": [[1, 2], [0, 1]]}, r"transfer must lie in \[0, 1\]"),
        ({"transfer": [[1, 0], [0, 0.5]]}, "transfer must be 1 on the diagonal"),
    ],
)
@pytest.mark.parametrize("solve", [allocate, allocate_whole])
def test_bad_input_of_an_allocation(solve, options, message):
    if solve is allocate_whole and "transfer" in options:
        pytest.skip("whole samples know no transfer")
    with pytest.raises(ParameterError, match=message):
        solve(CURVES, **{"cost": 1, "budget": 100, **options})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": [-0.1, 0]}, "PowerCurves.a must be finite and >= 0; got -0.1 for group 'north'"),
        ({"b": [0.1, np.inf]}, "PowerCurves.b must be finite and >= 0; got inf for group 'south'"),
        ({"gamma": 0}, "PowerCurves.gamma must be finite and > 0"),
        ({"a": [0, 0, 0]}, "must have one length"),
    ],
)
def test_bad_curves(values, message):
    with pytest.raises(ParameterError, match=message):
        PowerCurves(**{"a": [0, 0], "b": [1, 1], "gamma": 1, "names": ("north", "south"), **values})


@pytest.mark.parametrize("eps", [1.0, 2.0])
def test_performance_that_cannot_be_positive_names_the_group(eps):
    hopeless = PowerCurves([0.1, 1.0], [0.5, 0.9], 0.5, names=("north", "south"))
    with pytest.raises(
        ParameterError, match=r"group 'south' cannot have a performance above 0.*shift"
    ):
        allocate(hopeless, cost=1, budget=100, objective=Isoelastic(eps=eps))
    assert (
        allocate(hopeless, cost=1, budget=100, best=1.5, objective=Isoelastic(eps=eps)).spent == 100
    )
    dear = PowerCurves(0.1, [0.5, 90.0], 0.5, names=("north", "south"))
    with pytest.raises(
        ParameterError, match=r"the budget is 100; group 'south' needs 10000 samples"
    ):
        allocate(dear, cost=1, budget=100, objective=Isoelastic(eps=eps))
    with pytest.raises(ParameterError, match="no allocation lifts group 'south'"):
        allocate(dear, cost=1, budget=100, objective=Isoelastic(eps=eps), transfer=np.eye(2))


def test_nothing_to_gain_leaves_the_budget_unspent():
    flat = PowerCurves([0.3, 0.2], 0.0, 0.5)
    for solve in (allocate, allocate_whole):
        with pytest.warns(DataQualityWarning, match="nothing is bought"):
            found = solve(flat, cost=1, budget=100, held=[3, 4])
        assert (found.counts.tolist(), found.spent) == ([3, 4], 0)
    with pytest.warns(DataQualityWarning, match="nothing is bought"):
        assert allocate(flat, cost=1, budget=10, transfer=np.eye(2)).spent == 0


def test_a_budget_below_the_cheapest_batch_buys_nothing():
    with pytest.warns(DataQualityWarning, match=r"smaller than the cheapest batch \(50\)"):
        found = allocate_whole(CURVES, cost=[5, 6], budget=49, held=20, batch=10)
    assert found.spent == 0
    assert found.bought.tolist() == [0, 0]


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": 1.5}, {"polish": -1}])
def test_bad_batches(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        allocate_whole(CURVES, cost=1, budget=10, **options)
    with pytest.raises(ParameterError, match="parity"):
        allocate_whole(CURVES, cost=1, budget=10, objective=ParityPenalised())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Isoelastic(eps=-0.1), r"Isoelastic.eps must be a finite number in \[0.0, 50.0\]"),
        (lambda: Isoelastic(eps=51), "use Maximin"),
        (lambda: ParityPenalised(kappa=-1), "ParityPenalised.kappa"),
        (lambda: Concave(name=3, u=np.log, slope=np.log), "Concave.name"),
        (lambda: objective_named("maximn"), "did you mean 'maximin'"),
        (lambda: objective_named("maximin", eps=1), "eps means nothing to objective 'maximin'"),
        (lambda: heuristic("equal", cost=1, budget=1), "heuristic is unknown"),
        (lambda: heuristic("equal_count", cost=[1, 0], budget=1), "cost must be finite"),
    ],
)
def test_bad_objectives_and_heuristics(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_objectives_by_name():
    assert objective_named("utilitarian") == Isoelastic(eps=0.0)
    assert objective_named("isoelastic") == Isoelastic(eps=1.0)
    assert objective_named("maximin") == Maximin()
    assert objective_named("parity", kappa=2.0) == ParityPenalised(kappa=2.0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (([10, 20, 0], [1, 1, 1]), "point 2 cannot be used"),
        (([10, 20, 30], [1, np.nan, 1]), "point 1 cannot be used"),
        (([10, 20, 30], [1, 1, 1], [0.1, 0.1, 0]), "point 2 cannot be used.* se 0"),
        (([10, 20], [1, 1, 1]), "must have one length"),
        (([], []), "must have one length > 0"),
    ],
)
def test_bad_points_of_a_curve(points, message):
    with pytest.raises(DataError, match=message):
        fit_curve(*points, name="north")


@pytest.mark.parametrize("bounds", [(0, 1), (1, 1), (2, 1), (0.1, np.inf)])
def test_bad_bounds(bounds):
    with pytest.raises(ParameterError, match="gamma_bounds"):
        fit_curve([1, 2, 3], [3, 2, 1], gamma_bounds=bounds)
    with pytest.raises(ParameterError, match="gamma_bounds"):
        SamplingPlan(groups=("a",), cost=1, budget=100, gamma_bounds=bounds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ("a", "a")}, r"groups must differ; \['a'\]"),
        ({"groups": "ab"}, "groups must be a list of names"),
        ({"groups": ("a", 3)}, "groups must be one or more names"),
        ({"groups": ()}, "groups must be one or more names"),
        ({"cost": {"a": 1}}, "cost has no value for group 'b'"),
        ({"cost": {"a": 1, "b": 1, "bb": 2}}, "cost names group 'bb'.*did you mean 'b'"),
        ({"pilot": 3}, "cannot identify the three parameters"),
        ({"pilot": 600}, "the pilot alone costs 1200, more than the budget of 1000"),
        ({"rounds": 0}, "SamplingPlan.rounds"),
        ({"explore_floor": 0.6}, r"explore_floor must be in \[0, 1/G\] = \[0, 0.5\]; got 0.6"),
        ({"explore_floor": -0.1}, "explore_floor"),
        ({"population": [0, 0]}, "population must not all be 0"),
        ({"weights": [1, np.nan]}, "weights must be finite"),
        ({"held": [0.5, 0]}, "held must be whole"),
        ({"available": [3, 100]}, r"held \+ available must be >= 4; got 3.0 for group 'a'"),
        ({"available": [np.nan, 100]}, "available must be >= 0"),
        ({"objective": "maximin"}, "objective must be an objective"),
        ({"rule": "best"}, "SamplingPlan.rule must be one of"),
        ({"transfer": [[1, 0], [0, 2]]}, "transfer must lie"),
        ({"budget": 0}, "budget must be > 0"),
        ({"cost": [1, -1]}, "got -1.0 for group 'b'"),
    ],
)
def test_bad_plans(options, message):
    with pytest.raises(ParameterError, match=message):
        SamplingPlan(**{"groups": ("a", "b"), "cost": 1, "budget": 1000, **options})


def test_too_many_rounds_warn():
    with pytest.warns(DataQualityWarning, match="less than 5% of the budget each"):
        SamplingPlan(groups=("a",), cost=1, budget=1000, rounds=21)


def test_what_a_plan_takes_for_granted():
    plan = SamplingPlan(groups=("a", "b"), cost=[1, 4], budget=10_000, held=[15, 3])
    assert plan.objective == Isoelastic(eps=1.0)
    assert plan.pilot_counts().tolist() == [35, 17]  # 1 % of an equal share, at least 20
    assert plan.weights == plan.population == (0.5, 0.5)
    many = SamplingPlan(groups=tuple(map(str, range(40))), cost=1, budget=10_000)
    assert many.explore_share == 0.5 / 40
    assert plan == SamplingPlan(
        groups=["a", "b"], cost={"b": 4, "a": 1}, budget=10_000, held=[15, 3]
    )
    assert plan.digest() != many.digest()


@pytest.mark.parametrize(
    "values", [{"n": 0}, {"loss": np.nan}, {"loss": "0.1"}, {"se": 0.0}, {"se": -1.0}, {"group": 3}]
)
def test_bad_evaluations(values):
    with pytest.raises(ParameterError, match=f"Evaluation.{next(iter(values))}"):
        Evaluation(**{"group": "a", "n": 10, "loss": 0.3, **values})


def test_purchases_are_nested_and_do_not_depend_on_other_groups():
    labels = np.random.default_rng(0).choice(["a", "b", "c"], 300)
    pool = GroupPool(labels, seed=3)
    small, large = pool.index({"a": 5, "b": 2}), pool.index({"a": 30, "b": 9})
    assert set(small) <= set(large)
    assert (labels[large] == ["a"] * 30 + ["b"] * 9).all()
    assert len(set(large)) == 39
    apart = GroupPool(["a" if x == "a" else "z" for x in labels], seed=3)
    assert apart.index({"a": 30}).tolist() == large[:30].tolist()
    assert GroupPool(labels, seed=4).index({"a": 30}).tolist() != large[:30].tolist()


def test_several_labels_of_one_row_are_named():
    with pytest.raises(
        DataError, match=r"2 of 4 rows.*row 1: has more than one group label"
    ) as found:
        GroupPool(["a", ["a", "b"], "b", None])
    assert found.value.rows == (1, 3)


@pytest.mark.parametrize(
    ("counts", "message"),
    [({"x": 1}, "has no group 'x'"), ({"a": 3}, "has 2 rows; 3 were asked"), ({"a": 0.5}, "has 2")],
)
def test_what_a_pool_does_not_have(counts, message):
    with pytest.raises(ParameterError, match=message):
        GroupPool(["a", "a", "b"]).index(counts)


def test_inclusion_weights_lead_back_to_the_population():
    rng = np.random.default_rng(1)
    labels = rng.choice(["a", "b", "c"], 6000, p=[0.7, 0.2, 0.1])
    value = np.select([labels == "a", labels == "b"], [1.0, 2.0], 5.0)
    pool = GroupPool(labels)
    counts = {"a": 100, "b": 200, "c": 300}
    rows, weights = pool.index(counts), pool.weights(counts, pool.sizes)
    assert weights.mean() == pytest.approx(1.0)
    assert np.average(value[rows], weights=weights) == pytest.approx(value.mean())
    assert abs(value[rows].mean() - value.mean()) > 1


def test_a_group_without_a_sample_cannot_be_weighted_up():
    with pytest.warns(DataQualityWarning, match=r"30\.0% of the population"):
        found = inclusion_weights([10, 0, 10], [0.3, 0.3, 0.4])
    assert found == pytest.approx([0.3 / 0.7 * 2, 0, 0.4 / 0.7 * 2])


def test_bought_pairs_keep_their_columns():
    rows = [
        {"prompt": f"p{i}", "chosen": "yes", "rejected": "no", "group": "ab"[i % 2], "score": i}
        for i in range(10)
    ]
    pairs = Preferences.from_records(rows, attributes=["score"])
    bought = pool_of(pairs, seed=1).pairs(pairs, {"a": 1, "b": 3})
    assert bought.group_sizes() == {"b": 3, "a": 1}
    assert bought.attributes["inclusion_weight"] == pytest.approx([2, *[2 / 3] * 3])
    assert [f"p{int(s)}" for s in bought.attributes["score"]] == list(bought.prompt)
    with pytest.raises(DataError, match="no pair is bought"):
        pool_of(pairs).pairs(pairs, {"a": 0})
    with pytest.raises(DataError, match="labels for 3 pairs"):
        pool_of(pairs).pairs(pairs.select([0, 1, 2]), {"a": 1})
    with pytest.raises(DataError, match="'group' column"):
        pool_of(pairs.with_columns(group=None))
