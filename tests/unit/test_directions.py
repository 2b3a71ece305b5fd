"""Directions on a sphere and the four ways to draw neighbours."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pluralign import ParameterError
from pluralign.steer import Neighbourhood
from pluralign.steer.sphere import (
    angle_between,
    angle_of,
    at_angle,
    cap_angle,
    cap_angle_cdf,
    cap_draw,
    cap_mean_cosine,
    turn,
    unit,
)

CONE = [at_angle(a) for a in range(-45, 1, 5)]
VECTORS = st.integers(2, 6).flatmap(
    lambda d: st.lists(st.floats(-1e3, 1e3), min_size=d, max_size=d).filter(
        lambda v: max(map(abs, v)) > 1e-3
    )
)


def angles(found):
    return [round(angle_of(row), 6) for row in found.directions]


@given(VECTORS, st.floats(-180, 180))
@settings(max_examples=60, deadline=None)
def test_a_turn_has_unit_length_and_exactly_its_angle(target, degrees):
    v = unit(target)
    towards = np.roll(v, 1) + np.arange(len(v))
    assume(towards.any() and abs(v @ unit(towards)) < 0.999)
    u = turn(v, towards, degrees)
    assert np.linalg.norm(u) == pytest.approx(1.0, abs=1e-12)
    assert abs(angle_between([u], v)[0]) == pytest.approx(abs(degrees), abs=1e-7)


def test_a_turn_in_two_dimensions_is_the_sum_of_angles():
    for degrees in (-30.0, -1e-6, 12.5, 170.0):
        assert turn(at_angle(20), at_angle(110), degrees) == pytest.approx(at_angle(20 + degrees))


def test_small_angles_keep_their_digits():
    v = unit((1.0, 2.0, 2.0))
    assert angle_between([turn(v, (0, 1, 0), 1e-6)], v)[0] == pytest.approx(1e-6, rel=1e-6)


def test_turning_along_the_target_itself_is_refused():
    with pytest.raises(ParameterError, match="parallel"):
        turn((1.0, 0.0), (-2.0, 0.0), 10.0)


@pytest.mark.parametrize(
    "bad", [(0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0), (1.0,), 3.0, "no", ((1.0, 0.0),), None]
)
def test_what_is_no_direction_is_shown(bad):
    with pytest.raises(ParameterError, match="at least two finite numbers") as error:
        unit(bad)
    assert repr(bad)[:20] in str(error.value)


@given(VECTORS)
@settings(max_examples=60, deadline=None)
def test_a_unit_vector_stays_as_it_is(values):
    v = unit(values)
    assert unit(v).tolist() == v.tolist()


def test_length_neither_overflows_nor_vanishes():
    assert unit((3e300, 4e300)).tolist() == pytest.approx([0.6, 0.8])
    assert unit((3e-320, 4e-320)) == pytest.approx([0.6, 0.8], rel=1e-3)


@pytest.mark.parametrize("d", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("spread", [5.0, 30.0, 90.0, 120.0, 180.0])
def test_the_cap_law_is_the_integral_of_its_density(d, spread):
    def density(x):
        return math.sin(x) ** (d - 2)

    points = np.linspace(0, spread, 7)[1:]
    whole = integrate.quad(density, 0, math.radians(spread), epsabs=1e-13)[0]
    mass = [integrate.quad(density, 0, math.radians(p), epsabs=1e-13)[0] / whole for p in points]
    assert cap_angle_cdf(points, d, spread) == pytest.approx(mass, rel=1e-8)
    # where almost no mass is left, many angles have the same share
    inner = np.array(mass) < 1 - 1e-7
    assert cap_angle(np.array(mass)[inner], d, spread) == pytest.approx(points[inner], abs=1e-4)
    mean = integrate.quad(lambda x: math.cos(x) * density(x), 0, math.radians(spread))[0] / whole
    assert cap_mean_cosine(d, spread) == pytest.approx(mean, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("d", [2, 3, 8])
@pytest.mark.parametrize("law", ["cap", "angle"])
def test_draws_follow_the_law(d, law):
    rng = np.random.default_rng(0)
    v = unit(np.arange(1.0, d + 1))
    draws = np.array([cap_draw(v, 30.0, rng, law) for _ in range(2000)])
    found = np.abs(angle_between(draws, v))
    assert found.max() <= 30 + 1e-9
    assert np.linalg.norm(draws, axis=1) == pytest.approx(np.ones(2000), abs=1e-12)

    def cdf(x):
        return cap_angle_cdf(x, d, 30.0) if law == "cap" else np.clip(x / 30.0, 0, 1)

    assert stats.kstest(found, cdf).pvalue > 0.01
    other = (lambda x: np.clip(x / 30.0, 0, 1)) if law == "cap" else cdf
    if d > 2 and law == "cap":
        assert stats.kstest(found, other).pvalue < 1e-6
    across = (draws - (draws @ v)[:, None] * v).sum(axis=0)
    assert np.linalg.norm(across) < 4 * 0.5 * math.sqrt(2000)


@pytest.mark.parametrize(("d", "spread"), [(1, 30.0), (2.0, 30.0), (3, 0.0), (3, 181.0)])
def test_no_cap(d, spread):
    with pytest.raises(ParameterError, match=r"^(d|spread) must be"):
        cap_angle_cdf([1.0], d, spread)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0, [0, -5, 5, -10, 10]),
        (35, [35, 30, 40, 25, 20]),
        (45, [40, 35, 30, 25, 20]),
        (60, [40, 35, 30]),
        (71, []),
        (12, [10, 15, 5, 20, 0]),
    ],
)
def test_grid(target, expected):
    found = Neighbourhood(scheme="grid").around(at_angle(target))
    assert angles(found) == expected
    assert found.scheme == "grid"


def test_grid_with_the_target_itself():
    draw = Neighbourhood(scheme="grid", include_target=True)
    assert angles(draw.around(at_angle(45))) == [45, 40, 35, 30, 25]
    assert angles(draw.around(at_angle(40))) == [40, 35, 30, 25, 20]
    assert angles(draw.around(at_angle(75))) == [75]


def test_a_grid_around_the_whole_circle_holds_each_direction_once():
    draw = Neighbourhood(scheme="grid", grid=(-180, 180), step=90, spread=180, k=9)
    assert sorted(a % 360 for a in angles(draw.around(at_angle(0)))) == [0, 90, 180, 270]
    draw = Neighbourhood(scheme="offset", step=90, spread=180, k=9)
    assert sorted(a % 360 for a in angles(draw.around(at_angle(10)))) == [10, 100, 190, 280]


def test_offset():
    assert angles(Neighbourhood(scheme="offset").around(at_angle(45))) == [45, 40, 50, 35, 55]
    without = Neighbourhood(scheme="offset", include_target=False, k=3)
    assert angles(without.around(at_angle(45))) == [40, 50, 35]
    few = Neighbourhood(scheme="offset", spread=10, k=9).around(at_angle(0))
    assert angles(few) == [0, -5, 5, -10, 10]
    assert few.count == 5


def test_toward_stops_at_the_spread_or_at_the_trained_direction():
    draw = Neighbourhood(train_directions=CONE)
    assert angles(draw.around(at_angle(45))) == [45, 37.5, 30, 22.5, 15]
    assert angles(draw.around(at_angle(10))) == [10, 7.5, 5, 2.5, 0]
    assert angles(draw.around(at_angle(-65))) == [-65, -60, -55, -50, -45]
    without = Neighbourhood(train_directions=CONE, include_target=False, k=2)
    assert angles(without.around(at_angle(45))) == [30, 15]
    assert angles(Neighbourhood(train_directions=CONE, k=1).around(at_angle(45))) == [45]


def test_inside_the_trained_directions_there_is_nothing_to_go_to():
    found = Neighbourhood(train_directions=CONE).around(at_angle(-10))
    assert found.scheme == "offset"
    v = unit((1, 1, 1))
    assert Neighbourhood(train_directions=[v]).around(v).scheme == "uniform"


def test_toward_follows_the_great_circle():
    v, c = unit((1, 1, 1)), unit((1, 0, 0))
    found = Neighbourhood(train_directions=[(0, -1, 0), (2, 0, 0)], spread=40, k=3).around(v)
    assert angle_between(found.directions, v) == pytest.approx([0, 20, 40], abs=1e-9)
    assert np.linalg.matrix_rank(np.vstack([found.directions, c]), tol=1e-9) == 2
    assert np.all(np.diff(angle_between(found.directions, c)) < 0)


def test_an_opposite_trained_direction_has_no_shortest_way():
    with pytest.raises(ParameterError, match="opposite"):
        Neighbourhood(train_directions=[(-1.0, 0.0)]).around((1.0, 0.0))


def test_two_dimensions_are_a_case_of_many():
    flat = Neighbourhood(train_directions=[at_angle(0)]).around(at_angle(45)).directions
    deep = Neighbourhood(train_directions=[(1, 0, 0)]).around((*at_angle(45), 0)).directions
    assert deep[:, :2] == pytest.approx(flat, abs=1e-12)
    assert deep[:, 2] == pytest.approx(np.zeros(5))


@pytest.mark.parametrize("d", [2, 3, 7])
def test_uniform(d):
    v = unit(np.arange(1.0, d + 1))
    draw = Neighbourhood(scheme="uniform", k=6, spread=20)
    one, same, other = (draw.around(v, seed).directions for seed in (1, 1, 2))
    assert (one == same).all()
    assert not (one[1:] == other[1:]).any()
    assert (one[0] == v).all()
    assert np.abs(angle_between(one, v)).max() <= 20 + 1e-9
    free = Neighbourhood(scheme="uniform", include_target=False, k=6).around(v, 1).directions
    assert np.abs(angle_between(free, v)).min() > 1e-3


def test_uniform_serves_three_attributes_unasked():
    assert Neighbourhood().around((1.0, 2.0, 3.0)).scheme == "uniform"
    assert Neighbourhood().around((1.0, 2.0)).scheme == "offset"


def test_negative_parts_are_redrawn_then_clipped():
    draw = Neighbourhood(scheme="uniform", nonnegative=True, k=8, spread=60)
    found = draw.around((1.0, 1.0, 0.1))
    assert (found.directions >= 0).all()
    assert found.clipped == 0
    stuck = Neighbourhood(scheme="uniform", nonnegative=True, k=3, spread=5).around((1.0, -1.0))
    assert stuck.clipped == 2
    assert (stuck.directions[1:] >= 0).all()
    assert np.linalg.norm(stuck.directions, axis=1) == pytest.approx(np.ones(3))
    offset = Neighbourhood(scheme="offset", nonnegative=True).around(at_angle(5))
    assert angles(offset) == [5, 0, 10, 15]


@pytest.mark.parametrize("scheme", ["offset", "uniform", "toward", None])
def test_no_spread_is_the_target_k_times(scheme):
    found = Neighbourhood(scheme=scheme, spread=0, k=4, train_directions=CONE).around((3.0, 4.0))
    assert found.directions.tolist() == [[0.6, 0.8]]
    assert (found.repeats, found.count, found.scheme) == (4, 4, "target")


@pytest.mark.parametrize("scheme", ["grid", "offset"])
def test_schemes_of_angles_need_two_attributes(scheme):
    with pytest.raises(ParameterError, match=f"'{scheme}' needs two attributes, the target has 3"):
        Neighbourhood(scheme=scheme).around((1, 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"Neighbourhood.k must be an integer >= 1; got 0"),
        ({"k": 2.0}, r"k must be an integer >= 1; got 2.0"),
        ({"spread": -1}, r"spread must be a finite number in \[0.0, 180.0\]; got -1"),
        ({"spread": 181}, r"spread must be .* got 181"),
        ({"spread": math.nan}, r"spread must be .* got nan"),
        ({"scheme": "near"}, r"scheme must be None or one of 'grid'.* got 'near'"),
        ({"step": 0}, r"step must be .* got 0"),
        ({"scheme": "grid", "step": 31}, r"step must be at most the spread 30.0; got 31"),
        ({"scheme": "grid", "spread": 0.0}, r"spread must be above 0 without the target"),
        ({"spread": 0, "include_target": False}, r"spread must be above 0"),
        ({"grid": (40, -40)}, r"grid must be two angles .* got \(40, -40\)"),
        ({"grid": (-181, 0)}, r"grid must be two angles"),
        ({"grid": 5}, r"grid must be two angles .* got 5"),
        ({"scheme": "toward"}, r"'toward' needs train_directions"),
        ({"train_directions": [(0, 0)]}, r"a row of train_directions must be"),
        ({"train_directions": [(1, 0), (1, 0, 0)]}, r"rows of train_directions must be of one"),
        ({"train_directions": 3}, r"Neighbourhood:"),
        ({"law": "ring"}, r"law must be one of 'cap', 'angle'; got 'ring'"),
        ({"nonnegative": 1}, r"nonnegative must be a bool; got 1"),
    ],
)
def test_rules(options, message):
    with pytest.raises(ParameterError, match=message):
        Neighbourhood(**options)


def test_trained_directions_of_another_dimension():
    with pytest.raises(ParameterError, match="train_directions must have 3 values"):
        Neighbourhood(train_directions=[(1, 0)]).around((1, 1, 1))
