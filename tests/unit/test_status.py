"""A method is called stable only where oracle, laws, reproduction and page exist."""

import json
from pathlib import Path

import pytest

from pluralign import catalog

ROOT = Path(__file__).parents[2]
STABLE = [m for m in catalog.METHODS if m.status == "stable" and not m.baseline]


def oracle_methods():
    files = (ROOT / "tests" / "oracles").glob("*.json")
    return {json.loads(path.read_text(encoding="utf-8"))["method"] for path in files}


def test_the_first_two_methods_are_stable():
    assert {"rdpo", "ranking_accuracy"} <= {method.key for method in STABLE}


@pytest.mark.parametrize("method", STABLE, ids=lambda method: method.key)
def test_a_stable_method_has_all_four(method):
    assert method.key in oracle_methods()
    assert (ROOT / "tests" / "laws" / f"test_{method.key}.py").exists()
    assert (ROOT / "reproductions" / f"{method.key}.py").exists()
    page = (ROOT / method.page).read_text(encoding="utf-8")
    assert f"python reproductions/{method.key}.py" in page
    assert "Provisional" not in page.splitlines()[2]
