"""Parameter rules as data, from which every error message is generated.

A dataclass states a rule beside the field and calls :func:`check` once::

    flip_rate: Annotated[float, Within(0.0, 0.5, closed="left")]

All violations of an object are collected, so a user mends a recipe in one go.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal, Protocol, cast, final, get_type_hints, runtime_checkable

from .errors import ParameterError

Closed = Literal["both", "left", "right", "neither"]


@runtime_checkable
class Rule(Protocol):
    """A condition on one value, able to say in words what it asks for."""

    def admits(self, value: object) -> bool:
        """Whether ``value`` obeys the rule."""
        ...

    def wants(self) -> str:
        """The rule in words, to stand after "must be"."""
        ...


@final
@dataclasses.dataclass(frozen=True)
class Within:
    """A finite number in an interval; ``None`` as a bound means unbounded on that side."""

    low: float | None = None
    high: float | None = None
    closed: Closed = "both"
    integer: bool = False

    def admits(self, value: object) -> bool:
        """Whether ``value`` is a finite number (an integer if asked) inside the interval."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.integer and not isinstance(value, int):
            return False
        if not math.isfinite(value):
            return False
        above = (
            self.low is None or value > self.low or (value == self.low and self._closed_at("left"))
        )
        below = (
            self.high is None
            or value < self.high
            or (value == self.high and self._closed_at("right"))
        )
        return above and below

    def wants(self) -> str:
        """For example ``a finite number in [0.0, 0.5)``."""
        noun = "an integer" if self.integer else "a finite number"
        if self.low is None and self.high is None:
            return noun
        if self.high is None:
            return f"{noun} {'>=' if self._closed_at('left') else '>'} {self.low}"
        if self.low is None:
            return f"{noun} {'<=' if self._closed_at('right') else '<'} {self.high}"
        left = "[" if self._closed_at("left") else "("
        right = "]" if self._closed_at("right") else ")"
        return f"{noun} in {left}{self.low}, {self.high}{right}"

    def _closed_at(self, side: str) -> bool:
        return self.closed in ("both", side)


@final
@dataclasses.dataclass(frozen=True, init=False)
class OneOf:
    """One of a few named choices."""

    choices: tuple[object, ...]

    def __init__(self, *choices: object) -> None:
        object.__setattr__(self, "choices", choices)

    def admits(self, value: object) -> bool:
        """Whether ``value`` equals a choice and has its type (``True`` is not ``1``)."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def wants(self) -> str:
        """For example ``one of 'none', 'token_mean'``."""
        return f"one of {', '.join(map(repr, self.choices))}"


@final
@dataclasses.dataclass(frozen=True)
class Kind:
    """An instance of a type, for values that have no range (``bool``, ``str``)."""

    type: type

    def admits(self, value: object) -> bool:
        """Whether ``value`` is an instance; a ``bool`` never passes for an ``int``."""
        return isinstance(value, self.type) and (self.type is bool or not isinstance(value, bool))

    def wants(self) -> str:
        """For example ``a bool``."""
        name = self.type.__name__
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@final
@dataclasses.dataclass(frozen=True, init=False)
class AnyOf:
    """At least one of several rules; ``AnyOf(None, rule)`` makes a value optional."""

    rules: tuple[Rule | None, ...]

    def __init__(self, *rules: Rule | None) -> None:
        object.__setattr__(self, "rules", rules)

    def admits(self, value: object) -> bool:
        """Whether any member rule admits ``value``."""
        return any(value is None if rule is None else rule.admits(value) for rule in self.rules)

    def wants(self) -> str:
        """The member rules joined by "or"."""
        return " or ".join("None" if rule is None else rule.wants() for rule in self.rules)


def violations(instance: object) -> list[str]:
    """Messages of every field rule that a dataclass instance breaks.

    A method ``conflicts()`` of the class, if there is one, adds messages about
    combinations of fields; it is asked only when every single field is valid.
    """
    # A private class holds the arguments of a function, whose caller never saw its name.
    name_of = type(instance).__name__
    private = name_of.startswith("_")
    owner = "" if private else f"{name_of}."
    found = [
        f"{owner}{name} must be {rule.wants()}; got {shown(getattr(instance, name))}."
        for name, rule in field_rules(type(instance)).items()
        if not rule.admits(getattr(instance, name))
    ]
    conflicts = getattr(instance, "conflicts", None)
    if not found and conflicts is not None:
        found = [message if private else f"{name_of}: {message}" for message in conflicts()]
    return found


def check(instance: object) -> None:
    """Raise one :class:`ParameterError` that lists all violations of ``instance``."""
    found = violations(instance)
    if found:
        raise ParameterError("\n".join(found))


@cache
def field_rules(cls: type) -> dict[str, Rule]:
    """The rule of each annotated field of a dataclass, in order of definition."""
    hints = get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cast(Any, cls))
    stated = {field.name: getattr(hints[field.name], "__metadata__", ()) for field in fields}
    return {
        name: rule
        for name, metadata in stated.items()
        for rule in metadata
        if isinstance(rule, Rule)
    }


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for an unknown name: ``; did you mean 'beta'?`` or the list of valid names."""
    names: Sequence[str] = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid names: {', '.join(names)}."


def shown(value: object, limit: int = 80) -> str:
    """``repr`` of a user's value, shortened so that an error stays readable."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
