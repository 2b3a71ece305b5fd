"""Adding a preference loss touches five files and no trainer or test (CONTRIBUTING.md)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LOSS = '''"""A toy loss: logistic with a quadratic leash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

from torch import Tensor
from torch.nn.functional import softplus

from ..rules import Within
from ..scores import PairScores
from .base import PairObjective


@final
@dataclass(frozen=True, kw_only=True)
class Leash(PairObjective):
    """Logistic loss with a quadratic leash on the margin.

    Use it never; it exists to be added. ``loss = softplus(-z) + tilt * z ** 2``.

    Args:
        tilt: strength of the leash, in [0, 1].

    Example:
        >>> Leash(tilt=0.5).tilt
        0.5

    References:
        None.
    """

    tilt: Annotated[float, Within(0.0, 1.0)] = 0.5

    def pair_loss(self, margin: Tensor, scores: PairScores) -> Tensor:
        """Loss of shape ``(B,)``."""
        z = self.beta * margin
        return softplus(-z) + self.tilt * z**2
'''

ENTRY = """METHODS: tuple[Method, ...] = (
    Method(
        key="leash",
        title="Leashed logistic loss",
        verb="learn",
        problem="Show how a loss is added.",
        paper=Paper(authors=("Nobody",), title="A toy", year=2026),
        parts=(Part("objectives.Leash", "objective", ({}, {"tilt": 0.0})),),
        needs="pairs, a reference model",
        extra="language",
        status="provisional",
    ),
"""


def reference_loss(z, tilt):
    from math import exp, log1p

    return (log1p(exp(-z)) if z > 0 else -z + log1p(exp(z))) + tilt * z * z


def oracle():
    cases = []
    for index, (margin, beta, tilt) in enumerate(
        [(0.0, 0.1, 0.5), (3.0, 0.1, 0.5), (-3.0, 0.5, 0.0), (40.0, 0.2, 1.0), (-9000.0, 0.1, 0.25)]
    ):
        cases.append(
            {
                "name": f"case_{index}",
                "inputs": {
                    "objective": "Leash",
                    "options": {"beta": beta, "tilt": tilt},
                    "chosen": [margin],
                    "rejected": [0.0],
                    "ref_chosen": [0.0],
                    "ref_rejected": [0.0],
                },
                "expected": {"loss": [reference_loss(beta * margin, tilt)]},
                "rtol": 1e-12,
                "atol": 1e-12,
            }
        )
    return {"method": "leash", "cases": cases}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the tree with the toy loss added to five files."""
    target = tmp_path_factory.mktemp("copy") / "pluralign"
    for name in ("src", "tests", "docs", "recipes", "changes"):
        shutil.copytree(
            ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, target / path.name)
    package = target / "src" / "pluralign"
    (package / "objectives" / "leash.py").write_text(LOSS)
    face = package / "objectives" / "__init__.py"
    text = face.read_text().replace(
        "from .dpo import", "from .leash import Leash\nfrom .dpo import", 1
    )
    face.write_text(text.replace("__all__ = [", '__all__ = [\n    "Leash",', 1))
    catalog = package / "catalog.py"
    catalog.write_text(catalog.read_text().replace("METHODS: tuple[Method, ...] = (\n", ENTRY, 1))
    (target / "tests" / "oracles" / "leash.json").write_text(json.dumps(oracle()))
    (target / "docs" / "methods" / "leash.md").write_text("# Leashed logistic loss\n")
    return target


def run(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop("PLURALIGN_ORACLES", None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_five_files_are_touched(copy):
    changed = {
        str(path.relative_to(copy))
        for name in ("src", "tests", "docs", "recipes", "changes")
        for path in (copy / name).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (
            not (ROOT / path.relative_to(copy)).exists()
            or path.read_bytes() != (ROOT / path.relative_to(copy)).read_bytes()
        )
    }
    assert changed == {
        "src/pluralign/objectives/leash.py",
        "src/pluralign/objectives/__init__.py",
        "src/pluralign/catalog.py",
        "tests/oracles/leash.json",
        "docs/methods/leash.md",
    }


def test_the_contract_suite_takes_it_up(copy):
    done = run(
        copy, "-m", "pytest", "-q", "-k", "Leash or leash", "tests/contracts/test_objectives.py",
        "tests/oracles", "-p", "no:cacheprovider",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 matched, 0 unmatched" in done.stdout


def test_the_command_line_knows_it(copy):
    done = run(copy, "-m", "pluralign.cli", "show", "leash", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"] == ["pluralign.objectives.Leash"]
