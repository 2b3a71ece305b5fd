"""The model card: whom a model serves, in the words of its audit, beside its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..errors import DataError
from .report.svg import plain

# What Markdown or HTML could read as a mark: signs, an underscore at the edge of a word,
# an entity, a short code or the start of an address.
_SPECIAL = re.compile(
    r"[\\`*\[\]<>#|~$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=[#\w])|:(?=[^\s\d])|(?<=www)\.",
    re.IGNORECASE,
)
_FEW = 30


def model_card(record: Mapping[str, Any], name: str) -> str:
    """The model card of one model of a run, as Markdown with metadata of the hub.

    Use it beside every model that is given to others; a run writes it as ``README.md``.
    It says what the audit found, worst-off group first, and what was not looked at. Texts
    that come from the data are escaped, so that they stay text wherever the card is shown.

    Args:
        record: the content of ``audit.json`` of a run.
        name: one of its models.

    Returns:
        The text of the card.

    Raises:
        DataError: if the record has no such model, or no ranking accuracy of it.
        ImportError: if huggingface_hub is not installed.

    Example:
        >>> south = {"name": "south", "n": 40, "value": 0.7, "low": 0.55, "high": 0.82}
        >>> frame = {"by": "group", "confidence": 0.95, "overall": south, "groups": [south]}
        >>> record = {"models": [{"name": "dpo", "frames": {"ranking_accuracy": frame}}]}
        >>> "| south | 40 | 70.0 % | [55.0, 82.0] |" in model_card(record, "dpo")
        True
    """
    try:
        from huggingface_hub import ModelCard, ModelCardData
    except ImportError as error:
        raise ImportError(
            "a model card needs huggingface_hub; pip install 'pluralign[language]'"
        ) from error
    model = _model(record, name)
    sections = (
        _heading(record, model),
        _groups(record, model),
        _tuning(record, model),
        _data(record),
        _noise(record, model),
        _limits(record, model),
        _origin(record),
    )
    base = record.get("base") or {}
    data = ModelCardData(
        base_model=_base_name(base) or None,
        library_name="peft" if base.get("lora_rank") else "transformers",
        pipeline_tag="text-generation",
        tags=["pluralign", "preference-tuning", *_objective_tag(model)],
    )
    body = "\n\n".join("\n".join(lines) for lines in sections if lines)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


def escaped(text: object, limit: int = 120) -> str:
    r"""Text of the data on one line, which Markdown and HTML show as it is.

    Example:
        >>> escaped("a|b <b>*x*</b>")
        'a\\|b \\<b\\>\\*x\\*\\</b\\>'
    """
    return _SPECIAL.sub(r"\\\g<0>", plain(text, limit))


def _model(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    models = {model["name"]: model for model in record.get("models") or ()}
    if name not in models:
        raise DataError(f"the record has no model {name!r}; it has {sorted(models)}.")
    if not (models[name].get("frames") or {}).get("ranking_accuracy"):
        raise DataError(f"the record has no ranking accuracy of {name!r}; audit it first.")
    return models[name]


def _heading(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    base, frame = record.get("base") or {}, _frame(model)
    objective = (model.get("objective") or {}).get("name")
    start = _base_name(base) or "a small model trained from scratch"
    start = f"{escaped(start)}{', fine-tuned on demonstrations' if base.get('sft') else ''}"
    told = f"Tuned with {escaped(objective)} from {start}." if objective else f"This is {start}."
    groups = {group["name"]: group for group in frame["groups"]}
    worst = groups.get(frame.get("worst"), frame["groups"][0])  # never a single pair
    served = f"Over all held-out pairs its ranking accuracy is {_percent(frame['overall'])}"
    if len(frame["groups"]) > 1:
        served += (
            f"; in the worst-off group, {escaped(worst['name'])}, it is {_percent(worst)} "
            f"{_interval(worst)}"
        )
    return [f"# {escaped(record.get('title') or model['name'])}: {model['name']}", "",
            f"{told} {served}."]  # fmt: skip


def _groups(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    frame = _frame(model)
    before = _before(record, model)
    columns = ["ranking accuracy", f"{_level(frame)} interval"]
    columns += [f"minus {escaped(before['b'])}"] if before else []
    cells = [*frame["groups"], {**frame["overall"], "name": "all pairs"}]
    lines = [
        "## Whom it serves",
        "",
        "Ranking accuracy: the share of held-out pairs in which the model gives the preferred "
        "response the higher probability. The worst-off group comes first.",
        "",
        *_table([escaped(frame.get("by") or "group"), "pairs", *columns],
                [_row(cell, before) for cell in cells]),
    ]  # fmt: skip
    gap = frame.get("gap") or {}
    if len(frame["groups"]) > 1 and gap.get("value") is not None:
        lines += ["", f"Gap between best and worst: {_percent(gap)} {_interval(gap)}."]
    return lines


def _row(cell: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    row = [escaped(cell["name"]), str(cell["n"]), _percent(cell), _interval(cell)]
    if before is None:
        return row
    differences = before["frame"]
    found = {part["name"]: part for part in differences["groups"]}
    found["all pairs"] = differences["overall"]
    part = found.get(cell["name"], {})
    return [*row, f"{_points(part)} {_interval(part)}".strip()]


def _before(record: Mapping[str, Any], model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The paired differences to the model that the run started from."""
    first = next(iter(record["models"]))["name"]
    found = (
        c for c in record.get("comparisons") or () if (c["a"], c["b"]) == (model["name"], first)
    )
    return next(found, None)


