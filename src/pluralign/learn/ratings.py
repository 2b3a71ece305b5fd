"""``Ratings``: single responses rated for several attributes, as in HelpSteer."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..data import Preferences, Text
from ..errors import DataError, ParameterError
from ..rows import frozen_text, raise_rows, take_column, text_problem
from ..rules import nearest, shown
from .config import TrainingConfig
from .rows import TokenRows
from .tokenise import TokenTexts, tokenise_texts

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Ratings:
    """Responses with a rating for each of several attributes; some may be missing.

    Use it to train a reward model with one output for each attribute. Higher is more of
    the attribute, not always better (verbosity).

    Args:
        prompt: N texts (strings, conversations or token ids).
        response: N responses, of the same kind of text.
        values: ratings ``(N,)`` by attribute; NaN where a response was not rated.
        group: N names of who rated, or whom the response affects.
        weight: N finite non-negative weights.
        source: where they came from, for messages.

    Raises:
        DataError: naming the rows, for texts that cannot be used, ratings that are infinite
            and responses without a single rating.

    Example:
        >>> rows = [
        ...     {"prompt": "2+2?", "response": "4", "helpfulness": 4, "verbosity": None},
        ...     {"prompt": "2+2?", "response": "It is 4.", "helpfulness": 4, "verbosity": 1},
        ... ]
        >>> ratings = Ratings.from_records(rows, ("helpfulness", "verbosity"))
        >>> len(ratings), ratings.matrix(("verbosity", "helpfulness")).tolist()
        (2, [[nan, 4.0], [1.0, 4.0]])
    """

    prompt: Sequence[Text]
    response: Sequence[Text]
    values: Mapping[str, Floats]
    group: Sequence[str] | None = None
    weight: Floats | None = None
    source: str = "ratings"

    def __post_init__(self) -> None:
        size = len(self.prompt)
        if not size or not self.values:
            raise DataError("there are no ratings; give rows and attributes.", source=self.source)
        freeze = object.__setattr__
        for name in ("prompt", "response"):
            freeze(self, name, tuple(map(frozen_text, getattr(self, name))))
        values = {k: np.asarray(v, dtype=np.float64) for k, v in self.values.items()}
        freeze(self, "values", values)
        if self.group is not None:
            freeze(self, "group", tuple(map(str, self.group)))
        if self.weight is not None:
            freeze(self, "weight", np.asarray(self.weight, dtype=np.float64))
        named = {name: getattr(self, name) for name in ("response", "group", "weight")}
        for name, column in (named | values).items():
            if column is not None and len(column) != size:
                raise DataError(
                    f"{name} has {len(column)} values for {size} responses.", source=self.source
                )
        raise_rows(list(self._problems()), self.source, size)

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        attributes: Sequence[str],
        *,
        group: str | None = None,
        source: str = "records",
    ) -> Ratings:
        """Build from rows with ``prompt``, ``response`` and a number or null per attribute.

        Args:
            records: mappings, such as the rows of HelpSteer; ``weight`` is read if there.
            attributes: names of the columns that hold ratings.
            group: column to use as ``group`` (default: a column of that name, if present).
            source: name for messages.

        Raises:
            DataError: naming rows that lack a text or hold a rating that is no number.
        """
        rows = list(records)
        texts = [take_column(rows, name, source, required=True) for name in ("prompt", "response")]
        return cls(
            texts[0] or [],
            texts[1] or [],
            {name: _column(rows, name, source) for name in attributes},
            group=take_column(rows, group or "group", source, required=group is not None),
            weight=take_column(rows, "weight", source),  # pyright: ignore[reportArgumentType]
            source=source,
        )

    @classmethod
    def from_pairs(cls, pairs: Preferences, attributes: Sequence[str]) -> Ratings:
        """Both responses of pairs whose readers kept ratings as ``<name>_chosen, _rejected``.

        Args:
            pairs: N pairs, such as ``load_preferences`` makes of HelpSteer.
            attributes: names without ``_chosen`` and ``_rejected``.

        Returns:
            2 N rated responses, chosen and rejected in turn.

        Raises:
            DataError: naming an attribute that the pairs do not have.
        """
        sides = ("chosen", "rejected")
        for name in (f"{name}_{side}" for name in attributes for side in sides):
            if name not in pairs.attributes:
                known = nearest(name, pairs.attributes) if pairs.attributes else "it has none."
                raise DataError(f"there is no attribute {name!r}; {known}", source=pairs.source)
        values = {
            name: np.stack([pairs.attributes[f"{name}_{side}"] for side in sides], 1).ravel()
            for name in attributes
        }
        return cls(
            [text for text in pairs.prompt for _ in sides],
            [text for both in zip(pairs.chosen, pairs.rejected, strict=True) for text in both],
            values,
            group=None if pairs.group is None else [name for name in pairs.group for _ in sides],
            weight=None if pairs.weight is None else np.repeat(pairs.weight, 2),
            source=pairs.source,
        )

    def __len__(self) -> int:
        return len(self.prompt)

    def select(self, index: Sequence[int] | NDArray[Any]) -> Ratings:
        """The rows at ``index`` (integers or a boolean mask)."""
        rows = np.arange(len(self))[np.asarray(index)]
        return replace(
            self,
            prompt=[self.prompt[i] for i in rows],
            response=[self.response[i] for i in rows],
            values={name: column[rows] for name, column in self.values.items()},
            group=None if self.group is None else [self.group[i] for i in rows],
            weight=None if self.weight is None else self.weight[rows],
        )

    def matrix(self, names: Sequence[str]) -> Floats:
        """Ratings ``(N, A)`` in the order of ``names``; NaN where missing.

        Raises:
            ParameterError: for a rated attribute that is not among the names.
        """
        for name in self.values:
            if name not in names:
                raise ParameterError(
                    f"the ratings have {name!r}, which is no output of the model; "
                    f"{nearest(name, names)}"
                )
        unrated = np.full(len(self), np.nan)
        return np.stack([self.values.get(name, unrated) for name in names], axis=1)

    def offset(self) -> dict[str, float]:
        """Mean rating by attribute, to start a ``RewardModel`` from."""
        return {name: float(np.nanmean(column)) for name, column in self.values.items()}

    def scale(self) -> dict[str, float]:
        """Standard deviation by attribute; 1 where all ratings are equal."""
        return {name: float(np.nanstd(column)) or 1.0 for name, column in self.values.items()}

    def group_sizes(self) -> dict[str, int]:
        """Number of rows of each group, largest first; empty without a group column."""
        return dict(Counter(self.group or ()).most_common())

    def fingerprint(self) -> str:
        """SHA-256 of all rows, independent of the source's name."""
        digest = hashlib.sha256()
        for i in range(len(self)):
            rated = {k: v[i].item() for k, v in self.values.items() if not np.isnan(v[i])}
            row = [self.prompt[i], self.response[i], rated, self.group and self.group[i]]
            row.append(None if self.weight is None else self.weight[i].item())
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode())
        return digest.hexdigest()

    def _problems(self) -> Iterator[tuple[int, str]]:
        for name in ("prompt", "response"):
            for row, text in enumerate(getattr(self, name)):
                problem = text_problem(text, empty_allowed=name == "prompt")
                if problem:
                    yield row, f"{name} {problem}"
        for name, column in self.values.items():
            for row in np.flatnonzero(np.isinf(column)).tolist():
                yield row, f"{name} must be a finite number or missing; got {column[row]}"
        unrated = np.all([np.isnan(column) for column in self.values.values()], axis=0)
        yield from ((row, "no attribute is rated") for row in np.flatnonzero(unrated).tolist())
        if self.weight is not None:
            for row in np.flatnonzero(~(np.isfinite(self.weight) & (self.weight >= 0))).tolist():
                yield row, f"weight must be finite and >= 0; got {self.weight[row]}"


