"""Which columns drive a graded choice, as a scikit-learn classifier."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ...errors import DataError, DataQualityWarning, ParameterError
from ...rules import AnyOf, OneOf, Rule, Within, nearest, shown
from .columns import Columns, rows_of
from .encoding import Missing, audit
from .inputs import labels_of, table_of, units_of, weights_of
from .listing import Driver, drivers_of
from .path import MultinomialLasso
from .penalties import Floats
from .screening import THRESHOLD, Screen, screen
from .tuning import Rule as Stop
from .tuning import cross_validate, folds_by_row, folds_by_unit

_FOLDS = 5

Standardise = Literal["all", "numeric_only", "none"]

RULES: dict[str, Rule] = {
    "rule": OneOf("min", "1se"),
    "predict_rule": OneOf("min", "1se"),
    "folds": AnyOf(Within(2, integer=True), None),
    "vif_threshold": THRESHOLD,
    "standardize": OneOf("all", "numeric_only", "none"),
    "missing": OneOf("refuse", "impute"),
    "min_count": Within(0),
    "penalty": OneOf("ungrouped", "grouped"),
    "alpha": Within(0.0, 1.0, closed="right"),
    "n_lambdas": Within(2, integer=True),
    "lambda_ratio": AnyOf(Within(0.0, 1.0, closed="neither"), None),
    "tol": Within(0.0, closed="neither"),
}


@final
class ChoiceDrivers(ClassifierMixin, BaseEstimator):
    """What drives a graded outcome: columns audited and screened, then a multinomial lasso.

    Use it to rank which of many correlated attributes go with a class of outcome, in a model
    that a manager can read. Not for causes (attributes are chosen, brands confound), nor to
    predict a share itself; selected does not mean significant, so read it with
    :func:`~pluralign.learn.drivers.selection_frequencies`. ::

        -(1/n) sum_i w_i log p_{i,y_i}
            + lambda sum_j v_j [alpha sum_k |b_jk| + (1 - alpha)/2 sum_k b_jk^2]

    Rows of one unit (a plan over years, a person's choices) depend on each other: give
    ``units`` to ``fit``, or cross-validation is too kind and selects too much.

    Args:
        penalty: ``"ungrouped"``, each class its own columns; ``"grouped"``, all or none.
        alpha: share of the lasso in (0, 1]; below 1 an elastic net.
        rule: where on the path the list of drivers stops: ``"min"``, least held-out deviance,
            or ``"1se"``, the strongest penalty within one standard error of it.
        predict_rule: the same for predictions.
        folds: of cross-validation, at least 2; a number is refused where a class has fewer
            rows. ``None`` is 5, and a class that is too small for them stays in training, with
            a warning.
        vif_threshold: columns of a larger variance inflation factor are left out, > 1; 5 is
            strict, ``None`` screens nothing.
        standardize: divide by the deviation ``"all"`` columns, which lets a rare dummy enter
            at a small lambda only with a large effect, ``"numeric_only"`` or ``"none"``.
        missing: ``"refuse"``, or ``"impute"`` with a column that flags it.
        min_count: rows that a level needs, see :func:`~pluralign.learn.drivers.encoding.audit`.
        penalty_factors: v of columns by name, >= 0 (0 is not penalised); 1 for the others,
            used as given.
        n_lambdas: points of the path, >= 2.
        lambda_ratio: last over first lambda, by default 1e-4, or 1e-2 where columns are not
            fewer than rows.
        tol: optimality is violated by at most this share of lambda.
        random_state: seed of the folds.

    Attributes:
        classes_: labels in order.
        encoding_: what the audit found and how columns are written.
        screen_: what the screen kept and dropped, with partners.
        columns_: the columns of the model.
        path_: solutions on standardised columns.
        curve_: deviance of held-out rows.
        lambda_min_, lambda_1se_, lambda_: what the rules chose, and ``rule`` of them.
        coef_: (classes, columns) of columns as encoded, at ``rule``; every class has a row.
        intercept_: (classes,), at ``rule``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = {"price": rng.normal(size=90), "brand": ["a", "b", "c"] * 30}
        >>> model = ChoiceDrivers().fit(X, X["price"] + 0.1 * rng.normal(size=90) > 0)
        >>> [driver.column for driver in model.drivers()][:1], model.predict(X).shape
        (['price'], (90,))

    Differs from the paper:
        Screen, lambda rule, folds by unit and canonical coefficients are ours; the paper's were
        not told.

    References:
        Liao, 2025, arXiv 2511.08603.
    """

    def __init__(
        self,
        *,
        penalty: Literal["ungrouped", "grouped"] = "ungrouped",
        alpha: float = 1.0,
        rule: Stop = "1se",
        predict_rule: Stop = "min",
        folds: int | None = None,
        vif_threshold: float | None = 10.0,
        standardize: Standardise = "all",
        missing: Missing = "refuse",
        min_count: float = 5,
        penalty_factors: Mapping[str, float] | None = None,
        n_lambdas: int = 100,
        lambda_ratio: float | None = None,
        tol: float = 1e-7,
        random_state: Any = None,
    ) -> None:
        self.penalty: Literal["ungrouped", "grouped"] = penalty
        self.alpha = alpha
        self.rule: Stop = rule
        self.predict_rule: Stop = predict_rule
        self.folds = folds
        self.vif_threshold = vif_threshold
        self.standardize = standardize
        self.missing: Missing = missing
        self.min_count = min_count
        self.penalty_factors = penalty_factors
        self.n_lambdas = n_lambdas
        self.lambda_ratio = lambda_ratio
        self.tol = tol
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        units: ArrayLike | None = None,
    ) -> ChoiceDrivers:
        """Audit, encode, screen, walk the path and choose.

        Args:
            X: data frame, mapping of columns or array, (n, p); text becomes dummies.
            y: labels of two or more classes, (n,).
            sample_weight: (n,), >= 0; a weight of 2 counts as two rows.
            units: what each row belongs to, (n,); folds keep units whole.

        Raises:
            ParameterError: for parameters outside their rules, all of them listed.
            DataError: for rows or columns that cannot be used, named.
        """
        self._check()
        columns, labels = self._given(X, y)
        weights = weights_of(sample_weight, len(labels))
        used = np.flatnonzero(weights > 0)
        if not used.size:
            raise DataError("every sample_weight is zero; at least two rows need weight.")
        columns, weights = rows_of(columns, used), weights[used]
        self.classes_, codes = np.unique(labels[used], return_inverse=True)
        self._check_classes(codes, weights)
        self.encoding_ = audit(
            columns, weights, on_missing=self.missing, min_count=float(self.min_count)
        )
        every = self.encoding_.write(columns)
        self.screen_ = self._screened(every, weights)
        self._warn_of_columns()
        x = every[:, self.screen_.kept]
        self.columns_ = tuple(self.encoding_.columns[j] for j in self.screen_.kept)
        owners = None if units is None else units_of(units, len(labels))[used]
        self._choose(x, codes, weights, owners)
        self.n_iter_ = len(self.path_.lambdas)
        return self

    def _choose(
        self, x: Floats, codes: NDArray[Any], weights: Floats, units: NDArray[Any] | None
    ) -> None:
        count = len(self.classes_)
        distinct = len(np.unique(x, axis=0)) if len(x) < 10 * x.shape[1] else len(x)
        lasso = self.lasso(tall=distinct > x.shape[1])
        settings: dict[str, Any] = {"factors": self._factors(), "scaled": self.scaled()}
        self.path_ = lasso.path(x, codes, count, weights=weights, **settings)
        fold_of = self._folds(x, codes, weights, units)
        self.curve_ = cross_validate(
            lasso, x, codes, count, fold_of, weights=weights, lambdas=self.path_.lambdas, **settings
        )
        self.lambda_min_, self.lambda_1se_ = (
            float(self.path_.lambdas[self.curve_.index(rule)]) for rule in ("min", "1se")
        )
        index = self.curve_.index(self.rule)
        self.lambda_ = float(self.path_.lambdas[index])
        self.intercept_, self.coef_ = self.path_.raw(index)
        if not self.coef_.any():
            hint = '; rule="min" chooses a weaker penalty' if self.rule == "1se" else ""
            warnings.warn(
                f"rule {self.rule!r} selects no column{hint}.", DataQualityWarning, stacklevel=3
            )

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities at ``predict_rule``, (n, classes)."""
        x, path = self.encoded(X), self.path_
        index = self.curve_.index(self.predict_rule)
        eta = (x - path.mean) / path.scale @ path.tables[index].T + path.intercepts[index]
        p = np.exp(eta - eta.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of each row at ``predict_rule``, (n,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def encoded(self, X: Any) -> Floats:
        """Rows as the columns of the model, (n, columns)."""
        check_is_fitted(self)
        return self.encoding_.write(table_of(self, X, reset=False))[:, self.screen_.kept]

    def drivers(
        self,
        rule: Stop | None = None,
        *,
        units: Mapping[str, float] | None = None,
        frequencies: Floats | None = None,
    ) -> list[Driver]:
        """What drives each class, class by class, the largest effect first.

        Args:
            rule: ``"min"`` or ``"1se"``; the estimator's by default.
            units: of columns, for odds factors, such as ``{"premium": 100.0}``.
            frequencies: of :func:`~pluralign.learn.drivers.selection_frequencies`.
        """
        check_is_fitted(self)
        table = self.path_.tables[self.curve_.index(rule or self.rule)]
        return drivers_of(
            table,
            self.path_.scale,
            self.columns_,
            self.classes_.tolist(),
            units=units,
            frequencies=frequencies,
        )

    def contrasts(self, versus: Any = None) -> Floats:
        """Coefficients of columns as encoded against their mean, or against a class.

        Single coefficients need not be unique with an even number of classes; these are.

        Returns:
            (classes, columns), at ``rule``.
        """
        check_is_fitted(self)
        if versus is None:
            return self.coef_ - self.coef_.mean(0)
        labels = self.classes_.tolist()
        if versus not in labels:
            raise ParameterError(f"versus must be one of {shown(labels)}; got {shown(versus)}.")
        return self.coef_ - self.coef_[labels.index(versus)]

    def lasso(self, *, tall: bool = True) -> MultinomialLasso:
        """The engine that the parameters describe; ``tall`` where rows outnumber columns."""
        return MultinomialLasso(
            penalty=self.penalty,
            alpha=self.alpha,
            n_lambdas=self.n_lambdas,
            lambda_ratio=self.lambda_ratio or (1e-4 if tall else 1e-2),
            tol=self.tol,
        )

    def settings(self) -> dict[str, Any]:
        """Penalty factors and scaled columns of the fitted model, for another path."""
        check_is_fitted(self)
        return {"factors": self._factors(), "scaled": self.scaled()}

    def scaled(self) -> NDArray[np.bool_]:
        """Which columns of the model are divided by their deviation."""
        if self.standardize == "numeric_only":
            return np.array([not column.binary for column in self.columns_])
        return np.full(len(self.columns_), self.standardize == "all")

    def _factors(self) -> Floats:
        given = dict(self.penalty_factors or {})
        found = [given.get(c.name, given.get(c.source, 1.0)) for c in self.columns_]
        return np.array(found, np.float64)

    def _check(self) -> None:
        wrong = [
            f"ChoiceDrivers.{name} must be {rule.wants()}; got {shown(getattr(self, name))}."
            for name, rule in RULES.items()
            if not rule.admits(getattr(self, name))
        ]
        factors = self.penalty_factors or {}
        wrong += [
            f"ChoiceDrivers.penalty_factors[{name!r}] must be a finite number >= 0; got {value!r}."
            for name, value in factors.items()
            if not Within(0.0).admits(value)
        ]
        if wrong:
            raise ParameterError("\n".join(wrong))

    def _nothing_left(self) -> str:
        found = [f"{one.column!r} {one.action}" for one in self.encoding_.findings]
        return f"no column is left after the audit: {shown('; '.join(found), 300)}"

    def _folds(
        self, x: Floats, codes: NDArray[Any], weights: Floats, units: NDArray[Any] | None
    ) -> NDArray[Any]:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        count = self.folds or _FOLDS
        if units is not None:
            return folds_by_unit(units, codes, count, seed)
        fold_of = folds_by_row(x, codes, count, seed, weights)
        stay = np.unique(codes[fold_of < 0])
        if stay.size:
            warnings.warn(
                f"classes {shown(self.classes_[stay].tolist())} have fewer different rows than "
                f"{count} folds; they are never held out. Merge classes.",
                DataQualityWarning,
                stacklevel=4,
            )
        return fold_of

    def _check_classes(self, codes: NDArray[Any], weights: Floats) -> None:
        if len(self.classes_) < 2:
            raise DataError(
                f"y has one class, {shown(self.classes_[:1].tolist())}; two are needed."
            )
        counts = np.bincount(codes, weights)
        least = int(counts.argmin())
        if self.folds is not None and counts[least] < self.folds:
            raise DataError(
                f"class {shown(self.classes_.tolist()[least])} has {counts[least]:g} rows, fewer "
                f"than {self.folds} folds; take fewer folds or merge classes."
            )

    def _given(self, X: Any, y: ArrayLike) -> tuple[Columns, NDArray[Any]]:
        columns = table_of(self, X, reset=True)
        labels = labels_of(y, len(next(iter(columns.values()))))
        known = {c.split("=")[0] for c in columns}
        for name in self.penalty_factors or {}:
            if name not in columns and name.split("=")[0] not in known:
                raise ParameterError(f"penalty_factors: no column {name!r}; {nearest(name, known)}")
        return columns, labels

    def _warn_of_columns(self) -> None:
        constant = [one.column for one in self.encoding_.findings if one.kind == "constant"]
        found = [f"columns {shown(constant)} have one value: coefficient 0"] * bool(constant)
        found += [
            f"column {one.name!r} is determined by others and left out (nearest: {one.partner!r})"
            for one in self.screen_.dropped
            if np.isinf(one.vif)
        ]
        if found:
            warnings.warn("; ".join(found) + ".", DataQualityWarning, stacklevel=3)

    def _screened(self, x: Floats, weights: Floats) -> Screen:
        if not x.size:
            raise DataError(self._nothing_left())
        blocks = self.encoding_.blocks
        names = [self.encoding_.columns[block[0]].source for block in blocks]
        return screen(x, names, self.vif_threshold, blocks=blocks, weights=weights)

    def __sklearn_tags__(self) -> Any:
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "impute"
        return tags
