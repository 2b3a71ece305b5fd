"""Sections of a steering recipe: values, their rules, and the objects they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, cast, final

import numpy as np

from ...datasets.direction_worlds import DirectionWorld, fading_world, learned_world
from ...engines import scorers as scoring
from ...engines.sampling import PromptTemplate, Sampler, find_sampler, sampler_names
from ...engines.scorers import ClassifierScorer, Joined, RewardScorer, Scaled, Scorer
from ...errors import ParameterError
from ...rules import AnyOf, Kind, OneOf, Within, check, nearest, shown
from ...steer.directions import Count, IncludeTarget, Law, Neighbourhood, SchemeName, Spread, Step
from ...steer.pool import Standardise
from ...steer.selection import OnNoGain
from ...steer.sphere import Floats, at_angle, unit
from ..loading import DTYPES, load_named

SCORERS = {
    "classifier": "ClassifierScorer",
    "format": "FormatChecks",
    "length": "Length",
    "readability": "Readability",
    "relevance": "Relevance",
    "reward": "RewardScorer",
    "sentiment": "Sentiment",
}
"""Scorers by the name that a recipe gives them."""

_ANGLE = Within(-180.0, 180.0)
_LIST = AnyOf(None, Kind(list))


@final
@dataclass(frozen=True, kw_only=True)
class WorldSection:
    """A world with known truth in place of prompts, sampler and scorers.

    Args:
        name: ``fading`` (quality fades beyond the trained cone) or ``learned`` (the negative
            control: neighbours have nothing to offer).
        kappa: how fast quality fades (``fading`` only).
        noise: standard deviation of a candidate's rewards.
        prompts: how many.
        batch: prompts that are worked on together.
    """

    name: Annotated[str, OneOf("fading", "learned")]
    kappa: Annotated[float | None, AnyOf(None, Within(0.0))] = None
    noise: Annotated[float, Within(0.0)] = 0.15
    prompts: Annotated[int, Within(1, None, integer=True)] = 100
    batch: Annotated[int, Within(1, None, integer=True)] = 8

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """``kappa`` is for the world that fades."""
        if self.name == "fading" and self.kappa is None:
            return ["kappa is required for a world that fades."]
        if self.name == "learned" and self.kappa is not None:
            return ["kappa has no effect on a learned world; drop it."]
        return []

    def world(self, seed: int) -> DirectionWorld:
        """The world."""
        if self.kappa is not None:
            return fading_world(kappa=self.kappa, noise=self.noise)
        return learned_world(seed=seed, noise=self.noise)


@final
@dataclass(frozen=True, kw_only=True)
class PromptsSection:
    """Where the prompts come from.

    Args:
        path: ``.txt`` (a prompt a line), or JSON, JSONL, CSV or Parquet, also gzipped.
        field: column with a text or messages.
        group: column that names the group of a prompt.
        limit: use only the first so many.
        chat: make a text the turn of a user.
        batch: prompts that are worked on together; a kill loses at most these.
    """

    path: Annotated[str, Kind(str)]
    field: Annotated[str, Kind(str)] = "prompt"
    group: Annotated[str | None, AnyOf(None, Kind(str))] = None
    limit: Annotated[int | None, AnyOf(None, Within(1, integer=True))] = None
    chat: Annotated[bool, Kind(bool)] = False
    batch: Annotated[int, Within(1, None, integer=True)] = 8

    def __post_init__(self) -> None:
        check(self)


@final
@dataclass(frozen=True, kw_only=True)
class SamplerSection:
    """What samples, and how it is told a direction.

    Args:
        name: a sampler, such as ``transformers``, ``server`` or ``vllm``.
        model: directory, ``.gguf`` file or ``packaged:NAME`` (``transformers``), or the
            server's or vLLM's name of the model.
        dtype: type of the weights (``transformers``); as saved if not given.
        placement: put the direction into the ``user`` or the ``system`` message.
        style: ``weights`` or ``levels``.
        scale: what a weight of 1 is written as.
        options: further arguments of the sampler.
    """

    name: Annotated[str, Kind(str)] = "transformers"
    model: Annotated[str | None, AnyOf(None, Kind(str))] = None
    dtype: Annotated[str | None, OneOf(None, *DTYPES)] = None
    placement: Annotated[Any, OneOf("user", "system")] = "user"
    style: Annotated[Any, OneOf("weights", "levels")] = "weights"
    scale: Annotated[int, Within(1, 10_000, integer=True)] = 100
    options: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check(self)
        if self.dtype and self.name != "transformers":
            raise ParameterError(
                f"dtype {self.dtype} is for transformers; {self.name} has its own."
            )

    def conflicts(self) -> list[str]:
        """The sampler exists, takes the options, and has its model."""
        names = [name for name in sampler_names() if name not in ("ray", "scripted")]
        if self.name not in names:
            return [f"name: unknown {shown(self.name)}; {nearest(self.name, names)}"]
        if self.name in ("transformers", "server", "vllm") and not self.model:
            return [f"model is required for {self.name}."]
        own = ("model", "tokenizer", "template")
        return _unknown_options("options", find_sampler(self.name), self.options, own)

    def sampler(self, attributes: tuple[str, ...] | None, **defaults: Any) -> Sampler:
        """The sampler; it follows directions if attributes are named.

        Args:
            attributes: of a direction.
            defaults: arguments to give where the sampler has them and ``options`` do not.
        """
        make = find_sampler(self.name)
        known = inspect.signature(make).parameters
        given = {name: value for name, value in defaults.items() if name in known}
        given |= self.options
        if attributes is not None:
            given["template"] = PromptTemplate(
                attributes=attributes,
                placement=self.placement,
                style=self.style,
                scale=self.scale,
            )
        if self.name == "transformers":
            return make(*load_named(cast(str, self.model), dtype=self.dtype), **given)
        return make(**given) if self.model is None else make(model=self.model, **given)


@final
@dataclass(frozen=True, kw_only=True)
class ScorerSection:
    """One scorer with one or more attributes, on the scale ``(value - offset) / scale``.

    Args:
        scorer: ``length``, ``readability``, ``sentiment``, ``relevance``, ``format``,
            ``reward`` (a reward model trained here) or ``classifier`` (a published one).
        model: directory of the model (``reward``, ``classifier``).
        offset: by attribute.
        scale: by attribute; negative turns it around.
        rename: new names of attributes.
        options: further arguments of the scorer.
    """

    scorer: Annotated[str, OneOf(*SCORERS)]
    model: Annotated[str | None, AnyOf(None, Kind(str))] = None
    offset: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])
    scale: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])
    rename: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])
    options: Annotated[dict[str, Any], Kind(dict)] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """A model where one is needed, and options that the scorer has."""
        if (self.model is None) == (self.scorer in ("reward", "classifier")):
            return [
                f"model is required for {self.scorer}."
                if self.model is None
                else f"model has no effect on {self.scorer}; drop it."
            ]
        make = getattr(scoring, SCORERS[self.scorer])
        return _unknown_options("options", make, self.options, ("model", "tokenizer"))

    def build(self) -> Scorer:
        """The scorer, loaded."""
        if self.model is not None:
            made = _loaded_scorer(self.scorer, self.model, self.options)
        else:
            made = getattr(scoring, SCORERS[self.scorer])(**self.options)
        if not (self.offset or self.scale or self.rename):
            return made
        return Scaled(made, offset=self.offset, scale=self.scale, rename=self.rename)


@final
@dataclass(frozen=True, kw_only=True)
class TargetsSection:
    """What users want: ``angles`` between two attributes in degrees, or ``directions``.

    Args:
        angles: 0 is the first attribute alone, 90 the second.
        directions: one value for each attribute, any length but zero.
    """

    angles: Annotated[list[float] | None, _LIST] = None
    directions: Annotated[list[list[float]] | None, _LIST] = None

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """Exactly one of the two, and sound."""
        if (self.angles is None) == (self.directions is None):
            return ["give either 'angles' or 'directions'."]
        try:
            rows = self.rows()
        except (ParameterError, TypeError, ValueError) as error:
            return [str(error)]
        if not len(rows):
            return ["name at least one target."]
        if len(np.unique(rows.round(9), axis=0)) < len(rows):
            return ["each target must be given once."]
        return []

    def rows(self) -> Floats:
        """Unit vectors (A, d)."""
        if self.angles is not None:
            return _at(self.angles, "angles")
        given: Any = self.directions
        rows = [unit(row, f"directions[{i}]") for i, row in enumerate(given)]
        sizes = sorted({len(row) for row in rows})
        if len(sizes) > 1:
            raise ParameterError(f"directions must be of one length; got {shown(sizes)}.")
        return np.array(rows)


@final
@dataclass(frozen=True, kw_only=True)
class SelectionSection:
    """How neighbours are drawn and the best is chosen: see ``DirectionalSelection``.

    Args:
        k: directions.
        spread: largest angle from the target, degrees.
        scheme: ``grid``, ``offset``, ``uniform``, ``toward``, or nothing to choose by what is
            known.
        train_directions: what the model was tuned on.
        train_angles: the same as angles, of two attributes.
        include_target: whether the target is the first direction.
        step: degrees, of ``grid`` and ``offset``.
        grid: lowest and highest angle.
        law: of ``uniform``.
        nonnegative: no direction with a negative part.
        per_direction: candidates for each direction.
        standardise: ``pool`` compares z-scores over the candidates of a prompt.
        stop_above: leave out further directions once a score is above this.
        on_no_gain: what to do at a target where the diagnosis finds no gain.
    """

    k: Count = 5
    spread: Spread = 30.0
    scheme: SchemeName = None
    train_directions: Annotated[list[list[float]] | None, _LIST] = None
    train_angles: Annotated[list[float] | None, _LIST] = None
    include_target: IncludeTarget = None
    step: Step = 5.0
    grid: Annotated[list[float], Kind(list)] = field(default_factory=lambda: [-40.0, 40.0])
    law: Law = "cap"
    nonnegative: Annotated[bool, Kind(bool)] = False
    per_direction: Count = 1
    standardise: Annotated[Standardise, OneOf("none", "pool")] = "none"
    stop_above: Annotated[float | None, AnyOf(None, Within())] = None
    on_no_gain: Annotated[OnNoGain, OneOf("ignore", "warn", "refuse")] = "ignore"

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """What makes no neighbourhood."""
        if self.train_angles is not None and self.train_directions is not None:
            return ["give either 'train_directions' or 'train_angles'."]
        if self.stop_above is not None and self.standardise == "pool":
            return ["stop_above has no meaning with standardise 'pool'."]
        try:
            self.neighbourhood()
        except ParameterError as error:
            return [line.removeprefix("Neighbourhood: ") for line in str(error).splitlines()]
        return []

    def neighbourhood(self) -> Neighbourhood:
        """Where neighbours are drawn, by what the recipe alone knows."""
        given = self.arguments(self.trained())
        return Neighbourhood(**{one.name: given[one.name] for one in fields(Neighbourhood)})

    def trained(self) -> Any:
        """The trained directions as rows, if any are given."""
        if self.train_angles is not None:
            return _at(self.train_angles, "train_angles").tolist()
        return self.train_directions

    def arguments(self, trained: Any) -> dict[str, Any]:
        """Arguments of ``DirectionalSelection``, with these trained directions."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        del own["train_angles"]
        return {**own, "grid": tuple(self.grid), "train_directions": trained}