def _column(rows: Sequence[Mapping[str, Any]], name: str, source: str) -> Floats:
    found = [row.get(name) for row in rows]
    bad = [
        (i, f"{name} must be a number or null; got {shown(value)}")
        for i, value in enumerate(found)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)))
    ]
    raise_rows(bad, source, len(rows))
    if all(value is None for value in found):
        seen = sorted({str(key) for row in rows[:100] for key in row})
        raise DataError(f"no row has a {name!r}; the columns are {seen}.", source=source)
    return np.array([np.nan if value is None else float(value) for value in found])


def tokenised_ratings(ratings: Ratings, tokenizer: Any, config: TrainingConfig) -> TokenTexts:
    """The rated responses as token ids, by the rules of a run."""
    return tokenise_texts(
        list(zip(ratings.prompt, ratings.response, strict=True)),
        tokenizer,
        max_length=config.max_length,
        max_boundary_share=config.max_boundary_share,
        truncation=config.truncation,
        source=ratings.source,
    )


def rating_rows(
    ratings: Ratings, tokens: TokenTexts, outputs: Sequence[str], groups: Iterable[str]
) -> TokenRows:
    """Rows of rated responses: column ``rating`` is float32 ``(N, A)``, NaN where missing.

    Weights are scaled to mean 1, as those of pairs.

    Raises:
        DataError: if all weights are 0.
    """
    kept = ratings.select(tokens.kept)
    columns: dict[str, NDArray[Any]] = {"rating": kept.matrix(outputs).astype(np.float32)}
    if kept.weight is not None:
        if not kept.weight.any():
            raise DataError("all weights are 0; give some row a weight.", source=ratings.source)
        columns["weight"] = (kept.weight / kept.weight.mean()).astype(np.float32)
    if kept.group is not None:
        number = {name: i for i, name in enumerate(groups)}
        columns["group"] = np.array([number[name] for name in kept.group])
    return TokenRows([tokens.rows(i) for i in range(len(tokens))], columns)
