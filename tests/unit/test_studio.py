"""The studio without its page: candidates re-ranked by any direction, and whom it serves."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import yaml

from pluralign.collect import AdaptiveSampler, Concave, Evaluation, Maximin, SamplingPlan
from pluralign.decide import PackageProblem, compare, solve
from pluralign.decide.record import decision_record
from pluralign.errors import DataError, ParameterError
from pluralign.steer.sphere import at_angle, unit
from pluralign.study.steering import load_steering, run_steering
from pluralign.study.studio import (
    Asked,
    Candidates,
    fragments,
    profile,
    ranked,
    read_candidates,
    read_records,
    served,
    turning,
)
from pluralign.study.studio.collecting import read_collection, spend
from pluralign.study.studio.collection_fragment import collection_view
from pluralign.study.studio.deciding import decided_anew, read_decision
from pluralign.study.studio.decision_fragment import decision_view
from pluralign.study.studio.page import _settled, _spent, _turned

TRIAL = {
    "name": "trial",
    "title": "A trial",
    "world": {"name": "fading", "kappa": 1.5, "prompts": 12, "batch": 3},
    "targets": {"angles": [0, 45]},
    "audit": {"n_bootstrap": 100},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    (folder / "trial.yaml").write_text(yaml.safe_dump(TRIAL))
    run_steering(load_steering(folder / "trial.yaml", [f"output_dir={folder / 'run'}"]), quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def found(run):
    return read_candidates(run / "selections.jsonl")


def asked(rewards, group="", number=0, directions=None):
    rewards = np.array(rewards, dtype=float)
    return Asked(
        number=number,
        prompt=f"prompt {number}",
        group=group,
        texts=tuple(f"answer {i}" for i in range(len(rewards))),
        rewards=rewards,
        directions=np.array(directions if directions is not None else [[1.0, 0.0]] * len(rewards)),
        times=(1,) * len(rewards),
    )


def pooled(*prompts, names=("a", "b")):
    sampled = np.unique(np.concatenate([one.directions for one in prompts]), axis=0)
    return Candidates(
        names=names,
        asked=prompts,
        targets=sampled[:1],
        sampled=sampled,
        n_failed=0,
        scorer="s",
        standardised=False,
    )


def test_turning_the_direction_reorders_as_the_projection_says():
    one = asked([[2.0, 0.0], [1.4, 1.4], [0.0, 2.1]])
    orders = [[c.place for c in ranked(one, at_angle(angle))] for angle in (0, 45, 90)]
    assert orders == [[0, 1, 2], [1, 2, 0], [2, 1, 0]]
    assert ranked(one, (1, 1))[0].score == pytest.approx(2.8 / math.sqrt(2))
    assert ranked(one, (-1, 0))[0].place == 2  # an attribute may be unwanted


def test_the_order_depends_on_the_direction_alone_and_equals_keep_their_place():
    one = asked([[1.0, 3.0], [3.0, 1.0], [1.0, 3.0]])
    assert [c.place for c in ranked(one, (0, 1))] == [0, 2, 1]
    assert [c.place for c in ranked(one, (7, 70))] == [c.place for c in ranked(one, (0.1, 1))]


@pytest.mark.parametrize("direction", [(0, 0), (1, 2, 3), (math.nan, 1), (1,)])
def test_a_direction_that_is_none_is_refused(direction):
    with pytest.raises(ParameterError, match="direction must"):
        ranked(asked([[1.0, 2.0]]), direction)


def test_ranked_first_is_what_the_run_chose_where_nothing_better_was_drawn_elsewhere(run, found):
    """At a run's own target the pool's best is at least as good as either arm's choice."""
    rows = [json.loads(line) for line in (run / "selections.jsonl").read_text().splitlines()]
    better = 0
    for row in rows:
        best = ranked(found.asked[row["prompt"]], row["rps"]["target"])[0]
        arms = (row["rps"]["best"], row["baseline"]["best"])
        assert best.score >= max(arms) - 1e-12
        better += best.score > max(arms) + 1e-12
    assert better < len(rows)  # and often it is one of them


def test_candidates_are_pooled_once_with_their_counts(run, found):
    rows = [json.loads(line) for line in (run / "selections.jsonl").read_text().splitlines()]
    drawn = sum(len(row[arm]["candidates"]) for row in rows for arm in ("rps", "baseline"))
    assert sum(sum(one.times) for one in found.asked) == drawn == 12 * 2 * 10
    for one in found.asked:
        keys = list(zip(one.texts, map(tuple, one.directions), strict=True))
        assert len(set(keys)) == len(keys)
    assert found.groups == ()
    assert len(found.targets) == 2


