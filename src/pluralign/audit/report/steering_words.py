"""What the steering report says: each sentence computed from the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .fields import Estimate
from .scales import alike, number, percent, tenths, with_sign
from .steering_reading import Outcome, Steering, Target
from .svg import isolated, plain
from .words import count, interval, listed

MAP: Final = (
    "Each target direction is one place on the axis, two marks stand there: the mean score of the "
    "answers that were chosen among neighbouring directions, and of the best of as many samples "
    "drawn at the target itself. Scores are the scorer's rewards projected on the target, with "
    "intervals over prompts.",
    "Below, a lane for each target (dashed): a dot is a neighbour that was sampled, the larger the "
    "more often its answer was chosen, hollow where it never was. The shaded angles lie between "
    "the directions that the model was trained for.",
)

ROWS: Final = (
    "Two marks for each target direction: the mean score of the answers that were chosen among "
    "neighbouring directions, and of the best of as many samples drawn at the target itself. "
    "Scores are the scorer's rewards projected on the target, with intervals over prompts.",
)

WINS: Final = (
    "For each prompt the answer chosen by steering meets the baseline's. The number is the share "
    "won among prompts without a tie, with its interval. The same scorer that chose the answers "
    "favours what it chose; an independent one is the stricter test."
)

NEAR: Final = (
    "Mean score along the target of all candidates sampled in a neighbouring direction, not only "
    "of the chosen ones; the line is two standard errors to each side. Steering can help beyond "
    "luck only where some neighbour lies right of the target itself (0°)."
)

GROUPS: Final = (
    "Gain of the steered over the baseline answers by group of prompts, the group that gains "
    "least first, with intervals over prompts. Left of the dashed line a group is served worse by "
    "steering. Many groups are shown at once: some lie far out by chance."
)

NOTES: Final = (
    (
        "Steering",
        "The model is sampled under directions near the one asked for; every candidate is scored "
        "by the direction asked for; the best is the answer. Nothing is trained.",
    ),
    (
        "Baseline",
        "As many samples, all drawn at the direction asked for, the best of them chosen by the "
        "same score. Where both cost the same, the gain is that of the neighbours, not of more "
        "samples.",
    ),
    (
        "Score",
        "Rewards of the attributes times the weights of the direction. It is in the scorer's "
        "units and says what the scorer likes, not what people like.",
    ),
    (
        "Intervals",
        "They say how far a value might move had other prompts been drawn. They say nothing of "
        "other models, other scorers, or groups that asked no prompt.",
    ),
)


def headline(run: Steering) -> tuple[str, list[str]]:
    """In how many directions steering gave a higher score, and the sentences under it."""
    gains = [target.outcome.gain for target in run.targets]
    better = [gain for gain in gains if gain.low is not None and gain.low > 0]
    worse = [gain for gain in gains if gain.high is not None and gain.high < 0]
    total = count(len(gains), "direction")
    if better:
        line = f"Steering raised the score in {len(better)} of {total}"
    elif worse:
        line = f"Steering lowered the score in {len(worse)} of {total}"
    else:
        line = f"No gain from steering can be told from chance in {total}"
    said = [_overall(run.overall)] if run.overall else []
    if better and worse:
        told = "it was" if len(worse) == 1 else "they were"
        said.append(f"In {count(len(worse), 'direction')} {told} lower.")
    return line, [*filter(None, [*said, _independent(run), _cost(run), _advice(run)])]


def _overall(outcome: Outcome) -> str:
    if outcome.gain.value is None:
        return ""
    wins = ""
    if outcome.wins.rate.value is not None:
        rate = outcome.wins.rate
        wins = f" It wins {percent(rate.value)}{interval(rate, percent)} of prompts without a tie."
    return (
        f"Over all directions the mean score changes by {told(outcome.gain)} against the baseline."
        f"{wins}"
    )


def _independent(run: Steering) -> str:
    judged = [target.independent.gain for target in run.targets if target.independent is not None]
    if not judged:
        return "No independent scorer judged the answers: all scores are those that chose them."
    better = sum(gain.low is not None and gain.low > 0 for gain in judged)
    name = f", {isolated(run.scorers[1])}," if run.scorers[1] else ""
    return (
        f"By an independent scorer{name} it is higher in {better} of "
        f"{count(len(judged), 'direction')}."
    )


def _cost(run: Steering) -> str:
    steered, baseline = (
        [target.generations[arm] for target in run.targets if target.generations[arm] is not None]
        for arm in (0, 1)
    )
    if not steered or not baseline:
        return ""
    first, second = sum(filter(None, steered)), sum(filter(None, baseline))
    if first == second:
        return f"Each arm generated {number(first)} candidates."
    return (
        f"Steering generated {number(first)} candidates, the baseline {number(second)}: the arms "
        "did not cost the same."
    )


def _advice(run: Steering) -> str:
    known = [target for target in run.targets if target.helps is not None]
    useless = [target.name for target in known if not target.helps]
    if not known or not useless:
        return ""
    if len(useless) == len(known):
        return "Beforehand no neighbour scored better than its target: no gain was to be expected."
    return f"Beforehand no neighbour scored better than the target at {listed(useless)}."


def map_caption(run: Steering, angles: bool) -> list[str]:
    """How to read the map, and what lies on one side only."""
    said: list[str] = list(MAP if angles else ROWS)
    if not angles:
        names = listed([isolated(name, 40) for name in run.attributes], limit=12)
        said.append(f"A target is named by its weights of {names}, in this order.")
    if angles and run.cone is None:
        said.append("The trained directions are not known, so none are shaded.")
    lengths = [_length(target) for target in run.targets]
    return said + [told for told in lengths if told]


def wins_caption(run: Steering) -> list[str]:
    """How to read the bars, and who the independent scorer is."""
    if not run.scorers[1]:
        return [WINS]
    return [WINS, f"The independent scorer is {isolated(run.scorers[1], 160)}."]


def near_caption(targets: Sequence[Target]) -> list[str]:
    """How to read the neighbours, and which choices came from one side."""
    sides = [f"At {t.name}: {plain(t.one_sided, 300)}" for t in targets if t.one_sided]
    return [NEAR, *sides]


def _length(target: Target) -> str:
    """A warning where the chosen answers differ much in length."""
    steered, baseline = target.words
    if not steered or not baseline or 0.8 <= steered / baseline <= 1.25:
        return ""
    return (
        f"At {target.name} the chosen answers have {tenths(steered)} words against "
        f"{tenths(baseline)}: part of the gain may be length."
    )


def groups_title(targets: Sequence[Target]) -> str:
    """Whether a group is served worse, by intervals."""
    losing = {
        part.name
        for target in targets
        for part in target.groups
        if part.estimate.high is not None and part.estimate.high < 0
    }
    if losing:
        return f"Some direction serves {listed([isolated(n) for n in sorted(losing)])} worse"
    return "No group is served worse beyond chance"


def told(estimate: Estimate) -> str:
    """A change with its interval."""
    write = with_sign(alike((estimate.value, estimate.low, estimate.high)))
    return f"{write(estimate.value)}{interval(estimate, write)}"
