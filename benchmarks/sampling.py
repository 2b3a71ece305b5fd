"""Many answers to each prompt: our sampler against transformers' ``generate``.

SmolLM2-135M-Instruct where its package is installed, else random weights of its shape;
prompts of the lengths of AlpacaEval's; one thread, float32. ``generate`` is called as its
users call it: prompt by prompt with ``num_return_sequences=n``, on left-padded batches of
prompts with the same, and one answer at a time. The figure is tokens of finished answers
per CPU second; what a call draws after an answer has ended does not count.

The second table draws one answer for each of several directions of one long prompt: all in
one call, in one call that reads the prompt for each, and in one call for each.

    python benchmarks/sampling.py --repeats 3 [--top-p 0.9] [--json] [--write sampling]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from harness import Measured, interleaved, machine, now, quiet, since, table

POOL = Path(__file__).parents[2] / "shared" / "data" / "alpaca_eval_pool" / "pool.jsonl.gz"
WORDS = 49_152
QUANTILES = (7, 10, 13, 17, 22, 29, 40, 114)  # tokens; used where the pool is not at hand


def load() -> tuple[Any, Any, bool]:
    """Model, tokenizer and whether they are real."""
    from pluralign.engines.packaged import load_packaged

    try:
        return *load_packaged("smollm2-135m-instruct"), True
    except ImportError:
        return *random_weights(), False


def random_weights() -> tuple[Any, Any]:
    """The shape without the knowledge; a word is a token, and answers hardly ever end."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    return LlamaForCausalLM(config).eval(), tokenizer


