"""The pages agree with the code: index up to date, links alive, examples run, commands exist."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pluralign
from pluralign import catalog

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pluralign.__path__, "pluralign.")
    if not module.name.endswith("__main__")
)


def test_generated_pages_and_links():
    done = subprocess.run(
        [sys.executable, "docs/build.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    if name.endswith(("_fused", ".fused_head")):
        pytest.importorskip("triton", reason="triton comes with torch for CUDA")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize(
    "part", [p for m in catalog.METHODS for p in m.parts], ids=lambda p: p.name
)
def test_listed_objects_exist_and_show_an_example(part):
    package, _, name = part.name.rpartition(".")
    thing = getattr(importlib.import_module(f"pluralign.{package}"), name)
    assert ">>>" in thing.__doc__
    if part.role == "objective":
        assert "References:" in thing.__doc__


def test_bibtex_of_every_method():
    entries = [method.paper.bibtex() for method in catalog.METHODS]
    keys = [re.match(r"@\w+\{([a-z0-9]+),", entry).group(1) for entry in entries]
    assert len(set(keys)) == len(keys)
    assert all(entry.count("{") == entry.count("}") for entry in entries)


def test_readme_names_only_commands_that_exist():
    from typer.main import get_command

    from pluralign.cli.app import app

    known = set(get_command(app).commands)
    used = set(re.findall(r"\bpluralign (?!\[)([a-z]+)\b", "".join(code_of(ROOT / "README.md"))))
    assert used <= known


def code_of(page):
    return re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), flags=re.S)
