"""The sampling loop: rows begin, draw a token a step, end early, and give way to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from .base import Finish, SamplingParams
from .draw import draw, uniforms
from .passes import Rows, Start
from .texts import Texts

_REFILL = 0.25
"""Share of rows that must be free before prompts are read: a pass of few tokens costs no less."""
_ALIKE = 0.5
"""Share of a prompt that its family must have in common."""
_SAVED = 32
"""Tokens that a family must save to be worth a pass of its own."""


@final
@dataclass(eq=False)
class Job:
    """One answer to be drawn.

    Args:
        ids: tokens of the prompt.
        seed: of all its draws.
        params: its own; a call may mix them.
        most: most tokens; below ``params.max_tokens`` where the model's context is shorter.
        offset: ``(H,)``, added to the residual stream; one tensor for all jobs that share it.
        tokens: what was drawn.
        finish: how it ended; empty before.
        error: what went wrong.
    """

    ids: tuple[int, ...]
    seed: int
    params: SamplingParams
    most: int
    offset: Tensor | None = None
    tokens: list[int] = field(default_factory=list[int])
    finish: Finish | None = None
    error: str = ""


class Unit(NamedTuple):
    """Jobs that begin from one prompt."""

    start: Start
    jobs: list[Job]

    @property
    def need(self) -> int:
        """Most tokens that a row of it may hold."""
        return len(self.start.ids) + max(job.most for job in self.jobs)


def run(
    jobs: Sequence[Job], rows: Rows, texts: Texts, *, batch_size: int, batch_tokens: int
) -> None:
    """Draw all answers into their jobs.

    Args:
        jobs: in any order; what one draws does not depend on the others.
        rows: computes logits.
        texts: tells where answers end.
        batch_size: most rows at a time.
        batch_tokens: most tokens of all rows together, those to come included.
    """
    waiting = queue(jobs, batch_size)[::-1]
    live: list[Job] = []
    while waiting or live:
        begun = _next_units(waiting, live, batch_size, batch_tokens)
        if begun:
            logits = rows.add([unit.start for unit in begun])
            new = [job for unit in begun for job in unit.jobs]
            live += new
        else:
            logits = rows.advance(torch.tensor([job.tokens[-1] for job in live]))
            new = live
        _draw(new, logits, texts)
        live = _without_finished(live, rows)


def _next_units(
    waiting: list[Unit], live: list[Job], batch_size: int, batch_tokens: int
) -> list[Unit]:
    """Prompts to begin now, if enough rows are free to make a pass over them pay."""
    if live and batch_size - len(live) < _REFILL * batch_size:
        return []
    count, widest = len(live), max((len(job.ids) + job.most for job in live), default=0)
    taken: list[Unit] = []
    while waiting:
        unit = waiting[-1]
        count, widest = count + len(unit.jobs), max(widest, unit.need)
        full = count > batch_size or count * widest > batch_tokens
        if full and (live or taken):  # a unit that is too large by itself goes alone
            break
        taken.append(waiting.pop())
    return taken


def _draw(jobs: list[Job], logits: Tensor, texts: Texts) -> None:
    """One token for each job, and whether it ends there."""
    every = len(jobs), logits.shape[1], logits.device
    seeds = np.array([job.seed for job in jobs], np.uint64)
    steps = np.array([len(job.tokens) for job in jobs], np.uint64)
    params = [job.params for job in jobs]
    drawn = draw(
        logits,
        torch.from_numpy(uniforms(seeds, steps)).to(every[2]),
        torch.tensor([p.temperature for p in params], device=every[2]),
        torch.tensor([p.top_p for p in params], device=every[2]),
        torch.tensor([p.top_k or every[1] for p in params], device=every[2]),
    )
    for job, token in zip(jobs, drawn.tolist(), strict=True):
        if token < 0:
            job.finish = "error"
            job.error = f"the model's logits are not finite at token {len(job.tokens)}"
            continue
        job.tokens.append(token)
        if token in texts.ends_of(job.params.stop) or texts.stopped(job.tokens, job.params.stop):
            job.finish = "stop"
        elif len(job.tokens) >= job.most:
            job.finish = "length"


def _without_finished(live: list[Job], rows: Rows) -> list[Job]:
    """The unfinished jobs; the last ones take the rows of those that ended."""
    alive = [row for row, job in enumerate(live) if job.finish is None]
    if len(alive) == len(live):
        return live
    stays = [row for row in alive if row < len(alive)]
    moved = iter([row for row in alive if row >= len(alive)])
    kept = set(stays)
    order = [row if row in kept else next(moved) for row in range(len(alive))]
    rows.keep(torch.tensor(order, dtype=torch.int64))
    return [live[row] for row in order]


def queue(jobs: Sequence[Job], batch_size: int) -> list[Unit]:
    """Jobs by prompt, prompts by family, the longest first, so that rows are of similar length.

    Example:
        >>> params = SamplingParams(max_tokens=1)
        >>> texts = [(1, 2), tuple(range(50)), (1, 2), (*range(49), 7)]
        >>> units = queue([Job(ids, 0, params, 1) for ids in texts], batch_size=8)
        >>> [(len(u.start.ids), u.start.rows, u.start.shared) for u in units]
        [(50, 1, 49), (50, 1, 49), (2, 2, 0)]
    """
    alike: dict[tuple[tuple[int, ...], int], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.ids, id(job.offset)), []).append(job)
    units = [
        Unit(Start(same[0].ids, len(part), same[0].offset), part)
        for same in alike.values()
        for part in _parts(same, batch_size)
    ]
    families = _families(sorted(units, key=lambda unit: unit.start.ids))
    families.sort(key=lambda family: -max(unit.need for unit in family))
    return [unit for number, family in enumerate(families) for unit in _marked(family, number)]


def _parts(jobs: list[Job], size: int) -> list[list[Job]]:
    return [jobs[first : first + size] for first in range(0, len(jobs), size)]


def _families(units: list[Unit]) -> list[list[Unit]]:
    """Neighbours in the order of a dictionary that have half their tokens in common."""
    families: list[list[Unit]] = []
    common: tuple[int, ...] = ()
    for unit in units:
        ids = unit.start.ids
        shared = _in_common(common, ids)
        if families and shared >= max(_ALIKE * len(ids), 1):
            families[-1].append(unit)
            common = ids[:shared]
        else:
            families.append([unit])
            common = ids
    return families


def _in_common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Tokens that two texts begin with."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _marked(family: list[Unit], number: int) -> list[Unit]:
    """The family with what it shares, the longest member first."""
    ids = [unit.start.ids for unit in family]
    # The first and the last in the order of a dictionary differ the earliest.
    shared = min(_in_common(min(ids), max(ids)), min(map(len, ids)) - 1)
    if (len(family) - 1) * shared < _SAVED:
        shared = 0
    marked = [u._replace(start=u.start._replace(family=number, shared=shared)) for u in family]
    return sorted(marked, key=lambda unit: -unit.need)
