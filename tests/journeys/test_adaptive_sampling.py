"""A collection survives what happens to real ones: kills, broken files, wrong plans."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign import DataError
from pluralign.collect import AdaptiveSampler, Evaluation, SamplingPlan

SOURCE = Path(__file__).parents[2] / "src"
CHILD = """
import os, signal, sys
from pluralign.collect import AdaptiveSampler, Evaluation, SamplingPlan

plan = SamplingPlan(groups=("a", "b"), cost=[1, 2], budget=600, pilot=20, rounds=3)
sampler = AdaptiveSampler(plan, path=sys.argv[1])
purchase = sampler.ask()
if purchase is None:
    print("done", sampler.totals)
    raise SystemExit
print(purchase.id, purchase.counts, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
told = [
    Evaluation(g, n, {"a": 0.1, "b": 0.2}[g] + n**-0.5)
    for g, sizes in purchase.evaluate_at.items()
    for n in sizes
]
sampler.tell(purchase, told)
"""


def child(path, how):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", CHILD, str(path), how]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_kill_between_ask_and_tell_loses_nothing(tmp_path):
    killed, plain = tmp_path / "killed.json", tmp_path / "plain.json"
    steps = 0
    while True:
        dead = child(killed, "kill")
        if dead.returncode == 0:
            break
        assert dead.returncode == -signal.SIGKILL
        done, straight = child(killed, "go on"), child(plain, "go on")
        assert done.stdout == dead.stdout == straight.stdout  # same id, same counts
        steps += 1
    assert steps == 4
    assert dead.stdout == child(plain, "go on").stdout
    assert json.loads(killed.read_text()) == json.loads(plain.read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"killed.json", "plain.json"}


def plan_with(**options):
    usual = {"groups": ("a", "b"), "cost": [1, 2], "budget": 600, "pilot": 20, "rounds": 3}
    return SamplingPlan(**{**usual, **options})


@pytest.fixture
def state(tmp_path):
    """A file after the pilot, with a purchase pending."""
    path = tmp_path / "state.json"
    sampler = AdaptiveSampler(plan_with(), path=path)
    pilot = sampler.ask()
    sampler.tell(
        pilot, [Evaluation(g, n, 0.1 + n**-0.5) for g in "ab" for n in pilot.evaluate_at[g]]
    )
    sampler.ask()
    return path


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_state_is_refused_by_name(state, kept):
    text = state.read_text()
    state.write_text(text[: int(kept * len(text))])
    with pytest.raises(DataError, match=r"state\.json: is truncated or no JSON"):
        AdaptiveSampler(plan_with(), path=state)


def test_a_changed_state_is_refused_by_name(state):
    record = json.loads(state.read_text())
    record["spent"] -= 10
    state.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"state\.json: was changed or is incomplete"):
        AdaptiveSampler(plan_with(), path=state)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"budget": 700}, "budget is 600 there and 700 here"),
        ({"cost": [1, 3]}, r"cost is \[1.0, 2.0\] there and \[1.0, 3.0\] here"),
        ({"groups": ("a", "c")}, r"groups is \['a', 'b'\] there"),
        ({"rounds": 4, "seed": 1}, r"rounds is 3 there and 4 here \(2 fields differ\)"),
    ],
)
def test_the_state_of_another_plan_is_refused_by_name(state, options, named):
    with pytest.raises(DataError, match=rf"state\.json: belongs to another plan: {named}"):
        AdaptiveSampler(plan_with(**options), path=state)


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '"text"', '{"format": "another"}'])
def test_another_file_is_refused_by_name(state, text):
    state.write_text(text)
    with pytest.raises(DataError, match=r"state\.json: is no state of adaptive sampling"):
        AdaptiveSampler(plan_with(), path=state)


def test_a_later_version_is_refused_by_name(state):
    record = json.loads(state.read_text())
    state.write_text(json.dumps({**record, "version": 2}))
    with pytest.raises(DataError, match=r"state of version 2; this reads 1"):
        AdaptiveSampler(plan_with(), path=state)


def test_a_language_model_is_tuned_on_bought_pairs(task, tmp_path):
    """Whom to ask next, by the losses of a model that is trained on what was bought so far."""
    from pluralign import audit
    from pluralign.collect.pool import pool_of
    from pluralign.learn import PreferenceTrainer
    from pluralign.objectives import DPO

    pairs, held_out = task.pairs(120, seed=1), task.pairs(24, seed=2)
    pool = pool_of(pairs)
    plan = SamplingPlan(
        groups=("north", "south"), cost=1, budget=50, pilot=16, rounds=1, available=pool.sizes
    )
    sampler = AdaptiveSampler(plan, path=tmp_path / "state.json")
    fit = 0
    while (purchase := sampler.ask()) is not None:
        told = []
        steps = max(map(len, purchase.evaluate_at.values()))
        for step in range(steps):
            last = {g: sizes[step] for g, sizes in purchase.evaluate_at.items()}
            bought = pool.pairs(pairs, {**purchase.totals, **last})
            trainer = PreferenceTrainer(
                task.model(),
                DPO(beta=0.5),
                bought,
                tokenizer=task.tokenizer,
                config=task.config(tmp_path / f"fit{fit}", num_train_epochs=1),
            )
            fit += 1
            trainer.fit()
            frame = audit.GroupFrame(audit.ranking_accuracy, trainer.scores(held_out), by="group")
            for row in frame.to_json()["groups"]:
                if row["name"] in last:
                    se = max((row["high"] - row["low"]) / 3.92, 0.01)
                    told.append(Evaluation(row["name"], last[row["name"]], 1 - row["value"], se))
        sampler.tell(purchase, told)
    assert sampler.spent == 50
    bought = pool.pairs(pairs, sampler.totals)
    assert bought.group_sizes() == {k: v for k, v in sampler.totals.items() if v}
    weights = bought.attributes["inclusion_weight"]
    share = {g: weights[[x == g for x in bought.group]].sum() / 50 for g in plan.groups}
    sizes = pool.sizes
    assert share == pytest.approx({g: sizes[g] / 120 for g in plan.groups})
    assert np.mean(weights) == pytest.approx(1.0)


def test_an_estimator_is_fed_bought_rows_and_speaks_of_the_population_by_their_weights():
    """Rows for any estimator: whom to ask by its losses, estimates by inclusion weights."""
    from sklearn.linear_model import Ridge

    from pluralign.collect import GroupPool, Maximin

    rng = np.random.default_rng(0)
    size, names = 6000, ("north", "south", "west")
    group = rng.choice(names, size, p=[0.7, 0.2, 0.1])
    spread = np.array([{"north": 0.3, "south": 0.6, "west": 1.5}[g] for g in group])
    slopes = {g: rng.normal(size=30) for g in names}
    x = rng.normal(size=(size, 30)) / np.sqrt(30)
    y = np.array([row @ slopes[g] for row, g in zip(x, group, strict=True)])
    y += 5.0 * (group == "west") + 2.0 * (group == "south")
    y += spread * rng.normal(size=size)
    pool, test = GroupPool(group[:4000].tolist(), seed=1), np.arange(4000, size)
    plan = SamplingPlan(
        groups=names,
        cost=1,
        budget=900,
        objective=Maximin(),
        population=[pool.sizes[g] for g in names],
        available=pool.sizes,
        pilot=60,
        rounds=5,
    )
    sampler = AdaptiveSampler(plan)
    while (purchase := sampler.ask()) is not None:
        told = []
        for name, sizes in purchase.evaluate_at.items():
            for n in sizes:
                rows, of = pool.index({name: n}), test[group[test] == name]
                errors = (Ridge(0.3).fit(x[rows], y[rows]).predict(x[of]) - y[of]) ** 2
                told.append(Evaluation(name, n, errors.mean(), errors.std() / np.sqrt(len(of))))
        sampler.tell(purchase, told)
    bought = sampler.totals
    assert sum(bought.values()) == 900
    assert bought["west"] > 300 > bought["north"]  # one in ten, where the loss is largest
    rows, weights = pool.index(bought), pool.weights(bought, pool.sizes)
    assert len(rows) == len(set(rows.tolist())) == len(weights) == 900
    mean = y[:4000].mean()
    assert abs(np.average(y[rows], weights=weights) - mean) < 0.15
    assert y[rows].mean() - mean > 1.0  # what ignoring the weights would report


def test_the_benchmark_compares_equal_answers():
    options = ["--repeats", "1", "--most", "10", "--json"]
    done = subprocess.run(
        [sys.executable, "benchmarks/adaptive_sampling.py", *options],
        cwd=SOURCE.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["results"]
    for objective in ("utilitarian", "isoelastic 1"):
        exact, general = (r for r in rows if (r["objective"], r["groups"]) == (objective, 10))
        assert float(exact["welfare"]) == pytest.approx(float(general["welfare"]), abs=1e-9)
    assert all(float(row["left"]) < 1e-7 for row in rows)
    assert {row["groups"] for row in rows} >= {10, 100_000}
