"""Adaptive sampling where the truth is known, on real judgements, and on simulated genomes.

``--scale toy``: three groups with known curves, 30 repeats; fails (exit code 1) if the adaptive
strategies miss the oracle by more than 0.002 on their own objective, or do not beat equal and
proportional counts. ``--scale small``: also the irony judgements of ``../shared/data/multipico``,
languages as groups of annotators, budget in labels; reported as found. ``--scale paper``: also
polygenic scores on genomes of three populations (package ``msprime``); fails if an ordering does
not hold. ``--only`` runs one part. ``--json`` prints one object.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from simulated_genomes import POPULATIONS, Genomes

from pluralign import DataQualityWarning
from pluralign.collect import (
    AdaptiveSampler,
    Evaluation,
    GroupPool,
    Isoelastic,
    Maximin,
    PowerCurves,
    SamplingPlan,
    allocate,
    heuristic,
)
from pluralign.provenance import machine, versions

DATA = Path(__file__).parents[2] / "shared" / "data" / "multipico"
Measure = Callable[[str, int, Mapping[str, int]], Evaluation]

NAMES = ("a", "b", "c")
TRUTH = PowerCurves([0.10, 0.15, 0.12], [0.8, 1.6, 2.4], [0.45, 0.40, 0.35], names=NAMES)
SHARE, COST, BUDGET = np.array([0.7, 0.2, 0.1]), [1.0, 1.5, 2.0], 6000.0
TOLERANCE = 0.002


def collected(plan: SamplingPlan, measure: Measure) -> AdaptiveSampler:
    """A whole collection, each purchase measured at the sizes it asks for."""
    sampler = AdaptiveSampler(plan)
    while (purchase := sampler.ask()) is not None:
        sizes = [(g, n) for g, each in purchase.evaluate_at.items() for n in each]
        sampler.tell(purchase, [measure(g, n, purchase.totals) for g, n in sizes])
    return sampler


def known_truth(repeats: int, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The table of strategies by weighted and worst loss, and what is not as it should be."""
    rows = [
        row(name.replace("_", " "), [heuristic(name, cost=COST, budget=BUDGET, population=SHARE)])
        for name in ("proportional", "equal_count", "equal_spend")
    ]
    wrong = []
    for objective, key in ((Isoelastic(eps=0.0), "weighted"), (Maximin(), "worst")):
        title = "utilitarian" if key == "weighted" else "maximin"
        best = allocate(TRUTH, cost=COST, budget=BUDGET, weights=SHARE, objective=objective)
        rows.append(row(f"oracle {title}", [best.counts]))
        for floor in (0.0, 0.05):
            counts = [adaptive_counts(objective, floor, seed + r) for r in range(repeats)]
            rows.append(row(f"adaptive {title}, floor {floor:g}", counts))
        oracle, adaptive = rows[-3], rows[-2]
        if adaptive[key] - oracle[key] > TOLERANCE:
            wrong.append(f"adaptive {title} misses the oracle by {adaptive[key] - oracle[key]:.4f}")
        wrong += [
            f"adaptive {title} does not beat {other['strategy']}"
            for other in rows[:2]
            if adaptive[key] >= other[key]
        ]
    return rows, wrong


def row(name: str, counts: list[np.ndarray]) -> dict[str, Any]:
    """Mean counts and losses over repeats, and the worst repeat."""
    loss = TRUTH.loss(np.array(counts))
    return {
        "strategy": name,
        "n": np.mean(counts, axis=0).tolist(),
        "weighted": float((loss @ SHARE).mean()),
        "worst": float(loss.max(1).mean()),
        "highest_weighted": float((loss @ SHARE).max()),
        "highest_worst": float(loss.max()),
    }


def adaptive_counts(objective: Any, floor: float, seed: int) -> np.ndarray:
    """What one adaptive run with noisy evaluations ends with."""
    rng = np.random.default_rng(seed)

    def measure(group: str, n: int, _: Mapping[str, int]) -> Evaluation:
        se = 0.01 * np.sqrt(40 / n)
        truth = float(TRUTH.loss(n)[NAMES.index(group)])
        return Evaluation(group, n, truth + se * rng.standard_normal(), se)

    plan = SamplingPlan(
        groups=NAMES,
        cost=COST,
        budget=BUDGET,
        objective=objective,
        population=SHARE,
        pilot=40,
        rounds=20,
        explore_floor=floor,
    )
    return np.array(list(collected(plan, measure).totals.values()))


