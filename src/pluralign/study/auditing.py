"""Audit models on a file of pairs, without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

from ..audit import write_report
from ..audit.quality import check_data
from ..audit.record import audit_models
from ..data import Preferences, ScoredPairs
from ..errors import IncompatibleError, ParameterError
from ..files import write_json
from ..learn import score_pairs
from ..learn.config import TrainingConfig
from ..learn.rows import TokenRows
from ..learn.saved import PACKAGED
from ..learn.scoring import tokenised
from ..learn.trainer import check_fit
from ..provenance import provenance
from ..rules import AnyOf, Within, check
from .loading import load_named, named_tokenizer
from .material import MAX_ROWS, hash_of
from .results import RunResult
from .shaping import with_groups


@final
@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """The one setting of an audit that has a rule of its own.

    Args:
        beta: scale that the models were tuned with, if it is known.
    """

    beta: Annotated[float | None, AnyOf(None, Within(0.0, closed="neither"))]

    def __post_init__(self) -> None:
        check(self)


def audit_pairs(
    pairs: Preferences,
    models: Sequence[str | Path],
    *,
    reference: str | Path | None = None,
    beta: float | None = None,
    output: str | Path | None = None,
    config: TrainingConfig | None = None,
) -> RunResult:
    """Score pairs with each model and compare them by group.

    Use it on models that exist already; a recipe audits what it tunes by itself.

    Args:
        pairs: what to audit on; pairs without groups are one group.
        models: names as :func:`~pluralign.study.loading.load_named` takes them:
            directories, ``.gguf`` files or ``packaged:NAME``.
        reference: the model before tuning, likewise, for implicit rewards and the gap.
        beta: scale that the models were tuned with; otherwise a grid is reported.
        output: directory for ``audit.json`` and ``report.html``.
        config: length, truncation and batches.

    Raises:
        ParameterError: for a model that is not there or named twice, or a beta that is no
            scale or has no effect.
        DataError: if pairs or a model cannot be used.
    """
    AuditSettings(beta=beta)
    if beta is not None and reference is None:
        raise ParameterError("beta scales log-ratios to a reference; give one, or drop beta.")
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        raise ParameterError(f"output {output} is a file; name a directory.")
    names = model_names(models)
    config = config or TrainingConfig()
    grouped = with_groups(pairs)
    base = None if reference is None else load_named(reference)
    scored: dict[str, ScoredPairs] = {}
    for name, model in zip(names, models, strict=True):
        scored[name] = _scored(grouped, model, base, beta=beta, config=config)
    findings = check_data(
        pairs,
        tokenizer=named_tokenizer(models[0]),
        max_length=config.max_length,
        truncation=config.truncation,
    )
    origin = provenance(seed=0)
    record: dict[str, Any] = {
        "title": f"Audit of {', '.join(names)}",
        "created": origin["created"],
        "data": {
            "source": pairs.source,
            "file": hash_of(pairs.source),
            "fingerprint": pairs.fingerprint(),
            "n_train": None,
            "n_eval": len(pairs),
            "groups": grouped.group_sizes(),
        },
        "data_audit": findings.to_json(max_rows=MAX_ROWS),
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


def model_names(models: Sequence[str | Path]) -> list[str]:
    """The shortest tails of the models' paths that tell them apart.

    Raises:
        ParameterError: if there is none, or one is given twice.

    Example:
        >>> model_names(["runs/a/models/dpo", "runs/b/models/dpo", "packaged:tiny"])
        ['a/models/dpo', 'b/models/dpo', 'tiny']
    """
    if not models:
        raise ParameterError("give at least one model.")
    paths = [Path(str(model).removeprefix(PACKAGED)) for model in models]
    if len({Path(model).resolve() for model in models}) < len(models):
        raise ParameterError(
            f"models must be different directories, each given once; got {list(map(str, models))}."
        )
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = [str(Path(*path.parts[-length:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(map(str, models))


def _scored(
    pairs: Preferences,
    name: str | Path,
    base: tuple[Any, Any] | None,
    *,
    beta: float | None,
    config: TrainingConfig,
) -> ScoredPairs:
    model, tokenizer = load_named(name)
    if base is not None and base[1].get_vocab() != tokenizer.get_vocab():
        raise IncompatibleError(
            f"the reference and {name} have different vocabularies, so their log-probabilities "
            "are not of the same tokens; give the model that it was tuned from."
        )
    tokens = tokenised(pairs, tokenizer, config)
    check_fit(model, TokenRows([tokens.rows(i) for i in range(len(tokens))]))
    reference = None if base is None else base[0]
    return score_pairs(model, pairs, tokenizer, config=config, reference=reference, beta=beta)
