"""Write the generated pages of the documentation and check its links.

``python docs/build.py`` writes ``docs/methods/index.md`` from the catalogue and
``docs/formats.md`` from the table of formats, whose examples (``docs/examples``) it reads;
with ``--check`` it only says whether they are up to date. A dead link or a method that is
not planned and has no page is an error either way.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pluralign import Preferences, catalog
from pluralign.datasets import FORMATS, load_preferences

DOCS = Path(__file__).parent
EXAMPLES = DOCS / "examples"
VERBS = ("collect", "learn", "steer", "audit", "decide", "study")


def index() -> str:
    """The table of all methods, by verb."""
    lines = [
        "# Methods",
        "",
        "Generated from `src/pluralign/catalog.py` by `make docs`. A method is *stable* when",
        "oracle, laws, reproduction and page exist, *provisional* while one is missing.",
    ]
    for verb in VERBS:
        methods = [m for m in catalog.METHODS if m.verb == verb]
        if not methods:
            continue
        lines += [
            "",
            f"## {verb}",
            "",
            "| problem | method | needs | status |",
            "|---|---|---|---|",
        ]
        for method in methods:
            page = Path(method.page).name
            name = (
                f"[{method.title}]({page})" if (DOCS / "methods" / page).exists() else method.title
            )
            lines.append(f"| {method.problem} | {name} | {method.needs or '-'} | {method.status} |")
    return "\n".join(lines) + "\n"


def formats() -> str:
    """The page of input formats: a table, then each with its options and one example."""
    head = (EXAMPLES / "formats_head.txt").read_text(encoding="utf-8")
    examples = json.loads((EXAMPLES / "formats.json").read_text(encoding="utf-8"))
    lines = [head, "| format | what | told | in chunks |", "|---|---|---|---|"]
    for name, form in FORMATS.items():
        told = "told" if form.telling is not None else "name it"
        chunks = "no" if form.scattered else "not with `votes: share`" if _votes(form) else "yes"
        lines.append(f"| [`{name}`](#{name}) | {form.title} | {told} | {chunks} |")
    for name in FORMATS:
        lines += _format(name, examples[name])
    return "\n".join(lines) + "\n"


def _votes(form: Any) -> bool:
    return "votes" in form.options


def _format(name: str, example: Mapping[str, Any]) -> list[str]:
    form = FORMATS[name]
    facts = [("columns", ", ".join(f"`{column}`" for column in form.columns))]
    options = [
        f"`{key}`: {', '.join(f'`{value}`' for value in values)}"
        for key, values in form.options.items()
    ]
    facts += [("options", "; ".join(options))] if options else []
    labels = {"annotator": form.annotator, "domain": form.domain}
    facts += [(key, f"`{column}`") for key, column in labels.items() if column]
    if form.attributes:
        facts.append(("attributes", ", ".join(f"`{column}`" for column in form.attributes)))
    if form.files:
        matched = " and ".join(f"`{key}`" for key in form.keys)
        facts.append(("files", f"`{form.files[0]}` with `{form.files[1]}`, matched by {matched}"))
    stated = [f"- {key}: {value}" for key, value in facts]
    limits = ["", example["limits"]] if "limits" in example else []
    rows = [json.dumps(row, ensure_ascii=False) for row in example["rows"]]
    shown = [json.dumps(row, ensure_ascii=False) for row in _read(name, example)]
    call = [f'format="{name}"']
    call += [f"options={example['options']!r}"] if "options" in example else []
    call += [f"group={example['group']!r}"] if "group" in example else []
    second = [json.dumps(row, ensure_ascii=False) for row in example.get("join", ())]
    joined = ["", "with the second table", "", *_block(second)] if second else []
    head = ["", f"## {name}", "", form.title + ".", "", *stated, *limits, ""]
    given = ["Rows", "", *_block(rows), *joined]
    return [*head, *given, "", f"become, by `{', '.join(call)}`,", "", *_block(shown)]


def _block(lines: list[str]) -> list[str]:
    return ["```json", *lines, "```"]


def _read(name: str, example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs that an example becomes, without columns that say nothing."""
    options = dict(example.get("options", {}))
    if "join" in example:
        options["join"] = example["join"]
    pairs: Preferences = load_preferences(
        example["rows"], format=name, options=options, group=example.get("group")
    )
    return [_plain(record) for record in pairs.records()]


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in record.items() if value is not None}
    return {
        key: [dict(turn) for turn in value]
        if isinstance(value, (list, tuple))
        else round(value, 3)
        if isinstance(value, float)
        else value
        for key, value in given.items()
    }


PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "methods" / "index.md": index,
    DOCS / "formats.md": formats,
}


def problems() -> list[str]:
    """Missing pages and dead links."""
    root = DOCS.parent
    found = [
        f"{method.key} is {method.status} and has no page {method.page}"
        for method in catalog.METHODS
        if method.status != "planned" and not (root / method.page).exists()
    ]
    for page in [*root.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                found.append(f"{page.relative_to(root)} links to {target}, which does not exist")
    return found


def main() -> int:
    """Write or check; 1 if something is wrong."""
    stale = []
    for path, page in PAGES.items():
        text = page()
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(f"{path.relative_to(DOCS)} is out of date; run `make docs`")
    wrong = problems() + stale
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
