"""Recipes: flat values per object, checked whole before anything is loaded.

Every problem of a recipe is found and shown at once, with its path in the file and,
for an unknown key, the nearest valid name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, cast, final

from .. import catalog, objectives
from ..datasets import make_text_world
from ..datasets.labels import Label, check_label
from ..engines.packaged import PACKAGED_MODELS
from ..errors import ParameterError
from ..learn.config import TrainingConfig
from ..objectives import PairObjective
from ..rules import AnyOf, Kind, OneOf, Within, check, nearest, shown
from . import yaml_values

_LABEL = AnyOf(None, Kind(str), Kind(list))
_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_RESERVED = ("start", "sft")

PER_GROUP = "per_group"
"""Recipe value of ``flip_rate``: estimate a rate for each group, then use it per pair."""


@final
@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where the pairs come from: ``world: text`` (embedded) or ``path`` (a file).

    Args:
        world: name of an embedded world; ``options`` go to its maker.
        path: file or directory of preference pairs, or ``owner/name`` of the hub.
        format: shape of the file, or ``"auto"``.
        group: column that names who gave the pair, or several that together do.
        annotator: column that names the rater, likewise.
        domain: column that names where the pair came from, likewise.
        split: which split to read, where the source has several.
        limit: read only the first so many rows.
        allow_download: let ``path`` be a data set of the hub.
        eval_share: share of pairs held out, whole prompts at a time.
        drop_unusable: drop blank rows with a warning instead of refusing the file.
        chat: put string prompts and responses as turns into the model's chat template.
        options: arguments of the world, or what the format leaves open.
    """

    world: Annotated[str | None, AnyOf(None, OneOf("text"))] = None
    path: Annotated[str | None, AnyOf(None, Kind(str))] = None
    format: Annotated[str, Kind(str)] = "auto"
    group: Annotated[Label, _LABEL] = None
    annotator: Annotated[Label, _LABEL] = None
    domain: Annotated[Label, _LABEL] = None
    split: Annotated[str | None, AnyOf(None, Kind(str))] = None
    limit: Annotated[int | None, AnyOf(None, Within(1, integer=True))] = None
    allow_download: Annotated[bool, Kind(bool)] = False
    eval_share: Annotated[float, Within(0.0, 1.0, closed="neither")] = 0.2
    drop_unusable: Annotated[bool, Kind(bool)] = False
    chat: Annotated[bool, Kind(bool)] = False
    options: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """Exactly one source, and nothing that has no effect on it."""
        if (self.world is None) == (self.path is None):
            return ["give either 'world' or 'path'."]
        if self.world is not None:
            idle = _changed(self, set(self.__dataclass_fields__) - {"world", "options"})
            return [f"{name!r} has no effect on an embedded world; drop it." for name in idle]
        labels = ("group", "annotator", "domain")
        return [wrong for name in labels if (wrong := check_label(name, getattr(self, name)))]


