"""A small task that a tiny model learns in a second: say good things, in two groups."""

import random
from types import SimpleNamespace

import pytest

from pluralign import Preferences
from pluralign.learn import TrainingConfig, tiny_model, train_tokenizer

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "some",
    "dog",
    "run",
    "far",
    "away",
    "from",
    "here",
]


def some_pairs(size, seed=0):
    draw = random.Random(seed)

    def text(low, high):
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))

    return Preferences.from_records(
        {
            "prompt": text(1, 9),
            "chosen": f" good {text(1, 6)}",
            "rejected": f" bad {text(1, 6)}",
            "group": draw.choice(["north", "south"]),
        }
        for _ in range(size)
    )


@pytest.fixture(scope="session")
def task():
    """``pairs(n, seed)``, ``tokenizer``, ``model(seed)`` and ``config(folder, **settings)``."""
    texts = [*some_pairs(50).prompt, " good", " bad"]
    tokenizer = train_tokenizer(texts, vocab_size=320)

    def config(folder, **settings):
        usual = {
            "output_dir": str(folder),
            "learning_rate": 1e-3,
            "warmup_ratio": 0.0,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "logging_steps": 1,
            "bf16": False,
            "disable_tqdm": True,
        }
        return TrainingConfig(**{**usual, **settings})

    def model(seed=0):
        return tiny_model(tokenizer, hidden_size=32, num_layers=2, seed=seed)

    return SimpleNamespace(pairs=some_pairs, tokenizer=tokenizer, model=model, config=config)
