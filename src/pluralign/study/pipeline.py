"""The main job: pairs in, tuned models out, an audit by group and one report.

The way is straight: data -> start model -> (flip rates) -> one model for each objective
-> scores on held-out pairs -> audit -> report. Each step is one method below, in order.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final

from rich.console import Console

from ..audit import FlipRate, flip_rate, write_report
from ..audit.frames import group_labels
from ..audit.record import audit_models
from ..data import Preferences, ScoredPairs
from ..datasets import file_hash, load_preferences, make_text_world, train_eval_split
from ..engines import ReferenceCache
from ..engines.gguf import load_gguf
from ..engines.packaged import load_packaged
from ..errors import ParameterError
from ..files import write_json
from ..learn import PreferenceTrainer, SFTTrainer, score_pairs, tiny_model, train_tokenizer
from ..learn.adapters import lora_config
from ..learn.config import TrainingConfig
from ..learn.record import described
from ..learn.scoring import tokenised
from ..learn.scratch import as_text, load_model, load_tokenizer
from ..objectives import PairObjective
from ..provenance import provenance
from .recipe import Recipe, Tuning

START = "start"
"""Name of the model before preference tuning."""

WIDEST = 0.25
"""Widest interval of a flip rate whose estimate is used as it is."""

HIGHEST = 0.4
"""Highest flip rate to train with; above it the noise of the gradient grows 25-fold."""


@final
@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left.

    Args:
        record: the content of ``audit.json``.
        report: path of ``report.html``, if one was written.
        directory: the run's directory, if one was written.
    """

    record: dict[str, Any]
    report: Path | None
    directory: Path | None


@final
@dataclass(frozen=True, kw_only=True)
class _Material:
    """What the recipe's data section yields."""

    train: Preferences
    held_out: Preferences
    demonstrations: list[tuple[Any, Any]]
    tokenizer: Any
    truth: Mapping[str, Any]


def run_recipe(recipe: Recipe, *, overwrite: bool = False, quiet: bool = False) -> RunResult:
    """Run a recipe from data to report.

    Args:
        recipe: a checked recipe.
        overwrite: replace the directory of an earlier run.
        quiet: print nothing but progress bars.

    Returns:
        The record, and where the report lies.

    Raises:
        ParameterError: if the output directory holds something else.
        DataError: if the pairs cannot be used.
    """
    directory = Path(recipe.output_dir)
    _refuse_occupied(directory, overwrite)
    return _Run(recipe, directory, Console(quiet=quiet)).result()


def _refuse_occupied(directory: Path, overwrite: bool) -> None:
    """Only an earlier run may be replaced, and only if asked."""
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not overwrite:
        raise ParameterError(
            f"output_dir {directory} is not empty; choose another or add --overwrite."
        )
    if not (directory / "run.json").exists():
        raise ParameterError(
            f"output_dir {directory} holds no run; --overwrite would delete other files."
        )


