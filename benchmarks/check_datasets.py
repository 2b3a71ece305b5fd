"""Audit every text set at hand with ``check_data``; write the table of findings.

    python benchmarks/check_datasets.py --write docs/data_checks_results.md
    python benchmarks/check_datasets.py --only llmbar hhh_alignment --json

Sets are read in place from ``../shared/data``; one that is absent is left out with a word.
No text of any row is printed. How each set becomes pairs is said by its function below.
"""

import argparse
import gzip
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pluralign.audit.quality import DataAudit, check_data
from pluralign.data import Preferences
from pluralign.datasets import load_preferences, train_eval_split
from pluralign.provenance import command, machine, versions

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SEED = 0
MAX_LENGTH = 1024
EVAL_SHARE = 0.2


def hh_rlhf_harmless(folder: Path) -> Preferences:
    """As stored: the shared dialogue as prompt, the final answers; no groups."""
    return _loaded(folder / "pairs.jsonl.gz")


def hhh_alignment(folder: Path) -> Preferences:
    """As stored; group = which of the four aims the pair is about."""
    return _loaded(folder / "pairs.jsonl.gz", group="group")


def llmbar(folder: Path) -> Preferences:
    """As stored; group = subset."""
    return _loaded(folder / "pairs.jsonl.gz", group="subset")


def pandalm_annotators(folder: Path) -> Preferences:
    """One pair per annotator; prompt = instruction, then input; 0 = tie; group = model pair.

    A few answers are stored as the truth values true and false and are read as text.
    """
    rows = [
        {
            "prompt": "\n\n".join(filter(None, (row["instruction"], row["input"]))),
            "chosen": str(row["response2" if vote == 2 else "response1"]),
            "rejected": str(row["response1" if vote == 2 else "response2"]),
            "label_prob": 0.5 if vote == 0 else 1.0,
            "annotator": who,
            "group": row["cmp_key"],
        }
        for row in _lines(folder / "pairs.jsonl.gz")
        for who in ("annotator1", "annotator2", "annotator3")
        for vote in (row[who],)
    ]
    return _loaded(rows)


def alpaca_eval_pool(folder: Path) -> Preferences:
    """Each model's answer against the reference model's; group = source of the prompt.

    The judge's preference, in [1, 2], less 1 is the probability that the model's answer wins;
    label_prob is that of the likelier side.
    """
    reference = "gpt4_1106_preview"
    rows = []
    for row in _lines(folder / "pool.jsonl.gz"):
        answers, preference = row["responses"], row["preference_vs_gpt4_turbo"]
        for model in sorted(set(answers) & set(preference) - {reference}):
            wins = preference[model] - 1
            pair = (answers[model], answers[reference])
            chosen, rejected = pair if wins > 0.5 else pair[::-1]
            rows.append(
                {
                    "prompt": row["instruction"],
                    "chosen": chosen,
                    "rejected": rejected,
                    "label_prob": max(wins, 1 - wins),
                    "group": row["dataset"],
                }
            )
    return _loaded(rows)


def multipico(folder: Path) -> Preferences:
    """No pairs by nature: each judgement becomes "ironic" over "not ironic", or the reverse.

    The prompt is post, reply and "The reply is"; group = the annotator's gender. That the
    longer response wins says here how often the answer was "not ironic".
    """
    import pyarrow.parquet as pq

    items = pq.read_table(folder / "items.parquet").to_pylist()
    texts = {
        (i["split"], i["item"]): f"{i['post']}\n\nReply: {i['reply']}\n\nThe reply is"
        for i in items
    }
    answers = (" not ironic", " ironic")
    rows = [
        {
            "prompt": texts[row["split"], row["item"]],
            "chosen": answers[row["irony"]],
            "rejected": answers[1 - row["irony"]],
            "annotator": row["annotator"],
            "group": "missing" if row["gender"] == "DATA_EXPIRED" else row["gender"],
        }
        for row in pq.read_table(folder / "annotations.parquet").to_pylist()
    ]
    return _loaded(rows)


SETS: dict[str, Callable[[Path], Preferences]] = {
    reader.__name__: reader
    for reader in (
        hh_rlhf_harmless,
        hhh_alignment,
        llmbar,
        pandalm_annotators,
        alpaca_eval_pool,
        multipico,
    )
}


