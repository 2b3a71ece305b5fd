"""Every path of the speed benchmark runs to its end; the page shows what was recorded."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks"


def run(script, *options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_page_shows_the_records():
    done = run("speed_page.py", "--check")
    assert done.returncode == 0, done.stderr


PATHS = {
    "plain, with memory": ["--scenarios", "32,real"],
    "lora": ["--lora", "--scenarios", "32,256", "--no-memory"],
    "checkpointing": ["--checkpointing", "--scenarios", "32,1024", "--no-memory"],
    "four responses": ["--responses", "4", "--scenarios", "32,real", "--no-memory"],
}


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark, whose harness sets variables of its process."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    return importlib.import_module


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside TRL"])
def test_every_path_runs_to_its_end(path, alone):
    """The way of a GPU is the same but for the device; without TRL ours runs by itself."""
    if not alone:
        pytest.importorskip("trl", reason="needs the [trl] extra")
    options = [*PATHS[path], *(["--alone"] if alone else [])]
    done = run("preference_step.py", "--smoke", "--json", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    real = (SCRIPTS.parents[1] / "shared" / "data").is_dir() and "4" not in options
    asked = [s for s in options[options.index("--scenarios") + 1].split(",") if s != "real" or real]
    variants = [] if alone else ["trl_online", "trl_cached", "trl_compact"]
    found = [(row["prompt"], row["variant"]) for row in record["results"]]
    assert found == [(scenario, v) for scenario in asked for v in (*variants, "pluralign")]
    for row in record["results"]:
        assert min(row["seconds"]) > 0
        assert row["ideal"] >= 1.0
        assert row["tokens_per_s"] > 0
        assert 0 < row["rate_share"] < 1
        assert ("peak_mb" in row) == ("--no-memory" not in options)


def test_combinations_that_would_not_be_the_same_on_both_sides_are_refused():
    done = run("preference_step.py", "--responses", "4", "--lora")
    assert done.returncode == 2
    assert "leave --lora out" in done.stderr


@pytest.mark.slow
def test_the_sampling_benchmark_runs_to_its_end():
    small = ["--prompts", "2", "--n", "2", "--tokens", "3", "--direction-tokens", "2"]
    done = run("sampling.py", *small, "--directions", "2", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    names = ["ours", "generate", "generate_batched", "one_at_a_time"]
    assert [row["variant"] for row in record["answers"]] == names
    assert record["answers"][0]["times_ours"] == 1
    assert all(row["tokens_per_cpu_s"] > 0 for row in record["answers"])
    assert record["sampler"]["form"] == "cached"


def test_operations_are_those_counted_by_hand(script):
    """Two pairs of unequal length on a model whose sizes are small enough to count."""
    from types import SimpleNamespace

    import torch

    step = script("preference_step")
    shape = SimpleNamespace(vocab_size=7, hidden_size=3, num_hidden_layers=2)
    weights = [("model.layers.0.w", torch.zeros(5, 4)), ("model.layers.1.w", torch.zeros(5, 4))]
    weights += [("model.layers.0.norm", torch.zeros(9)), ("lm_head.weight", torch.zeros(7, 3))]
    model = SimpleNamespace(config=shape, named_parameters=lambda: weights)
    lengths = [(10, 4, 2), (3, 1, 1)]
    plain = SimpleNamespace(lora=False, checkpointing=False)
    seen = 10 * 10 / 2 + 4 * 12 + 2 * 11 + 3 * 3 / 2 + 2 * 3.5
    best = 2 * 3 * (40 * 21 + 2 * 2 * 3 * seen) + 2 * 3 * 21 * 8
    assert step.operations(model, lengths, "ideal", plain, 2) == best
    body = 40 * 4 * 14 + 2 * 2 * 3 * 4 * 14**2 / 2  # four rows as long as the longest
    for way, passes, head in (
        ("trl_online", 4, 5 * 4 * 14),
        ("trl_cached", 3, 4 * 4 * 14),
        ("trl_compact", 3, 4 * 8),
    ):
        expected = 2 * passes * body + 2 * head * 21
        assert step.operations(model, lengths, way, plain, 2) == expected
    frozen = SimpleNamespace(lora=True, checkpointing=True)
    best = 2 * 3 * (40 * 21 + 2 * 2 * 3 * seen) + 2 * 2 * 21 * 8
    assert step.operations(model, lengths, "ideal", frozen, 2) == best


def test_a_record_of_a_gpu_is_held_to_its_own_targets(script):
    page = script("speed_page")
    cells = [("1024", "trl_cached", 1.6), ("1024", "pluralign", 1.0)]
    cells += [("real", "trl_cached", 2.4), ("real", "pluralign", 1.0)]
    rows = [
        {"prompt": p, "variant": v, "pairs_per_s": 9.0, "faster": f, "ideal": 1.7, "share": 0.9}
        for p, v, f in cells
    ]
    for row in rows:
        row |= {"tokens_per_s": 1234, "rate_share": 0.412, "peak_mb": 100}
    versions = {"device": "a card", "torch": "1", "transformers": "2", "trl": "3"}
    more = {"lora": False, "checkpointing": False, "responses": 2, "seed": 0}
    record = {"device": "cuda", "machine": versions, "results": rows, **more}
    assert "| 1234 | 41% |" in page._table(record)
    told = page._targets(record)
    assert "### Targets on a GPU" in told
    assert "| 1024 | cached | >= 1.5 | 1.6 | met |" in told
    assert "| real | cached | >= 2.5 | 2.4 | missed |" in told
    assert "memory" not in told