@final
@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The model to tune: ``path``, ``packaged``, or a new small one.

    Args:
        path: directory of a causal language model with its tokenizer, or a GGUF file.
        packaged: name of a model that an installed package ships.
        vocab_size: size of the byte-level BPE trained on the texts, for a new model
            (an embedded world brings its own tokenizer).
        hidden_size: width of a new model.
        num_layers: depth of a new model.
        num_heads: attention heads of a new model.
        lora_rank: train adapters of this rank instead of all weights.
    """

    path: Annotated[str | None, AnyOf(None, Kind(str))] = None
    packaged: Annotated[str | None, AnyOf(None, OneOf(*PACKAGED_MODELS))] = None
    vocab_size: Annotated[int, Within(300, 200_000, integer=True)] = 2048
    hidden_size: Annotated[int, Within(8, 16_384, integer=True)] = 64
    num_layers: Annotated[int, Within(1, 200, integer=True)] = 2
    num_heads: Annotated[int, Within(1, 256, integer=True)] = 4
    lora_rank: Annotated[int | None, AnyOf(None, Within(1, 1024, integer=True))] = None

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """One source of the model; heads divide the width."""
        if self.path is not None and self.packaged is not None:
            return ["give either 'path' or 'packaged', not both."]
        if self.path is not None or self.packaged is not None:
            shape = ("vocab_size", "hidden_size", "num_layers", "num_heads")
            idle = _changed(self, shape)
            return [f"{name!r} has no effect on a given model; drop it." for name in idle]
        if self.hidden_size % self.num_heads:
            return [f"hidden_size {self.hidden_size} is no multiple of {self.num_heads} heads."]
        return []


@final
@dataclass(frozen=True, kw_only=True)
class NoiseSection:
    """How flip rates are estimated, by group.

    Args:
        method: ``gold`` (pairs whose truth is known), ``double_annotation`` (an upper
            bound) or ``em`` (from the margins of the first tuned model).
    """

    method: Annotated[str, OneOf("gold", "double_annotation", "em")] = "em"

    def __post_init__(self) -> None:
        check(self)


@final
@dataclass(frozen=True, kw_only=True)
class AuditSection:
    """How results are reported.

    Args:
        by: column to slice by.
        confidence: level of the intervals.
        n_bootstrap: bootstrap draws.
    """

    by: Annotated[str, Kind(str)] = "group"
    confidence: Annotated[float, Within(0.5, 1.0, closed="neither")] = 0.95
    n_bootstrap: Annotated[int, Within(100, 100_000, integer=True)] = 2000

    def __post_init__(self) -> None:
        check(self)


@final
@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One objective to tune with.

    Args:
        objective: the objective, complete but for rates that are yet to be estimated.
        per_group: whether ``flip_rate`` waits for the estimates of ``noise``.
    """

    objective: PairObjective
    per_group: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A checked recipe; :func:`load_recipe` makes it.

    Args:
        name: short name of the run.
        title: heading of the report.
        seed: seed of data, weights and order.
        output_dir: directory that the run leaves.
        data: where the pairs come from.
        model: what to tune.
        sft: supervised fine-tuning before the preference step, if any.
        training: settings of the preference step.
        tune: objectives by the name of their model.
        noise: how flip rates are estimated, if an objective asks for it.
        audit: how results are reported.
        reference: directory of reference scores that several runs share; they are computed
            if it has none for this model and these pairs.
        resolved: the same as plain values, as written to ``run.json``.
    """

    name: str
    title: str
    seed: int
    output_dir: str
    data: DataSection
    model: ModelSection
    sft: TrainingConfig | None
    training: TrainingConfig
    tune: Mapping[str, Tuning]
    noise: NoiseSection | None
    audit: AuditSection
    reference: str | None
    resolved: Mapping[str, Any]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: YAML file.
        overrides: ``"path.to.key=value"``; the value is read as YAML.

    Raises:
        ParameterError: listing every problem of the file.
    """
    tree = yaml_values.tree(path, overrides)
    if "targets" in tree and "tune" not in tree:
        raise ParameterError(f"{path} steers and tunes nothing: pluralign steer {path}")
    return _Reader(str(path)).recipe(tree)


def tunable_objectives() -> list[str]:
    """Names of the catalogue's objectives that tune a model on pairs."""
    names = [part.name.partition(".")[2] for part in catalog.parts("objective")]
    return [name for name in names if issubclass(getattr(objectives, name), PairObjective)]


def _is_model_name(name: object) -> bool:
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        return False
    return bool(_MODEL_NAME.fullmatch(str(name))) and str(name).lower() not in _RESERVED


def _nul_texts(value: object, where: str) -> list[str]:
    """Places of texts that no path and no message can hold."""
    if isinstance(value, str):
        return [where] if "\0" in value else []
    if isinstance(value, dict):
        parts = cast("dict[Any, Any]", value).items()
        return [at for name, part in parts for at in _nul_texts(part, f"{where}.{name}")]
    return []


def _changed(section: Any, names: Iterable[str]) -> list[str]:
    """Those of the fields of a dataclass that differ from their defaults."""
    defaults = {f.name: f.default for f in fields(section) if f.name in names}
    return [name for name, value in defaults.items() if getattr(section, name) != value]


