"""Vectors of robust preference selection: neighbours, projections, caps, maxima, win rates."""

import re

import numpy as np

from adapters import adapter
from pluralign.engines.sampling import PromptTemplate
from pluralign.steer import Neighbourhood, expected_gap, expected_max, win_probability
from pluralign.steer.evidence import win_rates
from pluralign.steer.maxima import consistency_bound
from pluralign.steer.pool import choose, scored_pool
from pluralign.steer.sphere import (
    angle_between,
    at_angle,
    cap_angle_cdf,
    cap_mean_cosine,
    turn,
    unit,
)

OPTIONS = {"step_deg": "step", "include_target": "include_target", "nonnegative": "nonnegative"}


def each(values, function):
    """A function of a number for one number or for each of a list."""
    return [function(v) for v in values] if isinstance(values, list) else function(values)


def neighbourhood(inputs):
    options = {ours: inputs[name] for name, ours in OPTIONS.items() if name in inputs}
    if {"grid_lo_deg", "grid_hi_deg"} & set(inputs):
        options["grid"] = (inputs.get("grid_lo_deg", -40), inputs.get("grid_hi_deg", 40))
    if "train_angles_deg" in inputs:
        options["train_directions"] = [at_angle(a) for a in inputs["train_angles_deg"]]
    if "train_directions" in inputs:
        options["train_directions"] = inputs["train_directions"]
    return Neighbourhood(
        scheme=inputs["mode"],
        k=inputs.get("k", 5),
        spread=inputs.get("theta_max_deg", 30),
        **options,
    )


def rows_around(draw, target):
    found = draw.around(target)
    return np.repeat(found.directions, found.repeats, axis=0)


@adapter(inputs={"mode"}, expected_any={"angles_deg", "directions"})
def neighbours(inputs):
    draw = neighbourhood(inputs)
    if "target" in inputs:
        v = unit(inputs["target"])
        rows = rows_around(draw, v)
        return {"directions": rows, "angles_deg": np.abs(angle_between(rows, v))}

    def angles(target):
        rows = rows_around(draw, at_angle(target))
        turns = angle_between(rows, at_angle(target))
        found = (target + turns).round(11)
        if draw.scheme == "grid":  # absolute angles: those of the grid itself, across 180 too
            low, high = draw.grid
            found = np.where(found > high + 1e-9, found - 360, found)
            found = np.where(found < low - 1e-9, found + 360, found)
        return found.tolist()

    targets = inputs.get("target_angles_deg", inputs.get("target_angle_deg"))
    return {
        "angles_deg": each(targets, angles),
        "directions": each(targets, lambda t: rows_around(draw, at_angle(t)).tolist()),
    }


@adapter(inputs={"angles_deg"}, expected_any={"vectors", "integer_weights", "levels"})
def direction_table(inputs):
    found = {"vectors": each(inputs["angles_deg"], at_angle)}
    for name, style, pattern in (
        ("integer_weights", "weights", r"(-?\d+)\*"),
        ("levels", "levels", r": (\d+)"),
    ):
        template = PromptTemplate(
            attributes=("a", "b"), style=style, scale=inputs.get("scale", 100)
        )
        found[name] = each(
            inputs["angles_deg"],
            lambda a, t=template, p=pattern: [
                int(x) for x in re.findall(p, t.instruction(at_angle(a)))
            ],
        )
    return found


@adapter(inputs={"rewards", "target"}, expected_any={"scores", "index", "unit_target", "best"})
def selection(inputs):
    rewards = np.asarray(inputs["rewards"], dtype=np.float64)
    targets = np.asarray(inputs["target"], dtype=np.float64)
    if rewards.ndim == 2 or "aggregate" in inputs:
        return one_selection(rewards, targets, inputs.get("ok"), inputs)
    many = [
        one_selection(
            rewards[p],
            targets if targets.ndim == 1 else targets[p],
            inputs["ok"][p] if "ok" in inputs else None,
            inputs,
        )
        for p in range(len(rewards))
    ]
    return {name: [found[name] for found in many] for name in many[0]}


