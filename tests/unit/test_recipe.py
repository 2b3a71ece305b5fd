"""Recipes: strict, all problems at once, nearest names, plain values only."""

from pathlib import Path

import pytest

from pluralign import ParameterError
from pluralign.objectives import DPO, RDPO
from pluralign.study import load_recipe
from pluralign.study.yaml_values import parse

ROOT = Path(__file__).parents[2]
RECIPES = [path for path in sorted((ROOT / "recipes").glob("*.yaml")) if path.stem[:6] != "steer_"]

GOOD = """
name: trial
data: {world: text}
tune:
  dpo: {objective: DPO, beta: 0.2}
"""


def write(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.tune


def test_a_recipe_that_steers_is_told_its_command():
    steers = ROOT / "recipes" / "steer_quick.yaml"
    with pytest.raises(ParameterError, match=r"pluralign steer .*steer_quick"):
        load_recipe(steers)


def test_values_become_objects(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD), ["seed=3", "tune.dpo.beta=5e-1"])
    assert recipe.tune["dpo"].objective == DPO(beta=0.5)
    assert (recipe.seed, recipe.output_dir, recipe.sft) == (3, "runs/trial", None)


def test_a_rate_per_group_waits_for_its_estimate(tmp_path):
    text = GOOD + "  rdpo: {objective: RDPO, flip_rate: per_group}\nnoise: {method: gold}\n"
    tuning = load_recipe(write(tmp_path, text)).tune["rdpo"]
    assert tuning.per_group
    assert tuning.objective == RDPO(flip_rate="per_pair")