class Irony:
    """Irony judgements by language: Brier score of a kernel ridge on character n-grams."""

    ALPHA = 10.0

    def __init__(self) -> None:
        import pandas as pd
        from sklearn.feature_extraction.text import HashingVectorizer

        items = pd.read_parquet(DATA / "items.parquet")
        rows = pd.read_parquet(DATA / "annotations.parquet").merge(items, on=["split", "item"])
        texts = items.post.fillna("") + "\n" + items.reply.fillna("")
        hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=2**15)
        key = {k: i for i, k in enumerate(zip(items.split, items.item, strict=True))}
        self.of = np.array([key[k] for k in zip(rows.split, rows.item, strict=True)])
        self.features = hashed.transform(texts)
        self.language, self.label = rows.lang.to_numpy(), rows.irony.to_numpy(float)

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Judgements to buy, to decide by, and to be judged by: whole items apart."""
        part = np.random.default_rng(seed).choice(3, self.features.shape[0], p=[0.6, 0.2, 0.2])
        return tuple(np.flatnonzero(part[self.of] == i) for i in range(3))

    def losses(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Squared error on each test judgement of a model of one language."""
        known = self.features[self.of[train]]
        mean = self.label[train].mean()
        kernel = (known @ known.T).toarray() + self.ALPHA * np.eye(len(train))
        dual = np.linalg.solve(kernel, self.label[train] - mean)
        predicted = mean + (self.features[self.of[test]] @ known.T) @ dual
        return (np.clip(predicted, 0, 1) - self.label[test]) ** 2


def irony_run(world: Irony, seed: int, budget: int) -> dict[str, dict[str, float]]:
    """Final losses by language of each strategy on the same parts."""
    buy, decide, judge = world.parts(seed)
    pool = GroupPool(world.language[buy].tolist(), seed=seed)
    names = tuple(pool.sizes)
    share = np.array([pool.sizes[g] for g in names], float)

    def rows_of(group: str, n: int) -> np.ndarray:
        return buy[pool.index({group: n})]

    def measure(group: str, n: int, _: Mapping[str, int]) -> Evaluation:
        loss = world.losses(rows_of(group, n), decide[world.language[decide] == group])
        return Evaluation(group, n, float(loss.mean()), float(loss.std() / np.sqrt(len(loss))))

    counts: dict[str, Mapping[str, int]] = {}
    for title, objective in (("adaptive (eps 1)", Isoelastic()), ("adaptive maximin", Maximin())):
        plan = SamplingPlan(
            groups=names,
            cost=1,
            budget=budget,
            objective=objective,
            population=share,
            available=pool.sizes,
            pilot=60,
            rounds=6,
        )
        counts[title] = collected(plan, measure).totals
    for title, name in (("equal", "equal_count"), ("proportional", "proportional")):
        n = np.floor(heuristic(name, cost=np.ones(len(names)), budget=budget, population=share))
        counts[title] = {g: int(min(k, pool.sizes[g])) for g, k in zip(names, n, strict=True)}

    def judged(group: str, n: int) -> float:
        test = judge[world.language[judge] == group]
        return float(world.losses(rows_of(group, n), test).mean())

    return {title: {g: judged(g, n) for g, n in found.items()} for title, found in counts.items()}


def irony(repeats: int, seed: int) -> list[dict[str, Any]]:
    """Mean and worst-language loss of each strategy, and differences to equal with intervals."""
    world = Irony()
    runs = [irony_run(world, seed + r, budget=3600) for r in range(repeats)]
    languages, sizes = np.unique(world.language, return_counts=True)
    share = dict(zip(languages, sizes / sizes.sum(), strict=True))

    def table(title: str) -> np.ndarray:
        each = [run[title] for run in runs]
        mean = [sum(share[g] * loss for g, loss in losses.items()) for losses in each]
        return np.array([mean, [max(losses.values()) for losses in each]])

    rows = []
    for title in runs[0]:
        found, apart = table(title), table(title) - table("equal")
        rows.append({"strategy": title, "mean": found[0].mean(), "worst": found[1].mean()})
        for key, values in (("mean", apart[0]), ("worst", apart[1])):
            rows[-1][f"{key}_minus_equal"] = interval(values)
    return rows


