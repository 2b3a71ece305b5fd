"""CPU seconds of a multinomial lasso path with 5-fold cross-validation, against its peers.

The small case is a market of 172 rows, 59 columns and 3 classes (``make_market``), the large
one 20,000 rows and 500 columns: a path, and with ``--cv`` its folds too. Peers that are
there are measured in the same run, in turns, the least time of each: glmnet by
``Rscript``, scikit-learn's saga at its own tolerance on the same strengths (small case only),
adelie (which has no single coefficients, so only the grouped penalty) and python-glmnet if
they can be imported. Seconds are of the process, not of the clock, on one thread; those of R
leave its start out. ``above`` is by how much a peer's objective lies above ours: the least
and the most over the path.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.datasets.market import make_market
from pluralign.learn.drivers.path import MultinomialLasso
from pluralign.learn.drivers.path import Path as LassoPath
from pluralign.learn.drivers.tuning import cross_validate, folds_by_row
from pluralign.provenance import machine, versions

LARGE: dict[str, int] = {"n": 20_000, "n_plans": 7_000, "n_ancillary": 480, "n_noise": 8}
# glmnet 4.1-6 on another machine, where none is installed here: not measured in this run.
QUOTED = {"small": 0.38, "large": 14.9}
FOLDS = 5
R_SCRIPT = """
suppressMessages(library(glmnet))
a <- commandArgs(TRUE); d <- a[1]; n <- as.integer(a[2]); p <- as.integer(a[3])
repeats <- as.integer(a[4]); cv <- a[5] == "1"
x <- matrix(readBin(file.path(d, "x"), "double", n * p), n, p)
y <- factor(readBin(file.path(d, "y"), "integer", n)); f <- readBin(file.path(d, "f"), "integer", n)
kind <- a[6]; best <- Inf
for (i in seq_len(repeats)) {
  s <- proc.time()
  fit <- if (cv) suppressWarnings(cv.glmnet(x, y, family = "multinomial", foldid = f + 1,
                                           type.multinomial = kind))
         else suppressWarnings(glmnet(x, y, family = "multinomial", type.multinomial = kind))
  best <- min(best, sum((proc.time() - s)[1:2]))
}
g <- if (cv) fit$glmnet.fit else fit
b <- sapply(g$beta, as.matrix, simplify = "array")
writeBin(c(best, length(g$lambda), g$lambda, as.vector(b), as.vector(g$a0)), file.path(d, "out"))
cat(as.character(packageVersion("glmnet")))
"""

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


def case_of(name: str) -> Case:
    """Columns, classes and folds."""
    world = make_market(0, **(LARGE if name == "large" else {}))
    x = np.column_stack(list(world.columns.values()))
    return x, world.y, folds_by_row(x, world.y, FOLDS, 0, np.ones(len(x)))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and what came back."""
    begun = time.process_time()
    found = call()
    return time.process_time() - begun, found


def ours(case: Case, cv: bool, grouped: bool) -> LassoPath:
    """The path, and its folds."""
    x, y, folds = case
    lasso = MultinomialLasso(penalty="grouped" if grouped else "ungrouped")
    path = lasso.path(x, y, 3)
    if cv:
        weights = np.ones(len(x))
        cross_validate(lasso, x, y, 3, folds, weights=weights, lambdas=path.lambdas)
    return path


