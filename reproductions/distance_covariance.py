"""Distance-covariance penalties: gerrymandering by XOR, COMPAS, motor insurance.

``--scale toy`` runs the XOR experiment (seconds), ``small`` adds COMPAS and the insurance
table at few strengths and seeds (minutes), ``paper`` is the whole grid of the authors' lab (16
strengths, 10 seeds: hours on a CPU). ``--only xor|compas|insurance`` picks one. Data are read
from ``../shared/data``, or from ``--data``. ``--report PAGE.html`` draws loss against dependence by
strength with the chosen one, and densities by intersection cell without and with the penalty.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from pluralign.audit.densities import cell_densities
from pluralign.audit.dependence import (
    between_group_share,
    intersection_cells,
    jensen_shannon,
    ranked_probability_score,
)
from pluralign.audit.report import write_groups_report
from pluralign.learn.tabular import (
    DependenceRegularisedClassifier,
    DependenceRegularisedRegressor,
)
from pluralign.learn.tabular_strength import StrengthTable
from pluralign.provenance import machine, provenance, versions

DATA = Path(__file__).parents[2] / "shared" / "data"
STRENGTHS = {"small": (0, 10, 20, 40), "paper": tuple(range(0, 151, 10))}
SEEDS = {"small": 2, "paper": 10}
EPOCHS = {"small": 12, "paper": 35}

Found = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]
"""Rows to print, tables of strengths and densities for the report."""


def xor(strength: float, measure: str, seed: int, n: int = 4000) -> dict[str, Any]:
    """Two fair coins that are harmless alone: the outcome depends on whether they differ."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, n))
    differ = a ^ b
    plain = rng.normal(size=n)
    proxy = differ + 0.3 * rng.normal(size=n)
    y = plain + differ + 0.5 * rng.normal(size=n)
    features = np.stack([plain, proxy], 1)
    train, test = slice(0, n // 2), slice(n // 2, n)
    model = DependenceRegularisedRegressor(
        strength=strength, measure=measure, max_epochs=300, random_state=seed
    )
    sensitive = {"a": a[train], "b": b[train]}
    found = model.fit(features[train], y[train], sensitive_features=sensitive)
    predicted = found.predict(features[test])
    gap = predicted[differ[test] == 1].mean() - predicted[differ[test] == 0].mean()
    cells, _ = intersection_cells({"first coin": a[test], "second coin": b[test]})
    return {
        "gap": abs(float(gap)),
        "mse": float(np.mean((predicted - y[test]) ** 2)),
        "uf": between_group_share(predicted, differ[test].tolist()),
        "jsd": jensen_shannon(predicted, cells),
        "predicted": predicted,
        "cells": cells,
    }


def xor_table(seeds: int) -> Found:
    """Every penalty at two strengths, mean over seeds."""
    once = cache(xor)
    rows, tables = [], []
    for measure in ("sum_marginal", "ccdcov", "jdcov"):
        for strength in (0.0, 10.0, 100.0):
            if strength or not rows:
                found = [once(strength, measure, seed) for seed in range(seeds)]
                kept = ("gap", "mse", "uf", "jsd")
                means = {key: float(np.mean([one[key] for one in found])) for key in kept}
                name = measure if strength else "none"
                rows.append({"measure": name, "strength": strength, **means})

        def measured(strength: float, seed: int, measure: str = measure) -> Any:
            one = once(strength, measure if strength else "sum_marginal", seed)
            return one["mse"], one["jsd"], one["uf"]

        table = StrengthTable.measure(measured, (0.0, 10.0, 100.0), range(seeds))
        tables.append(table.record(measure, score="mean squared error"))
    before, after = once(0.0, "sum_marginal", 0), once(100.0, "ccdcov", 0)
    outputs = {"strength 0": before["predicted"], "ccdcov, strength 100": after["predicted"]}
    return rows, tables, cell_densities(outputs, before["cells"], unit="predicted outcome")


def compas(data: Path) -> tuple[Any, ...]:
    """ProPublica's filter; inputs, outcome, protected columns and cells."""
    import pandas as pd

    frame = pd.read_parquet(data / "fairness_tabular" / "compas_two_years.parquet")
    kept = frame[
        (frame.days_b_screening_arrest.abs() <= 30)
        & (frame.is_recid != -1)
        & (frame.c_charge_degree != "O")
        & (frame.score_text != "N/A")
    ]
    race = kept.race.where(kept.race.isin(["African-American", "Caucasian", "Hispanic"]), "Other")
    juvenile = kept[["juv_fel_count", "juv_misd_count", "juv_other_count"]].to_numpy(float)
    features = np.column_stack(
        [np.log1p(kept.priors_count), np.log1p(juvenile), kept.c_charge_degree == "F"]
    ).astype(float)
    sensitive = pd.DataFrame({"sex": kept.sex, "race": race, "age": kept.age.astype(float)})
    cells, _ = intersection_cells({"sex": list(kept.sex), "race": list(race)})
    return features, kept.two_year_recid.to_numpy(), sensitive, np.array(cells)


def compas_row(data: tuple[Any, ...], strength: float, measure: str, seed: int) -> Any:
    """Train on 70 %, measure on 30 %: score, divergence, share, accuracy."""
    features, outcome, sensitive, cells = data
    order = np.random.default_rng(seed).permutation(len(outcome))
    train, test = np.split(order, [int(0.7 * len(order))])
    model = DependenceRegularisedClassifier(
        strength=strength, measure=measure, max_epochs=150, random_state=seed
    )
    model.fit(features[train], outcome[train], sensitive_features=sensitive.iloc[train])
    share = model.predict_proba(features[test])[:, 1]
    score = ranked_probability_score(outcome[test], share, kind="binary").mean()
    names = cells[test].tolist()
    measures = (
        float(score),
        jensen_shannon(share, names),
        between_group_share(share, names, weighting="unweighted"),
        float(np.mean((share > 0.5) == outcome[test])),
        float(roc_auc_score(outcome[test], share)),
    )
    return measures, share, names


def insurance(data: Path) -> tuple[Any, ...]:
    """Policies of two years: inputs, counts, exposure, protected columns and cells."""
    import pandas as pd

    frame = pd.read_parquet(data / "insurance_pg15" / "pg15training.parquet").iloc[21:]
    numeric = frame[["Age", "Group1", "Bonus", "Poldur", "Value", "Density"]].astype(float)
    coded = pd.get_dummies(frame[["Type", "Category", "Occupation"]].astype(str), dtype=float)
    features = np.column_stack([numeric.to_numpy(), coded.to_numpy()])
    sensitive = pd.DataFrame(
        {"gender": frame.Gender.astype(str), "region": frame.Group2.astype(str)}
    )
    cells, _ = intersection_cells({name: list(sensitive[name]) for name in sensitive})
    exposure = frame.Exppdays.to_numpy(float) / 365
    return features, frame.Numtppd.to_numpy(float), exposure, sensitive, np.array(cells)


def insurance_row(
    data: tuple[Any, ...], strength: float, measure: str, seed: int, epochs: int
) -> Any:
    """Train on 70 %, measure on 30 %, the predicted frequency at the policy's exposure."""
    features, counts, exposure, sensitive, cells = data
    order = np.random.default_rng(seed).permutation(len(counts))
    train, test = np.split(order, [int(0.7 * len(order))])
    model = DependenceRegularisedRegressor(
        loss="poisson",
        strength=strength,
        measure=measure,
        hidden=(64, 64),
        learning_rate=0.002,
        max_epochs=epochs,
        batch_size=1024,
        random_state=seed,
    )
    model.fit(
        features[train],
        counts[train],
        sensitive_features=sensitive.iloc[train],
        exposure=exposure[train],
    )
    rate = model.predict(features[test])
    score = ranked_probability_score(counts[test], rate * exposure[test]).mean()
    names = cells[test].tolist()
    measures = (
        float(score),
        jensen_shannon(rate, names),
        between_group_share(rate, names, weighting="unweighted"),
    )
    return measures, rate, names


def shown(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of one kind."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def strength_rows(table: StrengthTable, measure: str) -> list[dict[str, Any]]:
    """Rows of a strength table, with the change against strength 0."""
    base = table.rows[0]
    return [
        {
            "measure": measure,
            "strength": row.strength,
            "score": row.score,
            "score_se": row.score_se,
            "jsd": row.jsd,
            "jsd_se": row.jsd_se,
            "uf": row.uf,
            "jsd_change": row.jsd / base.jsd - 1,
            "score_change": row.score / base.score - 1,
            "elbow": row.strength == table.elbow(),
        }
        for row in table.rows
    ]


def compas_table(folder: Path, seeds: int) -> Found:
    """Both joint penalties at the strengths of the method's page."""
    data = compas(folder)
    once = cache(lambda strength, measure, seed: compas_row(data, strength, measure, seed))
    names = ("score", "jsd", "uf", "accuracy", "auc")
    rows, tables = [], []
    for measure, strengths in (("ccdcov", (0, 5, 20, 50, 100)), ("jdcov", (0, 5, 20, 50))):

        def run(strength: float, seed: int, measure: str = measure) -> Any:
            return once(float(strength), measure if strength else "ccdcov", seed)[0]

        table = StrengthTable.measure(
            lambda s, seed, r=run: r(s, seed)[:3], strengths, range(seeds)
        )
        tables.append(table.record(measure, score="Brier score (RPS)"))
        for row in table.rows:
            every = np.mean([run(row.strength, seed) for seed in range(seeds)], 0).tolist()
            named = dict(zip(names, every, strict=True))
            rows.append({"measure": measure, "strength": row.strength, **named})
    (_, before, cells), (_, after, _) = once(0.0, "ccdcov", 0), once(50.0, "ccdcov", 0)
    outputs = {"strength 0": before, "ccdcov, strength 50": after}
    return rows, tables, cell_densities(outputs, cells, unit="probability of re-arrest")


def insurance_table(folder: Path, scale: str, seeds: int) -> Found:
    """The strength table of both joint penalties."""
    data = insurance(folder)
    once = cache(lambda s, measure, seed: insurance_row(data, s, measure, seed, EPOCHS[scale]))
    rows, tables = [], []
    for measure in ("ccdcov", "jdcov"):
        table = StrengthTable.measure(
            lambda s, seed, m=measure: once(s, m if s else "ccdcov", seed)[0],
            STRENGTHS[scale],
            range(seeds),
        )
        rows += strength_rows(table, measure)
        chosen = {"ccdcov": 40.0, "jdcov": 30.0}[measure]
        by_lab = chosen in {row.strength for row in table.rows}
        rule = "the lab's choice" if by_lab else ""
        tables.append(
            table.record(
                measure,
                score="ranked probability score",
                chosen=chosen if by_lab else None,
                rule=rule,
            )
        )
    (_, before, cells), (_, after, _) = once(0.0, "ccdcov", 0), once(40.0, "ccdcov", 0)
    outputs = {"strength 0": before, "ccdcov, strength 40": after}
    return rows, tables, cell_densities(outputs, cells, unit="claims a year")


def write_page(path: Path, found: dict[str, Found], scale: str) -> None:
    """One page for each table; with several, their names stand before the file's."""
    for name, (_, tables, densities) in found.items():
        target = path if len(found) == 1 else path.with_name(f"{name}_{path.name}")
        command = f"python reproductions/distance_covariance.py --scale {scale} --only {name}"
        record = {
            "title": f"Distance-covariance penalties: {name}",
            "strength": tables,
            "densities": densities,
            "provenance": {"command": command, **provenance(seed=0)},
        }
        print(f"written: {write_groups_report(record, target)}", file=sys.stderr)


def main() -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small", "paper"), default="toy")
    parser.add_argument("--only", choices=("xor", "compas", "insurance"))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--report", type=Path, help="draw the tables as a page")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = {"toy": ["xor"]}.get(options.scale, ["xor", "compas", "insurance"])
    found: dict[str, Found] = {}
    for name in [options.only] if options.only else wanted:
        if name == "xor":
            found[name] = xor_table(options.seeds or 3)
        elif name == "compas":
            found[name] = compas_table(options.data, options.seeds or 3)
        else:
            scale = "small" if options.scale == "toy" else options.scale
            found[name] = insurance_table(options.data, scale, options.seeds or SEEDS[scale])
        if not options.json:
            shown(f"{name}, scale {options.scale}", found[name][0])
    if options.report:
        write_page(options.report, found, options.scale)
    if options.json:
        tables = {name: rows for name, (rows, _, _) in found.items()}
        record = {"reproduction": "distance_covariance", "scale": options.scale, "tables": tables}
        print(json.dumps({**record, "machine": {**machine(), **versions()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
