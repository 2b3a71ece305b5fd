"""Vectors of drivers of choice: lasso paths, their rules, inflation factors, share classes."""

import numpy as np

from adapters import adapter
from pluralign.learn.drivers.outcomes import share_classes
from pluralign.learn.drivers.path import MultinomialLasso, standardisation
from pluralign.learn.drivers.screening import inflation, screen
from pluralign.learn.drivers.tuning import deviance, lambda_indices

TOL = 1e-10
THRESHOLDS = (1.5, 2, 2.5, 3, 4, 5, 6, 7, 7.5, 8, 10, 12, 15, 20, 25, 30, 50, 100)


def data(inputs):
    """Rows, class codes, and whether the solver shall standardise."""
    raw = "X" in inputs
    x = np.array(inputs["X" if raw else "X_standardised"], float)
    _, codes = np.unique(inputs["y"], return_inverse=True)
    return x, codes, raw and inputs.get("standardize", True)


def lasso_of(inputs):
    grouped = bool(inputs.get("grouped", False)) or inputs.get("penalty") == "grouped"
    penalty = "grouped" if grouped else "ungrouped"
    return MultinomialLasso(penalty=penalty, alpha=inputs.get("alpha", 1.0), tol=TOL)


def factors_of(inputs, count):
    given = inputs.get("penalty_factors", inputs.get("penalty_factor"))
    return np.ones(count) if given is None else np.array(given, float)


def fitted(inputs, lambdas):
    x, codes, standardise = data(inputs)
    weights = inputs.get("weights", inputs.get("sample_weight"))
    return (
        x,
        codes,
        lasso_of(inputs).path(
            x,
            codes,
            codes.max() + 1,
            weights=None if weights is None else np.array(weights, float),
            factors=factors_of(inputs, x.shape[1]),
            lambdas=None if lambdas is None else np.array(lambdas, float),
            scaled=np.full(x.shape[1], standardise),
        ),
    )


def described(inputs, x, path, index):
    lam, table = path.lambdas[index], path.tables[index]
    v, alpha = factors_of(inputs, x.shape[1]), inputs.get("alpha", 1.0)
    grouped = lasso_of(inputs).penalty == "grouped"
    size = np.sqrt((table**2).sum(0)) if grouped else np.abs(table).sum(0)
    penalty = lam * (v @ (alpha * size + (1 - alpha) / 2 * (table**2).sum(0)))
    intercept, raw = path.raw(index)
    probabilities = np.exp(path.log_probabilities(x)[index])
    return {
        "lam": lam,
        "intercept": intercept,
        "coef_p_by_K": raw.T,
        "contrasts_p_by_K": (raw - raw.mean(0)).T,
        "objective": path.losses[index] + penalty,
        "loss": path.losses[index],
        "prob": probabilities,
        "prob_row0": probabilities[0],
        "n_nonzero": int((raw != 0).sum()),
        "n_features": int(raw.any(0).sum()),
    }


@adapter(inputs={"X", "y"}, expected_any={"lambda_max", "feature_mean", "feature_sd_ddof0"})
def start_of_the_path(inputs):
    x, codes, path = fitted(inputs, None)
    mean, scale = standardisation(x, np.ones(len(codes)))
    return {
        "lambda_max": path.lambdas[0],
        "feature_mean": mean,
        "feature_sd_ddof0": np.where(np.ptp(x, axis=0) > 0, scale, 0.0),
        "null_loss": path.null_loss,
        "intercept": path.intercepts[0],
    }


@adapter(inputs={"X_standardised", "y"}, expected_any={"lambda_max"})
def start_of_a_standardised_path(inputs):
    return start_of_the_path(inputs)


@adapter(inputs={"y", "lambdas"}, expected_any={"fits"})
def several_strengths(inputs):
    x, _, path = fitted(inputs, inputs["lambdas"])
    index = {lam: i for i, lam in enumerate(path.lambdas.tolist())}
    return {"fits": [described(inputs, x, path, index[lam]) for lam in inputs["lambdas"]]}


@adapter(inputs={"y", "lam"}, expected_any={"intercept", "coef_p_by_K", "objective", "prob_row0"})
def one_strength(inputs):
    x, _, path = fitted(inputs, [inputs["lam"]])
    return described(inputs, x, path, 0)


@adapter(inputs={"X", "names"}, expected_any={"vif"})
def inflation_and_screen(inputs):
    x, names = np.array(inputs["X"], float), inputs["names"]

    def screened(threshold):
        found = screen(x, names, threshold)
        return {
            "kept": [names[j] for j in found.kept],
            "dropped": [one.name for one in found.dropped],
            "vif_when_dropped": [one.vif for one in found.dropped],
        }

    limits = {f"threshold{t:g}": screened(t) for t in THRESHOLDS}
    chosen = screened(inputs["threshold"]) if "threshold" in inputs else {}
    return {"vif": screen(x, names, None).first, **limits, **chosen}


@adapter(inputs={"X"}, expected_any={"vif"})
def inflation_of_columns(inputs):
    count = np.array(inputs["X"]).shape[1]
    return inflation_and_screen({**inputs, "names": [str(j) for j in range(count)]})


@adapter(inputs={"correlation"}, expected_any={"vif"})
def inflation_of_correlations(inputs):
    return {"vif": inflation(np.array(inputs["correlation"], float))}


@adapter(inputs={"share", "edges"}, expected_any={"classes"})
def classes_of_shares(inputs):
    # Two shares more: rows that all are of one class are refused as an outcome.
    return {"classes": share_classes([*inputs["share"], 0.0, 1.0], inputs["edges"])[:-2]}


@adapter(inputs={"lambdas", "cv_mean", "cv_se"}, expected_any={"lambda_min", "lambda_1se"})
def rules(inputs):
    least, simplest = lambda_indices(
        *(np.array(inputs[name], float) for name in ("lambdas", "cv_mean", "cv_se"))
    )
    return {
        "lambda_min": inputs["lambdas"][least],
        "lambda_1se": inputs["lambdas"][simplest],
        "index_min": least,
        "index_1se": simplest,
    }


@adapter(inputs={"prob", "y"}, expected_any={"mean_deviance", "accuracy"})
def held_out_deviance(inputs):
    p, codes = np.array(inputs["prob"], float), np.array(inputs["y"], int)
    weights = np.array(inputs.get("weights", np.ones(len(codes))), float)
    accuracy = float((p.argmax(1) == codes) @ weights / weights.sum())
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    return {
        "mean_deviance": deviance(logs[None], codes, weights)[0],
        "accuracy": accuracy,
        "misclassification": 1 - accuracy,
    }
