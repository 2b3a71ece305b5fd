"""``pluralign decide``: plans, steering runs, what is written, and what is refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pluralign import DataError, ParameterError
from pluralign.decide import (
    Decision,
    PackageProblem,
    bootstrap,
    explain,
    negotiate,
    replay,
    solve,
)
from pluralign.decide.plan_file import planned_decision, steering_problem
from pluralign.decide.record import decision_record
from pluralign.decide.stakeholders import PromptedStakeholder
from pluralign.engines.sampling import SamplingParams, ScriptedSampler

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "package.yaml"

SPEAKER = "wheelchair users"


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pluralign.cli", "decide", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def plan(**changes):
    return {**yaml.safe_load(EXAMPLE.read_text()), **changes}


def steering_run(directory, groups=("north", "south")):
    rewards = {0: [3.0, 0.0], 1: [0.0, 3.0], 2: [2.0, 2.0]}
    directions = {0: [1.0, 0.0], 1: [0.0, 1.0], 2: [0.6, 0.8]}
    lines = []
    for target, reward in rewards.items():
        for prompt, group in enumerate(groups):
            bonus = 0.5 if (group, target) == ("south", 1) else 0.0
            steered = {
                "chosen": 1,
                "rewards": [[9, 9], [reward[0] + bonus, reward[1] + bonus]],
                "names": ["helpful", "brief"],
                "target": directions[target],
            }
            line = {"target": target, "prompt": prompt, "group": group, "rps": steered}
            lines.append(json.dumps(line))
    (directory / "selections.jsonl").write_text("\n".join(lines) + "\n")
    return directory


def test_a_plan_is_decided_and_written(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(EXAMPLE.read_text())
    result = call(path)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "decision.json").read_text())
    problem = PackageProblem.from_json(record["problem"])
    by_name = {one["concept"]: one for one in record["decisions"]}
    assert record["chosen"] == "negotiate"
    assert len(by_name) == 8
    for name, one in by_name.items():
        assert name.replace("_", " ") in result.stdout
        assert one["utilities"] == pytest.approx(problem.utilities(one["package"]))
        assert one["measures"]["total"] == pytest.approx(sum(one["utilities"]))
    stated = {name: by_name["negotiate"][name] for name in Decision.__dataclass_fields__}
    agreed = Decision.from_json(stated)
    assert replay(problem, agreed.trace) == agreed
    assert f"{agreed.cost:g} of 40" in result.stdout
    assert {row["item"] for row in record["explanation"]["items"]} == set(problem.item_names)
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_json_and_overrides(tmp_path):
    output = tmp_path / "out.json"
    result = call(EXAMPLE, "--json", "--set", "budget=20", "--concept", "nash", "--output", output)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record == json.loads(output.read_text())
    assert record["chosen"] == "nash"
    assert record["problem"]["budget"] == 20
    assert not (EXAMPLE.parent / "decision.json").exists()


def test_the_page_holds_the_decision_its_reasons_and_who_disagrees(tmp_path):
    page = tmp_path / "page.html"
    draw = np.random.default_rng(0)
    members = np.repeat(np.eye(3, dtype=int), 4, axis=0)
    people = {"members": members.tolist(), "ratings": draw.random((12, 5)).tolist()}
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan(**people)))
    result = call(path, "--report", page)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "decision.json").read_text())
    assert record["bootstrap"]["n"] == 200
    text = re.sub("[\u2068\u2069]", "", page.read_text())
    for section in ("utilities", "trace", "items", "money", "raters", "disagreement"):
        assert f'<section id="{section}"' in text
    for criterion in ("accessibility", "aesthetics", "inclusivity", "practicality"):
        assert criterion in text
    assert "pluralign decide" in text


def test_a_plan_tells_what_each_criterion_is_worth():
    found = planned_decision(plan())
    assert found.criteria == ("accessibility", "aesthetics", "inclusivity", "practicality")
    assert found.parts.sum(axis=2) == pytest.approx(found.problem.value_table)
    # The ramp's accessibility of 1 weighs 6 of 10 for wheelchair users.
    assert found.parts[0, 0].tolist() == pytest.approx([0.6, 0, 0, 0.09])
    worth = dict.fromkeys(plan()["groups"], 1)
    values = {"ramp": {"cost": 1, "values": worth}}
    assert planned_decision(plan(items=values, conflicts=[], requires=[])).parts is None


def test_a_steering_run_gets_a_default_direction(tmp_path):
    problem = steering_problem(steering_run(tmp_path))
    assert problem.group_names == ("north", "south")
    assert problem.utilities([1]) == pytest.approx([1.5, 2.0])
    assert problem.utilities([2]) == pytest.approx([2.0, 2.0])
    result = call(tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "decision.json").read_text())
    asked = next(one for one in record["decisions"] if one["concept"] == "leximin")
    assert asked["choice"] == ["helpful 0.600, brief 0.800"]


def test_a_run_without_groups_settles_between_attributes(tmp_path):
    problem = steering_problem(steering_run(tmp_path, groups=("",)))
    assert problem.group_names == ("helpful", "brief")
    assert solve(problem, "leximin").utilities == (2.0, 2.0)
    assert solve(problem, "leximin").package == (2,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": 3}, "'budgets' is unknown; did you mean 'budget'"),
        ({"items": {}}, "items must be a mapping that is not empty"),
        ({"items": {"ramp": {"effects": {"accessibility": 1}}}}, "items.ramp lacks cost"),
        ({"items": {"ramp": {"cost": 1, "effects": {"acces": 1}}}}, "'acces' is unknown"),
        ({"items": {"ramp": {"cost": 1, "values": {"senior": 1}}}}, "did you mean 'seniors'"),
        ({"items": {"ramp": {"cost": 1}}}, "needs either effects on criteria or values"),
        ({"items": {"ramp": {"cost": 1, "values": {"seniors": "a"}}}}, "'a' is no number"),
        ({"conflicts": [["ramp", "tree"]]}, "there is no item 'tree'"),
        ({"groups": {"a": {"weights": [1]}, "b": {"base": 0}}}, "must map criteria to numbers"),
    ],
)
def test_bad_plans_are_named(change, words):
    with pytest.raises(DataError, match=words):
        planned_decision(plan(**change))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.yaml"], "there is no plan or run at nowhere.yaml"),
        ([EXAMPLE, "--concept", "nasch"], "did you mean 'nash'"),
        ([EXAMPLE, "--set", "budget=-1"], "budget must be a finite number >= 0"),
        ([ROOT / "docs"], "this is no steering run"),
    ],
)
def test_the_command_ends_with_one_message(arguments, words):
    result = call(*arguments)
    assert result.returncode == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_truncated_steering_record_is_refused(tmp_path):
    path = steering_run(tmp_path) / "selections.jsonl"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match="line 6 is no steering record"):
        steering_problem(tmp_path)


def test_explanations_answer_by_solving_again():
    problem = planned_decision(plan()).problem
    decision = solve(problem, "leximin")
    found = explain(problem, decision)
    for j, row in enumerate(found["items"]):
        assert row["chosen"] == (j in decision.package)
        other = row["utilities_otherwise"]
        if other is not None:  # leximin: no other package has a better worst-off group
            assert min(other) <= min(decision.utilities) + 1e-9
    plaza = next(row for row in found["items"] if row["item"] == "plaza")
    assert plaza["reason"] == "it conflicts with trees, which is in"
    for row in found["budgets"]:
        richer = solve(problem.changed(budget=row["budget"]), "leximin")
        assert row["utilities"] == list(richer.utilities)
        assert row["total"] == pytest.approx(sum(richer.utilities) - sum(decision.utilities))
        assert row["worst"] == pytest.approx(min(richer.utilities) - min(decision.utilities))
    assert found["binding"][0]["constraint"] == "budget"


def test_records_of_disagreement_have_no_reasons():
    problem = PackageProblem([[2, 0], [0, 2]], [1, 1], 1, disagreement=[1, 1])
    decision = solve(problem, "nash")
    record = decision_record(problem, [decision], chosen="nash")
    json.dumps(record, allow_nan=False)
    assert record["explanation"] is None
    assert record["decisions"][0]["status"] == "disagreement"


def test_a_model_speaks_and_code_counts():
    problem = planned_decision(plan(concept="negotiate")).problem
    shown = []

    def told(text):
        def answer(prompt, direction, rng):
            shown.append(prompt)
            return text

        return PromptedStakeholder(ScriptedSampler(answer=answer), "You are old.", SamplingParams())

    wild = negotiate(problem, stakeholders={SPEAKER: told('We get 99! {"add": "castle"}')})
    rubric = negotiate(problem)
    assert wild.package == rubric.package
    invalid = [e for e in wild.trace if e["event"] == "invalid"]
    assert invalid
    assert "'castle'" in invalid[0]["reason"]
    assert SPEAKER in shown[0]
    said = told('Lights. {"drop": null, "add": "lights"}')
    spoken = negotiate(problem.changed(budget=60), stakeholders={SPEAKER: said})
    assert replay(problem.changed(budget=60), spoken.trace) == spoken
    for event in spoken.trace:
        if event["event"] == "counter":
            assert event["utilities"] == pytest.approx(problem.utilities(event["package"]))
    with pytest.raises(ParameterError, match="did you mean 'seniors'"):
        negotiate(problem, stakeholders={"senior": told("")})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": 1}, "rounds must be an integer >= 2; got 1"),
        ({"kappa": 0}, r"kappa must be in \(0, 10\]"),
        ({"kappa": [1, 11, 1]}, r"kappa must be in \(0, 10\]"),
        ({"quorum": 0.0}, "quorum must be"),
    ],
)
def test_options_of_the_bargaining_are_checked(options, words):
    with pytest.raises(ParameterError, match=words):
        negotiate(planned_decision(plan()).problem, **options)


def test_a_quorum_ends_earlier_and_says_so():
    problem = planned_decision(plan()).problem
    usual, two_thirds = negotiate(problem), negotiate(problem, quorum=0.6)
    ends = [one.trace[-1]["round"] for one in (two_thirds, usual)]
    assert ends[0] <= ends[1]
    assert two_thirds.status == "agreement"
    assert (np.array(two_thirds.utilities) >= problem.point).all()


def test_the_bootstrap_counts_what_stays():
    draw = np.random.default_rng(0)
    members = np.repeat(np.eye(2), 20, axis=0)
    ratings = members @ np.array([[3.0, 1.0, 0.2], [0.2, 1.0, 3.0]]) + draw.normal(0, 0.5, (40, 3))
    values = members.T @ ratings / 20
    problem = PackageProblem(values, [2, 1, 2], 2, members=members)
    found = bootstrap(problem, ratings, "leximin", n=50)
    assert found == bootstrap(problem, ratings, "leximin", n=50)
    share = {row["item"]: row["share"] for row in found["items"]}
    assert share["item 1"] > 0.9
    for row in (*found["groups"], found["total"], found["worst"]):
        assert row["low"] <= row["value"] <= row["high"]
    with pytest.raises(DataError, match="who belongs to which group"):
        bootstrap(problem.changed(members=None), ratings)
    with pytest.raises(DataError, match="ratings must be finite"):
        bootstrap(problem, ratings[:3])
