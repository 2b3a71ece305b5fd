"""Estimators for tables whose predictions should not depend on protected attributes."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

from typing import Any, Literal, cast, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ..audit.dependence import intersection_cells
from ..errors import DataError, ParameterError
from ..objectives.dependence import DistanceCovariance
from ..objectives.dependence_attributes import Attributes
from ..objectives.dependence_losses import Family, On, OutcomeLoss
from ..objectives.dependence_penalty import Regularised
from ..rules import AnyOf, Kind, OneOf, Rule, Within, shown
from .tabular_encoding import AttributeEncoder, Scale
from .tabular_network import Schedule, network, outputs, train

Floats = NDArray[np.float64]

RULES: dict[str, Rule] = {
    "strength": Within(0.0),
    "learning_rate": Within(0.0, closed="neither"),
    "max_epochs": Within(1, integer=True),
    "batch_size": AnyOf(Within(4, integer=True), None),
    "weight_decay": Within(0.0),
    "dropout": Within(0.0, 1.0, closed="left"),
    "normalise": Kind(bool),
    "on": OneOf("rate", "count", "link"),
}


class _Regularised(BaseEstimator):
    """What both estimators share: parameters, the network and its fit."""

    def __init__(
        self,
        *,
        strength: float = 0.0,
        measure: str = "ccdcov",
        estimator: str = "u",
        on: On = "rate",
        normalise: bool = False,
        scale: Scale = "onehot",
        hidden: tuple[int, ...] = (32, 32),
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        max_epochs: int = 150,
        batch_size: int | None = None,
        weight_decay: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.strength = strength
        self.measure = measure
        self.estimator = estimator
        self.on = on
        self.normalise = normalise
        self.scale = scale
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.random_state = random_state

    def _fit(
        self, features: Floats, target: NDArray[Any], family: Family, width: int, given: Any
    ) -> None:
        sensitive, exposure = given
        self._check(sensitive)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.mean_ = features.mean(0)
        self.deviation_ = np.where(features.std(0) > 0, features.std(0), 1.0)
        attributes = self._encoded(sensitive, len(features))
        self.network_ = network(features.shape[1], tuple(self.hidden), width, self.dropout, seed)
        if family == "poisson":
            base = target.sum() / (len(target) if exposure is None else exposure.sum())
            self._start_at(np.log(max(base, 1e-8)))
        elif family == "squared":
            self._start_at(0.0)
        penalty = DistanceCovariance(
            measure=cast(Any, self.measure),
            estimator=cast(Any, self.estimator),
            normalise=self.normalise,
        )
        objective = Regularised(
            base=OutcomeLoss(family=family),
            penalty=penalty,
            strength=self.strength,
            on=cast(On, self.on),
        )
        rows = (
            self._scaled(features),
            torch.tensor(target),
            None if exposure is None else torch.tensor(exposure),
        )
        schedule = Schedule(
            learning_rate=self.learning_rate,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            seed=seed,
        )
        self.loss_curve_ = train(self.network_, objective, rows, attributes, schedule)
        self.n_iter_ = len(self.loss_curve_)

    def _start_at(self, value: float) -> None:
        """Begin at the mean outcome: Poisson losses diverge from afar."""
        with torch.no_grad():
            self.network_[-1].bias.fill_(value)

    def _check(self, sensitive: Any) -> None:
        owner = type(self).__name__
        wrong = [
            f"{owner}.{name} must be {rule.wants()}; got {shown(getattr(self, name))}."
            for name, rule in RULES.items()
            if not rule.admits(getattr(self, name))
        ]
        if wrong:
            raise ParameterError("\n".join(wrong))
        if self.strength > 0 and sensitive is None:
            raise ParameterError(
                f"{owner}.strength is {self.strength:g}, but fit got no sensitive_features; pass "
                "the protected columns to fit, or set strength to 0."
            )

    def _encoded(self, sensitive: Any, n: int) -> Attributes | None:
        if sensitive is None:
            return None
        self.encoder_ = AttributeEncoder(scale=cast(Scale, self.scale)).fit(sensitive)
        blocks = Attributes.of([torch.tensor(b) for b in self.encoder_.transform(sensitive)])
        if len(blocks) != n:
            raise DataError(f"sensitive_features have {len(blocks)} rows; X has {n}.")
        if self.strength > 0:
            categories = self.encoder_.categories(sensitive)
            if categories:
                intersection_cells(categories)  # which names cells of few rows
        return blocks

    def _scaled(self, features: Floats) -> torch.Tensor:
        return torch.tensor((features - self.mean_) / self.deviation_)

    def _outputs(self, features: ArrayLike) -> Floats:
        check_is_fitted(self)
        checked: Any = validate_data(self, cast(Any, features), reset=False, dtype=np.float64)
        return outputs(self.network_, self._scaled(checked)).numpy()


@final
class DependenceRegularisedClassifier(ClassifierMixin, _Regularised):
    """Classifier whose probabilities are held independent of protected attributes.

    Use it where predicted probabilities should not depend on several attributes jointly,
    also in intersections. Not for equalised odds, nor where an attribute legitimately
    drives the outcome. The attributes are no inputs and are not needed to predict. ::

        mean(cross-entropy) + strength psi(probabilities, S)

    Args:
        strength: weight of the penalty, >= 0; 0 trains the plain network.
        measure: ``"ccdcov"``, ``"jdcov"``, ``"sum_marginal"`` or ``"dcov"``.
        estimator: ``"u"`` or ``"v"``.
        on: ``"rate"`` penalises probabilities, ``"link"`` log-odds.
        normalise: makes ``strength`` comparable between data sets.
        scale: of the attributes, see ``AttributeEncoder``.
        hidden: widths of the layers; ``()`` is logistic regression.
        dropout: in [0, 1).
        learning_rate: of Adam.
        max_epochs: passes over the rows.
        batch_size: rows of a step, all by default; keep 10 rows a cell.
        weight_decay: of Adam.
        random_state: seed.

    Attributes:
        classes_: labels in order.
        encoder_: how the attributes were encoded.
        loss_curve_: mean loss of each epoch.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, group = rng.normal(size=(80, 2)), rng.integers(0, 2, 80)
        >>> model = DependenceRegularisedClassifier(strength=1.0, max_epochs=5, random_state=0)
        >>> model.fit(X, X[:, 0] > 0, sensitive_features={"g": group}).predict(X).shape
        (80,)

    References:
        Lee, Antonio, Avanzi, Marchi and Zhou, 2025, arXiv 2509.08163.
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sensitive_features: Any = None
    ) -> DependenceRegularisedClassifier:
        """Train on rows ``X (n, p)`` with labels ``y (n,)``.

        Args:
            X: features, finite; standardised inside.
            y: labels of two or more classes.
            sensitive_features: data frame, mapping or array of protected columns of any type.
        """
        features, labels = cast(
            Any, validate_data(self, cast(Any, X), cast(Any, y), dtype=np.float64)
        )
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class, {shown(self.classes_[0])}; two are needed.")
        binary = len(self.classes_) == 2
        self._fit(
            features,
            codes,
            "binary" if binary else "multiclass",
            1 if binary else len(self.classes_),
            (sensitive_features, None),
        )
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities ``(n, classes)``."""
        found = torch.tensor(self._outputs(X))
        if found.ndim == 2:
            return found.softmax(1).numpy()
        share = found.sigmoid().numpy()
        return np.stack([1 - share, share], 1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


@final
class DependenceRegularisedRegressor(RegressorMixin, _Regularised):
    """Regressor whose predictions are held independent of protected attributes.

    Use it for values, and with ``loss="poisson"`` for counts under exposure (claims of a
    policy); ``predict`` then gives the rate of one unit of exposure. ::

        mean(loss) + strength psi(prediction, S)

    Args:
        loss: ``"squared"`` or ``"poisson"``.
        strength: weight of the penalty, >= 0; in units of the loss over units of the outcome.
            The penalty of ``"squared"`` reads predictions in units of the outcome's
            standard deviation.
        measure: ``"ccdcov"``, ``"jdcov"``, ``"sum_marginal"`` or ``"dcov"``.
        estimator: ``"u"`` or ``"v"``.
        on: ``"rate"``, ``"count"`` (exposure times rate, as the authors' lab) or ``"link"``.
        normalise: makes ``strength`` comparable between data sets.
        scale: of the attributes, see ``AttributeEncoder``.
        hidden: widths of the layers; ``()`` is linear.
        dropout: in [0, 1).
        learning_rate: of Adam.
        max_epochs: passes over the rows.
        batch_size: rows of a step, all by default; keep 10 rows a cell.
        weight_decay: of Adam.
        random_state: seed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, group = rng.normal(size=(80, 2)), rng.integers(0, 2, 80)
        >>> model = DependenceRegularisedRegressor(strength=1.0, max_epochs=5, random_state=0)
        >>> model.fit(X, X[:, 0], sensitive_features={"g": group}).predict(X).shape
        (80,)

    References:
        Lee, Antonio, Avanzi, Marchi and Zhou, 2025, arXiv 2509.08163.
    """

    def __init__(
        self,
        *,
        loss: Literal["squared", "poisson"] = "squared",
        strength: float = 0.0,
        measure: str = "ccdcov",
        estimator: str = "u",
        on: On = "rate",
        normalise: bool = False,
        scale: Scale = "onehot",
        hidden: tuple[int, ...] = (32, 32),
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        max_epochs: int = 150,
        batch_size: int | None = None,
        weight_decay: float = 0.0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            strength=strength,
            measure=measure,
            estimator=estimator,
            on=on,
            normalise=normalise,
            scale=scale,
            hidden=hidden,
            dropout=dropout,
            learning_rate=learning_rate,
            max_epochs=max_epochs,
            batch_size=batch_size,
            weight_decay=weight_decay,
            random_state=random_state,
        )
        self.loss = loss

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sensitive_features: Any = None,
        exposure: ArrayLike | None = None,
    ) -> DependenceRegularisedRegressor:
        """Train on rows ``X (n, p)`` with outcomes ``y (n,)``.

        Args:
            X: features, finite; standardised inside.
            y: values, or counts >= 0.
            sensitive_features: data frame, mapping or array of protected columns of any type.
            exposure: ``(n,)`` > 0, for counts.
        """
        features, target = cast(
            Any, validate_data(self, cast(Any, X), cast(Any, y), dtype=np.float64, y_numeric=True)
        )
        target = np.asarray(target, np.float64)
        exposed = None if exposure is None else np.asarray(exposure, np.float64)
        self._check_outcome(target, exposed)
        self.centre_, self.unit_ = 0.0, 1.0
        if self.loss == "squared":
            self.centre_, self.unit_ = float(target.mean()), float(target.std()) or 1.0
        scaled = (target - self.centre_) / self.unit_
        self._fit(features, scaled, cast(Any, self.loss), 1, (sensitive_features, exposed))
        return self

    def __sklearn_tags__(self) -> Any:
        tags: Any = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags

    def _check_outcome(self, target: Floats, exposure: Floats | None) -> None:
        rule = OneOf("squared", "poisson")
        if not rule.admits(self.loss):
            raise ParameterError(f"loss must be {rule.wants()}; got {shown(self.loss)}.")
        if self.loss == "poisson" and (target < 0).any():
            raise DataError("counts must be >= 0.", rows=np.flatnonzero(target < 0).tolist())
        if exposure is None:
            return
        if self.loss != "poisson":
            raise ParameterError("exposure is for loss='poisson'.")
        if exposure.shape != target.shape or not (exposure > 0).all():
            raise DataError(f"exposure must be {target.shape} and > 0 everywhere.")

    def predict(self, X: ArrayLike) -> Floats:
        """Predicted value of each row; the rate at unit exposure for counts."""
        found = self._outputs(X)
        return np.exp(found) if self.loss == "poisson" else self.centre_ + self.unit_ * found
