"""rDPO's claim on data with known truth: a rate for each group gives the noisier group its voice.

``--scale toy`` fits linear Bradley-Terry models (the experiment of the method's page);
``--scale small`` runs ``recipes/quickstart.yaml`` (language model, SFT, DPO, rDPO) for
several seeds. Both print each seed, the mean over seeds and a t interval of the paired
difference. ``--json`` prints one object instead.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import optimize, stats

from pluralign.objectives import DPO, RDPO, PairObjective
from pluralign.provenance import machine, versions
from pluralign.scores import PairScores

ROOT = Path(__file__).parents[1]
RATES = {"A": 0.05, "B": 0.35}


def linear_seed(seed: int, n: int = 4000, d: int = 4, n_test: int = 8000) -> dict[str, float]:
    """Two groups label disjoint blocks of features; test pairs mix both blocks."""
    rng = np.random.default_rng(seed)
    theta = np.concatenate([1.5 * v / np.linalg.norm(v) for v in rng.normal(size=(2, d))])
    features = np.zeros((2 * n, 2 * d))
    features[:n, :d] = rng.normal(size=(n, d))
    features[n:, d:] = rng.normal(size=(n, d))
    rates = np.repeat([RATES["A"], RATES["B"]], n)
    prefer = rng.random(2 * n) < 1 / (1 + np.exp(-features @ theta))
    observed = prefer ^ (rng.random(2 * n) < rates)
    signed = np.where(observed, 1.0, -1.0)[:, None] * features
    test = rng.normal(size=(n_test, 2 * d))
    fits = {
        "dpo": fit(signed, DPO(beta=1.0)),
        "rdpo": fit(signed, RDPO(beta=1.0, flip_rate="per_pair"), rates),
        "rdpo_pooled": fit(signed, RDPO(beta=1.0, flip_rate=0.2)),
    }
    return {
        name: float(np.mean(np.sign(test @ found) == np.sign(test @ theta)))
        for name, found in fits.items()
    } | {
        f"ratio_{name}": float(np.linalg.norm(found[d:]) / np.linalg.norm(found[:d]))
        for name, found in fits.items()
    }


def fit(features: np.ndarray, objective: PairObjective, rates: np.ndarray | None = None):
    """Minimise an objective of the house over linear margins; at most 200 steps."""
    import torch

    u = torch.tensor(features)
    zero = torch.zeros(len(u), dtype=u.dtype)
    flip_rate = None if rates is None else torch.tensor(rates)

    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(theta, requires_grad=True)
        scores = PairScores(u @ weights, zero, zero, zero, flip_rate=flip_rate)
        loss = objective(scores).loss.mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        return loss.item(), gradient.numpy()

    start = np.zeros(features.shape[1])
    return optimize.minimize(
        value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}
    ).x


def text_seed(seed: int, directory: Path) -> dict[str, float]:
    """One run of the quickstart recipe; clean held-out ranking accuracy by group."""
    from pluralign.study import load_recipe, run_recipe

    recipe = load_recipe(
        ROOT / "recipes" / "quickstart.yaml",
        [f"seed={seed}", f"output_dir={directory / str(seed)}"],
    )
    record = run_recipe(recipe, quiet=True).record
    found: dict[str, float] = {}
    for model in record["models"]:
        frame = model["frames"]["ranking_accuracy"]
        found[model["name"]] = frame["overall"]["value"]
        for group in frame["groups"]:
            found[f"{model['name']}/{group['name']}"] = group["value"]
    for row in record["noise"]:
        found[f"flip_rate/{row['group']}"] = row["estimate"]
        found[f"true_flip_rate/{row['group']}"] = row["truth"]
    return found


def summary(rows: list[dict[str, float]], confidence: float = 0.95) -> dict[str, dict[str, float]]:
    """Mean of each column over seeds, with a t interval; and of rDPO minus DPO."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in list(columns):
        head, _, group = name.partition("/")
        if head == "rdpo":
            other = f"dpo/{group}" if group else "dpo"
            columns[f"{name} - {other}"] = columns[name] - columns[other]
    results = {}
    for name, values in columns.items():
        half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
        mean = float(values.mean())
        results[name] = {"mean": mean, "low": mean - float(half), "high": mean + float(half)}
    return results


def main() -> int:
    """Run the seeds and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small"), default="toy")
    parser.add_argument("--seeds", type=int, default=None, help="number of seeds (10, or 3)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds = options.seeds or (10 if options.scale == "toy" else 3)
    if options.scale == "toy":
        rows = [linear_seed(seed) for seed in range(seeds)]
    else:
        with tempfile.TemporaryDirectory() as folder:
            rows = [text_seed(seed, Path(folder)) for seed in range(seeds)]
    found = summary(rows)
    if options.json:
        record = {"reproduction": "rdpo", "scale": options.scale, "seeds": seeds, "rows": rows}
        print(json.dumps({**record, "summary": found, "machine": {**machine(), **versions()}}))
        return 0
    table = Table(title=f"rdpo, scale {options.scale}, {seeds} seeds", title_justify="left")
    for column in ("what", "mean", "95% interval over seeds"):
        table.add_column(column)
    for name, cell in found.items():
        table.add_row(name, f"{cell['mean']:.3f}", f"[{cell['low']:.3f}, {cell['high']:.3f}]")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
