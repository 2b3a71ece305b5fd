"""Sentiment of a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

from ...errors import ParameterError
from ...rules import OneOf, shown
from .base import Item, Scores
from .extras import needed
from .texts import one_by_one, sentences

Unit: TypeAlias = Literal["sentence", "text"]

_UNITS = OneOf("sentence", "text")


@final
class Sentiment:
    """How positive the words of a response are by VADER's lexicon, in [-1, 1].

    Use it as a cheap attribute of tone for English. It counts words and their negations; it
    understands neither irony nor what the words are about.

    Args:
        unit: ``"sentence"`` takes the mean over sentences, so that long texts do not all
            end at -1 or 1; ``"text"`` scores a text at once.

    Raises:
        ImportError: if ``vaderSentiment`` is not installed.
        ParameterError: for another unit.

    Example:
        >>> Sentiment().score([Item("How was it?", "VADER is smart.")]).values.tolist()
        [[0.4019]]

    References:
        Hutto and Gilbert, 2014, ICWSM (compound score).
    """

    def __init__(self, unit: Unit = "sentence") -> None:
        if not _UNITS.admits(unit):
            raise ParameterError(f"Sentiment.unit must be {_UNITS.wants()}; got {shown(unit)}.")
        module = needed("vaderSentiment.vaderSentiment", "vaderSentiment", "Sentiment")
        self.unit: Unit = unit
        self._analyser: Any = module.SentimentIntensityAnalyzer()

    @property
    def name(self) -> str:
        """What scores, for records."""
        return f"VADER sentiment by {self.unit}"

    @property
    def names(self) -> tuple[str, ...]:
        """``("sentiment",)``."""
        return ("sentiment",)

    def score(self, items: Sequence[Item]) -> Scores:
        """Sentiment of each response; not ok where it is blank."""
        return one_by_one("sentiment", items, self._mean)

    def _mean(self, text: str) -> float | None:
        parts = sentences(text) if self.unit == "sentence" or not text.strip() else [text]
        if not parts:
            return None
        found = [self._analyser.polarity_scores(part)["compound"] for part in parts]
        return sum(found) / len(found)
