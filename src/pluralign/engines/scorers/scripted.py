"""A scorer that follows a rule, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ..sampling.base import Prompt
from .base import Item, Scores, check_items

Rule = Callable[[Prompt, str], Sequence[float] | None]


@final
@dataclass(frozen=True, kw_only=True)
class ScriptedScorer:
    """Scores by a function of prompt and response.

    Args:
        names: attributes, in the order of what ``rule`` returns.
        rule: values of one response, or ``None`` if it cannot be scored.
        name: for records.

    Example:
        >>> scorer = ScriptedScorer(names=("words",), rule=lambda p, r: [len(r.split())])
        >>> scorer.score([Item("Say two words.", "Two words.")]).values.tolist()
        [[2.0]]
    """

    names: tuple[str, ...]
    rule: Rule
    name: str = "scripted"

    def score(self, items: Sequence[Item]) -> Scores:
        """One row for each item; not ok where the rule gives ``None``."""
        found = [self.rule(item.prompt, item.response) for item in check_items(items)]
        failed = [np.nan] * len(self.names)
        values = [failed if row is None else list(row) for row in found]
        return Scores(self.names, values, [row is not None for row in found])