class _Reader:
    """Builds the sections of one recipe and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def recipe(self, tree: dict[str, Any]) -> Recipe:
        known = {f.name for f in fields(Recipe)} - {"resolved"}
        self._unknown("", tree, known)
        nul = _nul_texts(tree, "")
        self.problems += [f"{at[1:]}: contains a NUL character; remove it." for at in nul]
        parts: dict[str, Any] = {
            "name": self._text(tree, "name"),
            "title": self._text(tree, "title", default=str(tree.get("name", ""))),
            "output_dir": self._text(tree, "output_dir", default=f"runs/{tree.get('name')}"),
            "seed": self._seed(tree.get("seed", 0)),
            "data": self._build(DataSection, tree.get("data"), "data"),
            "model": self._build(ModelSection, tree.get("model", {}), "model"),
            "training": self._build(TrainingConfig, tree.get("training", {}), "training"),
            "audit": self._build(AuditSection, tree.get("audit", {}), "audit"),
            "tune": self._tune(tree.get("tune")),
            "reference": self._directory(tree.get("reference")),
        }
        for name, section in (("sft", TrainingConfig), ("noise", NoiseSection)):
            given = tree.get(name)
            parts[name] = None if given is None else self._build(section, given, name)
        self._world_options(parts["data"])
        self._noise_is_known(parts["noise"], parts["tune"])
        self._reference_is_read(parts["reference"], parts["tune"])
        if self.problems:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            raise ParameterError(f"{self.source} has {len(self.problems)} problem(s):\n{listed}")
        return Recipe(**parts, resolved=tree)

    def _unknown(self, where: str, given: Mapping[str, Any], known: set[str]) -> None:
        for key in given:
            if key not in known:
                self.problems.append(f"{where}{key}: unknown key; {nearest(str(key), known)}")

    def _text(self, tree: Mapping[str, Any], name: str, default: str | None = None) -> str:
        value = tree.get(name, default)
        if not isinstance(value, str) or not value:
            self.problems.append(f"{name}: must be a text; got {shown(value)}.")
        return str(value)

    def _noise_is_known(self, noise: NoiseSection | None, tune: Mapping[str, Tuning]) -> None:
        waiting = [name for name, tuning in tune.items() if tuning.per_group]
        if waiting and noise is None:
            self.problems.append("noise: needed, because a flip_rate is 'per_group'.")
        if waiting and noise is not None and noise.method == "em" and len(waiting) == len(tune):
            self.problems.append(
                "noise.method: 'em' takes the margins of a tuned model; tune an objective "
                "without per_group too."
            )
        if tune and noise is not None and not waiting:
            self.problems.append(
                "noise: no flip_rate is 'per_group', so it has no effect; drop it."
            )

    def _reference_is_read(self, reference: str | None, tune: Mapping[str, Tuning]) -> None:
        if reference and tune and not any("ref_chosen" in t.objective.needs for t in tune.values()):
            self.problems.append("reference: no objective of tune reads one; drop it.")

    def _directory(self, value: object) -> str | None:
        if value is not None and (not isinstance(value, str) or not value):
            self.problems.append(f"reference: must name a directory; got {shown(value)}.")
        return cast("str | None", value)

    def _seed(self, value: object) -> int:
        if not Within(0, 2**31 - 1, integer=True).admits(value):
            self.problems.append(f"seed: must be an integer >= 0; got {shown(value)}.")
            return 0
        return cast(int, value)

    def _build(self, section: Callable[..., Any], given: object, where: str) -> Any:
        """An instance of a dataclass from plain values, or ``None`` with problems noted."""
        if not isinstance(given, dict):
            self.problems.append(f"{where}: must be a section of values; got {shown(given)}.")
            return None
        values = cast("dict[str, Any]", given)
        members = {f.name: f for f in fields(cast(Any, section))}
        self._unknown(f"{where}.", values, set(members))
        required = {
            name
            for name, f in members.items()
            if f.default is MISSING and f.default_factory is MISSING
        }
        missing = sorted(required - set(values))
        self.problems += [f"{where}.{name}: is required." for name in missing]
        if missing:
            return None
        try:
            return section(**{key: value for key, value in values.items() if key in members})
        except ParameterError as error:
            self.problems += [f"{where}: {line}" for line in str(error).splitlines()]
            return None

    def _tune(self, given: object) -> dict[str, Tuning]:
        if not isinstance(given, dict) or not given:
            self.problems.append(f"tune: must name at least one objective; got {shown(given)}.")
            return {}
        self.problems += [
            f"tune.{name}: a model's name must be letters, digits, '.', '_' or '-', and not "
            f"{' or '.join(map(repr, _RESERVED))}."
            for name in cast("dict[Any, Any]", given)
            if not _is_model_name(name)
        ]
        tuned = {
            str(name): self._objective(values, f"tune.{name}")
            for name, values in cast("dict[str, Any]", given).items()
        }
        return {name: tuning for name, tuning in tuned.items() if tuning is not None}

    def _objective(self, given: object, where: str) -> Tuning | None:
        if not isinstance(given, dict):
            self.problems.append(f"{where}: must be a section of values; got {shown(given)}.")
            return None
        values = dict(cast("dict[str, Any]", given))
        names = tunable_objectives()
        name = values.pop("objective", None)
        if name not in names:
            self.problems.append(
                f"{where}.objective: unknown {shown(name)}; {nearest(str(name), names)}"
            )
            return None
        per_group = values.get("flip_rate") == PER_GROUP
        if per_group:
            values["flip_rate"] = "per_pair"
        objective = self._build(getattr(objectives, cast(str, name)), values, where)
        return None if objective is None else Tuning(objective=objective, per_group=per_group)

    def _world_options(self, data: DataSection | None) -> None:
        if data is None or data.world is None:
            return
        known = set(inspect.signature(make_text_world).parameters) - {"seed"}
        self._unknown("data.options.", data.options, known)
