"""All candidates of a steering run by prompt, whatever direction they were drawn for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from ...errors import DataError
from ...steer.record import Selection
from ...steer.sphere import Floats
from ..steering.record import Steered


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """One prompt with every candidate that was drawn for it and could be scored.

    Args:
        number: of the prompt in its run.
        prompt: its text; of messages the last one.
        group: of the prompt; empty if none was named.
        texts: m answers.
        rewards: (m, d) in the scorer's units.
        directions: (m, d) what each was drawn under.
        times: m counts; the same answer drawn again under the same direction counts here.
    """

    number: int
    prompt: str
    group: str
    texts: tuple[str, ...]
    rewards: Floats
    directions: Floats
    times: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What a steering run drew, pooled over targets and over both arms.

    Args:
        names: the d attributes.
        asked: prompts with at least one candidate, in order of their numbers.
        targets: (t, d) unit vectors that the run steered to.
        sampled: (n, d) every direction that was drawn under, once.
        n_failed: candidates left out because they failed or could not be scored.
        scorer: what scored.
        standardised: whether the run itself chose by z-scores.
    """

    names: tuple[str, ...]
    asked: tuple[Asked, ...]
    targets: Floats
    sampled: Floats
    n_failed: int
    scorer: str
    standardised: bool

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups in order of appearance; none where the run names no groups."""
        names = tuple(dict.fromkeys(one.group for one in self.asked))
        return () if names == ("",) else names


def read_candidates(path: str | Path) -> Candidates:
    """Read ``selections.jsonl``, also of a run that is not finished.

    Use it to look at a run by another direction than those it was made for. Nothing is drawn
    anew: far from what was sampled, the best of these candidates is not the best there is.

    Args:
        path: the file; a last line that was torn by a kill is left out.

    Returns:
        Candidates by prompt. Rewards count as they are, also where the run standardised them
        within each selection: z-scores of different selections cannot be compared.

    Raises:
        DataError: naming the line that is no record of steering, or whose attributes differ;
            if no candidate could be scored.

    Example:
        >>> import tempfile
        >>> from pluralign.study.steering import load_steering, run_steering
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "trial.yaml").write_text(
        ...     "{name: trial, world: {name: fading, kappa: 1.5, prompts: 3},"
        ...     " targets: {angles: [20, 45]}, audit: {n_bootstrap: 100}}")
        >>> recipe = load_steering(folder / "trial.yaml", [f"output_dir={folder / 'run'}"])
        >>> _ = run_steering(recipe, quiet=True)
        >>> found = read_candidates(folder / "run" / "selections.jsonl")
        >>> len(found.asked), found.names, sum(found.asked[0].times)
        (3, ('helpfulness', 'verbosity'), 20)
    """
    rows = list(_rows(Path(path)))
    if not rows:
        raise DataError(
            "holds no finished selection yet; wait for the first batch.", source=str(path)
        )
    records = [record for row in rows for record in row.pair]
    pooled = {number: _Pooled() for number in sorted({row.prompt for row in rows})}
    for row in rows:
        for record in row.pair:
            pooled[row.prompt].add(record, row.group)
    asked = tuple(one.made(number) for number, one in pooled.items() if one.held)
    if not asked:
        raise DataError("holds no candidate that could be scored.", source=str(path))
    return Candidates(
        names=records[0].names,
        asked=asked,
        targets=_distinct([record.target for record in records]),
        sampled=_distinct([row for one in asked for row in one.directions]),
        n_failed=int(sum((~record.ok).sum() for record in records)),
        scorer=records[0].scorer,
        standardised=any(record.standardised is not None for record in records),
    )


class _Pooled:
    """Candidates of one prompt as they are met; the first of equals keeps its place."""

    def __init__(self) -> None:
        self.prompt = ""
        self.group = ""
        self.held: dict[tuple[Any, ...], int] = {}

    def add(self, record: Selection, group: str) -> None:
        asked = record.prompt
        self.prompt = asked if isinstance(asked, str) else asked[-1]["content"]
        self.group = group
        for i in np.flatnonzero(record.ok):
            text = record.candidates[i].text
            key = (text, tuple(record.rewards[i]), tuple(record.directions[i]))
            self.held[key] = self.held.get(key, 0) + 1

    def made(self, number: int) -> Asked:
        texts, rewards, directions = zip(*self.held, strict=True)
        return Asked(
            number=number,
            prompt=self.prompt,
            group=self.group,
            texts=texts,
            rewards=np.array(rewards),
            directions=np.array(directions),
            times=tuple(self.held.values()),
        )


def _rows(path: Path) -> Iterator[Steered]:
    """Finished lines; what a run has not ended with a line feed is still being written."""
    names: tuple[str, ...] | None = None
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines):
        try:
            row = Steered.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"line {number + 1} is no record of steering ({type(error).__name__}: {error}).",
                source=str(path),
                rows=[number],
            ) from error
        names = names or row.pair[0].names
        if any(record.names != names for record in row.pair):
            raise DataError(
                f"line {number + 1} has other attributes than the first, which has "
                f"{', '.join(names)}.",
                source=str(path),
                rows=[number],
            )
        yield row


def _distinct(rows: Sequence[Floats]) -> Floats:
    return np.array(list(dict.fromkeys(tuple(row.tolist()) for row in rows)))
