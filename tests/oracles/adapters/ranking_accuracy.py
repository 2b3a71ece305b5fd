"""Vectors of the ranking audit: scores, accuracies, thresholds, the perfect policy.

A number stands where a vector has one pair, scales may be one or several, and options
that a case leaves out have the values of the method's card.
"""

import numpy as np
import torch

from adapters import adapter
from pluralign import Preferences, ScoredPairs
from pluralign.audit import flip_threshold, idealised_accuracy, ranking_accuracy, reward_accuracy
from pluralign.audit.difficulty import (
    alpha_needed,
    ipo_sufficient_loss,
    ipo_zero_loss_is_correct,
    log_flip_threshold,
    margin_needed,
    perfect_log_ratio,
    perfect_log_ratio_from_perplexity,
    scaled_dpo_loss,
)
from pluralign.audit.ranking import (
    implicit_margin,
    ranking_accuracy_with_ties,
    ranking_agreement,
    sequence_score,
)

VALUES = ("exact", "pairwise", "kendall")


def array(values):
    return np.asarray(values, dtype=np.float64)


def scored(chosen, rejected, **more):
    """Scored pairs; a single number is one pair."""
    columns = {"chosen": chosen, "rejected": rejected, **more}
    columns = {name: np.atleast_1d(np.asarray(values)) for name, values in columns.items()}
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}] * len(columns["chosen"])
    return ScoredPairs(Preferences.from_records(rows), **columns)


def like(values, given):
    """Values of pairs in the shape that was given: a number for a number."""
    return values if isinstance(given, list) else values[0]


def each(given, function):
    """The function of one scale, or one row for each of several."""
    found = [function(one) for one in (given if isinstance(given, list) else [given])]
    return np.stack(found) if isinstance(given, list) else found[0]


def nulls(values):
    """Numbers with ``None`` where there is none."""
    return np.where(np.isnan(values), None, values).tolist()


def rule_of(inputs, default):
    """Which rule a case words: that of the paper replaces a zero share, ours clips."""
    stated = inputs.get("eps_rule", default)
    return "paper" if stated == "paper" or "zero share" in stated else "clip"


@adapter(
    inputs={"token_logps", "response_mask"},
    expected_any={"sum", "length", "mean"},
)
def masked_scores(inputs):
    found = sequence_score(inputs["token_logps"], inputs["response_mask"])
    return {"sum": found.total, "length": found.length, "mean": found.mean}


@adapter(
    inputs={"logp_w", "logp_l"},
    expected_any={"correct_sum", "accuracy_sum", "correct_mean", "accuracy_mean", "n_used"},
)
def pair_accuracies(inputs):
    names = {"chosen_length": "len_w", "rejected_length": "len_l"}
    lengths = {ours: inputs[name] for ours, name in names.items() if inputs.get(name) is not None}
    pairs = scored(inputs["logp_w"], inputs["logp_l"], **lengths)
    found = {}
    for name, normalise in {"sum": "none", "mean": "token_mean"}.items():
        if name == "sum" or lengths:
            right = ranking_accuracy(pairs, normalise=normalise, strict=inputs.get("strict", False))
            found[f"correct_{name}"] = like(right, inputs["logp_w"])
            found[f"accuracy_{name}"] = np.nanmean(right)
            found["n_used"] = int(np.isfinite(right).sum())
    return found


@adapter(inputs={"score_1", "score_2", "alpha"}, expected_any={"correct", "accuracy"})
def accuracies_with_ties(inputs):
    correct = ranking_accuracy_with_ties(
        inputs["score_1"], inputs["score_2"], inputs["alpha"], inputs.get("tie_tol", 0.01)
    )
    return {"correct": correct, "accuracy": correct.mean()}


@adapter(inputs={"ref_log_ratio_w_over_l", "alpha", "beta"}, expected_any={"log_ratio"})
def perfect_policy(inputs):
    # The closed form itself, but where all raters agree and it has no finite value.
    unanimous = np.isin(array(inputs["alpha"]), (0.0, 1.0)).any()
    ratio = perfect_log_ratio(
        inputs["ref_log_ratio_w_over_l"],
        inputs["alpha"],
        inputs["beta"],
        eps=inputs.get("eps", 0.001 if unanimous else 1e-12),
        eps_rule=rule_of(inputs, "clip"),
    )
    return {"log_ratio": ratio}


