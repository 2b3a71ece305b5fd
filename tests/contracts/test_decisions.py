"""What every rule promises: affordable, rational, anonymous, the same again, and on record."""

import json

import numpy as np
import pytest

from pluralign.decide import Decision, PackageProblem, replay, solve
from pluralign.decide.concepts import CONCEPTS
from pluralign.decide.enumeration import all_designs

every = pytest.mark.parametrize("concept", CONCEPTS)
RATIONAL = [name for name in CONCEPTS if name != "equal_shares"]


def problems():
    for seed in range(6):
        draw = np.random.default_rng(seed)
        values = draw.normal(0.4, 0.6, (4, 9)).round(2)
        yield PackageProblem(
            values,
            draw.integers(1, 5, 9),
            11,
            base=1.0,
            disagreement=[0.9, 1.0, 1.0, 0.5],
            conflicts=[(0, 1)],
            requires=[(2, 3)],
        )


@every
def test_packages_are_affordable_and_keep_conflicts_and_requirements(concept):
    for problem in problems():
        decision = solve(problem, concept)
        assert problem.allows(decision.package)
        assert decision.cost == pytest.approx(problem.spent(decision.package))
        if decision.status != "disagreement":
            assert decision.utilities == pytest.approx(problem.utilities(decision.package))


@pytest.mark.parametrize("concept", RATIONAL)
def test_nobody_is_below_disagreement_and_nothing_is_wasted(concept):
    for problem in problems():
        mine = np.array(solve(problem, concept).utilities)
        assert (mine >= problem.point - 1e-9).all()
        others = all_designs(problem).utilities
        better = (others >= mine - 1e-9).all(axis=1) & (others > mine + 1e-9).any(axis=1)
        assert not better.any()


@every
def test_groups_are_anonymous(concept):
    order = [3, 1, 0, 2]
    for problem in problems():
        mixed = problem.changed(
            values=problem.value_table[order], disagreement=problem.point[order]
        )
        utilities = np.array(solve(problem, concept).utilities)[order]
        assert solve(mixed, concept).utilities == pytest.approx(utilities)


@every
def test_decisions_repeat_and_survive_json(concept):
    for problem in problems():
        decision = solve(problem, concept)
        assert solve(problem, concept) == decision
        text = json.dumps(decision.to_json(), allow_nan=False)
        assert Decision.from_json(json.loads(text)) == decision


def test_the_trace_leads_to_the_same_choice():
    for problem in problems():
        decision = solve(problem, "negotiate")
        assert replay(problem, json.loads(json.dumps(decision.trace))).package == decision.package


@every
def test_without_money_nothing_is_bought(concept):
    problem = next(problems()).changed(budget=0, disagreement=1.0)
    decision = solve(problem, concept)
    assert decision.package == ()
    assert decision.utilities == (1.0,) * 4
