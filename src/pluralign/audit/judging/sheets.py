"""People as judges: a JSON Lines sheet to fill in, blind to the arms, and to read back."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...files import write_text
from ...rows import raise_rows, read_jsonl
from ...rules import shown
from .duels import Duels, Verdicts
from .replies import as_text

_MEANING = {"1": 1.0, "2": 0.0, "tie": 0.5}
ANSWERS = (*_MEANING, "skip")
"""What may stand in ``verdict``; ``"skip"`` if a person cannot or will not say."""


def write_sheet(duels: Duels, path: str | Path, *, seed: int = 0) -> Path:
    """Write duels for a person to judge, one JSON object a line.

    Rows come in random order and the arms' answers in random places, without the arms'
    names. The person writes ``"1"``, ``"2"``, ``"tie"`` or ``"skip"`` into ``verdict``, and
    anything into ``comment``. Give each person a copy with another seed.

    Args:
        duels: what to judge.
        path: file to write; one that exists is replaced.
        seed: of both orders, >= 0.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> duels = Duels(["2+2?"], a=["4"], b=["5"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_sheet(duels, Path(folder) / "sheet.jsonl", seed=1)
        ...     filled = path.read_text().replace('"verdict": ""', '"verdict": "tie"')
        ...     _ = path.write_text(filled)
        ...     read_sheet(path, duels).a_wins.tolist()
        [0.5]
    """
    draw = random.Random(seed)
    rows = list(range(len(duels)))
    draw.shuffle(rows)
    sheet = _sheet(duels)
    lines: list[str] = []
    for row in rows:
        answers = [duels.a[row], duels.b[row]]
        draw.shuffle(answers)
        record: dict[str, Any] = {
            "sheet": sheet,
            "row": row,
            "prompt": as_text(duels.prompt[row]),
            "answer_1": answers[0],
            "answer_2": answers[1],
            "verdict": "",
            "comment": "",
        }
        lines.append(json.dumps(record, ensure_ascii=False))
    write_text(Path(path), "\n".join(lines) + "\n")
    return Path(path)


def read_sheet(
    path: str | Path, duels: Duels, *, judge: str = "person", partial: bool = False
) -> Verdicts:
    """Verdicts from a sheet that a person has filled in.

    Which arm an answer is from is told by its text, so that a sheet with changed texts is
    refused and no key has to be kept apart.

    Args:
        path: the file.
        duels: what :func:`write_sheet` was given.
        judge: who filled it in, for records.
        partial: take rows that are not filled in, or not there, as duels without a verdict
            instead of refusing the sheet.

    Returns:
        Verdicts in the order of the duels; ``"skip"`` is a duel without a verdict.

    Raises:
        DataError: naming the rows, for a line that is torn, rows of another sheet, changed
            texts, repeated rows, unknown verdicts, and rows that are not filled in.
        FileNotFoundError: if there is no such file.
    """
    source = str(path)
    rows = read_jsonl(path)
    problems = [(line, what) for line, row in enumerate(rows) for what in _wrong(row, duels)]
    if any("another sheet" in what for _, what in problems):
        raise_rows(problems, source, len(rows), hint=" Read it with the duels it was made from.")
    problems += list(_repeats(rows))
    if not partial:
        blank = (line for line, row in enumerate(rows) if not _verdict(row))
        problems += [(line, "verdict is not filled in") for line in blank]
    raise_rows(problems, source, len(rows), hint=f" A verdict is one of {list(ANSWERS)}.")
    missing = len(duels) - len(rows)
    if missing and not partial:
        raise DataError(
            f"the sheet has {len(rows)} of {len(duels)} rows; {missing} are missing, so it may "
            "have been cut off. Get it whole, or read it with partial=True.",
            source=source,
            rows=sorted(set(range(len(duels))) - {row["row"] for row in rows}),
        )
    return _verdicts(rows, duels, judge)


def _verdicts(rows: list[dict[str, Any]], duels: Duels, judge: str) -> Verdicts:
    wins = np.full(len(duels), np.nan)
    shown_first = np.full(len(duels), np.nan)
    errors = ["not filled in"] * len(duels)
    for record in rows:
        row, verdict = record["row"], _verdict(record)
        if verdict in _MEANING:
            value = _MEANING[verdict]
            wins[row] = value if record["answer_1"] == duels.a[row] else 1 - value
            shown_first[row] = value
            errors[row] = ""
        elif verdict:
            errors[row] = "skipped"
    return Verdicts(wins, errors, judge, shown_first)


def _sheet(duels: Duels) -> str:
    return duels.fingerprint()[:16]


def _verdict(record: Mapping[str, Any]) -> str:
    return str(record.get("verdict", "")).strip().lower()


def _wrong(record: Mapping[str, Any], duels: Duels) -> Iterator[str]:
    lacking = {"sheet", "row", "answer_1", "answer_2", "verdict"} - set(record)
    if lacking:
        yield f"lacks {sorted(lacking)}"
        return
    if record["sheet"] != _sheet(duels):
        yield f"is of another sheet ({shown(record['sheet'])}, not {_sheet(duels)!r})"
        return
    row = record["row"]
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(duels):
        yield f"row must be a number from 0 to {len(duels) - 1}; got {shown(row)}"
        return
    if sorted([str(record["answer_1"]), str(record["answer_2"])]) != sorted(
        [duels.a[row], duels.b[row]]
    ):
        yield "an answer was changed; its text must stay as it was written"
    if _verdict(record) not in ("", *ANSWERS):
        yield f"verdict must be one of {list(ANSWERS)}; got {shown(record['verdict'])}"


def _repeats(rows: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    seen: dict[Any, int] = {}
    for line, record in enumerate(rows):
        row = record.get("row")
        if not isinstance(row, int):
            continue
        if row in seen:
            yield line, f"judges row {row} again (first in row {seen[row]} of the file)"
        seen.setdefault(row, line)
