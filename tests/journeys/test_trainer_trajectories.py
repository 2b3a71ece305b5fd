"""Ways of running that must not matter: batches, resume, padding, adapters, processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from pluralign import DataError, DataQualityWarning, IncompatibleError, ParameterError
from pluralign.engines import LogProbs, ReferenceCache, RewardModel
from pluralign.learn import PreferenceTrainer, RewardTrainer, SFTTrainer
from pluralign.learn.adapters import lora_config
from pluralign.learn.saved import load_model, load_tokenizer
from pluralign.learn.steps import PairStep
from pluralign.objectives import DPO, RDPO, SimPO


class Gradients(TrainerCallback):
    """Keeps the gradients of the first optimiser step."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.found = {n: p.grad.clone() for n, p in model.named_parameters()}


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def logged(folder, name="loss"):
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row[name] for row in map(json.loads, lines) if name in row}


def preference(task, pairs, folder, *, objective=None, model=None, **more):
    named = ("callbacks", "eval_pairs", "reference", "peft_config")
    settings = {name: more.pop(name) for name in list(more) if name not in named}
    return PreferenceTrainer(
        model or task.model(),
        objective or DPO(),
        pairs,
        tokenizer=task.tokenizer,
        config=task.config(folder, **settings),
        **more,
    )


# One optimiser step over all pairs, split in ways that leave full and uneven micro-batches.
SPLITS = [(8, [(8, 1), (4, 2), (2, 4), (3, 3)]), (7, [(7, 1), (3, 3), (2, 4), (1, 7)])]


@pytest.mark.parametrize("kind", ["preference", "reward", "sft"])
@pytest.mark.parametrize(("size", "splits"), SPLITS)
def test_micro_batches_are_one_batch(task, tmp_path, kind, size, splits):
    pairs = task.pairs(size)
    if kind != "sft":
        pairs = pairs.with_columns(weight=np.linspace(0.2, 3.0, size))
    found = []
    for batch, steps in splits:
        gradients = Gradients()
        config = task.config(
            tmp_path / f"{batch}",
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=steps,
            max_grad_norm=0.0,
            max_steps=1,
        )
        common = {"tokenizer": task.tokenizer, "config": config, "callbacks": [gradients]}
        if kind == "preference":
            trainer = PreferenceTrainer(task.model(), DPO(beta=0.5), pairs, **common)
        elif kind == "reward":
            torch.manual_seed(0)
            trainer = RewardTrainer(RewardModel.from_causal(task.model()), pairs, **common)
        else:
            trainer = SFTTrainer(task.model(), pairs, **common)
        trainer.fit()
        found.append((logged(tmp_path / f"{batch}")[1], gradients.found))
    whole_loss, whole = found[0]
    for loss, split in found[1:]:
        assert loss == pytest.approx(whole_loss, rel=1e-6)
        for name, gradient in whole.items():
            scale = gradient.abs().max().item()
            torch.testing.assert_close(split[name], gradient, rtol=1e-5, atol=1e-5 * scale)


def test_imitation_loss_is_a_mean_over_tokens(task, tmp_path):
    pairs = task.pairs(6)
    trainer = SFTTrainer(
        task.model(), pairs, tokenizer=task.tokenizer, config=task.config(tmp_path)
    )
    scored = trainer.scores(pairs)
    by_hand = -scored.chosen.sum() / scored.chosen_length.sum()
    assert trainer.evaluate(pairs)["eval_loss"] == pytest.approx(by_hand, rel=1e-6)


def test_weights_are_relative(task, tmp_path):
    """Weight 0 removes a pair, and only ratios of weights matter."""
    pairs = task.pairs(6)
    kept = pairs.select([0, 2, 4])
    weighted = pairs.with_columns(weight=np.array([5.0, 0, 5.0, 0, 5.0, 0]))
    gradients = []
    for i, data in enumerate([kept, weighted]):
        gradients.append(Gradients())
        settings = {"per_device_train_batch_size": 6, "max_grad_norm": 0.0, "max_steps": 1}
        preference(task, data, tmp_path / str(i), callbacks=[gradients[-1]], **settings).fit()
    for name, gradient in gradients[0].found.items():
        torch.testing.assert_close(gradients[1].found[name], gradient, rtol=1e-4, atol=1e-7)
    with pytest.raises(DataError, match="all weights are 0"):
        preference(task, pairs.with_columns(weight=np.zeros(6)), tmp_path / "none")


BATCHES = {
    "by_length": {"train_sampling_strategy": "group_by_length"},
    "tokens": {"per_device_train_batch_tokens": 40, "per_device_eval_batch_tokens": 60},
    "balanced": {"group_sampling": "balanced"},
}


