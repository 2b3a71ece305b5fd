"""The large-batch table, always beside re-estimated statistics, and the drift of the weights.

``--scale toy``: scikit-learn's digits, batch 512 against 32, 8 epochs (the experiment of the
method's page). ``--scale small``: 10,000 images of Fashion-MNIST from ``../shared/data/images28``
(8,000 to train on), a 5-layer network 512 wide, batch 2048 against 128. ``--scale paper`` is
ResNet44 on CIFAR-10, which needs a download and a GPU, and is not run here. Mean over seeds
with a t interval of the mean; ``--json`` prints one object, ``--report PAGE.html`` draws the
drift of the first seed.
"""

import argparse
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch import nn
from torch.nn import functional

from pluralign import DataQualityWarning
from pluralign.audit.drift import drift_record
from pluralign.audit.report import write_groups_report
from pluralign.learn.drift import WeightDistance
from pluralign.learn.regime import epoch_multiplier, scale_learning_rate
from pluralign.nn import convert_ghost_norm, recalibrate
from pluralign.provenance import machine, provenance, versions

IMAGES = Path(__file__).parents[2] / "shared" / "data" / "images28"
CLIP = 5.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Data and sizes of one table."""

    widths: tuple[int, ...]
    small: int
    large: int
    epochs: int
    rate: float


SCALES = {
    "toy": Scale(widths=(128, 128, 128), small=32, large=512, epochs=8, rate=0.05),
    "small": Scale(widths=(512,) * 4, small=128, large=2048, epochs=6, rate=0.1),
}
"""Batch, scaled rate, ghosts, longer: what each setting switches on."""
SETTINGS = {
    "small batch": (False, False, False, False),
    "large batch": (True, False, False, False),
    "+ rate": (True, True, False, False),
    "+ rate, ghosts": (True, True, True, False),
    "+ rate, longer": (True, True, False, True),
    "+ rate, ghosts, longer": (True, True, True, True),
}


def load(scale: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Inputs, classes, and how many come first as training data."""
    if scale == "toy":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y), 1024
    path = IMAGES / "fashion_mnist_t10k.npz"
    if not path.exists():
        raise SystemExit(f"{path} is missing; --scale toy needs no files.")
    with np.load(path) as found:
        x, y = found["x"].reshape(-1, 784) / 255, found["y"]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64), 8000


def network(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Linear, batch norm, ReLU for each width, then ten classes."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def run(scale: Scale, data, setting: str, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Train once; accuracy before and after re-estimating statistics, and the drift."""
    x, y, n = data
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, test = order[:n], order[n:]
    large, scaled, ghosts, longer = SETTINGS[setting]
    torch.manual_seed(seed)
    model: nn.Module = network(x.shape[1], scale.widths)
    if ghosts:
        model = convert_ghost_norm(model, scale.small)
    batch = scale.large if large else scale.small
    rate = scale_learning_rate(scale.rate, batch, scale.small) if scaled else scale.rate
    epochs = scale.epochs * (epoch_multiplier(batch, scale.small) if longer else 1)
    steps = epochs * -(-n // batch)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    drops = torch.optim.lr_scheduler.MultiStepLR(optimiser, [steps // 2, 3 * steps // 4])
    measure, drift, step = WeightDistance(model), [], 0
    for _ in range(epochs):
        for rows in train[torch.randperm(n)].split(batch):
            if len(rows) < 2:
                continue
            optimiser.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            if scaled:
                nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            drops.step()
            step += 1
            if step <= 8 or step % max(1, steps // 40) == 0:
                drift.append((step, measure(model)[0]))
    travelled = drift_record(setting, *zip(*drift, strict=True), before=steps // 2 + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)  # shown by the second column
        plain = accuracy(model, x[test], y[test])
        recalibrate(model, x[train].split(scale.large))
    return {
        "updates": steps,
        "accuracy": plain,
        "recalibrated": accuracy(model, x[test], y[test]),
        "drift_slope": travelled["fit"]["log_slope"],
        "drift_r2": travelled["fit"]["log_r2"],
    }, travelled


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of right classes in evaluation mode; the mode is restored."""
    model.eval()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float().mean().item()
    model.train()
    return right


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=[*SCALES, "paper"], default="toy")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", type=Path, help="draw the drift as a page")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.scale == "paper":
        raise SystemExit("--scale paper (ResNet44, CIFAR-10) needs a download and a GPU: not run.")
    scale, data = SCALES[options.scale], load(options.scale)
    rows = {
        setting: [run(scale, data, setting, seed) for seed in range(options.seeds)]
        for setting in SETTINGS
    }
    table = {setting: summary([row for row, _ in found]) for setting, found in rows.items()}
    if options.report:
        record = {
            "title": "The large-batch regime: drift of the weights",
            "weight_drift": [found[0][1] for found in rows.values()],
            "provenance": {
                "command": f"python reproductions/ghost_batch_norm.py --scale {options.scale}",
                **provenance(seed=0),
            },
        }
        print(f"written: {write_groups_report(record, options.report)}", file=sys.stderr)
    if options.json:
        record = {"scale": options.scale, "seeds": options.seeds, "settings": table}
        print(json.dumps({**record, "machine": machine(), "versions": versions()}, indent=1))
        return
    shown = Table("setting", "updates", "accuracy", "re-estimated", "drift slope", "R2")
    for setting, found in table.items():
        cells = (f"{found[k][0]:.3f} ± {found[k][1]:.3f}" for k in ("accuracy", "recalibrated"))
        drift = f"{found['drift_slope'][0]:.2f}", f"{found['drift_r2'][0]:.3f}"
        shown.add_row(setting, f"{found['updates'][0]:.0f}", *cells, *drift)
    Console().print(shown)


def summary(found: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean over seeds and half the width of its 95 % t interval."""
    values = {key: np.array([row[key] for row in found]) for key in found[0]}
    width = stats.t.ppf(0.975, max(len(found) - 1, 1)) / len(found) ** 0.5
    return {
        key: (float(v.mean()), float(width * v.std(ddof=1)) if len(v) > 1 else 0.0)
        for key, v in values.items()
    }


if __name__ == "__main__":
    main()