@adapter(
    inputs={"ref_log_ratio_w_over_l", "votes_w", "n_raters", "beta"},
    expected_any={"n_used", "accuracy", "min", "median", "max"},
)
def idealised(inputs):
    return idealised_of_shares({**inputs, "alpha": array(inputs["votes_w"]) / inputs["n_raters"]})


@adapter(
    inputs={"ref_log_ratio_w_over_l", "alpha", "beta"},
    expected_any={"n_used", "accuracy", "min", "median", "max"},
)
def idealised_of_shares(inputs):
    drop = inputs.get("drop_ties", True)
    if drop and (array(inputs["alpha"]) == 0.5).all():
        rows = [None] * np.size(inputs["beta"])
        return {"n_used": 0, "accuracy": rows, "min": None, "median": None, "max": None}
    found = idealised_accuracy(
        np.atleast_1d(inputs["ref_log_ratio_w_over_l"]),
        np.atleast_1d(inputs["alpha"]),
        inputs["beta"],
        eps=inputs.get("eps", 0.001),
        eps_rule=rule_of(inputs, "clip"),
        drop_ties=drop,
    )
    return {
        "n_used": found.n_used,
        "accuracy": like(found.accuracy, inputs["beta"]),
        "min": found.min,
        "median": found.median,
        "max": found.max,
    }


@adapter(
    inputs={"ref_log_ratio_l_over_w", "beta"},
    expected_any={"threshold", "log_threshold", "alpha_needed", "margin_needed"},
)
def thresholds(inputs):
    c, gamma = inputs["ref_log_ratio_l_over_w"], inputs.get("gamma", 1.0)
    names = {
        "threshold": flip_threshold,
        "log_threshold": log_flip_threshold,
        "margin_needed": margin_needed,
    }
    found = {
        name: each(inputs["beta"], lambda b, f=function: each(gamma, lambda g: f(c, b, g)))
        for name, function in names.items()
    }
    return {**found, "alpha_needed": each(inputs["beta"], lambda b: alpha_needed(c, b))}


@adapter(
    inputs={"policy_logp_w", "policy_logp_l", "ref_logp_w", "ref_logp_l", "beta"},
    expected_any={
        "reward_margin",
        "loss",
        "threshold",
        "ranking_correct",
        "reward_correct",
        "below_threshold",
    },
)
def loss_and_threshold(inputs):
    beta = inputs["beta"]
    pairs = scored(
        array(inputs["policy_logp_w"]),
        array(inputs["policy_logp_l"]),
        ref_chosen=array(inputs["ref_logp_w"]),
        ref_rejected=array(inputs["ref_logp_l"]),
    )
    c = pairs.ref_rejected - pairs.ref_chosen
    loss = scaled_dpo_loss(pairs.chosen - pairs.rejected, c, beta)
    threshold = flip_threshold(c, beta)
    found = {
        "reward_margin": beta * implicit_margin(pairs),
        "loss": loss,
        "threshold": threshold,
        "ranking_correct": ranking_accuracy(pairs),
        "reward_correct": reward_accuracy(pairs),
        # Equal likelihood sits on the threshold up to rounding.
        "below_threshold": (loss <= threshold * (1 + 1e-12)).astype(float),
    }
    return {name: like(values, inputs["policy_logp_w"]) for name, values in found.items()}


@adapter(
    inputs={"policy_log_ratio_w_over_l", "ref_log_ratio_l_over_w", "beta"},
    expected_any={"loss", "threshold"},
)
def gamma_scaled(inputs):
    c, m = array(inputs["ref_log_ratio_l_over_w"]), array(inputs["policy_log_ratio_w_over_l"])
    beta, gamma = inputs["beta"], inputs.get("gamma", 1.0)
    return {
        "loss": each(gamma, lambda g: each(beta, lambda b: scaled_dpo_loss(m, c, b, g))),
        "threshold": each(gamma, lambda g: each(beta, lambda b: flip_threshold(c, b, g))),
    }


