"""What selection costs beside generating and scoring, and what one call for all directions saves.

SmolLM2-135M-Instruct where its package is installed, else random weights of its shape; k = 5
directions, one thread, medians of rounds. The first table is the wall-clock of ``select``
less that of the sampler and the scorer within it, as a share of the whole: the bar is at
most 2 %. The second steers one prompt of 512 tokens by ``select`` (one call of the sampler)
and by a call for each direction, CPU seconds, interleaved: the bar is at least 1.3 times.

    python benchmarks/steering.py [--repeats 3] [--prompts 4] [--tokens 64] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from harness import Measured, interleaved, machine, now, quiet, since, table
from sampling import load, prompts_of, words

K, ANGLE = 5, 30.0


class Timed:
    """A sampler or scorer that remembers how long its one method took."""

    def __init__(self, inner: Any, method: str) -> None:
        self.inner, self.method, self.seconds = inner, method, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._timed(found) if name == self.method else found

    def _timed(self, call: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begun

        return timed


class Steered:
    """A selection on real weights, its parts timed."""

    def __init__(self, args: argparse.Namespace) -> None:
        from pluralign import PromptTemplate
        from pluralign.engines.sampling import SamplingParams, TransformersSampler
        from pluralign.engines.scorers import FormatChecks, Joined, Length, Scaled
        from pluralign.steer import DirectionalSelection

        model, tokenizer, real = load()
        self.title = "SmolLM2-135M-Instruct" if real else "random weights of its shape"
        brief = Scaled(Length(), offset={"length": 60}, scale={"length": -20})
        form = FormatChecks(patterns={"ended": r"[.!?]\s*$"})
        names = (*brief.names, *form.names)
        template = PromptTemplate(attributes=names)
        self.params = SamplingParams(max_tokens=args.tokens)
        self.sampler = Timed(TransformersSampler(model, tokenizer, template=template), "sample")
        self.scorer = Timed(Joined([brief, form]), "score")
        self.pick = DirectionalSelection(
            sample=self.sampler, score=self.scorer, k=K, params=self.params
        )
        self.prompts = prompts_of(tokenizer, args.prompts, real)
        text = words(512, 1)
        while len(tokenizer(text)["input_ids"]) > 512:
            text = text.rsplit(" ", 1)[0]
        self.long = [{"role": "user", "content": text}]

    def target(self) -> Any:
        """The direction asked for."""
        from pluralign.steer.sphere import at_angle

        return at_angle(ANGLE)

    def overhead(self) -> dict[str, float]:
        """Seconds of one ``select`` over all prompts, by part."""
        import numpy as np

        self.sampler.seconds = self.scorer.seconds = 0.0
        begun = time.perf_counter()
        self.pick.select(self.prompts, np.tile(self.target(), (len(self.prompts), 1)), 0)
        whole = time.perf_counter() - begun
        parts = {"generation": self.sampler.seconds, "scoring": self.scorer.seconds}
        return {"whole": whole, **parts, "selection": whole - sum(parts.values())}

    def together(self) -> Measured:
        """One long prompt, all directions in one call."""
        begun = now()
        self.pick(self.long, self.target(), 0)
        return since(begun)

    def apart(self) -> Measured:
        """The same directions, a call for each."""
        begun = now()
        for direction in self.pick.neighbourhood.around(self.target(), 0).directions:
            found = self.sampler.sample([self.long], 1, self.params, direction[None])
            self.scorer.score([_item(self.long, found[0][0].text)])
        return since(begun)


def _item(prompt: Any, response: str) -> Any:
    from pluralign.engines.scorers import Item

    return Item(prompt=prompt, response=response)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    quiet()
    steered = Steered(args)
    rounds = [steered.overhead() for _ in range(args.repeats + 1)][1:]
    parts = [
        {
            "part": name,
            "seconds": round(statistics.median(r[name] for r in rounds), 4),
            "share": round(statistics.median(r[name] / r["whole"] for r in rounds), 5),
        }
        for name in rounds[0]
    ]
    ways = interleaved({"together": steered.together, "apart": steered.apart}, args.repeats)
    ratios = [a / b for a, b in zip(ways["apart"], ways["together"], strict=True)]
    saved = {"times": round(statistics.median(ratios), 2), "least": round(min(ratios), 2)}
    if args.json:
        print(json.dumps({"bench": "steering", "machine": machine(), "parts": parts, **saved}))
        return
    table(f"{args.prompts} prompts, k = {K}, {steered.title}", parts)
    times, least = saved["times"], saved["least"]
    told = f"one call is {times} times faster (least {least}) than a call for each"
    print(f"512 tokens, {K} directions: {told}")


if __name__ == "__main__":
    main()
