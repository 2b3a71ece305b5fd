"""An audit of 100,000 scored pairs in 50 groups, intervals from 2,000 draws: below 5 seconds.

Each frame by itself, then the whole record of one and of two models (four frames each, the
distributions behind them, drift with intervals, paired differences). The figure is the least CPU
time of the repeats, one thread. Ends with 1 if a frame or the audit of one model takes longer
than the limit.

    python benchmarks/audit.py [--pairs 100000] [--groups 50] [--draws 2000] [--repeats 3] [--json]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from pluralign import Preferences, ScoredPairs
from pluralign.audit import GroupFrame, compare, implicit_margin, ranking_accuracy
from pluralign.audit.record import audit_models
from pluralign.provenance import machine, versions

LIMIT = 5.0


def scored(pairs: Preferences, seed: int) -> ScoredPairs:
    """Log-probabilities of a model and of its reference, as real ones are spread."""
    draw = np.random.default_rng(seed)
    size = len(pairs)
    reference = draw.normal(-150.0, 60.0, (2, size))
    return ScoredPairs(
        pairs,
        *(reference + draw.normal([[0.5], [-0.5]], 2.0, (2, size))),
        ref_chosen=reference[0],
        ref_rejected=reference[1],
        chosen_length=draw.integers(5, 200, size),
        rejected_length=draw.integers(5, 200, size),
        beta=0.1,
    )


def cases(size: int, groups: int, draws: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each gives another result of the same data."""
    pairs = Preferences(
        prompt=["p"] * size,
        chosen=["a"] * size,
        rejected=["b"] * size,
        group=[f"group {row % groups}" for row in range(size)],
    )
    first, second = scored(pairs, 0), scored(pairs, 1)
    frame = partial(GroupFrame, n_bootstrap=draws)
    return {
        "frame of shares": lambda: frame(ranking_accuracy, first),
        "frame of means": lambda: frame(implicit_margin, first),
        "differences of shares": lambda: compare(
            ranking_accuracy, second, first, n_bootstrap=draws
        ),
        "differences of means": lambda: compare(implicit_margin, second, first, n_bootstrap=draws),
        "audit of one model": lambda: audit_models({"one": first}, n_bootstrap=draws),
        "audit of two models": lambda: audit_models(
            {"one": first, "two": second}, n_bootstrap=draws
        ),
    }


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Least CPU time of the repeats, after the imports of a first small call."""
    times: list[float] = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def main() -> int:
    """Time each case; 1 if one that is limited takes too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in {"pairs": 100_000, "groups": 50, "draws": 2000, "repeats": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    for call in cases(200, 2, 100).values():
        call()
    found = {
        name: seconds(call, asked.repeats)
        for name, call in cases(asked.pairs, asked.groups, asked.draws).items()
    }
    record = {"seconds": found, "limit": LIMIT, "versions": versions(), "machine": machine()}
    if asked.as_json:
        print(json.dumps(record))
    else:
        title = f"{asked.pairs:,} pairs, {asked.groups} groups, {asked.draws:,} draws"
        table = Table("what", "CPU seconds", title=title)
        for name, value in found.items():
            table.add_row(name, f"{value:.2f}")
        Console(width=100).print(table)
    return int(any(found[name] > LIMIT for name in found if name != "audit of two models"))


if __name__ == "__main__":
    sys.exit(main())
