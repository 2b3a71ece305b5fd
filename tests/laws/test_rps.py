"""Robust preference selection: its theory, its two worlds, and what it tells beforehand."""

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign import DataError, DataQualityWarning, IncompatibleError, ParameterError
from pluralign.datasets.direction_worlds import fading_world, learned_world
from pluralign.engines.sampling import Candidate, ScriptedSampler
from pluralign.engines.scorers import ScriptedScorer
from pluralign.steer import (
    Coverage,
    DirectionalSelection,
    Neighbourhood,
    compare,
    coverage_gain,
    expected_gap,
    expected_max,
    win_probability,
)
from pluralign.steer.evidence import one_sided, win_rates
from pluralign.steer.gains import coverage_of
from pluralign.steer.maxima import consistency_bound, gap_integral
from pluralign.steer.pool import choose, project, scored_pool
from pluralign.steer.sphere import angle_between, angle_of, at_angle, cap_draw, unit

# kappa, target, then the win probability of grid, offset and toward (30 degrees of reach)
WORLD_A = [
    (0.0, 20, 0.479, 0.479, 0.389),
    (0.0, 45, 0.397, 0.479, 0.389),
    (0.5, 10, 0.547, 0.547, 0.598),
    (0.5, 30, 0.530, 0.530, 0.760),
    (0.5, 40, 0.682, 0.523, 0.734),
    (0.5, 45, 0.727, 0.520, 0.722),
    (1.5, 45, 0.865, 0.549, 0.902),
]
SCHEMES = ("grid", "offset", "toward")
PROMPTS = [f"prompt {i}" for i in range(1000)]


def steered(world, **options):
    return DirectionalSelection(
        sample=ScriptedSampler(answer=world.answer),
        score=ScriptedScorer(names=world.names, rule=world.rule),
        **options,
    )


def reach_30(scheme, target):
    trained = [at_angle(target - 30)] if scheme == "toward" else None
    return Neighbourhood(scheme=scheme, train_directions=trained)


def truth(world, target, draw):
    angles = [angle_of(row) for row in draw.around(at_angle(target)).directions]
    means = world.expected_score(target, angles)
    (base,) = world.expected_score(target, [target])
    return means, base, win_probability(means, world.noise, base_mean=base, base_sd=world.noise)


# --- the table of world A -------------------------------------------------------------------


@pytest.mark.parametrize(("kappa", "target", "grid", "offset", "toward"), WORLD_A)
def test_quadrature_gives_the_table(kappa, target, grid, offset, toward):
    world = fading_world(kappa=kappa)
    for scheme, expected in zip(SCHEMES, (grid, offset, toward), strict=True):
        found = truth(world, target, reach_30(scheme, target))[2]
        assert found == pytest.approx(expected, abs=6e-4), scheme


