"""What the speed benchmarks share: a model without download, TRL's trainer, clocks.

Both sides run in one process, interleaved round by round; the first round is discarded;
medians are shown. On a CPU the figure is CPU seconds of one thread, which other programs
on the machine disturb least; on a GPU it is wall-clock after synchronising. Peak memory is
that of a process of its own for each variant.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"  # TRL sends no telemetry then
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import logging
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RESPONSE, VOCABULARY = 128, 8192
Row = tuple[list[int], list[int], list[int]]
Measured = tuple[float, float]  # CPU and wall-clock seconds


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How both sides are run."""

    directory: Path
    device: str = "cpu"
    lora: bool = False
    checkpointing: bool = False

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return "bfloat16" if self.device == "cuda" else "float32"


def save_model(directory: Path, device: str = "cpu") -> None:
    """A random model with a tokenizer of words.

    On a CPU a Llama of 8.6 M parameters whose head is a third of a token's cost; on a GPU
    the shape of Qwen2.5-0.5B.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    torch.manual_seed(0)
    if device == "cuda":
        config = Qwen2Config(
            vocab_size=151_936,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            max_position_embeddings=32_768,
            tie_word_embeddings=True,
        )
        model: Any = Qwen2ForCausalLM(config)
    else:
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            tie_word_embeddings=False,
        )
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    words = {word(i): i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=word(0)))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=word(0), eos_token=word(1)
    ).save_pretrained(directory)


def load_model(setting: Setting) -> Any:
    """The saved model, adapted if asked, where it runs."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, setting.dtype)
    model = AutoModelForCausalLM.from_pretrained(setting.directory, dtype=dtype)
    return model.to(setting.device)


def lora() -> Any:
    """An adapter on all linear layers but the head."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def word(token: int) -> str:
    """The word of a token; words and tokens are one to one."""
    return ("<pad>", "<end>")[token] if token < 2 else f"w{token}"


def rows_of(lengths: Sequence[tuple[int, int, int]], seed: int = 0) -> list[Row]:
    """Random prompts with two responses of given lengths; each response ends with the end token."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(2, VOCABULARY, (n,), generator=generator).tolist()  # noqa: E731
    return [(draw(p), [*draw(a - 1), 1], [*draw(b - 1), 1]) for p, a, b in lengths]


