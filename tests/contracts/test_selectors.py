"""What every selector of the catalogue promises, however it finds its neighbours.

A method enrols by its catalogue entry; nothing here names one.
"""

import dataclasses
import importlib
import json
import warnings

import numpy as np
import pytest

from pluralign import DataError, DataQualityWarning, IncompatibleError, ParameterError, catalog
from pluralign.datasets.direction_worlds import fading_world
from pluralign.engines.sampling import Candidate, SamplingParams, ScriptedSampler
from pluralign.engines.scorers import ScriptedScorer
from pluralign.steer import Selection

LISTED = [(part, example) for part in catalog.parts("selector") for example in part.examples]
EVERY = pytest.mark.parametrize(
    ("part", "example"),
    LISTED,
    ids=[f"{part.name.split('.')[-1]}-{i}" for i, (part, _) in enumerate(LISTED)],
)
WORLD = fading_world(kappa=0.5)
TARGET = (0.866, 0.5)
PROMPTS = [f"prompt {i}" for i in range(6)]


class Counting:
    """A scripted sampler and scorer that count what is asked of them."""

    def __init__(self, answer=WORLD.answer, rule=WORLD.rule):
        self.calls, self.generations, self.scorings = 0, 0, 0
        self.inner = ScriptedSampler(answer=answer)
        self.scorer = ScriptedScorer(names=WORLD.names, rule=self.rule)
        self.name, self._rule = "counting", rule

    def sample(self, prompts, n, params, directions=None):
        self.calls += 1
        self.generations += n * len(prompts)
        return self.inner.sample(prompts, n, params, directions)

    def rule(self, prompt, response):
        self.scorings += 1
        return self._rule(prompt, response)


def made(part, example, counting=None, **options):
    package, _, name = part.name.partition(".")
    kind = getattr(importlib.import_module(f"pluralign.{package}"), name)
    counting = counting or Counting()
    return kind(sample=counting, score=counting.scorer, **{**example, **options})


def plain(selection):
    return json.loads(json.dumps(selection.to_json(), allow_nan=False))


def test_the_catalogue_lists_a_selector():
    assert LISTED


@EVERY
def test_the_same_generator_gives_the_same_result(part, example):
    select = made(part, example)
    one = plain(select("p", TARGET, 3))
    assert plain(select("p", TARGET, 3)) == one
    assert plain(made(part, example)("p", TARGET, np.random.default_rng(5))) == plain(
        select("p", TARGET, np.random.default_rng(5))
    )
    other = plain(select("p", TARGET, 4))
    assert other["scores"] != one["scores"]
    unsaid = made(part, example, params=SamplingParams(seed=3))
    assert plain(unsaid("p", TARGET)) == one


@EVERY
def test_prompts_together_are_prompts_alone_in_any_order(part, example):
    select = made(part, example)
    together = select.select(PROMPTS, TARGET, 1)
    alone = [plain(select(prompt, TARGET, 1)) for prompt in PROMPTS]
    assert [plain(one) for one in together] == alone
    mixed = select.select(PROMPTS[::-1], [TARGET] * len(PROMPTS), 1)
    assert [plain(one) for one in mixed] == alone[::-1]
    assert select.select([], TARGET, 1) == []


@EVERY
def test_calls_equal_the_stated_cost(part, example):
    counting = Counting()
    select = made(part, example, counting)
    select.select(PROMPTS, TARGET, 1)
    spent = (counting.calls, counting.generations, counting.scorings)
    assert spent == tuple(select.cost([TARGET] * len(PROMPTS)))
    assert counting.calls == 1
    assert select.cost(TARGET).generations * len(PROMPTS) == counting.generations


@EVERY
def test_the_choice_has_the_highest_score_at_the_target(part, example):
    for one in made(part, example).select(PROMPTS, TARGET, 2):
        basis = one.rewards if one.standardised is None else one.standardised
        target = np.array(TARGET) / np.hypot(*TARGET)
        assert one.scores == pytest.approx(basis @ target, abs=1e-12)
        assert one.best == one.scores.max()
        assert one.text == one.candidates[one.chosen].text
        assert [list(WORLD.rule("", c.text)) for c in one.candidates] == one.rewards.tolist()
        assert np.linalg.norm(one.directions, axis=1) == pytest.approx(np.ones(len(one)))
        assert np.abs(one.angles_deg).max() <= one.spread + 1e-9


