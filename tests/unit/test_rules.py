"""Rules admit what they say, and every message is generated from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest

from pluralign import DataError, IncompatibleError, ParameterError
from pluralign.rules import (
    AnyOf,
    Kind,
    OneOf,
    Rule,
    Within,
    check,
    field_rules,
    nearest,
    shown,
    violations,
)


@pytest.mark.parametrize(
    ("rule", "good", "bad", "words"),
    [
        (Within(), [0, -1.5, 1e300], [math.nan, math.inf, "1", None, True], "a finite number"),
        (Within(0.0), [0, 0.0, 7], [-1e-9, -0.1], "a finite number >= 0.0"),
        (Within(0.0, closed="neither"), [1e-9], [0, 0.0, -1], "a finite number > 0.0"),
        (Within(high=1.0), [1, -5], [1.0000001], "a finite number <= 1.0"),
        (Within(high=1.0, closed="left"), [0.9], [1.0], "a finite number < 1.0"),
        (Within(0.0, 0.5, closed="left"), [0, 0.499], [0.5], "a finite number in [0.0, 0.5)"),
        (Within(0.0, 0.5, closed="right"), [0.5], [0.0], "a finite number in (0.0, 0.5]"),
        (Within(0.0, 1.0, closed="neither"), [0.5], [0, 1], "a finite number in (0.0, 1.0)"),
        (Within(1, integer=True), [1, 9], [1.0, 0, True, 2.5], "an integer >= 1"),
        (Within(0, 9, integer=True), [0, 9], [10, -1], "an integer in [0, 9]"),
        (OneOf("a", 1, True), ["a", 1, True], [1.0, "b", None, False], "one of 'a', 1, True"),
        (Kind(bool), [True, False], [1, 0, "True", None], "a bool"),
        (Kind(str), ["", "x"], [1, None, b"x"], "a str"),
        (
            AnyOf(Within(0.0, 0.5, closed="left"), OneOf("per_pair"), None),
            [0.2, "per_pair", None],
            [0.5, "per pair", [0.2], True],
            "a finite number in [0.0, 0.5) or one of 'per_pair' or None",
        ),
    ],
    ids=lambda value: value.wants() if isinstance(value, Rule) else None,
)
def test_a_rule_admits_what_it_says(rule, good, bad, words):
    assert rule.wants() == words
    assert [value for value in good if not rule.admits(value)] == []
    assert [value for value in bad if rule.admits(value)] == []


def test_numpy_floats_are_numbers():
    assert Within(0.0, 1.0).admits(np.float64(0.3))
    assert not Within(0.0, 1.0).admits(np.array([0.3]))


@dataclass(frozen=True, kw_only=True)
class Dial:
    speed: Annotated[float, Within(0.0, closed="neither")] = 1.0
    mode: Annotated[str, OneOf("slow", "fast")] = "slow"
    note: str = ""

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> Iterator[str]:
        if self.mode == "slow" and self.speed > 10:
            yield f"mode 'slow' goes up to 10; got speed {self.speed}."


def test_a_message_names_the_parameter_the_rule_and_the_value():
    with pytest.raises(ParameterError) as caught:
        Dial(speed=-2.0)
    assert str(caught.value) == "Dial.speed must be a finite number > 0.0; got -2.0."


def test_all_violations_are_shown_together():
    with pytest.raises(ParameterError) as caught:
        Dial(speed=math.nan, mode="quick")
    assert str(caught.value).splitlines() == [
        "Dial.speed must be a finite number > 0.0; got nan.",
        "Dial.mode must be one of 'slow', 'fast'; got 'quick'.",
    ]


def test_conflicts_are_asked_for_only_when_every_field_is_valid():
    with pytest.raises(ParameterError, match=r"^Dial: mode 'slow' goes up to 10; got speed 11\.$"):
        Dial(speed=11)
    with pytest.raises(ParameterError, match=r"^Dial.mode must be one of"):
        Dial(speed=11, mode="quick")
    assert violations(Dial(speed=11, mode="fast")) == []


def test_arguments_of_a_function_are_named_alone():
    @dataclass(frozen=True)
    class _Settings:
        n: Annotated[int, Within(1, integer=True)]

    assert violations(_Settings(0)) == ["n must be an integer >= 1; got 0."]


def test_fields_without_a_rule_are_free():
    assert list(field_rules(Dial)) == ["speed", "mode"]
    assert Dial(note=3).note == 3


def test_a_parameter_error_is_a_value_error_and_a_misfit_a_type_error():
    assert issubclass(ParameterError, ValueError)
    assert issubclass(DataError, ValueError)
    assert issubclass(IncompatibleError, TypeError)


def test_a_data_error_says_where():
    error = DataError("2 rows cannot be used.", source="pairs.jsonl", rows=[4, 7])
    assert str(error) == "pairs.jsonl: 2 rows cannot be used."
    assert error.rows == (4, 7)
    assert str(DataError("no file")) == "no file"


def test_nearest_name():
    valid = ["beta", "flip_rate", "link"]
    assert nearest("fliprate", valid) == "did you mean 'flip_rate'?"
    assert nearest("zzz", valid) == "valid names: beta, flip_rate, link."


def test_long_values_are_shortened():
    assert shown("x" * 200) == "'" + "x" * 78 + "…"
    assert len(shown(list(range(1000)))) == 80
    assert shown(0.5) == "0.5"
