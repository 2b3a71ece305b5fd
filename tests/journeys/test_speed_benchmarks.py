"""Every path of the speed benchmark runs to its end; the page shows what was recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks"


def run(script, *options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_page_shows_the_records():
    done = run("speed_page.py", "--check")
    assert done.returncode == 0, done.stderr


PATHS = {
    "plain, with memory": ["--scenarios", "32,real"],
    "lora": ["--lora", "--scenarios", "32,256", "--no-memory"],
    "checkpointing": ["--checkpointing", "--scenarios", "32,1024", "--no-memory"],
    "four responses": ["--responses", "4", "--scenarios", "32,real", "--no-memory"],
}


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_every_path_runs_to_its_end(path):
    pytest.importorskip("trl", reason="needs the [trl] extra")
    options = PATHS[path]
    done = run("preference_step.py", "--smoke", "--json", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    real = (SCRIPTS.parents[1] / "shared" / "data").is_dir() and "4" not in options
    asked = [s for s in options[options.index("--scenarios") + 1].split(",") if s != "real" or real]
    variants = ["trl_online", "trl_cached", "trl_compact", "pluralign"]
    found = [(row["prompt"], row["variant"]) for row in record["results"]]
    assert found == [(scenario, variant) for scenario in asked for variant in variants]
    for row in record["results"]:
        assert min(row["seconds"]) > 0
        assert row["ideal"] >= 1.0
        assert ("peak_mb" in row) == ("--no-memory" not in options)