@pytest.mark.parametrize("settings", BATCHES.values(), ids=BATCHES)
def test_resume_with_other_batches_is_the_uninterrupted_run(task, tmp_path, settings):
    """Interrupted in the second epoch, whose batches are not those of the first."""
    pairs = task.pairs(24)

    def run(folder, **more):
        usual = {"per_device_train_batch_size": 3, "num_train_epochs": 3, "save_steps": 1}
        trainer = preference(task, pairs, folder, **usual, **settings, **more)
        trainer.fit()
        return trainer

    whole = run(tmp_path / "whole")
    steps = len(whole.host._batches)
    assert steps > 3
    run(tmp_path / "parts", callbacks=[StopAt(steps + 3)])
    checkpoint = str(tmp_path / "parts" / f"checkpoint-{steps + 2}")
    resumed = run(tmp_path / "parts", resume_from_checkpoint=checkpoint)
    assert len(logged(tmp_path / "whole")) == 3 * steps
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")
    np.testing.assert_array_equal(resumed.scores(pairs).chosen, whole.scores(pairs).chosen)


@pytest.mark.parametrize("settings", BATCHES.values(), ids=BATCHES)
def test_an_epoch_in_one_step_has_one_gradient(task, tmp_path, settings):
    """However batches are made, the loss of a step is the mean over its pairs."""
    pairs = task.pairs(8)
    found = []
    for i, more in enumerate([{}, settings]):
        seen = Gradients()
        usual = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 8, "max_steps": 1}
        trainer = preference(
            task, pairs, tmp_path / str(i), callbacks=[seen], max_grad_norm=0.0, **usual, **more
        )
        trainer.fit()
        found.append((logged(tmp_path / str(i), "logps/chosen")[1], seen.found))
        drawn = sorted(np.concatenate(trainer.host._batches.batches(0))) if more else None
    if "group_sampling" not in settings:
        assert drawn == list(range(8))
        assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
        for name, gradient in found[0][1].items():
            scale = gradient.abs().max().item()
            torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-5, atol=1e-5 * scale)
    else:
        group = np.array(pairs.group)[drawn]
        assert (group == "north").sum() == (group == "south").sum() == 4


def test_evaluation_in_token_budgets_is_the_same(task, tmp_path):
    pairs, found = task.pairs(11), []
    for i, settings in enumerate([{}, {"per_device_eval_batch_tokens": 50}]):
        trainer = preference(
            task, pairs, tmp_path / str(i), eval_pairs=task.pairs(9, 1), **settings
        )
        metrics = trainer.evaluate()
        assert metrics["eval_rewards/margins"] == 0.0
        scored = trainer.scores(pairs)
        np.testing.assert_array_equal(scored.ref_chosen, scored.chosen)
        found.append({k: v for k, v in metrics.items() if "/" in k})
    assert found[1] == pytest.approx(found[0], abs=1e-5)


def test_forms_give_one_trajectory(task, tmp_path):
    """Every layout, chunk and number of threads, and checkpointing: the same loss sequence."""
    pairs, losses = task.pairs(12), []
    ways = [
        {"form": "two_rows"},
        {"form": "shared"},
        {"form": "packed"},
        {"form": "packed", "row_tokens": 200, "chunk_tokens": 3},
        {"form": "auto"},
    ]
    for i, way in enumerate([*ways, {"form": "auto"}, {"form": "two_rows"}]):
        settings = {"gradient_checkpointing": i >= len(ways)}
        trainer = preference(task, pairs, tmp_path / str(i), num_train_epochs=3, **settings)
        trainer.host.step = PairStep(trainer.objective, LogProbs(trainer.model, **way))
        trainer.fit()
        losses.append(list(logged(tmp_path / str(i)).values()))
    assert losses[0][-1] < 0.66
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize("adapter", [None, 4], ids=["full", "lora"])
def test_resumed_run_is_the_uninterrupted_one(task, tmp_path, adapter):
    pairs = task.pairs(12)

    def run(folder, **more):
        peft = None if adapter is None else lora_config(adapter)
        settings = {"per_device_train_batch_size": 2, "num_train_epochs": 1.5, "save_steps": 4}
        trainer = preference(task, pairs, folder, peft_config=peft, **settings, **more)
        trainer.fit()
        return trainer

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", callbacks=[StopAt(5)])
    assert max(logged(tmp_path / "parts")) == 5
    resumed = run(
        tmp_path / "parts", resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-4")
    )
    expected = logged(tmp_path / "whole")
    assert len(expected) == 9
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert sum("loss" in json.loads(line) for line in lines) == 9  # step 5 once, not twice
    assert logged(tmp_path / "parts") == expected  # to the last bit, rows 1-4 from the first part
    np.testing.assert_array_equal(resumed.scores(pairs).chosen, whole.scores(pairs).chosen)
    np.testing.assert_array_equal(resumed.scores(pairs).ref_chosen, whole.scores(pairs).ref_chosen)