def interval(values: np.ndarray) -> list[float]:
    """Mean with Student's 95 % interval over repeats."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [float(values.mean()), float(values.mean() - half), float(values.mean() + half)]


DESIGNS = {
    "equal 300/300/300": (300, 300, 300),
    "proportional 90/720/90": (90, 720, 90),
    "all CEU": (0, 900, 0),
}
TILTS = {"400 to the lowest": 400, "600 to the lowest": 600}
SIZES = (60, 125, 250, 500, 1000)


def genomes(draws: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Scores by design, by training population and by size, and the orderings that fail.

    The designs that tilt give more people to whom equal numbers serve worst in that draw.
    """
    found: dict[str, list[Any]] = {name: [] for name in (*DESIGNS, *TILTS, "alone", "curves")}
    for draw in range(draws):
        world = Genomes(seed + draw)
        for name, counts in DESIGNS.items():
            found[name].append(world.accuracy(counts))
        lowest = int(np.argmin(found["equal 300/300/300"][-1]))
        for name, n in TILTS.items():
            tilted = tuple(n if p == lowest else (900 - n) // 2 for p in range(3))
            found[name].append(world.accuracy(tilted))
        alone = [[world.accuracy(one(p, n)) for n in SIZES] for p in range(3)]
        found["alone"].append([each[-1] for each in alone])
        found["curves"].append([[scores[p] for scores in alone[p]] for p in range(3)])
    tables = {name: np.array(values) for name, values in found.items()}
    rows = {name: design(tables[name]) for name in (*DESIGNS, *TILTS)}
    means = {name: tables[name].mean(0) for name in ("alone", "curves")}
    shown = {name: table.round(4).tolist() for name, table in means.items()}
    named = [{"design": name, **found} for name, found in rows.items()]
    wrong = genome_orderings(rows, means["alone"], means["curves"])
    return {"designs": named, **shown}, wrong


def one(population: int, n: int) -> tuple[int, ...]:
    """People of one population only."""
    return tuple(n * (p == population) for p in range(3))


def design(table: np.ndarray) -> dict[str, float]:
    """Means over draws: of each population, of all, of whoever is worst off in a draw."""
    return {
        **dict(zip(POPULATIONS, map(float, table.mean(0)), strict=True)),
        "mean": float(table.mean()),
        "worst": float(table.min(1).mean()),
    }


def genome_orderings(
    rows: Mapping[str, Mapping[str, float]], alone: np.ndarray, curves: np.ndarray
) -> list[str]:
    """Which of the stated orderings do not hold."""
    equal, proportional, majority = (rows[name] for name in DESIGNS)
    tilt, much = (rows[name] for name in TILTS)
    checks = {
        "scores serve their own better than they transfer": all(
            alone[p, p] > alone[q, p] for p in range(3) for q in range(3) if p != q
        ),
        "accuracy rises with size": bool((np.diff(curves, axis=1) > -0.01).all()),
        "a tilt to the lowest lifts the worst off": tilt["worst"] > equal["worst"],
        "it leaves the mean": abs(tilt["mean"] - equal["mean"]) < 0.01,
    }
    worse = {"proportional": (proportional, equal), "too much": (much, tilt)}
    worse["all of the majority"] = (majority, proportional)
    for name, (less, more) in worse.items():
        for key in ("mean", "worst"):
            checks[f"{name} costs the {key}"] = less[key] < more[key]
    return [f"does not hold: {name}" for name, holds in checks.items() if not holds]


def show(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    """One table of dictionaries."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for one in rows:
        table.add_row(*(cell(value) for value in one.values()))
    console.print(table)


def cell(value: Any) -> str:
    """A number, a list of counts or an interval, in few digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.5f}"
    if max(map(abs, value)) > 2:
        return "/".join(f"{n:.0f}" for n in value)
    return f"{value[0]:+.5f} [{value[1]:+.5f}, {value[2]:+.5f}]"


def main() -> int:
    """Print the tables; 1 if something stated does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small", "paper"), default="toy")
    parser.add_argument("--only", choices=("truth", "irony", "genomes"))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument(
        "--draws", type=int, default=10, help="of genomes; also repeats on judgements"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = {"toy": ["truth"], "small": ["truth", "irony"], "paper": ["truth", "irony", "genomes"]}
    todo = [options.only] if options.only else parts[options.scale]
    console, start = Console(width=130), time.perf_counter()
    record: dict[str, Any] = {"reproduction": "adaptive_sampling", **vars(options)}
    wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)  # curves that rise by noise
        if "truth" in todo:
            record["truth"], failed = known_truth(options.repeats, options.seed)
            wrong += failed
        if "irony" in todo and DATA.exists():
            record["irony"] = irony(options.draws, options.seed)
        if "genomes" in todo:
            record["genomes"], failed = genomes(options.draws, options.seed)
            wrong += failed
    record["failures"] = wrong
    if options.json:
        print(json.dumps({**record, "machine": {**machine(), **versions()}}))
        return int(bool(wrong))
    for name in ("truth", "irony"):
        if name in record:
            show(name, record[name], console)
    if "genomes" in record:
        show("genomes", record["genomes"].pop("designs"), console)
        console.print_json(json.dumps(record["genomes"], indent=None))
    console.print(f"{time.perf_counter() - start:.0f} s; {'; '.join(wrong) or 'as stated'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
