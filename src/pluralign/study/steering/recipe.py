"""Recipes of steering runs: checked whole before anything is loaded.

Every problem of a recipe is found and shown at once, with its path in the file and,
for an unknown key, the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, cast, final

from ...engines.sampling.base import SamplingParams
from ...errors import ParameterError
from ...rules import Within, nearest, shown
from .. import yaml_values
from .sections import (
    AuditSection,
    CoverageSection,
    PromptsSection,
    SamplerSection,
    ScorerSection,
    SelectionSection,
    TargetsSection,
    WorldSection,
)


@final
@dataclass(frozen=True, kw_only=True)
class SteeringRecipe:
    """A checked recipe; :func:`load_steering` makes it.

    Args:
        name: short name of the run.
        title: heading of the report.
        seed: of all draws.
        output_dir: directory that the run leaves.
        world: a world with known truth; ``None`` for a real model.
        prompts: where prompts come from; ``None`` with a world, likewise the next two.
        sampler: what samples.
        scorers: what scores, side by side; their attributes are those of the directions.
        sampling: how candidates are drawn.
        independent: scores the chosen answers of both arms and chooses nothing.
        targets: what users want.
        selection: how neighbours are drawn and the best is chosen.
        coverage: whether it is diagnosed beforehand that neighbours help.
        audit: how results are reported.
        resolved: the same as plain values, as written to ``run.json``.
    """

    name: str
    title: str
    seed: int
    output_dir: str
    world: WorldSection | None
    prompts: PromptsSection | None
    sampler: SamplerSection | None
    scorers: tuple[ScorerSection, ...]
    sampling: SamplingParams
    independent: tuple[ScorerSection, ...]
    targets: TargetsSection
    selection: SelectionSection
    coverage: CoverageSection | None
    audit: AuditSection
    resolved: Mapping[str, Any]

    @property
    def batch(self) -> int:
        """Prompts that are worked on together."""
        section = self.world or self.prompts
        return 1 if section is None else section.batch


def load_steering(path: str | Path, overrides: Sequence[str] = ()) -> SteeringRecipe:
    """Read and check the recipe of a steering run.

    Args:
        path: YAML file.
        overrides: ``"path.to.key=value"``; the value is read as YAML.

    Raises:
        ParameterError: listing every problem of the file.
    """
    tree = yaml_values.tree(path, overrides)
    if "tune" in tree and "targets" not in tree:
        raise ParameterError(f"{path} tunes and steers nothing: pluralign run {path}")
    return _Reader(str(path)).recipe(tree)


class _Reader:
    """Builds the sections of one recipe and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def recipe(self, tree: dict[str, Any]) -> SteeringRecipe:
        self._unknown("", tree, {f.name for f in fields(SteeringRecipe)} - {"resolved"})
        parts: dict[str, Any] = {
            "name": self._text(tree, "name"),
            "title": self._text(tree, "title", default=str(tree.get("name", ""))),
            "output_dir": self._text(tree, "output_dir", default=f"runs/{tree.get('name')}"),
            "seed": self._seed(tree.get("seed", 0)),
            "sampling": self._sampling(tree.get("sampling", {}), tree.get("seed", 0)),
            "targets": self._build(TargetsSection, tree.get("targets"), "targets"),
            "selection": self._build(SelectionSection, tree.get("selection", {}), "selection"),
            "coverage": self._maybe(CoverageSection, tree, "coverage"),
            "audit": self._build(AuditSection, tree.get("audit", {}), "audit"),
            "world": self._maybe(WorldSection, tree, "world"),
            "prompts": self._maybe(PromptsSection, tree, "prompts"),
            "sampler": self._maybe(SamplerSection, tree, "sampler"),
            "scorers": self._scorers(tree, "scorers"),
            "independent": self._scorers(tree, "independent"),
        }
        self._sources(tree, parts)
        self._diagnosis(parts)
        self._geometry(parts)
        if self.problems:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            raise ParameterError(f"{self.source} has {len(self.problems)} problem(s):\n{listed}")
        return SteeringRecipe(**parts, resolved=tree)

    def _sources(self, tree: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
        """A world, or all of prompts, sampler and scorers."""
        names = ("prompts", "sampler", "scorers")
        if tree.get("world") is None:
            self.problems += [
                f"{name}: is required without a world." for name in names if tree.get(name) is None
            ]
            return
        self.problems += [
            f"{name}: has no effect on a world; drop it." for name in names if name in tree
        ]
        selection: SelectionSection | None = parts["selection"]
        if selection is not None and selection.trained() is not None:
            self.problems.append("selection: a world knows its trained directions; drop them.")

    def _diagnosis(self, parts: Mapping[str, Any]) -> None:
        selection: SelectionSection | None = parts["selection"]
        if selection and selection.on_no_gain != "ignore" and parts["coverage"] is None:
            self.problems.append(
                f"coverage: needed, because selection.on_no_gain is {selection.on_no_gain!r}."
            )

    def _geometry(self, parts: Mapping[str, Any]) -> None:
        """The scheme and the trained directions suit the targets."""
        selection: SelectionSection | None = parts["selection"]
        targets: TargetsSection | None = parts["targets"]
        if selection is None or targets is None or parts["world"] is not None:
            return
        try:
            selection.neighbourhood().around(targets.rows()[0])
        except ParameterError as error:
            self.problems.append(f"selection: {error}")

    def _unknown(self, where: str, given: Mapping[str, Any], known: set[str]) -> None:
        for key in given:
            if key not in known:
                self.problems.append(f"{where}{key}: unknown key; {nearest(str(key), known)}")

    def _text(self, tree: Mapping[str, Any], name: str, default: str | None = None) -> str:
        value = tree.get(name, default)
        if not isinstance(value, str) or not value or "\0" in value:
            self.problems.append(f"{name}: must be a text; got {shown(value)}.")
        return str(value)

    def _seed(self, value: object) -> int:
        if not Within(0, 2**31 - 1, integer=True).admits(value):
            self.problems.append(f"seed: must be an integer >= 0; got {shown(value)}.")
            return 0
        return cast(int, value)

    def _sampling(self, given: object, seed: object) -> Any:
        if not isinstance(given, dict):
            return self._build(SamplingParams, given, "sampling")
        values = dict(cast("dict[str, Any]", given))
        if "seed" in values:
            self.problems.append("sampling.seed: the seed of the recipe decides; drop it.")
        if isinstance(values.get("stop"), list):
            values["stop"] = tuple(values["stop"])
        sound = Within(0, 2**31 - 1, integer=True).admits(seed)
        return self._build(SamplingParams, {**values, "seed": seed if sound else 0}, "sampling")

    def _maybe(self, section: Callable[..., Any], tree: Mapping[str, Any], name: str) -> Any:
        given = tree.get(name)
        return None if given is None else self._build(section, given, name)

    def _scorers(self, tree: Mapping[str, Any], name: str) -> tuple[ScorerSection, ...]:
        given = tree.get(name)
        if given is None:
            return ()
        if not isinstance(given, list) or not given:
            self.problems.append(f"{name}: must be a list of scorers; got {shown(given)}.")
            return ()
        rows = cast("list[object]", given)
        built = [self._build(ScorerSection, row, f"{name}[{i}]") for i, row in enumerate(rows)]
        return tuple(one for one in built if one is not None)

    def _build(self, section: Callable[..., Any], given: object, where: str) -> Any:
        """An instance of a dataclass from plain values, or ``None`` with problems noted."""
        if not isinstance(given, dict):
            self.problems.append(f"{where}: must be a section of values; got {shown(given)}.")
            return None
        values = cast("dict[str, Any]", given)
        members = {f.name: f for f in fields(cast(Any, section))}
        self._unknown(f"{where}.", values, set(members))
        missing = sorted(
            name
            for name, f in members.items()
            if f.default is MISSING and f.default_factory is MISSING and name not in values
        )
        self.problems += [f"{where}.{name}: is required." for name in missing]
        if missing:
            return None
        try:
            return section(**{key: value for key, value in values.items() if key in members})
        except ParameterError as error:
            self.problems += [f"{where}: {line}" for line in str(error).splitlines()]
            return None
