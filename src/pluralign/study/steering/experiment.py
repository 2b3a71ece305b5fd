"""Steering as a whole experiment: prompts in, two arms at equal cost, one record out.

A run leaves in its directory

- ``run.json``: where it comes from (:func:`pluralign.provenance.provenance`), the recipe and
  the prompts' hash; by it a restarted run is known to be the same one;
- ``selections.jsonl``: a line for each prompt and target with the full records of both arms,
  written and flushed to the disk batch by batch;
- ``coverage.jsonl``: a line for each target, if held-out prompts are diagnosed first;
- ``report.html``: the results as a page;
- ``steering.json``: the results as data. All angles are degrees; those of neighbours are
  counted from the target (in two dimensions counter-clockwise, so the direction's own angle
  is the sum). What is not known is ``null``::

    {"kind": "steering", "title": text, "created": time,
     "attributes": [name of each of d], "trained": [[d numbers], ...] | null,
     "sampler": text, "scorer": text, "independent_scorer": text | null,
     "k": number, "spread": degrees, "confidence": level, "n_bootstrap": number,
     "targets": [{
       "angle": degrees | null (null unless d = 2), "direction": [d numbers],
       "scheme": "grid" | "offset" | "uniform" | "toward" | "target",
       "neighbours": [angles from the target], "n_prompts": number, "n_failed": number,
       "rps": {"mean", "low", "high"}, "baseline": {"mean", "low", "high"},
       "gain": {"value", "low", "high"},
       "wins": {"win", "tie", "loss", "rate", "low", "high"},
       "independent": {"rps", "baseline", "gain", "wins", "n", "correlation"} | null,
       "length": {"rps", "baseline"}, "generations": {"rps", "baseline"},
       "chosen_angles": {angle as text: times chosen},
       "neighbour_means": [{"angle", "mean", "se"}], "one_sided": sentence or "",
       "groups": [{"name", "n", "gain", "low", "high"}]}],
     "overall": {"rps", "baseline", "gain", "wins", "n_prompts", "independent", "generations"},
     "coverage_gain": [Coverage.to_json() of each target, or nothing],
     "examples": [{"prompt": text, "target": number of the target, "rps": text,
                   "baseline": text, "scores": {"rps", "baseline"}}],
     "provenance": the content of run.json}

``rate`` counts wins among prompts that are no ties, with Wilson's interval; ``low`` and
``high`` of means and gains come from a bootstrap over prompts; ``length`` is the mean number
of words of the chosen answers; ``independent`` judges the chosen answers by another scorer;
groups are those of the prompts, the one that gains least first, and empty if there is one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, cast, final

import numpy as np
from rich.console import Console
from rich.progress import track

from ...audit.report import write_steering_report
from ...engines.sampling import ScriptedSampler
from ...engines.sampling.base import sample_seed
from ...engines.scorers import Scorer, ScriptedScorer
from ...errors import DataError, ParameterError
from ...files import write_json
from ...provenance import provenance
from ...rules import shown
from ...steer import Coverage, DirectionalSelection, coverage_gain
from ...steer.comparison import matched, rescored
from ...steer.evidence import Bootstrap
from ...steer.sphere import unit
from .lines import Lines
from .prompts import Asked, read_prompts
from .recipe import SteeringRecipe
from .record import Steered, steering_record
from .sections import joined

_NOT_DECIDING = ("title", "output_dir", "audit")
"""Keys of a recipe that change no candidate: a run may go on with other ones."""


@final
@dataclass(frozen=True, kw_only=True)
class SteeringResult:
    """What a steering run left.

    Args:
        record: the content of ``steering.json``.
        directory: the run's directory.
        report: the page in it.
    """

    record: dict[str, Any]
    directory: Path
    report: Path


def run_steering(
    recipe: SteeringRecipe, *, overwrite: bool = False, quiet: bool = False
) -> SteeringResult:
    """Steer every prompt to every target, against as many samples at the target itself.

    Use it for a whole experiment that may be killed at any point: started again with the
    same recipe it goes on after the last finished batch, and ends with the same selections
    as if it had never stopped. A batch that is cut off is drawn anew as a whole, so that
    its rounding is the same too; what was written stays as it is.

    Args:
        recipe: a checked recipe.
        overwrite: replace an earlier run in the same directory instead of going on with it.
        quiet: show no progress.

    Raises:
        ParameterError: if the directory holds something else, or a run of another recipe,
            with the names of what differs.
        DataError: if the prompts cannot be used.

    Example:
        >>> import tempfile
        >>> from pluralign.study.steering import load_steering
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "trial.yaml").write_text(
        ...     "{name: trial, world: {name: fading, kappa: 1.5, prompts: 20},"
        ...     " targets: {angles: [45]}, audit: {n_bootstrap: 100}}")
        >>> recipe = load_steering(folder / "trial.yaml", [f"output_dir={folder / 'run'}"])
        >>> record = run_steering(recipe, quiet=True).record
        >>> record["targets"][0]["gain"]["low"] > 0
        True
    """
    directory = Path(recipe.output_dir)
    run = _Run(recipe, directory, quiet)
    _refuse_other(directory, overwrite)
    if overwrite and directory.exists():
        _ = run.selection, run.independent  # what cannot be built must not cost an earlier run
        run.refuse_within()
        shutil.rmtree(directory)
    run.begin()
    coverage = run.diagnosed()
    steered = run.steered(coverage)
    origin = run.origin
    record = steering_record(
        steered,
        run.targets,
        trained=run.trained,
        coverage=[one.to_json() for one in coverage],
        independent_name=origin["independent_scorer"],
        bootstrap=Bootstrap(recipe.audit.confidence, recipe.audit.n_bootstrap, recipe.seed),
        about={"title": recipe.title, "created": origin["created"], "provenance": origin},
    )
    write_json(directory / "steering.json", record)
    report = write_steering_report(record, directory / "report.html")
    return SteeringResult(record=record, directory=directory, report=report)


def refuse_difference(before: Any, now: Any, where: str, advice: str) -> None:
    """Compare the settings of an earlier run with those of this one.

    Args:
        before: plain values.
        now: likewise.
        where: what the earlier run is, for the message.
        advice: what to do.

    Raises:
        ParameterError: naming what differs.
    """
    found = list(_differences(before, now, ""))
    if found:
        listed = "\n".join(f"  {line}" for line in found)
        raise ParameterError(f"{where} was made with other settings; {advice}\n{listed}")


class _Run:
    """The steps of one run, with what they share."""

    def __init__(self, recipe: SteeringRecipe, directory: Path, quiet: bool) -> None:
        self.recipe = recipe
        self.directory = directory
        self.quiet = quiet
        self.origin: dict[str, Any] = {}
        self.asked, self.held_out = _prompts(recipe)
        self.targets = recipe.targets.rows()
        self.world = None if recipe.world is None else recipe.world.world(recipe.seed)
        trained: Any = recipe.selection.trained()
        trained = trained if self.world is None else self.world.train_directions
        self.trained = None if trained is None else np.array([unit(row) for row in trained])

    @cached_property
    def selection(self) -> DirectionalSelection:
        recipe = self.recipe
        if self.world is not None:
            score: Scorer = ScriptedScorer(names=self.world.names, rule=self.world.rule)
            self._check_attributes(score)
            sample: Any = ScriptedSampler(answer=self.world.answer)
        else:
            score = joined(recipe.scorers)
            self._check_attributes(score)
            journal = self.directory / "candidates.jsonl"
            sample = cast(Any, recipe.sampler).sampler(score.names, journal=journal)
        arguments: dict[str, Any] = recipe.selection.arguments(self.trained)
        arguments |= {"sample": sample, "score": score, "on_no_gain": "ignore"}
        return DirectionalSelection(params=recipe.sampling, **arguments)

    @cached_property
    def independent(self) -> Scorer | None:
        given = self.recipe.independent
        found = joined(given) if given else None
        d = self.targets.shape[1]
        if found is not None and len(found.names) not in (1, d):
            raise ParameterError(
                f"independent: has {len(found.names)} attributes ({', '.join(found.names)}); give "
                f"one, or the {d} of the targets."
            )
        return found

    def begin(self) -> None:
        """Find the earlier run, or write where this one comes from."""
        path = self.directory / "run.json"
        now = {"recipe": _deciding(self.recipe), "prompts": _hash(self.asked, self.held_out)}
        if path.exists():
            self.origin = json.loads(path.read_text(encoding="utf-8"))
            before = {name: self.origin["decides"][name] for name in now}
            refuse_difference(
                before,
                now,
                f"the run {self.origin['recipe'].get('name')!r} in {self.directory}",
                "choose another output_dir, or add --overwrite to replace it.",
            )
            return
        describe = getattr(self.selection.sample, "describe", dict[str, Any])
        self.origin = {
            "kind": "steering",
            **provenance(recipe=dict(self.recipe.resolved), seed=self.recipe.seed),
            "decides": now,
            "sampler": {"name": self.selection.sample.name, **describe()},
            "independent_scorer": "" if self.independent is None else self.independent.name,
        }
        write_json(path, self.origin)

    def diagnosed(self) -> tuple[Coverage, ...]:
        """What ``coverage_gain`` says of each target; a target is diagnosed once."""
        section = self.recipe.coverage
        if section is None:
            return ()
        prompts = [one.prompt for one in self.held_out]
        with Lines(self.directory / "coverage.jsonl") as lines:
            left = range(len(lines.rows), len(self.targets))
            for number in track(left, "diagnosis", disable=self.quiet, console=_console()):
                found = coverage_gain(
                    self.selection,
                    prompts,
                    self.targets[number],
                    self.recipe.seed,
                    threshold=section.threshold,
                )
                lines.append([found.to_json()])
            return tuple(Coverage.from_json(row) for row in lines.rows)

    def steered(self, coverage: tuple[Coverage, ...]) -> list[list[Steered]]:
        """All prompts at all targets, from the file as far as they are there."""
        size, n = self.recipe.batch, len(self.asked)
        batches = [range(start, min(start + size, n)) for start in range(0, n, size)]
        with Lines(self.directory / "selections.jsonl") as lines:
            done = {(row["prompt"], row["target"]) for row in lines.rows}
            left = [
                rows
                for rows in batches
                if not done.issuperset(product(rows, range(len(self.targets))))
            ]
            for rows in track(left, "prompts", disable=self.quiet, console=_console()):
                found = self._batch(rows, coverage)
                fresh = [one for one in found if (one.prompt, one.target) not in done]
                lines.append([one.to_json() for one in fresh])
            every = sorted(
                (Steered.from_json(row) for row in lines.rows), key=lambda one: one.prompt
            )
        return [[one for one in every if one.target == t] for t in range(len(self.targets))]

    def refuse_within(self) -> None:
        """What a run reads must not lie where the run before it is deleted."""
        home = self.directory.resolve()
        sources = [".", *([self.recipe.prompts.path] if self.recipe.prompts else [])]
        for source in sources:
            if Path(source).resolve().is_relative_to(home):
                raise ParameterError(
                    f"{source} lies in output_dir {self.directory}, which --overwrite replaces; "
                    "choose another output_dir."
                )

    def _batch(self, rows: Sequence[int], coverage: tuple[Coverage, ...]) -> list[Steered]:
        """Both arms of some prompts at all targets, in one call of the sampler for each."""
        on_no_gain = self.recipe.selection.on_no_gain
        selection = replace(self.selection, on_no_gain=on_no_gain, coverage=coverage)
        keys = list(product(rows, range(len(self.targets))))
        prompts = [self.asked[p].prompt for p, _ in keys]
        directions = np.array([self.targets[t] for _, t in keys])
        seed = self.recipe.seed
        steered = selection.select(prompts, directions, seed)
        other = sample_seed(seed, "baseline", 0)
        pairs = list(zip(steered, matched(selection, steered, other), strict=True))
        second = None if self.independent is None else rescored(self.independent, pairs)
        return [
            Steered(
                target=t,
                prompt=p,
                group=self.asked[p].group,
                pair=pairs[i],
                independent=None if second is None else second[i],
            )
            for i, (p, t) in enumerate(keys)
        ]

    def _check_attributes(self, score: Scorer) -> None:
        d = self.targets.shape[1]
        if len(score.names) != d:
            raise ParameterError(
                f"targets: have {d} values, but the scorers have {len(score.names)} attributes "
                f"({', '.join(score.names)}); give one value for each."
            )


def _prompts(recipe: SteeringRecipe) -> tuple[list[Asked], list[Asked]]:
    """Prompts to steer, and those held out for the diagnosis."""
    wanted = 0 if recipe.coverage is None else recipe.coverage.prompts
    section = recipe.prompts
    if recipe.world is not None:
        used, held = recipe.world.prompts, wanted
        return (
            [Asked(f"prompt {i}", "") for i in range(used)],
            [Asked(f"held-out prompt {i}", "") for i in range(held)],
        )
    if section is None:
        raise ParameterError("prompts: is required without a world.")
    asked = read_prompts(
        section.path,
        field=section.field,
        group=section.group,
        limit=None if section.limit is None else section.limit + wanted,
        chat=section.chat,
    )
    used = section.limit if section.limit is not None else len(asked) - wanted
    if used < 1 or len(asked) - used < wanted:
        raise DataError(
            f"has {len(asked)} prompts, too few for {section.limit or 'any'} to steer and {wanted} "
            "held out for coverage; lower one of them.",
            source=section.path,
        )
    return asked[:used], asked[used : used + wanted]


def _refuse_other(directory: Path, overwrite: bool) -> None:
    """Only a steering run may be continued or replaced."""
    if directory.exists() and not directory.is_dir():
        raise ParameterError(f"output_dir {directory} is a file; name a directory.")
    if not directory.exists() or not any(directory.iterdir()):
        return
    path = directory / "run.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None
    if kind != "steering":
        what = "--overwrite would delete other files" if overwrite else "choose another"
        raise ParameterError(f"output_dir {directory} holds no steering run; {what}.")


def _deciding(recipe: SteeringRecipe) -> dict[str, Any]:
    values = {name: value for name, value in recipe.resolved.items() if name not in _NOT_DECIDING}
    return json.loads(json.dumps(values, default=str))


def _hash(*parts: Sequence[Asked]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _differences(before: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        was, has = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        for name in dict.fromkeys((*was, *has)):
            at = f"{where}.{name}" if where and where != "recipe" else name
            yield from _differences(was.get(name), has.get(name), at)
    elif before != now and where == "prompts":
        yield "prompts: the file holds other ones now."
    elif before != now:
        yield f"{where}: was {shown(before)}, is {shown(now)}"


def _console() -> Console:
    return Console(stderr=True)
