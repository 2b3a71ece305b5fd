"""Vectors of distance covariance, its gradient, and the audit measures beside it."""

import numpy as np
import torch

from adapters import adapter
from pluralign.audit.dependence import (
    between_group_share,
    independence_test,
    jensen_shannon,
    ranked_probability_score,
    shannon_divergence,
)
from pluralign.objectives.dependence import DistanceCovariance


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def options_of(inputs):
    return {name: inputs[name] for name in ("exponent",) if inputs.get(name) is not None}


def estimators(y):
    """Those that the number of rows allows."""
    return ("v", "u") if len(y) >= 4 else ("v",)


def psi(y, blocks, estimator, **options):
    return DistanceCovariance(estimator=estimator, **options)(y, blocks)


def own_variance(y, estimator, **options):
    return psi(y, y, estimator, **options)


def gradient(y, blocks, estimator, **options):
    y = y.clone().requires_grad_()
    (slope,) = torch.autograd.grad(psi(y, blocks, estimator, **options), y)
    return slope


def parts_of(matrix):
    """Blocks of a table: neighbouring columns whose rows are one-hot belong together."""
    columns, blocks, start = matrix.shape[1], [], 0
    while start < columns:
        stop = start + 1
        binary = ((matrix == 0) | (matrix == 1)).all(0)
        for end in range(start + 2, columns + 1):
            if binary[start:end].all() and (matrix[:, start:end].sum(1) == 1).all():
                stop = end
        blocks.append(matrix[:, start:stop])
        start = stop
    return blocks


@adapter(inputs={"y", "s"}, expected_any={"dcov2_v", "dcov2_u", "dvar2_v_y", "dvar2_u_y", "dcor_v"})
def raw_blocks(inputs):
    y, options = tensor(inputs["y"]), options_of(inputs)
    blocks = [tensor(block) for block in inputs["s"]]
    if blocks[0].ndim == 0:
        blocks = [torch.stack(blocks)]
    joint = torch.cat([block.reshape(len(y), -1) for block in blocks], 1)
    found = {}
    for e in estimators(y):
        found[f"dcov2_{e}"] = psi(y, blocks, e, **options)
        found[f"grad_{e}"] = gradient(y, blocks, e, **options)
        found[f"dvar2_{e}_y"] = own_variance(y, e, **options)
        found[f"dvar2_{e}_s"] = own_variance(joint, e, **options)
        found[f"dcor2_{e}"] = psi(y, blocks, e, normalise=True, **options)
    found["dcor_v"] = found["dcor2_v"].clamp(min=0).sqrt()
    return found


@adapter(
    inputs={"y", "S"},
    expected_any={
        "ccdcov_v",
        "ccdcov_u",
        "dcor2_u",
        "chi2_p_value",
        "marginal_v",
        "marginal_u",
        "grad_v",
        "grad_u",
        "dcor2",
    },
)
def side_by_side(inputs):
    y, matrix, options = tensor(inputs["y"]), tensor(inputs["S"]), options_of(inputs)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    parts, found = parts_of(matrix), {}
    for e in estimators(y):
        found[f"ccdcov_{e}"] = psi(y, matrix, e, **options)
        found[f"grad_{e}"] = gradient(y, matrix, e, **options)
        found[f"marginal_{e}"] = [psi(y, one, e, **options).item() for one in parts]
        found[f"sum_marginal_{e}"] = psi(y, parts, e, measure="sum_marginal", **options)
        found[f"eta_{e}"] = found[f"ccdcov_{e}"] - found[f"sum_marginal_{e}"]
        found[f"jdcov_{e}_c1"] = psi(y, parts, e, measure="jdcov", **options)
        found[f"dcor2_{e}"] = psi(y, matrix, e, normalise=True, **options)
    if len(y) >= 4:
        found["chi2_p_value"] = independence_test(inputs["y"], [matrix.numpy()]).p_value
    constant = bool((y == y[0]).all() or (matrix == matrix[0]).all())
    ratio = found["dcor2_u" if len(y) >= 4 else "dcor2_v"]
    found["dcor2"] = (
        "undefined: 0/0, must be reported as 0 with a warning (our choice)"
        if constant and ratio == 0
        else ratio
    )
    return found


