"""Packages, concepts and measures by hand, and both exact ways of solving against each other."""

import itertools
import json

import numpy as np
import pytest

from pluralign import DataError, DataQualityWarning, ParameterError
from pluralign.decide import (
    Decision,
    PackageProblem,
    compare,
    equal_shares,
    measures,
    solve,
    weights_from_rankings,
    weights_from_ratings,
)
from pluralign.decide.enumeration import EXACT_LIMIT, RANKINGS, all_designs
from pluralign.decide.measuring import gini, satisfaction
from pluralign.decide.search import Aim, search
from pluralign.decide.solver import Clock, best_by_program

STREET = {
    "values": [[3, 0, 1], [0, 2, 1]],
    "cost": [2, 2, 1],
    "budget": 3,
    "groups": ("seniors", "parents"),
    "items": ("ramp", "benches", "shade"),
}


def street(**changes):
    return PackageProblem(**{**STREET, **changes})


def drawn(seed, groups=4, items=12, share=0.35, **options):
    draw = np.random.default_rng(seed)
    values = draw.random((groups, items)) * (draw.random((groups, items)) < 0.6)
    cost = draw.integers(1, 5, items)
    return PackageProblem(values, cost, float(int(share * cost.sum())), **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": [[1, np.nan, 1], [0, 2, 1]]}, "'seniors' and item 'benches'"),
        ({"values": [[1, 2, 3], [0, 2]]}, r"rows of lengths \[3, 2\]"),
        ({"values": [[1, 2, 3]], "groups": ("seniors",)}, "at least 2 groups"),
        ({"cost": [1, 0, 1]}, "'benches': what is free belongs into base"),
        ({"cost": [1, 1]}, "one value for each of 3 items"),
        ({"conflicts": [("ramp", "bench")]}, "did you mean 'benches'"),
        ({"requires": [(0, 7)]}, "numbered 0 to 2"),
        ({"requires": [(0, 1), (1, 2)], "conflicts": [(0, 2)]}, "'ramp' can never be chosen"),
        ({"members": [[1, 0], [0, 0]]}, "person 1 belongs to no group"),
        ({"groups": ("seniors", "seniors")}, "'seniors' is there twice"),
        ({"base": [0, np.inf]}, "base must be finite"),
    ],
)
def test_bad_data_is_named(change, words):
    with pytest.raises(DataError, match=words):
        street(**change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": -1}, "budget must be a finite number >= 0; got -1"),
        ({"budget": np.nan}, "budget must be"),
        ({"weights": [1, -1]}, "weights must be >= 0; got -1 for group 'parents'"),
        ({"weights": [0, 0]}, "must not all be 0"),
    ],
)
def test_bad_parameters_are_named(change, words):
    with pytest.raises(ParameterError, match=words):
        street(**change)


def test_a_group_that_no_item_helps_is_named():
    with pytest.warns(DataQualityWarning, match="no item helps group 'parents'"):
        street(values=[[1, 1, 1], [0, 0, -1]])


def test_unknown_concepts_and_limits_are_refused():
    with pytest.raises(ParameterError, match="did you mean 'leximin'"):
        solve(street(), "leximn")
    with pytest.raises(ParameterError, match=r"exact_limit must be an integer in \[1, 25\]"):
        solve(street(), "nash", exact_limit=26)
    with pytest.raises(ParameterError, match="time_limit must be a finite number > 0"):
        solve(street(), "nash", time_limit=0)


def test_groups_that_never_reach_their_point_are_named():
    with pytest.raises(ParameterError, match="brings 'parents' to the disagreement point"):
        solve(street(disagreement=[0, 9]), "leximin")


def test_no_agreement_keeps_the_disagreement_point():
    decision = solve(street(disagreement=[3, 2]), "leximin")
    assert decision.status == "disagreement"
    assert decision.package == ()
    assert decision.utilities == (3.0, 2.0)


def test_a_budget_below_the_cheapest_item_buys_nothing_and_says_so():
    decision = solve(street(budget=0.5), "nash")
    assert decision.package == ()
    assert decision.status == "solved"
    assert "below the cheapest item, which costs 1" in decision.notes[0]


