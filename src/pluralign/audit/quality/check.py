"""``check_data``: one pass over the texts, then everything that the numbers can say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, final

from ...data import Preferences, ScoredPairs
from ...errors import DataError
from ...rules import OneOf, Within, check
from .balance import balance_findings
from .cycles import cycle_findings
from .findings import DataAudit, Finding, sorted_findings
from .flips import flip_findings, implicit_margins
from .groups import group_findings
from .leakage import leak_findings
from .ledger import Ledger, LedgerBuilder, Places
from .repeats import repeat_findings
from .texts import scan, text_findings
from .tokens import TokenScanner, Truncation, token_findings
from .votes import agreement_findings

Chunks = Preferences | Iterable[Preferences]


@final
@dataclass(frozen=True)
class _Settings:
    confidence: Annotated[float, Within(0.5, 1.0, closed="neither")]
    max_length: Annotated[int, Within(2, integer=True)]
    seed: Annotated[int, Within(0, integer=True)]
    truncation: Annotated[Truncation | None, OneOf("error", "drop", "left_prompt", None)]

    def __post_init__(self) -> None:
        check(self)


def check_data(
    pairs: Chunks,
    *,
    tokenizer: Any = None,
    max_length: int = 1024,
    truncation: Truncation | None = None,
    eval_pairs: Chunks | None = None,
    margins: ScoredPairs | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> DataAudit:
    """Audit preference pairs before anything is trained on them.

    Use it on every new set; use it again with ``eval_pairs`` when it is split and with
    ``margins`` when a first model exists. It never changes the data, and it cannot see a
    flipped label that no second judgement, third response or model contradicts.

    Args:
        pairs: the pairs, or an iterable of chunks of them, of which some 260 bytes a pair
            are kept; row numbers run through all chunks.
        tokenizer: a transformers tokenizer (or one called alike), for tokens at the seam of
            prompt and response, EOS, BOS and truncation; these are left out without it.
        max_length: longest prompt plus response in tokens.
        truncation: what training will do with longer pairs, so that its loss is stated;
            if not given, what a cut at the end would cost.
        eval_pairs: pairs held out, for leakage; row numbers of those findings are theirs.
        margins: the same pairs scored by a model, for labels that it believes flipped.
        confidence: level of intervals, in (1/2, 1).
        seed: seed of the bootstrap.

    Returns:
        A :class:`DataAudit` with the findings, the gravest first.

    Raises:
        ParameterError: for a setting out of its range.
        DataError: if there are no pairs.
        IncompatibleError: if the margins are of other pairs or lack beta, or the tokenizer
            cannot be called.

    Example:
        >>> rows = [
        ...     {"prompt": "Add 2 and 2.", "chosen": "4", "rejected": "5"},
        ...     {"prompt": "Add 2 and 2.", "chosen": "4", "rejected": "5"},
        ...     {"prompt": "Name a colour.", "chosen": "red", "rejected": "red "},
        ... ]
        >>> audit = check_data(Preferences.from_records(rows))
        >>> [(f.key, f.rows) for f in audit.findings if f.rows]
        [('identical_responses', (2,)), ('duplicates', (1,)), ('whitespace_mismatch', (2,))]
    """
    settings = _Settings(confidence, max_length, seed, truncation)
    scanner = None if tokenizer is None else TokenScanner(tokenizer, max_length, truncation)
    ledger = _read(pairs, scanner)
    found = _findings(ledger, settings)
    if scanner is not None:
        found += token_findings(ledger, scanner)
    if eval_pairs is not None:
        found += leak_findings(ledger, _read(eval_pairs, None, scan_texts=False))
    if margins is not None:
        found += flip_findings(ledger, implicit_margins(margins, len(ledger)), confidence)
    return DataAudit(
        source=ledger.source,
        n_pairs=len(ledger),
        findings=sorted_findings(found, ledger.names),
        settings={
            "confidence": confidence,
            "seed": seed,
            "max_length": None if tokenizer is None else max_length,
            "truncation": None if tokenizer is None else truncation,
            "tokenizer": None if tokenizer is None else type(tokenizer).__name__,
            "split": eval_pairs is not None,
            "margins": margins is not None,
        },
    )


def _read(pairs: Chunks, scanner: TokenScanner | None, *, scan_texts: bool = True) -> Ledger:
    builder, scanned = LedgerBuilder(), dict[str, Places]()
    for chunk in [pairs] if isinstance(pairs, Preferences) else pairs:
        read = builder.add(chunk)
        if scan_texts:
            scan(read, scanned)
        if scanner is not None:
            scanner.add(read)
    if not builder.size:
        raise DataError("there are no pairs to check; give at least one chunk.")
    return builder.close(scanned, None if scanner is None else scanner.lengths())


def _findings(ledger: Ledger, settings: _Settings) -> list[Finding]:
    return [
        *text_findings(ledger),
        *repeat_findings(ledger, settings.confidence),
        *agreement_findings(ledger, settings.confidence, settings.seed),
        *cycle_findings(ledger),
        *balance_findings(ledger, settings.confidence),
        *group_findings(ledger, settings.confidence),
    ]