@pytest.mark.parametrize(("kappa", "target"), [(0.0, 45), (0.5, 40), (1.5, 45)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_selection_gives_what_quadrature_says(kappa, target, scheme):
    world = fading_world(kappa=kappa)
    draw = reach_30(scheme, target)
    means, base, expected = truth(world, target, draw)
    select = steered(world, scheme=scheme, train_directions=draw.train_directions)
    report = compare(select, PROMPTS, [at_angle(target)], 1, n_bootstrap=200).report()
    (cell,) = report["angles"]
    n = len(PROMPTS)
    assert cell["rate_all"] == pytest.approx(expected, abs=4 * math.sqrt(0.25 / n))
    gap = expected_gap(means, world.noise, base_mean=base, base_sd=world.noise)
    error = world.noise * math.sqrt(2 / n)
    assert cell["best"]["difference"]["value"] == pytest.approx(gap, abs=4 * error)
    for row, mean in zip(cell["neighbours"], means[np.argsort(_turns(draw, target))], strict=True):
        assert row["mean"] == pytest.approx(mean, abs=4 * row["standard_error"])
    assert cell["generations"] == {"steered": 5 * n, "baseline": 5 * n}


def _turns(draw, target):
    v = at_angle(target)
    return angle_between(draw.around(v).directions, v)


def test_the_grid_alone_makes_the_jump_between_30_and_40_degrees():
    world = fading_world(kappa=0.5)
    at = {t: truth(world, t, reach_30("grid", t))[2] for t in (30, 40, 45)}
    even = {t: truth(world, t, reach_30("offset", t))[2] for t in (30, 40, 45)}
    assert at[40] - at[30] > 0.1
    assert abs(even[40] - even[30]) < 0.02


def test_without_a_gap_every_turn_costs_and_with_one_toward_pays_most():
    for target in (20, 45):
        assert all(
            truth(fading_world(kappa=0.0), target, reach_30(s, target))[2] < 0.5 for s in SCHEMES
        )
        pays = [
            truth(fading_world(kappa=1.5), target, reach_30(s, target))[2]
            for s in ("offset", "toward")
        ]
        assert 0.5 < pays[0] < pays[1]


# --- the negative control ---------------------------------------------------------------------


def test_the_negative_control_shows_no_gain_and_is_told_beforehand():
    world = learned_world()
    held_out = [f"held out {i}" for i in range(200)]
    for target in (10, 30, 45):
        for scheme in ("grid", "offset", "toward"):
            draw = steered(world, scheme=scheme, train_directions=world.train_directions)
            assert truth(world, target, draw.neighbourhood)[2] < 0.5
            assert not coverage_gain(draw, held_out, at_angle(target), 3, threshold=3.0).helps
    report = compare(draw, PROMPTS[:400], [at_angle(45)], 1, n_bootstrap=1000).report()
    assert report["overall"]["best"]["difference"]["high"] < 0
    assert report["angles"][0]["rate_all"] < 0.5


def test_every_network_learned_its_cone():
    for seed in (0, 3):
        world = learned_world(seed=seed)
        inside = [world.expected_score(a, [a])[0] for a in (-45, -20, 0)]
        assert min(inside) > 0.98
        assert max(world.expected_score(a, [a])[0] for a in range(-180, 180, 20)) <= 1 + 1e-12


# --- coverage gain ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kappa", "target", "helps"), [(1.5, 45, True), (0.0, 45, False)])
def test_coverage_gain_finds_the_truth(kappa, target, helps):
    world = fading_world(kappa=kappa)
    select = steered(world, train_directions=world.train_directions)
    found = coverage_gain(select, PROMPTS[:200], at_angle(target), 0)
    angles = target + found.angles_deg
    assert found.means == pytest.approx(
        world.expected_score(target, angles), abs=4 * 0.15 / math.sqrt(200)
    )
    assert found.gain_errors[1:] == pytest.approx(0.15 * math.sqrt(2 / 200), rel=0.2)
    assert found.gains[0] == found.gain_errors[0] == 0
    assert found.helps is helps
    assert ("neighbours help" in str(found)) is helps
    assert ("no gain" in str(found)) is not helps
    assert found.generations == 1000
    again = Coverage.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.to_json() == found.to_json()


def test_coverage_gain_promises_falsely_as_rarely_as_stated():
    """One draw at the target is shared by the four differences; 2 errors, one side."""
    rng = np.random.default_rng(0)
    rows = np.array([at_angle(a) for a in range(5)])
    found = np.mean(
        [coverage_of(rng.normal(size=(60, 5)), rows, rows[0]).helps for _ in range(1500)]
    )
    assert found == pytest.approx(1 / 12, abs=0.025)


def test_the_errors_of_gains_are_paired_by_prompt():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 50, (100, 1))
    scores = hard + np.array([0.0, 1.0]) + rng.normal(0, 0.5, (100, 2))
    found = coverage_of(scores, [at_angle(0), at_angle(5)], at_angle(0))
    assert found.standard_errors[1] > 3
    assert found.gain_errors[1] == pytest.approx(0.0707, rel=0.25)
    assert found.helps


def test_coverage_leaves_out_what_failed():
    scores = [[1.0, 2.0], [np.nan, 9.0], [1.0, np.nan], [2.0, 3.0], [0.0, 1.0]]
    found = coverage_of(scores, [at_angle(0), at_angle(5)], at_angle(0))
    assert found.n.tolist() == [4, 3]
    assert found.gains.tolist() == [0, 1]
    assert found.helps  # a certain gain
    with pytest.raises(DataError, match="1 prompts that were scored both"):
        coverage_of(scores[:2], [at_angle(0), at_angle(5)], at_angle(0))


def test_a_prompt_given_twice_is_no_evidence_twice():
    select = steered(fading_world(kappa=0.0))
    talk = [{"role": "user", "content": "p"}]
    for prompts in (["p", "q", "p"], [talk, "q", tuple(dict(turn) for turn in talk)]):
        with pytest.raises(DataError, match="prompt 2 is prompt 0 again") as error:
            coverage_gain(select, prompts, (1, 1), 0)
        assert error.value.rows == (2,)
        with pytest.raises(DataError, match="prompt 2 is prompt 0 again"):
            compare(select, prompts, [(1, 1)], 0)
        assert len(select.select(prompts, (1, 1), 0)) == 3


def test_coverage_includes_a_target_that_the_grid_leaves_out():
    world = fading_world(kappa=0.5)
    found = coverage_gain(steered(world, scheme="grid"), PROMPTS[:20], at_angle(45), 0)
    assert found.angles_deg.round(6).tolist() == [0, -5, -10, -15, -20, -25]


def test_refuse_warn_or_ignore():
    fading, flat = fading_world(kappa=1.5), fading_world(kappa=0.0)
    for world, helps in ((fading, True), (flat, False)):
        select = steered(world, train_directions=world.train_directions)
        report = coverage_gain(select, PROMPTS[:100], (1, 1), 0, threshold=3.0)
        guarded = dataclasses.replace(select, coverage=(report,), on_no_gain="refuse")
        warned = dataclasses.replace(guarded, on_no_gain="warn")
        plain = select("p", (1, 1), 0).to_json()
        if helps:
            assert guarded("p", (2, 2), 0).to_json() == plain
            assert warned("p", (1, 1), 0).to_json() == plain
        else:
            with pytest.raises(IncompatibleError, match=r"refused: no gain: .*100 prompts"):
                guarded("p", (1, 1), 0)
            with pytest.warns(DataQualityWarning, match="no gain"):
                assert warned("p", (1, 1), 0).to_json() == plain
            assert guarded.baseline("p", (1, 1), 0).scheme == "target"
        with pytest.raises(ParameterError, match="needs a coverage report for the target"):
            guarded("p", (1, 2), 0)


# --- theory -----------------------------------------------------------------------------------


def test_best_of_k_equal_draws():
    known = {1: 0.0, 2: 1 / math.sqrt(math.pi), 3: 1.5 / math.sqrt(math.pi), 5: 1.16296447}
    for k, value in known.items():
        assert expected_max([0.0] * k) == pytest.approx(value, abs=1e-8)
        assert expected_max([7.0] * k, 3.0) == pytest.approx(7 + 3 * value, abs=1e-7)
        assert win_probability([0.0] * k, base_mean=0, base_sd=1) == pytest.approx(0.5)
    assert win_probability([0.0] * 5, base_mean=0, base_sd=1, base_k=3) == pytest.approx(5 / 8)


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=5),
    st.floats(0.1, 3),
    st.integers(1, 6),
)
@settings(max_examples=20, deadline=None)
def test_the_gap_identity(means, sd, k):
    rng = np.random.default_rng(0)
    sds = np.linspace(0.5, 1.5, len(means))
    best = (np.array(means) + sds * rng.normal(size=(20_000, len(means)))).max(axis=1)
    base = (0.3 + sd * rng.normal(size=(20_000, k))).max(axis=1)
    gap = expected_gap(means, sds, base_mean=0.3, base_sd=sd, base_k=k)
    error = math.sqrt((best.var() + base.var()) / 20_000)
    assert gap == pytest.approx(best.mean() - base.mean(), abs=4.5 * error)
    whole = expected_max(means, sds) - expected_max([0.3] * k, sd)
    assert gap == pytest.approx(whole, abs=1e-9)
    wins = win_probability(means, sds, base_mean=0.3, base_sd=sd, base_k=k)
    assert wins == pytest.approx(np.mean(best > base), abs=4.5 * math.sqrt(0.25 / 20_000))


