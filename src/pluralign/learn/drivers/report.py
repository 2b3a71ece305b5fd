"""The whole way from a table to a tested list of drivers: split, fit, stability, test."""

# ruff: noqa: N803 - scikit-learn calls the features X

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from ...errors import DataError, ParameterError
from ...rules import Within, nearest, shown
from .assessment import Assessment, assess, split_rows
from .columns import columns_of
from .estimator import ChoiceDrivers
from .listing import Driver
from .penalties import Floats
from .stability import selection_frequencies
from .tuning import Rule, cross_validate

_STABLE = 0.7
_SHARE = Within(0.0, 0.5, closed="right")


@final
@dataclass(frozen=True, kw_only=True)
class DriverReport:
    """Drivers of each class, how stable they are, and a test on rows never seen.

    Attributes:
        model: fitted on the training rows.
        drivers: at the model's ``rule``, with frequencies.
        tests: by rule, ``"min"`` and ``"1se"``.
        group_deviance: rise of held-out deviance where a group of columns is left out.
        n_train: training rows.
        held_out: which rows were tested, (n,).
        stable: frequency from which a driver counts as stable.
    """

    model: ChoiceDrivers
    drivers: list[Driver]
    tests: dict[Rule, Assessment]
    group_deviance: dict[str, float]
    n_train: int
    held_out: NDArray[np.bool_]
    stable: float = _STABLE

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a record or a page; infinite VIFs are ``None``."""
        model = self.model
        chosen = {rule: model.curve_.index(rule) for rule in self.tests}
        return {
            "labels": [_plain(label) for label in model.classes_.tolist()],
            "n_train": self.n_train,
            "n_test": int(self.held_out.sum()),
            "rule": model.rule,
            "stable": self.stable,
            "drivers": [{**asdict(one), "label": _plain(one.label)} for one in self.drivers],
            "columns": [column.name for column in model.columns_],
            "findings": [asdict(one) for one in model.encoding_.findings],
            "dropped": [
                {**asdict(one), "vif": one.vif if np.isfinite(one.vif) else None}
                for one in model.screen_.dropped
            ],
            "curve": {
                "lambdas": model.curve_.lambdas.tolist(),
                "mean": model.curve_.mean.tolist(),
                "error": model.curve_.error.tolist(),
                "selected": model.path_.tables.any(1).sum(1).tolist(),
                **{f"index_{rule}": index for rule, index in chosen.items()},
            },
            "tests": {
                rule: {**test.to_json(), "labels": [_plain(label) for label in test.labels]}
                for rule, test in self.tests.items()
            },
            "group_deviance": self.group_deviance,
            "note": model.path_.note,
        }


def driver_report(
    model: ChoiceDrivers,
    X: Any,
    y: ArrayLike,
    *,
    units: ArrayLike | None = None,
    test_share: float = 0.3,
    groups: Mapping[str, Sequence[str]] | None = None,
    odds_units: Mapping[str, float] | None = None,
    n_subsamples: int = 100,
    seed: int = 0,
) -> DriverReport:
    """Split by unit, fit on training rows alone, measure stability, test.

    Args:
        model: its parameters are used; it is not changed.
        X: data frame, mapping of columns or array, (n, p).
        y: labels, (n,).
        units: what each row belongs to, (n,); they stay whole in split, folds and halves.
        test_share: of the rows of each class, in (0, 0.5].
        groups: columns to leave out together, by a name; the deviance that each explains is
            told.
        odds_units: units of the odds factors by column.
        n_subsamples: half-subsamples; 0 measures no stability.
        seed: of split, folds, halves and bootstrap.

    Raises:
        ParameterError: for a share outside (0, 0.5], or a group with an unknown column.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = {"price": rng.normal(size=120), "size": rng.normal(size=120)}
        >>> found = driver_report(ChoiceDrivers(), X, X["price"] > 0, n_subsamples=10)
        >>> found.drivers[0].column, found.tests["min"].accuracy > 0.9
        ('price', True)
    """
    if not _SHARE.admits(test_share):
        raise ParameterError(f"test_share must be {_SHARE.wants()}; got {shown(test_share)}.")
    columns, labels = columns_of(X), np.asarray(y)
    if not columns or not len(labels):
        raise DataError("X and y must have rows, and X a column at least.")
    if len(labels) != len(next(iter(columns.values()))):
        raise DataError(f"y has {len(labels)} labels; X has other rows.")
    classes, codes = np.unique(labels, return_inverse=True)
    owners = None if units is None else np.asarray(units)
    held = split_rows(codes, owners, test_share, seed)
    train, tested = _rows(X, ~held), _rows(X, held)
    owners_of = [None if owners is None else owners[rows] for rows in (~held, held)]
    fitted = cast(ChoiceDrivers, clone(model))
    fitted.set_params(random_state=seed if model.random_state is None else model.random_state)
    fitted.fit(train, labels[~held], units=owners_of[0])
    absent = sorted(set(classes.tolist()) - set(fitted.classes_.tolist()))
    if absent:
        raise DataError(f"classes {shown(absent)} have no training row; merge them.")
    frequencies = None
    if n_subsamples:
        frequencies = selection_frequencies(
            fitted, train, labels[~held], units=owners_of[0], n_subsamples=n_subsamples, seed=seed
        )
    return DriverReport(
        model=fitted,
        drivers=fitted.drivers(units=odds_units, frequencies=frequencies),
        tests=_tests(fitted, tested, codes[held], np.bincount(codes[~held]), owners_of[1], seed),
        group_deviance=_group_deviance(fitted, train, codes[~held], groups or {}),
        n_train=int((~held).sum()),
        held_out=held,
    )


def _tests(
    model: ChoiceDrivers,
    X: Any,
    codes: NDArray[Any],
    counts: NDArray[Any],
    units: ArrayLike | None,
    seed: int,
) -> dict[Rule, Assessment]:
    every = np.exp(model.path_.log_probabilities(model.encoded(X)))
    rules: tuple[Rule, Rule] = ("min", "1se")
    return {
        rule: assess(
            every[model.curve_.index(rule)],
            codes,
            labels=model.classes_.tolist(),
            train_shares=counts / counts.sum(),
            units=units,
            seed=seed,
        )
        for rule in rules
    }


def _group_deviance(
    model: ChoiceDrivers, X: Any, codes: NDArray[Any], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Rise of the least cross-validated deviance without each group's columns."""
    if not groups:
        return {}
    x, settings = model.encoded(X), model.settings()
    least = float(model.curve_.mean.min())
    return {
        name: _least_deviance(model, x, codes, _without(model, name, members), settings) - least
        for name, members in groups.items()
    }


