"""Reward accuracy is perfect long before rankings turn; which pairs turn is known beforehand.

``--scale toy`` and ``small`` run two experiments whose truth is known. (1) Free logits for
each pair, gradient descent on the DPO loss: the share of wrong pairs that turn against its
closed form. (2) A transformer of 2 layers over characters, tuned on chosen answers and then
by DPO on pairs with votes of 4 raters: what difficulty, computed before tuning, says of
which pairs turn (AUC), with the idealised accuracy and the gap. ``--scale paper`` audits
models of your own on pairs of your own (``--model DIR --data FILE``), as the paper's tables
do. ``--json`` prints one object instead of tables.
"""

import argparse
import copy
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import norm, rankdata

from pluralign import DPO, Preferences, PreferenceTrainer, ScoredPairs, TrainingConfig
from pluralign.audit import ranking_report
from pluralign.audit.difficulty import flip_threshold, triage
from pluralign.provenance import machine, versions
from pluralign.scores import PairScores

LETTERS = "abcdefghijkl"
RATERS = 4
BETA = 0.1
LOSS_BUDGET = 0.5
TABULAR = {"toy": (1000, (50, 200)), "small": (4000, (50, 200, 1000))}
PAIRS = {"toy": (500, (1.0, 3.0)), "small": (2000, (0.25, 0.5, 1.0, 2.0))}
SEEDS = {"toy": 1, "small": 3}


def tabular(n: int, spread: float, steps: tuple[int, ...], seed: int = 0) -> list[dict[str, float]]:
    """DPO on free logits (20 responses a prompt) by plain gradient descent, float64."""
    generator = torch.Generator().manual_seed(seed)
    start = spread / 2**0.5 * torch.randn(n, 20, generator=generator, dtype=torch.float64)
    reference = torch.log_softmax(start, dim=1)
    logits, margin, rows = start.clone().requires_grad_(), 0.0, []
    for step in range(1, max(steps) + 1):
        logps = torch.log_softmax(logits, dim=1)
        scores = PairScores(logps[:, 0], logps[:, 1], reference[:, 0], reference[:, 1])
        terms = DPO(beta=BETA)(scores)
        (gradient,) = torch.autograd.grad(terms.loss.sum(), logits)
        logits = (logits.detach() - gradient).requires_grad_()
        margin += 2 * BETA**2 / (1 + np.exp(margin))
        if step in steps:
            after = torch.log_softmax(logits.detach(), dim=1)
            rows.append({"spread": spread, "step": step} | _turned(after, reference, margin))
    return rows


def _turned(after: torch.Tensor, reference: torch.Tensor, margin: float) -> dict[str, float]:
    spread = float((reference[:, 1] - reference[:, 0]).std())
    size = len(after)
    pairs = Preferences(prompt=["p"] * size, chosen=["a"] * size, rejected=["b"] * size)
    columns = [t[:, k].numpy() for t in (after, reference) for k in (0, 1)]
    scored = ScoredPairs(pairs, *columns[:2], *columns[2:], beta=BETA)
    report = ranking_report(scored, beta=BETA)
    reward = BETA * (columns[0] - columns[1] - columns[2] + columns[3])
    return {
        "loss": float(np.log1p(np.exp(-reward)).mean()),
        "reward_accuracy": report["reward_accuracy"]["value"],
        "turned": report["flips"]["flipped_share_of_wrong"],
        "turned_formula": float(2 * norm.cdf(margin / (BETA * spread)) - 1),
        "ranking_accuracy": report["ranking_accuracy"]["value"],
        "ranking_accuracy_formula": float(norm.cdf(margin / (BETA * spread))),
        "margin_spread": float(np.ptp(reward)),
    }


def tokenizer_of_letters() -> Any:
    """One token a character."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<bos>", "<eos>", "<unk>", ":", *LETTERS]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def world(n: int, rng: np.random.Generator) -> tuple[Preferences, np.ndarray]:
    """Pairs of strings with votes of 4 raters from a Bradley-Terry model, and its truth.

    How likely a string is (a chain over letters) has nothing to do with how much it is
    liked (a weight for each letter), so that the reference ranks about half wrongly.
    """
    size = len(LETTERS)
    chain = rng.dirichlet(np.full(size, 0.3), size)
    liking = rng.normal(size=size)

    def string(length: int) -> np.ndarray:
        letters = [int(rng.integers(size))]
        while len(letters) < length:
            fresh = rng.random() < 0.3  # some letters leave the chain: unlikely strings
            letters.append(
                int(rng.integers(size) if fresh else rng.choice(size, p=chain[letters[-1]]))
            )
        return np.array(letters)

    records, shares = [], []
    for row in range(n):
        prompt, first, second = string(4), string(24), string(24)
        share = 1 / (1 + np.exp(-0.3 * (liking[first].sum() - liking[second].sum())))
        votes = rng.binomial(RATERS, share) / RATERS
        turn = votes < 0.5 or (votes == 0.5 and rng.random() < 0.5)
        first, second = (second, first) if turn else (first, second)
        shares.append(1 - share if turn else share)
        records.append(
            {
                "prompt": "".join(LETTERS[i] for i in prompt) + ":",
                "chosen": "".join(LETTERS[i] for i in first),
                "rejected": "".join(LETTERS[i] for i in second),
                "votes": max(votes, 1 - votes),
                "id": str(row),
            }
        )
    return Preferences.from_records(records, attributes=["votes"]), np.array(shares)


def auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Chance that the score of a positive is above that of a negative."""
    ranks, n = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def transformer(n: int, seed: int, epochs: tuple[float, ...]) -> list[dict[str, float]]:
    """SFT on chosen answers, then DPO for so many epochs; which of the wrong pairs turned?"""
    from pluralign.learn import SFTTrainer, tiny_model
    from pluralign.learn.scoring import score_pairs

    pairs, truth = world(n, np.random.default_rng(seed))
    tokenizer = tokenizer_of_letters()
    start = tiny_model(tokenizer, seed=seed)
    shared: dict[str, Any] = {
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 256,
        "seed": seed,
        "disable_tqdm": True,
        "logging_steps": 1000,
        "chosen_ratio_alarm": None,
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            output_dir=f"{folder}/sft", learning_rate=3e-3, num_train_epochs=4, **shared
        )
        SFTTrainer(start, pairs, tokenizer=tokenizer, config=config).fit()
        before = score_pairs(start, pairs, tokenizer)
        for passes in epochs:
            config = TrainingConfig(
                output_dir=f"{folder}/dpo-{passes}",
                learning_rate=5e-4,
                num_train_epochs=passes,
                **shared,
            )
            trainer = PreferenceTrainer(
                copy.deepcopy(start), DPO(beta=BETA), pairs, tokenizer=tokenizer, config=config
            )
            trainer.fit()
            found = _who_turned(before.rejected - before.chosen, trainer.scores(pairs), truth)
            rows.append({"seed": seed, "epochs": passes} | found)
    return rows


