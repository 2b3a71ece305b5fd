"""Recipes and prompt files of steering: every mistake is one clear line, before any work."""

import gzip
import json
import warnings
from pathlib import Path

import pytest
import yaml

from pluralign.datasets.direction_worlds import fading_world
from pluralign.engines.sampling import ScriptedSampler
from pluralign.engines.scorers import ScriptedScorer
from pluralign.errors import DataError, DataQualityWarning, ParameterError
from pluralign.steer import DirectionalSelection, compare
from pluralign.steer.sphere import at_angle
from pluralign.study.steering import load_steering, read_prompts, run_steering

RECIPES = Path(__file__).parents[2] / "recipes"
WORLD = {
    "name": "trial",
    "world": {"name": "fading", "kappa": 1.5, "prompts": 20},
    "targets": {"angles": [20, 45]},
    "audit": {"n_bootstrap": 100},
}
MODEL = {
    "name": "trial",
    "prompts": {"path": "prompts.txt"},
    "sampler": {"name": "server", "model": "m", "options": {"base_url": "http://x/v1"}},
    "scorers": [{"scorer": "length"}, {"scorer": "readability"}],
    "targets": {"directions": [[1, 0], [0.6, 0.8]]},
}

THREE = {**MODEL, "targets": {"directions": [[1, 2, 3]]}}


def recipe_of(tree, folder):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_steering(path, [f"output_dir={folder / 'run'}"])


def changed(tree, place, value):
    """A copy with the value at ``a.b.c``, or without it for ``None``."""
    copy = json.loads(json.dumps(tree))
    *sections, last = place.split(".")
    inner = copy
    for name in sections:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("steer_*.yaml")))
def test_every_recipe_of_ours_is_sound(name):
    assert load_steering(RECIPES / name).targets.rows().shape[1] == 2


