"""Whether a response keeps to a form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

import numpy as np

from ...errors import ParameterError
from ...rules import nearest, shown
from .base import Item, Scores, check_items

Check: TypeAlias = Literal["json", "full_stop", "list"]

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?```", re.S | re.I)
_FULL_STOP = re.compile(r"[.!?…。！？][\"'”’)\]*_]*$")
_BULLET = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,3}[.)])[ \t]+\S", re.M)


@final
@dataclass(frozen=True, kw_only=True)
class FormatChecks:
    """Whether responses keep to a form: 1.0 where they do, 0.0 where they do not.

    Use it where a form is wanted that can be checked exactly; as an attribute it keeps a
    reward model from buying style with broken output. Each check is one attribute, in the
    order of the arguments.

    Args:
        checks: ``"json"`` (the whole response, or the one code block that it is, is JSON),
            ``"full_stop"`` (ends with ``. ! ? …``, quotes and brackets may follow), ``"list"``
            (two lines or more with a bullet or a number).
        forbidden: words or phrases that must not occur, in any case, as whole words; together
            they are the attribute ``no_forbidden``.
        patterns: regular expressions that must be found in the response, by attribute.

    Raises:
        ParameterError: for an unknown check, a pattern that is none, or no check at all.

    Example:
        >>> form = FormatChecks(checks=("full_stop",), forbidden=("sorry",))
        >>> form.names, form.score([Item("?", "I am Sorry.")]).values.tolist()
        (('full_stop', 'no_forbidden'), [[1.0, 0.0]])
    """

    checks: Sequence[Check] = ()
    forbidden: Sequence[str] = ()
    patterns: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = "format checks"

    def __post_init__(self) -> None:
        for check in self.checks:
            if check not in _CHECKS:
                known = nearest(str(check), _CHECKS)
                raise ParameterError(f"FormatChecks.checks has {shown(check)}; {known}")
        if isinstance(self.forbidden, str) or not all(word.strip() for word in self.forbidden):
            raise ParameterError(
                f"FormatChecks.forbidden must be a sequence of words; got {shown(self.forbidden)}."
            )
        for attribute, pattern in self.patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ParameterError(
                    f"FormatChecks.patterns[{attribute!r}] is no regular expression ({error}): "
                    f"{shown(pattern)}."
                ) from error
        if not self.names or len(set(self.names)) < len(self.names):
            raise ParameterError(
                f"FormatChecks needs checks with different names; got {list(self.names)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The checks, then ``no_forbidden`` if there are such words, then the patterns."""
        barred = ("no_forbidden",) if self.forbidden else ()
        return (*self.checks, *barred, *self.patterns)

    def score(self, items: Sequence[Item]) -> Scores:
        """1.0 or 0.0 for each check of each response."""
        kept = self._functions()
        rows = [[float(keeps(item.response)) for keeps in kept] for item in check_items(items)]
        return Scores(self.names, np.array(rows).reshape(-1, len(kept)))

    def _functions(self) -> list[Callable[[str], bool]]:
        found = [_CHECKS[check] for check in self.checks]
        if self.forbidden:
            barred = "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in self.forbidden)
            found.append(lambda text: re.search(barred, text, re.I) is None)
        return [*found, *map(_searcher, self.patterns.values())]


def _searcher(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.search(pattern, text) is not None


def _is_json(text: str) -> bool:
    fenced = _FENCE.fullmatch(text.strip())
    try:
        json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "json": _is_json,
    "full_stop": lambda text: _FULL_STOP.search(text.rstrip()) is not None,
    "list": lambda text: len(_BULLET.findall(text)) >= 2,
}
