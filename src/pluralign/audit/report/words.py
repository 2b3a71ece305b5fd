"""What the report says: one place for its sentences, each computed from the data.

Language: a model "serves" a group more or less; nothing is called fair or solved. Where
intervals do not tell two things apart, the sentence says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast, final

from .fields import Estimate, Frame, Slice
from .many import correction, drawn_sentences, listed, order_sentence, told_sentences
from .reading import Comparison, Model, Run
from .scales import (
    Format,
    number,
    percent,
    percent_tick,
    points,
    points_tick,
    signed,
    without_unit,
)
from .svg import isolated

MAIN: Final = "ranking_accuracy"
"""The metric that the headline and the first figure are about."""


@final
@dataclass(frozen=True)
class Measure:
    """How a metric is named and written; a share is written in percent."""

    title: str
    meaning: str
    share: bool = True

    @property
    def write(self) -> Format:
        """Writer of a value."""
        return percent if self.share else number

    @property
    def difference(self) -> Format:
        """Writer of a difference."""
        return points if self.share else signed

    @property
    def difference_tick(self) -> Format:
        """Writer of a tick of differences."""
        return points_tick if self.share else signed

    @property
    def unit(self) -> str:
        """The unit of differences, for an axis and for prose."""
        return "percentage points" if self.share else "in its own unit"


MEASURES: Final = {
    MAIN: Measure(
        "Ranking accuracy",
        "the chosen response is at least as likely as the rejected one",
    ),
    "ranking_accuracy_normalised": Measure(
        "Ranking, per token",
        "the same, with each log-probability divided by the length of its response",
    ),
    "reward_accuracy": Measure(
        "Reward accuracy",
        "the chosen response gained more than the rejected one, compared with the reference",
    ),
    "margin": Measure("Margin", "difference of the two log-ratios", share=False),
}


def measure(metric: str) -> Measure:
    """How to write a metric; one that is not known is written as a plain number."""
    return MEASURES.get(metric) or Measure(metric.replace("_", " "), "", share=False)


def interval(estimate: Estimate, write: Format, bare: bool = False) -> str:
    """``(66.0 to 76.1)``, the unit left to the value before it; nothing where not known."""
    if not estimate.has_interval:
        return ""
    text = f"{without_unit(write(estimate.low))} to {without_unit(write(estimate.high))}"
    return text if bare else f" ({text})"


def count(n: int | None, noun: str = "pair") -> str:
    """``412 pairs``."""
    return "" if n is None else f"{n:,} {noun}{'' if n == 1 else 's'}"


def ranked(run: Run) -> list[tuple[Model, Slice]]:
    """Models with their worst-off groups in the main metric, best served first."""
    found = [
        (model, frame.worst)
        for model in run.models
        if (frame := model.frames.get(MAIN)) is not None and frame.worst is not None
    ]
    return sorted(found, key=lambda pair: -cast(float, pair[1].estimate.value))


def headline(run: Run) -> tuple[str, tuple[str, ...]]:
    """Which model serves its worst-off group best: one line, and the sentences under it."""
    order = ranked(run)
    if not order:
        return "What this audit found", ()
    if len(order) == 1:
        return _headline_of_one(*order[0])
    (model, worst), (other, other_worst) = order[0], order[1]
    paired = paired_difference(run, model, other, worst, other_worst)
    apart = (
        paired.excludes(0.0)
        if paired is not None
        else not worst.estimate.overlaps(other_worst.estimate)
    )
    first, second = isolated(model.title), isolated(other.title)
    line = (
        f"{first} serves its worst-off group best"
        if apart
        else f"{first} and {second} are not separable at this size"
    )
    values = (
        f"{first} reaches {_at(worst)} in its worst-off group, {isolated(worst.name)}; "
        f"{second} reaches {_at(other_worst)} in "
        f"{'the same group' if worst.name == other_worst.name else isolated(other_worst.name)}."
    )
    return line, (values, _apart(paired, apart))


def paired_difference(
    run: Run, model: Model, other: Model, worst: Slice, other_worst: Slice
) -> Estimate | None:
    """``model`` minus ``other`` on the same pairs of their common worst-off group."""
    if worst.name != other_worst.name:
        return None
    for comparison in run.comparisons:
        if comparison.metric != MAIN or {comparison.a, comparison.b} != {model.name, other.name}:
            continue
        found = comparison.frame.group(worst.name)
        if found is None or not found.estimate.has_interval:
            return None
        same = comparison.a == model.name
        return found.estimate if same else _reversed(found.estimate)
    return None


def _reversed(estimate: Estimate) -> Estimate:
    value, low, high = (
        None if v is None else -v for v in (estimate.value, estimate.high, estimate.low)
    )
    return Estimate(value, low, high)


def _apart(paired: Estimate | None, apart: bool) -> str:
    if paired is not None:
        found = (
            f"On the same pairs of that group the difference is {points(paired.value)} "
            f"percentage points{interval(paired, points)}"
        )
        return f"{found}." if apart else f"{found}: the interval holds zero."
    if apart:
        return "The two intervals do not meet."
    return "The two intervals overlap, so the order could be chance; more pairs would tell."


def _headline_of_one(model: Model, worst: Slice) -> tuple[str, tuple[str, ...]]:
    frame = model.frames[MAIN]
    line = f"{isolated(model.title)} serves {isolated(worst.name)} worst"
    values = (
        f"Its ranking accuracy there is {_at(worst)}; over all pairs it is {_at(frame.overall)}."
    )
    return line, (values, chance_sentence(worst))


def chance_sentence(worst: Slice) -> str:
    """Whether the worst-off group is told from guessing."""
    estimate = worst.estimate
    if not estimate.has_interval or estimate.excludes(0.5):
        return ""
    return "That is not distinguishable from guessing (50 %) at this size."


def _at(group: Slice) -> str:
    return f"{percent(group.estimate.value)}{interval(group.estimate, percent)}"


def groups_title(run: Run) -> str:
    """What the first figure says."""
    order = ranked(run)
    names = {worst.name for _, worst in order}
    if len(names) == 1:
        everywhere = " under every model" if len(order) > 1 else ""
        return f"{isolated(order[0][1].name)} is worst off{everywhere}"
    return "Which group is worst off depends on the model"


def groups_caption(run: Run) -> list[str]:
    """How to read the first figure, and who is worst off under each model."""
    frames = [model.frames[MAIN] for model, _ in ranked(run)]
    level = percent_tick(frames[0].confidence) if frames else "95 %"
    said = [
        f"Each mark is the share of held-out pairs in which {MEASURES[MAIN].meaning}; the line "
        f"through it is its {level} interval. The dashed line is what guessing would reach.",
        order_sentence(frames),
    ]
    said += [_worst_sentence(run), *drawn_sentences(frames), *_rival_sentences(run)]
    return said + told_sentences([(model.title, model.frames[MAIN]) for model, _ in ranked(run)])


def _worst_sentence(run: Run) -> str:
    """Who is worst off under each model, with intervals."""
    told = [
        f"under {isolated(model.title)} {isolated(worst.name)} at {_at(worst)}"
        for model, worst in ranked(run)
    ]
    return f"Worst off: {listed(told, 12)}." if told else ""


def _rival_sentences(run: Run) -> list[str]:
    """Says where another group might as well be the worst-off."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for model, worst in ranked(run):
        rivals = tuple(isolated(group.name) for group in _rivals(model.frames[MAIN], worst))
        if rivals:
            found.setdefault((worst.name, rivals), []).append(isolated(model.title))
    return [
        f"Under {listed(models)} {isolated(name)} is not told from {listed(rivals, 4)}: which of "
        "them is worst off is uncertain at this size."
        for (name, rivals), models in found.items()
    ]