def test_padding_side_and_form_do_not_matter(task, tmp_path):
    pairs = task.pairs(12)
    losses = []
    for i, options in enumerate(
        [{}, {"form": "two_rows"}, {"form": "two_rows", "padding_side": "left"}]
    ):
        trainer = preference(task, pairs, tmp_path / str(i), num_train_epochs=2)
        trainer.host.step = PairStep(trainer.objective, LogProbs(trainer.model, **options))
        trainer.fit()
        losses.append(list(logged(tmp_path / str(i)).values()))
    assert losses[0][-1] < 0.68
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize("adapter", [None, 4], ids=["full", "lora"])
def test_implicit_reward_is_zero_at_step_0(task, tmp_path, adapter):
    pairs = task.pairs(10)
    peft = None if adapter is None else lora_config(adapter)
    trainer = preference(task, pairs, tmp_path, eval_pairs=task.pairs(9, seed=1), peft_config=peft)
    before = trainer.evaluate()
    for name in (
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "log_ratio/chosen_per_token",
    ):
        assert before[f"eval_{name}"] == 0.0, name
    trainer.fit()
    # Training batches are shuffled, so rounding of another batch shape may show.
    assert logged(tmp_path)[1] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(logged(tmp_path, "rewards/margins")[1]) < 1e-5
    assert logged(tmp_path)[3] != pytest.approx(math.log(2), abs=1e-4)


def test_lora_moves_only_adapters(task, tmp_path):
    pairs = task.pairs(12)
    base = task.model()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    peft = lora_config(4)
    trainer = preference(task, pairs, tmp_path, model=base, learning_rate=1e-2, peft_config=peft)
    start = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.fit()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, start[n])}
    assert moved
    assert all("lora_" in name for name in moved)
    with trainer.model.disable_adapter():
        for name, value in trainer.model.get_base_model().state_dict().items():
            if "lora_" not in name:
                assert torch.equal(value, before[name.replace(".base_layer", "")])
    # Pairs never seen before have their reference still: the model without its adapter.
    other = task.pairs(5, seed=9)
    fresh = preference(task, other, tmp_path / "fresh").scores(other)
    np.testing.assert_allclose(trainer.scores(other).ref_chosen, fresh.chosen, atol=1e-5)


def test_saved_adapter_needs_nothing_else(task, tmp_path):
    pairs = task.pairs(12)
    trainer = preference(task, pairs, tmp_path, learning_rate=1e-2, peft_config=lora_config(4))
    trainer.fit()
    trainer.save(tmp_path / "model")
    loaded = preference(
        task, pairs, tmp_path / "again", model=load_model(tmp_path / "model"), objective=SimPO()
    )
    np.testing.assert_array_equal(loaded.scores(pairs).chosen, trainer.scores(pairs).chosen)
    assert load_tokenizer(tmp_path / "model").get_vocab() == task.tokenizer.get_vocab()


def test_evaluation_does_not_depend_on_batches(task, tmp_path):
    pairs, held_out = task.pairs(8), task.pairs(11, seed=1)
    found = []
    for size in (1, 4, 11):
        folder = tmp_path / str(size)
        trainer = preference(
            task, pairs, folder, eval_pairs=held_out, per_device_eval_batch_size=size
        )
        metrics = trainer.fit()
        found.append(
            {
                k: v
                for k, v in metrics.items()
                if "/" in k or k in ("eval_loss", "eval_ranking_accuracy")
            }
        )
        scored = trainer.scores(held_out)
        right = scored.chosen >= scored.rejected
        assert metrics["eval_ranking_accuracy"] == pytest.approx(right.mean())
        groups = {
            name: right[[g == name for g in held_out.group]].mean() for name in ("north", "south")
        }
        for name, value in groups.items():
            assert metrics[f"eval_group/{name}/ranking_accuracy"] == pytest.approx(value)
        assert metrics["eval_worst_group/ranking_accuracy"] == pytest.approx(min(groups.values()))
        rewards = 0.1 * (scored.chosen - scored.ref_chosen)
        assert metrics["eval_rewards/chosen"] == pytest.approx(rewards.mean(), abs=1e-5)
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_training_log_is_a_mean_over_examples(task, tmp_path):
    """With batches of 4 and 1 a mean of batch means would weigh the last pair four times."""
    pairs = task.pairs(5)
    settings = {"train_sampling_strategy": "sequential", "learning_rate": 1e-12, "logging_steps": 2}
    trainer = preference(task, pairs, tmp_path, **settings)
    scored = trainer.scores(pairs)
    trainer.fit()
    rows = logged(tmp_path, "logps/chosen")  # the first step is always logged on its own
    assert rows[1] == pytest.approx(scored.chosen[:4].mean(), rel=1e-6)
    assert rows[2] == pytest.approx(scored.chosen[4], rel=1e-6)
    trainer = preference(
        task, pairs, tmp_path / "joined", gradient_accumulation_steps=2, **settings
    )
    trainer.fit()
    joined = logged(tmp_path / "joined", "logps/chosen")
    assert joined[1] == pytest.approx(scored.chosen.mean(), rel=1e-6)