def prompts_of(tokenizer: Any, count: int, real: bool) -> list[list[dict[str, str]]]:
    """Prompts at even quantiles of the pool's lengths, as messages."""
    if real and POOL.exists():
        with gzip.open(POOL, "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["instruction"] for line in file]
        texts.sort(key=lambda text: (len(tokenizer(text)["input_ids"]), text))
        texts = [texts[(2 * i + 1) * len(texts) // (2 * count)] for i in range(count)]
    else:
        texts = [words(QUANTILES[i % len(QUANTILES)], i) for i in range(count)]
    return [[{"role": "user", "content": text}] for text in texts]


def words(length: int, seed: int) -> str:
    """Words of the random model, a token each; several tokens each for a real one."""
    return " ".join(f"w{(seed * 7919 + i * 31) % 40_000 + 2}" for i in range(length))


class Run:
    """Ways to draw n answers to each prompt; each gives seconds for a token."""

    def __init__(self, args: argparse.Namespace) -> None:
        from pluralign.engines.sampling import SamplingParams, TransformersSampler

        self.model, self.tokenizer, real = load()
        self.title = "SmolLM2-135M-Instruct" if real else "random weights of its shape"
        self.tokenizer.padding_side = "left"
        self.args = args
        self.prompts = prompts_of(self.tokenizer, args.prompts, real)
        self.params = SamplingParams(max_tokens=args.tokens, top_p=args.top_p)
        self.sampler = TransformersSampler(self.model, self.tokenizer)
        self.ends = self.sampler.describe()["ends"]
        self.drawn: dict[str, int] = {}

    def ours(self) -> Measured:
        """One call for all prompts."""
        begun = now()
        found = self.sampler.sample(self.prompts, self.args.n, self.params)
        return self._each("ours", sum(c.n_tokens for row in found for c in row), begun)

    def generate(self) -> Measured:
        """Prompt by prompt, n answers each."""
        begun = now()
        count = sum(self._generated([prompt], self.args.n) for prompt in self.prompts)
        return self._each("generate", count, begun)

    def generate_batched(self) -> Measured:
        """Batches of eight prompts, n answers each."""
        begun = now()
        batches = [self.prompts[i : i + 8] for i in range(0, len(self.prompts), 8)]
        count = sum(self._generated(batch, self.args.n) for batch in batches)
        return self._each("generate_batched", count, begun)

    def one_at_a_time(self) -> Measured:
        """A single answer to each of some prompts; n of them would take n times as long."""
        begun = now()
        count = sum(self._generated([prompt], 1) for prompt in self.prompts[::4])
        return self._each("one_at_a_time", count, begun)

    def _each(self, name: str, tokens: int, begun: Measured) -> Measured:
        self.drawn[name] = tokens
        cpu, wall = since(begun)
        return cpu / tokens, wall / tokens

    def _generated(self, prompts: list[Any], n: int) -> int:
        """Tokens up to the end of each answer."""
        inputs = self.tokenizer.apply_chat_template(
            prompts,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        inputs.pop("token_type_ids", None)
        rows = self.model.generate(
            **inputs,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=self.args.top_p,
            max_new_tokens=self.args.tokens,
            num_return_sequences=n,
        )[:, inputs["input_ids"].shape[1] :].tolist()
        firsts = [next((i for i, t in enumerate(row) if t in self.ends), len(row)) for row in rows]
        return sum(min(first + 1, len(row)) for first, row in zip(firsts, rows, strict=True))


class Directions:
    """One answer for each direction of one long prompt, three ways."""

    def __init__(self, run: Run) -> None:
        import numpy as np

        from pluralign.engines.sampling import PromptTemplate, SamplingParams, TransformersSampler

        names = ("helpfulness", "brevity")
        self.sampler = TransformersSampler(
            run.model, run.tokenizer, template=PromptTemplate(attributes=names)
        )
        text = words(512, 1)
        while len(run.tokenizer(text)["input_ids"]) > 512:
            text = text.rsplit(" ", 1)[0]
        self.prompt = [{"role": "user", "content": text}]
        angles = [math.pi * (i + 1) / 18 for i in range(run.args.directions)]
        self.directions = np.array([[math.cos(a), math.sin(a)] for a in angles])
        self.params = SamplingParams(max_tokens=run.args.direction_tokens)

    def shared(self) -> Measured:
        """All in one call."""
        return self._timed(lambda: self._sample(self.directions))

    def one_call(self) -> Measured:
        """One call in which no prompt knows that it begins like another."""
        with patch("pluralign.engines.sampling.loop._SAVED", math.inf):
            return self._timed(lambda: self._sample(self.directions))

    def one_call_each(self) -> Measured:
        """As many calls as directions."""
        return self._timed(lambda: [self._sample(row[None]) for row in self.directions])

    def _sample(self, directions: Any) -> Any:
        return self.sampler.sample([self.prompt] * len(directions), 1, self.params, directions)

    def _timed(self, call: Callable[[], Any]) -> Measured:
        begun = now()
        call()
        return since(begun)


def rows_of(seen: dict[str, list[float]], ours: str) -> list[dict[str, Any]]:
    """Medians and how many times faster ours is, with the range over rounds."""
    rows: list[dict[str, Any]] = []
    for name, values in seen.items():
        ratios = [v / o for v, o in zip(values, seen[ours], strict=True)]
        rows.append(
            {
                "variant": name,
                "cpu_s": statistics.median(values),
                "times_ours": round(statistics.median(ratios), 2),
                "least": round(min(ratios), 2),
                "most": round(max(ratios), 2),
            }
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--n", type=int, default=8, help="answers to each prompt")
    parser.add_argument("--tokens", type=int, default=96, help="longest answer")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--directions", type=int, default=5)
    parser.add_argument("--direction-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", metavar="NAME", help="keep the record in benchmarks/results")
    args = parser.parse_args()
    quiet()
    run = Run(args)
    names = ("ours", "generate", "generate_batched", "one_at_a_time")
    answers = rows_of(interleaved({n: getattr(run, n) for n in names}, args.repeats), "ours")
    for row in answers:
        row["tokens_per_cpu_s"] = round(1 / row.pop("cpu_s"), 1)
        row["tokens"] = run.drawn[row["variant"]]
    several = Directions(run)
    names = ("shared", "one_call", "one_call_each")
    calls = {n: getattr(several, n) for n in names}
    directions = rows_of(interleaved(calls, args.repeats), "shared")
    for row in directions:
        row["cpu_s"] = round(row["cpu_s"], 2)
    record = {
        "bench": "sampling",
        "model": run.title,
        "settings": vars(args),
        "sampler": run.sampler.describe(),
        "machine": machine(),
        "answers": answers,
        "directions": directions,
    }
    if args.write:
        path = Path(__file__).with_name("results") / f"{args.write}.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if args.json:
        return print(json.dumps(record))
    table(f"{args.n} answers to each of {args.prompts} prompts, {run.title}", answers)
    table(f"{args.directions} directions of one prompt of 512 tokens", directions)
    return None


if __name__ == "__main__":
    main()