class Steps:
    """Clocks the steps of a host's training loop."""

    def __init__(self, device: str) -> None:
        from transformers import TrainerCallback

        outer = self
        self.taken: list[Measured] = []
        begun: Measured = (0.0, 0.0)

        class Clock(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                nonlocal begun
                begun = now(device)

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                outer.taken.append(since(begun, device))

        self.callback = Clock()


class Trl:
    """TRL's trainer with its own data path, collator, loss, metrics and optimiser.

    Args:
        rows: what it trains on.
        batch: pairs of a step.
        setting: how.
        cached: reference log-probabilities computed before training.
        compact: project response tokens only, which TRL does on CUDA and not on a CPU.
    """

    def __init__(
        self, rows: list[Row], batch: int, setting: Setting, *, cached: bool, compact: bool = False
    ) -> None:
        from datasets import Dataset
        from transformers import AutoTokenizer, PrinterCallback
        from trl import DPOConfig, DPOTrainer

        self.setting, self.compact, self.steps = setting, compact, Steps(setting.device)
        cuda = setting.device == "cuda"
        fast = (
            {"attn_implementation": "flash_attention_2"} if cuda and find_spec("flash_attn") else {}
        )
        config = DPOConfig(
            output_dir=str(setting.directory / "out"),
            per_device_train_batch_size=batch,
            max_steps=max(2, len(rows) // batch),
            max_length=None,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            bf16=cuda,
            use_cpu=not cuda,
            gradient_checkpointing=setting.checkpointing,
            precompute_ref_log_probs=cached,
            precompute_ref_batch_size=batch,
            model_init_kwargs={"dtype": setting.dtype, **fast},
            use_liger_kernel=cuda and find_spec("liger_kernel") is not None,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        with self._projection():
            self.trainer = DPOTrainer(
                model=str(setting.directory),
                args=config,
                train_dataset=Dataset.from_dict(_texts(rows)),
                processing_class=AutoTokenizer.from_pretrained(setting.directory),
                callbacks=[self.steps.callback],
                peft_config=lora() if setting.lora else None,
            )
        self.trainer.remove_callback(PrinterCallback)  # it would print into our results
        self.batch = next(iter(self.trainer.get_train_dataloader()))

    def train(self) -> list[Measured]:
        """One pass over the rows, step by step."""
        self.steps.taken.clear()
        with self._projection():
            self.trainer.train()
        return list(self.steps.taken)

    def step(self) -> Measured:
        """Two training steps; the second is measured."""
        return self.train()[-1]

    def score(self) -> Measured:
        """Reference log-probabilities of one batch."""
        begun = now(self.setting.device)
        with self._projection():
            self.trainer.compute_ref_log_probs(self.trainer.model, self.batch)
        return since(begun, self.setting.device)

    def _projection(self) -> Any:
        from unittest.mock import patch

        import trl.trainer.utils as host

        return patch.object(
            host, "_use_triton", (lambda device: True) if self.compact else host._use_triton
        )


def _texts(rows: list[Row]) -> dict[str, list[str]]:
    prompts, chosen, rejected = (
        [" ".join(map(word, ids)) for ids in c] for c in zip(*rows, strict=True)
    )
    return {
        "prompt": prompts,
        "chosen": [f" {t}" for t in chosen],
        "rejected": [f" {t}" for t in rejected],
    }


def now(device: str = "cpu") -> Measured:
    """The two clocks, after the device has finished."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()


def since(begun: Measured, device: str = "cpu") -> Measured:
    """Seconds on both clocks."""
    cpu, wall = now(device)
    return cpu - begun[0], wall - begun[1]


def interleaved(
    calls: dict[Any, Callable[[], Measured]], repeats: int, device: str = "cpu"
) -> dict[Any, list[float]]:
    """Seconds of each call in each round but the first: CPU seconds, or wall-clock of a GPU."""
    seen: dict[Any, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            note(f"round {number} of {repeats}: {name}")
            measured = call()[device == "cuda"]
            if number:  # the first round warms up
                seen[name].append(measured)
    return seen


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "s": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def matrix_rate(device: str = "cpu") -> float:
    """Floating-point operations a second of a large matrix product: what the processor can do.

    Of the dtype that the models are run in; by the clock that steps are measured with.
    """
    import torch

    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    taken = []
    for _ in range(8):
        begun = now(device)
        left @ right
        taken.append(since(begun, device)[device == "cuda"])
    return 2 * size**3 / statistics.median(taken[1:])


def peak_mb(device: str = "cpu") -> float:
    """Most memory that this process has held, in MiB: resident, or of the GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_child(script: str, *arguments: str) -> str:
    """Last line that a process of its own prints."""
    out = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{out.stderr}")
    return (out.stdout.splitlines() or [""])[-1]


def quiet() -> None:
    """One thread, and nothing printed but our results."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with suppress(ImportError):
        import datasets

        datasets.disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"


def note(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures were taken on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("torch", "transformers", "trl", "peft", "liger-kernel", "flash-attn"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    found = {"processor": processor(), "cores": os.cpu_count(), "threads": 1}
    if device == "cuda":
        import torch

        found = {"device": torch.cuda.get_device_name()}
    return {**found, "python": platform.python_version(), **versions}


def processor() -> str:
    """Kind of processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(title: str, rows: Sequence[dict[str, Any]], text: Sequence[str] = ("variant",)) -> None:
    """Print rows for people; columns named in ``text`` stand on the left."""
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title)
    for column in rows[0]:
        side = "left" if column in text else "right"
        made.add_column(column.replace("_", "\n", 1), justify=side, no_wrap=True)
    for row in rows:
        made.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(made)