NUMBERS = {"first": 0, "all": 0, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


@adapter(
    inputs={"blocks"},
    expected_any={
        f"jdcov_{estimator}_{which}_c{c}"
        for estimator in "uv"
        for which in ("first2", "first3", "first4", "all2", "all3", "all4", "all5", "two_blocks")
        for c in ("1", "05", "2", "3")
    }
    | {"dcov2_u_y_R", "dcov2_v_y_R"},
)
def joint(inputs):
    class Found(dict):
        """Any ``jdcov_<estimator>_<first k | all k | k_blocks>_c<c>``; c 05 is 0.5."""

        def __contains__(self, name):
            return super().__contains__(name) or name.startswith("jdcov_")

        def __missing__(self, name):
            _, estimator, *which, c = name.split("_")
            number = "".join(ch for ch in which[0] if ch.isdigit())
            count = int(number) if number else NUMBERS[which[0]] or len(blocks)
            c = c.removeprefix("c")
            short = c.startswith("0") and len(c) > 1 and "." not in c
            weight = float(f"0.{c[1:]}" if short else c)
            attributes = blocks[1:count]
            return psi(y, attributes, estimator, measure="jdcov", c=weight)

    blocks = [tensor(block) for block in inputs["blocks"]]
    blocks = [block[:, None] if block.ndim == 1 else block for block in blocks]
    y = blocks[0]
    found = {f"dcov2_{e}_y_R": psi(y, blocks[1], e, measure="dcov") for e in estimators(y)}
    for e in estimators(y):
        found[f"ccdcov_{e}"] = psi(y, blocks[1:], e)
        found[f"sum_marginal_{e}"] = psi(y, blocks[1:], e, measure="sum_marginal")
    return Found(found)


@adapter(
    inputs={"y", "s1", "s2"},
    expected_any={"dcov2_v_y_s1", "dcov2_v_y_s2", "ccdcov_v", "jdcov_v_c1", "ccdcov_u"},
)
def two_attributes(inputs):
    y = tensor(inputs["y"])
    names = sorted(name for name in inputs if name.startswith("s") and name[1:].isdigit())
    blocks = [tensor(inputs[name]) for name in names]
    found = {}
    for e in estimators(y):
        found[f"ccdcov_{e}"] = psi(y, blocks, e)
        found[f"sum_marginal_{e}"] = psi(y, blocks, e, measure="sum_marginal")
        for name, c in (("1", 1.0), ("05", 0.5), ("2", 2.0), ("3", 3.0)):
            found[f"jdcov_{e}_c{name}"] = psi(y, blocks, e, measure="jdcov", c=c)
        for name, block in zip(names, blocks, strict=True):
            found[f"dcov2_{e}_y_{name}"] = psi(y, block, e)
    return found


@adapter(inputs={"y", "S", "a", "b", "t"}, expected_any={"ratio_y", "ratio_S", "dcor2_u_unchanged"})
def scaled(inputs):
    y, matrix = tensor(inputs["y"]), tensor(inputs["S"])
    moved = inputs["a"] * y + inputs["b"]
    wider = inputs["t"] * matrix
    return {
        "ratio_y": psi(moved, matrix, "u") / psi(y, matrix, "u"),
        "ratio_S": psi(y, wider, "v") / psi(y, matrix, "v"),
        "dcor2_u_unchanged": psi(moved, wider, "u", normalise=True),
    }


@adapter(inputs={"pmfs"}, expected_any={"jsd_bits", "jsd_equal_weights_bits"})
def discrete(inputs):
    disjoint = np.eye(2)
    return {
        "jsd_bits": shannon_divergence(inputs["pmfs"], inputs.get("weights")),
        "jsd_equal_weights_bits": shannon_divergence(inputs["pmfs"]),
        "two_disjoint_equal": shannon_divergence(disjoint),
        "two_disjoint_quarter": shannon_divergence(disjoint, [0.25, 0.75]),
    }


@adapter(
    inputs={"outputs", "groups"},
    expected_any={"jsd_proportion", "jsd_equal", "uf_authors_code", "uf_weighted"},
)
def by_group(inputs):
    outputs, groups = inputs["outputs"], inputs["groups"]
    options = {
        "bandwidth": inputs.get("bandwidth") or 0.15,
        "grid": inputs.get("grid_points") or 1000,
    }
    return {
        "jsd_proportion": jensen_shannon(outputs, groups, **options),
        "jsd_equal": jensen_shannon(outputs, groups, weights="equal", **options),
        "uf_authors_code": between_group_share(outputs, groups, weighting="unweighted"),
        "uf_weighted": between_group_share(outputs, groups),
    }


@adapter(inputs={"poisson_rates", "counts"}, expected_any={"rps_poisson"})
def poisson_score(inputs):
    score = ranked_probability_score(
        inputs["counts"], inputs["poisson_rates"], max_count=inputs.get("max_count") or 10
    )
    found = {"rps_poisson": score.mean()}
    return found | (binary_score(inputs) if "probs" in inputs else {})


@adapter(inputs={"probs", "labels"}, expected_any={"rps_binary"})
def binary_score(inputs):
    return {
        "rps_binary": ranked_probability_score(
            inputs["labels"], inputs["probs"], kind="binary"
        ).mean()
    }