def test_conflicts_and_requirements_hold():
    free = solve(street(budget=5), "utilitarian")
    assert free.choice == ("ramp", "benches", "shade")
    assert solve(street(budget=5, conflicts=[("ramp", "benches")]), "utilitarian").choice == (
        "ramp",
        "shade",
    )
    needing = street(budget=4, requires=[("ramp", "shade")])
    for limit in (EXACT_LIMIT, 1):
        assert solve(needing, "utilitarian", exact_limit=limit).choice == ("ramp", "shade")


def test_equal_packages_go_to_the_cheaper_then_to_the_earlier():
    same = PackageProblem([[1, 1, 1], [1, 1, 1]], cost=[2, 1, 1], budget=2.5)
    single = PackageProblem([[1, 1, 1], [1, 1, 1]], cost=[2, 2, 2], budget=2.5)
    for limit in (EXACT_LIMIT, 1):
        assert solve(same, "leximin", exact_limit=limit).package == (1, 2)
        assert solve(single, "leximin", exact_limit=limit).package == (0,)


def plainly(problem, key):
    """The package with the largest key of those that are affordable and rational."""
    size = problem.shape[1]
    packages = [
        package
        for k in range(size + 1)
        for package in itertools.combinations(range(size), k)
        if problem.allows(package) and problem.accepts(package)
    ]
    return max(packages, key=lambda p: (*key(problem.utilities(p)), -problem.spent(p)))


@pytest.mark.parametrize("seed", range(6))
def test_concepts_by_their_definitions(seed):
    problem = drawn(seed, groups=3, items=7, disagreement=0.1)
    point = problem.point
    wanted = {
        "utilitarian": lambda u: (round(u.sum(), 9),),
        "egalitarian": lambda u: (round((u - point).min(), 9), round(u.sum(), 9)),
        "leximin": lambda u: tuple(np.sort(u).round(9)),
        "nash": lambda u: ((u > point + 1e-9).sum(), round(np.prod(u - point), 9)),
    }
    for concept, key in wanted.items():
        assert solve(problem, concept).package == plainly(problem, key), concept


@pytest.mark.parametrize("concept", RANKINGS)
@pytest.mark.parametrize("seed", range(8))
def test_searching_finds_what_enumeration_finds(concept, seed):
    pairs = {"conflicts": [(0, 1), (2, 3)], "requires": [(4, 5)]} if seed % 2 else {}
    problem = drawn(seed, groups=3 + seed % 3, disagreement=0.2 * (seed % 2), **pairs)
    enumerated, searched = solve(problem, concept), solve(problem, concept, exact_limit=1)
    assert searched.package == enumerated.package
    assert searched.optimal


@pytest.mark.parametrize("kind", ["sum", "least", "logs"])
def test_the_mixed_integer_solver_finds_the_same(kind):
    for seed in range(3):
        problem = drawn(seed)
        aim = Aim(kind, np.zeros(4), np.ones(4), np.full(4, 0.25))
        best = aim.value(search(problem, aim).designs.utilities)[0]
        solved = best_by_program(problem, aim, {}, Clock(20))
        assert solved.optimal
        assert solved.value == pytest.approx(best, rel=1e-6)
        assert solved.bound >= best - 1e-6 * abs(best)


def test_with_negative_values_nobody_is_left_below_disagreement():
    draw = np.random.default_rng(5)
    problem = PackageProblem(draw.normal(0.2, 1, (4, 12)), draw.integers(1, 5, 12), 14)
    for concept in RANKINGS:
        enumerated = solve(problem, concept)
        assert min(enumerated.utilities) >= 0
        assert solve(problem, concept, exact_limit=1).package == enumerated.package


