"""The main job end to end: recipe in, run directory out; and what it proves over seeds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign import DataError, GroupFrame, Preferences, ranking_accuracy
from pluralign.cli.app import app
from pluralign.datasets import load_preferences
from pluralign.learn import score_pairs
from pluralign.learn.scratch import load_model, load_tokenizer
from pluralign.study import load_recipe, run_recipe
from pluralign.study.shaping import with_groups

ROOT = Path(__file__).parents[2]
SMALL = [
    "data.options={n_train: 600, n_eval: 300, n_sft: 400, n_gold: 100}",
    "model.hidden_size=32",
    "training.disable_tqdm=true",
    "sft.disable_tqdm=true",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "quick"
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", [*SMALL, f"output_dir={directory}"])
    return run_recipe(recipe, quiet=True)


def test_a_run_leaves_everything(run):
    left = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    assert {"run.json", "audit.json", "report.html"} <= left
    for name in ("start", "dpo", "rdpo"):
        assert f"models/{name}/model.safetensors" in left
    for name in ("dpo", "rdpo"):
        assert f"training/{name}/metrics.jsonl" in left
        assert f"training/{name}/run.json" in left
    assert not [name for name in left if name.endswith((".bin", ".pt", ".pkl"))]
    assert json.loads((run.directory / "audit.json").read_text()) == run.record
    page = (run.directory / "report.html").read_text()
    assert "worst-off" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_record_holds_models_differences_and_noise(run):
    models = {model["name"]: model for model in run.record["models"]}
    assert list(models) == ["start", "dpo", "rdpo"]
    assert [(c["a"], c["b"]) for c in run.record["comparisons"]] == [
        ("dpo", "start"), ("rdpo", "start"), ("rdpo", "dpo"),
    ]  # fmt: skip
    truth = {row["group"]: row["truth"] for row in run.record["noise"]}
    assert truth == {"north": 0.05, "south": 0.35}
    for row in run.record["noise"]:
        assert row["low"] <= row["estimate"] <= row["high"]
    groups = {cell["name"] for cell in models["dpo"]["frames"]["ranking_accuracy"]["groups"]}
    assert groups == {"north", "south"}
    assert models["rdpo"]["objective"]["flip_rate"] == "per_pair"
    assert models["start"]["objective"] is None


def test_both_models_start_from_the_same_reference(run):
    first = [
        json.loads((run.directory / f"training/{name}/metrics.jsonl").read_text().splitlines()[0])
        for name in ("dpo", "rdpo")
    ]
    assert first[0]["logps/chosen"] == pytest.approx(first[1]["logps/chosen"], abs=2.0)
    caches = [run.directory / f"training/{name}/reference" for name in ("dpo", "rdpo")]
    weights = [next(cache.glob("*.safetensors")).read_bytes() for cache in caches]
    assert weights[0] == weights[1]


def test_the_saved_model_gives_the_reported_figure(run):
    recipe = load_recipe(ROOT / "recipes" / "quickstart.yaml", SMALL)
    from pluralign import make_text_world

    world = make_text_world(seed=0, **recipe.data.options)
    path = run.directory / "models" / "rdpo"
    scored = score_pairs(load_model(path), world.eval, load_tokenizer(path))
    frame = GroupFrame(ranking_accuracy, scored)
    reported = run.record["models"][2]["frames"]["ranking_accuracy"]
    assert frame.overall.value == pytest.approx(reported["overall"]["value"])
    assert {g.name: g.value for g in frame.groups} == pytest.approx(
        {g["name"]: g["value"] for g in reported["groups"]}
    )


def test_audit_command_on_saved_models(run, tmp_path):
    from typer.testing import CliRunner

    from pluralign import make_text_world

    pairs = tmp_path / "pairs.jsonl"
    rows = make_text_world(seed=5, n_train=40, n_eval=40, n_gold=10, n_sft=5).eval.records()
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_preferences(pairs)) == 40
    models = [f"--model={run.directory / 'models' / name}" for name in ("dpo", "rdpo")]
    done = CliRunner().invoke(
        app,
        ["audit", str(pairs), *models, f"--reference={run.directory / 'models' / 'start'}",
         "--beta=0.5", f"--output={tmp_path / 'out'}", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [model["name"] for model in record["models"]] == ["dpo", "rdpo"]
    assert "reward_accuracy" in record["models"][0]["frames"]
    assert (tmp_path / "out" / "report.html").exists()


def test_pairs_without_groups_are_one_group():
    pairs = Preferences.from_records([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3)
    assert with_groups(pairs).group_sizes() == {"all": 3}
    named = pairs.with_columns(group=["x", "y", "y"])
    assert with_groups(named) is named


def test_unusable_data_cost_no_earlier_run(tmp_path):
    earlier = tmp_path / "out"
    earlier.mkdir()
    (earlier / "run.json").write_text("{}")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\noutput_dir: {earlier}\ndata: {{path: {tmp_path / 'bad.jsonl'}}}\n"
        "tune: {dpo: {objective: DPO}}\n"
    )
    with pytest.raises(DataError, match="rejected"):
        run_recipe(load_recipe(recipe), overwrite=True, quiet=True)
    assert (earlier / "run.json").read_text() == "{}"
    with pytest.raises(DataError, match="rejected"):
        run_recipe(load_recipe(recipe, [f"output_dir={tmp_path / 'new'}"]), quiet=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_rates_by_group_serve_the_noisier_group_better_over_three_seeds():
    done = subprocess.run(
        [sys.executable, "reproductions/rdpo.py", "--scale", "small", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    gain = record["summary"]["rdpo/south - dpo/south"]
    assert gain["low"] > 0
    assert gain["mean"] > 0.05
    for row in record["rows"]:
        assert abs(row["flip_rate/south"] - 0.35) < 0.12


def test_the_linear_reproduction_meets_the_cards_figures():
    sys.path.insert(0, str(ROOT / "reproductions"))
    try:
        from rdpo import linear_seed
    finally:
        sys.path.pop(0)
    rows = [linear_seed(seed) for seed in range(3)]
    mean = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    assert mean["rdpo"] - mean["dpo"] >= 0.10
    assert 0.8 <= mean["ratio_rdpo"] <= 1.25
    assert mean["rdpo_pooled"] < mean["dpo"]
