"""Every vector of every method, compared field by field at the tolerance it states.

``PLURALIGN_ORACLES`` names another directory of files of the same form.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import adapters
import numpy as np
import pytest
import torch

from pluralign import catalog

WRITTEN = {"inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}


def numbers(value):
    """JSON has no infinity and no NaN: such numbers may be written as text."""
    if isinstance(value, str):
        return math.nan if value.lower() == "nan" else WRITTEN.get(value.lower(), value)
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


DIRECTORY = Path(os.environ.get("PLURALIGN_ORACLES") or Path(__file__).parent)
CASES = [
    (content["method"], case | {part: numbers(case[part]) for part in ("inputs", "expected")})
    for path in sorted(DIRECTORY.glob("*.json"))
    for content in [json.loads(path.read_text())]
    for case in content["cases"]
]

adapters.load()


def test_the_directory_has_cases():
    assert CASES, f"no *.json with cases in {DIRECTORY}"


@pytest.mark.filterwarnings("ignore::pluralign.errors.DataQualityWarning")
@pytest.mark.parametrize(
    ("method", "case"), CASES, ids=[f"{method}-{case['name']}" for method, case in CASES]
)
def test_oracle(method, case, record_property):
    name = f"{method}-{case['name']}"
    record_property("case", name)
    adapter = adapters.find(case)
    record_property("oracle", "unmatched" if adapter is None else "matched")
    if adapter is None:
        fields = f"inputs {sorted(case['inputs'])}, expected {sorted(case['expected'])}"
        if status(method) == "planned":
            pytest.skip(f"unmatched: {name} is of a planned method")
        pytest.fail(f"unmatched: no adapter serves {name} with {fields}")
    got = adapter.compute(case["inputs"])
    wrong = []
    for field, expected in case["expected"].items():
        if field not in got:
            wrong.append(f"{field}: not produced by {adapter.compute.__name__}")
        else:
            wrong += differences(
                plain(got[field]), expected, field, case.get("rtol", 1e-9), case.get("atol", 0.0)
            )
    assert not wrong, "\n".join(wrong)


def status(method):
    return next((m.status for m in catalog.METHODS if m.key == method), "unknown")


def plain(value):
    """Tensors, arrays and tuples as nested lists of Python values."""
    if isinstance(value, torch.Tensor):
        return value.detach().tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def differences(got, expected, where, rtol, atol):
    """What differs, one line each, with the path to the value."""
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or not set(expected) <= set(got):
            return [f"{where}: got {got!r}, expected the keys {sorted(expected)}"]
        return [
            line
            for key, item in expected.items()
            for line in differences(got[key], item, f"{where}.{key}", rtol, atol)
        ]
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{where}: got {got!r}, expected {len(expected)} values"]
        return [
            line
            for i, (one, other) in enumerate(zip(got, expected, strict=True))
            for line in differences(one, other, f"{where}[{i}]", rtol, atol)
        ]
    return [] if equal(got, expected, rtol, atol) else [f"{where}: got {got!r}, not {expected!r}"]


def equal(got, expected, rtol, atol):
    if expected is None or isinstance(expected, (bool, str)):
        return type(got) is type(expected) and got == expected
    if not isinstance(got, (int, float)):
        return False
    if math.isnan(expected):
        return math.isnan(got)
    if math.isinf(expected):
        return got == expected
    return got == expected or abs(got - expected) <= atol + rtol * abs(expected)


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        ([1.0, None], [1.0, None], True),
        ([1.0, None], [1.0, 0.0], False),
        (0.0, None, False),
        (True, 1.0, True),
        (1, True, False),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}, False),
        ({"a": [1.0], "b": 2}, {"a": [1.0]}, True),
        ({}, {"a": 1.0}, False),
        (1.0 + 1e-8, 1.0, False),
        (1.0 + 1e-10, 1.0, True),
        (float("nan"), float("nan"), True),
        (1.0, float("nan"), False),
        (float("inf"), float("inf"), True),
        (1.0, float("inf"), False),
        (float("-inf"), float("inf"), False),
        (float("inf"), numbers("Infinity"), True),
        (1.0, numbers("-inf"), False),
        (float("nan"), numbers("NaN"), True),
        ("left", numbers("left"), True),
    ],
)
def test_the_comparer_can_fail(got, expected, same):
    assert (differences(plain(got), expected, "x", 1e-9, 0.0) == []) is same
