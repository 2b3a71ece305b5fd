"""A classifier with one head for each domain, steered by unlabelled data when it predicts."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

import warnings
from typing import Any, cast, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from ..errors import DataError, DataQualityWarning, ParameterError
from ..nn.domain_heads import DomainHeads
from ..objectives.drm import DomainRisk
from ..rules import Rule, Within, shown
from ..steer.domain_sessions import Adaptation, DomainSession
from ..steer.domain_weights import DomainWeights, SteeredBatch

RULES: dict[str, Rule] = {
    "own_weight": Within(0.0, 1.0, closed="right"),
    "learning_rate": Within(0.0, closed="neither"),
    "max_epochs": Within(1, integer=True),
    "batch_size": Within(4, integer=True),
    "weight_decay": Within(0.0),
}


@final
class DomainEnsembleClassifier(ClassifierMixin, BaseEstimator):
    """One head for each source domain and one for all, on a shared encoder of arrays.

    Use it when domains (annotator pools, countries, sessions) label by different rules and
    rows to predict come in batches of one unknown domain, which then choose among the heads.
    ``predict`` therefore depends on the rows that are given together; give the rows of one
    domain. Fitted without ``domain`` it is an ordinary classifier whose predictions do not.

    Args:
        weights: how heads are weighed; entropy of the whole batch by default.
        hidden: widths of the encoder's layers; ``()`` puts the heads on the inputs.
        own_weight: share of the own head's loss in (0, 1].
        learning_rate: of Adam.
        max_epochs: passes over the rows.
        batch_size: rows of a step, of all domains together.
        weight_decay: of Adam.
        random_state: seed.

    Attributes:
        classes_: labels in order.
        domains_: names of the domains in order of their heads.
        prototypes_: mean features of each domain, ``(M, d)``.
        loss_curve_: mean loss of each epoch.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, domain = rng.normal(size=(80, 2)), np.repeat(["a", "b"], 40)
        >>> y = (X[:, 0] > 0) ^ (domain == "b")
        >>> model = DomainEnsembleClassifier(max_epochs=5, random_state=0)
        >>> model.fit(X, y, domain=domain).predict(X[:40]).shape
        (40,)

    References:
        Zhang et al., 2023, arXiv 2208.08661.
    """

    def __init__(
        self,
        *,
        weights: DomainWeights | None = None,
        hidden: tuple[int, ...] = (),
        own_weight: float = 0.5,
        learning_rate: float = 0.01,
        max_epochs: int = 100,
        batch_size: int = 256,
        weight_decay: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.weights = weights
        self.hidden = hidden
        self.own_weight = own_weight
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike, domain: ArrayLike | None = None
    ) -> DomainEnsembleClassifier:
        """Train on rows ``X (n, p)`` with labels ``y (n,)`` and domains ``(n,)``.

        Args:
            X: features, finite; standardised inside.
            y: labels of two or more classes.
            domain: names of two or more domains; ``None`` fits one ordinary head.

        Raises:
            DataError: for one class, one domain, or a domain without a row of its own.
            ParameterError: for a setting out of range.
        """
        checked: Any = validate_data(self, cast(Any, X), cast(Any, y), dtype=np.float64)
        features, labels = checked
        check_classification_targets(labels)
        self._check()
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class, {shown(str(self.classes_[0]))}; two are needed.")
        self.domains_, where = self._domains(domain, len(features), codes)
        self.mean_ = features.mean(0)
        self.deviation_ = np.where(features.std(0) > 0, features.std(0), 1.0)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder_, width = _encoder(features.shape[1], tuple(self.hidden))
            self.heads_: nn.Module = (
                nn.Linear(width, len(self.classes_)).double()
                if where is None
                else DomainHeads(width, len(self.classes_), len(self.domains_)).double()
            )
            self.loss_curve_ = self._train(self._scaled(features), torch.tensor(codes), where)
        self.n_iter_ = len(self.loss_curve_)
        if where is not None:
            encoded = self._encode(features)
            means = [encoded[where == i].mean(0) for i in range(len(self.domains_))]
            self.prototypes_ = torch.stack(means)
        return self

    def predict_proba(self, X: ArrayLike, domain: ArrayLike | None = None) -> NDArray[np.float64]:
        """Probabilities ``(n, classes)`` of rows that come from one domain.

        Args:
            X: features.
            domain: names ``(n,)`` of domains that were fitted, where they are known: each row
                then listens to its own head.

        Raises:
            DataError: for a domain that was not fitted.
        """
        features = self._validated(X)
        if domain is not None:
            return self._of_own_heads(features, np.asarray(domain))
        if len(self.domains_) == 0:
            with torch.no_grad():
                return self.heads_(self._encode(features)).softmax(-1).numpy()
        return self.steered(features).probabilities.numpy()

    def predict(self, X: ArrayLike, domain: ArrayLike | None = None) -> NDArray[Any]:
        """Most probable class of each row; ``domain`` as in :meth:`predict_proba`."""
        best = self.predict_proba(X, domain).argmax(1)  # first: it refuses an unfitted estimator
        return self.classes_[best]

    def steered(self, X: ArrayLike) -> SteeredBatch:
        """Probabilities with the weights and entropies behind them.

        Raises:
            ParameterError: if it was fitted without domains.
        """
        encoded = self._encode(self._validated(X))
        weights = self._weights()
        with torch.no_grad():
            logits = self._domain_heads()(encoded)
            return weights(logits, encoded, self.prototypes_)

    def head_probabilities(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities ``(M + 1, n, classes)`` of each head, the shared one last."""
        with torch.no_grad():
            logits = self._domain_heads()(self._encode(self._validated(X)))
        return logits.softmax(-1).transpose(0, 1).numpy()

    def session(self, adaptation: Adaptation | None = None) -> DomainSession:
        """A stream of batches of one unknown domain; rows go through :meth:`features`."""
        return DomainSession(
            self._domain_heads(),
            weights=self._weights(),
            adaptation=adaptation,
            prototypes=self.prototypes_,
        )

    def features(self, X: ArrayLike) -> Tensor:
        """Features ``(n, d)`` that the heads see."""
        return self._encode(self._validated(X))

    def _of_own_heads(
        self, features: NDArray[np.float64], domain: NDArray[Any]
    ) -> NDArray[np.float64]:
        if domain.shape != (len(features),):
            raise DataError(f"domain must have shape ({len(features)},); got {domain.shape}.")
        unknown = sorted(set(domain.tolist()) - set(self.domains_.tolist()), key=str)
        if unknown:
            raise DataError(
                f"domain {shown(str(unknown[0]))} was not fitted ({len(unknown)} unknown); known "
                f"are {shown(self.domains_.tolist())}. Leave domain out to steer by the rows."
            )
        heads = np.searchsorted(self.domains_, domain)
        return self.head_probabilities(features)[heads, np.arange(len(features))]

    def _check(self) -> None:
        wrong = [
            f"{type(self).__name__}.{name} must be {rule.wants()}; got {shown(value)}."
            for name, rule in RULES.items()
            if not rule.admits(value := getattr(self, name))
        ]
        if wrong:
            raise ParameterError("\n".join(wrong))

    def _domains(
        self, domain: ArrayLike | None, n: int, codes: NDArray[Any]
    ) -> tuple[NDArray[Any], Tensor | None]:
        if domain is None:
            return np.array([]), None
        given = np.asarray(domain)
        if given.shape != (n,):
            raise DataError(f"domain must have shape ({n},); got {given.shape}.")
        names, where = np.unique(given, return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"domain has one value, {shown(str(names[0]))}; with one domain fit without it."
            )
        for i, name in enumerate(names):
            absent = sorted(set(range(len(self.classes_))) - set(codes[where == i].tolist()))
            if absent:
                listed = ", ".join(shown(str(self.classes_[c])) for c in absent[:5])
                _remark(f"domain {shown(str(name))} has no row of class {listed}.")
        return names, torch.tensor(where)

    def _train(self, x: Tensor, labels: Tensor, domain: Tensor | None) -> list[float]:
        modules = nn.ModuleList([self.encoder_, self.heads_])
        optimiser = torch.optim.Adam(
            modules.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        risk, losses = DomainRisk(own_weight=self.own_weight), list[float]()
        for _ in range(self.max_epochs):
            epoch: list[Tensor] = []
            for rows in torch.randperm(len(x)).split(self.batch_size):
                logits = self.heads_(self.encoder_(x[rows]))
                if domain is None:
                    loss = nn.functional.cross_entropy(logits, labels[rows])
                else:
                    loss = risk(logits, labels[rows], domain[rows]).loss.mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                epoch.append(loss.detach())
            losses.append(torch.stack(epoch).mean().item())
        return losses

    def _validated(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        checked: Any = validate_data(self, cast(Any, X), reset=False, dtype=np.float64)
        return checked

    def _scaled(self, features: NDArray[np.float64]) -> Tensor:
        return torch.tensor((features - self.mean_) / self.deviation_)

    def _encode(self, features: NDArray[np.float64]) -> Tensor:
        with torch.no_grad():
            return self.encoder_(self._scaled(features))

    def _domain_heads(self) -> DomainHeads:
        check_is_fitted(self)
        if not isinstance(self.heads_, DomainHeads):
            raise ParameterError("there is nothing to steer: it was fitted without domain.")
        return self.heads_

    def _weights(self) -> DomainWeights:
        return self.weights if self.weights is not None else DomainWeights()


def _encoder(inputs: int, hidden: tuple[int, ...]) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers).double(), inputs


def _remark(message: str) -> None:
    warnings.warn(f"{message} Its head is arbitrary there.", DataQualityWarning, stacklevel=4)
