"""The page of groups and domains: a penalty's price, densities by cell, heads by domain, drift."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import write_text
from . import groups_words as words
from .captions import TEXTS_NOTE
from .fields import mapping, text_of
from .groups_domains import domains_section
from .groups_drift import travel_section
from .groups_penalty import densities_section, strength_section
from .page import day, environment, origin_of, policy
from .reading import Run
from .svg import plain

PARTS = {
    "strength": strength_section,
    "densities": densities_section,
    "domains": domains_section,
    "weight_drift": travel_section,
}
"""Parts of the record, in the order of the page, and what draws them."""


def write_groups_report(record: Mapping[str, Any], path: str | Path) -> Path:
    """Draw how a model treats groups and domains as one self-contained HTML file.

    Use it to show what a penalty of dependence costs and buys, how predictions are spread in
    every intersection cell, which head serves which domain, and how far training moved. The file
    opens offline, in light and dark, on a phone and on paper. Parts that the record lacks are
    left out.

    Args:
        record: ``strength`` (of :meth:`pluralign.learn.tabular_strength.StrengthTable.record`, a
            list), ``densities`` (of :func:`pluralign.audit.densities.cell_densities`),
            ``domains`` (of :func:`pluralign.audit.domains.domain_table`), ``weight_drift`` (of
            :func:`pluralign.audit.drift.drift_record`, a list); ``title``, ``created`` and
            ``provenance``.
        path: where to write; the file appears whole or not at all.

    Returns:
        The path of the file.

    Raises:
        DataError: if there is none of these parts, or naming the part that is not as expected.

    Example:
        >>> import tempfile
        >>> from pluralign.audit.drift import drift_record
        >>> drift = drift_record("batch 32", [1, 10, 100], [1.0, 3.0, 5.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_groups_report({"weight_drift": [drift]}, f"{folder}/report.html")
        ...     "How far did the weights travel?" in page.read_text("utf-8")
        True
    """
    return write_text(path, render_groups(record))


def render_groups(record: object) -> str:
    """The text of the page."""
    top = mapping(record, "record")
    drawn = [draw(top.get(key)) for key, draw in PARTS.items()]
    sections = [section for section in drawn if section is not None]
    if not sections:
        raise DataError(f"the record has nothing to report: it needs one of {', '.join(PARTS)}.")
    title = text_of(top, "title") or "Groups and domains"
    known = mapping(top.get("provenance"), "provenance")
    created = text_of(top, "created") or text_of(known, "created")
    line, *details = [section.figures[0].title for section in sections if section.figures]
    return (
        environment()
        .get_template("groups.html.j2")
        .render(
            title=plain(title),
            line=f"{line}.",
            details=[f"{detail}." for detail in details],
            facts=[fact for fact in (day(created),) if fact],
            sections=sections,
            notes=words.NOTES,
            texts_note=TEXTS_NOTE,
            origin=origin_of(Run(title, created, {}, (), (), (), None, known)),
            policy=policy(),
        )
    )
