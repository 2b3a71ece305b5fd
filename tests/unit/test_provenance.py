"""The record of a run names a command that can be typed again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOW = "from pluralign.provenance import command; print(command())"


def printed(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{cwd}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "tools").mkdir()
    for place in ("tools/show.py", "tools/__main__.py", "pluralign"):
        (tmp_path / place).write_text(SHOW)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tools/show.py", "--seed", "3"], "python tools/show.py --seed 3"),
        (["{here}/tools/show.py"], "python show.py"),
        (["-m", "tools", "a b"], "python -m tools 'a b'"),
        (["{here}/pluralign", "run", "r.yaml"], "pluralign run r.yaml"),
    ],
)
def test_the_command_is_as_one_types_it(scripts, arguments, expected):
    given = [part.format(here=scripts) for part in arguments]
    assert printed(*given, cwd=scripts) == expected


def test_the_module_is_the_program(scripts):
    """``python -m pluralign.cli`` is ``pluralign``."""
    script = (
        "import runpy, sys; import pluralign.cli.app as app\n"
        f"def main():\n    {SHOW}\n"
        "app.main = main; sys.argv = ['x', 'run', 'r.yaml']\n"
        "runpy.run_module('pluralign.cli', run_name='__main__', alter_sys=True)"
    )
    assert printed("-c", script, cwd=scripts) == "pluralign run r.yaml"
