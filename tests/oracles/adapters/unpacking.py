"""Vectors of the factorial study: the reward-model loss and DPO from logits."""

import torch

from adapters import adapter
from pluralign import PairScores
from pluralign.audit.rewards import best_of_first_n, expected_best_of_n, section_scores
from pluralign.objectives import DPO, BradleyTerry


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@adapter(
    inputs={"rewards_chosen", "rewards_rejected"},
    expected_any={"loss", "accuracy", "mean_margin", "loss_with_margin"},
)
def reward_model(inputs):
    scores = PairScores(
        tensor(inputs["rewards_chosen"]), tensor(inputs["rewards_rejected"]), kind="reward"
    )
    terms = BradleyTerry()(scores)
    found = {
        "loss": terms.loss.mean(),
        "accuracy": terms.metrics["rewards/accuracies"].mean(),
        "mean_margin": terms.metrics["rewards/margins"].mean(),
    }
    found["loss_with_margin"] = found["loss"]  # margin 0 by default
    target = inputs.get("margin")
    if target is not None:
        target = tensor(target).expand_as(scores.chosen)
        graded = BradleyTerry(target_margin="per_pair")(scores._replace(target_margin=target))
        found["loss_with_margin"] = graded.loss.mean()
    return found


def sequence_sums(logits, ids, mask):
    """Log-probabilities of the masked tokens, summed: position t predicts token t + 1."""
    steps = tensor(logits)[:, :-1].log_softmax(-1)
    tokens = torch.tensor(ids)[:, 1:]
    picked = steps.gather(-1, tokens[..., None])[..., 0]
    return (picked * tensor(mask)[:, 1:]).sum(-1)


@adapter(
    inputs={"policy_logits", "ref_logits", "input_ids", "loss_mask", "beta"},
    expected_any={
        "policy_sequence_logps",
        "ref_sequence_logps",
        "dpo_per_pair",
        "dpo_mean",
        "chosen_rewards",
        "rejected_rewards",
    },
)
def dpo_from_logits(inputs):
    policy, reference = (
        sequence_sums(inputs[f"{name}_logits"], inputs["input_ids"], inputs["loss_mask"])
        for name in ("policy", "ref")
    )
    terms = DPO(beta=inputs["beta"])(PairScores(*policy.chunk(2), *reference.chunk(2)))
    return {
        "policy_sequence_logps": policy,
        "ref_sequence_logps": reference,
        "dpo_per_pair": terms.loss,
        "dpo_mean": terms.loss.mean(),
        "chosen_rewards": terms.metrics["rewards/chosen"],
        "rejected_rewards": terms.metrics["rewards/rejected"],
    }


@adapter(
    inputs={"rewards", "metric", "n_values"},
    expected_any={"best_of_first_n", "expected_best_of_n_over_subsets"},
)
def best_of_n(inputs):
    rewards, metric, sizes = inputs["rewards"], inputs["metric"], inputs["n_values"]
    return {
        "best_of_first_n": {n: best_of_first_n(rewards, metric, n) for n in sizes},
        "expected_best_of_n_over_subsets": {
            n: expected_best_of_n(rewards, metric, n) for n in sizes
        },
        "oracle_best": sum(max(row) for row in metric) / len(metric),
        "mean_of_one": expected_best_of_n(rewards, metric, 1),
    }


@adapter(
    inputs={"subset_accuracy", "subset_weights", "sections"},
    expected_any={"section_scores", "mean_of_four_sections"},
)
def rewardbench(inputs):
    scores = section_scores(inputs["subset_accuracy"], inputs["subset_weights"], inputs["sections"])
    return {
        "section_scores": scores,
        "mean_of_four_sections": sum(scores.values()) / len(scores),
    }