@pytest.mark.parametrize(
    ("tree", "place", "value", "said"),
    [
        (WORLD, "sed", 3, ["sed: unknown key", "'seed'"]),
        (WORLD, "seed", -1, ["seed: must be an integer >= 0", "-1"]),
        (WORLD, "seed", True, ["seed: must be an integer >= 0", "True"]),
        (WORLD, "name", 7, ["name: must be a text", "7"]),
        (WORLD, "world.name", "faded", ["world", "name", "'faded'", "fading"]),
        (WORLD, "world.kappa", None, ["kappa is required"]),
        (WORLD, "world.kappa", -1, ["kappa", "-1"]),
        (WORLD, "world.prompts", 0, ["prompts", "got 0"]),
        (WORLD, "world.noise", "much", ["noise", "'much'"]),
        (WORLD, "world", None, ["prompts: is required", "sampler: is required"]),
        (WORLD, "scorers", [{"scorer": "length"}], ["scorers: has no effect on a world"]),
        (WORLD, "targets", None, ["targets: must be a section"]),
        (WORLD, "targets", {}, ["either 'angles' or 'directions'"]),
        (WORLD, "targets.angles", [], ["at least one target"]),
        (WORLD, "targets.angles", [20, 20], ["each target must be given once"]),
        (WORLD, "targets.angles", [200], ["angles", "[-180, 180]", "200"]),
        (WORLD, "targets.angles", ["north"], ["angles", "'north'"]),
        (WORLD, "targets", {"directions": [[0, 0]]}, ["directions[0]", "not all zero"]),
        (WORLD, "targets", {"directions": [[1, 0], [1, 0, 0]]}, ["of one length; got [2, 3]"]),
        (WORLD, "targets", {"directions": [[2, 0], [1, 0]]}, ["each target must be given once"]),
        (WORLD, "selection", {"k": 0}, ["selection", "k must be", "got 0"]),
        (WORLD, "selection", {"k": 2.5}, ["k must be", "2.5"]),
        (WORLD, "selection", {"spread": -1}, ["spread", "-1"]),
        (WORLD, "selection", {"spread": 400}, ["spread", "400"]),
        (WORLD, "selection", {"scheme": "star"}, ["scheme", "'star'"]),
        (WORLD, "selection", {"neighbors": 5}, ["selection.neighbors: unknown key"]),
        (WORLD, "selection", {"train_angles": [0]}, ["a world knows its trained directions"]),
        (WORLD, "selection", {"on_no_gain": "refuse"}, ["coverage: needed"]),
        (WORLD, "selection", {"stop_above": 1, "standardise": "pool"}, ["stop_above"]),
        (WORLD, "coverage", {"prompts": 1}, ["coverage", "prompts", "got 1"]),
        (WORLD, "audit.n_bootstrap", 5, ["n_bootstrap", "got 5"]),
        (WORLD, "audit.confidence", 1.0, ["confidence", "1.0"]),
        (MODEL, "sampling", {"temperature": -1}, ["sampling", "temperature", "-1"]),
        (MODEL, "sampling", {"seed": 4}, ["sampling.seed: the seed of the recipe decides"]),
        (MODEL, "sampler.name", "servr", ["unknown 'servr'", "'server'"]),
        (MODEL, "sampler.model", None, ["model is required for server"]),
        (MODEL, "sampler.options", {"retrys": 3}, ["options.retrys: unknown option", "'retries'"]),
        (MODEL, "sampler.placement", "below", ["placement", "'below'"]),
        (MODEL, "scorers", [], ["scorers: must be a list of scorers"]),
        (MODEL, "scorers", [{"scorer": "lenght"}], ["scorers[0]", "'lenght'"]),
        (MODEL, "scorers", [{}], ["scorers[0].scorer: is required"]),
        (MODEL, "scorers", [{"scorer": "reward"}], ["model is required for reward"]),
        (MODEL, "scorers", [{"scorer": "length", "model": "m"}], ["model has no effect on length"]),
        (THREE, "selection", {"scheme": "offset"}, ["selection: scheme 'offset'", "has 3"]),
        (MODEL, "selection", {"scheme": "toward"}, ["needs train_directions"]),
        (MODEL, "selection", {"train_directions": [[1, 2, 3]]}, ["2 values each", "got 3"]),
        (MODEL, "prompts", ["a"], ["prompts: must be a section"]),
        (MODEL, "prompts.path", None, ["prompts.path: is required"]),
        (MODEL, "prompts.batch", 0, ["batch", "got 0"]),
        (MODEL, "prompts.limit", -2, ["limit", "-2"]),
    ],
)
def test_a_wrong_recipe_is_named(tree, place, value, said, tmp_path):
    with pytest.raises(ParameterError) as caught:
        recipe_of(changed(tree, place, value), tmp_path)
    told = str(caught.value)
    assert "recipe.yaml" in told
    assert all(part in told for part in said), told
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_tunes_is_told_its_command():
    with pytest.raises(ParameterError, match=r"pluralign run .*smollm2"):
        load_steering(RECIPES / "smollm2_hhh.yaml")


def test_a_world_is_asked_for_its_own_attributes(tmp_path):
    recipe = recipe_of(changed(WORLD, "targets", {"directions": [[1, 1, 1]]}), tmp_path)
    with pytest.raises(ParameterError, match="3 values, but the scorers have 2 "):
        run_steering(recipe, quiet=True)
    assert not (tmp_path / "run").exists()


def test_all_problems_are_told_at_once(tmp_path):
    tree = {**WORLD, "seed": -1, "selection": {"k": 0}, "audit": {"n_bootstrap": 1}}
    with pytest.raises(ParameterError, match=r"3 problem\(s\)"):
        recipe_of(tree, tmp_path)


