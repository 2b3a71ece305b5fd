"""Sequence log-probabilities and a DPO step, against TRL's DPOTrainer as its users call it.

A small Llama (8.6 M parameters, a third of a token's cost in its head), float32, one
thread, full-length responses of 128 tokens, so that neither side pads. All variants
run in one process, interleaved; the first step of each round is discarded; medians of
CPU seconds and of wall-clock seconds are shown. Peak memory is that of a process of
its own for each variant, imports included. Activation checkpointing is off for both
sides unless asked for with ``--checkpointing``.

    python benchmarks/logprobs.py --prompts 32,256,1024 --repeats 5 [--json]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"  # TRL sends no telemetry then
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import argparse
import json
import logging
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESPONSE, VOCABULARY = 128, 8192
BATCH = {32: 4, 256: 4, 1024: 2}
TRL = ("trl_online", "trl_cached")
OURS = ("two_rows", "shared")
Measured = tuple[float, float]  # CPU and wall-clock seconds


def save_model(directory: Path) -> None:
    """A random Llama whose head is 32 % of a token's forward cost, with a tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
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
    LlamaForCausalLM(config).save_pretrained(directory)
    words = {word(i): i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=word(0)))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=word(0), eos_token=word(1)
    ).save_pretrained(directory)


def word(token: int) -> str:
    """The word of a token; words and tokens are one to one."""
    return ("<pad>", "<end>")[token] if token < 2 else f"w{token}"


