"""What the report of a collection says: each sentence computed from the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .collection_reading import Collection, Group, Round, Strategy
from .many import listed
from .scales import number, percent
from .svg import isolated
from .words import count

_ALIKE: Final = 0.9
_SAME: Final = 0.005

FORECAST: Final = (
    "Each mark is the loss that the curves predict for a group once the money is spent in that "
    "way. Look along a row for whom a strategy helps, and down the marks of one strategy for whom "
    "it leaves behind. A curve that is a guess forecasts a guess."
)

ROUNDS: Final = (
    "Each bar is the money that a round spent on a group; all bars have one scale. What could not "
    "be had is not drawn."
)

CURVES: Final = (
    "Dots are measured losses with 95 % intervals, the line is the fitted curve, the dashed line "
    "is where the group stands now; right of it the curve foretells. All panels have one scale of "
    "losses. The curve to the right is an extrapolation: read it with the interval of the next "
    "gain."
)

GAINS: Final = (
    "How much a group's loss would fall by its next 100 samples if the curve went on as steep as "
    "it is now, with the 95 % interval of that slope."
)

WORTH: Final = (
    "The share beside a name is what the next unit of money adds to the objective there, compared "
    "with the group where it adds most; groups are in that order. A collection that goes well "
    "keeps these shares alike."
)

WORST: Final = (
    "The objective counts the worst-off group alone, so groups are in the order of their loss: the "
    "next money is for the first, however little it does there."
)

NOTES: Final = (
    (
        "Learning curve",
        "A loss that falls as a + b n^-gamma with n samples: a is what no data remove, b what they "
        "can. Close to the measured sizes many curves fit as well, so a, b and gamma are not to be "
        "read one by one; the slope at the present size is.",
    ),
    (
        "Objective",
        "Utilitarian counts the weighted mean alone. Maximin counts the worst-off group alone, and "
        "may spend everything on a group that data hardly help. Isoelastic lies between.",
    ),
    (
        "Inclusion weights",
        "Groups were bought unevenly, so plain averages over the samples do not speak of the "
        "population. Weighted by its group's share of the population over its share of the "
        "samples, each sample counts as it should.",
    ),
    (
        "What it does not say",
        "Losses of groups that were not in the plan, of parts within a group, or of samples of "
        "another kind than those measured.",
    ),
)


def headline(run: Collection) -> tuple[str, list[str]]:
    """What is spent and where the next money does most; before that, who would be worst off."""
    said = [_spent(run), _worst_now(run), *_forecast(run), *(run.notes or _flags(run))]
    line = _foretold(run) or "Nothing is bought yet"
    if run.rounds:
        line = gains_title(by_gain(run), run)
        if not run.groups or (run.left or 0.0) <= 0:
            line = f"{number(run.spent)} is spent on {count(len(run.names), 'group')}"
    return line, list(dict.fromkeys(filter(None, said)))


def _spent(run: Collection) -> str:
    if not run.rounds or run.budget is None:
        return ""
    after = len([one for one in run.rounds if one.number])
    rounds = [count(after, "round")] if after else []
    pilot = ["the pilot"] if after < len(run.rounds) else []
    return f"{number(run.spent)} of {number(run.budget)} is spent, by {listed(pilot + rounds)}."


def _worst_now(run: Collection) -> str:
    known = [(group.loss, group) for group in run.groups if group.loss is not None]
    if not known:
        return ""
    loss, worst = max(known, key=lambda pair: pair[0])
    least, best = min(known, key=lambda pair: pair[0])
    if worst is best:
        return f"By its curve {isolated(worst.name)} has a loss of {number(loss)} now."
    return (
        f"By the curves {isolated(worst.name)} has the largest loss now, {number(loss)}, and "
        f"{isolated(best.name)} the smallest, {number(least)}."
    )


def _foretold(run: Collection) -> str:
    first = next((one for one in run.strategies if not one.impossible), None)
    if first is None or not first.worst_group:
        return ""
    return f"Under this plan {_worst_of(first)} would be worst off"


def _worst_of(one: Strategy) -> str:
    """The group with the largest loss, and those that cannot be told from it."""
    least = (one.worst or 0.0) - _SAME * abs(one.worst or 0.0)
    names = [s.name for s in one.groups if s.loss is not None and s.loss >= least]
    return listed([isolated(name) for name in names or [one.worst_group]], 4)


def _forecast(run: Collection) -> list[str]:
    """The plan's own strategy, and whether another serves the worst-off group better."""
    able = [one for one in run.strategies if not one.impossible and one.worst is not None]
    said = [
        f"{isolated(one.name)} cannot be met: {isolated(one.impossible, 300)}"
        for one in run.strategies
        if one.impossible
    ]
    if not able:
        return said
    own = able[0]
    left = "" if run.left is None else f" of the {number(run.left)} left"
    said.insert(
        0,
        f"After spending all{left} by {isolated(own.name)}, the weighted mean of losses would be "
        f"{number(own.weighted)} and the largest {number(own.worst)}, of {_worst_of(own)}.",
    )
    best = min(able, key=lambda one: one.worst or 0.0)
    if best is not own and (best.worst or 0.0) < (own.worst or 0.0):
        said.append(
            f"By {isolated(best.name)} the largest would be {number(best.worst)}, at a weighted "
            f"mean of {number(best.weighted)}."
        )
    return said