def test_groups_are_means_of_each_prompts_best_and_the_least_served_stands_first():
    found = pooled(
        asked([[1.0, 0.0], [0.0, 2.0]], "north", 0),
        asked([[3.0, 0.0], [0.0, 0.0]], "north", 1),
        asked([[0.0, 9.0], [1.0, 0.0]], "south", 2),
    )
    first, second = served(found, (1, 0))
    assert (first.name, first.score, first.n, first.low) == ("south", 1.0, 1, None)
    assert (second.name, second.score, second.rewards) == ("north", 2.0, (2.0, 0.0))
    assert second.low < 2.0 < second.high
    # Turned, the other group is the worst-off.
    assert [row.name for row in served(found, (0, 1))] == ["north", "south"]
    assert served(found, (0, 1))[1].rewards == (0.0, 9.0)


def test_a_profile_is_what_each_direction_serves():
    rng = np.random.default_rng(0)
    found = pooled(*(asked(rng.normal(size=(7, 2)), "xy"[i % 2], i) for i in range(6)))
    angles, directions = turning.every_angle(-30, 80, 5)
    curves = profile(found, directions)
    for place in range(len(angles)):
        rows = {row.name: row.score for row in served(found, directions[place])}
        assert {name: curves[name][place] for name in rows} == pytest.approx(rows)
    assert curves[turning.EVERYONE] == pytest.approx((curves["x"] + curves["y"]) / 2)


def test_a_profile_does_not_fall_below_any_one_candidate():
    """A maximum over candidates: convex in v, so chords lie above within a half-plane."""
    one = asked([[1.0, 0.2], [0.3, 1.0]])
    angles, directions = turning.every_angle(0, 90, 31)
    curve = profile(pooled(one), directions)[turning.EVERYONE]
    assert (curve >= (one.rewards @ directions.T).max(axis=0) - 1e-12).all()
    assert curve.argmin() not in (0, len(angles) - 1)


def test_it_says_how_far_anything_was_drawn():
    found = pooled(asked([[1.0, 0.0]] * 2, directions=[at_angle(10), at_angle(-20)]))
    assert turning.nearest(found, at_angle(35)) == pytest.approx(25)
    assert turning.angle_range(found) == (-35.0, 25.0)
    assert "25° away" in fragments.direction_line(found, at_angle(35))
    assert "away" not in fragments.direction_line(found, at_angle(12))


def test_three_attributes_have_weights_instead_of_an_angle():
    found = pooled(asked([[1, 0, 0], [0, 0, 1]], directions=[[1, 0, 0]] * 2), names=("a", "b", "c"))
    told, listed, groups = _turned(found, 0, 0.0, 0.2, 0.9)
    assert listed.index("answer 1") < listed.index("answer 0")
    assert "0.98 c" in told
    assert "At every angle" not in groups
    assert "not 0" in _turned(found, 0, 0.0, 0.0, 0.0)[0]


def test_texts_of_a_run_cannot_become_markup():
    hostile = "<script>alert(1)</script>\u202e"
    one = asked([[1.0, 0.0]], hostile)
    found = pooled(
        Asked(**{**vars_of(one), "texts": (hostile,), "prompt": hostile}), names=(hostile, "b")
    )
    for text in _turned(found, 0, 20.0):
        assert "<script" not in text
    assert "&lt;script&gt;" in _turned(found, 0, 20.0)[1]


def vars_of(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_the_gain_table_shows_who_gains_where():
    target = {"angle": 20.0, "direction": [0.94, 0.34]}
    part = {"n": 9, "low": 0.1, "high": 0.3}
    groups = [
        {**part, "name": "north", "gain": 0.2},
        {**part, "name": "south", "gain": -0.2, "low": -0.3, "high": -0.1},
        {**part, "name": "east", "gain": 0.0, "low": -0.1, "high": 0.1},
        {**part, "name": "none", "gain": None, "low": None, "high": None},
    ]
    table = fragments.gains_table({"targets": [{**target, "groups": groups}]})
    assert table.count('class="better">+0.2') == 1
    assert table.count('class="worse">−0.2') == 1
    assert "20°" in table
    assert fragments.gains_table({"targets": [{**target, "groups": []}]}) == ""


def test_an_unfinished_run_is_shown_as_far_as_it_is(run, tmp_path):
    lines = (run / "selections.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "selections.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:50])
    records = read_records(tmp_path)
    assert sum(sum(one.times) for one in records.candidates.asked) == 40
    assert "not finished" in fragments.heading(records)
    assert records.title == tmp_path.name
    finished = fragments.heading(read_records(run))
    assert "A trial" in finished
    assert "not finished" not in finished


