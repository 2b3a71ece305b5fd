"""Training losses equal those of TRL's DPOTrainer, step by step, on the same pairs."""

import copy
import random

import pytest

from pluralign import Preferences
from pluralign.learn import PreferenceTrainer, TrainingConfig, tiny_model
from pluralign.objectives import DPO, IPO, RDPO, SLiC

trl = pytest.importorskip("trl", reason="the [trl] extra is not installed")

STEPS = 4
BETA = 0.1
WORDS = [f"w{i}" for i in range(200)]

# TRL is called as its users call it; what it warns about on the way is its own affair.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", *WORDS]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def pairs(*, ragged):
    draw = random.Random(7)

    def text(size):
        if ragged:
            size = draw.randint(size // 4, size)
        return " ".join(draw.choice(WORDS) for _ in range(size))

    # EOS is the 32nd token of a response.
    return [
        {"prompt": text(32), "chosen": " " + text(31), "rejected": " " + text(31)}
        for _ in range(2 * STEPS)
    ]


def model_of(tokenizer):
    return tiny_model(tokenizer, hidden_size=64, num_layers=2, seed=3)


def theirs(tokenizer, rows, folder, loss_type, smoothing):
    from datasets import Dataset

    config = trl.DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=STEPS,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=BETA,
        loss_type=[loss_type],
        label_smoothing=smoothing,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    model = model_of(tokenizer)
    trainer = trl.DPOTrainer(
        model,
        ref_model=copy.deepcopy(model),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def ours(tokenizer, rows, folder, objective):
    config = TrainingConfig(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        per_device_eval_batch_size=2,
        max_steps=STEPS,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        train_sampling_strategy="sequential",
        logging_steps=1,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = PreferenceTrainer(
        model_of(tokenizer),
        objective,
        Preferences.from_records(rows),
        tokenizer=tokenizer,
        config=config,
    )
    trainer.fit()
    return [row["loss"] for row in trainer.host.state.log_history if "loss" in row]


@pytest.mark.parametrize(
    ("loss_type", "objective", "ragged"),
    [
        ("sigmoid", DPO(beta=BETA), False),
        ("sigmoid", DPO(beta=BETA), True),
        ("robust", RDPO(beta=BETA, flip_rate=0.1), True),
        ("ipo", IPO(beta=BETA, length_normalise="token_mean"), True),
        ("hinge", SLiC(beta=BETA), True),
    ],
    ids=["dpo", "dpo-ragged", "rdpo", "ipo", "slic"],
)
def test_losses_equal_those_of_trl(tokenizer, tmp_path, monkeypatch, loss_type, objective, ragged):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    rows = pairs(ragged=ragged)
    smoothing = getattr(objective, "flip_rate", 0.0)
    expected = theirs(tokenizer, rows, tmp_path / "trl", loss_type, smoothing)
    found = ours(tokenizer, rows, tmp_path / "ours", objective)
    assert len(expected) == STEPS
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    if loss_type == "sigmoid":
        assert found[0] == pytest.approx(0.6931472, abs=1e-6)
    assert len({round(loss, 4) for loss in found}) > 1  # something was learned
