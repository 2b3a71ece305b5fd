"""A run record with random but plausible values, in the shape of ``audit.json``."""

from __future__ import annotations

import math
import random
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