def test_the_gap_of_other_laws():
    def uniform(s):
        return s.clip(0, 1)

    for m, k in ((1, 3), (4, 2), (3, 3)):
        gap = gap_integral(lambda s, m=m: uniform(s) ** m, uniform, k, [0.0, 1.0])
        assert gap == pytest.approx(m / (m + 1) - k / (k + 1))


def test_certain_values_have_no_spread():
    assert expected_max([1.0, 5.0, 2.0], 0.0) == pytest.approx(5.0)
    assert expected_max([3.0], 0.0) == pytest.approx(3.0)
    # E max(0, Z) = 1 / sqrt(2 pi)
    assert expected_max([0.0, 0.0], [0.0, 1.0]) == pytest.approx(1 / math.sqrt(2 * math.pi))


@given(st.lists(st.floats(0, 2), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_neighbours_that_dominate_never_lose_and_worse_ones_never_win(shifts):
    base = {"base_mean": 0.0, "base_sd": 1.0}
    assert expected_gap(shifts, 1.0, **base) >= -1e-12
    assert expected_gap([-s for s in shifts], 1.0, **base) <= 1e-12
    if max(shifts) > 0.01:
        assert expected_gap(shifts, 1.0, **base) > 0
        assert win_probability([-s for s in shifts], 1.0, **base) < 0.5


@pytest.mark.parametrize("d", [2, 3, 8])
def test_the_consistency_bound_is_never_violated(d):
    rng = np.random.default_rng(d)
    v = unit(rng.normal(size=d))
    u = np.array([cap_draw(v, 180.0, rng) for _ in range(2000)])
    r = rng.normal(size=(2000, d)) * rng.exponential(10, (2000, 1))
    change = np.abs(r @ v - (r * u).sum(axis=1))
    bound = consistency_bound(r, np.abs(angle_between(u, v)))
    assert (change <= bound * (1 + 1e-9)).all()
    assert (change / bound).max() > 0.9  # and it is no looser than it must be


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_max([]), "means must be"),
        (lambda: expected_max([math.nan]), "means must be"),
        (lambda: expected_max([1.0], -1.0), "sds must be"),
        (lambda: expected_max([1.0, 2.0], [1.0, 1.0, 1.0]), "sds must be finite numbers >= 0"),
        (lambda: expected_gap([1.0], base_mean=0, base_sd=1, base_k=0), "base_k must be"),
        (lambda: win_probability([1.0], base_mean=0, base_sd=0), "base_sd must be above 0"),
    ],
)
def test_laws_that_are_none(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


# --- the choice -------------------------------------------------------------------------------


REWARDS = st.integers(2, 4).flatmap(
    lambda d: st.tuples(
        st.lists(st.lists(st.integers(-50, 50), min_size=d, max_size=d), min_size=1, max_size=7),
        st.lists(st.integers(-5, 5), min_size=d, max_size=d).filter(any),
    )
)


def chosen(rewards, target):
    return choose(project(rewards, unit(target)))


@given(REWARDS, st.integers(-9, 9), st.floats(0.1, 50))
@settings(max_examples=100, deadline=None)
def test_scale_of_the_target_and_a_constant_change_nothing(case, shift, scale):
    rewards, target = (np.array(x, dtype=float) for x in case)
    first = chosen(rewards, target)
    scores = project(rewards, unit(target))
    assert scores[chosen(rewards, scale * target)] == pytest.approx(scores.max())
    moved = chosen(rewards + shift * np.arange(1, rewards.shape[1] + 1), target)
    assert scores[moved] == pytest.approx(scores.max())
    assert scores[first] == scores.max()
    assert not (scores[:first] == scores.max()).any()


@given(REWARDS, st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_turning_rewards_and_target_together_changes_no_score(case, seed):
    rewards, target = (np.array(x, dtype=float) for x in case)
    d = len(target)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    scores = project(rewards, unit(target))
    assert project(rewards @ turned.T, turned @ unit(target)) == pytest.approx(scores, abs=1e-9)


@given(REWARDS)
@settings(max_examples=50, deadline=None)
def test_another_candidate_never_lowers_the_best(case):
    rewards, target = (np.array(x, dtype=float) for x in case)
    scores = project(rewards, unit(target))
    best = [scores[: i + 1].max() for i in range(len(scores))]
    assert best == sorted(best)
    assert scores[chosen(rewards, target)] == best[-1]


def test_scores_of_many_prompts_are_those_of_each():
    rng = np.random.default_rng(0)
    rewards, targets = rng.normal(size=(7, 5, 3)), rng.normal(size=(7, 3))
    assert project(rewards, targets) == pytest.approx(np.einsum("pkd,pd->pk", rewards, targets))
    assert project(rewards, targets[0]) == pytest.approx(rewards @ targets[0])
    with pytest.raises(DataError, match="target has 2 values and the rewards have 3"):
        project(rewards, [1.0, 2.0])


def test_the_worked_example():
    rewards = [(62, 30), (70, 22), (58, 41), (66, 35), (70, 22)]
    assert chosen(rewards, at_angle(45)) == 3
    assert chosen(rewards, at_angle(10)) == 1
    assert project(rewards, at_angle(10))[1] == project(rewards, at_angle(10))[4]


def test_standardising_gives_each_attribute_its_say():
    rewards = np.array([[[0.0, 900.0], [1.0, 500.0], [0.9, 800.0]]])
    ok = np.ones((1, 3), dtype=bool)
    raw = scored_pool(rewards, ok, unit((1, 1)))
    z = scored_pool(rewards, ok, unit((1, 1)), standardise="pool")
    assert (choose(raw.scores), choose(z.scores)) == (0, 2)
    assert z.standardised.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    assert z.standardised.std(axis=0) == pytest.approx([1, 1])
    assert (z.rewards == rewards[0]).all()
    again = scored_pool(rewards * [2.0, 1e-3] + [5, 9], ok, unit((1, 1)), standardise="pool")
    assert again.scores == pytest.approx(z.scores)
    flat = scored_pool(rewards * [1.0, 0.0] + 0.1, ok, unit((1, 1)), standardise="pool")
    assert (flat.standardised[:, 1] == 0).all()


def test_failed_candidates_do_not_move_the_pool():
    rewards = np.array([[[0.0, 1.0], [1.0, 3.0], [1e6, 1e6]]])
    ok = np.array([[True, True, False]])
    found = scored_pool(rewards, ok, unit((1, 1)), standardise="pool")
    assert found.scores.tolist() == pytest.approx([-math.sqrt(2), math.sqrt(2), -math.inf])


def test_several_scorers():
    rewards = np.array([[[4.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [2.0, 9.0]]])
    ok = np.ones((2, 2), dtype=bool)
    target = np.array([1.0, 0.0])
    mean = scored_pool(rewards, ok, target)
    least = scored_pool(rewards, ok, target, aggregate="min")
    assert mean.scores.tolist() == [2.0, 2.5]
    assert least.scores.tolist() == [0.0, 2.0]
    assert least.rewards.tolist() == [[0.0, 0.0], [2.0, 9.0]]
    # a wish for less of an attribute turns round which scorer likes it least
    assert scored_pool(rewards, ok, -target, aggregate="min").scores.tolist() == [-4.0, -3.0]
    ok[1, 1] = False
    assert scored_pool(rewards, ok, target).ok.tolist() == [True, False]


# --- what a user meets ------------------------------------------------------------------------


WORLD = fading_world(kappa=0.5)


def test_stopping_early_leaves_out_what_is_not_needed():
    whole = steered(WORLD, scheme="offset")
    eager = dataclasses.replace(whole, stop_above=0.8)
    prompts = PROMPTS[:100]
    full, found = whole.select(prompts, (0.8, 0.6), 0), eager.select(prompts, (0.8, 0.6), 0)
    for all_of_it, one in zip(full, found, strict=True):
        assert one.candidates == all_of_it.candidates[: len(one)]
        assert one.skipped == 5 - len(one)
        assert (one.scores[:-1] <= 0.8).all()
        assert one.best > 0.8 or one.skipped == 0
    assert 0 < sum(one.skipped for one in found) < 400
    cost = eager.cost([(0.8, 0.6)] * 100)
    assert cost.sampler_calls == 5
    assert sum(map(len, found)) < cost.generations == 500
    arms = compare(eager, prompts, [(0.8, 0.6)], 0, n_bootstrap=100)
    assert [len(a) for a, _ in arms.arms[0]] == [len(b) for _, b in arms.arms[0]]


def test_neighbours_of_many_prompts_and_targets_stand_together_in_one_call():
    seen = []

    class Sampler:
        name = "seeing"

        def sample(self, prompts, n, params, directions=None):
            seen.append((list(prompts), n, directions))
            return ScriptedSampler(answer=WORLD.answer).sample(prompts, n, params, directions)

    select = dataclasses.replace(steered(WORLD, scheme="offset", k=3), sample=Sampler())
    targets = [at_angle(10), at_angle(40)]
    select.select(["a", "b"], targets, 0)
    ((prompts, n, directions),) = seen
    assert prompts == ["a"] * 3 + ["b"] * 3
    assert n == 1
    assert [angle_of(row) for row in directions] == pytest.approx([10, 5, 15, 40, 35, 45])


def test_a_sampler_that_loses_candidates_is_found_out():
    class Losing:
        name = "losing"

        def sample(self, prompts, n, params, directions=None):
            return [[Candidate(text="1 1")]] * (len(prompts) - 1)

    with pytest.raises(IncompatibleError, match="losing was asked for 1 candidates for each of 5"):
        dataclasses.replace(steered(WORLD), sample=Losing())("p", (1, 1), 0)


def scripted(rule, **options):
    return DirectionalSelection(
        sample=ScriptedSampler(answer=lambda p, v, rng: repr(float(rng.random()))),
        score=ScriptedScorer(names=("a", "b"), rule=rule),
        **options,
    )


def test_unlike_scales_warn_and_standardising_does_not():
    def rule(prompt, response):
        return float(response), 100 * float(response) ** 2

    with pytest.warns(DataQualityWarning, match=r"'b' varies .* as much .* 'a'.*standardise"):
        scripted(rule).select(PROMPTS[:5], (1, 1), 0)
    scripted(rule, standardise="pool").select(PROMPTS[:5], (1, 1), 0)


def test_identical_candidates_and_constant_rewards_warn_apart():
    alike = DirectionalSelection(
        sample=ScriptedSampler(answer=lambda p, v, rng: p),
        score=ScriptedScorer(names=("a", "b"), rule=lambda p, r: (len(r), 1.0)),
    )
    with pytest.warns(DataQualityWarning, match="identical: the generator ignores") as caught:
        alike.select(["one", "three"], (1, 1), 0)
    assert len(caught) == 1
    with pytest.warns(DataQualityWarning, match="rewards are constant") as caught:
        scripted(lambda p, r: (1.0, 2.0)).select(["one"], (1, 1), 0)
    assert len(caught) == 1


def test_fewer_neighbours_than_asked_warn_and_none_is_an_error():
    with pytest.warns(DataQualityWarning, match=r"only 3 directions within 30 degrees .* k = 5"):
        assert len(steered(WORLD, scheme="grid")("p", at_angle(60), 0)) == 3
    with pytest.raises(ParameterError, match=r"scheme 'grid' has no direction within 30 degrees"):
        steered(WORLD, scheme="grid")("p", at_angle(80), 0)


def test_many_dimensions_warn():
    names = tuple("abcdefgh")
    many = DirectionalSelection(
        sample=ScriptedSampler(answer=lambda p, v, rng: " ".join(map(str, rng.random(8)))),
        score=ScriptedScorer(names=names, rule=lambda p, r: tuple(map(float, r.split()))),
    )
    with pytest.warns(DataQualityWarning, match="in 8 dimensions nearly all uniform draws"):
        many("p", np.ones(8), 0)
    dataclasses.replace(many, law="angle")("p", np.ones(8), 0)


def test_clipped_directions_warn():
    clipped = steered(WORLD, scheme="uniform", nonnegative=True, spread=5.0)
    with pytest.warns(DataQualityWarning, match="directions of 1 of 1 prompts kept a negative"):
        clipped("p", (1, -1), 0)


def test_one_prompt_may_fail_without_the_others():
    def answer(prompt, direction, rng):
        if prompt == "bad":
            return Candidate(text="", finish="error", error="HTTP 500")
        return WORLD.answer(prompt, direction, rng)

    select = dataclasses.replace(steered(WORLD), sample=ScriptedSampler(answer=answer))
    with pytest.warns(DataQualityWarning, match=r"1 of 3 prompts failed .*prompt 1.*HTTP 500"):
        found = select.select(["a", "bad", "c"], (1, 1), 0)
    assert [one.chosen is None for one in found] == [False, True, False]
    assert math.isnan(found[1].best)
    assert found[1].text is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "grid", "step": 40.0}, "DirectionalSelection: step must be at most"),
        ({"scheme": "toward"}, "needs train_directions"),
        ({"standardise": "zscore"}, "standardise must be one of 'none', 'pool'; got 'zscore'"),
        ({"aggregate": "max"}, "aggregate must be one of 'mean', 'min'; got 'max'"),
        ({"stop_above": math.nan}, "stop_above must be None or a finite number; got nan"),
        ({"stop_above": 1.0, "standardise": "pool"}, "stop_above needs scores that do not change"),
        ({"on_no_gain": "stop"}, "on_no_gain must be one of"),
        ({"params": {"seed": 1}}, "params must be a SamplingParams"),
        ({"sample": len}, "sample must be a Sampler"),
        ({"score": len}, "score must be a Scorer"),
        ({"score": ()}, "score must be a Scorer, or several"),
    ],
)
def test_rules_of_a_selection(options, message):
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(steered(WORLD), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.select("hello", (1, 1), 0), "must be a sequence of prompts; got one text"),
        (lambda s: s(None, (1, 1), 0), "prompt 0 must be a text or messages; got None"),
        (lambda s: s.select(["p", 3], (1, 1), 0), "prompt 1 must be a text or messages; got 3"),
        (lambda s: s([{"content": "p"}], (1, 1), 0), "prompt 0 has a message without role"),
        (lambda s: s("p", ("a", "b"), 0), "directions must be numbers"),
        (lambda s: s("p", (1j, 1), 0), "directions must be numbers"),
        (lambda s: s.select(["p", "q"], [(1, 2), (1, 2, 3)], 0), "in rows of one length"),
        (lambda s: s.cost((1, 1, 1)), "direction has 3 values and the scorer has 2"),
        (lambda s: s.cost("no"), "directions must be numbers"),
        (lambda s: compare(s, ["p"], ["x"], 0), "directions must be numbers"),
    ],
)
def test_what_is_no_prompt_and_no_direction(call, message):
    with pytest.raises((ParameterError, DataError), match=message):
        call(steered(WORLD))


