"""Adapters: how the library computes what an oracle case expects.

A case names input fields and expected fields. An adapter enrols by the fields it reads
and the fields it produces, never by the name of a case, so that vectors of other sizes
and other values are served by the same function::

    @adapter(inputs={"z", "eps0"}, expected_any={"em_flip_posterior", "em_eps_next"})
    def flip_posterior(inputs):
        return {"em_flip_posterior": ..., "em_eps_next": ...}

``inputs`` must all be present in the case (a case may have more; ``None`` is present).
At least one of ``expected_any`` must be asked for. Where several adapters fit, the one
that produces most of the expected fields wins, then the one that reads most inputs. The
function gets the inputs as read from JSON and returns every field it can produce as
tensors, arrays, numbers, lists or dictionaries; the harness compares those asked for.
Modules of this package are imported by the harness: a new file needs no other line.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

Compute = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Adapter:
    inputs: frozenset[str]
    expected_any: frozenset[str]
    compute: Compute

    def rank(self, case: Mapping[str, Any]) -> tuple[int, int]:
        """(expected fields served, inputs read); zeros if the adapter does not fit."""
        served = len(self.expected_any & set(case["expected"]))
        if not served or not self.inputs <= set(case["inputs"]):
            return 0, 0
        return served, len(self.inputs)


ADAPTERS: list[Adapter] = []


def adapter(*, inputs: Collection[str], expected_any: Collection[str]) -> Callable:
    """Enrol a function for the cases that have these fields."""

    def enrol(compute: Compute) -> Compute:
        ADAPTERS.append(Adapter(frozenset(inputs), frozenset(expected_any), compute))
        return compute

    return enrol


def find(case: Mapping[str, Any]) -> Adapter | None:
    """The adapter that fits a case best, or ``None``."""
    best = max(ADAPTERS, key=lambda one: one.rank(case), default=None)
    return best if best is not None and best.rank(case) > (0, 0) else None


def load() -> None:
    """Import every module of this package, so that all adapters enrol."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