def _without(model: ChoiceDrivers, name: str, members: Sequence[str]) -> NDArray[np.bool_]:
    known = {c.source for c in model.encoding_.columns} | {c.name for c in model.columns_}
    known |= {finding.column for finding in model.encoding_.findings}
    for member in members:
        if member not in known:
            raise ParameterError(
                f"groups[{name!r}]: no column {member!r}; {nearest(member, known)}"
            )
    left = [c.source not in members and c.name not in members for c in model.columns_]
    if not any(left):
        raise ParameterError(f"groups[{name!r}] holds every column of the model; leave some out.")
    return np.array(left)


def _least_deviance(
    model: ChoiceDrivers,
    x: Floats,
    codes: NDArray[Any],
    stay: NDArray[np.bool_],
    settings: Mapping[str, Any],
) -> float:
    if stay.all():
        return float(model.curve_.mean.min())
    curve = cross_validate(
        model.lasso(),
        x[:, stay],
        codes,
        len(model.classes_),
        model.curve_.fold_of,
        weights=np.ones(len(x)),
        lambdas=model.curve_.lambdas,
        **{key: value[stay] for key, value in settings.items()},
    )
    return float(curve.mean.min())


def _rows(X: Any, rows: NDArray[np.bool_]) -> Any:
    """The chosen rows of a data frame, mapping or array."""
    if isinstance(X, Mapping):
        return {name: np.asarray(column)[rows] for name, column in X.items()}
    if hasattr(X, "columns"):
        return X.loc[rows] if hasattr(X, "loc") else X.filter(rows)
    return np.asarray(X)[rows]


def _plain(label: Any) -> Any:
    return label if isinstance(label, (str, int, float, bool)) else str(label)
