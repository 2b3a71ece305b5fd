"""A stream of unlabelled batches of one unknown domain: weights of the session, adapted heads."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import DataQualityWarning, ParameterError
from ..nn.domain_heads import DomainHeads
from ..rules import Kind, OneOf, Within, check
from .domain_weights import (
    DomainWeights,
    SteeredBatch,
    check_logits,
    combine,
    gap_weights,
    prediction_entropy,
)

LabelMode = Literal["own", "last", "uniform", "drm"]
Inputs = Tensor | Mapping[str, Tensor]

SMALL_BATCH = 16


@final
class PseudoLabels(NamedTuple):
    """Labels that heads are adapted to.

    Attributes:
        labels: ``(M + 1, N)`` classes.
        confidence: ``(M + 1, N)``.
        kept: ``(M + 1, N)``, confidence at or above the threshold.
    """

    labels: Tensor
    confidence: Tensor
    kept: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How heads are adapted to pseudo-labels while a session lasts.

    Args:
        labels: whose label a head learns: its ``"own"``, that of the shared head (``"last"``),
            of the plain mean of all heads (``"uniform"``) or of the weighted one (``"drm"``).
        threshold: least confidence of a label that is used, [0, 1].
        learning_rate: of Adam.
        steps: Adam steps on each batch.
        update: ``"heads"``, or ``"full"`` for the encoder too.
        double_softmax: measure confidence as the authors' code does, by a second softmax
            over the averaged probabilities, which lies in [1/K, e/(e+K-1)].

    Raises:
        ParameterError: for a value out of range.
    """

    labels: Annotated[LabelMode, OneOf("own", "last", "uniform", "drm")] = "drm"
    threshold: Annotated[float, Within(0.0, 1.0)] = 0.9
    learning_rate: Annotated[float, Within(0.0, closed="neither")] = 1e-3
    steps: Annotated[int, Within(1, integer=True)] = 1
    update: Annotated[Literal["heads", "full"], OneOf("heads", "full")] = "heads"
    double_softmax: Annotated[bool, Kind(bool)] = False

    def __post_init__(self) -> None:
        check(self)


