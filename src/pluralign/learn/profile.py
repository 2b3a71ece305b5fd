"""Where the time of a training step goes: a trace of a few steps and one page about it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity, schedule
from torch.profiler import profile as Profiler  # noqa: N812
from transformers import TrainerCallback

from ..engines.logprobs import FORWARD, HEAD
from ..files import write_json, write_text

PARTS = ("data", "forward", "head", "backward", "optimiser", "other")
"""Parts of a step, in the order of their happening."""

_LEAD = 2  # steps before the first profiled one, in which memory and kernels are made
_OPERATIONS = 12
_BACKWARD = "autograd::engine::evaluate_function: "
_BEGINNINGS = {
    "enumerate(DataLoader)": "data",
    FORWARD: "forward",
    HEAD: "head",
    "Optimizer.": "optimiser",
}


@final
@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Seconds of a training step by use.

    On a CPU parts are wall-clock and add up to ``wall``; ``idle`` is the wall-clock, within
    the parts, in which the training thread did not run: it waited for a disk or for another
    program. On a GPU parts are the device's time, and ``idle`` is the time in which it ran
    nothing.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        steps: how many were profiled.
        wall: seconds of a step.
        parts: seconds of a step by part: data (loading and collating), forward (the
            transformer body), head (forward; backward too for a linear head), backward,
            optimiser, other (loss, metrics, clipping, logs).
        idle: seconds of a step.
        operations: name, seconds of a step and calls of a step of the dearest operations.
    """

    device: str
    steps: int
    wall: float
    parts: dict[str, float]
    idle: float
    operations: tuple[tuple[str, float, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything, for ``profile.json``."""
        return {
            "device": self.device,
            "steps": self.steps,
            "wall_s": self.wall,
            "parts_s": self.parts,
            "idle_s": self.idle,
            "operations": [
                {"name": name, "s": seconds, "calls": calls}
                for name, seconds, calls in self.operations
            ],
        }

    def rows(self) -> list[tuple[str, float, float]]:
        """Part, seconds of a step and share of it, the idle time last."""
        found = [*self.parts.items(), (f"idle ({self._idle_means()})", self.idle)]
        return [(name, seconds, seconds / self.wall) for name, seconds in found]

    def markdown(self) -> str:
        """The page ``profile.md``."""
        lines = [
            "# Where a training step goes",
            "",
            f"{self.steps} steps on {self.device}, {self.wall:.4f} s each.",
            "",
            "| part | s | share |",
            "|---|--:|--:|",
            *(f"| {name} | {seconds:.4f} | {share:.1%} |" for name, seconds, share in self.rows()),
            "",
            "| operation | s | calls |",
            "|---|--:|--:|",
            *(f"| `{name}` | {s:.4f} | {calls:g} |" for name, s, calls in self.operations),
            "",
            "Seconds are of one step. Open `trace.json.gz` in a trace viewer (chrome://tracing or",
            "Perfetto) for every operation.",
        ]
        return "\n".join(lines) + "\n"

    def _idle_means(self) -> str:
        return "no kernel runs" if self.device == "cuda" else "waiting, within the parts above"

    def __str__(self) -> str:
        width = max(len(name) for name, _, _ in self.rows())
        head = f"profile of {self.steps} steps on {self.device}, {self.wall:.4f} s each"
        rows = [f"  {name:{width}}  {s:8.4f} s  {share:6.1%}" for name, s, share in self.rows()]
        return "\n".join([head, *rows])


@final
class Profile(TrainerCallback):
    """Profile a few steps of a training: a trace, and a page of where the time goes.

    Use it to find out what to make faster, on the machine that is slow. Not for comparing
    two settings: recording costs time of its own. Give it to a trainer's ``callbacks``.

    Args:
        directory: where ``trace.json.gz``, ``profile.json`` and ``profile.md`` go.
        steps: steps to profile, >= 1, after two unprofiled ones (fewer in a short run).

    Example:
        >>> import tempfile
        >>> Profile(tempfile.gettempdir()).breakdown is None  # until the steps are over
        True
    """

    def __init__(self, directory: str | Path, *, steps: int = 3) -> None:
        self.directory = Path(directory)
        self.steps = steps
        self.breakdown: Breakdown | None = None
        self._profiler: Profiler | None = None
        self._clock: list[float] = []
        self._lead = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to record when the first steps are over."""
        if not state.is_world_process_zero:
            return
        self._lead = min(_LEAD, state.max_steps - 1)
        warmup = min(1, self._lead)
        active = min(self.steps, state.max_steps - self._lead)
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a run of one step has none to warm up with
            plan = schedule(wait=self._lead - warmup, warmup=warmup, active=active, repeat=1)
            self._profiler = Profiler(
                activities=activities, schedule=plan, on_trace_ready=self._finish, acc_events=True
            )
            self._profiler.start()
        self._clock = [time.thread_time()]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step."""
        if self._profiler is not None:
            self._clock.append(time.thread_time())
            self._profiler.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop recording, and say what was found."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
        if self.breakdown is not None:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(str(self.breakdown), markup=False)

    def _finish(self, profiler: Profiler) -> None:
        busy = self._clock[-1] - self._clock[self._lead]
        events: Any = profiler.events()
        self.breakdown = breakdown_of(events, busy)
        write_json(self.directory / "profile.json", self.breakdown.as_dict())
        write_text(self.directory / "profile.md", self.breakdown.markdown())
        profiler.export_chrome_trace(str(self.directory / "trace.json.gz"))


def breakdown_of(events: Sequence[Any], busy: float) -> Breakdown:
    """Sum a profiler's events by use.

    Args:
        events: of ``torch.profiler``, with their nesting; times in microseconds.
        busy: CPU seconds of the training thread during the profiled steps.
    """
    spans = [e for e in events if e.name.startswith("ProfilerStep") and _of_cpu(e)]
    steps = max(1, len(spans))
    wall = sum(_length(e) for e in spans)
    kernels = [e for e in events if not _of_cpu(e) and not e.is_user_annotation]
    if kernels:
        seconds, idle = _device_parts(events), wall - _covered(kernels)
    else:
        seconds, idle = _host_parts(events), wall - 1e6 * busy
        seconds["other"] = wall - sum(seconds.values())
    return Breakdown(
        device="cuda" if kernels else "cpu",
        steps=steps,
        wall=wall / steps / 1e6,
        parts={part: seconds.get(part, 0.0) / steps / 1e6 for part in PARTS},
        idle=max(0.0, idle) / steps / 1e6,
        operations=_dearest(events, steps, on_device=bool(kernels)),
    )


def part_of(name: str) -> str | None:
    """The part of a step that an event of that name belongs to, with all that is inside it."""
    if name.startswith(_BACKWARD):
        return "head" if "LogProbs" in name or "HiddenOnly" in name else "backward"
    return next((part for start, part in _BEGINNINGS.items() if name.startswith(start)), None)


def _host_parts(events: Iterable[Any]) -> dict[str, float]:
    """Wall-clock by part; what is nested in another part is not counted twice."""
    found: dict[str, float] = {}
    for event in events:
        part = part_of(event.name)
        if part is None or not _of_cpu(event):
            continue
        found[part] = found.get(part, 0.0) + _length(event)
        outer = _nearest(event.cpu_parent)
        if outer is not None:
            found[outer] = found.get(outer, 0.0) - _length(event)
    return found


def _device_parts(events: Iterable[Any]) -> dict[str, float]:
    """Time of kernels by the part that launched them."""
    found: dict[str, float] = {}
    for event in events:
        if _of_cpu(event):
            part = _nearest(event) or "other"
            found[part] = found.get(part, 0.0) + sum(kernel.duration for kernel in event.kernels)
    return found


def _nearest(event: Any) -> str | None:
    while event is not None:
        part = part_of(event.name)
        if part is not None:
            return part
        event = event.cpu_parent
    return None


def _covered(events: Iterable[Any]) -> float:
    """Length of the union of the events' times."""
    total, reached = 0.0, float("-inf")
    for event in sorted(events, key=lambda e: e.time_range.start):
        end = event.time_range.end
        total += max(0.0, end - max(event.time_range.start, reached))
        reached = max(reached, end)
    return total


def _dearest(
    events: Iterable[Any], steps: int, *, on_device: bool
) -> tuple[tuple[str, float, float], ...]:
    spent: dict[str, tuple[float, int]] = {}
    for event in events:
        if not _of_cpu(event) or not event.name.startswith("aten::"):
            continue
        own = event.self_device_time_total if on_device else event.self_cpu_time_total
        before, calls = spent.get(event.name, (0.0, 0))
        spent[event.name] = before + own, calls + 1
    ranked = sorted(spent.items(), key=lambda item: -item[1][0])[:_OPERATIONS]
    return tuple((name, s / steps / 1e6, calls / steps) for name, (s, calls) in ranked)


def _of_cpu(event: Any) -> bool:
    return event.device_type == DeviceType.CPU


def _length(event: Any) -> float:
    return float(event.time_range.elapsed_us())