def test_a_failed_candidate_is_left_out_and_counted(run, tmp_path):
    row = json.loads((run / "selections.jsonl").read_text().splitlines()[0])
    row["rps"]["ok"][0] = False
    row["rps"]["rewards"][0] = [None, None]
    row["rps"]["scores"][0] = None
    (tmp_path / "selections.jsonl").write_text(json.dumps(row) + "\n")
    found = read_candidates(tmp_path / "selections.jsonl")
    assert found.n_failed == 1
    assert np.isfinite(found.asked[0].rewards).all()
    assert "1 candidate failed" in fragments.heading(read_records(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no finished selection"),
        ("{}\n", "line 1 is no record of steering"),
        ("[1]\n", "line 1 is no record of steering"),
        ('{"rps": \n', "line 1 is no record of steering"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, said):
    path = tmp_path / "selections.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


def test_other_attributes_in_one_file_are_refused(run, tmp_path):
    lines = (run / "selections.jsonl").read_text().splitlines()
    other = lines[1].replace("verbosity", "brevity")
    (tmp_path / "selections.jsonl").write_text(f"{lines[0]}\n{other}\n")
    with pytest.raises(DataError, match="line 2 has other attributes"):
        read_records(tmp_path)


def test_a_directory_without_records_says_what_makes_one(tmp_path):
    with pytest.raises(ParameterError, match="pluralign steer"):
        read_records(tmp_path)
    with pytest.raises(ParameterError, match="no run directory at"):
        read_records(tmp_path / "absent")


def studio_without(package, *words):
    block = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"sys.argv = ['pluralign', *{list(map(str, words))!r}]\n"
        "from pluralign.cli.app import main; main()"
    )
    return subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)


def test_without_gradio_one_line_names_the_extra(run):
    done = studio_without("gradio", "studio", run)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "pluralign[studio]" in " ".join(done.stderr.split())


def test_a_wrong_directory_is_told_before_gradio_is_looked_for(tmp_path):
    done = studio_without("gradio", "studio", tmp_path / "absent")
    assert done.returncode == 2
    assert "no run directory" in " ".join(done.stderr.split())


def test_drawings_hold_every_group_and_mark_the_direction():
    found = pooled(*(asked([[i, 1.0], [0.0, 2.0]], f"g{i}", i) for i in range(4)))
    view = fragments.groups_view(found, unit((1, 1)))
    for i in range(4):
        assert f"g{i}" in view
    assert view.count("<polyline") == 2 * (4 + 1)
    assert view.count('class="reference"') == 2


LOSS = {"north": lambda n: 0.1 + n**-0.5, "south": lambda n: 0.1 + 2 * n**-0.5}


def collected(path, rounds, **settings):
    """A collection of two groups with known curves, after so many rounds."""
    usual = {"groups": tuple(LOSS), "cost": 1, "budget": 400, "pilot": 40, "rounds": 4}
    sampler = AdaptiveSampler(SamplingPlan(**{**usual, **settings}), path=path)
    for _ in range(rounds):
        purchase = sampler.ask()
        sizes = [(group, n) for group, each in purchase.evaluate_at.items() for n in each]
        sampler.tell(purchase, [Evaluation(group, n, LOSS[group](n)) for group, n in sizes])
    return sampler


@pytest.mark.parametrize("objective", [Maximin(), None])
def test_a_collection_is_read_as_its_sampler_left_it(tmp_path, objective):
    settings = {} if objective is None else {"objective": objective}
    sampler = collected(tmp_path / "state.json", 2, available=300, **settings)
    found = read_records(tmp_path).collection
    assert found.plan.to_json() == sampler.plan.to_json()
    assert found.held.tolist() == list(sampler.totals.values())
    assert found.left == 400 - sampler.spent
    before = (tmp_path / "state.json").read_bytes()
    spend(found, 100)
    assert (tmp_path / "state.json").read_bytes() == before