def audited(name: str, tokenizer: Any) -> dict[str, Any]:
    """The audit of one set, and of a split of it by prompt, as plain values without texts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pairs = SETS[name](SHARED / name)
    whole = check_data(pairs, tokenizer=tokenizer, max_length=MAX_LENGTH, seed=SEED)
    train, held_out = train_eval_split(pairs, EVAL_SHARE, seed=SEED)
    split = check_data(train, eval_pairs=held_out, seed=SEED)
    leaks = [f for f in _plain(split)["findings"] if f["key"].startswith("leaked")]
    record = _plain(whole)
    order = ("error", "warning", "note")
    record["findings"] = sorted(
        record["findings"] + leaks, key=lambda f: order.index(f["severity"])
    )
    return {
        **record,
        "source": name,
        "reading": " ".join((SETS[name].__doc__ or "").split()),
        "refused": sum(_refused(str(w.message)) for w in caught),
        "groups": pairs.group_sizes(),
        "fingerprint": pairs.fingerprint(),
    }


def page(records: Iterable[dict[str, Any]]) -> str:
    """The page of results in Markdown."""
    system, found = machine(), versions()
    shown = ("python", "numpy", "scipy", "transformers", "tokenizers")
    lines = [
        "# What the data audit finds in six public sets",
        "",
        "Written by the script named below; nothing here is by hand. What each finding means is in",
        "[data_checks.md](data_checks.md). No text of any row is shown.",
        "",
        f"- command: `python benchmarks/check_datasets.py {' '.join(sys.argv[1:])}`",
        f"- machine: {system['system']}, {system['cores']} cores; seed {SEED}",
        f"- versions: {', '.join(f'{name} {found[name]}' for name in shown)}",
        f"- tokens: the tokenizer of SmolLM2-135M-Instruct, prompt + response joined as stored, "
        f"at most {MAX_LENGTH}",
        f"- leaks: between the sides of `train_eval_split(pairs, {EVAL_SHARE}, seed={SEED})`, "
        "which keeps each prompt on one side",
    ]
    for record in records:
        lines += section(record)
    return "\n".join(lines) + "\n"


def section(record: dict[str, Any]) -> list[str]:
    """The lines of one set on the page."""
    refused = record["refused"]
    return [
        "",
        f"## {record['source']}",
        "",
        f"{record['reading']} {record['n_pairs']:,} pairs, {len(record['groups'])} groups"
        + (f"; {refused} rows with a blank text were left out by the reader" if refused else "")
        + f". Content `{record['fingerprint'][:16]}`.",
        "",
        "| severity | finding | what | first rows |",
        "|---|---|---|---|",
        *(
            f"| {f['severity']} | `{f['key']}` | {_cell(f['what'])} | {', '.join(f['ids'][:5])} |"
            for f in record["findings"]
        ),
    ]


def _plain(audit: DataAudit) -> dict[str, Any]:
    """The audit without examples of texts and with few rows."""
    record = audit.to_json(max_rows=20)
    for finding in record["findings"]:
        finding["data"].pop("examples", None)
    return record


def _loaded(source: Any, **columns: str) -> Preferences:
    return load_preferences(source, format="standard", drop_unusable=True, **columns)


def _refused(message: str) -> int:
    """The number in the reader's warning about dropped rows."""
    words = message.split(" dropped ")
    return int(words[1].split()[0]) if len(words) > 1 else 0


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def smollm2_tokenizer() -> Any:
    """The tokenizer beside the data; ``None`` where there is none."""
    folder = SHARED / "smollm2_tokenizer"
    if not folder.exists():
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def main() -> None:
    """Audit the sets asked for; print or write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--write", type=Path, help="file for the table")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    present = [name for name in options.only if (SHARED / name).exists()]
    for name in set(options.only) - set(present):
        print(f"{name} is not there and left out.", file=sys.stderr)
    tokenizer = smollm2_tokenizer()
    records = [audited(name, tokenizer) for name in present]
    if options.json:
        print(json.dumps({"command": command(), "machine": machine(), "results": records}))
        return
    text = page(records)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
