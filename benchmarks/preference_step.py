"""A preference step of our trainer against TRL's DPOTrainer, beside the ideal by FLOP count.

Both are the whole trainers (collator, loss, metrics, clipping, AdamW). TRL in three ways:
online reference, reference computed before training, and the latter with only the response
tokens projected, which it does on CUDA and which is forced here on a CPU. Ours is
``PreferenceTrainer`` as it comes. Scenarios: prompts of 32, 256, 1024 and 4096 tokens with
responses of 128; and ``real``, the lengths of AlpacaEval answers (texts are read in place
for their lengths only; cut to 1024 tokens), 8 pairs a step for both.

``ideal`` is how many times fewer floating-point operations the best layout needs (prompt
once, no padding, one projection of each response token, nothing recomputed that need not
be); ``share`` is the measured ratio over it. Shares above 1 are the peer's work besides
matrix products. ``rate_share`` is the operations of the best layout in a second, as a share of
what a large matrix product reaches on the same device; ``tokens_per_s`` counts each prompt once.

    python benchmarks/preference_step.py [--json] [--lora] [--checkpointing]
    python benchmarks/preference_step.py --responses 4       # one prompt, two pairs each
    python benchmarks/preference_step.py --device cuda       # Qwen2.5-0.5B shape, bf16
    python benchmarks/preference_step.py --smoke             # every path once, on a few tokens
    python benchmarks/preference_step.py --alone             # where TRL is not installed

``--write NAME`` keeps the record as ``benchmarks/results/NAME.json``, scenario by scenario;
``benchmarks/speed_page.py`` makes the tables of ``docs/speed.md`` from those.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import (
    RESPONSE,
    Measured,
    Row,
    Setting,
    Steps,
    Trl,
    in_child,
    interleaved,
    load_model,
    lora,
    machine,
    matrix_rate,
    note,
    now,
    peak_mb,
    quiet,
    rows_of,
    save_model,
    since,
    spread,
    table,
)

SHARED = Path(__file__).parents[2] / "shared" / "data"
BATCH = {"32": 4, "256": 4, "1024": 2, "4096": 1, "real": 8}
REAL_PAIRS, REAL_LENGTH = 64, 1024
RESULTS = Path(__file__).with_name("results")
SEED = 0  # of weights, tokens and training
TRL = ("trl_online", "trl_cached", "trl_compact")
# Forward passes' worth of products for each token: with a backward pass, with a frozen
# weight, and with recomputation.
BODY = {"full": 3, "lora": 2}


def lengths_of(scenario: str) -> list[tuple[int, int, int]]:
    """Tokens of prompt, chosen and rejected of each pair."""
    if scenario != "real":
        return [(int(scenario), RESPONSE, RESPONSE)] * (2 * BATCH[scenario])
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(SHARED / "smollm2_tokenizer" / "tokenizer.json"))
    count = lambda text: len(tokenizer.encode(text).ids) + 1  # noqa: E731
    found = []
    with gzip.open(SHARED / "alpaca_eval_pool" / "pool.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            names = sorted(row["responses"])
            place = len(found) % len(names)  # every model beside every other in turn
            pair = (names[place], names[(place + 1 + len(found) // len(names)) % len(names)])
            texts = [row["responses"].get(name) for name in pair]
            if all(texts) and pair[0] != pair[1]:
                sizes = (count(row["instruction"]) + 4, *map(count, texts))
                room = REAL_LENGTH - min(sizes[0], 512)
                found.append((min(sizes[0], 512), *(min(s, room) for s in sizes[1:])))
    return found[:: max(1, len(found) // REAL_PAIRS)][:REAL_PAIRS]


class Ours:
    """Our trainer on token ids, its steps clocked by the host's own callbacks."""

    def __init__(self, rows: list[Row], batch: int, setting: Setting, *, by_length: bool) -> None:
        from pluralign import DPO, Preferences
        from pluralign.learn import PreferenceTrainer, TrainingConfig

        self.setting, self.steps = setting, Steps(setting.device)
        names = ("prompt", "chosen", "rejected")
        config = TrainingConfig(
            output_dir=str(setting.directory / "ours"),
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=batch,
            train_sampling_strategy="group_by_length" if by_length else "random",
            max_steps=max(2, len(rows) // batch),
            max_length=8192,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            warmup_ratio=0.0,
            bf16=setting.device == "cuda",
            gradient_checkpointing=setting.checkpointing,
            chosen_ratio_alarm=None,
            disable_tqdm=True,
        )
        pairs = Preferences.from_records(dict(zip(names, row, strict=True)) for row in rows)
        self.trainer = PreferenceTrainer(
            load_model(setting),
            DPO(beta=0.1),
            pairs,
            tokenizer=None,
            config=config,
            peft_config=lora() if setting.lora else None,
            callbacks=[self.steps.callback],
        )
        self.trainer.reference_cache()

    def train(self) -> list[Measured]:
        """One pass over the rows, step by step."""
        self.steps.taken.clear()
        self.trainer.host.train()
        return list(self.steps.taken)

    def step(self) -> Measured:
        """Two training steps; the second is measured."""
        return self.train()[-1]

    def describe(self) -> dict[str, Any]:
        """The engine's own record."""
        return self.trainer.engine.describe()


class OursMany:
    """Prompts with four responses each, scored together: the loss of two pairs a prompt."""

    def __init__(self, rows: list[Row], batch: int, setting: Setting) -> None:
        import torch

        from pluralign import DPO, TokenBatch
        from pluralign.engines import LogProbs, ReferenceCache

        self.setting = setting
        found = [(*one, *two[1:]) for one, two in zip(rows[::2], rows[1::2], strict=True)]
        found = found[: batch // 2]
        self.batch = TokenBatch(
            torch.tensor([token for row in found for part in row for token in part]),
            torch.tensor([[len(part) for part in row] for row in found]),
        )
        self.model = load_model(setting).train()
        self.engine = LogProbs(self.model)
        self.reference = ReferenceCache.compute(
            self.model, [self.batch], engine=self.engine, progress=False
        )
        if setting.checkpointing:
            self.model.gradient_checkpointing_enable()
        self.objective = DPO(beta=0.1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def step(self) -> Measured:
        """Two training steps; the second is measured."""
        self._step()
        begun = now(self.setting.device)
        self._step()
        return since(begun, self.setting.device)

    def train(self) -> list[Measured]:
        """One step."""
        return [self.step()]

    def describe(self) -> dict[str, Any]:
        """The engine's own record."""
        return self.engine.describe()

    def _step(self) -> None:
        from torch.nn.utils import clip_grad_norm_

        from pluralign import PairScores

        sums, lengths = self.engine(self.model, self.batch)
        reference = self.reference.sums.to(sums.device)
        columns = (sums, reference, lengths)
        first = [c[:, i::2].flatten() for c in columns for i in range(2)]
        self.objective(PairScores(*first)).loss.mean().backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def operations(
    model: Any, lengths: Sequence[Sequence[int]], way: str, args: Any, batch: int
) -> float:
    """Floating-point operations of a pass over the pairs, by count.

    Args:
        model: gives the sizes.
        lengths: tokens of the prompt and of each response.
        way: a variant of TRL, or ``"ideal"``.
        args: the benchmark's options.
        batch: pairs of a step; TRL pads to the longest of them.
    """
    config = model.config
    head = config.vocab_size * config.hidden_size
    layers, width = config.num_hidden_layers, config.hidden_size
    body = sum(p.numel() for n, p in model.named_parameters() if p.ndim > 1 and ".layers." in n)
    passes = BODY["lora" if args.lora else "full"] + bool(args.checkpointing)
    projections = 2 if args.lora else 3
    if way == "ideal":
        tokens = sum(map(sum, lengths))
        pairs = sum(p * p / 2 + sum(r * (p + r / 2) for r in rest) for p, *rest in lengths)
        scored = sum(sum(rest) for _, *rest in lengths)
    else:
        passes += way == "trl_online"
        projections += 1 + (way == "trl_online")  # its head recomputes
        steps = [lengths[i : i + batch] for i in range(0, len(lengths), batch)]
        tokens = pairs = scored = 0
        for step in steps:
            longest = max(p + max(rest) for p, *rest in step)
            rows = sum(len(rest) for _, *rest in step)
            tokens += rows * longest
            pairs += rows * longest**2 / 2
            if way == "trl_compact":
                scored += sum(sum(rest) for _, *rest in step)
        scored = scored or tokens
    return (
        2 * passes * (body * tokens + 2 * layers * width * pairs) + 2 * projections * head * scored
    )


def variants(args: Any) -> list[str]:
    """What is compared."""
    if args.alone:
        return ["pluralign"]
    return [*(TRL if args.device == "cpu" else TRL[:2]), "pluralign"]


def build(variant: str, scenario: str, setting: Setting, responses: int) -> Any:
    """A variant, ready for its first step."""
    batch = BATCH[scenario]
    lengths = lengths_of(scenario)
    rows = rows_of(lengths)
    if responses == 4:  # two pairs of one prompt
        rows = [(rows[i - i % 2][0], *row[1:]) for i, row in enumerate(rows)]
    if variant in TRL:
        cached, compact = variant != "trl_online", variant == "trl_compact"
        return Trl(rows, batch, setting, cached=cached, compact=compact)
    if responses == 4:
        return OursMany(rows, batch, setting)
    return Ours(rows, batch, setting, by_length=scenario == "real")


def measure(scenario: str, setting: Setting, args: Any) -> list[dict[str, Any]]:
    """One record for each variant."""
    runs = {v: build(v, scenario, setting, args.responses) for v in variants(args)}

    def seconds(run: Any) -> Measured:
        if scenario != "real":
            return run.step()
        taken = run.train()
        return tuple(sum(column) / len(taken) for column in zip(*taken, strict=True))

    calls = {v: (lambda run=run: seconds(run)) for v, run in runs.items()}
    seen = interleaved(calls, args.repeats, setting.device)
    model = load_model(setting)
    lengths: list[Sequence[int]] = list(lengths_of(scenario))
    batch = BATCH[scenario]
    if scenario != "real":
        lengths = lengths[:batch]
    ideal = lengths
    if args.responses == 4:
        ideal = [(*a, *b[1:]) for a, b in zip(lengths[::2], lengths[1::2], strict=True)]
    best = operations(model, ideal, "ideal", args, batch)
    took = spread(seen["pluralign"])["s"]
    steps = len(lengths) / batch
    tokens, rate = sum(map(sum, ideal)) / steps, matrix_rate(setting.device)
    found = []
    for variant in runs:
        row = {"prompt": scenario, "variant": variant, **spread(seen[variant])}
        row["seconds"] = [round(s, 4) for s in seen[variant]]
        row["pairs_per_s"] = round(batch / row["s"], 3)
        row["tokens_per_s"] = round(tokens / row["s"])
        row["rate_share"] = round(best / steps / row["s"] / rate, 3)
        wanted = operations(model, lengths, variant, args, batch) if variant in TRL else best
        row["ideal"] = round(wanted / best, 2)
        row["faster"] = round(row["s"] / took, 2)
        row["share"] = round(row["faster"] / row["ideal"], 2)
        found.append(row)
    return found


def memory(variant: str, scenario: str, args: Any, folder: str) -> float:
    """Peak memory of two steps in a process of its own, MiB."""
    more = ["--lora"] * args.lora + ["--checkpointing"] * args.checkpointing
    more += ["--smoke"] * args.smoke + ["--alone"] * args.alone
    more += ["--responses", str(args.responses), "--device", args.device]
    child = ["--child", variant, "--model", folder, "--scenarios", scenario, *more]
    return float(in_child(__file__, *child))


def child(args: Any) -> None:
    """Make the model, or take two steps and print this process's peak memory."""
    quiet()
    if args.child == "model":
        return save_model(args.model, args.device)
    setting = setting_of(args.model, args)
    build(args.child, args.scenarios, setting, args.responses).step()
    print(peak_mb(args.device))
    return None


def setting_of(directory: Path, args: Any) -> Setting:
    """The options that both sides share."""
    return Setting(
        directory=directory, device=args.device, lora=args.lora, checkpointing=args.checkpointing
    )


def options() -> Any:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", default="32,256,1024,4096,real")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--responses", type=int, choices=(2, 4), default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--lora", action="store_true", help="on for both sides")
    parser.add_argument("--checkpointing", action="store_true", help="on for both sides")
    parser.add_argument("--no-memory", action="store_true", help="leave the processes out")
    parser.add_argument("--smoke", action="store_true", help="one round of a few tokens")
    parser.add_argument("--alone", action="store_true", help="leave the peer out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", metavar="NAME", help="keep the record in benchmarks/results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.lora and args.responses == 4:
        parser.error("four responses are measured with full fine-tuning; leave --lora out")
    if args.alone and args.write:
        parser.error("a record holds the peer beside ours; leave --alone out")
    if args.smoke:
        shrink()
        args.repeats = 1
    return args


def shrink() -> None:
    """Two pairs a step, of a few tokens: the figures mean nothing then."""
    global RESPONSE, REAL_PAIRS, REAL_LENGTH
    RESPONSE, REAL_PAIRS, REAL_LENGTH = 8, 4, 48
    BATCH.update(dict.fromkeys(BATCH, 2))


def main() -> None:
    """Measure and print."""
    args = options()
    warnings.simplefilter("ignore")
    if args.child:
        return child(args)
    # A prompt has two responses in the real data, and the data may be absent.
    real = SHARED.is_dir() and args.responses == 2
    scenarios = [s for s in args.scenarios.split(",") if s != "real" or real]
    settings = {k: getattr(args, k) for k in ("device", "lora", "checkpointing", "responses")}
    record = {"bench": "preference_step", "machine": machine(args.device), "seed": SEED, **settings}
    record["results"] = []
    with tempfile.TemporaryDirectory() as folder:
        # Children first, and even the model made by one: a process inherits its
        # parent's peak, so this one must still be small.
        in_child(__file__, "--child", "model", "--model", folder, "--device", args.device)
        peaks = {
            (s, v): memory(v, s, args, folder)
            for s in ([] if args.no_memory else scenarios)
            for v in variants(args)
        }
        quiet()
        for scenario in scenarios:
            found = measure(scenario, setting_of(Path(folder), args), args)
            for row in found:
                if peaks:
                    row["peak_mb"] = round(peaks[scenario, row["variant"]])
            record["results"] += found
            keep(record, args.write)
    note("")
    if args.json:
        return print(json.dumps(record))
    hidden = ("least", "most", "seconds")
    shown = [{k: v for k, v in row.items() if k not in hidden} for row in record["results"]]
    table(f"Preference step, seconds of a step; {settings}", shown, ("prompt", "variant"))
    return None


def keep(record: dict[str, Any], name: str | None) -> None:
    """Write what has been measured so far, beside scenarios measured before in the same way."""
    if name is None:
        return
    path = RESULTS / f"{name}.json"
    rows = list(record["results"])
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if any(before[key] != record[key] for key in record if key != "results"):
            raise SystemExit(f"{path} is of another machine, version or setting; give a new name.")
        new = {row["prompt"] for row in rows}
        rows += [row for row in before["results"] if row["prompt"] not in new]
    rows.sort(key=lambda row: list(BATCH).index(row["prompt"]))
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**record, "results": rows}, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