@final
@dataclass(frozen=True, kw_only=True)
class CoverageSection:
    """The diagnosis before: do neighbours help at each target?

    Args:
        prompts: held-out prompts, those that follow the used ones.
        threshold: standard errors that a gain must exceed.
    """

    prompts: Annotated[int, Within(2, None, integer=True)] = 50
    threshold: Annotated[float, Within(0.0)] = 2.0

    def __post_init__(self) -> None:
        check(self)


@final
@dataclass(frozen=True, kw_only=True)
class AuditSection:
    """How results are reported.

    Args:
        confidence: level of the intervals.
        n_bootstrap: bootstrap draws.
    """

    confidence: Annotated[float, Within(0.5, 1.0, closed="neither")] = 0.95
    n_bootstrap: Annotated[int, Within(100, 100_000, integer=True)] = 10_000

    def __post_init__(self) -> None:
        check(self)


def joined(sections: tuple[ScorerSection, ...]) -> Scorer:
    """The scorers of some sections as one."""
    built = [section.build() for section in sections]
    return built[0] if len(built) == 1 else Joined(built)


def _loaded_scorer(kind: str, path: str, options: Mapping[str, Any]) -> Scorer:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from ...engines import RewardModel
    from ..loading import on_device

    tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if kind == "reward":
        return RewardScorer(on_device(RewardModel.load(path)), tokenizer, **options)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        path, local_files_only=True, trust_remote_code=False
    )
    return ClassifierScorer(on_device(model).eval(), tokenizer, **options)


def _unknown_options(
    where: str, make: Callable[..., Any], given: Mapping[str, Any], own: tuple[str, ...]
) -> list[str]:
    known = inspect.signature(make).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in known):
        return []
    names = [one.name for one in known if one.name not in own and one.name != "_"]
    hint = names or ["none"]
    return [
        f"{where}.{key}: unknown option; {nearest(str(key), hint)}"
        for key in given
        if key not in names
    ]


def _at(angles: Any, name: str) -> Floats:
    for angle in angles:
        if not _ANGLE.admits(angle):
            raise ParameterError(f"{name} must be in [-180, 180] degrees; got {shown(angle)}.")
    return np.array([at_angle(angle) for angle in angles]).reshape(-1, 2)