def _flags(run: Collection) -> list[str]:
    return [f"The curve of {isolated(g.name)} is {g.flag}." for g in run.groups if g.flag]


def by_gain(run: Collection) -> list[Group]:
    """Groups by what the next unit of money adds to the objective; of maximin by their loss."""
    if run.counts_worst:
        return sorted(run.groups, key=lambda group: -(group.loss or 0.0))
    return sorted(run.groups, key=lambda group: -(group.welfare or 0.0))


def rounds_title(run: Collection) -> str:
    """Which group got most of the money."""
    total = dict.fromkeys(run.names, 0.0)
    for one in run.rounds:
        for name, money in money_of(run, one).items():
            total[name] += money
    spent = sum(total.values())
    if not spent:
        return "Nothing is bought yet"
    most = max(total, key=lambda name: total[name])
    return f"{isolated(most)} got {percent(total[most] / spent)} of the money"


def rounds_caption(run: Collection) -> list[str]:
    """How to read the bars, and rounds with a note of their own."""
    notes: dict[str, list[str]] = {}
    for one in run.rounds:
        if one.note:
            notes.setdefault(one.note, []).append(round_name(one.number))
    return [
        ROUNDS,
        *(f"In {listed(names)}: {isolated(note, 200)}." for note, names in notes.items()),
    ]


def round_name(number_: int) -> str:
    """``pilot`` or the number of the round."""
    return "pilot" if number_ == 0 else f"{number_}"


def gains_title(order: Sequence[Group], run: Collection) -> str:
    """Where the next money does most, and whether that is many groups alike."""
    if run.counts_worst:
        return f"The next money is for {isolated(order[0].name)}, which is worst off"
    alike = [isolated(group.name) for group in order if worth(group, order) >= _ALIKE]
    if len(alike) == len(order) > 1:
        return "The next money does about as much in every group"
    return f"The next money does most in {listed(alike, 4)}"


def worth(group: Group, order: Sequence[Group]) -> float:
    """What money does for the objective in a group, as a share of what it does at best."""
    best = order[0].welfare or 0.0
    return (group.welfare or 0.0) / best if best > 0 else 1.0


def money_of(run: Collection, one: Round) -> dict[str, float]:
    """Money that a round spent on each group."""
    costs = dict(zip(run.names, run.costs, strict=True))
    return {name: costs[name] * one.bought.get(name, 0.0) for name in run.names}
