"""The command line: exit codes, JSON, speed of import, messages on standard error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "pluralign.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [("list",), ("show", "rdpo"), ("cite", "rdpo"), ("env",)])
def test_json_is_the_only_output(arguments):
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert call(*arguments).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "rdpp"), "did you mean 'rdpo'?"),
        (("cite", "nothing-like-it"), "no method is called"),
        (("run", "none.yaml"), "there is no recipe at none.yaml"),
        (("check", "none.yaml"), "there is no recipe at none.yaml"),
        (("check", "none.jsonl"), "none.jsonl"),
        (("run",), "Missing argument"),
        (("list", "--jsn"), "No such option"),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(arguments, expected):
    done = call(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("code", ["import pluralign", "import pluralign.cli.app"])
def test_light_imports_load_no_heavy_package(code):
    heavy = "{'torch', 'transformers', 'scipy', 'datasets', 'numpy'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print({heavy})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stdout.strip() == "set()"


def test_check_reads_a_recipe(tmp_path):
    done = call("check", "recipes/quickstart.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["objectives"]) == {"dpo", "rdpo"}
    done = call("check", "recipes/quickstart.yaml", "--set", "tune.dpo.bta=1")
    assert done.returncode == 2
    assert "tune.dpo.bta: unknown key; did you mean 'beta'?" in done.stderr


def test_an_output_directory_is_never_overwritten_unasked(tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    arguments = ("run", "recipes/quickstart.yaml", "--set", f"output_dir={tmp_path}")
    done = call(*arguments)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    done = call(*arguments, "--overwrite")
    assert done.returncode == 2
    assert (tmp_path / "precious.txt").read_text() == "keep me"
