"""The main job end to end: recipe in, run directory out; and what it proves over seeds."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pluralign import DataError, GroupFrame, Preferences, ranking_accuracy
from pluralign.cli.app import app
from pluralign.datasets import load_preferences, train_eval_split
from pluralign.learn import score_pairs
from pluralign.learn.saved import load_model, load_tokenizer
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


def test_what_was_within_reach_follows_from_the_labels_confidence(run):
    """The world holds out true labels, so that the exact optimum ranks nearly all rightly."""
    start, *tuned = run.record["models"]
    assert start["summary"]["idealised"] is None  # nothing before it to be held against
    for model in tuned:
        summary = model["summary"]
        assert summary["alpha_from"] == "flip_rate"
        assert summary["idealised"]["betas"] == [0.5]
        assert summary["idealised"]["median"] > 0.95
        reached = summary["ranking_accuracy"]["value"]
        assert summary["idealised"]["gap"]["median"] == pytest.approx(
            100 * (summary["idealised"]["median"] - reached)
        )
    assert "idealised accuracy" in (run.directory / "report.html").read_text()


def test_every_model_has_its_card_with_the_figures_of_the_audit(run):
    from huggingface_hub import ModelCard

    for model in run.record["models"]:
        text = (run.directory / "models" / model["name"] / "README.md").read_text()
        card = ModelCard(text)
        assert "pluralign" in card.data.tags
        for group in model["frames"]["ranking_accuracy"]["groups"]:
            assert f"| {group['name']} | {group['n']} | {100 * group['value']:.1f} % |" in text
    assert "This is a small model trained from scratch" in (
        run.directory / "models" / "start" / "README.md"
    ).read_text(encoding="utf-8")


def test_the_data_were_checked_and_the_report_shows_it(run):
    audit = run.record["data_audit"]
    assert audit["n_pairs"] == 600
    assert audit["settings"]["split"]
    assert all(len(finding["rows"]) <= 50 for finding in audit["findings"])
    page = (run.directory / "report.html").read_text()
    assert audit["findings"]
    for finding in audit["findings"]:
        assert finding["title"] in page


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


FILE_RUN = """
name: r
data: {path: PAIRS, eval_share: 0.3, group: [group, age]}
tune: {dpo: {objective: DPO}, simpo: {objective: SimPO}}
training: {max_steps: 1, disable_tqdm: true, bf16: false}
"""
NEW = "model: {hidden_size: 16, num_layers: 1, num_heads: 2, vocab_size: 300}\n"


def file_recipe(folder, more=NEW):
    rows = [
        {"prompt": f"{i} + 1?", "chosen": f" {i + 1}", "rejected": " no", "group": "ab"[i % 2],
         "age": "old" if i % 3 else "young"}
        for i in range(36)
    ]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "r.yaml"
    path.write_text(FILE_RUN.replace("PAIRS", str(folder / "pairs.jsonl")) + more)
    return path


def test_runs_share_a_reference_and_crossed_groups(tmp_path, monkeypatch):
    from pluralign.learn import references

    computed = []
    compute = references.ReferenceCache.compute.__func__

    def counted(cls, *args, **kwargs):
        computed.append(1)
        return compute(cls, *args, **kwargs)

    monkeypatch.setattr(references.ReferenceCache, "compute", classmethod(counted))
    path = file_recipe(tmp_path)
    records = []
    for name in ("one", "two"):
        settings = [f"output_dir={tmp_path / name}", f"reference={tmp_path / 'shared'}"]
        records.append(run_recipe(load_recipe(path, settings), quiet=True).record)
        stored = json.loads((tmp_path / name / "training/dpo/run.json").read_text())
        assert stored["reference"] == "cache"
    assert len(computed) == 1
    assert (tmp_path / "shared" / "reference.json").exists()
    plain = run_recipe(load_recipe(path, [f"output_dir={tmp_path / 'own'}"]), quiet=True).record
    frames = [record["models"][1]["frames"] for record in (*records, plain)]
    assert frames[0] == frames[1] == frames[2]
    groups = {cell["name"] for cell in frames[0]["ranking_accuracy"]["groups"]}
    assert groups == {"a × old", "a × young", "b × old", "b × young"}


@pytest.fixture
def packaged(monkeypatch):
    """A small model in the place of the one that a package ships."""
    from pluralign.learn import saved, tiny_model, train_tokenizer
    from pluralign.study import loading

    tokenizer = train_tokenizer(["1 + 1? 2 no"] * 3, vocab_size=270)

    def load(name, *, dtype=torch.float32):
        assert name == "smollm2-135m-instruct"
        return tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2), tokenizer

    for module in (loading, saved):
        monkeypatch.setattr(module, "load_packaged", load)
    return load


def test_a_packaged_base_is_named_not_copied(tmp_path, packaged):
    from pluralign.study import load_named

    more = "model: {packaged: smollm2-135m-instruct, lora_rank: 2}\n"
    path = file_recipe(tmp_path, more)
    settings = [f"output_dir={tmp_path / 'out'}", "training.learning_rate=0.1",
                "training.warmup_ratio=0", "training.max_steps=3"]  # fmt: skip
    result = run_recipe(load_recipe(path, settings), quiet=True)
    saved = result.directory / "models" / "dpo"
    assert not (saved / "base").exists()
    assert "embed_tokens" not in str(sorted(weights_of(saved / "adapter_model.safetensors")))
    card = (saved / "README.md").read_text()
    assert "library_name: peft" in card
    assert "a low-rank adapter of rank 2" in card
    model, tokenizer = load_named(saved)
    section = load_recipe(path).data
    pairs = load_preferences(section.path, group=section.group)
    _, held_out = train_eval_split(pairs, section.eval_share, seed=0)
    before = score_pairs(packaged("smollm2-135m-instruct")[0], held_out, tokenizer)
    after = score_pairs(model, held_out, tokenizer)
    assert np.abs(before.chosen - after.chosen).max() > 0.01
    reported = result.record["models"][1]["frames"]["ranking_accuracy_normalised"]
    frame = GroupFrame(partial(ranking_accuracy, normalise="token_mean"), after)
    assert {g.name: g.value for g in frame.groups} == pytest.approx(
        {g["name"]: g["value"] for g in reported["groups"]}
    )
    base = run_recipe(
        load_recipe(path, [f"output_dir={tmp_path / 'sft'}", "sft={max_steps: 1, bf16: false}"]),
        quiet=True,
    )
    assert (base.directory / "models" / "dpo" / "base").is_dir()


def weights_of(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def test_the_untuned_model_is_audited_by_name(tmp_path, packaged, monkeypatch):
    from pluralign import ParameterError
    from pluralign.study import audit_pairs, auditing
    from pluralign.study.auditing import model_names

    name = "packaged:smollm2-135m-instruct"
    monkeypatch.setattr(auditing, "named_tokenizer", lambda _: packaged(name[9:])[1])
    file_recipe(tmp_path)
    pairs = load_preferences(tmp_path / "pairs.jsonl")
    record = audit_pairs(pairs, [name], output=tmp_path / "out").record
    assert [model["name"] for model in record["models"]] == ["smollm2-135m-instruct"]
    direct = score_pairs(*(packaged(name[9:])[0], pairs, packaged(name[9:])[1]))
    shown = record["models"][0]["frames"]["ranking_accuracy"]["overall"]["value"]
    assert shown == pytest.approx((direct.chosen >= direct.rejected).mean())
    assert record["data_audit"]["n_pairs"] == 36
    with pytest.raises(ParameterError, match="each given once"):
        model_names([name, name])


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
