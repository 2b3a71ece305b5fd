"""Win rates with ties, clustered intervals, length control and errors counted apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ...data import Preferences
from ...errors import DataError, IncompatibleError
from ...rules import OneOf, Within, check
from ..frames import Settings as FrameSettings
from ..frames import frame_record
from ..groups import GroupFrame
from ..intervals import mean_interval, wilson
from .duels import Duels, Floats, Verdicts

RateName: TypeAlias = Literal["no_ties", "all", "half_ties"]

Interval: TypeAlias = tuple[float, float]


@final
@dataclass(frozen=True)
class Rate:
    """A share of duels with two intervals.

    Attributes:
        value: the share; 0.5 where nothing was decided.
        n: duels that it is over.
        wilson: Wilson's score interval, which takes the duels for independent; for
            ``half_ties`` it is too wide rather than too narrow.
        clustered: bootstrap-t interval over prompts, ``None`` where these do not vary; use
            it where several duels share a prompt.
    """

    value: float
    n: int
    wilson: Interval | None = None
    clustered: Interval | None = None


@final
@dataclass(frozen=True, kw_only=True)
class WinRates:
    """How often the first of two arms wins, in three ways, with what may explain it.

    Attributes:
        names: the arms.
        judge: who judged.
        wins: duels that the first arm won.
        losses: duels that it lost.
        ties: duels without a winner.
        errors: duels without a verdict; part of no rate.
        clusters: different prompts among the duels with a verdict.
        no_ties: ``w / (w + l)``.
        all: ``w / (w + l + t)``.
        half_ties: ``(w + t / 2) / (w + l + t)``; swapping the arms gives 1 minus it.
        z: sign test, ``(w - l) / sqrt(w + l)``; 0 where nothing was decided.
        mean_words: mean length of each arm's answers in the judged duels, words.
        length_matched: ``half_ties`` of duels whose answers are of similar length; ``None``
            if there is none.
        longer_wins: ``half_ties`` of the longer answer, whoever gave it; ``None`` if no two
            lengths differ.
        first_shown: how often the answer shown first was preferred; ``None`` if unknown.
    """

    names: tuple[str, str]
    judge: str
    wins: int
    losses: int
    ties: int
    errors: int
    clusters: int
    no_ties: Rate
    all: Rate
    half_ties: Rate
    z: float
    mean_words: tuple[float, float]
    length_matched: Rate | None
    longer_wins: Rate | None
    first_shown: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        first, second = self.names
        total = self.wins + self.losses + self.ties
        lines = [
            f"{first} against {second}, judged by {self.judge}: {self.wins} won, {self.losses} "
            f"lost, {self.ties} tied, {self.errors} without a verdict ({self.clusters} prompts)",
            *(_line(name, getattr(self, name)) for name in ("no_ties", "all", "half_ties")),
            f"z = {self.z:.2f} over {total} duels; words {self.mean_words[0]:.1f} against "
            f"{self.mean_words[1]:.1f}",
        ]
        if self.length_matched is not None:
            lines.append(_line("length_matched", self.length_matched))
        if self.longer_wins is not None:
            lines.append(_line("longer_wins", self.longer_wins))
        return "\n".join(lines)


def _line(name: str, rate: Rate) -> str:
    parts = [f"{name} {rate.value:.3f} (n = {rate.n})"]
    for kind in ("wilson", "clustered"):
        interval = getattr(rate, kind)
        if interval is not None:
            parts.append(f"{kind} [{interval[0]:.3f}, {interval[1]:.3f}]")
    return " ".join(parts)


@final
@dataclass(frozen=True, kw_only=True)
class _Settings:
    confidence: Annotated[float, Within(0.0, 1.0, closed="neither")]
    n_bootstrap: Annotated[int, Within(100, integer=True)]
    seed: Annotated[int, Within(0, integer=True)]
    length_tolerance: Annotated[float, Within(0.0)]

    def __post_init__(self) -> None:
        check(self)


def win_rates(
    duels: Duels,
    verdicts: Verdicts,
    *,
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
    length_tolerance: float = 0.1,
) -> WinRates:
    """The three win rates of the first arm, with intervals and length control.

    Use it for every comparison of two systems; name the rate that you quote. A judge that
    prefers long answers shows in ``longer_wins``, and in a ``length_matched`` rate that
    is nearer to one half than the others. Do not compare with figures that count failed
    judgements as ties, as some published code does.

    Args:
        duels: N rows.
        verdicts: what a judge said of them, in the same order.
        confidence: level of the intervals, in (0, 1).
        n_bootstrap: number of draws, >= 100.
        seed: of the draws.
        length_tolerance: two answers are of similar length if the longer one has at most
            this share more words than the shorter, >= 0.

    Raises:
        IncompatibleError: if there are not as many verdicts as duels.
        DataError: if no duel has a verdict; says why the first has none.
        ParameterError: listing every option out of range.

    Example:
        >>> duels = Duels(["p", "q", "r", "s"], a=["x"] * 4, b=["y"] * 4)
        >>> said = Verdicts(np.array([1.0, 1.0, 0.5, 0.0]), [""] * 4, "example")
        >>> rates = win_rates(duels, said)
        >>> round(rates.no_ties.value, 3), rates.all.value, rates.half_ties.value
        (0.667, 0.5, 0.625)

    Differs from the paper: failed judgements are counted apart and excluded; intervals by
    prompt are ours.

    References:
        Mao et al., 2025, arXiv 2510.20498 (three rates). Zheng et al., 2023, arXiv 2306.05685.
    """
    settings = _Settings(
        confidence=confidence,
        n_bootstrap=n_bootstrap,
        seed=seed,
        length_tolerance=length_tolerance,
    )
    judged = _judged(duels, verdicts)
    rows = duels.select(judged)
    said = verdicts.a_wins[judged]
    words = rows.words()
    clusters = np.unique(np.array(rows.cluster), return_inverse=True)[1]

    def rate(values: Floats) -> Rate:
        return _rate(values, clusters, settings)

    wins, losses = int((said == 1).sum()), int((said == 0).sum())
    similar = words.max(axis=1) <= (1 + length_tolerance) * words.min(axis=1)
    differ = words[:, 0] != words[:, 1]
    longer = np.where(words[:, 0] > words[:, 1], said, 1 - said)
    shown_first = verdicts.first_shown
    return WinRates(
        names=duels.names,
        judge=verdicts.judge,
        wins=wins,
        losses=losses,
        ties=len(said) - wins - losses,
        errors=verdicts.missing(),
        clusters=int(clusters.max()) + 1,
        no_ties=rate(rate_values(said, "no_ties")),
        all=rate(rate_values(said, "all")),
        half_ties=rate(rate_values(said, "half_ties")),
        z=(wins - losses) / (wins + losses) ** 0.5 if wins + losses else 0.0,
        mean_words=(float(words[:, 0].mean()), float(words[:, 1].mean())),
        length_matched=rate(np.where(similar, said, np.nan)) if similar.any() else None,
        longer_wins=rate(np.where(differ, longer, np.nan)) if differ.any() else None,
        first_shown=None if shown_first is None else float(shown_first[judged].mean()),
    )


def rate_values(a_wins: Floats, rate: RateName) -> Floats:
    """Values ``(N,)`` whose mean over those that are not NaN is a win rate.

    Args:
        a_wins: as in :class:`Verdicts`.
        rate: ``"no_ties"``, ``"all"`` or ``"half_ties"``.

    Raises:
        ParameterError: for another name.

    Example:
        >>> rate_values(np.array([1.0, 0.5, 0.0]), "no_ties").tolist()
        [1.0, nan, 0.0]
    """
    check(_Named(rate))
    if rate == "no_ties":
        return np.where(a_wins == 0.5, np.nan, a_wins)
    if rate == "all":
        return np.where(np.isnan(a_wins), np.nan, (a_wins == 1).astype(np.float64))
    return a_wins


@final
@dataclass(frozen=True)
class _Named:
    rate: Annotated[RateName, OneOf("no_ties", "all", "half_ties")]


def win_frame(
    duels: Duels,
    verdicts: Verdicts,
    *,
    rate: RateName = "half_ties",
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
    levels: Sequence[str] = (),
) -> GroupFrame:
    """A win rate of the first arm by group, the group that it serves worst first.

    Duels of one prompt and group are one row of the frame, weighted by their number, so
    that intervals hold where prompts repeat; ``n`` therefore counts prompts.

    Args:
        duels: N rows with groups.
        verdicts: what a judge said of them.
        rate: which of the three rates.
        confidence: level of the intervals.
        n_bootstrap: number of draws.
        seed: of the draws.
        levels: groups to show even where they have no duel.

    Raises:
        IncompatibleError: if there are not as many verdicts as duels.
        DataError: if the duels have no groups, or none has a value.

    Example:
        >>> duels = Duels([*"pqrs"], a=["x"] * 4, b=["y"] * 4, group=[*"nnss"])
        >>> said = Verdicts(np.array([1.0, 1.0, 1.0, 0.0]), [""] * 4, "example")
        >>> win_frame(duels, said).worst().name
        's'
    """
    if duels.group is None:
        raise DataError("a frame by group needs duels with groups.", source=duels.source)
    _judged(duels, verdicts)
    keys = list(zip(duels.group, duels.cluster, strict=True))
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    index = np.array([place[key] for key in keys])
    values, counts = _cluster_means(rate_values(verdicts.a_wins, rate), index)
    repeated = bool((counts > 1).any())
    finite = values[np.isfinite(values)]
    binary = not repeated and bool(np.isin(finite, (0.0, 1.0)).all())
    pairs = Preferences(
        prompt=[""] * len(place),  # only groups and weights are read
        chosen=[duels.names[0]] * len(place),
        rejected=[duels.names[1]] * len(place),
        group=[group for group, _ in place],
        weight=counts if repeated else None,
        source=duels.source,
    )
    record = frame_record(
        values,
        pairs,
        metric=f"win rate of {duels.names[0]} ({rate})",
        by="group",
        method="wilson" if binary else "bootstrap_t",
        settings=FrameSettings(confidence=confidence, n_bootstrap=n_bootstrap, seed=seed),
        levels=levels,
    )
    return GroupFrame.from_json(record)


def _judged(duels: Duels, verdicts: Verdicts) -> NDArray[np.bool_]:
    if len(verdicts) != len(duels):
        raise IncompatibleError(f"there are {len(verdicts)} verdicts on {len(duels)} duels.")
    judged = np.isfinite(verdicts.a_wins)
    if not judged.any():
        raise DataError(
            f"{verdicts.judge} gave no verdict on any duel; the first failed with: "
            f"{verdicts.errors[0]}",
            source=duels.source,
        )
    return judged


def _cluster_means(values: Floats, cluster: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean of the known values of each cluster (NaN without one), and their number."""
    known = np.isfinite(values)
    counts = np.bincount(cluster, known).astype(np.float64)
    sums = np.bincount(cluster, np.where(known, values, 0.0))
    means = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means, counts


def _rate(values: Floats, cluster: NDArray[np.int64], settings: _Settings) -> Rate:
    known = values[np.isfinite(values)]
    if not len(known):
        return Rate(0.5, 0)
    means, counts = _cluster_means(values, cluster)
    kept = counts > 0
    found = mean_interval(
        means[kept],
        counts[kept],
        "bootstrap_t",
        confidence=settings.confidence,
        n_draws=settings.n_bootstrap,
        rng=np.random.default_rng(settings.seed),
    )
    value = float(known.mean())
    ends = None if np.isnan(found.low) else (max(0.0, found.low), min(1.0, found.high))
    return Rate(value, len(known), wilson(known.sum(), len(known), settings.confidence), ends)