class _Run:
    """The steps of one run, with what they share."""

    def __init__(self, recipe: Recipe, directory: Path, console: Console) -> None:
        self.recipe = recipe
        self.directory = directory
        self.console = console
        self.rates: dict[str, FlipRate] = {}
        self.scored: dict[str, ScoredPairs] = {}
        self.reference: ReferenceCache | None = None
        self.given: tuple[Any, Any] | None = None

    def result(self) -> RunResult:
        origin = provenance(recipe=dict(self.recipe.resolved), seed=self.recipe.seed)
        material = self._material()
        # Before anything is spent: can the results be sliced, can every pair be read?
        group_labels(material.held_out, self.recipe.audit.by)
        for pairs in (material.train, material.held_out):
            tokenised(pairs, material.tokenizer, self.recipe.training)
        # Not sooner: input that cannot be used must not cost an earlier run.
        if self.directory.exists():
            shutil.rmtree(self.directory)
        write_json(self.directory / "run.json", origin)
        start = self._start(material)
        self.scored[START] = score_pairs(
            start, material.held_out, material.tokenizer, config=self._config(START)
        )
        waiting = {name: t for name, t in self.recipe.tune.items() if t.per_group}
        for name, tuning in self.recipe.tune.items():
            if name not in waiting:
                self._tune(name, tuning, start, material)
        if waiting:
            material = self._with_rates(material)
        for name, tuning in waiting.items():
            self._tune(name, tuning, start, material)
        record = self._record(material, origin)
        write_json(self.directory / "audit.json", record)
        report = write_report(record, self.directory / "report.html")
        return RunResult(record=record, report=report, directory=self.directory)

    def _material(self) -> _Material:
        section, seed = self.recipe.data, self.recipe.seed
        if section.world is not None:
            world = make_text_world(seed=seed, **section.options)
            return _Material(
                train=world.train,
                held_out=world.eval,
                demonstrations=list(world.sft),
                tokenizer=world.tokenizer(),
                truth=world.truth,
            )
        pairs = load_preferences(
            cast(str, section.path),
            format=cast(Any, section.format),
            group=section.group,
            annotator=section.annotator,
            domain=section.domain,
            drop_unusable=section.drop_unusable,
            options=section.options or None,
        )
        pairs = with_groups(as_chat(pairs) if section.chat else pairs)
        train, held_out = train_eval_split(pairs, section.eval_share, seed=seed)
        # Both responses, so that the start model knows the language without the labels.
        demonstrations = [
            *zip(train.prompt, train.chosen, strict=True),
            *zip(train.prompt, train.rejected, strict=True),
        ]
        return _Material(
            train=train,
            held_out=held_out,
            demonstrations=demonstrations,
            tokenizer=self._tokenizer(demonstrations),
            truth={},
        )

    def _given_model(self) -> tuple[Any, Any]:
        """The recipe's pretrained model and its tokenizer, loaded once; or nothing."""
        section = self.recipe.model
        if self.given is None:
            if section.packaged is not None:
                self.given = load_packaged(section.packaged)
            elif section.path is not None and section.path.endswith(".gguf"):
                self.given = load_gguf(section.path)
            elif section.path is not None:
                self.given = load_model(section.path), load_tokenizer(section.path)
        return self.given or (None, None)

    def _tokenizer(self, demonstrations: list[tuple[Any, Any]]) -> Any:
        _, tokenizer = self._given_model()
        if tokenizer is not None:
            return tokenizer
        texts = [as_text(part) for pair in demonstrations for part in pair]
        return train_tokenizer(texts, vocab_size=self.recipe.model.vocab_size)

    def _start(self, material: _Material) -> Any:
        """The model before preference tuning, fine-tuned on demonstrations if asked."""
        section = self.recipe.model
        model, _ = self._given_model()
        if model is None:
            model = tiny_model(
                material.tokenizer,
                hidden_size=section.hidden_size,
                num_layers=section.num_layers,
                num_heads=section.num_heads,
                max_length=self.recipe.training.max_length,
                seed=self.recipe.seed,
            )
        if self.recipe.sft is not None:
            self.console.rule("supervised fine-tuning", align="left")
            trainer = SFTTrainer(
                model,
                material.demonstrations,
                tokenizer=material.tokenizer,
                config=self._config("sft", self.recipe.sft),
            )
            trainer.fit()
            trainer.save(self.directory / "models" / START)
        return model

    def _config(self, name: str, config: TrainingConfig | None = None) -> TrainingConfig:
        return replace(
            config or self.recipe.training,
            output_dir=str(self.directory / "training" / name),
            seed=self.recipe.seed,
        )

    def _tune(self, name: str, tuning: Tuning, start: Any, material: _Material) -> None:
        self.console.rule(f"{name}: {tuning.objective!r}", align="left")
        rank = self.recipe.model.lora_rank
        trainer = PreferenceTrainer(
            copy.deepcopy(start),
            tuning.objective,
            material.train,
            tokenizer=material.tokenizer,
            config=self._config(name),
            eval_pairs=material.held_out,
            reference=self.reference or "initial",
            peft_config=None if rank is None else lora_config(rank),
        )
        # All models start from the same weights, so the first one's reference serves all.
        self.reference = self.reference or trainer.reference_cache()
        trainer.fit()
        self.scored[name] = trainer.scores(material.held_out)
        trainer.save(self.directory / "models" / name)

    def _with_rates(self, material: _Material) -> _Material:
        """Estimate flip rates by group and put them beside each training pair."""
        method = cast(Any, self.recipe.noise).method
        if method == "em":
            # Held-out margins: those of the training pairs are drawn towards their labels.
            name = next((n for n in self.scored if n != START), None)
            if name is None:
                raise ParameterError(
                    "noise.method 'em' needs margins; tune an objective without per_group first."
                )
            source: Any = self.scored[name]
        else:
            source = material.train
        self.rates = flip_rate(source, method=method, by="group")
        rates = {group: assumed(rate) for group, rate in self.rates.items()}
        # The labels that a world holds out are the true ones.
        held_rates = rates if self.recipe.data.world is None else dict.fromkeys(rates, 0.0)
        return replace(
            material,
            train=material.train.with_flip_rates(rates),
            held_out=material.held_out.with_flip_rates(held_rates),
        )

    def _record(self, material: _Material, origin: dict[str, Any]) -> dict[str, Any]:
        section = self.recipe.audit
        audited = audit_models(
            self.scored,
            by=section.by,
            confidence=section.confidence,
            n_bootstrap=section.n_bootstrap,
            seed=self.recipe.seed,
        )
        for model in audited["models"]:
            tuning = self.recipe.tune.get(model["name"])
            model["title"] = model["name"]
            model["objective"] = None if tuning is None else settings_of(tuning.objective)
            model["training"] = read_metrics(self.directory / "training" / model["name"])
        return {
            "title": self.recipe.title,
            "created": origin["created"],
            "data": {
                "source": self.recipe.data.world or material.train.source,
                "file": None if self.recipe.data.path is None else file_hash(self.recipe.data.path),
                "fingerprint": material.train.fingerprint(),
                "n_train": len(material.train),
                "n_eval": len(material.held_out),
                "groups": material.train.group_sizes(),
            },
            **audited,
            "noise": self._noise(material.truth.get("flip_rates", {})),
            "provenance": origin,
        }

    def _noise(self, truth: Mapping[str, float]) -> list[dict[str, Any]]:
        return [
            {
                "group": group,
                "estimator": rate.method,
                "estimate": rate.value,
                "low": rate.low,
                "high": rate.high,
                "assumed": assumed(rate),
                "truth": truth.get(group),
                "n": rate.n,
            }
            for group, rate in self.rates.items()
        ]


