"""Laws of packages: optimality, invariances, and the bargaining against the Kalai-Smorodinsky one.

The instances are those of the known-truth experiment: 4 groups, 8 items, values uniform and
kept with probability .6, costs 1 to 4, budget 10.
"""

import dataclasses
import warnings

import numpy as np
import pytest

from pluralign import DataError
from pluralign.decide import PackageProblem, negotiate, replay, solve
from pluralign.decide.enumeration import RANKINGS, all_designs
from pluralign.decide.measuring import gini


def instance(seed, **options):
    draw = np.random.default_rng(seed)
    values = draw.random((4, 8)) * (draw.random((4, 8)) < 0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PackageProblem(values, draw.integers(1, 5, 8), 10, **options)


INSTANCES = [instance(seed) for seed in range(200)]


@pytest.fixture(scope="module")
def solved():
    return {name: [solve(one, name) for one in INSTANCES] for name in RANKINGS}


@pytest.fixture(scope="module")
def agreed():
    return [negotiate(one) for one in INSTANCES]


def test_the_bargaining_ends_at_kalai_smorodinsky(solved, agreed):
    for bargain, solution in zip(agreed, solved["kalai_smorodinsky"], strict=True):
        assert bargain.status == "agreement"
        assert bargain.utilities == pytest.approx(solution.utilities)


def test_the_known_truth_within_two_percent(solved, agreed):
    def mean(decisions, of):
        return float(np.mean([of(np.array(one.utilities)) for one in decisions]))

    wanted = {
        "utilitarian": (7.17, 1.02, 0.188),
        "nash": (7.09, 1.12, 0.158),
        "kalai_smorodinsky": (6.88, 1.11, 0.151),
        "leximin": (6.64, 1.20, 0.128),
    }
    found = {**solved, "negotiate": agreed}
    for name, (total, worst, inequality) in {**wanted, "negotiate": (6.88, 1.108, 0.151)}.items():
        assert mean(found[name], np.sum) == pytest.approx(total, rel=0.02), name
        assert mean(found[name], np.min) == pytest.approx(worst, rel=0.02), name
        assert mean(found[name], gini) == pytest.approx(inequality, rel=0.02), name
    ends = [next(e for e in one.trace if e["event"] == "agreement")["round"] for one in agreed]
    assert np.mean(ends) == pytest.approx(4.34, abs=0.01)


def test_nothing_dominates_what_is_returned(solved, agreed):
    for number, problem in enumerate(INSTANCES):
        utilities = all_designs(problem).utilities
        for decisions in [*solved.values(), agreed]:
            mine = np.array(decisions[number].utilities)
            better = (utilities >= mine - 1e-9).all(axis=1) & (utilities > mine + 1e-9).any(axis=1)
            assert not better.any(), decisions[number].concept


def test_each_concept_is_best_by_its_own_measure(solved, agreed):
    everyone = [*solved.values(), agreed]
    for number, problem in enumerate(INSTANCES):
        assert all(one[number].cost <= problem.limit for one in everyone)
        totals = [sum(one[number].utilities) for one in everyone]
        worst = [min(one[number].utilities) for one in everyone]
        assert sum(solved["utilitarian"][number].utilities) >= max(totals) - 1e-9
        for name in ("leximin", "egalitarian"):
            assert min(solved[name][number].utilities) >= max(worst) - 1e-9


def test_disagreement_points_are_respected():
    for seed in range(40):
        helped = INSTANCES[seed].value_table.max(axis=1)
        problem = instance(seed, base=0.2, disagreement=0.2 + helped * [0.9, 0.5, 0, 1])
        for name in [*RANKINGS, "negotiate"]:
            decision = solve(problem, name)
            assert (np.array(decision.utilities) >= problem.point - 1e-9).all()


def test_nash_and_kalai_smorodinsky_do_not_mind_the_units():
    slope, shift = np.array([1.0, 7.0, 0.3, 40.0]), np.array([0.0, 3.0, 1.0, 0.5])
    moved = dict.fromkeys(RANKINGS, 0)
    for problem in INSTANCES[:60]:
        other = problem.changed(
            values=slope[:, None] * problem.value_table, base=shift, disagreement=shift
        )
        for name in ("nash", "kalai_smorodinsky", "utilitarian", "leximin"):
            moved[name] += solve(problem, name).package != solve(other, name).package
    assert moved["nash"] == moved["kalai_smorodinsky"] == 0
    assert moved["utilitarian"] > 10
    assert moved["leximin"] > 10


def test_permuting_groups_permutes_the_result(solved):
    order = [2, 0, 3, 1]
    for number, problem in enumerate(INSTANCES[:40]):
        other = problem.changed(values=problem.value_table[order])
        for name in RANKINGS:
            expected = np.array(solved[name][number].utilities)[order]
            assert np.allclose(solve(other, name).utilities, expected)


def test_symmetric_groups_get_the_same():
    problem = PackageProblem([[2, 0, 1, 1], [0, 2, 1, 1]], cost=[1, 1, 1, 1], budget=3)
    for name in RANKINGS:
        one, other = solve(problem, name).utilities
        assert one == other


def test_more_money_never_lowers_the_total_or_the_worst(solved):
    for number, problem in enumerate(INSTANCES[:60]):
        richer = problem.changed(budget=13)
        total = sum(solve(richer, "utilitarian").utilities)
        assert total >= sum(solved["utilitarian"][number].utilities) - 1e-9
        worst = min(solve(richer, "egalitarian").utilities)
        assert worst >= min(solved["egalitarian"][number].utilities) - 1e-9


def test_nash_does_not_mind_irrelevant_alternatives(solved):
    for number, problem in enumerate(INSTANCES[:40]):
        package = solved["nash"][number].package
        left_out = next(j for j in range(8) if j not in package)
        dear = problem.prices.copy()
        dear[left_out] = 99
        assert solve(problem.changed(cost=dear), "nash").package == package


def test_gini_is_a_measure_of_inequality():
    draw = np.random.default_rng(0)
    for _ in range(200):
        given = draw.random(draw.integers(2, 8))
        size = len(given)
        pairs = np.abs(given[:, None] - given).sum() / (2 * size**2 * given.mean())
        assert gini(given) == pytest.approx(pairs)
        assert 0 <= gini(given) <= (size - 1) / size
        assert gini(7 * given) == pytest.approx(gini(given))
        poor, rich = given.argmin(), given.argmax()
        moved = given.copy()
        moved[poor] += (given[rich] - given[poor]) / 4
        moved[rich] -= (given[rich] - given[poor]) / 4
        assert gini(moved) < gini(given)


def test_equal_shares_spend_no_more_than_each_purse(solved):
    for problem in INSTANCES:
        decision = solve(problem, "equal_shares")
        left = np.full(4, problem.budget / 4)
        for event in decision.trace:
            values = np.maximum(problem.value_table[:, event["item"]], 0)
            paid = np.minimum(left, event["rho"] * values)
            assert paid.sum() == pytest.approx(problem.prices[event["item"]])
            left = left - paid
            assert event["money_left"] == pytest.approx(left)
        assert decision.cost <= problem.limit
        assert (left >= -1e-12).all()


def test_aspirations_fall_and_the_trace_replays(agreed):
    for problem, decision in zip(INSTANCES, agreed, strict=True):
        proposals = [e for e in decision.trace if e["event"] == "proposal"]
        assert len(proposals) <= 10
        asked = np.array([e["aspirations"] for e in proposals])
        assert (np.diff(asked, axis=0) <= 1e-12).all()
        assert replay(problem, decision.trace) == decision


def test_a_trace_that_was_altered_is_refused(agreed):
    decision = agreed[0]
    last = dict(decision.trace[-1], utilities=[9.0] * 4)
    with pytest.raises(DataError, match="says utilities"):
        replay(INSTANCES[0], (*decision.trace[:-1], last))
    with pytest.raises(DataError, match="no end"):
        replay(INSTANCES[0], decision.trace[:4])
    dear = INSTANCES[0].changed(budget=1)
    with pytest.raises(DataError, match="cannot be bought"):
        replay(dear, decision.trace)


def test_who_concedes_slower_gets_no_less(agreed):
    gains = []
    for problem, usual in zip(INSTANCES[:60], agreed, strict=False):
        slow = negotiate(problem, kappa=[4, 1, 1, 1])
        gains.append(slow.utilities[0] - usual.utilities[0])
    assert np.mean(gains) > 0
    assert np.mean(np.array(gains) > 1e-9) > np.mean(np.array(gains) < -1e-9)


def test_with_many_items_the_bargaining_ends_at_the_same_package():
    for problem in INSTANCES[:12]:
        few, many = negotiate(problem), negotiate(problem, exact_limit=1)
        assert many.utilities == pytest.approx(few.utilities)
        assert many.status == "agreement"
        assert dataclasses.replace(few, trace=()).package == many.package


def split(grid=20000):
    x = np.linspace(0, 1, grid + 1)
    return x, np.stack([x, np.sqrt(1 - x)], axis=1)


def test_the_continuous_split():
    from pluralign.decide.enumeration import Designs, Frame, chosen

    x, utilities = split()
    problem = PackageProblem([[1.0], [1.0]], cost=[1], budget=1)
    masks = np.arange(len(x))
    designs = Designs(problem, masks, np.zeros(len(x)), utilities)
    frame = Frame(problem, utilities.max(axis=0))
    golden = (np.sqrt(5) - 1) / 2
    wanted = {
        "nash": 2 / 3,
        "kalai_smorodinsky": golden,
        "egalitarian": golden,
        "utilitarian": 3 / 4,
    }
    for name, share in wanted.items():
        assert x[chosen(designs, frame, RANKINGS[name])] == pytest.approx(share, abs=1e-4), name


def test_kalai_smorodinsky_is_monotone_on_the_split():
    from pluralign.decide.enumeration import Designs, Frame, chosen

    x, utilities = split()
    problem = PackageProblem([[1.0], [1.0]], cost=[1], budget=1)
    shares = []
    for stretch in (1.0, 1.5):  # everything feasible stays so; only the second group gains
        wider = np.stack([utilities[:, 0], utilities[:, 1] * stretch], axis=1)
        designs = Designs(problem, np.arange(len(x)), np.zeros(len(x)), wider)
        frame = Frame(problem, wider.max(axis=0))
        shares.append(wider[chosen(designs, frame, RANKINGS["kalai_smorodinsky"])])
    assert shares[1][1] >= shares[0][1]
