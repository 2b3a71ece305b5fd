"""The main job: pairs in, tuned models out, an audit by group and one report.

The way is straight: data -> start model -> (flip rates) -> one model for each objective
-> scores on held-out pairs -> audit -> report. Each step is one method below, in order.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from ..audit import FlipRate, flip_rate, write_report
from ..audit.model_card import model_card
from ..audit.record import audit_models
from ..data import ScoredPairs
from ..engines import ReferenceCache
from ..errors import ParameterError
from ..files import write_json, write_text
from ..learn import PreferenceTrainer, SFTTrainer, precompute, score_pairs, tiny_model
from ..learn.adapters import lora_config
from ..learn.config import TrainingConfig
from ..learn.profile import Profile
from ..learn.record import described
from ..objectives import PairObjective
from ..provenance import provenance
from .loading import on_device
from .material import Material, prepare
from .recipe import Recipe, Tuning
from .results import RunResult

START = "start"
"""Name of the model before preference tuning."""

WIDEST = 0.25
"""Widest interval of a flip rate whose estimate is used as it is."""

HIGHEST = 0.4
"""Highest flip rate to train with; above it the noise of the gradient grows 25-fold."""


def run_recipe(
    recipe: Recipe, *, overwrite: bool = False, quiet: bool = False, profile: bool = False
) -> RunResult:
    """Run a recipe from data to report.

    Args:
        recipe: a checked recipe.
        overwrite: replace the directory of an earlier run.
        quiet: print nothing but progress bars.
        profile: record where the time of a few steps of each preference tuning goes
            (``profile/NAME/profile.md`` and a trace), which slows those steps down.

    Returns:
        The record, and where the report lies.

    Raises:
        ParameterError: if the output directory holds something else.
        DataError: if the pairs cannot be used.
    """
    directory = Path(recipe.output_dir)
    _refuse_occupied(directory, overwrite)
    _refuse_within(directory, recipe)
    return _Run(recipe, directory, Console(quiet=quiet), profile).result()


def _refuse_occupied(directory: Path, overwrite: bool) -> None:
    """Only an earlier run may be replaced, and only if asked."""
    if directory.exists() and not directory.is_dir():
        raise ParameterError(f"output_dir {directory} is a file; name a directory.")
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


def _refuse_within(directory: Path, recipe: Recipe) -> None:
    """What a run reads must not lie where the run before it is deleted."""
    home = directory.resolve()
    sources = {
        "data.path": recipe.data.path,
        "model.path": recipe.model.path,
        "reference": recipe.reference,
        "the working directory": ".",
    }
    if recipe.reference is not None and Path(recipe.reference).is_file():
        raise ParameterError(f"reference {recipe.reference} is a file; name a directory.")
    for name, source in sources.items():
        if source is not None and Path(source).resolve().is_relative_to(home):
            raise ParameterError(
                f"{name} ({source}) lies in output_dir {directory}, which a run replaces; "
                "choose another output_dir."
            )


class _Run:
    """The steps of one run, with what they share."""

    def __init__(self, recipe: Recipe, directory: Path, console: Console, profile: bool) -> None:
        self.recipe = recipe
        self.directory = directory
        self.console = console
        self.profile = profile
        self.rates: dict[str, FlipRate] = {}
        self.scored: dict[str, ScoredPairs] = {}
        self.reference: ReferenceCache | None = None

    def result(self) -> RunResult:
        origin = provenance(recipe=dict(self.recipe.resolved), seed=self.recipe.seed)
        material = prepare(self.recipe)
        waiting = {name: t for name, t in self.recipe.tune.items() if t.per_group}
        if waiting and cast(Any, self.recipe.noise).method != "em":
            self.rates = self._flip_rates(material.train)
        # Not sooner: input that cannot be used must not cost an earlier run.
        if self.directory.exists():
            shutil.rmtree(self.directory)
        write_json(self.directory / "run.json", origin)
        start = self._start(material)
        self.scored[START] = score_pairs(
            start, material.held_out, material.tokenizer, config=self._config(START)
        )
        if self.recipe.reference is not None:
            self.reference = self._shared_reference(start, material)
        for name, tuning in self.recipe.tune.items():
            if name not in waiting:
                self._tune(name, tuning, start, material)
        if waiting:
            material = self._with_rates(material)
        for name, tuning in waiting.items():
            self._tune(name, tuning, start, material)
        if waiting:  # how sure the held-out labels are belongs to the audit of every model
            self.scored = {
                name: replace(scored, pairs=scored.pairs.with_flip_rates(self._held_rates()))
                for name, scored in self.scored.items()
            }
        record = self._record(material, origin)
        write_json(self.directory / "audit.json", record)
        report = write_report(record, self.directory / "report.html")
        self._write_cards(record)
        return RunResult(record=record, report=report, directory=self.directory)

    def _start(self, material: Material) -> Any:
        """The model before preference tuning, fine-tuned on demonstrations if asked."""
        section = self.recipe.model
        model = material.model
        if model is None:
            model = tiny_model(
                material.tokenizer,
                hidden_size=section.hidden_size,
                num_layers=section.num_layers,
                num_heads=section.num_heads,
                max_length=self.recipe.training.max_length,
                seed=self.recipe.seed,
            )
            model = on_device(model)
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

    def _tune(self, name: str, tuning: Tuning, start: Any, material: Material) -> None:
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
            callbacks=[Profile(self.directory / "profile" / name)] if self.profile else (),
        )
        # All models start from the same weights, so the first one's reference serves all.
        self.reference = self.reference or trainer.reference_cache()
        trainer.fit()
        self.scored[name] = trainer.scores(material.held_out)
        trainer.save(self.directory / "models" / name, adapter_only=self._base_is_packaged())

    def _base_is_packaged(self) -> bool:
        """Whether what lies below an adapter can be had again without being saved."""
        recipe = self.recipe
        adapted = recipe.model.lora_rank is not None and recipe.sft is None
        return adapted and recipe.model.packaged is not None

    def _shared_reference(self, start: Any, material: Material) -> ReferenceCache:
        return precompute(
            start,
            material.train,
            material.tokenizer,
            self._config(START),
            self.recipe.reference,
            eval_pairs=material.held_out,
        )

    def _write_cards(self, record: dict[str, Any]) -> None:
        """A model card beside each saved model."""
        for model in record["models"]:
            directory = self.directory / "models" / model["name"]
            if directory.is_dir():
                write_text(directory / "README.md", model_card(record, model["name"]))

    def _with_rates(self, material: Material) -> Material:
        """Estimate flip rates by group and put them beside each training pair."""
        if not self.rates:
            # Held-out margins: those of the training pairs are drawn towards their labels.
            first = next(name for name in self.scored if name != START)
            self.rates = self._flip_rates(self.scored[first])
        rates = {group: assumed(rate) for group, rate in self.rates.items()}
        return replace(
            material,
            train=material.train.with_flip_rates(rates),
            held_out=material.held_out.with_flip_rates(self._held_rates()),
        )

    def _held_rates(self) -> dict[str, float]:
        """Rates of the held-out labels; those that a world holds out are the true ones."""
        made = self.recipe.data.world is not None
        return {group: 0.0 if made else assumed(rate) for group, rate in self.rates.items()}

    def _flip_rates(self, source: Any) -> dict[str, FlipRate]:
        return flip_rate(source, method=cast(Any, self.recipe.noise).method, by="group")

    def _record(self, material: Material, origin: dict[str, Any]) -> dict[str, Any]:
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
                "source": self._source(material),
                "file": material.file,
                "fingerprint": material.train.fingerprint(),
                "n_train": len(material.train),
                "n_eval": len(material.held_out),
                "groups": material.train.group_sizes(),
            },
            "data_audit": material.data_audit,
            "base": self._base(),
            **audited,
            "noise": self._noise(material.truth.get("flip_rates", {})),
            "provenance": origin,
        }

    def _source(self, material: Material) -> str:
        world = self.recipe.data.world
        return material.train.source if world is None else f"{world} world (made, truth known)"

    def _base(self) -> dict[str, Any]:
        """The model that everything started from, for the model card."""
        section = self.recipe.model
        return {
            "name": section.packaged or section.path,
            "packaged": section.packaged is not None,
            "sft": self.recipe.sft is not None,
            "lora_rank": section.lora_rank,
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
