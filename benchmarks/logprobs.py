"""Sequence log-probabilities and a DPO step by hand, against TRL's DPOTrainer.

The engine, the reference cache, the objective and AdamW in the order our trainer uses
them; ``benchmarks/preference_step.py`` measures whole trainers. A small Llama (8.6 M
parameters, a third of a token's cost in its head), float32, one thread, full-length
responses of 128 tokens, so that neither side pads.

    python benchmarks/logprobs.py --prompts 32,256,1024 --repeats 5 [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from harness import (
    RESPONSE,
    Measured,
    Setting,
    Trl,
    in_child,
    interleaved,
    load_model,
    machine,
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

BATCH = {32: 4, 256: 4, 1024: 2}
TRL = ("trl_online", "trl_cached")
OURS = ("two_rows", "shared", "packed", "auto")


class Ours:
    """LogProbs, ReferenceCache, DPO and AdamW."""

    def __init__(self, rows: list[Any], setting: Setting, *, form: str) -> None:
        import torch

        from pluralign import DPO, TokenBatch
        from pluralign.engines import LogProbs, ReferenceCache

        self.batch = TokenBatch(
            torch.tensor([token for row in rows for part in row for token in part]),
            torch.tensor([[len(part) for part in row] for row in rows]),
        )
        self.model = load_model(setting).train()
        self.engine = LogProbs(self.model, form=form)
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


def build(variant: str, setting: Setting, prompt: int) -> Any:
    """A variant, ready for its first step."""
    batch = BATCH[prompt]
    rows = rows_of([(prompt, RESPONSE, RESPONSE)] * batch, seed=prompt)
    if variant in TRL:
        return Trl(rows * 2, batch, setting, cached=variant == "trl_cached")
    return Ours(rows, setting, form=variant)


def measure(setting: Setting, prompt: int, variants: list[str], repeats: int) -> list[Any]:
    """One record for each variant at one prompt length, measured round by round."""
    runs = {v: build(v, setting, prompt) for v in variants}
    calls = {(v, kind): getattr(run, kind) for v, run in runs.items() for kind in ("step", "score")}
    seen = interleaved(calls, repeats)
    return [
        {
            "prompt": prompt,
            "variant": v,
            "step_s": spread(seen[v, "step"])["s"],
            "score_s": spread(seen[v, "score"])["s"],
        }
        for v in variants
    ]


def ratios(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times faster than TRL with cached reference, and the share of its memory."""
    found = []
    for peer in (r for r in results if r["variant"] == "trl_cached"):
        for ours in (r for r in results if r["prompt"] == peer["prompt"] and r["variant"] in OURS):
            times = {k: round(peer[k] / ours[k], 2) for k in ("step_s", "score_s")}
            memory = round(ours["peak_mb"] / peer["peak_mb"], 3)
            found.append(
                {"prompt": ours["prompt"], "variant": ours["variant"], **times, "memory": memory}
            )
    return found


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
        quiet()
        setting = Setting(directory=args.model, checkpointing=args.checkpointing)
        if args.child == "model":
            return save_model(args.model)
        build(args.child, setting, prompts[0]).step()
        return print(peak_mb())
    variants = [*TRL, *OURS]
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(directory=Path(folder), checkpointing=args.checkpointing)
        # Children first, and even the model made by one: a process inherits its
        # parent's peak, so this one must still be small.
        in_child(__file__, "--child", "model", "--model", folder)
        more = ["--checkpointing"] * args.checkpointing
        peaks = {
            (p, v): float(
                in_child(__file__, "--child", v, "--model", folder, "--prompts", str(p), *more)
            )
            for p in prompts
            for v in variants
        }
        quiet()
        results = [row for p in prompts for row in measure(setting, p, variants, args.repeats)]
    for row in results:
        row["peak_mb"] = round(peaks[row["prompt"], row["variant"]])
    note("")
    record = {"bench": "logprobs", "machine": machine(), "results": results}
    record["ratios"] = ratios(results)
    if args.json:
        return print(json.dumps(record))
    table("DPO step and scoring; medians of CPU seconds, peak memory in MiB", results)
    table("Times faster than TRL with cached reference; share of its memory", record["ratios"])
    return None


if __name__ == "__main__":
    main()
