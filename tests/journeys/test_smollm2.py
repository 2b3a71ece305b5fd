"""A real pretrained model, without a hub: load it, talk to it, audit it."""

import gzip
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from pluralign import Preferences
from pluralign.audit.groups import GroupFrame
from pluralign.audit.ranking import ranking_accuracy
from pluralign.engines import LogProbs
from pluralign.engines.packaged import load_packaged, packaged_file
from pluralign.learn import TrainingConfig, score_pairs, tokenise_pairs

ROOT = Path(__file__).parents[2]
PAIRS = ROOT.parent / "shared" / "data" / "hhh_alignment" / "pairs.jsonl.gz"
SMOLLM2 = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def smollm2():
    """Model and tokenizer, loaded where no connection can be made."""
    for package in ("accelerate", "gguf"):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    try:
        packaged_file(SMOLLM2)
    except ImportError as error:
        pytest.skip(str(error))

    def refuse(*args, **kwargs):
        raise AssertionError("loading a local model must not touch the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return load_packaged(SMOLLM2)


@pytest.fixture(scope="module")
def pairs():
    """The ten shortest pairs of each of the four groups, as conversations."""
    if not PAIRS.exists():
        pytest.skip("hhh_alignment is not at hand")
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows.sort(key=lambda row: len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"]))
    groups = sorted({row["group"] for row in rows})
    kept = [row for group in groups for row in [r for r in rows if r["group"] == group][:10]]
    return Preferences.from_records(
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
            "group": row["group"],
        }
        for row in kept
    )


@pytest.fixture(scope="module")
def scored(smollm2, pairs):
    config = TrainingConfig(per_device_eval_batch_size=8)
    return score_pairs(smollm2[0], pairs, smollm2[1], config=config)


def test_it_is_the_published_model_in_float32(smollm2):
    import torch

    model, tokenizer = smollm2
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    assert len(tokenizer) == model.config.vocab_size == 49_152


def test_it_knows_the_capital_of_france_and_stops(smollm2):
    model, tokenizer = smollm2
    turn = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**prompt, do_sample=False, max_new_tokens=30)[0]
    answer = answer[prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id
    assert len(answer) < 30


@pytest.mark.parametrize("form", ["auto", "two_rows", "shared", "packed"])
def test_engine_equals_the_model_s_own_forward(smollm2, pairs, form):
    import torch

    model, tokenizer = smollm2
    tokens = tokenise_pairs(pairs, tokenizer)
    index = [0, 10, 20]
    engine = LogProbs(model, form=form)
    with torch.no_grad():
        sums, lengths = engine(model, tokens.batch(index))
        for i, row in enumerate(index):
            prompt, *responses = (torch.as_tensor(part).long() for part in tokens.rows(row))
            for k, response in enumerate(responses):
                logits = model(torch.cat([prompt, response])[None]).logits[0].double()
                logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
                expected = logps.gather(1, response[:, None]).sum()
                assert float(sums[i, k]) == pytest.approx(float(expected), rel=1e-5)
                assert lengths[i, k] == len(response)


def test_audit_by_group(scored):
    frame = GroupFrame(ranking_accuracy, scored, by="group", n_bootstrap=200)
    record = frame.to_json()
    assert {row["name"]: row["n"] for row in record["groups"]} == dict.fromkeys(
        ("harmless", "helpful", "honest", "other"), 10
    )
    right = scored.chosen >= scored.rejected
    groups = np.array(scored.pairs.group)
    for row in record["groups"]:
        assert row["value"] == pytest.approx(right[groups == row["name"]].mean())
        assert row["low"] < row["value"] + 1e-12
        assert row["value"] < row["high"] + 1e-12
    values = {row["name"]: row["value"] for row in record["groups"]}
    assert values[record["worst"]] == min(values.values())
    assert record["overall"]["value"] == pytest.approx(right.mean())


def test_scores_are_those_of_a_model_that_reads_english(scored):
    # A wrong tokenizer or wrongly unpacked weights cost half a nat a token and more; a
    # model without knowledge would pay log(49152) = 10.8.
    loss = -np.concatenate([scored.chosen, scored.rejected]).sum()
    tokens = np.concatenate([scored.chosen_length, scored.rejected_length]).sum()
    assert 1.0 < loss / tokens < 3.4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*lost the oldest tokens:UserWarning")
@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_the_recipe_tunes_and_reports_before_and_after(smollm2, tmp_path):
    """The whole recipe: some ten minutes on two cores and 6 GB of memory."""
    from pluralign.study import load_recipe, run_recipe

    if not PAIRS.exists():
        pytest.skip("hhh_alignment is not at hand")
    settings = [f"output_dir={tmp_path / 'out'}", f"data.path={PAIRS}"]
    recipe = load_recipe(ROOT / "recipes" / "smollm2_hhh.yaml", settings)
    record = run_recipe(recipe, quiet=True).record
    start, tuned = record["models"]
    sizes = {"harmless": 18, "helpful": 16, "honest": 22, "other": 13}
    for model in (start, tuned):
        frame = model["frames"]["ranking_accuracy"]
        assert {cell["name"]: cell["n"] for cell in frame["groups"]} == sizes
        assert all(cell["low"] < cell["value"] < cell["high"] for cell in frame["groups"])
        print(model["name"], frame["overall"], frame["groups"])
    # A flip of two pairs by another processor's rounding is let pass.
    overall = start["frames"]["ranking_accuracy"]["overall"]["value"]
    assert overall == pytest.approx(33 / 69, abs=2.5 / 69)
    learnt = tuned["frames"]["reward_accuracy"]["overall"]
    print(learnt, tuned["frames"]["reward_accuracy"]["groups"])
    assert learnt["low"] > 0.5
    losses = [row["loss"] for row in tuned["training"] if "loss" in row]
    assert losses[-1] < losses[0] - 0.1
    differences = record["comparisons"][0]["frame"]
    assert {cell["name"] for cell in differences["groups"]} == set(sizes)
    assert differences["overall"]["low"] <= 0.0 <= differences["overall"]["high"]
    saved = tmp_path / "out" / "models" / "rdpo"
    assert (saved / "adapter_model.safetensors").is_file()
    assert "helpful" in (saved / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "report.html").is_file()
