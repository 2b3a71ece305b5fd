"""Vectors of ghost batch normalisation: the layer, a large-batch step, schedules, drift."""

import warnings

import torch
from torch import nn
from torch.nn import functional

from adapters import adapter
from pluralign import DataQualityWarning
from pluralign.audit.drift import fit_drift
from pluralign.learn.regime import (
    adapt_schedule,
    epoch_multiplier,
    scale_learning_rate,
    updates,
)
from pluralign.nn import GhostBatchNorm1d, GhostBatchNorm2d, GhostBatchNorm3d

LAYERS = {2: GhostBatchNorm1d, 3: GhostBatchNorm1d, 4: GhostBatchNorm2d, 5: GhostBatchNorm3d}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def layer(inputs, x, update):
    made = LAYERS[x.dim()](
        x.shape[1],
        inputs["ghost_batch_size"],
        eps=inputs.get("eps", 1e-5),
        momentum=inputs.get("momentum", 0.1),
        grouping=inputs.get("grouping") or "contiguous",
        running_update=update,
        affine=inputs.get("affine", True),
        track_running_stats=inputs.get("track_running_stats", True),
        remainder=inputs.get("remainder") or "own",
        dtype=torch.float64,
    )
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    state = {name: inputs.get(name) for name in names}
    made.load_state_dict({n: tensor(v) for n, v in state.items() if v is not None}, strict=False)
    return made


@adapter(
    inputs={"x", "ghost_batch_size"},
    expected_any={
        "output_train",
        "running_mean_sequential",
        "running_mean_scaled",
        "running_mean_mean",
        "grad_x",
        "output_eval_after_sequential",
    },
)
def ghost_layer(inputs):
    x = tensor(inputs["x"]).requires_grad_()
    found = {}
    for update in ("mean", "scaled", "sequential"):
        made = layer(inputs, x, update)
        y = made(x)
        found[f"running_mean_{update}"] = made.running_mean
        found[f"running_var_{update}"] = made.running_var
        found[f"num_batches_tracked_{update}"] = made.num_batches_tracked
    found["output_train"] = y
    if inputs.get("grad_output") is not None:
        y.backward(tensor(inputs["grad_output"]))
        found |= {
            "grad_x": x.grad,
            "grad_weight": None if made.weight is None else made.weight.grad,
            "grad_bias": None if made.bias is None else made.bias.grad,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        made.eval()
    return {**found, "output_eval_after_sequential": made(x)}


@adapter(
    inputs={"x", "y", "weight", "bias", "batch_size", "ghost_batch_size", "base_lr", "clip_norm"},
    expected_any={"lr", "loss", "grad_norm_before_clip", "weight_after", "bias_after"},
)
def large_batch_step(inputs):
    x, target = tensor(inputs["x"]), torch.tensor(inputs["y"])
    affine = inputs.get("bn_affine", False)
    norm = GhostBatchNorm1d(
        x.shape[1],
        inputs["ghost_batch_size"],
        eps=inputs.get("bn_eps", 1e-5),
        affine=affine,
        grouping="contiguous",
        dtype=torch.float64,
    )
    head = nn.Linear(x.shape[1], len(inputs["weight"]), dtype=torch.float64)
    head.load_state_dict({"weight": tensor(inputs["weight"]), "bias": tensor(inputs["bias"])})
    reference = inputs.get("reference_batch_size") or inputs["ghost_batch_size"]
    rate = scale_learning_rate(
        inputs["base_lr"], inputs["batch_size"], reference, inputs.get("lr_rule") or "sqrt"
    )
    loss = functional.cross_entropy(head(norm(x)), target)
    loss.backward()
    clip = inputs["clip_norm"]
    learned = [*head.parameters(), *norm.parameters()]
    length = nn.utils.clip_grad_norm_(learned, float("inf") if clip is None else clip)
    torch.optim.SGD(learned, lr=rate, weight_decay=inputs.get("weight_decay") or 0.0).step()
    return {
        "lr": rate,
        "loss": loss,
        "grad_norm_before_clip": length,
        "weight_after": head.weight,
        "bias_after": head.bias,
    }


@adapter(
    inputs={"regime", "batch_size", "reference_batch_size", "epochs", "dataset_size"},
    expected_any={
        "lr_scale_sqrt",
        "lr_scale_linear",
        "epoch_multiplier",
        "adapted_regime",
        "adapted_epochs",
        "updates_adapted",
    },
)
def regime(inputs):
    large, small = inputs["batch_size"], inputs["reference_batch_size"]
    size, epochs = inputs["dataset_size"], inputs["epochs"]
    factor = epoch_multiplier(large, small)
    exact = {}
    if size > max(large, small):
        exact["lr_scale_exact"] = scale_learning_rate(1.0, large, small, "exact", n_examples=size)
    return {
        **exact,
        "lr_scale_none": scale_learning_rate(1.0, large, small, "none"),
        "lr_scale_sqrt": scale_learning_rate(1.0, large, small, "sqrt"),
        "lr_scale_linear": scale_learning_rate(1.0, large, small, "linear"),
        "epoch_multiplier": factor,
        "adapted_regime": adapt_schedule(inputs["regime"], large, small),
        "adapted_epochs": epochs * factor,
        "updates_reference": updates(size, small, epochs),
        "updates_adapted": updates(size, large, epochs * factor),
        "updates_unadapted": updates(size, large, epochs),
    }


@adapter(
    inputs={"step", "distance"},
    expected_any={"log_intercept", "log_slope", "log_r2", "power_exponent", "power_prefactor"},
)
def drift(inputs):
    first = inputs.get("first", inputs.get("t_min")) or 1.0
    before = inputs.get("before", inputs.get("t_drop"))
    found = fit_drift(inputs["step"], inputs["distance"], first=first, before=before).to_json()
    return {**found, "power_r2_in_log_log": found["power_r2"]}