def rows(prompt: int, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Random prompts with two responses; each response ends with the end-of-text token."""
    import torch

    generator = torch.Generator().manual_seed(prompt)
    draw = lambda n: torch.randint(2, VOCABULARY, (n,), generator=generator).tolist()  # noqa: E731
    return [
        (draw(prompt), [*draw(RESPONSE - 1), 1], [*draw(RESPONSE - 1), 1]) for _ in range(count)
    ]


class Trl:
    """TRL's trainer, with its own data path, collator, loss, metrics and optimiser."""

    def __init__(self, directory: Path, prompt: int, *, cached: bool, checkpointing: bool) -> None:
        from datasets import Dataset
        from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
        from trl import DPOConfig, DPOTrainer

        batch = BATCH[prompt]
        text = lambda ids: " ".join(map(word, ids))  # noqa: E731
        columns = zip(*rows(prompt, 2 * batch), strict=True)
        names = ("prompt", "chosen", "rejected")
        data = {n: [text(ids) for ids in c] for n, c in zip(names, columns, strict=True)}
        data["chosen"], data["rejected"] = (
            [f" {response}" for response in data[name]] for name in ("chosen", "rejected")
        )
        config = DPOConfig(
            output_dir=str(directory / "out"),
            per_device_train_batch_size=batch,
            max_steps=2,
            max_length=None,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=checkpointing,
            precompute_ref_log_probs=cached,
            precompute_ref_batch_size=batch,
            model_init_kwargs={"dtype": "float32"},
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )

        outer = self

        class Clock(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                outer.begun = now()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                outer.steps.append(since(outer.begun))

        self.begun: Measured = (0.0, 0.0)
        self.steps: list[Measured] = []
        self.trainer = DPOTrainer(
            model=str(directory),
            args=config,
            train_dataset=Dataset.from_dict(data),
            processing_class=AutoTokenizer.from_pretrained(directory),
            callbacks=[Clock()],
        )
        self.trainer.remove_callback(PrinterCallback)  # it would print into our results
        self.batch = next(iter(self.trainer.get_train_dataloader()))
        assert self.batch["input_ids"].shape == (2 * batch, prompt + RESPONSE), self.batch

    def step(self) -> Measured:
        """Two training steps; the second is measured."""
        self.trainer.train()
        return self.steps[-1]

    def score(self) -> Measured:
        """Reference log-probabilities of one batch."""
        begun = now()
        self.trainer.compute_ref_log_probs(self.trainer.model, self.batch)
        return since(begun)


class Ours:
    """LogProbs, ReferenceCache, DPO and AdamW in the order our trainer uses them."""

    def __init__(self, directory: Path, prompt: int, *, form: str, checkpointing: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from pluralign import DPO, TokenBatch
        from pluralign.engines import LogProbs, ReferenceCache

        found = rows(prompt, BATCH[prompt])
        self.batch = TokenBatch(
            torch.tensor([token for row in found for part in row for token in part]),
            torch.tensor([[len(part) for part in row] for row in found]),
        )
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).train()
        self.engine = LogProbs(self.model, form=form)
        self.reference = ReferenceCache.compute(
            self.model, [self.batch], engine=self.engine, progress=False
        )
        if checkpointing:
            self.model.activation_checkpointing_enable()
        self.objective = DPO(beta=0.1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def step(self) -> Measured:
        """Two training steps; the second is measured."""
        self._step()
        begun = now()
        self._step()
        return since(begun)

    def _step(self) -> None:
        from torch.nn.utils import clip_grad_norm_

        from pluralign import PairScores

        sums, lengths = self.engine(self.model, self.batch)
        reference = self.reference.rows(range(len(sums)))
        scores = PairScores(*sums.unbind(1), *reference.sums.unbind(1), *lengths.unbind(1))
        self.objective(scores).loss.mean().backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def score(self) -> Measured:
        """Log-probabilities of one batch without gradient."""
        import torch

        begun = now()
        with torch.no_grad():
            self.engine(self.model, self.batch)
        return since(begun)


def now() -> Measured:
    """The two clocks."""
    return time.process_time(), time.perf_counter()


def since(begun: Measured) -> Measured:
    """Seconds on both clocks."""
    cpu, wall = now()
    return cpu - begun[0], wall - begun[1]


def build(variant: str, directory: Path, prompt: int, checkpointing: bool) -> Any:
    """A variant, ready for its first step."""
    if variant in TRL:
        cached = variant == "trl_cached"
        return Trl(directory, prompt, cached=cached, checkpointing=checkpointing)
    return Ours(directory, prompt, form=variant, checkpointing=checkpointing)


def in_child(variant: str, directory: Path, prompt: int, checkpointing: bool) -> str:
    """Last line that a process of its own prints."""
    command = [sys.executable, __file__, "--child", variant, "--model", str(directory)]
    command += ["--prompts", str(prompt)] + ["--checkpointing"] * checkpointing
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"{variant} failed:\n{out.stderr}")
    return (out.stdout.splitlines() or [""])[-1]


def child(variant: str, directory: Path, prompt: int, checkpointing: bool) -> None:
    """Make the model, or two steps of a variant and print this process's peak memory."""
    quiet()
    if variant == "model":
        return save_model(directory)
    build(variant, directory, prompt, checkpointing).step()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
    return None


def quiet() -> None:
    """One thread, and nothing printed but our results."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"


def measure(directory: Path, prompt: int, variants: list[str], args: Any) -> list[dict[str, Any]]:
    """One record for each variant at one prompt length, measured round by round."""
    runs = {v: build(v, directory, prompt, args.checkpointing) for v in variants}
    kinds: dict[str, Callable[[Any], Measured]] = {
        "step": lambda run: run.step(),
        "score": lambda run: run.score(),
    }
    seen: dict[tuple[str, str], list[Measured]] = {}
    for number in range(args.repeats + 1):
        for variant, run in runs.items():
            for kind, call in kinds.items():
                note(f"prompt {prompt}: round {number} of {args.repeats}, {variant} {kind}")
                measured = call(run)
                if number:  # the first round warms up
                    seen.setdefault((variant, kind), []).append(measured)
    return [
        {
            "prompt": prompt,
            "batch": BATCH[prompt],
            "variant": variant,
            **{
                f"{kind}_{clock}_s": round(statistics.median(m[i] for m in seen[variant, kind]), 4)
                for kind in kinds
                for i, clock in enumerate(("cpu", "wall"))
            },
        }
        for variant in variants
    ]


def note(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def ratios(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How many times faster than TRL with cached reference, and the share of its memory."""
    found: dict[str, dict[str, float]] = {}
    for peer in (r for r in results if r["variant"] == "trl_cached"):
        for ours in (r for r in results if r["prompt"] == peer["prompt"] and r["variant"] in OURS):
            keys = [k for k in ours if k.endswith("_s")]
            found[f"{ours['variant']}@{ours['prompt']}"] = {
                **{k.removesuffix("_s"): round(peer[k] / ours[k], 2) for k in keys},
                "memory": round(ours["peak_mb"] / peer["peak_mb"], 3),
            }
    return found


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    from importlib.metadata import version

    names = ("torch", "transformers", "trl")
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def show(record: dict[str, Any]) -> None:
    """Print the tables for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="DPO step and scoring; medians in seconds, peak memory in MiB")
    for column in record["results"][0]:
        heading = column.replace("_", "\n", 1)
        table.add_column(heading, justify="left" if column == "variant" else "right", no_wrap=True)
    for row in record["results"]:
        table.add_row(*map(str, row.values()))
    console = Console()
    console.print(table)
    table = Table(title="Times faster than TRL with cached reference; share of its memory")
    columns = list(next(iter(record["ratios"].values())))
    for column in ("variant@prompt", *columns):
        table.add_column(column, justify="left" if column == "variant@prompt" else "right")
    for name, row in record["ratios"].items():
        table.add_row(name, *map(str, row.values()))
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", default="32,256,1024", help="of 32, 256, 1024")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkpointing", action="store_true", help="on for both sides")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    prompts = [int(prompt) for prompt in args.prompts.split(",")]
    if args.child:
        return child(args.child, args.model, prompts[0], args.checkpointing)
    variants = [*TRL, *(OURS[:1] if args.checkpointing else OURS)]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        # Children first, and even the model made by one: a process inherits its
        # parent's peak, so this one must still be small.
        in_child("model", directory, 0, False)
        peaks = {}
        for prompt in prompts:
            for variant in variants:
                note(f"prompt {prompt}: memory of {variant}")
                peak = in_child(variant, directory, prompt, args.checkpointing)
                peaks[prompt, variant] = float(peak)
        quiet()
        results = [row for p in prompts for row in measure(directory, p, variants, args)]
    for row in results:
        row["peak_mb"] = round(peaks[row["prompt"], row["variant"]])
    note("")
    record = {"bench": "logprobs", "machine": machine(), "results": results}
    record["ratios"] = ratios(results)
    print(json.dumps(record)) if args.json else show(record)
    return None


if __name__ == "__main__":
    main()