def test_callbacks_of_the_host_are_called(task, tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append(("log", "group/north/ranking_accuracy" in logs))

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            seen.append(("evaluate", metrics["eval_loss"]))

        def on_save(self, args, state, control, **kwargs):
            seen.append(("save", state.global_step))

    settings = {"eval_steps": 2, "save_steps": 2, "callbacks": [Watch()]}
    preference(task, task.pairs(16), tmp_path, eval_pairs=task.pairs(4, seed=1), **settings).fit()
    kinds = [kind for kind, _ in seen]
    assert kinds.count("save") == 2
    assert kinds.count("evaluate") == 3  # steps 2 and 4, and the end
    assert ("log", True) in seen
    assert (tmp_path / "checkpoint-4").is_dir()


def test_reference_is_computed_once_and_only_if_needed(task, tmp_path, monkeypatch):
    calls = []
    compute = ReferenceCache.compute.__func__

    def counted(cls, model, batches, rows, **more):
        calls.append(sum(len(batch.lengths) for batch in batches))
        return compute(cls, model, batches, rows, **more)

    monkeypatch.setattr(ReferenceCache, "compute", classmethod(counted))
    pairs, held_out = task.pairs(8), task.pairs(5, seed=1)
    trainer = preference(task, pairs, tmp_path / "dpo", eval_pairs=held_out)
    trainer.evaluate()
    before = trainer.scores(held_out)
    trainer.fit()
    after = trainer.scores(held_out)
    assert calls == [13]
    assert (tmp_path / "dpo" / "reference" / "reference.safetensors").is_file()
    np.testing.assert_array_equal(after.ref_chosen, before.ref_chosen)
    assert np.abs(after.chosen - before.chosen).max() > 0.01
    free = preference(task, pairs, tmp_path / "simpo", objective=SimPO(), eval_pairs=held_out)
    free.fit()
    assert calls == [13]
    assert free.scores(held_out).ref_chosen is None


def test_unknown_pairs_after_full_tuning_have_no_reference(task, tmp_path):
    pairs, other = task.pairs(8), task.pairs(5, seed=5)
    trainer = preference(task, pairs, tmp_path)
    assert trainer.scores(other).ref_chosen is not None  # the weights are still the initial ones
    trainer = preference(task, pairs, tmp_path)
    trainer.fit()
    assert trainer.scores(other).ref_chosen is None
    assert trainer.scores(pairs).ref_chosen is not None
    with pytest.raises(IncompatibleError, match="give the pairs as eval_pairs"):
        trainer.evaluate(other)
    with pytest.raises(ParameterError, match="no held-out data"):
        trainer.evaluate()


def test_given_reference_cache_is_used_or_refused(task, tmp_path):
    pairs = task.pairs(8)
    first = preference(task, pairs, tmp_path / "first")
    first.fit()
    batches = [first._sets[0].batch(range(8))]
    cache = ReferenceCache.compute(task.model(seed=5), batches, progress=False)
    second = preference(task, pairs, tmp_path / "second", reference=cache)
    scored = second.scores(pairs)
    other = preference(task, pairs, tmp_path / "other", model=task.model(seed=5)).scores(pairs)
    np.testing.assert_allclose(scored.ref_chosen, other.chosen, atol=1e-4)
    with pytest.raises(DataError, match="the reference cache has 8 rows of other texts"):
        preference(task, task.pairs(9), tmp_path / "third", reference=cache).fit()


@pytest.mark.parametrize(
    ("objective", "reference", "words"),
    [
        (RDPO(flip_rate="per_pair"), "initial", r"RDPO needs \['flip_rate'\]"),
        (DPO(), None, "DPO needs a reference; leave reference='initial'"),
    ],
)
def test_unmet_needs_are_refused_before_anything_is_computed(task, objective, reference, words):
    with pytest.raises(IncompatibleError, match=words):
        PreferenceTrainer(None, objective, task.pairs(3), tokenizer=None, reference=reference)


def test_model_too_small_for_the_data_is_refused(task, tmp_path):
    pairs = task.pairs(4)
    small = task.model()
    small.resize_token_embeddings(10)
    with pytest.raises(IncompatibleError, match="beyond the model's vocabulary of 10"):
        preference(task, pairs, tmp_path, model=small)
    short = task.model()
    short.config.max_position_embeddings = 5
    with pytest.raises(IncompatibleError, match="set max_length <= 5"):
        preference(task, pairs, tmp_path, model=short)


def test_run_leaves_its_record(task, tmp_path):
    pairs = task.pairs(8)
    trainer = preference(task, pairs, tmp_path, objective=RDPO(flip_rate=0.2), max_steps=2)
    trainer.fit()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["objective"]["name"] == "RDPO"
    assert record["objective"]["fields"]["flip_rate"] == 0.2
    assert record["config"]["max_steps"] == 2
    assert record["data"]["train"]["fingerprint"] == pairs.fingerprint()
    assert record["data"]["train"]["tokenisation"]["kept"] == 8
    assert record["groups"] == ["north", "south"]
    assert record["engine"] == json.loads(json.dumps(trainer.engine.describe()))
    weights = sum(p.numel() for p in trainer.model.parameters())
    memory = record["memory"]
    assert memory["parameters"] == memory["gradients"] == 4 * weights
    assert memory["optimiser"] == 8 * weights
    assert memory["total"] == sum(v for k, v in memory.items() if k != "total")
    assert record["versions"]["torch"]


def test_dropout_is_off(task, tmp_path):
    model = task.model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    peft = lora_config(4)
    peft.lora_dropout = 0.5
    trainer = preference(task, task.pairs(4), tmp_path, model=model, peft_config=peft)
    batch = trainer._sets[0].batch(range(4))
    trainer.model.train()
    first, second = (trainer.engine(trainer.model, batch).sums for _ in range(2))
    assert torch.equal(first, second)


def test_alarm_when_chosen_responses_fade(task, tmp_path):
    settings = {"chosen_ratio_alarm": -0.01, "learning_rate": 1e-2, "num_train_epochs": 8}
    pairs = task.pairs(8).with_columns(label_prob=np.zeros(8))  # taught to prefer the other one
    with pytest.warns(DataQualityWarning, match="nats a token against the reference") as caught:
        preference(task, pairs, tmp_path, **settings).fit()
    assert len(caught) == 1
    values = list(logged(tmp_path, "log_ratio/chosen_per_token").values())
    assert sum(value < -0.01 for value in values) > 1


TWO_PROCESSES = """
import sys
import torch
sys.path.insert(0, {here!r})
from conftest import some_pairs
from pluralign.learn import PreferenceTrainer, TrainingConfig, tiny_model, train_tokenizer
from pluralign.objectives import DPO

pairs, held_out = some_pairs(8), some_pairs(5, seed=1)
tokenizer = train_tokenizer([*some_pairs(50).prompt, " good", " bad"], vocab_size=320)
config = TrainingConfig(
    output_dir={folder!r}, learning_rate=1e-3, warmup_ratio=0.0, logging_steps=1, bf16=False,
    per_device_train_batch_size={batch}, per_device_eval_batch_size=2, num_train_epochs=3,
    disable_tqdm=True, train_sampling_strategy="sequential",
)
model = tiny_model(tokenizer, hidden_size=32, num_layers=2)
PreferenceTrainer(
    model, DPO(), pairs, tokenizer=tokenizer, config=config, eval_pairs=held_out
).fit()
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Gradients and metrics are exact means over both processes, and padding rows count once."""
    for processes, batch in ((1, 4), (2, 2)):
        folder = tmp_path / str(processes)
        script = tmp_path / f"run{processes}.py"
        here = str(Path(__file__).parent)
        script.write_text(TWO_PROCESSES.format(here=here, folder=str(folder), batch=batch))
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, *launch, str(processes), str(script)], check=True, env=environment
        )
    for name in ("loss", "logps/chosen", "eval_loss", "eval_worst_group/ranking_accuracy"):
        one, two = (list(logged(tmp_path / p, name).values()) for p in ("1", "2"))
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6), name
