"""Vectors of robust DPO: losses, weights, minimisers, rankings, noise rates."""

import math

import numpy as np
import torch

from adapters import adapter
from pluralign import PairScores
from pluralign.objectives import CDPO, DPO, RDPO, RobustPlackettLuce
from pluralign.objectives.links import LINKS, conservative
from pluralign.objectives.plackett_luce import mean_ranking_nll


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def noisy(kind, beta, eps, **options):
    """An objective with the flip rate of a case: one number, or one a pair."""
    rate = "per_pair" if isinstance(eps, list) else float(eps)
    return kind(beta=beta, flip_rate=rate, **options)


def rates(eps):
    return tensor(eps) if isinstance(eps, list) else None


@adapter(
    inputs={
        "policy_chosen_logps",
        "policy_rejected_logps",
        "ref_chosen_logps",
        "ref_rejected_logps",
        "beta",
        "eps",
    },
    expected_any={
        "margin_h",
        *(f"{name}_per_example" for name in ("dpo", "cdpo", "rdpo")),
        *(f"{name}_mean" for name in ("dpo", "cdpo", "rdpo")),
        *(f"{name}_weight" for name in ("dpo", "cdpo", "rdpo")),
        "grad_mean_wrt_policy_chosen_logps",
        "grad_mean_wrt_policy_rejected_logps",
    },
)
def robust_batch(inputs):
    beta, eps = inputs["beta"], inputs["eps"]
    columns = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    scores = PairScores(
        *(tensor(inputs[f"{name}_logps"]) for name in columns), flip_rate=rates(eps)
    )
    scores.chosen.requires_grad_()
    scores.rejected.requires_grad_()
    objectives = {"dpo": DPO(beta=beta), "cdpo": noisy(CDPO, beta, eps)}
    objectives["rdpo"] = noisy(RDPO, beta, eps)
    found = {}
    for name, objective in objectives.items():
        terms = objective(scores)
        (slope,) = torch.autograd.grad(terms.loss.sum(), scores.chosen)
        found[f"{name}_per_example"] = terms.loss
        found[f"{name}_mean"] = terms.loss.mean()
        found[f"{name}_weight"] = -slope / beta
        found["margin_h"] = terms.metrics["rewards/margins"] / beta
    both = torch.autograd.grad(
        objectives["rdpo"](scores).loss.mean(), (scores.chosen, scores.rejected)
    )
    found["grad_mean_wrt_policy_chosen_logps"] = both[0]
    found["grad_mean_wrt_policy_rejected_logps"] = both[1]
    return found


LINK_NAMES = {"sigmoid": "logistic", "ipo": "squared", "hinge": "hinge", "probit": "probit"}


@adapter(
    inputs={"margin_h", "beta", "eps"},
    expected_any={f"{n}_{k}" for n in LINK_NAMES for k in ("clean", "conservative", "robust")},
)
def corrected_links(inputs):
    margin, beta, eps = tensor(inputs["margin_h"]), inputs["beta"], inputs["eps"]
    zero = torch.zeros_like(margin)
    scores = PairScores(margin, zero, zero, zero, flip_rate=rates(eps))
    found = {}
    for name, link in LINK_NAMES.items():
        rate = eps if rates(eps) is None else rates(eps)
        found[f"{name}_clean"] = RDPO(beta=beta, flip_rate=0.0, link=link)(scores).loss
        found[f"{name}_conservative"] = conservative(LINKS[link], margin, beta, rate)
        found[f"{name}_robust"] = noisy(RDPO, beta, eps, link=link)(scores).loss
    return found


def linear_minimiser(objective, features):
    """Parameters ``(d,)`` of least mean loss with margins ``features @ theta``; damped Newton."""
    features = tensor(features)
    zero = torch.zeros(len(features), dtype=torch.float64)

    def mean_loss(theta):
        return objective(PairScores(features @ theta, zero, zero, zero)).loss.mean()

    theta = torch.zeros(features.shape[1], dtype=torch.float64)
    for _ in range(200):
        slope = torch.func.grad(mean_loss)(theta)
        step = torch.linalg.pinv(torch.func.jacrev(torch.func.grad(mean_loss))(theta)) @ slope
        size = 1.0
        while size > 1e-6 and mean_loss(theta - size * step) > mean_loss(theta):
            size /= 2
        theta = theta - size * step
        if (size * step).abs().max() <= 1e-14 * (1 + theta.abs().max()):
            break
    return theta


def is_bounded(features, eps):
    from pluralign.audit.noise import has_finite_minimiser

    return bool(has_finite_minimiser(np.asarray(features, dtype=np.float64), eps))