def test_scorers_of_unlike_attributes():
    one = ScriptedScorer(names=("a", "b"), rule=lambda p, r: (1, 2))
    other = ScriptedScorer(names=("b", "a"), rule=lambda p, r: (1, 2))
    with pytest.raises(ParameterError, match=r"same attributes; got .*'a', 'b'.*'b', 'a'"):
        dataclasses.replace(steered(WORLD), score=(one, other))


# --- comparisons ------------------------------------------------------------------------------


def test_unequal_arms_warn_and_both_counts_are_reported():
    with pytest.warns(DataQualityWarning, match="5 steered and 3 of the baseline for 10 of 10"):
        found = compare(steered(WORLD), PROMPTS[:10], [(1, 1)], 0, baseline_samples=3)
    assert found.report()["overall"]["generations"] == {"steered": 50, "baseline": 30}


def test_several_candidates_a_direction_meet_as_many_at_the_target():
    found = compare(steered(WORLD, per_direction=3), PROMPTS[:4], [(1, 1)], 0)
    assert found.report()["angles"][0]["generations"] == {"steered": 60, "baseline": 60}


def test_an_independent_scorer_selects_nothing_and_is_correlated_within_prompts():
    def noisy(sign):
        def rule(prompt, response):
            x, y = WORLD.rule(prompt, response)
            return (sign * (x + y) + 1000 * int(prompt.split()[1]),)

        return ScriptedScorer(names=("other",), rule=rule, name=f"other{sign}")

    plain = compare(steered(WORLD), PROMPTS[:80], [(1, 1)], 0, n_bootstrap=200)
    for sign in (1, -1):
        found = compare(
            steered(WORLD), PROMPTS[:80], [(1, 1)], 0, independent=noisy(sign), n_bootstrap=200
        )
        report = found.report()
        assert report["independent_scorer"] == f"other{sign}"
        assert report["angles"][0]["independent"]["correlation"] == pytest.approx(sign, abs=1e-6)
        first = [one.to_json() for one, _ in found.arms[0]]
        assert first == [one.to_json() for one, _ in plain.arms[0]]
        scale = sign * math.sqrt(2)
        difference = report["angles"][0]["best"]["difference"]["value"]
        other = report["angles"][0]["independent"]["best"]["difference"]["value"]
        assert other == pytest.approx(scale * difference, abs=1e-6)
    three = ScriptedScorer(names=("a", "b", "c"), rule=lambda p, r: (1, 2, 3))
    with pytest.raises(DataError, match="independent scorer has 3 attributes"):
        compare(steered(WORLD), PROMPTS[:3], [(1, 1)], 0, independent=three)