def with_groups(pairs: Preferences) -> Preferences:
    """The pairs, all in one group if nobody said who gave them."""
    return pairs if pairs.group is not None else pairs.with_columns(group=("all",) * len(pairs))


def as_chat(pairs: Preferences) -> Preferences:
    """String prompts as a user's turn, string responses as the assistant's."""

    def turn(texts: Any, role: str) -> list[Any]:
        return [({"role": role, "content": t},) if isinstance(t, str) else t for t in texts]

    return pairs.with_columns(
        prompt=turn(pairs.prompt, "user"),
        chosen=turn(pairs.chosen, "assistant"),
        rejected=turn(pairs.rejected, "assistant"),
    )


def assumed(rate: FlipRate) -> float:
    """The rate to train with: the estimate, or the lower end where little is known.

    An overstated rate can leave a robust loss without a minimum, an understated one only
    brings it closer to DPO; so an interval wider than 0.25 yields its lower end.
    """
    known = rate.high - rate.low <= WIDEST
    return min(rate.value if known else rate.low, HIGHEST)


def settings_of(objective: PairObjective) -> dict[str, Any]:
    """Name and settings of an objective, flat."""
    facts = cast("dict[str, Any]", described(objective))
    return {"name": facts["name"], **facts["fields"]}


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """Rows of a trainer's ``metrics.jsonl``; none if it did not train."""
    path = directory / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
