"""The reproduction of adaptive sampling: known truth, real judgements, simulated genomes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "reproductions"))
import adaptive_sampling as reproduction  # noqa: E402


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "reproductions/adaptive_sampling.py", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_strategies_that_need_no_curve_lose_as_much_as_they_should():
    rows, wrong = reproduction.known_truth(1, seed=0)
    assert wrong == []
    found = {row["strategy"]: row for row in rows}
    for name, weighted, worst in (
        ("proportional", 0.17369, 0.39263),
        ("equal count", 0.17131, 0.31341),
        ("equal spend", 0.16970, 0.33390),
        ("oracle utilitarian", 0.16967, 0.33495),
        ("oracle maximin", 0.27436, 0.27436),
    ):
        assert found[name]["weighted"] == pytest.approx(weighted, abs=1e-5)
        assert found[name]["worst"] == pytest.approx(worst, abs=1e-5)


def test_a_strategy_that_learns_nothing_is_told(monkeypatch):
    monkeypatch.setattr(
        reproduction, "adaptive_counts", lambda *_: np.array([3500.0, 1000.0, 500.0])
    )
    _, wrong = reproduction.known_truth(1, seed=0)
    assert [text for text in wrong if "misses the oracle" in text]
    assert "adaptive maximin does not beat proportional" in wrong


def test_a_score_is_best_where_people_are_like_those_it_was_trained_on():
    pytest.importorskip("msprime", reason="pip install msprime")
    world = reproduction.Genomes(3, people=260, length=3e5, test=100)
    own, far = (world.accuracy(counts) for counts in ((160, 0, 0), (0, 0, 160)))
    assert len(own) == 3
    assert own[0] > far[0] + 0.05
    assert all(0 <= value <= 1 for value in (*own, *far))


def test_orderings_that_do_not_hold_are_named():
    row = {"mean": 0.3, "worst": 0.25}
    rows = dict.fromkeys((*reproduction.DESIGNS, *reproduction.TILTS), row)
    alone, curves = np.eye(3), np.tile(np.linspace(0.1, 0.4, 5), (3, 1))
    wrong = " ".join(reproduction.genome_orderings(rows, alone, curves))
    assert "a tilt to the lowest lifts the worst off" in wrong
    assert "proportional costs the mean" in wrong
    assert "accuracy rises" not in wrong


@pytest.mark.slow
def test_thirty_repeats_with_curves_unknown_stay_near_the_oracle():
    found = {row["strategy"]: row for row in run("--scale", "toy")["truth"]}
    for name, key in (("utilitarian", "weighted"), ("maximin", "worst")):
        oracle, adaptive = found[f"oracle {name}"], found[f"adaptive {name}, floor 0"]
        assert oracle[key] - 1e-9 < adaptive[key] < oracle[key] + 0.002
    assert found["adaptive utilitarian, floor 0.05"]["highest_weighted"] < 0.1702


@pytest.mark.slow
@pytest.mark.skipif(not reproduction.DATA.exists(), reason="../shared/data/multipico is not there")
def test_languages_as_annotator_groups():
    rows = run("--scale", "small", "--only", "irony", "--draws", "3")["irony"]
    assert [row["strategy"] for row in rows][:2] == ["adaptive (eps 1)", "adaptive maximin"]
    for row in rows:
        assert 0.15 < row["mean"] < row["worst"] < 0.3  # always guessing the mean: 0.22
        assert row["mean_minus_equal"][1] <= row["mean_minus_equal"][0]


@pytest.mark.slow
def test_orderings_of_polygenic_scores():
    pytest.importorskip("msprime", reason="pip install msprime")
    found = run("--scale", "paper", "--only", "genomes")
    assert found["failures"] == []
    assert np.shape(found["genomes"]["curves"]) == (3, 5)
