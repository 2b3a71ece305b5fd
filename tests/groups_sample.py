"""A record of groups and domains, made by the library's own calls from a small world."""

import numpy as np

from pluralign.audit.densities import cell_densities
from pluralign.audit.dependence import intersection_cells
from pluralign.audit.domains import domain_table
from pluralign.audit.drift import drift_record
from pluralign.learn.tabular_strength import StrengthTable


def strengths(names=("ccdcov", "jdcov")):
    """Dependence that falls and loss that rises with the strength."""

    def run(strength, seed, steep):
        noise = np.random.default_rng(seed).normal(0, 4e-4, 3)
        dependence = 0.03 / (1 + steep * strength)
        return 0.119 + 1e-4 * strength**0.6 + noise[0], dependence + 0.3 * noise[1], dependence

    grid = (0, 10, 20, 40, 80)
    return [
        StrengthTable.measure(lambda s, seed, k=steep: run(s, seed, k), grid, range(3)).record(
            name, score="ranked probability score"
        )
        for name, steep in zip(names, (0.3, 0.5, 0.8, 0.2, 0.1), strict=False)
    ]


def densities(cells=4, names=("strength 0", "ccdcov, strength 20"), labels=None):
    """Predictions by cell before and after a penalty."""
    rng = np.random.default_rng(0)
    labels = labels or [f"{'fm'[i % 2]} × region {i // 2}" for i in range(cells)]
    rows = [label for i, label in enumerate(labels) for _ in range(30 + 40 * i)]
    place = np.array([labels.index(row) for row in rows])
    before = rng.gamma(4, 0.03, len(rows)) * (1 + 0.3 * place / len(labels))
    after = rng.gamma(4, 0.03, len(rows)) * 1.15
    outputs = dict(zip(names, (before, after), strict=False))
    return cell_densities(outputs, rows, unit="claims a year")


def domains(number=5, names=None):
    """Right or wrong answers of each domain's head and the shared one."""
    rng = np.random.default_rng(1)
    names = names or [f"domain {i}" for i in range(number)]
    rows = np.repeat(np.arange(len(names)), 40)
    share = 0.6 + 0.3 * (rows[None] == np.arange(len(names) + 1)[:, None])
    share[-1] = 0.8
    right = rng.random(share.shape) < share
    return domain_table(right, [names[i] for i in rows], [*names, "shared"])


def drifts(names=("batch 32", "batch 512", "batch 512, rate scaled")):
    """Distances near a logarithm of the updates."""
    rng = np.random.default_rng(2)
    steps = np.unique(np.logspace(0, 2.4, 24).astype(int))
    return [
        drift_record(
            name, steps, 0.6 + slope * np.log(steps) + rng.normal(0, 0.05, len(steps)), before=120
        )
        for name, slope in zip(names, (2.2, 0.9, 2.1, 1.5, 1.0), strict=False)
    ]


def groups_record(**parts):
    """The whole record; parts that are given replace its own, ``None`` leaves one out."""
    _, sizes = intersection_cells({"sex": ["f"] * 20 + ["m"] * 20, "region": ["n", "s"] * 20})
    assert sorted(sizes.values()) == [10, 10, 10, 10]
    whole = {
        "title": "A small world",
        "strength": strengths(),
        "densities": densities(),
        "domains": domains(),
        "weight_drift": drifts(),
        "provenance": {"command": "python tests/groups_sample.py", "seed": 0},
    }
    return {k: v for k, v in {**whole, **parts}.items() if v is not None}
