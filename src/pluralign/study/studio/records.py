"""What of a run directory the studio can show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

from ...errors import DataError, ParameterError
from .candidates import Candidates, read_candidates
from .collecting import Collection, find_collection, read_collection
from .deciding import Settled, read_decision


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """The records of a run directory; each is ``None`` where it is not there.

    Args:
        directory: of the run.
        title: of the run, or the name of its directory.
        candidates: of ``selections.jsonl``, if the run steered.
        steering: content of ``steering.json``, if that run is finished.
        collection: of the state of an adaptive collection.
        decision: of ``decision.json``, if ``pluralign decide`` was called on it.
    """

    directory: Path
    title: str
    candidates: Candidates | None = None
    steering: dict[str, Any] | None = None
    collection: Collection | None = None
    decision: Settled | None = None


def read_records(run_dir: str | Path) -> Records:
    """Read every record in a directory that the studio has a tab for.

    Args:
        run_dir: what ``pluralign steer`` left, also unfinished, or where the state of a
            collection or a ``decision.json`` lies.

    Raises:
        ParameterError: if there is no such directory, or nothing in it that could be shown.
        DataError: naming the file that cannot be read.
    """
    directory = Path(run_dir)
    if not directory.is_dir():
        raise ParameterError(f"there is no run directory at {directory}.")
    selections, state = directory / "selections.jsonl", find_collection(directory)
    candidates = read_candidates(selections) if selections.exists() else None
    collection = None if state is None else read_collection(state)
    decided = directory / "decision.json"
    decision = read_decision(decided) if decided.exists() else None
    if candidates is None and collection is None and decision is None:
        raise ParameterError(
            f"{directory} holds nothing that the studio shows (selections.jsonl of pluralign "
            "steer, the state of a collection, or decision.json of pluralign decide); make a run "
            "with pluralign steer recipes/steer_quick.yaml."
        )
    steering = _json(directory / "steering.json")
    return Records(
        directory=directory,
        title=str((steering or {}).get("title") or _named(directory, decision)),
        candidates=candidates,
        steering=steering,
        collection=collection,
        decision=decision,
    )


def _named(directory: Path, decision: Settled | None) -> str:
    """Title of the recipe of a run that is not finished, or of a decision."""
    recipe = (_json(directory / "run.json") or {}).get("recipe")
    known = cast("dict[str, Any]", recipe) if isinstance(recipe, dict) else {}
    return str(known.get("title") or known.get("name") or _fallback(directory, decision))


def _fallback(directory: Path, decision: Settled | None) -> str:
    return directory.resolve().name if decision is None else decision.title


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"is no JSON ({error}).", source=str(path)) from error
    if not isinstance(found, dict):
        raise DataError("must hold a JSON object.", source=str(path))
    return cast("dict[str, Any]", found)
