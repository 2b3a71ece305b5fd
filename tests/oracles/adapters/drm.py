"""Vectors of domain-specific risk: training loss, entropy weights, online steps, prototypes."""

import torch

from adapters import adapter
from pluralign.audit.domains import adaptivity_gap
from pluralign.nn.domain_heads import DomainHeads
from pluralign.objectives.drm import DomainRisk
from pluralign.steer.domain_sessions import Adaptation, adaptation_loss, pseudo_labels
from pluralign.steer.domain_weights import DomainWeights, gap_weights, prediction_entropy


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def shared_last(values, shared):
    """Heads in our order: the shared one last."""
    order = [h for h in range(len(values)) if h != shared] + [shared]
    return [values[h] for h in order], order


def heads_of(inputs):
    shared = shared_of(inputs, "head_weights")
    weights, order = shared_last(inputs["head_weights"], shared)
    biases, _ = shared_last(inputs["head_biases"], shared)
    heads = DomainHeads(len(weights[0][0]), len(weights[0]), len(weights) - 1, dtype=torch.float64)
    heads.load_state_dict({"weight": tensor(weights), "bias": tensor(biases)})
    return heads, order


def gamma_of(inputs):
    """The authors write argmin as a negative gamma."""
    gamma = inputs.get("gamma", 1.0)
    return "argmin" if gamma == "argmin" or gamma < 0 else float(gamma)


def shared_of(inputs, heads):
    """Which head is the shared one; the last where the case does not say."""
    found = inputs.get("shared_head_index")
    return len(inputs[heads]) - 1 if found is None else found


@adapter(
    inputs={"features", "labels", "head_weights", "head_biases"},
    expected_any={"loss", "grad_features", "grad_shared_weight", "grad_head0_weight"},
)
def training_loss(inputs):
    heads, order = heads_of(inputs)
    parts = [tensor(p).reshape(-1, heads.in_features) for p in inputs["features"]]
    parts = [part.requires_grad_() for part in parts]
    domain = torch.cat([torch.full((len(p),), i) for i, p in enumerate(parts)])
    labels = torch.cat([torch.tensor(part, dtype=torch.int64) for part in inputs["labels"]])
    objective = DomainRisk(own_weight=inputs.get("own_weight", inputs.get("rho", 0.5)))
    loss = objective(heads(torch.cat(parts)), labels, domain).loss.mean()
    loss.backward()
    by_index = {head: heads.weight.grad[i] for i, head in enumerate(order)}
    return {
        "loss": loss,
        "grad_features": [part.grad for part in parts],
        "grad_shared_weight": heads.weight.grad[-1],
        **{f"grad_head{head}_weight": value for head, value in by_index.items()},
    }


@adapter(
    inputs={"logits", "gamma"},
    expected_any={
        "entropy",
        "weights_normalised",
        "weights_authors",
        "mixture_normalised",
        "batch_selected_head",
        "selected_domain_heads",
    },
)
def entropy_weights(inputs):
    values, order = shared_last(inputs["logits"], shared_of(inputs, "logits"))
    logits, gamma = tensor(values).transpose(0, 1), gamma_of(inputs)
    entropy = prediction_entropy(logits)
    back = [order.index(head) for head in range(len(order))]
    original = entropy[:, back]
    domain = DomainWeights(gamma=gamma, level="sample")(logits)
    every = DomainWeights(gamma=gamma, level="sample", heads="all")(logits)
    probabilities = logits.softmax(-1)
    # The authors normalise over all heads and sum the domain heads only; at argmin they take
    # the chosen head, the shared one included.
    authors = torch.einsum("nh,nhk->nk", every.weights[:, :-1], probabilities[:, :-1])
    if gamma == "argmin":
        authors = every.probabilities
    batch = original.mean(0)
    return {
        "entropy": original.T,
        "weights_authors": every.weights.T[back],
        "weights_all_heads": every.weights.T[back],
        "weights_normalised": domain.weights.T,
        "mixture_authors": authors,
        "mixture_normalised": domain.probabilities,
        "mixture_all_heads": every.probabilities,
        "batch_mean_entropy": batch,
        "batch_selected_head": int(batch.argmin()),
        "selected_with_shared": original.argmin(1),
        "selected_domain_heads": entropy[:, :-1].argmin(1),
        "prediction_authors": authors.argmax(-1),
        "prediction_normalised": domain.probabilities.argmax(-1),
    }


