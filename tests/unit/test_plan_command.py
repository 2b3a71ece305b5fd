"""Plans as files and records: predicted loss before buying, transfer, what a report reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign import DataError, ParameterError
from pluralign.collect import (
    AdaptiveSampler,
    Evaluation,
    Isoelastic,
    Maximin,
    PowerCurves,
    SamplingPlan,
    allocate,
)
from pluralign.collect.forecast import collection_record, forecast
from pluralign.collect.plan_file import planned
from pluralign.collect.transfer import estimate_transfer
from pluralign.collect.welfare import ParityPenalised

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "plan.yaml"
GUESSED = {
    "budget": 900,
    "objective": "maximin",
    "groups": {
        "north": {"cost": 1, "population": 9, "curve": {"a": 0.1, "b": 1.0, "gamma": 0.5}},
        "south": {"cost": 2, "population": 1, "curve": {"a": 0.1, "b": 2.0, "gamma": 0.5}},
    },
}


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pluralign.cli", "plan", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_plan_is_forecast_for_every_strategy():
    found = planned(GUESSED)
    record = forecast(found.plan, found.curves)
    json.dumps(record, allow_nan=False)
    by_name = {row["name"]: row for row in record["strategies"]}
    assert next(iter(by_name)) == "maximin"
    losses = {name: {g["name"]: g["loss"] for g in row["groups"]} for name, row in by_name.items()}
    best = allocate(found.curves, cost=[1, 2], budget=900, objective=Maximin())
    assert losses["maximin"]["north"] == losses["maximin"]["south"] == pytest.approx(best.loss[0])
    assert losses["equal count"]["north"] == pytest.approx(0.1 + 300**-0.5)
    assert losses["proportional"]["south"] == pytest.approx(0.1 + 2 * (900 * 0.1 / 1.1) ** -0.5)
    assert by_name["proportional"]["worst_group"] == "south"
    for name, row in by_name.items():
        assert row["weighted_loss"] >= by_name["utilitarian"]["weighted_loss"] - 1e-12, name
        assert row["worst_loss"] >= by_name["maximin"]["worst_loss"] - 1e-12, name
        assert row["spent"] == pytest.approx(900)


def test_a_strategy_that_cannot_be_met_is_named_not_raised():
    values = json.loads(json.dumps(GUESSED))
    values["groups"]["south"]["curve"]["a"] = 1.3
    found = planned(values)
    record = forecast(found.plan, found.curves)
    (row,) = [row for row in record["strategies"] if row["name"] == "isoelastic (eps 1)"]
    assert "group 'south' cannot have a performance above 0" in row["impossible"]
    values["objective"] = "isoelastic"
    found = planned(values)
    with pytest.raises(ParameterError, match="group 'south' cannot"):
        forecast(found.plan, found.curves)


def test_the_example_prints_and_its_json_agrees():
    done = call(EXAMPLE)
    assert done.returncode == 0, done.stderr
    for text in ("maximin", "(the plan)", "utilitarian", "proportional", "worst group", "north"):
        assert text in done.stdout
    record = json.loads(call(EXAMPLE, "--json").stdout)
    for group in record["groups"]:
        assert group["gain"]["low"] < group["gain"]["value"] < group["gain"]["high"]
        assert f"{group['loss']:.4f}" in done.stdout
    for strategy in record["strategies"]:
        assert f"{strategy['weighted_loss']:.4f}" in done.stdout
    changed = json.loads(call(EXAMPLE, "--json", "--set", "objective=parity").stdout)
    assert changed["strategies"][0]["name"] == "parity (kappa 1)"


def test_without_curves_the_pilot_is_named(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("budget: 900\ngroups:\n  north: {cost: 1}\n  south: {cost: 2}\n")
    done = call(plan)
    assert done.returncode == 0, done.stderr
    assert "next: pilot, 60 for north 20, south 20" in done.stdout
    assert "Nothing is known of north, south" in done.stdout
    assert json.loads(call(plan, "--json").stdout)["strategies"] == []


def test_a_running_collection_is_forecast_and_not_touched(tmp_path):
    plan, state = tmp_path / "plan.yaml", tmp_path / "state.json"
    plan.write_text("budget: 900\ngroups:\n  north: {cost: 1}\n  south: {cost: 2}\n")
    sampler = AdaptiveSampler(
        planned({"budget": 900, "groups": {"north": {"cost": 1}, "south": {"cost": 2}}}).plan,
        path=state,
    )
    pilot = sampler.ask()
    told = [Evaluation(g, n, 0.1 + n**-0.5, 0.01) for g in sampler.totals for n in (5, 10, 20)]
    sampler.tell(pilot, told)
    before = state.read_bytes()
    done = call(plan, "--state", state)
    assert done.returncode == 0, done.stderr
    assert state.read_bytes() == before
    assert "60 of 900 is spent." in done.stdout
    assert "next: round 1, " in done.stdout
    record = json.loads(call(plan, "--state", state, "--json").stdout)
    assert record["budget"] == 840
    assert record["next"]["id"] == sampler.ask().id
    assert [one["round"] for one in record["rounds"]] == [0]
    assert call(plan, "--state", state, "--report", tmp_path / "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Money by round" in page
    assert "60 of 900 is spent, by the pilot." in page
    plan.write_text(plan.read_text().replace("900", "901"))
    wrong = call(plan, "--state", state)
    assert wrong.returncode == 2
    assert "belongs to another plan: budget is 900" in " ".join(wrong.stderr.split())


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"budgt": 5}, ["budgt is unknown; did you mean 'budget'?"]),
        ({"budget": None}, ["budget must be a finite number > 0; got None"]),
        ({"groups": {}}, ["groups must map names to their settings"]),
        ({"groups": {"a": 3}}, ["groups.a must map settings to values; got 3"]),
        (
            {"groups": {"a": {"cst": 1}, "b": {"cost": "x"}}},
            [
                "groups.a.cst is unknown; did you mean 'cost'?",
                "groups.a.cost is missing",
                "groups.b.cost must be a finite number; got 'x'",
            ],
        ),
        ({"groups": {"a": {"cost": 0}}}, ["cost must be finite and > 0; got 0.0 for group 'a'"]),
        ({"groups": {"a": {"cost": 1, "curve": {"a": 1}}}}, ["groups.a.curve.b is missing"]),
        ({"groups": {"a": {"cost": 1, "curve": [1]}}}, ["groups.a.curve must map a, b and gamma"]),
        (
            {"groups": {"a": {"cost": 1, "points": [[1, 2], [1]]}}},
            ["groups.a.points must be a list"],
        ),
        ({"groups": {"a": {"cost": 1, "points": [[1, "x"]]}}}, ["points must hold finite numbers"]),
        ({"groups": {"a": {"cost": 1, "points": [[0, 2], [1, 1]]}}}, ["point 0 cannot be used"]),
        (
            {"groups": {"a": {"cost": 1, "population": 2}, "b": {"cost": 1}}},
            ["groups.b has no population, other groups have"],
        ),
        ({"objective": "fair"}, ["objective is unknown: 'fair'"]),
        (
            {"objective": "isoelastic", "kappa": 1},
            ["kappa means nothing to objective 'isoelastic'"],
        ),
        ({"gamma_bounds": 3}, ["gamma_bounds must be [low, high]; got 3"]),
        ({"rounds": "many"}, ["SamplingPlan.rounds must be an integer >= 1; got 'many'"]),
    ],
)
def test_bad_plan_files(change, messages):
    with pytest.raises(ParameterError) as found:
        planned({**GUESSED, **change}, "plan.yaml")
    for message in messages:
        assert f"plan.yaml: {message}" in str(found.value) or message in str(found.value)
    assert all(line.startswith("plan.yaml: ") for line in str(found.value).splitlines())


def test_a_plan_that_is_not_there():
    done = call("none.yaml")
    assert done.returncode == 2
    assert "there is no plan at none.yaml" in done.stderr
    assert call(EXAMPLE, "--state", "none.json").returncode == 2


def test_the_record_of_a_collection_holds_what_a_report_draws():
    plan = SamplingPlan(groups=("a", "b"), cost=[1, 2], budget=900, rounds=4, population=[3, 1])
    sampler = AdaptiveSampler(plan)
    rng = np.random.default_rng(0)
    while (purchase := sampler.ask()) is not None:
        told = [
            Evaluation(g, n, {"a": 0.1, "b": 0.2}[g] + n**-0.5 + rng.normal(0, 0.003), 0.003)
            for g, sizes in purchase.evaluate_at.items()
            for n in sizes
        ]
        sampler.tell(purchase, told)
    record = json.loads(json.dumps(collection_record(sampler), allow_nan=False))
    assert record["spent"] + record["left"] == pytest.approx(900)
    totals = {"a": 0, "b": 0}
    for one in record["rounds"]:
        totals = {g: totals[g] + one["bought"][g] for g in totals}
        assert one["totals"] == totals
        for group, loss in one["obtained"].items():
            if one["round"]:
                assert one["predicted"][group] == pytest.approx(loss, abs=0.03)
    assert totals == record["totals"]
    for group in record["groups"]:
        assert len(group["curve"]["points"]) >= 4
        assert group["gain"]["low"] <= group["gain"]["value"] <= group["gain"]["high"]
        slope = group["curve"]["b"] * group["curve"]["gamma"]
        assert group["gain"]["value"] == pytest.approx(
            slope * group["n"] ** (-group["curve"]["gamma"] - 1)
        )
    n, weight = record["totals"], record["inclusion_weights"]
    assert n["a"] * weight["a"] == pytest.approx(3 * n["b"] * weight["b"])


@pytest.mark.parametrize("seed", range(3))
def test_transfer_is_found_where_mixes_differ(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(10, 400, (14, 3))
    tau = np.array([[1, 0.4, 0.0], [0.1, 1, 0.8], [0, 0.2, 1]])
    curves = PowerCurves([0.1, 0.2, 0.05], [1.0, 2.0, 1.5], [0.5, 0.4, 0.6])
    clean = curves.loss(n @ tau.T)
    found = estimate_transfer(n, clean)
    assert found.matrix == pytest.approx(tau, abs=1e-3)
    assert found.residual.max() < 1e-6
    noisy = estimate_transfer(n, clean + rng.normal(0, 0.001, clean.shape))
    assert noisy.matrix == pytest.approx(tau, abs=0.35)
    holes = clean.copy()
    holes[3, 0] = np.nan
    assert estimate_transfer(n, holes).matrix == pytest.approx(tau, abs=1e-3)


def test_transfer_needs_mixes():
    n = np.array([[10, 20], [20, 40], [40, 80]])
    with pytest.raises(DataError, match="group 'b' was measured on 2 different mixes"):
        estimate_transfer(
            np.vstack([n, [[5, 9]]]), [[1, 1], [1, np.nan], [1, np.nan], [1, 1]], names=("a", "b")
        )
    with pytest.raises(DataError, match=r"must both be \(K, G\)"):
        estimate_transfer(n, [1, 2, 3])
    with pytest.raises(DataError, match="counts must be finite"):
        estimate_transfer(np.zeros((5, 2)), np.ones((5, 2)))


def test_a_helpful_group_is_bought_for_those_it_helps():
    curves = PowerCurves(0.1, [0.9, 0.9, 0.9], 0.5)
    tau = np.array([[1, 0, 0], [0.9, 1, 0], [0.9, 0, 1]])
    for objective in (Isoelastic(eps=0.0), ParityPenalised(kappa=0.0), Isoelastic(eps=1.0)):
        alone = allocate(curves, cost=1, budget=900, objective=objective)
        helped = allocate(curves, cost=1, budget=900, objective=objective, transfer=tau)
        assert helped.counts[0] > 2 * alone.counts[0]
        assert helped.loss.sum() < alone.loss.sum()