@adapter(
    inputs={"signed_feature_differences", "beta", "eps"},
    expected_any={"theta_dpo", "theta_cdpo", "theta_rdpo", "rdpo_has_finite_minimiser"},
)
def log_linear_fit(inputs):
    features = inputs["signed_feature_differences"]
    beta, eps = inputs["beta"], inputs["eps"]
    clean, robust = is_bounded(features, 0.0), is_bounded(features, eps)
    fit = {
        "theta_dpo": (DPO(beta=beta), clean),
        "theta_cdpo": (CDPO(beta=beta, flip_rate=eps), clean or eps > 0),
        "theta_rdpo": (RDPO(beta=beta, flip_rate=eps), robust),
    }
    found = {
        name: linear_minimiser(objective, features) if exists else None
        for name, (objective, exists) in fit.items()
    }
    return found | {"rdpo_has_finite_minimiser": robust}


@adapter(
    inputs={"n_consistent", "n_inconsistent", "eps", "beta"},
    expected_any={
        "noisy_fraction",
        "p_rdpo",
        "h_rdpo",
        "rdpo_has_finite_minimiser",
        "h_dpo",
        "p_cdpo",
        "h_cdpo",
    },
)
def identical_pairs(inputs):
    beta, eps = inputs["beta"], inputs["eps"]
    right, wrong = inputs["n_consistent"], inputs["n_inconsistent"]
    features = [[1.0]] * right + [[-1.0]] * wrong
    fit = log_linear_fit({"signed_feature_differences": features, "beta": beta, "eps": eps})
    margins = {
        name: None if fit[f"theta_{name}"] is None else fit[f"theta_{name}"].item()
        for name in ("dpo", "cdpo", "rdpo")
    }
    found = {f"h_{name}": margin for name, margin in margins.items()}
    for name, margin in margins.items():
        found[f"p_{name}"] = None if margin is None else 1 / (1 + math.exp(-beta * margin))
    if margins["cdpo"] is None:  # without smoothing the optimum is the observed certainty
        found["p_cdpo"] = float(right > 0)
    found["noisy_fraction"] = right / (right + wrong)
    return found | {"rdpo_has_finite_minimiser": fit["rdpo_has_finite_minimiser"]}


@adapter(
    inputs={"utilities_best_to_worst", "eps"},
    expected_any={
        "pl_nll",
        "pl_nll_reversed",
        "robust_reversal",
        "robust_uniform",
        "mean_over_all_rankings",
    },
)
def plackett_luce(inputs):
    ranked = tensor(inputs["utilities_best_to_worst"])
    eps = inputs["eps"]
    plain = RobustPlackettLuce(flip_rate=0.0)
    reversal = None
    if eps < 0.5:
        reversal = RobustPlackettLuce(flip_rate=eps, noise="reversal")(ranked).loss
    return {
        "pl_nll": plain(ranked).loss,
        "pl_nll_reversed": plain(ranked.flip(-1)).loss,
        "robust_reversal": reversal,
        "robust_uniform": RobustPlackettLuce(flip_rate=eps, noise="uniform")(ranked).loss,
        "mean_over_all_rankings": mean_ranking_nll(ranked),
    }


@adapter(inputs={"z", "observed_label", "rho_plus", "rho_minus"}, expected_any={"per_example"})
def class_conditional(inputs):
    label = tensor(inputs["observed_label"])
    margin = label * tensor(inputs["z"])
    zero = torch.zeros_like(margin)
    scores = PairScores(margin, zero, zero, zero, chosen_first=label > 0)
    objective = RDPO(beta=1.0, rho_plus=inputs["rho_plus"], rho_minus=inputs["rho_minus"])
    return {"per_example": objective(scores).loss}


@adapter(
    inputs=set(),
    expected_any={
        "eps_from_agreement_upper",
        "eps_gold",
        "eps_gold_ci95",
        "em_flip_posterior",
        "em_eps_next",
        "forward_corrected_nll",
    },
)
def noise_rates(inputs):
    from pluralign.audit import noise

    found = {}
    if "agreements" in inputs:
        bound = noise.from_double_annotation(inputs["agreements"], inputs["double_annotated"])
        found["eps_from_agreement_upper"] = bound.value
    if "gold_errors" in inputs:
        gold = noise.from_gold(inputs["gold_errors"], inputs["gold_total"])
        found |= {"eps_gold": gold.value, "eps_gold_ci95": [gold.low, gold.high]}
    if "z" in inputs:
        z, rate = np.asarray(inputs["z"], dtype=np.float64), inputs["eps0"]
        flipped = np.asarray(noise.flip_posterior(z, rate))
        found |= {"em_flip_posterior": flipped, "em_eps_next": flipped.mean()}
        found["forward_corrected_nll"] = noise.forward_nll(z, rate)
    return found