def _rivals(frame: Frame, worst: Slice) -> list[Slice]:
    others = [group for group in frame.groups if group.name != worst.name]
    return [
        group
        for group in others
        if worst.estimate.has_interval
        and group.estimate.has_interval
        and not group.estimate.is_above(worst.estimate)
    ]


def differences_title(run: Run, shown: Sequence[Comparison]) -> str:
    """What the figure of paired differences is about."""
    if len(shown) == 1:
        first, second = shown[0].a, shown[0].b
        return f"{isolated(run.title_of(first))} against {isolated(run.title_of(second))}"
    return "Every model against every other, on the same pairs"


def differences_caption(run: Run, shown: Sequence[Comparison]) -> list[str]:
    """How to read paired differences, and how many intervals lie off zero."""
    said = [
        "Each mark is the mean difference on the same pairs of a group. Right of zero the model "
        "named first serves the group better, left of zero the model named second. A hollow mark: "
        "at this size the two are not separable for that group."
    ]
    return [*said, *verdicts(run, shown), correction([one.frame for one in shown])]


def verdicts(run: Run, shown: Sequence[Comparison]) -> list[str]:
    """For each comparison, which groups the first model serves better and which worse."""
    said: list[str] = []
    for comparison in shown:
        groups = [g for g in comparison.frame.groups if g.estimate.has_interval]
        told = [g for g in groups if comparison.frame.differs(g)]
        better = [isolated(g.name) for g in told if cast(float, g.estimate.value) > 0]
        worse = [isolated(g.name) for g in told if cast(float, g.estimate.value) < 0]
        names = isolated(run.title_of(comparison.a)), isolated(run.title_of(comparison.b))
        said.append(_verdict(*names, better, worse, len(groups)))
    return said


