"""What a run or an audit hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left.

    Args:
        record: the content of ``audit.json``.
        report: path of ``report.html``, if one was written.
        directory: the run's directory, if one was written.
    """

    record: dict[str, Any]
    report: Path | None
    directory: Path | None