def glmnet(case: Case, cv: bool, grouped: bool, repeats: int) -> dict[str, Any] | None:
    """R's own CPU seconds, coefficients on the scale of the columns."""
    if shutil.which("Rscript") is None:
        return None
    x, y, folds = case
    n, p = x.shape
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        x.T.astype(np.float64).tofile(base / "x")
        y.astype(np.int32).tofile(base / "y")
        folds.astype(np.int32).tofile(base / "f")
        (base / "run.R").write_text(R_SCRIPT)
        kind = "grouped" if grouped else "ungrouped"
        arguments = [folder, str(n), str(p), str(repeats), str(int(cv)), kind]
        done = subprocess.run(
            ["Rscript", str(base / "run.R"), *arguments], capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return None
        out = np.fromfile(base / "out")
    count = int(out[1])
    lambdas, rest = out[2 : 2 + count], out[2 + count :]
    return {
        "version": done.stdout,
        "seconds": float(out[0]),
        "lambdas": lambdas,
        "tables": rest[: p * count * 3].reshape(3, count, p).transpose(1, 0, 2),
        "intercepts": rest[p * count * 3 :].reshape(count, 3),
    }


def objectives(
    case: Case, lambdas: np.ndarray, intercepts: np.ndarray, tables: np.ndarray, grouped: bool
) -> np.ndarray:
    """At each strength, coefficients being of columns as given."""
    x, y, _ = case
    deviation = x.std(0)
    found = []
    for lam, intercept, table in zip(lambdas, intercepts, tables, strict=True):
        eta = x @ table.T + intercept
        top = eta.max(1, keepdims=True)
        loss = np.log(np.exp(eta - top).sum(1)) + top[:, 0] - eta[np.arange(len(y)), y]
        scaled = table * deviation
        size = np.sqrt((scaled**2).sum(0)) if grouped else np.abs(scaled)
        found.append(loss.mean() + lam * size.sum())
    return np.array(found)


def above(case: Case, peer: dict[str, Any], grouped: bool) -> list[float]:
    """The least and the most by which the peer's objective exceeds ours at its strengths."""
    lasso = MultinomialLasso(penalty="grouped" if grouped else "ungrouped")
    path = lasso.path(case[0], case[1], 3, lambdas=peer["lambdas"])
    raw = [path.raw(i) for i in range(len(path.lambdas))]
    own = objectives(
        case,
        path.lambdas,
        np.stack([intercept for intercept, _ in raw]),
        np.stack([table for _, table in raw]),
        grouped,
    )
    theirs = objectives(case, peer["lambdas"], peer["intercepts"], peer["tables"], grouped)
    return [float((theirs - own).min()), float((theirs - own).max())]


def saga(case: Case, lambdas: np.ndarray, cv: bool) -> dict[str, Any]:
    """scikit-learn from strength to strength, standardised before."""
    from sklearn.linear_model import LogisticRegression

    x, y, folds = case

    def path(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = (x[rows] - x[rows].mean(0)) / np.maximum(x[rows].std(0), 1e-12)
        model = LogisticRegression(
            solver="saga", l1_ratio=1, warm_start=True, max_iter=1000, random_state=0
        )
        tables, intercepts = [], []
        for lam in lambdas:
            model.set_params(C=1 / (lam * len(z))).fit(z, y[rows])
            tables.append(model.coef_ / np.maximum(x[rows].std(0), 1e-12))
            intercepts.append(model.intercept_ - tables[-1] @ x[rows].mean(0))
        return np.stack(tables), np.stack(intercepts)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, (tables, intercepts) = timed(lambda: path(np.full(len(y), True)))
        for fold in range(FOLDS if cv else 0):
            held = folds == fold
            seconds += timed(lambda held=held: path(~held))[0]
    return {"seconds": seconds, "lambdas": lambdas, "tables": tables, "intercepts": intercepts}


def adelie(case: Case, repeats: int) -> float | None:
    """Seconds of the grouped path; adelie has no other for several classes."""
    if find_spec("adelie") is None:
        return None
    import adelie as ad

    x, y, _ = case
    z = np.asfortranarray((x - x.mean(0)) / x.std(0))
    glm = ad.glm.multinomial(np.asfortranarray(np.eye(3)[y]), dtype=np.float64)
    settings = {"progress_bar": False, "early_exit": False, "min_ratio": 1e-4, "n_threads": 1}
    return min(timed(lambda: ad.grpnet(z, glm, **settings))[0] for _ in range(repeats))


def python_glmnet(case: Case, repeats: int) -> float | None:
    """Seconds of LogitNet's path and folds."""
    if find_spec("glmnet") is None:
        return None
    from glmnet import LogitNet

    return min(timed(lambda: LogitNet(n_splits=FOLDS).fit(*case[:2]))[0] for _ in range(repeats))


def measured(name: str, cv: bool, grouped: bool, repeats: int, with_saga: bool) -> dict[str, Any]:
    """One case with every peer that is there."""
    case = case_of(name)
    seconds, path = timed(lambda: ours(case, cv, grouped))
    theirs = glmnet(case, cv, grouped, repeats)
    for _ in range(repeats - 1):
        seconds = min(seconds, timed(lambda: ours(case, cv, grouped))[0])
    row: dict[str, Any] = {
        "case": f"{name}, {'grouped' if grouped else 'ungrouped'}, {'path + CV' if cv else 'path'}",
        "seconds": seconds,
        "points": len(path.lambdas),
        "residual": float(path.residuals.max()),
    }
    if theirs is not None:
        row["glmnet"] = theirs["seconds"]
        row["glmnet_points"] = len(theirs["lambdas"])
        row["of_glmnet"] = seconds / theirs["seconds"]
        row["glmnet_above"] = above(case, theirs, grouped)
    elif not grouped:
        row["glmnet_quoted"] = QUOTED[name]
    if with_saga:
        peer = saga(case, path.lambdas, cv)
        row["saga"], row["saga_times"] = peer["seconds"], peer["seconds"] / seconds
        row["saga_above"] = above(case, peer, grouped)
    if grouped and not cv:
        row["adelie"] = adelie(case, repeats)
    elif cv and not grouped:
        row["python_glmnet"] = python_glmnet(case, repeats)
    return {key: value for key, value in row.items() if value is not None}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="the large path too")
    parser.add_argument("--cv", action="store_true", help="with folds in the large case")
    parser.add_argument("--no-saga", action="store_true", help="leave out what takes a minute")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    repeats, slow = options.repeats, not options.no_saga
    rows = [
        measured("small", cv=False, grouped=False, repeats=repeats, with_saga=False),
        measured("small", cv=True, grouped=False, repeats=repeats, with_saga=slow),
        measured("small", cv=False, grouped=True, repeats=repeats, with_saga=False),
    ]
    if options.large:
        rows.append(measured("large", options.cv, grouped=False, repeats=1, with_saga=False))
    if options.json:
        record = {"benchmark": "drivers", "rows": rows, "machine": {**machine(), **versions()}}
        print(json.dumps(record))
        return 0
    for row in rows:
        figures = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("; ".join(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