@EVERY
def test_no_spread_is_plain_sampling_at_the_target(part, example):
    select = made(part, example)
    plainly = dataclasses.replace(select, spread=0.0, scheme=None, include_target=True)
    one = plainly("p", TARGET, 9)
    target = one.target[None]
    assert one.target == pytest.approx(np.array(TARGET) / np.linalg.norm(TARGET))
    drawn = select.sample.sample(["p"], len(one), SamplingParams(seed=9), target)[0]
    assert list(one.candidates) == drawn
    baseline = select.baseline("p", TARGET, 9)
    assert (list(baseline.candidates), baseline.chosen) == (drawn, one.chosen)
    single = dataclasses.replace(plainly, k=1, spread=30.0, per_direction=1)
    assert list(single("p", TARGET, 9).candidates) == drawn[:1]


@EVERY
def test_equals_go_to_the_first(part, example):
    select = made(part, example, Counting(rule=lambda p, r: (1.0, 1.0)))
    with pytest.warns(DataQualityWarning, match="rewards are constant over .* 1 of 1 prompts"):
        assert select("p", TARGET, 0).chosen == 0


@EVERY
def test_what_failed_never_wins_and_rewards_below_zero_are_no_failure(part, example):
    def answer(prompt, direction, rng):
        if rng.random() < 0.4:
            return Candidate(text="1e9 1e9", finish="error", error="cut off")
        return WORLD.answer(prompt, direction, rng)

    def rule(prompt, response):
        first, second = WORLD.rule(prompt, response)
        return None if first > 0.75 else (first - 50, second - 50)

    prompts = [f"p{i}" for i in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)  # some prompts have nothing left
        records = made(part, example, Counting(answer, rule)).select(prompts, TARGET, 0)
    seen = 0
    for one in records:
        failed = [not c.ok or WORLD.rule("", c.text)[0] > 0.75 for c in one.candidates]
        assert (~one.ok).tolist() == failed
        assert np.isnan(one.rewards[failed]).all()
        seen += any(failed) and not all(failed)
        assert (one.chosen is None) == all(failed)
        if one.chosen is not None:
            assert one.ok[one.chosen]
            assert one.best == max(one.scores[one.ok])
        again = Selection.from_json(plain(one))
        assert plain(again) == plain(one)
        assert again.scores.tolist() == one.scores.tolist()
    assert seen > 10


@EVERY
def test_all_failed_is_an_error_with_its_reason(part, example):
    def answer(prompt, direction, rng):
        return Candidate(text="", finish="error", error="server gone")

    select = made(part, example, Counting(answer))
    with pytest.raises(DataError, match=r"all \d+ candidates of all 2 prompts failed.*server gone"):
        select.select(["a", "b"], TARGET, 0)


@EVERY
def test_the_record_survives_json(part, example):
    one = made(part, example)([{"role": "user", "content": "Hi"}], TARGET, 1)
    again = Selection.from_json(plain(one))
    assert plain(again) == plain(one)
    for name in ("rewards", "scores", "directions", "angles_deg", "ok", "target"):
        assert getattr(again, name).tolist() == getattr(one, name).tolist()
    assert again.candidates == one.candidates
    assert (one.sampler, one.scorer, one.seed) == ("counting", "scripted", 1)
    assert one.names == WORLD.names


@EVERY
@pytest.mark.parametrize("bad", [(0, 0), (np.nan, 1), (np.inf, 1)])
def test_no_direction_is_refused_with_its_value(part, example, bad):
    counting = Counting()
    with pytest.raises(ParameterError, match="not all zero"):
        made(part, example, counting)("p", bad, 0)
    assert counting.calls == 0


@EVERY
def test_a_direction_of_another_length_names_both(part, example):
    counting = Counting()
    with pytest.raises(DataError, match="direction has 3 values and the scorer has 2 attributes"):
        made(part, example, counting)("p", (1, 1, 1), 0)
    with pytest.raises(DataError, match="one for each of 1 prompts"):
        made(part, example, counting)("p", [[1, 1], [1, 1]], 0)
    assert counting.calls == 0


@EVERY
@pytest.mark.parametrize("bad", ["3", 3.0, True, object()])
def test_a_generator_is_a_seed_or_a_generator(part, example, bad):
    with pytest.raises(IncompatibleError, match="integer seed or a numpy Generator"):
        made(part, example)("p", TARGET, bad)
    with pytest.raises(ParameterError, match="seed must be"):
        made(part, example)("p", TARGET, -1)


@EVERY
def test_each_rule_names_its_parameter(part, example):
    for name, bad in {"k": 0, "spread": -1.0, "per_direction": 0}.items():
        with pytest.raises(ParameterError, match=rf"\.{name} must be .* got {bad}"):
            made(part, {**example, name: bad})


@EVERY
def test_the_prompt_must_say_something(part, example):
    with pytest.raises(DataError, match="prompt 0 is empty"):
        made(part, example)(" ", TARGET, 0)