def test_an_independent_scorer_of_all_attributes_is_projected_on_each_target():
    own = steered(WORLD)
    targets = [at_angle(-10), at_angle(40)]
    found = compare(own, PROMPTS[:5], targets, 0, independent=own.score, n_bootstrap=100)
    for pairs, scores in zip(found.arms, found.independent, strict=True):
        for pair, both in zip(pairs, scores, strict=True):
            for record, second in zip(pair, both, strict=True):
                assert second == pytest.approx(record.scores)


def test_the_arms_are_drawn_independently():
    ((pair, *_),) = compare(steered(WORLD, k=3), PROMPTS[:2], [(1, 1)], 0, n_bootstrap=100).arms
    one, other = ({c.text for c in record.candidates} for record in pair)
    assert len(one) == len(other) == 3
    assert not one & other


def test_intervals_over_angles_are_clustered_by_prompt():
    """Eight equal targets bring no more evidence than one."""
    select = steered(WORLD, scheme="offset")
    one = compare(select, PROMPTS[:60], [(1, 1)], 0, n_bootstrap=2000).report()["overall"]
    many = compare(select, PROMPTS[:60], [(1, 1)] * 8, 0, n_bootstrap=2000).report()["overall"]
    for arm in ("steered", "difference"):
        assert many["best"][arm]["value"] == pytest.approx(one["best"][arm]["value"])
        width, narrow = (r["best"][arm]["high"] - r["best"][arm]["low"] for r in (one, many))
        assert narrow == pytest.approx(width, rel=1e-9)
    assert (many["n"], many["prompts"]) == (480, 60)


