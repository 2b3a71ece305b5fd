"""``pluralign steer`` and ``pluralign sample``: killed at any point, nothing lost or twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pluralign.engines.packaged import packaged_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from stub_server import StubServer  # noqa: E402

COMMAND = [sys.executable, "-c", "from pluralign.cli.app import main; main()"]
WORLD = """
name: trial
seed: 3
world: {name: fading, kappa: 1.5, prompts: 120, batch: 2}
targets: {angles: [-20, 20, 45]}
selection: {k: 5, spread: 30}
coverage: {prompts: 20}
audit: {n_bootstrap: 200}
"""


def command(*words):
    return [*COMMAND, *map(str, words)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def done(*words, within=60):
    return subprocess.run(
        command(*words), env=environment(), capture_output=True, text=True, timeout=within
    )


def kill_when(path, enough, *words, within=50):
    """Start a command and kill it, without warning, when ``enough(text of path)``."""
    with subprocess.Popen(
        command(*words),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        give_up = time.monotonic() + within
        while not (path.exists() and enough(path.read_text())):
            assert run.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < give_up
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(directory):
    found = json.loads((directory / "steering.json").read_text())
    return {name: v for name, v in found.items() if name not in ("created", "provenance")}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "trial.yaml"
    path.write_text(WORLD)
    return path


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    ended = done("steer", recipe, "--set", f"output_dir={directory}")
    assert ended.returncode == 0, ended.stderr
    assert str(directory / "report.html") in ended.stdout
    return directory


def test_killed_twice_it_ends_as_if_it_never_was(recipe, whole, tmp_path):
    directory = tmp_path / "run"
    words = ("steer", recipe, "--set", f"output_dir={directory}")
    kill_when(directory / "coverage.jsonl", lambda text: text.count("\n") >= 1, *words)
    selections = directory / "selections.jsonl"
    kill_when(selections, lambda text: text.count("\n") >= 30, *words)
    kept = selections.read_bytes()
    # What a kill in the middle of a write leaves:
    selections.write_bytes(kept + b'{"target": 1, "prompt": 1')
    ended = done(*words)
    assert ended.returncode == 0, ended.stderr
    assert selections.read_bytes().startswith(kept)
    rows = lines(selections)
    keys = [(row["prompt"], row["target"]) for row in rows]
    assert len(keys) == len(set(keys)) == 120 * 3
    by_key = {(row["prompt"], row["target"]): row for row in lines(whole / "selections.jsonl")}
    assert {(row["prompt"], row["target"]): row for row in rows} == by_key
    assert lines(directory / "coverage.jsonl") == lines(whole / "coverage.jsonl")
    assert results(directory) == results(whole)


def test_an_ended_run_is_not_done_again(recipe, whole):
    before = (whole / "selections.jsonl").stat().st_mtime_ns
    ended = done("steer", recipe, "--set", f"output_dir={whole}")
    assert ended.returncode == 0, ended.stderr
    assert (whole / "selections.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "named"),
    [("seed=4", "seed: was 3, is 4"), ("selection.k=3", "selection.k: was 5, is 3")],
)
def test_another_recipe_does_not_go_on_with_it(recipe, whole, change, named):
    before = (whole / "steering.json").read_bytes()
    ended = done("steer", recipe, "--set", f"output_dir={whole}", "--set", change)
    assert ended.returncode == 2
    assert named in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert (whole / "steering.json").read_bytes() == before


def test_a_directory_of_something_else_stays(recipe, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for more in ((), ("--overwrite",)):
        ended = done("steer", recipe, "--set", f"output_dir={tmp_path}", *more)
        assert ended.returncode == 2
        assert "holds no steering run" in " ".join(ended.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def asked(folder, n):
    path = folder / "prompts.txt"
    path.write_text("".join(f"prompt {i}\n" for i in range(n)))
    return path


def sampling(prompts, output, url, **options):
    options = {"base_url": url, "backoff": 0.01, "retries": 1, "max_concurrency": 2, **options}
    told = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    return (
        "sample", prompts, "--output", output, "--sampler", "server", "--model", "stub",
        "-n", 3, "--batch", 4, *told,
    )  # fmt: skip


def test_a_server_that_dies_ends_clearly_and_loses_nothing(tmp_path):
    prompts, output = asked(tmp_path, 12), tmp_path / "candidates.jsonl"
    server = StubServer(fault=lambda number, _: 503 if number >= 17 else None, models_status=503)
    try:
        ended = done(*sampling(prompts, output, server.url))
        assert ended.returncode == 1, ended.stderr
        assert "run again to go on" in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr
        finished = len(server.bodies)
        server.fault, server.models_status = None, 200
        ended = done(*sampling(prompts, output, server.url))
        assert ended.returncode == 0, ended.stderr
        answered_before = 17
        assert len(server.bodies) - finished == 12 * 3 - answered_before
    finally:
        server.close()
    rows = lines(output)
    assert [row["prompt"] for row in rows] == [f"prompt {i}" for i in range(12)]
    assert all(len(row["candidates"]) == 3 for row in rows)


def test_sampling_killed_in_the_middle_asks_nothing_twice(tmp_path):
    prompts = asked(tmp_path, 12)
    server = StubServer()
    try:
        whole = tmp_path / "whole.jsonl"
        assert done(*sampling(prompts, whole, server.url)).returncode == 0
        server.bodies.clear()
        server.fault = lambda number, _: time.sleep(0.05)
        output = tmp_path / "killed.jsonl"
        journal = tmp_path / "killed.jsonl.journal"
        words = sampling(prompts, output, server.url)
        kill_when(journal, lambda text: text.count("\n") >= 14, *words)
        ended = done(*words)
        assert ended.returncode == 0, ended.stderr
        # Answers that were under way at the kill are the only ones asked for again.
        assert 36 <= len(server.bodies) <= 36 + 2
    finally:
        server.close()
    assert lines(output) == lines(whole)


STEERED = """
name: served
prompts: {path: PROMPTS, chat: true, batch: 2}
sampler: {name: server, model: stub, options: {backoff: 0.01, retries: 2, max_concurrency: 4}}
scorers:
  - {scorer: length, scale: {length: 3}}
  - {scorer: format, options: {patterns: {stone: sto, sea: sea}}, rename: {stone: hard}}
