"""Drivers of choice: a market whose drivers are known, and real choices and plans.

``--scale toy`` draws 10 markets (20 seconds of a core), ``small`` 30 (a minute) and adds real runs
on the choice tables and Medicare Advantage plans of ``../shared/data`` (or ``--data``). For
each market the rows are split and cross-validated at random, and by plan; the
exit code is 1 if a claim of the method's page does not hold. There is no table of the paper's
own data in public form; ``pluralign.datasets.medicare`` reads the CMS files that a user downloads.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pluralign.datasets.choices import array_of, load_choices
from pluralign.datasets.market import make_market
from pluralign.errors import DataQualityWarning
from pluralign.learn.drivers import ChoiceDrivers, driver_report, quantile_classes
from pluralign.provenance import machine, versions

DATA = Path(__file__).parents[2] / "shared" / "data"
SEEDS = {"toy": 10, "small": 30}
RULES = ("min", "1se")
CHOICES: dict[str, dict[str, Any]] = {
    "yogurt_long": {"outcome": "choice", "alternative": "alt", "choice": "chid", "unit": "id"},
    "fishing_long": {"outcome": "choice", "alternative": "alt", "choice": "id"},
    "heating_wide": {"outcome": "depvar", "leave_out": ["idcase"]},
    "electricity_long": {
        "outcome": "choice",
        "alternative": "alt",
        "choice": "chid",
        "unit": "id",
        "labelled": False,
    },
    "car100_long": {
        "outcome": "choice",
        "alternative": "alt",
        "choice": "choice_id",
        "unit": "person_id",
        "labelled": False,
    },
}


def market_rows(seeds: int, vif_threshold: float | None) -> list[dict[str, Any]]:
    """Means over markets for both ways to split and both rules."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(seeds):
        world = make_market(seed)
        for split in ("random rows", "by plan"):
            report = driver_report(
                ChoiceDrivers(vif_threshold=vif_threshold),
                world.columns,
                world.y,
                units=world.unit if split == "by plan" else None,
                n_subsamples=0,
                seed=seed,
            )
            for rule in RULES:
                chosen = {driver.column for driver in report.model.drivers(rule)}
                found.setdefault((split, rule), []).append(
                    [
                        report.tests[rule].accuracy,
                        len(chosen & set(world.effects)) / len(world.effects),
                        len(chosen & set(world.ancillary)) / len(world.ancillary),
                        len(chosen),
                    ]
                )
    names = ("accuracy", "recall", "ancillary", "selected")
    screen = "none" if vif_threshold is None else f"{vif_threshold:g}"
    return [
        {"split": split, "rule": rule, "vif": screen}
        | dict(zip(names, np.mean(rows, 0).tolist(), strict=True))
        for (split, rule), rows in found.items()
    ]


def claims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """What the page says of the market without a screen."""
    by = {(row["split"], row["rule"]): row for row in rows if row["vif"] == "none"}
    gap = by["random rows", "min"]["accuracy"] - by["by plan", "min"]["accuracy"]
    return {
        "random rows flatter accuracy by more than .04": gap > 0.04,
        "1se selects fewer than min": all(
            by[split, "1se"]["selected"] < by[split, "min"]["selected"]
            for split in ("random rows", "by plan")
        ),
        "by plan, 1se selects at most .12 of what has no effect": (
            by["by plan", "1se"]["ancillary"] <= 0.12
        ),
        "by plan, min finds at least .75 of the drivers": by["by plan", "min"]["recall"] >= 0.75,
    }


def screened() -> dict[str, Any]:
    """What a screen says of the sum of two drivers."""
    world = make_market(0)
    total = world.columns["ppo"] + world.columns["drug"]
    total = total + 0.05 * np.random.default_rng(0).normal(size=len(total))
    model = ChoiceDrivers(random_state=0).fit({**world.columns, "ppo + drug": total}, world.y)
    first = model.screen_.dropped[0]
    return {"dropped": first.name, "vif": first.vif, "partner": first.partner}


def top(report: Any, count: int = 6) -> str:
    """The largest effects in words, with how often halves select them."""
    ordered = sorted(report.drivers, key=lambda one: -abs(one.coefficient))[:count]
    return ", ".join(
        f"{one.column} -> {one.label} x{one.odds_factor:.2f} ({one.frequency:.2f})"
        for one in ordered
    )


