"""Ratings as arrays, checked once: by group or rater, option and criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError

Floats: TypeAlias = NDArray[np.float64]


def group_means(ratings: ArrayLike, groups: Sequence[str]) -> Mapping[str, Floats]:
    """Mean rating of each group: ``(S, C)`` by name, in the order of first appearance.

    Args:
        ratings: ``(R, S, C)`` ratings of raters.
        groups: R names.

    Raises:
        DataError: if the ratings cannot be used or the names are not R.

    Example:
        >>> {g: m.tolist() for g, m in group_means([[[1.0]], [[3.0]], [[4.0]]], "aab").items()}
        {'a': [[2.0]], 'b': [[4.0]]}
    """
    given = finite_ratings(ratings, "ratings")
    labels = np.asarray(list(groups))
    if len(labels) != len(given):
        raise DataError(f"there must be {len(given)} group names; got {len(labels)}.")
    return {name: given[labels == name].mean(axis=0) for name in dict.fromkeys(labels.tolist())}


def finite_ratings(values: ArrayLike, name: str) -> Floats:
    """Numbers of two groups or raters at least, every one finite."""
    try:
        given = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{name} must be a full array of numbers: {error}.") from None
    if given.ndim < 2 or len(given) < 2:
        raise DataError(f"{name} must have two groups or raters at least; got {given.shape}.")
    if not np.isfinite(given).all():
        place = tuple(np.argwhere(~np.isfinite(given))[0].tolist())
        raise DataError(f"{name}{list(place)} is {given[place]}; leave out or fill such options.")
    return given


def option_table(ratings: ArrayLike) -> Floats:
    """One rating for each rater and option."""
    given = finite_ratings(ratings, "ratings")
    if given.ndim != 2 or given.shape[1] < 2:
        raise DataError(f"ratings must be (raters, at least 2 options); got {given.shape}.")
    return given


def mean_table(means: ArrayLike) -> Floats:
    """Ratings of group, option and criterion."""
    given = finite_ratings(means, "means")
    if given.ndim != 3:
        raise DataError(f"means must be (groups, options, criteria); got {given.shape}.")
    return given


def check_names(names: Sequence[str], size: int, what: str) -> None:
    """Refuse names that are not one for each part."""
    if len(names) != size or len(set(names)) != size:
        raise DataError(f"{what} must be {size} different names; got {list(names)}.")