def test_the_interval_of_a_difference_is_that_of_the_mean():
    report = compare(steered(WORLD), PROMPTS[:300], [(1, 1)], 0).report()["angles"][0]
    found = compare(steered(WORLD), PROMPTS[:300], [(1, 1)], 0).arms[0]
    differences = np.array([one.best - other.best for one, other in found])
    cell = report["best"]["difference"]
    half = 1.96 * differences.std(ddof=1) / math.sqrt(300)
    assert cell["value"] == pytest.approx(differences.mean())
    assert (cell["high"] - cell["low"]) / 2 == pytest.approx(half, rel=0.05)


def test_choices_from_one_side_are_said():
    grid = compare(steered(WORLD, scheme="grid"), PROMPTS[:30], [at_angle(45)], 0, n_bootstrap=100)
    (cell,) = grid.report()["angles"]
    assert cell["one_sided"].startswith("100% of 30 choices beside the target lie at smaller")
    assert sum(row["chosen"] for row in cell["neighbours"]) == 30
    flat = fading_world(kappa=0.0)
    even = compare(steered(flat, scheme="offset"), PROMPTS[:60], [(1, 1)], 0, n_bootstrap=100)
    assert even.report()["angles"][0]["one_sided"] == ""
    assert one_sided([]) == ""


