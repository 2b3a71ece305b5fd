"""Readability of a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from ...errors import ParameterError
from ...rules import shown
from .base import Item, Scores
from .extras import needed
from .texts import one_by_one, sentences, words


@final
class Readability:
    """Flesch reading ease: higher is easier, about 60 to 70 for plain English.

    Use it as an attribute where readers want simple language; it measures the length of
    words and sentences, not whether a text makes sense. The constants are for English.

    ``206.835 - 1.015 words / sentences - 84.6 syllables / words``, where a word has one
    syllable more than it has hyphenation points; sentences end at ``. ! ? …`` and line ends.

    Args:
        language: hyphenation patterns of ``pyphen``, ``"en_US"`` or ``"en_GB"`` for English.

    Raises:
        ImportError: if ``pyphen`` is not installed.
        ParameterError: for a language without patterns.

    Example:
        >>> Readability().score([Item("Who?", "The cat sat.")]).values.round(2).tolist()
        [[119.19]]

    Differs from the paper: Flesch counted syllables by ear; hyphenation leaves out those of
    a single letter at the ends of words, so scores come out a little too easy.

    References:
        Flesch, 1948, Journal of Applied Psychology 32(3).
    """

    def __init__(self, language: str = "en_US") -> None:
        pyphen = needed("pyphen", "pyphen", "Readability")
        if language not in pyphen.LANGUAGES:
            raise ParameterError(
                f"Readability.language must be a language of pyphen, such as 'en_US'; "
                f"got {shown(language)}."
            )
        self.language = language
        self._patterns: Any = pyphen.Pyphen(lang=language)

    @property
    def name(self) -> str:
        """What scores, for records."""
        return f"Flesch reading ease ({self.language})"

    @property
    def names(self) -> tuple[str, ...]:
        """``("readability",)``."""
        return ("readability",)

    def score(self, items: Sequence[Item]) -> Scores:
        """Reading ease of each response; not ok where it has no word."""
        return one_by_one("readability", items, self._ease)

    def syllables(self, word: str) -> int:
        """Syllables of a word, at least one."""
        return sum(1 + len(self._patterns.positions(part)) for part in word.split("-"))

    def _ease(self, text: str) -> float | None:
        found = words(text)
        if not found:
            return None
        spoken = sum(map(self.syllables, found))
        per_sentence = len(found) / sum(bool(words(part)) for part in sentences(text))
        return 206.835 - 1.015 * per_sentence - 84.6 * spoken / len(found)
