"""Audit models on a file of pairs, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..audit import write_report
from ..audit.record import audit_models
from ..data import ScoredPairs
from ..datasets import load_preferences
from ..errors import ParameterError
from ..files import write_json
from ..learn import score_pairs
from ..learn.scratch import load_model, load_tokenizer
from ..provenance import provenance
from .pipeline import RunResult, with_groups


def audit_files(
    data: str | Path,
    models: Sequence[str | Path],
    *,
    reference: str | Path | None = None,
    beta: float | None = None,
    group: str | None = None,
    output: str | Path | None = None,
    max_length: int = 1024,
    drop_unusable: bool = False,
) -> RunResult:
    """Score pairs with each model and compare them by group.

    Args:
        data: file or directory of preference pairs.
        models: directories of causal language models with their tokenizers.
        reference: directory of the reference model, for implicit rewards and the gap.
        beta: scale that the models were tuned with; otherwise a grid is reported.
        group: column that names the group (default: ``group``, if present).
        output: directory for ``audit.json`` and ``report.html``.
        max_length: longest prompt plus response, in tokens.
        drop_unusable: drop blank rows with a warning instead of refusing the file.

    Raises:
        ParameterError: if two models have one name.
        DataError: if the pairs cannot be used.
    """
    names = [Path(model).name for model in models]
    if len(set(names)) != len(names):
        raise ParameterError(f"models need different directory names; got {names}.")
    pairs = with_groups(load_preferences(data, group=group, drop_unusable=drop_unusable))
    base = None if reference is None else load_model(reference)
    scored: dict[str, ScoredPairs] = {}
    for name, path in zip(names, models, strict=True):
        scored[name] = score_pairs(
            load_model(path),
            pairs,
            load_tokenizer(path),
            reference=base,
            beta=beta,
            max_length=max_length,
        )
    origin = provenance(seed=0)
    record: dict[str, Any] = {
        "title": f"Audit of {', '.join(names)}",
        "created": origin["created"],
        "data": {
            "source": pairs.source,
            "fingerprint": pairs.fingerprint(),
            "n_train": None,
            "n_eval": len(pairs),
            "groups": pairs.group_sizes(),
        },
        **audit_models(scored, by="group"),
        "noise": [],
        "provenance": origin,
    }
    if output is None:
        return RunResult(record=record, report=None, directory=None)
    directory = Path(output)
    write_json(directory / "audit.json", record)
    report = write_report(record, directory / "report.html")
    return RunResult(record=record, report=report, directory=directory)
