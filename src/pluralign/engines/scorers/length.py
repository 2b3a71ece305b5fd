"""Length of a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, final

from ...errors import ParameterError
from ...rules import OneOf, check
from .base import Item, Scores
from .texts import one_by_one

Unit: TypeAlias = Literal["words", "characters", "tokens"]


@final
@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a response is, in words, characters or tokens.

    Use it as an attribute to steer verbosity, wrapped in ``Scaled`` for another unit or for
    brevity, and to see what a judge rewards. Words are what blanks part.

    Args:
        unit: what is counted.
        tokenizer: a transformers tokenizer, for ``"tokens"``; special tokens do not count.

    Raises:
        ParameterError: for another unit, or tokens without a tokenizer.

    Example:
        >>> Length().score([Item("Why?", "Light scatters."), Item("Why?", "")]).values.tolist()
        [[2.0], [0.0]]
    """

    unit: Annotated[Unit, OneOf("words", "characters", "tokens")] = "words"
    tokenizer: Any = None

    def __post_init__(self) -> None:
        check(self)
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise ParameterError(
                "Length.tokenizer must be given for unit 'tokens' and for no other; got unit "
                f"{self.unit!r} and {type(self.tokenizer).__name__}."
            )

    @property
    def name(self) -> str:
        """What scores, for records."""
        return f"length in {self.unit}"

    @property
    def names(self) -> tuple[str, ...]:
        """``("length",)``."""
        return ("length",)

    def score(self, items: Sequence[Item]) -> Scores:
        """The length of each response; every text has one."""
        return one_by_one("length", items, self._length)

    def _length(self, text: str) -> float:
        if self.unit == "tokens":
            return float(len(self.tokenizer(text, add_special_tokens=False)["input_ids"]))
        return float(len(text.split() if self.unit == "words" else text))
