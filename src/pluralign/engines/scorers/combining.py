"""Scorers made of scorers: on another scale, side by side, or several as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ...errors import IncompatibleError, ParameterError
from ...rules import OneOf, Within, check, nearest, shown
from .base import Item, Scorer, Scores

How: TypeAlias = Literal["mean", "min"]

_FINITE = Within()


@final
@dataclass(frozen=True)
class Scaled:
    """A scorer's attributes on another scale: ``(value - offset) / scale``.

    Use it to bring attributes to one unit before they are weighted, such as HelpSteer's
    ``(output - 10) / 20``, and to turn one around with a negative scale (brevity).

    Args:
        scorer: what is rescaled.
        offset: by attribute; 0 where not named.
        scale: by attribute, not 0; 1 where not named.
        rename: new names of attributes, by their old ones.

    Raises:
        ParameterError: for an attribute that the scorer lacks, or a number out of range.

    Example:
        >>> from pluralign.engines.scorers import Length
        >>> brevity = Scaled(Length(), scale={"length": -10}, rename={"length": "brevity"})
        >>> brevity.score([Item("Why?", "It just is so.")]).values.tolist(), brevity.names
        ([[-0.4]], ('brevity',))
    """

    scorer: Scorer
    offset: Mapping[str, float] = field(default_factory=dict[str, float])
    scale: Mapping[str, float] = field(default_factory=dict[str, float])
    rename: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for part in ("offset", "scale", "rename"):
            for attribute, value in getattr(self, part).items():
                if attribute not in self.scorer.names:
                    known = nearest(attribute, self.scorer.names)
                    raise ParameterError(f"Scaled.{part} names {attribute!r}; {known}")
                if part != "rename" and not _FINITE.admits(value):
                    raise ParameterError(
                        f"Scaled.{part}[{attribute!r}] must be a finite number; got {shown(value)}."
                    )
                if part == "scale" and value == 0:
                    raise ParameterError(f"Scaled.scale[{attribute!r}] must not be 0.")
        if len(set(self.names)) < len(self.names):
            raise ParameterError(
                f"Scaled.rename must leave different names; got {list(self.names)}."
            )

    @property
    def name(self) -> str:
        """What scores, for records."""
        return f"{self.scorer.name}, rescaled"

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes under their new names."""
        return tuple(self.rename.get(name, name) for name in self.scorer.names)

    def score(self, items: Sequence[Item]) -> Scores:
        """The scorer's rows on the new scale."""
        found = self.scorer.score(items)
        offset = np.array([self.offset.get(name, 0.0) for name in found.names])
        scale = np.array([self.scale.get(name, 1.0) for name in found.names])
        return Scores(self.names, (found.values - offset) / scale, found.ok)


@final
@dataclass(frozen=True)
class Joined:
    """The attributes of several scorers side by side.

    Use it to weigh measures of different origin against each other, such as the reward of
    a model and readability. A row is ok only if every scorer could score it.

    Args:
        scorers: one or more, whose attributes all have different names.

    Raises:
        ParameterError: for no scorer, or a name that comes twice.

    Example:
        >>> from pluralign.engines.scorers import FormatChecks, Length
        >>> both = Joined([Length(), FormatChecks(checks=("full_stop",))])
        >>> both.names, both.score([Item("Why?", "So.")]).values.tolist()
        (('length', 'full_stop'), [[1.0, 1.0]])
    """

    scorers: Sequence[Scorer]

    def __post_init__(self) -> None:
        if not self.scorers or len(set(self.names)) < len(self.names):
            raise ParameterError(
                "Joined.scorers must have attributes with different names; got "
                f"{list(self.names)}. Rename some with Scaled."
            )

    @property
    def name(self) -> str:
        """What scores, for records."""
        return " + ".join(scorer.name for scorer in self.scorers)

    @property
    def names(self) -> tuple[str, ...]:
        """All attributes, scorer after scorer."""
        return tuple(name for scorer in self.scorers for name in scorer.names)

    def score(self, items: Sequence[Item]) -> Scores:
        """One row for each item with the values of all scorers."""
        found = [scorer.score(items) for scorer in self.scorers]
        values = np.concatenate([scores.values for scores in found], axis=1)
        return Scores(self.names, values, _all_ok(found))


@final
@dataclass(frozen=True)
class Ensemble:
    """Several scorers of the same attributes as one: their mean, or the lowest of them.

    Use it against reward models that can be gamed one by one: ``"min"`` gives nothing for
    what only one of them likes. They must be on one scale; see ``Scaled``. A row is ok only
    if every member could score it.

    Args:
        scorers: two or more with the same names in the same order.
        how: ``"mean"`` or ``"min"``.

    Raises:
        ParameterError: for fewer than two scorers or another ``how``.
        IncompatibleError: for scorers with different names.

    Example:
        >>> from pluralign.engines.scorers import Length
        >>> halved = Scaled(Length(), scale={"length": 2})
        >>> Ensemble([Length(), halved], how="min").score([Item("?", "a b")]).values.tolist()
        [[1.0]]

    References:
        Coste et al., 2024, arXiv 2310.02743 (worst-case ensembles of reward models).
    """

    scorers: Sequence[Scorer]
    how: Annotated[How, OneOf("mean", "min")] = "mean"

    def __post_init__(self) -> None:
        check(self)
        if len(self.scorers) < 2:
            raise ParameterError(f"Ensemble.scorers must be two or more; got {len(self.scorers)}.")
        for scorer in self.scorers:
            if scorer.names != self.names:
                raise IncompatibleError(
                    f"the members of an Ensemble must have the same attributes; {scorer.name} has "
                    f"{list(scorer.names)}, {self.scorers[0].name} has {list(self.names)}."
                )

    @property
    def name(self) -> str:
        """What scores, for records."""
        return f"{self.how} of {', '.join(scorer.name for scorer in self.scorers)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes of every member."""
        return self.scorers[0].names

    def score(self, items: Sequence[Item]) -> Scores:
        """One row for each item."""
        found = [scorer.score(items) for scorer in self.scorers]
        stacked = np.stack([scores.values for scores in found])
        values = stacked.mean(axis=0) if self.how == "mean" else stacked.min(axis=0)
        return Scores(self.names, values, _all_ok(found))


def _all_ok(found: Sequence[Scores]) -> NDArray[np.bool_]:
    return np.all([scores.ok for scores in found], axis=0)