def test_money_lowers_losses_as_the_true_curves_say(tmp_path):
    collected(tmp_path / "state.json", 2)
    found = read_collection(tmp_path / "state.json")
    for money in (50, 400):
        after = spend(found, money, "maximin")["strategies"][0]
        assert after["spent"] == pytest.approx(money)
        for row in after["groups"]:
            assert row["loss"] == pytest.approx(LOSS[row["name"]](row["n"]), rel=1e-3)
    few, many = (spend(found, m, "maximin")["strategies"][0]["worst_loss"] for m in (50, 400))
    assert many < few
    mean, worst = (spend(found, 400, name)["strategies"][0] for name in ("utilitarian", "maximin"))
    assert mean["weighted_loss"] < worst["weighted_loss"]
    assert worst["worst_loss"] < mean["worst_loss"]


def test_the_collection_names_the_group_with_the_largest_loss(tmp_path):
    collected(tmp_path / "state.json", 2)
    found = read_collection(tmp_path / "state.json")
    view = collection_view(found, 200, "utilitarian")
    assert "\u2068south\u2069 is left with the largest loss" in view
    assert "maximin" in view
    planned = _spent(found, 200, "as planned")
    assert planned != view
    assert planned == collection_view(found, 200, None)


def decided(path, concept="leximin", **changes):
    given = {
        "values": [[3, 0, 1, 2], [0, 2, 1, 0], [1, 1, 1, 1]],
        "cost": [2, 2, 1, 3],
        "budget": 3,
    }
    problem = PackageProblem(**given, groups=("old", "young", "<b>new</b>"), **changes)
    record = decision_record(problem, compare(problem), chosen=concept, title="Two streets")
    path.write_text(json.dumps(record))
    return problem


@pytest.mark.parametrize("concept", ["leximin", "utilitarian", "nash", "equal_shares", "negotiate"])
def test_another_budget_or_weight_is_decided_as_solve_would(tmp_path, concept):
    problem = decided(tmp_path / "decision.json")
    found = read_decision(tmp_path / "decision.json")
    assert found.package == solve(problem, "leximin").package
    for budget, weights in ((0, [1, 1, 1]), (4, [0, 5, 1]), (8, [1, 0, 0])):
        wanted = solve(problem.changed(budget=budget, weights=weights), concept)
        assert decided_anew(found, budget, concept, weights).package == wanted.package
    assert found.most == 8.0


def test_the_page_of_a_decision_says_what_comes_in_and_goes_out(tmp_path):
    problem = decided(tmp_path / "decision.json")
    found = read_decision(tmp_path / "decision.json")
    richer = decision_view(found, 8.0, "leximin")
    assert richer.count("comes in") == 4 - len(found.package)
    assert "goes out" not in richer
    assert decision_view(found, 0.0).count("goes out") == len(found.package)
    assert "nothing for 0 of 0" in decision_view(found, 0.0)
    assert "Weights count in the rules utilitarian and nash" in richer
    assert "Weights count" not in decision_view(found, 8.0, "nash")
    assert "<b>new</b>" not in richer
    assert "weights must not all be 0" in _settled(found, 3.0, "nash", 0.0, 0.0, 0.0)
    least = min(solve(problem.changed(budget=3), "utilitarian").utilities)
    assert f"with {least:g}" in _settled(found, 3.0, "utilitarian", 1.0, 1.0, 1.0)


@pytest.mark.parametrize("cut", ["truncated", "kind", "chosen", "package"])
def test_a_decision_that_cannot_be_read_is_named(tmp_path, cut):
    path = tmp_path / "decision.json"
    decided(path)
    record = json.loads(path.read_text())
    if cut == "truncated":
        path.write_text(path.read_text()[:-30])
    elif cut == "package":
        path.write_text(json.dumps({**record, "problem": {}}))
    else:
        path.write_text(json.dumps({**record, cut: "something else"}))
    with pytest.raises(DataError, match="is no record of pluralign decide") as raised:
        read_records(tmp_path)
    assert "decision.json" in str(raised.value)


def test_before_the_pilot_there_is_no_forecast(tmp_path):
    sampler = collected(tmp_path / "state.json", 0)
    sampler.ask()
    found = read_collection(tmp_path / "state.json")
    assert found.curves is None
    with pytest.raises(ParameterError, match="pilot"):
        spend(found, 10)


def test_a_state_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "state.json"
    collected(path, 1, objective=Concave(name="root", u=np.sqrt, slope=lambda p: 0.5 / np.sqrt(p)))
    with pytest.raises(DataError, match="utility of one's own"):
        read_records(tmp_path)
    collected(tmp_path / "state2.json", 1)
    path.write_bytes((tmp_path / "state2.json").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"state\.json: is no state of a collection"):
        read_records(tmp_path)
