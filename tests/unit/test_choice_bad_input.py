"""Collection, packages, drivers: what cannot be used is refused in a sentence that names it."""

import numpy as np
import pytest

from pluralign.collect import Isoelastic, PowerCurves, SamplingPlan, allocate, fit_curve
from pluralign.decide import PackageProblem, bootstrap, measures, replay
from pluralign.decide.measuring import gini
from pluralign.errors import DataError, ParameterError
from pluralign.learn.drivers import ChoiceDrivers, driver_report, quantile_classes, share_classes

CURVES = PowerCurves(0.1, [1.0, 2.0], 0.5)
FIT = fit_curve([10, 20, 30, 40], [0.5, 0.45, 0.42, 0.41], [0.01] * 4)


def package(**changes):
    return PackageProblem(**{"values": [[1, 0], [0, 1]], "cost": [1, 1], "budget": 1, **changes})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: allocate(CURVES, cost=1, budget="5"), ParameterError, "budget must be a finite"),
        (lambda: allocate(CURVES, cost=1, budget=5, best="a"), ParameterError, "best must be"),
        (
            lambda: allocate(CURVES, cost=1, budget=5, objective="maximin"),
            ParameterError,
            "objective must be an objective.*'maximin'",
        ),
        (lambda: PowerCurves([], [], []), ParameterError, "at least one group"),
        (lambda: FIT.gain(0), ParameterError, "n must be a finite number of samples > 0; got 0"),
        (
            lambda: SamplingPlan(groups=("a", "b"), cost=1, budget=99, gamma_bounds="ab"),
            ParameterError,
            "gamma_bounds must hold numbers; got 'ab'",
        ),
        (
            lambda: fit_curve([1, 2, 3], [3, 2, 1], gamma_bounds=(2, 1)),
            ParameterError,
            "gamma_bounds must be 0 < low < high",
        ),
        (lambda: package(conflicts=3), DataError, "conflicts must be pairs of items; got 3"),
        (lambda: package(conflicts=[[0, 1.5]]), DataError, "there is no item 1.5"),
        (lambda: package(requires=[0, 1]), DataError, "requires must be pairs of items; got 0"),
        (lambda: replay(package(), [{"a": 1}]), DataError, "event 0 of the trace cannot be read"),
        (lambda: replay(package(), ["x"]), DataError, "event 0 of the trace cannot be read"),
        (lambda: measures(package(), [1, 2, 3]), DataError, "utilities must be 2 finite numbers"),
        (lambda: gini([]), DataError, "at least one"),
        (lambda: gini([np.nan, 1]), DataError, "utilities must be finite"),
        (
            lambda: bootstrap(package(members=[[1, 0], [0, 1]]), [["a", "b"], ["c", "d"]]),
            DataError,
            "ratings must be numbers",
        ),
        (lambda: share_classes(["a"]), DataError, "share must hold numbers"),
        (lambda: share_classes([]), DataError, "share must be a list of numbers, at least one"),
        (lambda: quantile_classes([]), DataError, "values must be a list of numbers"),
        (lambda: driver_report(ChoiceDrivers(), {}, []), DataError, "X and y must have rows"),
    ],
)
def test_it_is_refused_with_its_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("kind", [int, float, np.int64, np.float64, np.float32])
def test_a_budget_may_be_a_number_of_numpy(kind):
    usual = allocate(CURVES, cost=1, budget=500, objective=Isoelastic(eps=0)).counts
    found = allocate(CURVES, cost=1, budget=kind(500), objective=Isoelastic(eps=0)).counts
    assert found == pytest.approx(usual)
    plan = SamplingPlan(groups=("a", "b"), cost=1, budget=kind(500))
    assert plan.digest() == SamplingPlan(groups=("a", "b"), cost=1, budget=kind(500)).digest()
    assert package(budget=kind(1)).budget == 1.0
