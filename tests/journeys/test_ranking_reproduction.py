"""The ranking reproduction: its two experiments in small, and its command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "reproductions"))
import ranking_accuracy as reproduction  # noqa: E402


def run(*arguments):
    return subprocess.run(
        [sys.executable, "reproductions/ranking_accuracy.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_free_logits_turn_as_the_formula_says():
    for row in reproduction.tabular(600, 12.0, (50, 100)):
        noise = np.sqrt(row["turned_formula"] * (1 - row["turned_formula"]) / 300)
        assert row["turned"] == pytest.approx(row["turned_formula"], abs=4 * noise)
        assert row["margin_spread"] < 1e-12
        assert row["reward_accuracy"] == 1.0
    assert row["loss"] < 0.45
    assert row["ranking_accuracy"] < 0.85


def test_difficulty_tells_beforehand_which_pairs_turn(capsys):
    (row,) = reproduction.transformer(300, 0, (1.0,))
    assert row["auc"] > 0.8
    assert row["turned_of_easy"] > row["turned_of_hard"] + 0.1
    assert row["reward_accuracy"] > row["ranking_accuracy"] > row["reference_accuracy"]
    reproduction.show([row, row], "twice")
    assert f"{row['auc']:.3f}" in capsys.readouterr().out


def test_auc_is_the_chance_of_the_right_order():
    rng = np.random.default_rng(0)
    positive, score = rng.random(60) < 0.4, np.round(rng.normal(size=60), 1)
    above = np.subtract.outer(score[positive], score[~positive])
    expected = ((above > 0) + 0.5 * (above == 0)).mean()
    assert reproduction.auc(positive, score) == pytest.approx(expected)


@pytest.mark.slow
def test_the_toy_command_prints_both_experiments():
    done = run("--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert len(record["tabular"]) == 4
    early, late = record["transformer"]
    assert early["auc"] > 0.8
    assert late["turned_of_wrong"] > early["turned_of_wrong"]
    assert "torch" in record["machine"]


def test_the_paper_scale_says_what_it_needs():
    done = run("--scale", "paper")
    assert done.returncode == 2
    assert "--model DIR" in done.stderr
