"""Cards of the data audit: what was found, how grave, and what to do."""

from __future__ import annotations

from typing import Final

from .captions import DATA_LEAD
from .findings import DataAudit, Finding
from .parts import Card, Section
from .reading import Run
from .svg import plain
from .words import count

GRADES: Final = {
    "error": "Mend before training",
    "warning": "Look at it",
    "note": "Good to know",
}
_MAX_PLACES = 20
_TEXT_LENGTH = 300


def data_section(run: Run) -> Section | None:
    """A card for each finding; one sentence where nothing was found."""
    if run.data_audit is None:
        return None
    audit = run.data_audit
    lead = DATA_LEAD if audit.findings else _nothing(audit)
    cards = tuple(map(_card, audit.findings))
    return Section("data", "Data", "What is in the data?", lead=lead, cards=cards)


def _nothing(audit: DataAudit) -> str:
    return f"The data audit looked at {count(audit.n_pairs) or 'the pairs'} and found nothing."


def _card(finding: Finding) -> Card:
    severity = finding.severity if finding.severity in GRADES else "note"
    return Card(
        severity=severity,
        grade=GRADES[severity],
        title=plain(finding.title, 120),
        what=plain(finding.what, 600),
        why=plain(finding.why, 600) if finding.why else "",
        remedy=plain(finding.remedy, 600) if finding.remedy else "",
        places=_places(finding),
        texts=tuple(plain(text, _TEXT_LENGTH) for text in finding.texts),
    )


def _places(finding: Finding) -> str:
    """Pair ids of the first rows, and how many more there are."""
    shown = [plain(place, 40) for place in finding.places[:_MAX_PLACES]]
    more = (finding.count or 0) - len(shown)
    return f"{', '.join(shown)}{f' and {more:,} more' if shown and more > 0 else ''}"
