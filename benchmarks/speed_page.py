"""Write the tables of ``docs/speed.md`` from the records in ``benchmarks/results``.

python benchmarks/speed_page.py            # print them
python benchmarks/speed_page.py --write    # put them into the page
python benchmarks/speed_page.py --check    # fail if the page has other ones
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
NAMES = {"trl_online": "online", "trl_cached": "cached", "trl_compact": "completion only"}
TARGETS = [
    ("1024", "trl_cached", 3.0),
    ("1024", "trl_compact", 1.75),
    ("256", "trl_cached", 2.5),
    ("256", "trl_compact", 1.65),
    ("real", "trl_cached", 2.5),
]
GPU_TARGETS = [("1024", "trl_cached", 1.5), ("real", "trl_cached", 2.5)]
MEMORY = ("1024", "trl_cached", 0.5)
PLAIN = {"lora": False, "checkpointing": False, "responses": 2}


def tables() -> str:
    """All tables of all records, and how the targets were met."""
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    records = [r for r in records if r.get("bench") == "preference_step"]
    records.sort(key=lambda r: (r["device"], r["lora"], r["checkpointing"], r["responses"]))
    parts = [_table(record) for record in records]
    for record in records:
        if all(record[key] == value for key, value in PLAIN.items()):
            parts.append(_targets(record))
    return "\n\n".join(parts)


def _table(record: dict[str, Any]) -> str:
    machine = record["machine"]
    where = machine.get("device") or f"{machine['processor']}, {machine['threads']} thread"
    versions = ", ".join(f"{k} {machine[k]}" for k in ("torch", "transformers", "trl"))
    peers = [v for v in NAMES if any(row["variant"] == v for row in record["results"])]
    lines = [
        f"### {_title(record)}",
        "",
        f"{where}; {versions}; seed {record['seed']}.",
        "",
        "| prompt | our pairs/s | " + " | ".join(f"x {NAMES[v]}" for v in peers) + " | memory |",
        "|---|--:|" + "--:|" * len(peers) + "--:|",
    ]
    rated = any("rate_share" in row for row in record["results"])  # not in the oldest records
    if rated:
        lines[-2] += " our tokens/s | of the matrix rate |"
        lines[-1] += "--:|--:|"
    for prompt in dict.fromkeys(row["prompt"] for row in record["results"]):
        rows = {row["variant"]: row for row in record["results"] if row["prompt"] == prompt}
        cells = [_ratio(rows[v]) for v in peers]
        memory = _memory(rows)
        cells.append("" if memory is None else f"{memory:.2f}")
        if rated:
            cells += [_or_empty(rows, "tokens_per_s", ""), _or_empty(rows, "rate_share", ".0%")]
        lines.append(f"| {prompt} | {rows['pluralign']['pairs_per_s']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _or_empty(rows: dict[str, Any], name: str, form: str) -> str:
    value = rows["pluralign"].get(name)
    return "" if value is None else format(value, form)


def _title(record: dict[str, Any]) -> str:
    more = ["LoRA"] * record["lora"] + ["activation checkpointing"] * record["checkpointing"]
    more += [f"{record['responses']} responses a prompt"] * (record["responses"] > 2)
    return f"{record['device'].upper()}: {', '.join(more) or 'full fine-tuning'}"


def _ratio(row: dict[str, Any]) -> str:
    return f"**{row['faster']}** of {row['ideal']} ({row['share']:.0%})"


def _memory(rows: dict[str, Any]) -> float | None:
    ours, peer = (rows[v].get("peak_mb") for v in ("pluralign", MEMORY[1]))
    return None if ours is None or peer is None else ours / peer


def _targets(record: dict[str, Any]) -> str:
    found = {(row["prompt"], row["variant"]): row for row in record["results"]}
    lines = [
        f"### Targets{' on a GPU' if record['device'] == 'cuda' else ''}",
        "",
        "| prompt | against | target | measured | |",
        "|---|---|--:|--:|---|",
    ]
    on_gpu = record["device"] == "cuda"
    for prompt, variant, target in GPU_TARGETS if on_gpu else TARGETS:
        if (prompt, variant) in found:
            value = found[prompt, variant]["faster"]
            verdict = "met" if value >= target else "missed"
            lines.append(f"| {prompt} | {NAMES[variant]} | >= {target} | {value} | {verdict} |")
    rows = {variant: row for (prompt, variant), row in found.items() if prompt == MEMORY[0]}
    memory = _memory(rows) if rows and not on_gpu else None
    if memory is not None:
        verdict = "met" if memory <= MEMORY[2] else "missed"
        lines.append(f"| 1024 | memory of cached | <= {MEMORY[2]} | {memory:.2f} | {verdict} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the tables of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> None:
    """Print, write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if not (args.write or args.check):
        return print(tables())
    text = PAGE.read_text(encoding="utf-8")
    if args.write:
        PAGE.write_text(page(text), encoding="utf-8")
    elif page(text) != text:
        sys.exit("docs/speed.md has other tables; run python benchmarks/speed_page.py --write")
    return None


if __name__ == "__main__":
    main()
