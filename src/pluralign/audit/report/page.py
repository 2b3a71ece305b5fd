"""The page: sections in their order, one template, one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, cast, final

from jinja2 import Environment, PackageLoader

from ...files import write_text
from .by_group import groups_section
from .captions import TEXTS_NOTE
from .cards import data_section
from .changes import changes_section
from .drift import drift_section
from .evidence import noise_section, training_section
from .fields import Estimate, finite
from .reach import summary_section
from .reading import Model, Run, read_run
from .scales import percent, points
from .score import score_section
from .spread import spread_section
from .svg import isolated, legible, plain
from .tables import Table, flattened, side_by_side
from .words import INTERVAL_METHODS, MAIN, METHOD_NOTES, count, headline, interval

SECTIONS: Final = (
    groups_section,
    changes_section,
    drift_section,
    spread_section,
    score_section,
    data_section,
    noise_section,
    training_section,
    summary_section,
)
"""Functions from the run to a section or ``None``, in the order of the page."""


def write_report(run: Mapping[str, Any], path: str | Path) -> Path:
    """Draw the report of a run as one self-contained HTML file.

    Use it on the content of ``audit.json``, to show whom each model serves. The file opens
    offline, in light and dark, on a phone and on paper. Parts that the record lacks leave
    their section out.

    Args:
        run: the content of ``audit.json``: ``title``, ``created``, ``data``, ``models``,
            ``comparisons``, ``noise`` and ``provenance``, each of which may be absent.
        path: where to write; the file appears whole or not at all.

    Returns:
        The path of the file.

    Raises:
        DataError: if nothing in ``run`` can be reported, or naming the part that is not
            of the expected kind.

    Example:
        >>> import tempfile
        >>> south = {"name": "south", "n": 40, "value": 0.7, "low": 0.55, "high": 0.82}
        >>> frame = {"metric": "ranking_accuracy", "overall": south, "groups": [south]}
        >>> run = {"models": [{"name": "dpo", "frames": {"ranking_accuracy": frame}}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_report(run, f"{folder}/report.html").read_text(encoding="utf-8")
        >>> "worst-off group" in page
        True
    """
    return write_text(path, render(read_run(run)))


def render(run: Run) -> str:
    """The text of the page."""
    line, details = headline(run)
    sections = [made for make in SECTIONS if (made := make(run)) is not None]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            title=plain(run.title),
            line=line,
            details=[detail for detail in details if detail],
            scores=[_score(model) for model in run.models if MAIN in model.frames],
            facts=_facts(run),
            sections=sections,
            notes=METHOD_NOTES,
            texts_note=TEXTS_NOTE,
            methods=_interval_methods(run),
            origin=origin_of(run),
            policy=policy(),
        )
    )


@final
@dataclass(frozen=True)
class Score:
    """One model in numbers, under the headline."""

    title: str
    objective: str
    worst: str
    value: str
    interval: str
    overall: str
    gap: str


def _score(model: Model) -> Score:
    frame = model.frames[MAIN]
    worst = Estimate() if frame.worst is None else frame.worst.estimate
    gap = f"{points(frame.gap.value).lstrip('+')} points" if frame.gap.value is not None else ""
    return Score(
        title=isolated(model.title),
        objective=objective_text(model.objective),
        worst="" if frame.worst is None else isolated(frame.worst.name),
        value=percent(worst.value),
        interval=interval(worst, percent, bare=True),
        overall=percent(frame.overall.estimate.value),
        gap=gap,
    )


def objective_text(objective: Mapping[str, Any]) -> str:
    """``RDPO, beta 0.1, flip rate 0.2``: the name and the plain settings of an objective."""
    inner = objective.get("fields")
    settings = cast(Mapping[str, Any], inner) if isinstance(inner, Mapping) else objective
    told = [
        f"{plain(key).replace('_', ' ')} {plain(value)}"
        for key, value in settings.items()
        if key not in ("name", "repr") and isinstance(value, (int, float, str))
    ]
    text = ", ".join(filter(None, [str(objective.get("name") or ""), *told]))
    return plain(text, 160) if text else ""


def _facts(run: Run) -> list[str]:
    """The line under the title: source, sizes, date."""
    groups = run.data.get("groups")
    held_out = finite(run.data.get("n_eval"))
    told = [
        plain(run.data["source"], 80) if run.data.get("source") else "",
        count(None if held_out is None else int(held_out), "held-out pair"),
        count(len(cast(Mapping[str, int], groups)), "group") if groups else "",
        day(run.created),
    ]
    return [fact for fact in told if fact]


def day(created: str) -> str:
    """The date of an ISO time; another text stays as it is."""
    try:
        return datetime.fromisoformat(created).date().isoformat()
    except ValueError:
        return plain(created, 40) if created else ""


def _interval_methods(run: Run) -> list[str]:
    frames = [frame for model in run.models for frame in model.frames.values()]
    frames += [comparison.frame for comparison in run.comparisons]
    names = dict.fromkeys(frame.method for frame in frames if frame.method)
    return [INTERVAL_METHODS.get(name) or plain(name) for name in names]


@final
@dataclass(frozen=True)
class Origin:
    """Where the numbers come from, for those who want to have them again."""

    command: str
    facts: list[tuple[str, str]]
    tables: list[Table]
    recipe: str


def origin_of(run: Run) -> Origin:
    """What a reader needs to make the run again."""
    known = run.provenance
    facts = {
        "data": run.data.get("source"),
        "fingerprint": run.data.get("fingerprint"),
        "pairs for training": run.data.get("n_train"),
        "pairs held out": run.data.get("n_eval"),
        "created": run.created or known.get("created"),
        "seed": known.get("seed"),
    }
    tables = [
        side_by_side(name.capitalize(), [("", flattened(cast(Mapping[str, Any], part)))])
        for name, part in (
            ("pairs by group", run.data.get("groups")),
            ("versions", known.get("versions")),
            ("machine", known.get("machine")),
        )
        if part and isinstance(part, Mapping)
    ]
    recipe = known.get("recipe")
    text = recipe if isinstance(recipe, str) else json.dumps(recipe, indent=2, default=str)
    return Origin(
        command=legible(known.get("command") or "")[:2000],
        facts=[(name, _fact(value)) for name, value in facts.items() if value is not None],
        tables=tables,
        recipe=legible(text)[:20000] if recipe else "",
    )


def _fact(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(value, 200)


@cache
def environment() -> Environment:
    """The templates of the pages; every text is escaped."""
    loader = PackageLoader("pluralign.audit.report", package_path="")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


@cache
def policy() -> str:
    """What the page may do: run and style itself with exactly these texts, and load nothing."""
    allowed = {
        "script-src": ("page.js",),
        "style-src": ("figure.css", "page.css"),
    }
    told = [f"{what} {' '.join(map(_digest, names))}" for what, names in allowed.items()]
    return "; ".join(
        ["default-src 'none'", *told, "img-src data:", "base-uri 'none'", "form-action 'none'"]
    )


def _digest(name: str) -> str:
    text = environment().get_template(name).render()
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