def _who_turned(deficit: np.ndarray, scored: ScoredPairs, truth: np.ndarray) -> dict[str, float]:
    votes = scored.pairs.attributes["votes"]
    kind = triage(deficit, BETA, loss_budget=LOSS_BUDGET)
    wrong = deficit > 0
    turned = wrong & (scored.chosen >= scored.rejected)
    report = ranking_report(scored, beta=BETA, alpha=votes)
    ideal = report["idealised"]
    return {
        "reference_accuracy": float(1 - wrong.mean()),
        "ranking_accuracy": report["ranking_accuracy"]["value"],
        "reward_accuracy": report["reward_accuracy"]["value"],
        "idealised_by_votes": ideal["median"],
        "idealised_by_truth": float(np.mean(truth > 1 / (1 + np.exp(-BETA * deficit)))),
        "gap_points": ideal["gap"]["median"],
        "deficit_sd_nats": float(deficit.std()),
        "turned_of_wrong": float(turned.sum() / wrong.sum()),
        "turned_of_easy": float(turned[kind == "easy"].mean()),
        "turned_of_hard": float(turned[kind == "hard"].mean()),
        "auc": auc(turned[wrong], flip_threshold(deficit, BETA)[wrong]),
    }


def audited(models: list[str], data: str, limit: int) -> list[dict[str, Any]]:
    """Ranking accuracy of models on pairs, summed and per token."""
    from pluralign.datasets import load_preferences
    from pluralign.learn.saved import load_model, load_tokenizer
    from pluralign.learn.scoring import score_pairs

    pairs = load_preferences(data, limit=limit)
    rows = []
    for path in models:
        model, tokenizer = load_model(path), load_tokenizer(path)
        report = ranking_report(score_pairs(model, pairs, tokenizer))
        rows.append(
            {"model": Path(path).name, "n": report["n_used"]}
            | {
                f"{key}_{end}": report[key][end]
                for key in ("ranking_accuracy", "ranking_accuracy_normalised")
                for end in ("value", "low", "high")
            }
        )
    return rows


def run(scale: str, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Both experiments at a scale."""
    (n, steps), (size, epochs) = TABULAR[scale], PAIRS[scale]
    free = [row for spread in (12.0, 120.0) for row in tabular(n, spread, steps)]
    return {
        "tabular": free,
        "transformer": [row for s in range(seeds) for row in transformer(size, s, epochs)],
    }


def show(rows: list[dict[str, Any]], title: str) -> None:
    """One table, a column for each row of the record."""
    table = Table(title=title, title_justify="left")
    for column in ("what", *("" for _ in rows)):
        table.add_column(column)
    for name in rows[0]:
        cells = [row[name] for row in rows]
        shown = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
        table.add_row(name, *shown)
    Console(width=max(80, 24 + 10 * len(rows))).print(table)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=("toy", "small", "paper"), default="toy")
    parser.add_argument("--seeds", type=int, default=None, help="of the transformer (1, or 3)")
    parser.add_argument("--model", action="append", default=[], help="directory; with paper")
    parser.add_argument("--data", default=None, help="file of pairs; with paper")
    parser.add_argument("--limit", type=int, default=1000, help="pairs; with paper")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.scale == "paper":
        if not options.model or not options.data:
            parser.error("--scale paper needs --model DIR (once or more) and --data FILE.")
        found = {"audit": audited(options.model, options.data, options.limit)}
    else:
        found = run(options.scale, options.seeds or SEEDS[options.scale])
    if options.json:
        record = {"reproduction": "ranking_accuracy", "scale": options.scale, **found}
        print(json.dumps({**record, "machine": {**machine(), **versions()}}))
        return 0
    for name, rows in found.items():
        show(rows, f"ranking_accuracy, scale {options.scale}: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
