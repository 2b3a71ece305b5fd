"""A run record with random but plausible values, in the shape of ``audit.json``."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

GROUPS = {"north": 0.62, "south": 0.81, "islands": 0.71, "capital": 0.86}
SIZES = {"north": 412, "south": 655, "islands": 148, "capital": 785}


def interval(value: float, n: int) -> dict[str, Any]:
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def frame(metric: str, values: dict[str, float], sizes: dict[str, int]) -> dict[str, Any]:
    groups = [{"name": g, **interval(v, sizes[g]), "flag": ""} for g, v in values.items()]
    groups.sort(key=lambda group: group["value"])
    total = sum(sizes.values())
    mean = sum(values[g] * sizes[g] for g in values) / total
    gap = groups[-1]["value"] - groups[0]["value"]
    return {
        "metric": metric,
        "by": "group",
        "confidence": 0.95,
        "method": "wilson",
        "seed": 0,
        "overall": interval(mean, total),
        "groups": groups,
        "worst": groups[0]["name"],
        "best": groups[-1]["name"],
        "gap": {"value": gap, "low": gap - 0.05, "high": gap + 0.05},
        "ratio": {"value": groups[0]["value"] / groups[-1]["value"], "low": None, "high": None},
    }


def training(values: dict[str, float], draw: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(0, 301, 10):
        done = 1 - math.exp(-step / 90)
        row: dict[str, Any] = {"step": step, "epoch": step / 100}
        row["loss"] = 0.69 - 0.33 * done + draw.gauss(0, 0.02)
        if step % 50 == 0:
            row["eval_loss"] = 0.69 - 0.24 * done + draw.gauss(0, 0.005)
            row["eval_logps/chosen"] = -118 - 9 * done + draw.gauss(0, 0.4)
            row["eval_logps/rejected"] = -124 - 26 * done + draw.gauss(0, 0.6)
            for group, value in values.items():
                now = 0.5 + (value - 0.5) * done + draw.gauss(0, 0.008)
                row[f"eval_group/{group}/ranking_accuracy"] = now
            row["eval_ranking_accuracy"] = 0.5 + 0.25 * done
        rows.append(row)
    return rows


def summary(values: dict[str, float], sizes: dict[str, int], lift: float) -> dict[str, Any]:
    accuracy = sum(values[g] * sizes[g] for g in values) / sum(sizes.values())
    ideal = {"min": 0.84, "median": 0.88, "max": 0.97, "ranking_accuracy": accuracy}
    ideal["gap"] = {"median": 100 * (0.88 - accuracy)}  # type: ignore[assignment]
    turned = lift / 4
    shares = {"c->c": 0.58, "c->i": 0.04, "i->c": turned, "i->i": 0.38 - turned}
    kinds = {"already correct": 0.62, "easy": 0.19, "hard": 0.14, "infeasible": 0.05}
    return {
        "n_pairs": 2000,
        "n_used": 1998,
        "n_ties": 0,
        "n_equal": 3,
        "n_excluded": {"non_finite_score": 2},
        "beta": 0.1,
        "betas": [0.1],
        "ranking_accuracy": {"value": accuracy, "low": 0.7, "high": 0.9, "n": 1998},
        "logps": {
            "chosen": -127.0,
            "chosen_change": -9.1 * lift,
            "rejected": -150.2,
            "rejected_change": -26.3 * lift,
            "both_fell": lift > 0,
        },
        "idealised": ideal,
        "idealised_normalised": None,
        "triage": {
            "loss_budget": 0.5,
            "classes": {
                kind: {"count": int(2000 * share), "share": share, "flipped_share": turned}
                for kind, share in kinds.items()
            },
        },
        "flips": {
            **{
                kind: {"count": int(2000 * share), "share": share} for kind, share in shares.items()
            },
            "flipped_share_of_wrong": turned / 0.38,
        },
        "length": {
            "chosen_shorter": 0.41,
            "chosen_longer": 0.56,
            "ranking_accuracy_similar": {"value": accuracy - 0.02, "n": 512},
        },
        "chance": {"pairs": 0.5},
    }


def bins(name: str, n: int, centre: float, width: float, edges: list[float]) -> dict[str, Any]:
    """Counts of a logistic distribution, with what lies beyond the edges."""

    def below(value: float) -> float:
        return n / (1 + math.exp((centre - value) / width))

    ends = [round(below(edge)) for edge in edges]
    quantiles = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
    return {
        "name": name,
        "n": n,
        "counts": [b - a for a, b in pairwise(ends)],
        "below": ends[0],
        "above": n - ends[-1],
        "quantiles": {
            key: centre + width * math.log(share / (1 - share)) for key, share in quantiles.items()
        },
    }


def histogram(
    centres: dict[str, float], sizes: dict[str, int], width: float, edges: list[float]
) -> dict[str, Any]:
    groups = [bins(name, sizes[name], centre, width, edges) for name, centre in centres.items()]
    total = sum(sizes.values())
    middle = sum(centres[name] * sizes[name] for name in centres) / total
    overall = bins("all", total, middle, width, edges)
    overall["counts"] = [sum(column) for column in zip(*(g["counts"] for g in groups), strict=True)]
    for key in ("below", "above"):
        overall[key] = sum(group[key] for group in groups)
    return {"edges": edges, "overall": overall, "groups": groups}


def change(metric: str, values: dict[str, float], sizes: dict[str, int]) -> dict[str, Any]:
    made = frame(metric, values, sizes)
    for part in (*made["groups"], made["overall"]):
        part.update(low=part["value"] - 0.8, high=part["value"] + 0.7)
    return made


def distributions(values: dict[str, float], sizes: dict[str, int], lift: float) -> dict[str, Any]:
    """What lies behind the means; the start (no lift) has no reference."""
    odds = {g: math.log(v / (1 - v)) for g, v in values.items()}
    total = sum(sizes.values())
    accuracy = sum(values[g] * sizes[g] for g in values) / total
    names = ("less than half as long", "shorter", "about as long", "longer", "more than twice")
    classes = [
        {"name": name, **interval(accuracy + 0.04 * (2 - place) * lift, total // 5)}
        for place, name in enumerate(names)
    ]
    found: dict[str, Any] = {
        "by": "group",
        "confidence": 0.95,
        "log_ratio": histogram(
            {g: 4 * o for g, o in odds.items()}, sizes, 4.0, [float(e) for e in range(-20, 21)]
        ),
        "difficulty": None,
        "drift": None,
        "length": {
            "classes": classes,
            "labels_longer": interval(0.58, total),
            "model_longer": interval(0.58 - 0.3 * lift, total),
        },
        "calibration": None,
    }
    if not lift:
        return found
    draw = random.Random(11)
    chosen = {g: -60 * lift + draw.gauss(0, 1) for g in values}
    rejected = {g: -140 * lift + draw.gauss(0, 1) for g in values}
    found["drift"] = {
        "chosen": change("chosen_change", chosen, sizes),
        "rejected": change("rejected_change", rejected, sizes),
        "both_fell": 0.9,
        "relative": {"overall": -0.4 * lift, "groups": {}},
        "threshold": -0.25,
        "alarm": False,
        "alarmed": [],
    }
    step = math.log(2) / 10
    found["difficulty"] = histogram(
        {g: math.log(2) + o / 10 for g, o in odds.items()},
        sizes,
        0.2,
        [step * i for i in range(21)],
    )
    levels = []
    for place in range(10):
        low = 0.5 + place / 20
        share = interval(low + 0.02 - 0.2 * lift * (place / 9), total // 10)
        levels.append({"from": low, "to": low + 0.05, "claimed": low + 0.025, **share})
    found["calibration"] = {
        "levels": levels,
        "overall": {"claimed": accuracy + lift / 10, **interval(accuracy, total)},
        "groups": [
            {"name": g, "claimed": accuracy, **interval(v, sizes[g])} for g, v in values.items()
        ],
        "error": lift / 9,
    }
    return found


def checkpoints() -> dict[str, Any]:
    accuracy = [0.5, 0.58, 0.66, 0.71, 0.74, 0.75]
    wins = [0.5, 0.57, 0.62, 0.63, 0.6, 0.57]
    return {
        "points": [
            {"step": 50 * place, "ranking_accuracy": a, "win_rate": w}
            for place, (a, w) in enumerate(zip(accuracy, wins, strict=True))
        ],
        "relation": {
            "all": {"pearson": 0.7, "spearman": 0.49, "n": 6},
            "to_peak": {"pearson": 0.99, "spearman": 1.0, "n": 4},
            "after_peak": {"pearson": -0.97, "spearman": -1.0, "n": 3},
        },
    }


def data_audit(
    text: str = "an answer that ends in the marker <|im_end|> \n\nHuman: and goes on",
) -> dict[str, Any]:
    """Three findings, one of each severity; the warning shows texts from the data."""
    found = [
        ("error", "Chosen equals rejected", "12 of 2000 pairs have the same text twice.", []),
        ("warning", "Role markers inside a response", "3 of 2000 pairs have a marker.", [text] * 3),
        ("note", "How often the longer response wins", "The longer wins in 58 %.", []),
    ]
    return {
        "source": "text_world",
        "n_pairs": 2000,
        "worst_severity": "error",
        "counts": {"error": 1, "warning": 1, "note": 1},
        "findings": [
            {
                "key": title.lower().replace(" ", "_"),
                "severity": severity,
                "title": title,
                "what": what,
                "count": 60,
                "rows": list(range(0, 600, 10)),
                "ids": [f"pair-{row}" for row in range(0, 200, 10)],
                "why": "It teaches the model something that nobody meant.",
                "remedy": "Drop the rows, or mend them at their source.",
                "data": {"examples": texts, "groups": {"north": 3}},
            }
            for severity, title, what, texts in found
        ],
        "settings": {"confidence": 0.95},
    }


def model(name: str, title: str, lift: float, draw: random.Random, **more: Any) -> dict[str, Any]:
    base: dict[str, float] = more.get("groups") or GROUPS
    sizes: dict[str, int] = more.get("sizes") or {g: SIZES.get(g, 200) for g in base}
    values = {g: min(0.99, v + lift * (1 - v) + draw.gauss(0, 0.01)) for g, v in base.items()}
    norm = {g: v - 0.03 for g, v in values.items()}
    reward = {g: min(0.99, v + 0.07) for g, v in values.items()}
    return {
        "name": name,
        "title": title,
        "objective": more.get("objective"),
        "frames": {
            "ranking_accuracy": frame("ranking_accuracy", values, sizes),
            "ranking_accuracy_normalised": frame("ranking_accuracy_normalised", norm, sizes),
            "reward_accuracy": frame("reward_accuracy", reward, sizes),
        },
        "summary": summary(values, sizes, lift),
        "training": training(values, draw),
        "distributions": distributions(values, sizes, lift),
    }


def comparison(a: dict[str, Any], b: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    first, second = a["frames"]["ranking_accuracy"], b["frames"]["ranking_accuracy"]
    before = {group["name"]: group for group in second["groups"]}
    groups = []
    for group in first["groups"]:
        value = group["value"] - before[group["name"]]["value"]
        half = 0.9 / math.sqrt(group["n"])
        ends = {"value": value, "low": value - half, "high": value + half}
        groups.append({"name": group["name"], "n": group["n"], **ends, "flag": ""})
    groups.sort(key=lambda group: group["value"])
    value = first["overall"]["value"] - second["overall"]["value"]
    frame = {
        **first,
        "method": "paired_score",
        "overall": {"value": value, "low": value - 0.015, "high": value + 0.015, "n": 2000},
        "groups": groups,
        "worst": groups[0]["name"],
    }
    return {"a": a["name"], "b": b["name"], "metric": "ranking_accuracy", "frame": frame}


def sample_run(groups: dict[str, float] | None = None, n_models: int = 3) -> dict[str, Any]:
    """Three models of four groups, all parts present; ``groups`` replaces names and values."""
    draw = random.Random(7)
    named = [
        ("start", "start", 0.0, None),
        ("dpo", "DPO", 0.12, {"name": "DPO", "beta": 0.1, "length_normalise": "none"}),
        ("rdpo", "rDPO", 0.27, {"name": "RDPO", "beta": 0.1, "flip_rate": 0.2}),
    ][:n_models]
    models = [
        model(name, title, lift, draw, groups=groups, objective=objective)
        for name, title, lift, objective in named
    ]
    for untrained in models[:1]:
        untrained["training"] = []
    models[-1]["checkpoints"] = checkpoints()
    pairs = [(b, a) for i, a in enumerate(models) for b in models[i + 1 :]]
    names = list(groups or GROUPS)
    return {
        "title": "Quickstart: a small world with four regions",
        "created": "2026-01-15T10:30:00+00:00",
        "data": {
            "source": "text_world",
            "fingerprint": "b3a1" * 16,
            "n_train": 8000,
            "n_eval": 2000,
            "groups": {name: SIZES.get(name, 200) * 4 for name in names},
        },
        "models": models,
        "comparisons": [comparison(a, b, draw) for a, b in pairs],
        "noise": [
            {
                "group": name,
                "estimator": "em",
                "estimate": 0.33 / (place + 1),
                "low": 0.33 / (place + 1) - 0.04,
                "high": 0.33 / (place + 1) + 0.05,
                "assumed": 0.33 / (place + 1) if place else 0.2,
                "truth": 0.35 / (place + 1),
                "n": 1600,
            }
            for place, name in enumerate(names)
        ],
        "data_audit": data_audit(),
        "provenance": {
            "command": "pluralign run recipes/quickstart.yaml --set seed=0",
            "versions": {"python": "3.11.7", "pluralign": "0.1.0", "torch": "2.13.0"},
            "machine": {"system": "Linux x86_64", "cores": "2"},
            "seed": 0,
            "recipe": {"data": {"world": "text_world"}, "tune": {"dpo": {"beta": 0.1}}},
        },
    }


HOSTILE = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "</style><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "</svg><img src=x onerror=window.hacked=1>",
    "</title><script>window.hacked=1</script>",
    "</desc></svg><script>window.hacked=1</script>",
    "<svg><style><img src=x onerror=window.hacked=1></style></svg>",
    "<math><mi//xlink:href='data:x,<script>window.hacked=1</script>'>",
    '" onmouseover="window.hacked=1',
    "' onfocus='window.hacked=1' autofocus='",
    '"><script>window.hacked=1</script>',
    "'><svg/onload=window.hacked=1>",
    "` onclick=window.hacked=1",
    "javascript:window.hacked=1",
    "<a href=javascript:window.hacked=1>click</a>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<object data='data:text/html,<script>window.hacked=1</script>'></object>",
    "<embed src=http://example.invalid/x>",
    "<link rel=stylesheet href=http://example.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<base href=http://example.invalid/>",
    "<form action=http://example.invalid/><input type=submit>",
    "<body onload=window.hacked=1>",
    "<details open ontoggle=window.hacked=1>",
    "<video><source onerror=window.hacked=1></video>",
    "<!-- never closed",
    "--> <b>bold</b> <!--",
    "<![CDATA[ <b>x</b> ]]>",
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "&#60;script&#62;",
    "&amp;amp; &nbsp; &bogus;",
    "<b><i>never closed",
    "</div></section></main></body></html>",
    "<<<<<<>>>>>>",
    "{{ 7 * 7 }}",
    "{% raw %}{{ config }}{% endraw %}",
    "${7*7} #{7*7} <%= 7*7 %>",
    '=HYPERLINK("http://example.invalid","x")',
    "+cmd|' /C calc'!A0",
    "@import url(http://example.invalid/x.css);",
    "url(javascript:window.hacked=1)",
    "expression(window.hacked=1)",
    "\u202egnorw si siht\u202c",
    "\u2066isolated\u2069 \u2067never closed",
    "\u200fright to left \u05e6\u05e4\u05d5\u05df \u0634\u0645\u0627\u0644",
    "a\x00b\x07c\x1b[31mred",
    "lone \ud800 surrogate \uffff",
    "z\u0335\u0321a\u0336\u0322l\u0334g\u0337o" * 40,
    "W" * 100_000,
    "\U0001f469\u200d\U0001f692" * 500,
    " \t\r\n \u2028 \u2029 ",
    "../../etc/passwd",
    "group/<b>/ranking_accuracy",
    "__proto__",
    "\\u003cscript\\u003e",
    "line\nbreak\r\nand\ttab",
]
"""Names that try to leave their place: markup, handlers, templates, formulas, directions."""
