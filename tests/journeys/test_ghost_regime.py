"""The large-batch table on real digits, as the method's page states it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_order_of_the_large_batch_table():
    done = subprocess.run(
        [sys.executable, "reproductions/ghost_batch_norm.py", "--seeds", "3", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["settings"]
    accuracy = {name: row["accuracy"][0] for name, row in found.items()}
    assert accuracy["large batch"] < accuracy["+ rate"] - 0.02
    assert accuracy["+ rate"] < accuracy["+ rate, ghosts"] - 0.02
    assert accuracy["+ rate, longer"] >= accuracy["small batch"] - 0.01
    # Without more updates the whole gain of the ghosts is fresher running statistics.
    again = {name: row["recalibrated"][0] for name, row in found.items()}
    assert abs(again["+ rate, ghosts"] - again["+ rate"]) < 0.02
    # The scaled rate brings the speed of the drift back.
    slope = {name: row["drift_slope"][0] for name, row in found.items()}
    assert slope["large batch"] < 0.7 * slope["small batch"]
    assert abs(slope["+ rate"] - slope["small batch"]) < 0.6
    assert found["small batch"]["drift_r2"][0] > 0.9
