"""The trace of a negotiation as a timeline: one card for each round, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .disagreement import names_of
from .fields import finite, items, mapping, text_of
from .parts import Card, Section
from .scales import number
from .svg import isolated

_ENDS = {
    "agreement": "All groups accept",
    "quorum": "Enough groups accept, and no swap helps the worst-off group",
    "disagreement": "No agreement",
}


def trace_section(
    decision: Mapping[str, Any], at: str, names: Sequence[str] = ()
) -> Section | None:
    """The timeline of a decision's trace; ``None`` where nothing was logged.

    Items are called by ``names``, by their numbers where those are not known.

    Raises:
        DataError: naming the part that is not of the expected kind.
    """
    events = [event for event, _ in items(decision.get("trace"), f"{at}.trace")]
    if not events:
        return None
    rounds: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        rounds.setdefault(_grade(event), []).append(event)
    cards = tuple(_card(grade, told, decision, names) for grade, told in rounds.items())
    lead = "From the first demands to the package; the numbers are computed from the plan."
    return Section("trace", "Negotiation", "How was it agreed?", (), (), lead, cards)


def _grade(event: Mapping[str, Any]) -> str:
    turn = finite(event.get("round"))
    kind = text_of(event, "event")
    if kind in ("finish", "purchase", "completion"):
        return {"finish": "the rest of the money", "purchase": "purchases"}.get(kind, "completion")
    return f"round {turn:.0f}" if turn else "opening"


def _card(
    grade: str, told: list[Mapping[str, Any]], decision: Mapping[str, Any], names: Sequence[str]
) -> Card:
    proposals = [event for event in told if text_of(event, "event") == "proposal"]
    ends = [_ENDS[k] for event in told if (k := text_of(event, "event")) in _ENDS]
    moved = any(text_of(event, "event") == "swap" for event in told)
    accepts = len(names_of(proposals[0], "accepts")) if proposals else 0
    title = f"{accepts} of {len(names_of(decision, 'groups'))} groups accept"
    if ends:
        title = ends[-1]
    elif not proposals:
        title = {"opening": "What each group asks for"}.get(grade, "What is bought")
    elif moved:
        title += "; a swap is made"
    said = " ".join(_said(event, decision, names) for event in told)
    return Card("note", grade, title, said, "", "", "", ())


def _said(event: Mapping[str, Any], decision: Mapping[str, Any], names: Sequence[str]) -> str:
    kind, group = text_of(event, "event"), isolated(text_of(event, "group"))
    choice = ", ".join(isolated(name, 40) for name in names_of(event, "choice")) or "nothing"
    accepts = ", ".join(map(isolated, names_of(event, "accepts"))) or "nobody"
    swap = f"{_item(event, 'drop', names)} out, {_item(event, 'add', names)} in"
    match kind:
        case "opening":
            return f"{group}: {choice}."
        case "proposal":
            return f"The mediator proposes {choice}; accepted by {accepts}."
        case "counter":
            return f"Counter-offer of {group}: {swap}."
        case "swap":
            return f"The swap of {group} is made ({swap}); accepted by {accepts}."
        case "invalid":
            return f"What {group} said could not be used: {isolated(event.get('reason'), 200)}."
        case "finish" | "purchase" | "completion":
            item = _item(event, "item" if "item" in event else "add", names)
            return f"Bought: {item}."
        case _:
            return f"{_ENDS.get(kind, isolated(kind))}: {_utilities(event, decision)}."


def _item(event: Mapping[str, Any], key: str, names: Sequence[str]) -> str:
    value = event.get(key)
    if value is None:
        return "nothing"
    known = isinstance(value, int) and 0 <= value < len(names)
    return isolated(names[value], 40) if known else f"item {isolated(value, 40)}"


def _utilities(event: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    values = mapping({"values": event.get("utilities")}, "event").get("values") or ()
    pairs = zip(names_of(decision, "groups"), values, strict=False)
    return ", ".join(f"{isolated(group)} {number(finite(value))}" for group, value in pairs)