@final
class DomainSession:
    """Steers heads over a stream of batches of one unknown domain, for example one user.

    Weights rest on all rows of the session so far, which tell a head that is sure and wrong
    better than one batch does. With an ``adaptation`` the heads learn from confident
    pseudo-labels as they go; the given modules are never changed.

    Args:
        heads: trained heads.
        encoder: from inputs to features ``(N, d)``; features are given directly without one.
        weights: the measure and its sharpness; its level is not used.
        adaptation: pseudo-label training, or none.
        prototypes: ``(M, d)`` mean features, for the measures that look at features.
        class_shares: ``(K,)`` shares of the classes in the sources; adaptation stops with a
            warning when the predicted classes collapse to less than half of their entropy.

    Raises:
        ParameterError: for ``update="full"`` without an encoder.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> session = DomainSession(DomainHeads(4, n_classes=2, n_domains=3))
        >>> batch = session(torch.randn(32, 4))
        >>> tuple(batch.probabilities.shape), session.n_seen
        ((32, 2), 32)

    References:
        Zhang et al., 2023, arXiv 2208.08661; weights of a session are ours.
    """

    def __init__(
        self,
        heads: DomainHeads,
        encoder: nn.Module | None = None,
        *,
        weights: DomainWeights | None = None,
        adaptation: Adaptation | None = None,
        prototypes: Tensor | None = None,
        class_shares: Tensor | None = None,
    ) -> None:
        if encoder is None and adaptation is not None and adaptation.update == "full":
            raise ParameterError("Adaptation.update='full' needs the session to have an encoder.")
        self.weights = weights or DomainWeights()
        self.adaptation = adaptation
        self.prototypes = prototypes
        self.class_shares = class_shares
        self._given = heads, encoder
        self.reset()

    def reset(self) -> None:
        """Begin a new session: nothing seen, heads as given, a fresh optimiser."""
        heads, encoder = self._given
        self.heads = copy.deepcopy(heads)
        full = self.adaptation is not None and self.adaptation.update == "full"
        self.encoder = copy.deepcopy(encoder) if full else encoder
        self.n_seen = 0
        self.stopped = self.adaptation is None
        self._evidence: Any = 0.0
        self._classes: Any = 0.0
        self._optimiser: Any = None
        if self.adaptation is not None:
            modules = [self.heads, self.encoder] if full else [self.heads]
            parameters = [p for m in modules if m is not None for p in m.parameters()]
            self._optimiser = torch.optim.Adam(parameters, lr=self.adaptation.learning_rate)

    def __call__(self, inputs: Inputs) -> SteeredBatch:
        """Predict a batch, then learn from it; predictions are those before the last step.

        Args:
            inputs: features, or what the encoder takes: a tensor, or a tokenizer's output.

        Raises:
            DataError: for no rows or values that are not finite.
        """
        rows = len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))
        if rows < SMALL_BATCH and self.n_seen == 0 and self.weights.measure == "entropy":
            warnings.warn(
                f"DomainSession: the first batch has {rows} rows; entropy of fewer than "
                f"{SMALL_BATCH} rows often picks a head that is sure and wrong.",
                DataQualityWarning,
                stacklevel=2,
            )
        steps = 0 if self.adaptation is None or self.stopped else self.adaptation.steps
        with torch.no_grad():
            features, logits = self._forward(inputs)
            found = self._steered(logits, features, count=True)
            self._classes = self._classes + found.probabilities.sum(0)
        if steps and self._collapsed():
            self.stopped, steps = True, 0
        for step in range(steps):
            if step:  # what is returned is the prediction before the last step
                with torch.no_grad():
                    features, logits = self._forward(inputs)
                    found = self._steered(logits, features, count=False)
            self._adapt(inputs, logits, found)
        return found

    def _forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        features = self._features(inputs)
        logits = self.heads(features)
        check_logits(logits)
        return features, logits

    def _features(self, inputs: Inputs) -> Tensor:
        if self.encoder is not None:
            return self.encoder(inputs)
        if not isinstance(inputs, Tensor):
            raise ParameterError("DomainSession got tokens but has no encoder; give it one.")
        return inputs

    def _steered(self, logits: Tensor, features: Tensor, *, count: bool) -> SteeredBatch:
        evidence = self.weights.evidence(logits, features, self.prototypes)
        if count:
            self._evidence = self._evidence + evidence.sum(0)
            self.n_seen += len(logits)
        weights = self.weights.weights(self._evidence / self.n_seen)
        entropy = prediction_entropy(logits)
        return combine(logits, weights.expand(len(logits), -1), entropy)

    def _adapt(self, inputs: Inputs, logits: Tensor, found: SteeredBatch) -> None:
        settings = self.adaptation
        if settings is None:
            return
        pseudo = pseudo_labels(logits, settings, found.weights)
        if not pseudo.kept.any():
            return
        if settings.update == "full":
            _, logits = self._forward(inputs)
        else:
            with torch.no_grad():
                features = self._features(inputs)
            logits = self.heads(features)
        self._optimiser.zero_grad()
        adaptation_loss(logits, pseudo).backward()
        self._optimiser.step()

    def _collapsed(self) -> bool:
        if self.class_shares is None:
            return False
        predicted = _entropy(self._classes / self._classes.sum())
        known = _entropy(self.class_shares)
        if predicted >= 0.5 * known:
            return False
        warnings.warn(
            f"DomainSession: predictions collapse to few classes (entropy {predicted:.2f} nats, "
            f"sources {known:.2f}); no more adaptation.",
            DataQualityWarning,
            stacklevel=3,
        )
        return True


def pseudo_labels(
    logits: Tensor, settings: Adaptation, weights: Tensor | None = None
) -> PseudoLabels:
    """Labels of unlabelled rows, by the settings' rule.

    Args:
        logits: ``(N, M + 1, K)``.
        settings: whose labels, and from which confidence.
        weights: ``(N, M)`` or ``(N, M + 1)`` for ``"drm"``; by default ``1 / entropy`` of each row.
    """
    probabilities = logits.softmax(-1)
    if settings.labels == "own":
        confidence, labels = probabilities.max(-1)
        confidence, labels = confidence.T, labels.T
    else:
        mixture = _mixture(probabilities, logits, settings, weights)
        again = settings.double_softmax and settings.labels != "last"
        confidence, labels = (mixture.softmax(-1) if again else mixture).max(-1)
        heads = logits.shape[1]
        confidence, labels = confidence.expand(heads, -1), labels.expand(heads, -1)
    return PseudoLabels(labels, confidence, confidence >= settings.threshold)


def adaptation_loss(logits: Tensor, pseudo: PseudoLabels) -> Tensor:
    """Sum over heads of the mean cross-entropy over kept rows; labels are constants."""
    losses = [
        functional.cross_entropy(logits[kept, head], labels[kept])
        for head, (labels, kept) in enumerate(zip(pseudo.labels, pseudo.kept, strict=True))
        if kept.any()
    ]
    return torch.stack(losses).sum()


def _mixture(
    probabilities: Tensor, logits: Tensor, settings: Adaptation, weights: Tensor | None
) -> Tensor:
    if settings.labels == "last":
        return probabilities[:, -1]
    if settings.labels == "uniform":
        return probabilities.mean(1)
    if weights is None:
        weights = gap_weights(prediction_entropy(logits[:, :-1]))
    return torch.einsum("nh,nhk->nk", weights, probabilities[:, : weights.shape[1]])


def _entropy(shares: Tensor) -> float:
    return -sum(p * math.log(p) for p in shares.tolist() if p > 0)
