"""Write the generated pages of the documentation and check its links.

``python docs/build.py`` writes ``docs/methods/index.md`` from the catalogue; with
``--check`` it only says whether it is up to date. A dead link or a method that is not
planned and has no page is an error either way.
"""

import re
import sys
from pathlib import Path

from pluralign import catalog

DOCS = Path(__file__).parent
INDEX = DOCS / "methods" / "index.md"
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
    text = index()
    if "--check" in sys.argv[1:]:
        current = INDEX.read_text(encoding="utf-8") if INDEX.exists() else ""
        stale = [] if current == text else [f"{INDEX.name} is out of date; run `make docs`"]
    else:
        INDEX.write_text(text, encoding="utf-8")
        stale = []
    wrong = problems() + stale
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