def _verdict(first: str, second: str, better: list[str], worse: list[str], total: int) -> str:
    if not better and not worse:
        return f"{first} and {second} are not separable in any of {count(total, 'group')}."
    parts = [
        f"{len(names)} {how} ({listed(names)})"
        for how, names in (("better", better), ("worse", worse))
        if names
    ]
    return f"Of {count(total, 'group')}, {first} serves {' and '.join(parts)} than {second}."


NOISE_CAPTION: Final = (
    "Each mark is the estimated share of labels in a group that are reversed, with its "
    "interval. The square is the rate that training assumed; a diamond is the true rate, "
    "which only made data can know. An assumed rate outside the interval means that "
    "the objective corrects too much or too little for that group."
)

LOSS_CAPTION: Final = (
    "Loss over training steps. Objectives differ in scale: compare the shape of the curves, "
    "not their height. Held-out loss that turns upward means the model learns its training "
    "pairs by heart."
)

CURVES_CAPTION: Final = (
    "Ranking accuracy by group: on held-out pairs where they were evaluated more than once, else "
    "on the pairs of the training steps, labels as recorded. The mean can rise while the "
    "worst-off group stands still."
)

MEASURES_CAPTION: Final = (
    "Three accuracies that are easily taken for one another, over all pairs. Reward accuracy "
    "says what tuning changed, ranking accuracy what the model now does: a model can gain on "
    "every pair and still rank most of them wrongly."
)

SUMMARY_LEAD: Final = (
    "How far could a model get from this reference, and how far did it? The idealised accuracy is "
    "what an optimal policy would reach with the same reference and beta; the gap is what is "
    "missing to it."
)

METHOD_NOTES: Final = (
    (
        "Ranking accuracy",
        "For each pair of responses to one prompt, the model's log-probabilities of both are "
        "summed over the tokens of the response. The pair counts as right if the chosen "
        "response is at least as likely as the rejected one. Long responses have low sums, so "
        "the variant per token stands beside it; neither is the right one for every purpose.",
    ),
    (
        "What it is not",
        "It is not the win rate of what the model writes, and not the reward accuracy that most "
        "training logs show. Past a certain distance from the reference, ranking accuracy can "
        "rise while win rate falls. Do not train on it.",
    ),
    (
        "Worst-off group",
        "The group with the lowest value, once each is drawn towards the others by how little "
        "is known of it: of many small groups the lowest is low partly by luck. The intervals of "
        "the drawn values hold their level on average over groups. A single pair is never named.",
    ),
    (
        "Intervals",
        "Each interval says how far the value might move if other pairs had been drawn from "
        "the same group. It says nothing about groups that are not in the data, nor about "
        "labels that are wrong.",
    ),
)

INTERVAL_METHODS: Final = {
    "wilson": "Wilson's score interval, for shares of pairs",
    "paired_score": "Tango's score interval, for paired differences of shares",
    "bootstrap_t": "the bootstrap-t over pairs, for means",
}
"""What the method that a frame names is, in words."""