def test_swapping_the_arms_turns_the_rates_round():
    for wins, losses in ((7, 3), (0, 5), (4, 4)):
        one, other = win_rates(wins, losses, 0), win_rates(losses, wins, 0)
        for rate in ("rate_no_ties", "rate_all", "rate_half_ties"):
            assert one[rate] == pytest.approx(1 - other[rate])
        assert one["z"] == -other["z"]
    assert win_rates(0, 0, 4)["rate_no_ties"] == 0.5
    assert win_rates(0, 0, 4)["wilson_no_ties"] is None


def test_drawn_directions_are_gathered_by_five_degrees():
    found = compare(steered(WORLD, scheme="uniform"), PROMPTS[:50], [(1, 1)], 0, n_bootstrap=100)
    rows = found.report()["angles"][0]["neighbours"]
    assert {row["angle_deg"] % 5 for row in rows} == {0}
    assert sum(row["n"] for row in rows) == 250
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "options", [{"baseline_samples": 0}, {"confidence": 1.0}, {"n_bootstrap": 99}]
)
def test_rules_of_a_comparison(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        compare(steered(WORLD), ["p"], [(1, 1)], 0, **options)


def test_a_comparison_of_nothing():
    with pytest.raises(DataError, match="at least one prompt"):
        compare(steered(WORLD), [], [(1, 1)], 0)


def test_the_reproduction_agrees_with_the_truth_and_can_fail():
    path = Path(__file__).parents[2] / "reproductions" / "rps.py"
    spec = importlib.util.spec_from_file_location("reproduction_of_rps", path)
    reproduction = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reproduction)
    rows = [
        {"world": "fading", **reproduction.cell(fading_world(kappa=1.5), 45.0, "toward", 200, 0)},
        {"world": "negative control", **reproduction.cell(learned_world(), 45.0, "grid", 200, 0)},
    ]
    assert [row["helps"] for row in rows] == [True, False]
    assert reproduction.failures(rows) == []
    off = [{**rows[0], "standard_errors_off": -4.5}, {**rows[1], "helps": True}]
    assert len(reproduction.failures(off)) == 2