def real_row(name: str, split: str, columns: Any, y: Any, units: Any) -> dict[str, Any]:
    """A tested model of one table."""
    report = driver_report(ChoiceDrivers(), columns, y, units=units, n_subsamples=30)
    test, simple = report.tests["min"], report.tests["1se"]
    return {
        "table": name,
        "split": split,
        "rows": len(y),
        "columns": len(report.model.columns_),
        "dropped": len(report.model.screen_.dropped),
        "accuracy": test.accuracy,
        "low": test.low,
        "high": test.high,
        "majority": test.majority_accuracy,
        "deviance": test.deviance,
        "null": test.null_deviance,
        "accuracy_1se": simple.accuracy,
        "selected_min": len({d.column for d in report.model.drivers("min")}),
        "selected_1se": len({d.column for d in report.model.drivers("1se")}),
        "drivers": top(report),
    }


def choices(folder: Path) -> list[dict[str, Any]]:
    """Every choice table, by row where no person has several, else both ways."""
    rows = []
    for name, options in CHOICES.items():
        table = load_choices(folder / "discrete_choice" / f"{name}.parquet", **options)
        if len(set(table.unit.tolist())) < len(table.y):
            rows.append(real_row(name, "by person", table.columns, table.y, table.unit))
        rows.append(real_row(name, "random rows", table.columns, table.y, None))
    return rows


def plans(folder: Path) -> list[dict[str, Any]]:
    """Enrolment class of a contract from its plans' attributes: what the public columns allow.

    Plan attributes (2021 or 2022) are averaged by contract and joined to the enrolment of the
    contract in August 2024, in thirds. It is not the paper's question, which needs members
    by plan and county.
    """
    import pandas as pd

    source = folder / "medicare_advantage"
    frame = pd.read_parquet(source / "plans_by_county.parquet")
    members = pd.read_parquet(source / "contract_enrollment_2024_08.parquet")
    frame["deductible"] = array_of(
        frame.annual_drug_deductible.str.replace(r"[$,\s]", "", regex=True).replace("-", "0")
    )
    frame["no drug cover"] = (frame.drugbenefittype == "").astype(float)
    frame["enhanced drug cover"] = (frame.drugbenefittype == "Enhanced").astype(float)
    frame["gap cover"] = (frame.additionalcoverageofferedinthegap == "Yes").astype(float)
    frame["deductible"] = frame.deductible.fillna(0.0)
    numeric = {
        "planpremium": "premium",
        "deductible": "deductible",
        "innetworkmoop": "out-of-pocket limit",
        "overall_star_rating": "stars",
        "no drug cover": "no drug cover",
        "enhanced drug cover": "enhanced drug cover",
        "gap cover": "gap cover",
        "average_part_c_risk_score": "risk score",
        "average_rebate_pm_pm_payment": "rebate",
    }
    by = frame.groupby("contract_id")
    table = by[list(numeric)].mean().rename(columns=numeric)
    table["plan type"] = by["plan_type"].first().astype(str)
    joined = table.join(
        members.set_index("contract_number")[["enrollment", "parent_organization", "tax_status"]],
        how="inner",
    ).dropna(subset=["enrollment"])
    joined = joined[~joined.index.duplicated()]
    columns = {name: joined[name].to_numpy() for name in [*numeric.values(), "plan type"]}
    columns["tax status"] = joined.tax_status.astype(str).to_numpy()
    columns["parent"] = joined.parent_organization.astype(str).to_numpy()
    y = quantile_classes(joined.enrollment.to_numpy(float))
    parent = columns["parent"]
    rows = [real_row("medicare contracts", "random rows", columns, y, None)]
    rows.append(real_row("medicare contracts", "by parent", columns, y, parent))
    return rows


def shown(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of one kind."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        if name != "drivers":
            table.add_column(name)
    for row in rows:
        values = [value for name, value in row.items() if name != "drivers"]
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))
    console = Console(width=170)
    console.print(table)
    for row in rows:
        if "drivers" in row:
            console.print(f"{row['table']}, {row['split']}: {row['drivers'] or 'none'}")


def main() -> int:
    """Run what was asked for, print it and judge the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small"), default="toy")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataQualityWarning)
    seeds = options.seeds or SEEDS[options.scale]
    tables = {"market": market_rows(seeds, None) + market_rows(seeds, 10.0)}
    tables["screen"] = [screened()]
    if options.scale == "small":
        tables["choices"] = choices(options.data)
        tables["plans"] = plans(options.data)
    held = claims(tables["market"])
    if options.json:
        record = {"reproduction": "drivers", "scale": options.scale, "seeds": seeds}
        record |= {"tables": tables, "claims": held, "machine": {**machine(), **versions()}}
        print(json.dumps(record))
    else:
        for name, rows in tables.items():
            shown(f"{name}, scale {options.scale}", rows)
        for claim, holds in held.items():
            print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