@adapter(
    inputs={"ref_log_ratio_w_over_l", "tau"},
    expected_any={"zero_loss_is_correct", "sufficient_loss"},
)
def ipo(inputs):
    ratio, tau = inputs["ref_log_ratio_w_over_l"], inputs["tau"]
    return {
        "zero_loss_is_correct": each(
            tau, lambda t: ipo_zero_loss_is_correct(ratio, t).astype(float)
        ),
        "sufficient_loss": nulls(each(tau, lambda t: ipo_sufficient_loss(ratio, t))),
    }


@adapter(
    inputs={"scores", "human_ranks"},
    expected_any={"model_ranks", "correct", "accuracy", "pairwise_accuracy", "kendall_tau"},
)
def rankings(inputs):
    """Prompts one by one, since each may have another number of responses."""
    prompts = zip(inputs["scores"], inputs["human_ranks"], strict=True)
    found = [ranking_agreement([scores], [ranks]) for scores, ranks in prompts]
    columns = {name: np.concatenate([getattr(one, name) for one in found]) for name in VALUES}
    return {
        "model_ranks": [one.ranks[0].tolist() for one in found],
        "correct": columns["exact"],
        "accuracy": columns["exact"].mean(),
        "pairwise_accuracy": nulls(columns["pairwise"]),
        "kendall_tau": nulls(columns["kendall"]),
    }


@adapter(
    inputs={"ppl_1", "ppl_2", "len_1", "len_2", "alpha_1", "beta"},
    expected_any={"log_ratio_mean", "log_ratio_sum"},
)
def from_perplexity(inputs):
    rule = rule_of(inputs, "paper")
    found = {
        normalise: perfect_log_ratio_from_perplexity(
            (inputs["ppl_1"], inputs["ppl_2"]),
            (inputs["len_1"], inputs["len_2"]),
            inputs["alpha_1"],
            inputs["beta"],
            normalise=normalise,
            eps=inputs.get("eps", 0.001),
            eps_rule=rule,
        )
        for normalise in ("none", "token_mean")
    }
    return {"log_ratio_mean": found["token_mean"], "log_ratio_sum": found["none"]}


@adapter(
    inputs={"vocab_size", "logits_of_token_j", "prompt_ids", "response_ids", "padding_sides"},
    expected_any={"sum", "length", "wrong_value_if_prompt_mask_is_misaligned"},
)
def padded_scores(inputs):
    """Token log-probabilities of a context-free model, summed under either padding."""
    formula = inputs["logits_of_token_j"].split(" at ")[0]
    names = {name: getattr(np, name) for name in ("exp", "log", "sin", "cos", "sqrt", "abs")}
    logits = eval(formula, {"__builtins__": {}, **names}, {"j": np.arange(inputs["vocab_size"])})
    table = torch.log_softmax(torch.as_tensor(logits, dtype=torch.float64), dim=0).numpy()
    found = []
    for side in inputs["padding_sides"]:
        texts = zip(inputs["prompt_ids"], inputs["response_ids"], strict=True)
        rows = [([*p, *r], [0] * len(p) + [1] * len(r)) for p, r in texts]
        width = max(len(ids) for ids, _ in rows)
        ids, mask = (np.stack([padded(row[part], width, side) for row in rows]) for part in (0, 1))
        found.append(sequence_score(table[ids], mask))
    for other in found[1:]:
        np.testing.assert_allclose(other.total, found[0].total, rtol=1e-12)
        np.testing.assert_array_equal(other.length, found[0].length)
    # The fault that the case describes: the mask keeps the first n(y) tokens of the text.
    wrong = [
        table[[*prompt, *response][: len(response)]].sum()
        for prompt, response in zip(inputs["prompt_ids"], inputs["response_ids"], strict=True)
    ]
    return {
        "sum": found[0].total,
        "length": found[0].length,
        "wrong_value_if_prompt_mask_is_misaligned": wrong,
    }


def padded(values, width, side):
    fill = [0] * (width - len(values))
    return np.array([*fill, *values] if side == "left" else [*values, *fill])
