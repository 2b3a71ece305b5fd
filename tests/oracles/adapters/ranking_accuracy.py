"""Vectors of the ranking audit: scores, accuracies, thresholds, the perfect policy."""

import re

import numpy as np
import torch

from adapters import adapter
from pluralign import Preferences, ScoredPairs
from pluralign.audit import flip_threshold, idealised_accuracy, ranking_accuracy, reward_accuracy
from pluralign.audit.difficulty import (
    alpha_needed,
    ipo_sufficient_loss,
    ipo_zero_loss_is_correct,
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


def array(values):
    return np.asarray(values, dtype=np.float64)


def scored(chosen, rejected, **more):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}] * len(chosen)
    pairs = Preferences.from_records(rows)
    return ScoredPairs(pairs, chosen=array(chosen), rejected=array(rejected), **more)


@adapter(
    inputs={"token_logps", "response_mask"},
    expected_any={"sum", "length", "mean"},
)
def masked_scores(inputs):
    found = sequence_score(inputs["token_logps"], inputs["response_mask"])
    return {"sum": found.total, "length": found.length, "mean": found.mean}


@adapter(
    inputs={"logp_w", "logp_l", "len_w", "len_l"},
    expected_any={"correct_sum", "accuracy_sum", "correct_mean", "accuracy_mean"},
)
def pair_accuracies(inputs):
    lengths = {
        "chosen_length": np.asarray(inputs["len_w"]),
        "rejected_length": np.asarray(inputs["len_l"]),
    }
    pairs = scored(inputs["logp_w"], inputs["logp_l"], **lengths)
    by_sum = ranking_accuracy(pairs)
    by_mean = ranking_accuracy(pairs, normalise="token_mean")
    return {
        "correct_sum": by_sum,
        "accuracy_sum": by_sum.mean(),
        "correct_mean": by_mean,
        "accuracy_mean": by_mean.mean(),
    }


@adapter(
    inputs={"score_1", "score_2", "alpha", "tie_tol"},
    expected_any={"correct", "accuracy"},
)
def accuracies_with_ties(inputs):
    correct = ranking_accuracy_with_ties(
        inputs["score_1"], inputs["score_2"], inputs["alpha"], inputs["tie_tol"]
    )
    return {"correct": correct, "accuracy": correct.mean()}


@adapter(inputs={"ref_log_ratio_w_over_l", "alpha", "beta"}, expected_any={"log_ratio"})
def perfect_policy(inputs):
    ratio = perfect_log_ratio(
        inputs["ref_log_ratio_w_over_l"],
        inputs["alpha"],
        inputs["beta"],
        eps=inputs.get("eps", 1e-12),
    )
    return {"log_ratio": ratio}


@adapter(
    inputs={"ref_log_ratio_w_over_l", "votes_w", "n_raters", "beta"},
    expected_any={"n_used", "accuracy", "min", "median", "max"},
)
def idealised(inputs):
    found = idealised_accuracy(
        inputs["ref_log_ratio_w_over_l"],
        array(inputs["votes_w"]) / array(inputs["n_raters"]),
        inputs["beta"],
        eps=inputs.get("eps", 0.001),
        drop_ties=inputs.get("drop_ties", True),
    )
    return {
        "n_used": found.n_used,
        "accuracy": found.accuracy,
        "min": found.min,
        "median": found.median,
        "max": found.max,
    }


@adapter(
    inputs={"ref_log_ratio_l_over_w", "beta"},
    expected_any={"threshold", "alpha_needed", "margin_needed"},
)
def thresholds(inputs):
    c, beta = inputs["ref_log_ratio_l_over_w"], inputs["beta"]
    return {
        "threshold": flip_threshold(c, beta),
        "alpha_needed": alpha_needed(c, beta),
        "margin_needed": margin_needed(c, beta),
    }


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
        inputs["policy_logp_w"],
        inputs["policy_logp_l"],
        ref_chosen=array(inputs["ref_logp_w"]),
        ref_rejected=array(inputs["ref_logp_l"]),
    )
    c = pairs.ref_rejected - pairs.ref_chosen
    loss = scaled_dpo_loss(pairs.chosen - pairs.rejected, c, beta)
    threshold = flip_threshold(c, beta)
    return {
        "reward_margin": beta * implicit_margin(pairs),
        "loss": loss,
        "threshold": threshold,
        "ranking_correct": ranking_accuracy(pairs),
        "reward_correct": reward_accuracy(pairs),
        # Equal likelihood sits on the threshold up to rounding.
        "below_threshold": (loss <= threshold * (1 + 1e-12)).astype(float),
    }


@adapter(
    inputs={"policy_log_ratio_w_over_l", "ref_log_ratio_l_over_w", "beta", "gamma"},
    expected_any={"loss", "threshold"},
)
def gamma_scaled(inputs):
    c, beta = array(inputs["ref_log_ratio_l_over_w"]), inputs["beta"]
    m, gamma = array(inputs["policy_log_ratio_w_over_l"]), inputs["gamma"]
    gammas = gamma if isinstance(gamma, list) else [gamma]
    found = {
        "loss": [scaled_dpo_loss(m, c, beta, g) for g in gammas],
        "threshold": [flip_threshold(c, beta, g) for g in gammas],
    }
    if isinstance(gamma, list):
        return {name: np.stack(values) for name, values in found.items()}
    return {name: values[0] for name, values in found.items()}


@adapter(
    inputs={"ref_log_ratio_w_over_l", "tau"},
    expected_any={"zero_loss_is_correct", "sufficient_loss"},
)
def ipo(inputs):
    ratio, tau = inputs["ref_log_ratio_w_over_l"], inputs["tau"]
    sufficient = ipo_sufficient_loss(ratio, tau)
    return {
        "zero_loss_is_correct": ipo_zero_loss_is_correct(ratio, tau).astype(float),
        "sufficient_loss": [None if np.isnan(x) else float(x) for x in sufficient],
    }


@adapter(
    inputs={"scores", "human_ranks"},
    expected_any={"model_ranks", "correct", "accuracy", "pairwise_accuracy"},
)
def rankings(inputs):
    found = ranking_agreement(inputs["scores"], inputs["human_ranks"])
    return {
        "model_ranks": found.ranks,
        "correct": found.exact,
        "accuracy": found.exact.mean(),
        "pairwise_accuracy": found.pairwise,
    }


@adapter(
    inputs={"ppl_1", "ppl_2", "len_1", "len_2", "alpha_1", "beta"},
    expected_any={"log_ratio_mean", "log_ratio_sum"},
)
def from_perplexity(inputs):
    rule = "paper" if "zero share" in inputs.get("eps_rule", "zero share") else "clip"
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
    slope = float(re.match(r"[-+.\de]+", inputs["logits_of_token_j"]).group())
    table = torch.log_softmax(
        slope * torch.arange(inputs["vocab_size"], dtype=torch.float64), dim=0
    ).numpy()
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