sampling: {max_tokens: 9}
targets: {directions: [[1, 0.5, 0.5], [0.2, 1, 0]]}
audit: {n_bootstrap: 100}
"""


def test_steering_through_a_server_is_killed_and_meets_a_dying_one(tmp_path):
    """Only answers under way at a kill are asked for again; what was kept is never asked twice."""
    recipe = tmp_path / "served.yaml"
    recipe.write_text(STEERED.replace("PROMPTS", str(asked(tmp_path, 4))))

    def words(directory, server):
        told = (f"output_dir={directory}", f"sampler.options.base_url={server.url}")
        return ("steer", recipe, *(word for one in told for word in ("--set", one)))

    server = StubServer(fault=lambda number, _: time.sleep(0.02))
    try:
        whole, directory = tmp_path / "whole", tmp_path / "run"
        ended = done(*words(whole, server))
        assert ended.returncode == 0, ended.stderr
        total = len(server.bodies)
        assert total == 4 * 2 * (5 + 5)
        server.bodies.clear()
        journal = directory / "candidates.jsonl"
        kill_when(journal, lambda text: text.count("\n") >= 25, *words(directory, server))
        time.sleep(0.1)
        begun = len(server.bodies)
        server.fault = lambda number, _: 503 if number >= begun + 20 else None
        server.models_status = 503
        ended = done(*words(directory, server))
        assert ended.returncode == 1, ended.stderr
        assert "run again to go on" in " ".join(ended.stderr.split())
        kept, finished = len(lines(journal)), len(server.bodies)
        assert kept >= begun - 4 + 20
        server.fault, server.models_status = None, 200
        ended = done(*words(directory, server))
        assert ended.returncode == 0, ended.stderr
        assert len(server.bodies) - finished == total - kept
    finally:
        server.close()
    assert lines(directory / "selections.jsonl") == lines(whole / "selections.jsonl")
    assert results(directory) == results(whole)


@pytest.mark.slow
def test_the_recipe_of_a_real_model_is_killed_and_goes_on(tmp_path):
    """Three prompts at two of its targets, to the bit as if it had not been killed."""
    try:
        packaged_file("smollm2-135m-instruct")
    except ImportError as error:
        pytest.skip(str(error))
    path = ROOT / "recipes" / "steer_smollm2.yaml"
    pool = ROOT.parent / "shared" / "data" / "alpaca_eval_pool" / "pool.jsonl.gz"
    if not pool.exists():
        pytest.skip("needs the shared prompts of AlpacaEval")
    small = {
        "prompts.path": pool,
        "prompts.limit": 3,
        "prompts.batch": 1,
        "targets.angles": [10, 45],
        "sampling.max_tokens": 24,
        "coverage.prompts": 2,
        "audit.n_bootstrap": 200,
    }
    told = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    whole, directory = tmp_path / "whole", tmp_path / "run"
    ended = done("steer", path, *told, "--set", f"output_dir={whole}", within=600)
    assert ended.returncode == 0, ended.stderr
    words = ("steer", path, *told, "--set", f"output_dir={directory}")
    selections = directory / "selections.jsonl"
    kill_when(selections, lambda text: text.count("\n") >= 2, *words, within=600)
    assert len(lines(selections)) < 6
    ended = done(*words, within=600)
    assert ended.returncode == 0, ended.stderr
    assert lines(selections) == lines(whole / "selections.jsonl")
    found = results(directory)
    assert found == results(whole)
    assert found["attributes"] == ["brevity", "readability"]
    assert len({example["rps"] for example in found["examples"]}) > 1
    for target in found["targets"]:
        assert target["generations"] == {"rps": 15, "baseline": 15}
        assert target["independent"]["n"] == 3
    assert "best of its neighbours" in (directory / "report.html").read_text(encoding="utf-8")