def test_scorers_and_targets_must_have_the_same_attributes(tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    tree = changed(MODEL, "scorers", [{"scorer": "length"}])
    tree["prompts"]["path"] = str(tmp_path / "prompts.txt")
    recipe = recipe_of(tree, tmp_path)
    with pytest.raises(ParameterError, match=r"2 values, but the scorers have 1 .*length"):
        run_steering(recipe, quiet=True)
    assert not (tmp_path / "run").exists()


def prompts_in(folder, text, name="prompts.jsonl"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_prompts_of_every_form(tmp_path):
    rows = [{"prompt": "one", "g": "a"}, {"prompt": [{"role": "user", "content": "two"}], "g": 1}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = prompts_in(tmp_path, text)
    packed = tmp_path / "prompts.jsonl.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for source in (path, str(packed)):
        found = read_prompts(source, group="g")
        assert [one.prompt for one in found] == [row["prompt"] for row in rows]
        assert [one.group for one in found] == ["a", "1"]
    lines = read_prompts(prompts_in(tmp_path, "one\n\n two \n", "p.txt"), chat=True)
    assert [one.prompt for one in lines] == [
        [{"role": "user", "content": "one"}],
        [{"role": "user", "content": " two "}],
    ]


def test_a_repeated_prompt_is_asked_once_and_said(tmp_path):
    path = prompts_in(tmp_path, "one\ntwo\none\n", "p.txt")
    with pytest.warns(DataQualityWarning, match="1 prompts are repeated"):
        assert [one.prompt for one in read_prompts(path)] == ["one", "two"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_prompts(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "p.txt", ["no prompts"]),
        ("\n  \n", "p.txt", ["no prompts"]),
        ('{"text": "one"}\n', "p.jsonl", ["no column 'prompt'"]),
        (
            '{"prompt": "one"}\n{"prompt": null}\n',
            "p.jsonl",
            ["row 1: a prompt must be a text", "None"],
        ),
        ('{"prompt": "  "}\n', "p.jsonl", ["must be a text or messages"]),
        ('{"prompt": []}\n', "p.jsonl", ["must be a text or messages", "[]"]),
        ('{"prompt": [{"role": "user"}]}\n', "p.jsonl", ["must be a text or messages"]),
        ('{"prompt": "one"\n', "p.jsonl", ["p.jsonl"]),
        ("[1, 2]", "p.json", ["p.json"]),
    ],
)
def test_a_wrong_prompt_file_is_named(text, name, said, tmp_path):
    path = prompts_in(tmp_path, text, name)
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    assert name in str(caught.value)
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_an_absent_prompt_file_is_named(tmp_path):
    with pytest.raises((DataError, OSError), match=r"absent\.txt"):
        read_prompts(str(tmp_path / "absent.txt"))


def test_too_few_prompts_to_hold_some_out(tmp_path):
    path = prompts_in(tmp_path, "one\ntwo\n", "p.txt")
    tree = {**MODEL, "prompts": {"path": path}, "coverage": {"prompts": 5}}
    recipe = recipe_of(tree, tmp_path)
    with pytest.raises(DataError, match="2 prompts, too few for any to steer and 5 held out"):
        run_steering(recipe, quiet=True)


def test_a_run_is_a_comparison_batch_by_batch(tmp_path):
    """The same arms as ``compare`` draws, whatever the batches."""
    path = tmp_path / "trial.yaml"
    path.write_text(
        "{name: trial, seed: 5, world: {name: fading, kappa: 1.5, prompts: 7, batch: 3},"
        " targets: {angles: [-20, 40]}, selection: {k: 4}, audit: {n_bootstrap: 100}}"
    )
    recipe = load_steering(path, [f"output_dir={tmp_path / 'run'}"])
    run_steering(recipe, quiet=True)
    text = (tmp_path / "run" / "selections.jsonl").read_text()
    rows = {(row["target"], row["prompt"]): row for row in map(json.loads, text.splitlines())}
    world = fading_world(kappa=1.5)
    select = DirectionalSelection(
        sample=ScriptedSampler(answer=world.answer),
        score=ScriptedScorer(names=world.names, rule=world.rule),
        train_directions=world.train_directions,
        k=4,
    )
    prompts = [f"prompt {i}" for i in range(7)]
    found = compare(select, prompts, [at_angle(-20), at_angle(40)], 5, n_bootstrap=100)
    assert len(rows) == 14
    for t, pairs in enumerate(found.arms):
        for p, (steered, baseline) in enumerate(pairs):
            assert rows[t, p]["rps"] == steered.to_json()
            assert rows[t, p]["baseline"] == baseline.to_json()
