"""The command line: exit codes, JSON, speed of import, messages on standard error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pluralign.cli import app
from pluralign.cli.options import Reading

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


PAIRS = [
    {"prompt": f"{i}+1?", "chosen": str(i + 1), "rejected": "5", "group": "ab"[i % 2], "age": i % 3}
    for i in range(12)
]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return path


def test_every_command_that_reads_pairs_has_the_same_options():
    wanted = {
        "--format", "--group", "--annotator", "--domain", "--split", "--limit",
        "--drop-unusable", "--chat", "--option", "--allow-download",
    }  # fmt: skip
    for command in ("check", "run", "audit", "precompute"):
        said = call(command, "--help").stdout
        assert {name for name in wanted if name in said} == wanted, command


def test_groups_cross_and_limits_hold(pairs):
    done = call("check", pairs, "--group", "group", "--group", "age", "--limit", 10, "--json")
    record = json.loads(done.stdout)
    assert record["n_pairs"] == 10
    resolution = next(f for f in record["findings"] if f["key"] == "group_resolution")
    names = {group["name"] for group in resolution["data"]["groups"]}
    assert names == {f"{g} × {age}" for g in "ab" for age in range(3)}


def test_one_valued_groups_are_remarked_on(pairs, tmp_path):
    done = call("check", pairs, "--group", "prompt", "--limit", 1)
    assert "All 1 pairs are of the group" in done.stdout
    alone = tmp_path / "alone.jsonl"
    rows = [{k: row[k] for k in ("prompt", "chosen", "rejected")} for row in PAIRS]
    alone.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no group column" in call("check", alone).stdout


def test_findings_name_the_rows_of_the_file(tmp_path):
    """Also where rows before them were dropped, or where one row made several pairs."""
    rows = [dict(PAIRS[0]) | {"prompt": f"question {i} of its own"} for i in range(6)]
    rows[0]["chosen"] = " "
    rows[4]["rejected"] = rows[4]["chosen"]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("check", path, "--drop-unusable")
    assert "dropped 1 of 6 rows: row 0: chosen is blank" in done.stderr
    told = next(line for line in done.stdout.splitlines() if "Chosen equals rejected" in line)
    assert [cell.strip() for cell in told.split("│")][4] == "4"
    record = json.loads(call("check", path, "--drop-unusable", "--json").stdout)
    found = next(f for f in record["findings"] if f["key"] == "identical_responses")
    assert (found["rows"], found["ids"]) == ([3], ["4"])


def test_formats_take_their_options(tmp_path):
    row = {"instruction": "2+2?", "output_1": "4", "output_2": "5", "preference": 1}
    path = tmp_path / "farm.jsonl"
    votes = [row, row, {**row, "preference": 2}]
    path.write_text("".join(json.dumps(r) + "\n" for r in votes))
    each = call("check", path, "--format", "alpaca_farm", "--option", "votes=each", "--json")
    share = call("check", path, "--format", "alpaca_farm", "--option", "votes=share", "--json")
    sizes = [json.loads(done.stdout)["n_pairs"] for done in (each, share)]
    assert sizes == [3, 1], each.stderr + share.stderr


def test_options_are_settings_of_a_recipe_too(pairs, tmp_path):
    reading = Reading(group=["group"], limit=7, options=["votes=each"], chat=False)
    assert reading.settings() == ['data.group="group"', "data.limit=7", "data.options.votes=each"]
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: r\ndata: {{path: {pairs}}}\ntune: {{d: {{objective: DPO}}}}\n")
    assert call("check", recipe, "--group", "age", "--group", "group").returncode == 0
    done = call("check", recipe, "--limit", 0)
    assert done.returncode == 2
    assert "DataSection.limit must be" in done.stderr


ASKED = """
import pluralign.datasets.sources as sources
from pluralign import DataError
def fetched(name, *, streaming):
    import huggingface_hub.constants
    raise DataError(f"asked for {name}, offline {huggingface_hub.constants.HF_HUB_OFFLINE}")
sources.fetched = fetched
from pluralign.cli.app import main
main()
"""


@pytest.mark.parametrize("by", ["option", "recipe", "nothing"])
def test_downloads_are_allowed_before_anything_reads_the_setting(tmp_path, by):
    (tmp_path / "r.yaml").write_text(
        "name: r\ndata: {path: some/pairs, allow_download: true}\ntune: {d: {objective: DPO}}\n"
    )
    command = ["run", "r.yaml"] if by == "recipe" else ["check", "some/pairs"]
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *command, *(["--allow-download"] if by == "option" else [])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    refused = "nothing is downloaded unless that is allowed"
    expected = refused if by == "nothing" else "asked for some/pairs, offline False"
    assert expected in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'peft'", name="peft"), "pluralign[language]"),
        (ModuleNotFoundError("No module named 'gguf.x'", name="gguf.x"), "pluralign[smollm2]"),
        (ImportError("x needs pyarrow; pip install 'pluralign[language]'"), "x needs pyarrow"),
    ],
)
def test_an_absent_package_is_named_with_its_extra(monkeypatch, capsys, error, expected):
    def fails():
        raise error

    monkeypatch.setattr(app, "app", fails)
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ImportError("cannot import name 'x' from 'pluralign.data'", name="pluralign.data"),
        ModuleNotFoundError("No module named 'pluralign.gone'", name="pluralign.gone"),
        ImportError("libgone.so: cannot open shared object file", name="torch._C"),
    ],
)
def test_a_fault_of_the_installation_is_no_wrong_input(monkeypatch, error):
    def fails():
        raise error

    monkeypatch.setattr(app, "app", fails)
    with pytest.raises(ImportError):
        app.main()


def test_every_optional_package_has_its_extra():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    told = {*options_of(extras, "language"), *options_of(extras, "smollm2")}
    assert {"transformers", "peft", "datasets", "gguf"} <= told
    for package, extra in app.EXTRAS.items():
        assert extra in extras
        if package not in ("huggingface_hub", "pyarrow"):  # come with transformers and datasets
            assert {"sklearn": "scikit-learn"}.get(package, package) in options_of(extras, extra)


def options_of(extras, name):
    return {requirement.split(">")[0].split("<")[0] for requirement in extras[name]}


def test_a_limit_of_zero_is_not_taken_for_none():
    assert Reading(limit=0).settings() == ["data.limit=0"]


def test_checking_pairs_loads_no_model_library(pairs):
    code = (
        "import sys; from pluralign.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print({'transformers', 'datasets', 'peft'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(pairs), "--option", "votes=each", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.stderr.strip().endswith("set()"), done.stderr