def test_all_problems_are_shown_at_once_with_paths_and_nearest_names(tmp_path):
    text = """
name: 7
seed: -1
dta: {}
data: {world: text, grup: region}
training: {learning_rte: 1e-4, num_train_epochs: -1}
tune:
  one: {objective: DPOO}
  two: {objective: DPO, label_smoothing: 0.1}
  three: {objective: RDPO}
  four: {objective: CDPO, flip_rate: 0.7}
audit: {n_bootstrap: 1}
"""
    with pytest.raises(ParameterError) as caught:
        load_recipe(write(tmp_path, text))
    message = str(caught.value)
    for expected in (
        "name: must be a text; got 7",
        "seed: must be an integer >= 0; got -1",
        "dta: unknown key; did you mean 'data'?",
        "data.grup: unknown key; did you mean 'group'?",
        "training.learning_rte: unknown key; did you mean 'learning_rate'?",
        "tune.one.objective: unknown 'DPOO'; did you mean",
        "tune.two.label_smoothing: unknown key",
        "tune.four: CDPO.flip_rate must be",
        "audit: AuditSection.n_bootstrap must be",
    ):
        assert expected in message, message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must hold a mapping"),
        ("- 1", "must hold a mapping"),
        ("a: [", "not a valid recipe"),
        ("a: &x [1]\nb: *x", "alias *x is not allowed"),
        ("a: 1\na: 2", "given twice"),
        ("a: !!python/object/apply:os.system ['true']", "not a valid recipe"),
        ("name: x\ntune: {d: {objective: DPO}}", "data: must be a section"),
        ("name: x\ndata: {}\ntune: {d: {objective: DPO}}", "give either 'world' or 'path'"),
        (
            "name: x\ndata: {world: text, path: a}\ntune: {d: {objective: DPO}}",
            "give either 'world' or 'path'",
        ),
        ("name: x\ndata: {world: moon}\ntune: {d: {objective: DPO}}", "one of 'text'"),
        ("name: x\ndata: {world: text}", "tune: must name at least one objective"),
        ("name: x\ndata: {world: text}\ntune: {d: 3}", "tune.d: must be a section"),
        (
            "name: x\ndata: {world: text, options: {n_trian: 3}}\ntune: {d: {objective: DPO}}",
            "data.options.n_trian: unknown key; did you mean 'n_train'?",
        ),
        (
            "name: x\ndata: {world: text}\ntune: {d: {objective: RDPO, flip_rate: per_group}}",
            "noise: needed",
        ),
        (
            "name: x\ndata: {world: text, group: region}\ntune: {d: {objective: DPO}}",
            "'group' has no effect on an embedded world",
        ),
        ("name: x\ndata: {path: a, group: []}\ntune: {d: {objective: DPO}}", "list of names"),
        ("name: x\ndata: {path: a, limit: 0}\ntune: {d: {objective: DPO}}", "limit must be"),
        ("name: x\ndata: {path: a, allow_download: 1}\ntune: {d: {objective: DPO}}", "a bool"),
        ("name: x\ndata: {path: a, options: 3}\ntune: {d: {objective: DPO}}", "must be a dict"),
        (
            "name: x\ndata: {world: text, options: {seed: 3}}\ntune: {d: {objective: DPO}}",
            "data.options.seed: unknown key",
        ),
        (
            "name: x\ndata: {path: a}\nmodel: {path: m, num_layers: 3}\n"
            "tune: {d: {objective: DPO}}",
            "'num_layers' has no effect on a given model",
        ),
        (
            "name: x\ndata: {path: a}\nreference: 3\ntune: {d: {objective: DPO}}",
            "reference: must name a directory; got 3",
        ),
        (
            "name: x\ndata: {path: a}\nreference: r\ntune: {d: {objective: SimPO}}",
            "reference: no objective of tune reads one",
        ),
        (
            "name: x\ndata: {world: text}\nnoise: {method: gold}\ntune: {d: {objective: DPO}}",
            "noise: no flip_rate is 'per_group'",
        ),
        (
            "name: x\ndata: {path: a}\nnoise: {method: em}\n"
            "tune: {d: {objective: RDPO, flip_rate: per_group}}",
            "'em' takes the margins of a tuned model",
        ),
        *(
            (f"name: x\ndata: {{path: a}}\ntune: {{{name}: {{objective: DPO}}}}", "a model's name")
            for name in ("start", "SFT", "../up", "a/b", "null", "true", "'a b'", "''")
        ),
        (
            'name: x\ndata: {path: "a\\0b"}\ntune: {d: {objective: DPO}}',
            "data.path: contains a NUL",
        ),
        (
            "name: x\ndata: {world: text}\nmodel: {hidden_size: 30, num_heads: 4}\n"
            "tune: {d: {objective: DPO}}",
            "hidden_size 30 is no multiple of 4",
        ),
    ],
)
def test_bad_recipes_say_what_is_wrong(tmp_path, text, expected):
    with pytest.raises(ParameterError) as caught:
        load_recipe(write(tmp_path, text))
    assert expected in str(caught.value)


def test_absent_and_unreadable_files(tmp_path):
    with pytest.raises(ParameterError, match="there is no recipe at"):
        load_recipe(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match="cannot be read"):
        load_recipe(binary)


def test_what_readers_offer_can_be_asked_for(tmp_path):
    text = GOOD.replace("{world: text}", "{path: pairs.jsonl}") + "reference: shared\n"
    recipe = load_recipe(
        write(tmp_path, text),
        [
            "data.group=[age, country]",
            "data.split=train",
            "data.limit=7",
            "data.options.votes=each",
        ],
    )
    assert recipe.data.group == ["age", "country"]
    assert (recipe.data.split, recipe.data.limit) == ("train", 7)
    assert recipe.data.options == {"votes": "each"}
    assert not recipe.data.allow_download
    assert recipe.reference == "shared"
    assert recipe.resolved["data"]["group"] == ["age", "country"]


@pytest.mark.parametrize("override", ["seed", "=3", "name.below=1", "data..x=1", "data.=1"])
def test_bad_overrides(tmp_path, override):
    with pytest.raises(ParameterError, match="--set"):
        load_recipe(write(tmp_path, GOOD), [override])


def test_numbers_are_read_as_people_write_them():
    assert parse("[1e-4, 1E3, .5, -2e+1, 3, 1.0]", "x") == [1e-4, 1e3, 0.5, -20.0, 3, 1.0]
    assert parse("[e5, 1e, text]", "x") == ["e5", "1e", "text"]
