"""Training settings: rules, conflicts, and what the host is told."""

import pytest

from pluralign import ParameterError
from pluralign.learn import TrainingConfig
from pluralign.learn.config import training_arguments


def rates(config, steps):
    """Learning rates that the host's scheduler gives over a run."""
    import torch
    from transformers import get_scheduler

    arguments = training_arguments(config)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    scheduler = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*found, scheduler.get_last_lr()[0]]


def test_all_broken_rules_are_listed():
    with pytest.raises(ParameterError) as caught:
        TrainingConfig(learning_rate=0.0, max_length=1, truncation="right", bf16="yes")
    message = str(caught.value)
    for line in (
        "TrainingConfig.learning_rate must be a finite number > 0.0; got 0.0.",
        "TrainingConfig.max_length must be an integer >= 2; got 1.",
        "TrainingConfig.truncation must be one of 'error', 'drop', 'left_prompt'; got 'right'.",
        "TrainingConfig.bf16 must be a bool or one of 'auto'; got 'yes'.",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr_end": 1e-8, "lr_scheduler_type": "cosine"}, "lr_end has no effect"),
        ({"lr_end": 1.0}, "lr_end must be below learning_rate"),
        ({"lr_scheduler_type": "constant"}, "warmup_ratio has no effect"),
        ({"max_steps": 0}, "trains nothing"),
    ],
)
def test_settings_without_effect_are_errors(settings, words):
    with pytest.raises(ParameterError, match=words):
        TrainingConfig(**settings)


def test_leaf_names_reach_the_host(tmp_path):
    config = TrainingConfig(
        output_dir=str(tmp_path),
        learning_rate=3e-4,
        per_device_train_batch_size=3,
        per_device_eval_batch_size=5,
        gradient_accumulation_steps=7,
        num_train_epochs=2.5,
        weight_decay=0.02,
        adam_beta1=0.8,
        adam_beta2=0.95,
        max_grad_norm=0.7,
        seed=11,
        logging_steps=4,
        save_steps=6,
        save_total_limit=2,
        eval_steps=9,
        gradient_checkpointing=True,
        bf16=False,
    )
    told = training_arguments(config, evaluates=True)
    for name in (
        *("learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size"),
        *("gradient_accumulation_steps", "num_train_epochs", "weight_decay", "adam_beta1"),
        *("adam_beta2", "max_grad_norm", "seed", "logging_steps", "save_steps"),
        *("save_total_limit", "eval_steps", "bf16"),
    ):
        assert getattr(told, name) == getattr(config, name), name
    assert (told.save_strategy, told.eval_strategy) == ("steps", "steps")
    assert told.gradient_checkpointing is True
    assert told.remove_unused_columns is False
    assert told.report_to == []


def test_nothing_is_saved_or_evaluated_unless_asked(tmp_path):
    told = training_arguments(TrainingConfig(output_dir=str(tmp_path)))
    assert (told.save_strategy, told.eval_strategy) == ("no", "no")
    asked = TrainingConfig(output_dir=str(tmp_path), eval_steps=3)
    assert training_arguments(asked, evaluates=False).eval_strategy == "no"


def test_reward_schedule_falls_to_a_tenth(tmp_path):
    found = rates(TrainingConfig.for_rewards(output_dir=str(tmp_path)), steps=100)
    assert max(found) == pytest.approx(1e-5)
    assert found.index(max(found)) == 3  # 3 % warm-up
    assert found[-1] == pytest.approx(1e-6)
    middle = 3 + 97 // 2
    assert found[middle] == pytest.approx(1e-6 + 9e-6 * (1 - 48 / 97), rel=1e-6)


def test_warm_up_share_of_the_steps(tmp_path):
    config = TrainingConfig(output_dir=str(tmp_path), learning_rate=1.0, warmup_ratio=0.2)
    found = rates(config, steps=10)
    assert found == pytest.approx([0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
