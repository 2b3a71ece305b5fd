"""What ``check_data`` found, as typed values: the ``data_audit`` of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from .fields import items, mapping, number_of, text_of

MAX_EXAMPLES = 5


@final
@dataclass(frozen=True)
class Finding:
    """One thing that the data audit has to say."""

    severity: str
    title: str
    what: str
    count: int | None
    why: str
    remedy: str
    places: tuple[str, ...]
    texts: tuple[str, ...]


@final
@dataclass(frozen=True)
class DataAudit:
    """The findings about one data set, the gravest first."""

    source: str
    n_pairs: int | None
    findings: tuple[Finding, ...]


def read_data_audit(record: object, at: str) -> DataAudit | None:
    """Check the content of ``DataAudit.to_json()``; ``None`` where there is none."""
    found = mapping(record, at)
    if not found:
        return None
    size = number_of(found, "n_pairs", at)
    return DataAudit(
        source=text_of(found, "source"),
        n_pairs=None if size is None else int(size),
        findings=tuple(
            _finding(part, place) for part, place in items(found.get("findings"), f"{at}.findings")
        ),
    )


def _finding(record: Mapping[str, Any], at: str) -> Finding:
    size = number_of(record, "count", at)
    data = mapping(record.get("data"), f"{at}.data")
    return Finding(
        severity=text_of(record, "severity") or "note",
        title=text_of(record, "title") or text_of(record, "key") or "(no title)",
        what=text_of(record, "what"),
        count=None if size is None else int(size),
        why=text_of(record, "why"),
        remedy=text_of(record, "remedy"),
        places=_texts(record.get("ids")) or _texts(record.get("rows")),
        texts=_texts(data.get("examples"))[:MAX_EXAMPLES],
    )


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(map(str, cast(Sequence[object], value)))
