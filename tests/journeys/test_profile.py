"""A profile of a run adds up, on a CPU by running one, for a GPU on events made by hand."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from typer.testing import CliRunner

from pluralign.cli.app import app
from pluralign.learn import PreferenceTrainer
from pluralign.learn.profile import PARTS, Profile, breakdown_of, part_of
from pluralign.objectives import DPO


def run(task, folder, **settings):
    watched = Profile(folder / "profile")
    config = task.config(folder, **settings)
    pairs = task.pairs(8)
    trainer = PreferenceTrainer(
        task.model(), DPO(), pairs, tokenizer=task.tokenizer, config=config, callbacks=[watched]
    )
    trainer.fit()
    return watched


def test_a_run_leaves_a_trace_and_a_page(task, tmp_path, capsys):
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    watched = run(task, tmp_path, max_steps=6, **settings)
    found = watched.breakdown
    assert (found.device, found.steps) == ("cpu", 3)
    assert tuple(found.parts) == PARTS
    assert all(seconds > 0 for seconds in found.parts.values())
    assert sum(found.parts.values()) == pytest.approx(found.wall, rel=1e-6)
    assert 0 <= found.idle < found.wall
    folder = tmp_path / "profile"
    with gzip.open(folder / "trace.json.gz", "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    # Three steps of two micro-batches: one forward and one head each.
    assert (names.count("pluralign.forward"), names.count("pluralign.head")) == (6, 6)
    assert json.loads((folder / "profile.json").read_text())["parts_s"] == found.parts
    page = (folder / "profile.md").read_text()
    assert page == found.markdown()
    assert f"| head | {found.parts['head']:.4f} |" in page
    assert "aten::mm" in page or "aten::addmm" in page
    assert str(found) in capsys.readouterr().err


@pytest.mark.parametrize("max_steps", [1, 2])
def test_a_short_run_is_profiled_too(task, tmp_path, max_steps):
    assert run(task, tmp_path, max_steps=max_steps).breakdown.steps == 1


def test_a_run_without_it_records_nothing(task, tmp_path):
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        pass
    assert not [e for e in watched.events() if part_of(e.name)]
    assert not (tmp_path / "profile").exists()


def test_nested_parts_are_counted_once():
    """A head inside a backward pass, as recomputation puts it, is the head's."""
    with (
        profile(activities=[ProfilerActivity.CPU], acc_events=True) as watched,
        record_function("ProfilerStep#0"),
        record_function("autograd::engine::evaluate_function: MmBackward0"),
    ):
        torch.ones(300, 300) @ torch.ones(300, 300)
        with record_function("pluralign.head"):
            torch.ones(400, 400) @ torch.ones(400, 400)
    events = {e.name: e.time_range.elapsed_us() / 1e6 for e in watched.events()}
    found = breakdown_of(watched.events(), busy=0.0)
    outer = events["autograd::engine::evaluate_function: MmBackward0"]
    assert found.parts["head"] == pytest.approx(events["pluralign.head"], rel=1e-9)
    assert found.parts["backward"] == pytest.approx(outer - events["pluralign.head"], rel=1e-9)
    assert found.parts["other"] == pytest.approx(events["ProfilerStep*"] - outer, rel=1e-9)
    assert found.idle == pytest.approx(found.wall)


def event(name, start, end, *, parent=None, kernels=(), device=DeviceType.CPU, annotation=False):
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start),
        cpu_parent=parent,
        kernels=[SimpleNamespace(duration=d) for d in kernels],
        device_type=device,
        is_user_annotation=annotation,
        self_device_time_total=sum(kernels),
        self_cpu_time_total=end - start,
    )


def test_on_a_gpu_time_is_that_of_kernels():
    """Two steps of 1000 us: 500 in the body, 300 in the head, 200 in the loss, 1200 idle.

    The kernels of body and head overlap by 200 us.
    """
    forward = event("pluralign.forward", 0, 50)
    head = event("autograd::engine::evaluate_function: _FusedLogProbsBackward", 60, 90)
    gpu = {"device": DeviceType.CUDA}
    found = breakdown_of(
        [
            event("ProfilerStep#2", 0, 1000),
            event("ProfilerStep#3", 1000, 2000),
            event("ProfilerStep#2", 0, 1000, **gpu, annotation=True),
            forward,
            event("aten::mm", 10, 20, parent=forward, kernels=[400, 100]),
            head,
            event("aten::mm", 70, 80, parent=head, kernels=[300]),
            event("aten::add", 91, 95, kernels=[200]),
            event("gemm", 100, 500, **gpu),
            event("gemm", 500, 600, **gpu),
            event("head", 400, 700, **gpu),
            event("add", 800, 1000, **gpu),
        ],
        busy=0.0,
    )
    assert (found.device, found.steps, found.wall) == ("cuda", 2, 1e-3)
    wanted = {"forward": 250e-6, "head": 150e-6, "other": 100e-6}
    assert found.parts == pytest.approx(dict.fromkeys(PARTS, 0.0) | wanted)
    assert found.idle == pytest.approx(600e-6)  # 2000 us less 600 and 200
    assert found.operations == (
        ("aten::mm", pytest.approx(400e-6), 1.0),
        ("aten::add", pytest.approx(100e-6), 0.5),
    )


def test_the_command_profiles_each_tuning(tmp_path):
    quick = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
    small = ["data.options={n_train: 160, n_eval: 40, n_sft: 64, n_gold: 100}"]
    small += ["training.per_device_train_batch_size=8", "model.hidden_size=16"]
    small += [f"output_dir={tmp_path / 'run'}"]
    told = [word for setting in small for word in ("--set", setting)]
    done = CliRunner().invoke(app, ["run", str(quick), "--profile", *told])
    assert done.exit_code == 0, done.output
    for name in ("dpo", "rdpo"):
        page = (tmp_path / "run" / "profile" / name / "profile.md").read_text()
        assert "| forward |" in page
        assert "| optimiser |" in page
