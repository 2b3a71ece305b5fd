"""Distance covariance with its gradient, against dcor's value without one.

Three sizes: a multivariate attribute, one continuous attribute, and few distinct attribute
rows (dcor has no path for those and is left out). Each variant runs in a process of its own
with one thread; the figure is the least CPU time of the repeats after one warm-up, the
memory is what the measured call added to the process's peak. Both sides run in turns.

    python benchmarks/dependence.py [--repeats 3] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

CASES = {
    "multivariate": {"n": 10_000, "quick": 2_000},
    "one continuous": {"n": 1_000_000, "quick": 100_000},
    "20 cells": {"n": 100_000, "quick": 10_000},
    "20 cells, jdcov": {"n": 100_000, "quick": 10_000},
}


def peak_mb() -> float:
    """High-water mark of resident memory."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def inputs(case: str, n: int) -> tuple[Any, list[Any]]:
    """Predictions, and attributes that they depend on a little."""
    import numpy as np

    rng = np.random.default_rng(0)
    if case == "multivariate":
        blocks = [rng.normal(size=(n, 3))]
    elif case == "one continuous":
        blocks = [rng.normal(size=n)]
    else:
        blocks = [rng.integers(0, 2, n), np.eye(10)[rng.integers(0, 10, n)]]
    first = blocks[0] if blocks[0].ndim == 1 else blocks[0][:, 0]
    return rng.normal(size=n) + 0.3 * first, blocks


def child(side: str, case: str, n: int, repeats: int) -> None:
    """Measure one variant and print its record."""
    y, blocks = inputs(case, n)
    run = ours(case, y, blocks) if side == "ours" else theirs(y, blocks)
    warm = inputs(case, 200)
    (ours(case, *warm) if side == "ours" else theirs(*warm))()
    before, times = peak_mb(), []
    for _ in range(repeats):
        begun = time.process_time()
        value = run()
        times.append(time.process_time() - begun)
    record = {"seconds": min(times), "more_mb": peak_mb() - before, "value": value}
    print(json.dumps(record))


def ours(case: str, y: Any, blocks: list[Any]) -> Any:
    """Value and gradient; the attributes are checked and their cells found each time."""
    import torch

    from pluralign.objectives import DistanceCovariance

    torch.set_num_threads(1)
    penalty = DistanceCovariance(measure="jdcov" if "jdcov" in case else "ccdcov")

    def run() -> float:
        predictions = torch.tensor(y, requires_grad=True)
        psi = penalty(predictions, [torch.tensor(block) for block in blocks])
        psi.backward()
        return psi.item()

    return run


def theirs(y: Any, blocks: list[Any]) -> Any:
    """The value alone."""
    import dcor

    one = blocks[0].ndim == 1
    left = y if one else y[:, None]
    return lambda: float(dcor.u_distance_covariance_sqr(left, blocks[0]))


def measured(side: str, case: str, n: int, repeats: int) -> dict[str, float]:
    """The record of a process of its own."""
    command = [sys.executable, __file__, "--child", side, case, str(n), str(repeats)]
    source = str(Path(__file__).parents[1] / "src")
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths}
    )
    return json.loads(done.stdout.splitlines()[-1])


def compared(case: str, n: int, repeats: int) -> dict[str, Any]:
    """Both sides in turns, least time of each."""
    peer = "cells" not in case and find_spec("dcor") is not None
    rounds = 2 if peer else 1
    found: dict[str, list[dict[str, float]]] = {"ours": [], "dcor": []}
    for _ in range(rounds):
        for side in ("ours", "dcor") if peer else ("ours",):
            slow = side == "dcor" and case == "multivariate"
            found[side].append(measured(side, case, n, 1 if slow else repeats))
    best = {side: min(rows, key=lambda r: r["seconds"]) for side, rows in found.items() if rows}
    row: dict[str, Any] = {"case": case, "n": n, "seconds": best["ours"]["seconds"]}
    row["more_mb"] = best["ours"]["more_mb"]
    if peer:
        row |= {
            "dcor_seconds": best["dcor"]["seconds"],
            "dcor_more_mb": best["dcor"]["more_mb"],
            "times_faster": best["dcor"]["seconds"] / best["ours"]["seconds"],
            "difference": abs(best["dcor"]["value"] - best["ours"]["value"]),
        }
    return row


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, case, n, repeats = options.child
        child(side, case, int(n), int(repeats))
        return 0
    rows = [
        compared(case, size["quick" if options.quick else "n"], options.repeats)
        for case, size in CASES.items()
    ]
    if options.json:
        print(json.dumps({"benchmark": "dependence", "rows": rows}))
        return 0
    from rich.console import Console
    from rich.table import Table

    columns = list(rows[0])
    table = Table(title="value and gradient, CPU seconds of one thread", title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        cells = [row.get(column, "-") for column in columns]
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