def one_selection(rewards, target, ok, inputs):
    """Of one prompt: rewards (k, d) of one scorer, or (s, k, d) of several with ``aggregate``."""
    v = unit(target)
    rewards = rewards.reshape(-1, *rewards.shape[-2:])
    good = np.isfinite(rewards).all(axis=-1)  # a reward that is none has failed
    good &= True if ok is None else np.asarray(ok, dtype=bool)
    scored = scored_pool(
        np.where(good[..., None], rewards, np.nan),
        good,
        v,
        standardise=inputs.get("standardise", "none"),
        aggregate=inputs.get("aggregate", "mean"),
    )
    index = choose(scored.scores, scored.ok)
    fine = scored.scores[scored.ok]
    return {
        "unit_target": v,
        "scores": [float(s) if o else None for s, o in zip(scored.scores, scored.ok, strict=True)],
        "index": index,
        "best": None if index is None else scored.scores[index],
        "mean": fine.mean() if len(fine) else None,
        "spread": np.ptp(fine) if len(fine) else None,
    }


@adapter(
    inputs={"target", "direction", "angle_deg"}, expected_any={"perturbed", "norm", "angle_deg"}
)
def perturbation(inputs):
    v = unit(inputs["target"])
    u = turn(v, inputs["direction"], inputs["angle_deg"])
    return {
        "perturbed": u,
        "norm": np.linalg.norm(u),
        "angle_deg": abs(angle_between([u], v)[0]),
    }


@adapter(inputs={"theta_max_deg", "dims", "theta_deg"}, expected_any={"cdf", "mean_cos"})
def cap(inputs):
    spread = inputs["theta_max_deg"]
    return {
        "cdf": each(inputs["dims"], lambda d: cap_angle_cdf(inputs["theta_deg"], d, spread)),
        "mean_cos": each(inputs["dims"], lambda d: cap_mean_cosine(d, spread)),
    }


@adapter(inputs={"k", "mean", "sd"}, expected_any={"expected_max"})
def iid_maximum(inputs):
    mean, sd = inputs["mean"], inputs["sd"]
    return {"expected_max": each(inputs["k"], lambda k: expected_max([mean] * k, sd))}


@adapter(
    inputs={"baseline_mean", "baseline_sd", "rps_means", "rps_sd"},
    expected_any={"e_max_baseline", "e_max_rps", "p_rps_beats_baseline", "gap"},
)
def dominance_gap(inputs):
    means, sds = inputs["rps_means"], inputs["rps_sd"]
    mean, sd, k = inputs["baseline_mean"], inputs["baseline_sd"], inputs.get("k", len(means))
    base = {"base_mean": mean, "base_sd": sd, "base_k": k}
    return {
        "e_max_baseline": expected_max([mean] * k, sd),
        "e_max_rps": expected_max(means, sds),
        "gap": expected_gap(means, sds, **base),
        "p_rps_beats_baseline": win_probability(means, sds, **base) if sd > 0 else None,
    }


@adapter(
    inputs={"reward", "target", "angles_deg"},
    expected_any={"bound", "actual_minus", "actual_plus"},
)
def consistency(inputs):
    r, v = np.asarray(inputs["reward"], dtype=np.float64), unit(inputs["target"])
    degrees = np.asarray(inputs["angles_deg"], dtype=np.float64)
    # In the plane of the first two attributes, or where the target turns most if it is across.
    across = np.array([-v[1], v[0], *[0.0] * (len(v) - 2)])
    across = across if across.any() else np.eye(len(v))[0]

    def change(sign):
        return each(inputs["angles_deg"], lambda a: abs(v @ r - turn(v, across, sign * a) @ r))

    return {
        "bound": consistency_bound(r, degrees),
        "actual_minus": change(-1),
        "actual_plus": change(1),
    }


@adapter(
    inputs={"wins", "losses"},
    expected_any={"rate_all", "rate_no_ties", "rate_half_ties", "z_sign", "wilson_no_ties"},
)
def rates(inputs):
    single = not isinstance(inputs["wins"], list)
    none = 0 if single else [0] * len(inputs["wins"])
    counts = (inputs["wins"], inputs["losses"], inputs.get("ties") or none)
    level = inputs.get("confidence", 0.95)
    rows = [counts] if single else list(zip(*counts, strict=True))
    found = [win_rates(*row, level) for row in rows]
    columns = {name: [row[name] for row in found] for name in found[0]}
    columns["z_sign"] = columns["z"]
    return {name: values[0] if single else values for name, values in columns.items()}
