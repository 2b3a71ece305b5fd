"""Makes ``adapters`` importable and ends a run by saying how many vectors were matched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter):
    matched, unmatched = 0, []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            properties = dict(report.user_properties)
            if properties.get("oracle") == "matched":
                matched += 1
            elif "oracle" in properties:
                unmatched.append(properties["case"])
    if matched or unmatched:
        names = f" ({', '.join(sorted(unmatched))})" if unmatched else ""
        terminalreporter.write_line(
            f"oracles: {matched} matched, {len(unmatched)} unmatched{names}"
        )