@adapter(
    inputs={"feature", "prototypes", "gamma"},
    expected_any={"distance", "weights_inverse_distance", "cosine", "nearest_by_distance"},
)
def prototypes(inputs):
    feature, means = tensor(inputs["feature"])[None], tensor(inputs["prototypes"])
    p = inputs.get("p", 2)
    logits = torch.zeros(1, len(means) + 1, 2, dtype=torch.float64)
    distance = torch.linalg.vector_norm(feature - means, ord=p, dim=-1)
    if p == 2:
        distance = DomainWeights(measure="prototype").evidence(logits, feature, means)[0]
    cosine = DomainWeights(measure="cosine").evidence(logits, feature, means)[0]
    best = DomainWeights(measure="cosine", gamma="argmin").weights(cosine)
    return {
        "distance": distance,
        "weights_inverse_distance": gap_weights(distance, gamma_of(inputs)),
        "cosine": cosine,
        "nearest_by_distance": int(gap_weights(distance, "argmin").argmax()),
        "most_similar_by_cosine": int(best.argmax()),
        "authors_cosine_choice": int(cosine.argmin()),
    }


@adapter(
    inputs={"features", "head_weights", "head_biases", "threshold", "label_mode", "lr", "steps"},
    expected_any={"confidence", "pseudo_label", "kept", "loss", "head_weights_after_adam"},
)
def online_step(inputs):
    heads, order = heads_of(inputs)
    back = [order.index(h) for h in range(len(order))]
    features, gamma = tensor(inputs["features"]), gamma_of(inputs)
    # The authors write "never adapt" as a threshold above any confidence.
    threshold = inputs["threshold"]
    settings = Adaptation(
        labels=inputs["label_mode"],
        threshold=min(threshold, 1.0),
        learning_rate=inputs["lr"],
        double_softmax=True,
    )
    optimiser = torch.optim.Adam(heads.parameters(), lr=inputs["lr"])
    found = {}
    for _ in range(inputs["steps"]):
        logits = heads(features)
        entropy = prediction_entropy(logits.detach())
        # The authors weigh over all heads and then leave the shared one out.
        weights = gap_weights(entropy, gamma)
        weights = weights if gamma == "argmin" else weights[:, :-1]
        probabilities = logits.detach().softmax(-1)
        mixture = torch.einsum("nh,nhk->nk", weights, probabilities[:, : weights.shape[1]])
        pseudo = pseudo_labels(logits.detach(), settings, weights)
        pseudo = pseudo._replace(kept=pseudo.kept & (pseudo.confidence >= threshold))
        plain = DomainWeights(gamma=gamma, level="sample")(logits.detach()).probabilities
        if settings.labels == "uniform":
            plain = probabilities.mean(1)
        found = {
            "confidence": pseudo.confidence[back],
            "confidence_plain": mixture_of(settings, probabilities, plain).max(-1).values,
            "pseudo_label": pseudo.labels[back],
            "kept": pseudo.kept[back],
            "mixture_before_update_authors": mixture,
        }
        optimiser.zero_grad()
        if pseudo.kept.any():
            loss = adaptation_loss(logits, pseudo)
            loss.backward()
            optimiser.step()
            found["loss"] = loss
        zero = torch.zeros_like
        grads = [p.grad if p.grad is not None else zero(p) for p in heads.parameters()]
        found |= {"grad_head_weights": grads[0][back], "grad_head_biases": grads[1][back]}
    after = [p.detach()[back] for p in heads.parameters()]
    return {
        "loss": 0.0,
        **found,
        "head_weights_after_adam": after[0],
        "head_biases_after_adam": after[1],
    }


def mixture_of(settings, probabilities, plain):
    return probabilities[:, -1] if settings.labels == "last" else plain


@adapter(
    inputs={"labels", "hard_predictions", "mixture_weights", "soft_predictions"},
    expected_any={"error_per_head", "best_head", "soft_gap_per_head", "soft_gap_of_mixture"},
)
def gap(inputs):
    found = adaptivity_gap(
        inputs["labels"],
        inputs["soft_predictions"],
        inputs["mixture_weights"],
        inputs["hard_predictions"],
    ).to_json()
    return {
        **found,
        "oracle_gap_best": found["best_error"],
        "upper_bound_weighted_average": found["upper_bound"],
    }