def _tuning(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    objective = dict(model.get("objective") or {})
    if not objective:
        return []
    name, recipe = objective.pop("name", None), (record.get("provenance") or {}).get("recipe")
    training = (recipe.get("training") or {}) if isinstance(recipe, Mapping) else {}
    settings = {k: v for k, v in (objective | training).items() if v is not None}
    rank = (record.get("base") or {}).get("lora_rank")
    trained = "all weights" if rank is None else f"a low-rank adapter of rank {rank}"
    rows = [(escaped(key), escaped(value)) for key, value in settings.items()]
    return [
        "## How it was tuned",
        "",
        f"The objective is {escaped(name)}; it trained {trained}.",
        *(["", *_table(["setting", "value"], rows)] if rows else []),
    ]


def _data(record: Mapping[str, Any]) -> list[str]:
    data = record.get("data") or {}
    if not data:
        return []
    facts = [
        ("source", _public(data.get("source"))),
        ("fingerprint of the training pairs", data.get("fingerprint")),
        ("SHA-256 of the file", data.get("file")),
        ("pairs for training", data.get("n_train")),
        ("pairs held out", data.get("n_eval")),
        *((f"training pairs of {name}", n) for name, n in (data.get("groups") or {}).items()),
    ]
    rows = [(escaped(key), escaped(value)) for key, value in facts if value is not None]
    return ["## Data", "", *_table(["what", "value"], rows), *_findings(record)]


def _findings(record: Mapping[str, Any]) -> list[str]:
    found = (record.get("data_audit") or {}).get("findings") or ()
    grave = [finding for finding in found if finding.get("severity") in ("error", "warning")]
    if not grave:
        return []
    lines = [f"- {escaped(f.get('title'))}: {escaped(f.get('what'), 300)}" for f in grave]
    return ["", "What a check of the training pairs found:", "", *lines]


def _noise(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    rates = record.get("noise") or ()
    setting = (model.get("objective") or {}).get("flip_rate")
    lines = ["## Noise in the labels", ""]
    if not rates:
        assumed = "" if setting is None else f" The objective assumed {escaped(setting)}."
        return [*lines, f"The share of reversed labels was not estimated.{assumed}"]
    unused = setting != "per_pair" and model.get("objective")
    used = " This objective did not use them." if unused else ""
    rows = [
        (escaped(r["group"]), str(r["n"]), escaped(r["estimator"]), _rate(r["estimate"]),
         _interval(r), _rate(r["assumed"]), _rate(r.get("truth")))
        for r in rates
    ]  # fmt: skip
    columns = ["group", "pairs", "estimator", "estimate", "95 % interval", "assumed", "truth"]
    told = f"Share of labels that are reversed, estimated by group.{used}"
    return [*lines, told, "", *_table(columns, rows)]


def _limits(record: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    frame = _frame(model)
    groups = frame["groups"]
    small = [group for group in groups if group["n"] < _FEW]
    told = [
        "Ranking accuracy says which of two given responses the model finds likelier. It does "
        "not say how good, true or harmless the texts are that the model writes.",
        "The intervals cover the draw of held-out pairs; another training seed or other training "
        "pairs can change the figures by more.",
        "Labels of held-out pairs are judgements too: where they are noisy or people disagree, "
        "no model can reach 100 %.",
        "Nothing is known about people and uses that no pair stands for.",
    ]
    if len(groups) == 1:
        told.append(
            f"All pairs are of one group ({escaped(groups[0]['name'])}), so it was not measured "
            "whether the model serves some people less than others."
        )
    if small and len(groups) > 1:
        names = ", ".join(escaped(group["name"]) for group in small[:10])
        told.append(f"Fewer than {_FEW} held-out pairs, little is known: {names}.")
    return ["## Limits", "", *(f"- {line}" for line in told)]


def _origin(record: Mapping[str, Any]) -> list[str]:
    known = record.get("provenance") or {}
    versions = known.get("versions") or {}
    listed = ", ".join(f"{escaped(k)} {escaped(v)}" for k, v in versions.items() if v != "absent")
    facts = {
        "created": record.get("created"),
        "seed": known.get("seed"),
    }
    rows = [(key, escaped(value, 400)) for key, value in facts.items() if value is not None]
    rows += [("versions", listed)] if listed else []
    if not rows:
        return []
    told = "The whole audit, and the command, are in `audit.json` and `report.html` of the run."
    return ["## Where it comes from", "", *_table(["what", "value"], rows), "", told]


def _frame(model: Mapping[str, Any]) -> Mapping[str, Any]:
    return model["frames"]["ranking_accuracy"]


def _base_name(base: Mapping[str, Any]) -> str:
    """The last part of a path: where it lies on a machine is nobody's concern."""
    name = base.get("name")
    return plain(PurePath(str(name)).name) if name else ""


def _public(source: object) -> object:
    """A source without the place of a file on somebody's machine."""
    path = PurePath(str(source))
    return path.name if path.is_absolute() else source


def _objective_tag(model: Mapping[str, Any]) -> list[str]:
    name = (model.get("objective") or {}).get("name")
    return [] if name is None else [str(name).lower()]


def _level(frame: Mapping[str, Any]) -> str:
    return f"{100 * float(frame.get('confidence') or 0.95):g} %"


def _percent(cell: Mapping[str, Any]) -> str:
    return _rate(cell.get("value"))


def _points(cell: Mapping[str, Any]) -> str:
    value = cell.get("value")
    return "–" if value is None else f"{100 * value:+.1f} points"


def _interval(cell: Mapping[str, Any]) -> str:
    if cell.get("low") is None or cell.get("high") is None:
        return ""
    return f"[{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    return lines
