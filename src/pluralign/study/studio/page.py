"""The page: controls of Gradio around fragments that are computed without it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

from ...audit.report.page import environment
from ...audit.report.svg import plain
from ...audit.report.tables import spoken
from ...decide.concepts import CONCEPTS
from ...errors import DataError, ParameterError
from ...steer.sphere import angle_of, at_angle
from . import fragments
from .candidates import Candidates
from .collecting import OBJECTIVES, Collection
from .collection_fragment import collection_view
from .deciding import Settled
from .decision_fragment import decision_view
from .records import Records
from .turning import angle_range

LISTED = 500
"""Prompts that the list of prompts offers."""

WEIGHTS = 12
"""Groups whose weight can be moved; more have no room."""


AT_ONCE: Final[dict[str, Any]] = {
    "show_progress": "hidden",
    "queue": False,
    "api_visibility": "private",
    "trigger_mode": "always_last",
}
"""How the page reacts to a control that is being moved."""

_OWN = "as planned"


def gradio() -> Any:
    """The module Gradio.

    Raises:
        ImportError: naming the extra that brings it.
    """
    try:
        import gradio as found
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError(
            "the studio needs the package gradio: pip install 'pluralign[studio]'", name="gradio"
        ) from error
    return found


def build(records: Records) -> Any:
    """The page of a run, a tab for each of its records.

    Args:
        records: of :func:`~pluralign.study.studio.read_records`.

    Returns:
        ``gradio.Blocks``, not launched.

    Raises:
        ImportError: if Gradio is not installed, naming the extra.
    """
    gr = gradio()
    with gr.Blocks(title=f"{records.title} · pluralign studio", analytics_enabled=False) as page:
        _html(gr, fragments.heading(records))
        with gr.Tabs():
            if records.candidates is not None:
                with gr.Tab("Direction"):
                    _direction(gr, page, records.candidates)
            gains = "" if records.steering is None else fragments.gains_table(records.steering)
            if gains:
                with gr.Tab("Gains"):
                    _html(gr, gains)
            if records.collection is not None:
                with gr.Tab("Collection"):
                    _collection(gr, page, records.collection)
            if records.decision is not None:
                with gr.Tab("Decision"):
                    _decision(gr, page, records.decision)
    return page


def head() -> str:
    """The stylesheet; Gradio would rewrite one that it is given as such."""
    figures = environment().get_template("figure.css").render()
    own = fragments.templates().get_template("studio.css").render()
    return f"<style>{figures}{own}</style>"


def _direction(gr: Any, page: Any, found: Candidates) -> None:
    turn = _angle(gr, found) if len(found.names) == 2 else _weights(gr, found)
    told = _html(gr)
    prompts = gr.Dropdown(
        [(_label(found, i), i) for i in range(min(len(found.asked), LISTED))],
        value=0,
        label="Prompt",
        elem_id="prompt",
    )
    with gr.Row():
        with gr.Column(min_width=320):
            candidates = _html(gr, elem_id="candidates")
        with gr.Column(min_width=320):
            groups = _html(gr, elem_id="groups")
    everything = {"fn": partial(_turned, found), "outputs": [told, candidates, groups], **AT_ONCE}
    for control in turn:
        control.change(inputs=[prompts, *turn], **everything)
    page.load(inputs=[prompts, *turn], **everything)
    prompts.change(partial(_asked, found), inputs=[prompts, *turn], outputs=[candidates], **AT_ONCE)


def _html(gr: Any, value: str = "", **options: Any) -> Any:
    """A fragment; the look is ours alone."""
    return gr.HTML(value, apply_default_css=False, **options)


def _angle(gr: Any, found: Candidates) -> list[Any]:
    low, high = angle_range(found)
    first, second = found.names
    slider = gr.Slider(
        low,
        high,
        value=round(angle_of(found.targets[len(found.targets) // 2])),
        step=1,
        label=f"Direction, degrees: 0 is {plain(first, 40)} alone, 90 is {plain(second, 40)} alone",
        elem_id="angle",
    )
    return [slider]


def _weights(gr: Any, found: Candidates) -> list[Any]:
    middle = found.targets[len(found.targets) // 2]
    with gr.Row():
        return [
            gr.Slider(
                -1,
                1,
                value=round(float(value), 2),
                step=0.01,
                label=plain(name, 40),
                elem_id=f"weight-{place}",
                min_width=200,
            )
            for place, (name, value) in enumerate(zip(found.names, middle, strict=True))
        ]


def _collection(gr: Any, page: Any, found: Collection) -> None:
    if found.curves is None:
        _html(gr, fragments.remark("No curve is known yet: the pilot is still to be told."))
        return
    most = max(2 * found.left, found.plan.budget)
    step = most / 200  # nothing at all is no plan
    money = gr.Slider(
        step,
        most,
        value=max(found.left, step),
        step=step,
        label=f"Money from now on; {found.left:g} of {found.plan.budget:g} is left of the plan",
        elem_id="money",
    )
    objective = gr.Radio([_OWN, *OBJECTIVES], value=_OWN, label="Objective", elem_id="objective")
    shown = _html(gr, elem_id="collection")
    told = {"fn": partial(_spent, found), "inputs": [money, objective], "outputs": [shown]}
    for control in (money, objective):
        control.change(**told, **AT_ONCE)
    page.load(**told, **AT_ONCE)


def _spent(found: Collection, money: float, objective: str) -> str:
    try:
        return collection_view(found, money, None if objective == _OWN else objective)
    except ParameterError as error:  # such as an objective that no money can meet
        return fragments.remark(str(error))


def _decision(gr: Any, page: Any, found: Settled) -> None:
    whole = bool((found.problem.prices == found.problem.prices.round()).all())
    most = found.most
    budget = gr.Slider(
        0,
        most,
        value=found.problem.budget,
        step=1 if whole and most >= 20 else most / 200,
        label=f"Budget; {found.problem.budget:g} as decided",
        elem_id="budget",
    )
    concept = gr.Dropdown(
        [(spoken(name), name) for name in CONCEPTS],
        value=found.concept,
        label="Rule",
        elem_id="rule",
    )
    with gr.Row():
        weights = [
            gr.Slider(
                0,
                3,
                value=round(float(share) * len(found.problem.group_names), 2),
                step=0.05,
                label=f"Weight of {plain(name, 40)}",
                elem_id=f"group-weight-{place}",
                min_width=200,
            )
            for place, (name, share) in enumerate(
                zip(found.problem.group_names[:WEIGHTS], found.problem.shares, strict=False)
            )
        ]
    shown = _html(gr, elem_id="decision")
    controls = [budget, concept, *weights]
    told = {"fn": partial(_settled, found), "inputs": controls, "outputs": [shown]}
    for control in controls:
        control.change(**told, **AT_ONCE)
    page.load(**told, **AT_ONCE)


def _settled(found: Settled, budget: float, concept: str, *weights: float) -> str:
    rest = found.problem.shares[len(weights) :] * len(found.problem.shares)
    try:
        return decision_view(found, budget, concept, [*weights, *rest.tolist()])
    except (ParameterError, DataError) as error:  # such as weights that are all 0
        return fragments.remark(str(error))


def _turned(found: Candidates, prompt: int, *values: float) -> tuple[str, str, str]:
    """Everything that a direction changes."""
    try:
        direction = _direction_of(values)
        told = fragments.direction_line(found, direction)
    except ParameterError:
        empty = fragments.remark("Give at least one attribute a weight that is not 0.")
        return empty, "", ""
    listed = fragments.candidates_list(found, found.asked[prompt], direction)
    return told, listed, fragments.groups_view(found, direction)


def _asked(found: Candidates, prompt: int, *values: float) -> str:
    return _turned(found, prompt, *values)[1]


def _direction_of(values: tuple[float, ...]) -> Any:
    return at_angle(values[0]) if len(values) == 1 else np.array(values)


def _label(found: Candidates, place: int) -> str:
    one = found.asked[place]
    group = f"{plain(one.group, 30)} · " if one.group else ""
    return f"{one.number + 1}. {group}{plain(one.prompt, 90)}"