def test_enumeration_counts_what_is_affordable():
    designs = all_designs(street())
    assert len(designs) == 1 + 3 + 2  # ramp and benches together cost 4
    assert {designs.package(row) for row in range(len(designs))} == {
        (),
        (0,),
        (1,),
        (2,),
        (0, 2),
        (1, 2),
    }
    assert len(all_designs(street(), {0: True})) == 2
    with pytest.raises(ParameterError, match="25 items"):
        all_designs(drawn(0, items=26))


def test_equal_shares_stop_where_nobody_can_pay():
    decision = equal_shares(street(budget=4))
    assert [event["item"] for event in decision.trace] == [2]
    assert decision.trace[0]["money_left"] == [1.5, 1.5]
    assert equal_shares(street(budget=4), completion="utilitarian").choice == ("ramp", "shade")
    # With purses of 2.5 both have 2 left after the shade, but ramp and benches would cost 5 of 4.
    assert equal_shares(street(budget=4), completion="add_one").choice == ("shade",)
    assert equal_shares(street(budget=4.9), completion="add_one").choice == ("shade",)
    assert equal_shares(street(budget=5), completion="none").package == (0, 1, 2)
    with pytest.raises(ParameterError, match="completion 'some' is unknown"):
        equal_shares(street(), completion="some")


def test_equal_shares_keep_conflicts_and_wait_for_requirements():
    assert 1 not in equal_shares(street(budget=5, conflicts=[("shade", "benches")])).package
    order = [e["item"] for e in equal_shares(street(budget=5, requires=[(2, 0)])).trace]
    assert order.index(0) < order.index(2)


def test_gini_by_hand():
    assert gini([1, 2, 3, 4]) == 0.25
    assert gini([2, 2, 2]) == 0
    assert gini([0, 0, 0, 1]) == 0.75
    with pytest.raises(DataError, match="got -1"):
        gini([-1, 2])
    with pytest.warns(DataQualityWarning, match="Gini is taken as 0"):
        assert gini([0, 0]) == 0


def test_measures_compare_with_what_they_are_given():
    members = [[1, 1], [1, 0], [1, 0]]
    problem = street(members=members)
    found = measures(problem, [4, 1], compared=[[0, 1], [2, 3]], percentile=50)
    assert found["total"] == 5
    assert found["person_total"] == pytest.approx(2.5 + 4 + 4)
    assert found["worst"] == {"group": "parents", "value": 1.0}
    assert found["satisfaction"] == [1.0, 0.0]
    assert found["percentile"] == {"q": 50.0, "value": 0.5}
    assert measures(street(), [-1, 2])["gini"] is None
    assert satisfaction([[2, 5], [4, 5]]).tolist() == [[0, 1], [1, 1]]
    with pytest.raises(ParameterError, match="percentile"):
        measures(problem, [1, 1], percentile=101)


def test_weights_from_people():
    assert weights_from_rankings([[1, 2, 3]])[0] == pytest.approx([11 / 18, 5 / 18, 2 / 18])
    assert weights_from_ratings([[4, 2, 1]], (1, 4))[0] == pytest.approx([0.75, 0.25, 0])
    with pytest.raises(DataError, match=r"declared scale \[1, 4\]; got 5 for 'old' in column 1"):
        weights_from_ratings([[4, 5]], (1, 4), ["old"])
    with pytest.raises(DataError, match="got 0"):
        weights_from_rankings([[0, 1]])
    with pytest.raises(DataError, match="group 'young' has no criterion weights"):
        PackageProblem.from_criteria(
            [[1, 0]], {"old": [1, 1]}, cost=[1], budget=1, groups=("old", "young")
        )


def test_problems_and_decisions_survive_json():
    problem = street(conflicts=[("ramp", "benches")], members=[[1, 0], [1, 1]])
    again = PackageProblem.from_json(json.loads(json.dumps(problem.to_json())))
    assert again.to_json() == problem.to_json()
    for decision in compare(problem, [*RANKINGS, "equal_shares"]):
        text = json.dumps(decision.to_json(), allow_nan=False)
        assert Decision.from_json(json.loads(text)) == decision
    with pytest.raises(DataError, match="this is no decision"):
        Decision.from_json({"concept": "nash"})
