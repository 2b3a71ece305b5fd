"""What every sampler promises, whatever draws: one suite, a back-end enrols by one entry.

An entry makes the sampler once with a template for two attributes and once without, and says
what it cannot do. A promise that a back-end does not make is skipped by name, never silently.
"""

import importlib.util
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from pluralign.engines.sampling import (
    Candidate,
    PromptTemplate,
    RaySampler,
    Sampler,
    SamplingParams,
    ScriptedSampler,
    ServerSampler,
    TransformersSampler,
    VLLMSampler,
)
from pluralign.errors import DataError, IncompatibleError, ParameterError
from pluralign.learn import tiny_model, train_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

from local_ray import local_ray
from stub_server import serving

TEMPLATE = PromptTemplate(attributes=("help", "brevity"))
PROMPTS = ["the cat sat", "a dog", "the sun and the sea and the sand", "run far", "the cat saw"]
PARAMS = SamplingParams(max_tokens=12, seed=11)
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
DIRECTIONS = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.7, 0.7]])


@dataclass(frozen=True)
class Made:
    """A back-end: with a way to follow directions, without one, and what it cannot do."""

    sampler: Sampler
    plain: Sampler
    lacks: dict = field(default_factory=dict)  # an option -> a value that is refused
    seeded: bool = True  # equal seeds give equal texts
    messages: bool = True


def local(**settings):
    tokenizer = train_tokenizer([*PROMPTS, "help brevity rating answer"] * 3, vocab_size=300)
    tokenizer.chat_template = CHAT
    model = tiny_model(tokenizer, hidden_size=32, num_layers=2, seed=0)
    return TransformersSampler(model, tokenizer, **settings)


def transformers(stack, folder):
    return Made(local(template=TEMPLATE), local())


def script(prompt, direction, rng):
    words = rng.choice(["sun", "sea", "sand", "salt"], size=rng.integers(3, 20))
    return " ".join(words)


def scripted(stack, folder):
    return Made(
        ScriptedSampler(answer=script),
        ScriptedSampler(answer=script, follows_directions=False),
        lacks={"top_k": 3, "top_p": 0.5},
    )


def server(stack, folder):
    stub = stack.enter_context(serving())
    return Made(
        ServerSampler(stub.url, "tiny", template=TEMPLATE),
        ServerSampler(stub.url, "tiny"),
        lacks={"top_k": 3},
    )


def served(stack, folder):
    """A real model behind the interface, one request at a time."""
    model, one_at_a_time = local(), threading.Lock()

    def answer(body):
        names = ("temperature", "top_p", "max_tokens", "seed")
        given = {name: body[name] for name in names}
        params = SamplingParams(**given, top_k=body.get("top_k"), stop=tuple(body.get("stop", ())))
        with one_at_a_time:
            ((drawn,),) = model.sample([body["messages"]], 1, params)
        return {"text": drawn.text, "finish_reason": drawn.finish, "n_tokens": drawn.n_tokens}

    stub = stack.enter_context(serving(answer=answer))
    return Made(
        ServerSampler(stub.url, "tiny", template=TEMPLATE, accepts_top_k=True),
        ServerSampler(stub.url, "tiny", accepts_top_k=True),
    )


def completions(stack, folder):
    stub = stack.enter_context(serving())
    usual = {"api": "completions", "accepts_top_k": True}
    return Made(
        ServerSampler(stub.url, "tiny", template=TEMPLATE, **usual),
        ServerSampler(stub.url, "tiny", journal=folder / "journal.jsonl", **usual),
        messages=False,
    )


def ray(stack, folder):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pluralign[scale]'")
    stack.enter_context(local_ray())
    url = stack.enter_context(serving()).url

    def make():
        return ServerSampler(url, "tiny")

    usual = {"name": "tiny", "batch_size": 3, "num_cpus": 0.5}
    return Made(
        RaySampler(make, folder / "with", template=TEMPLATE, **usual),
        RaySampler(make, folder / "without", **usual),
        lacks={"top_k": 3},
    )


def vllm(stack, folder):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; it needs an environment of its own")
    tokenizer = train_tokenizer(PROMPTS * 3, vocab_size=300)
    tokenizer.chat_template = CHAT
    tiny_model(tokenizer, hidden_size=64, num_layers=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    engine = {"enforce_eager": True, "max_model_len": 256}
    sampler = VLLMSampler(str(folder), template=TEMPLATE, engine=engine)
    return Made(sampler, VLLMSampler(str(folder)), seeded=False)


# Every call to Ray Data starts actors anew, each of which imports torch.
MAKERS = [
    transformers,
    scripted,
    server,
    served,
    completions,
    pytest.param(ray, marks=pytest.mark.slow),
    vllm,
]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def made(request, tmp_path_factory):
    with ExitStack() as stack:
        yield request.param(stack, tmp_path_factory.mktemp(request.param.__name__))


@pytest.fixture
def seeded(made):
    if not made.seeded:
        pytest.skip(f"{made.sampler.name} does not claim that equal seeds give equal texts")
    return made.sampler


def test_it_is_a_sampler_with_a_name(made):
    assert isinstance(made.sampler, Sampler)
    back_end = type(made.sampler).__name__.removesuffix("Sampler").lower()
    assert made.sampler.name.split(":")[0] == back_end


@pytest.mark.parametrize("n", [1, 3])
def test_each_prompt_gets_n_candidates(made, n):
    drawn = made.sampler.sample(PROMPTS, n, PARAMS)
    assert [len(row) for row in drawn] == [n] * len(PROMPTS)
    for candidate in (c for row in drawn for c in row):
        assert isinstance(candidate, Candidate)
        assert candidate.ok, candidate.error
        assert candidate.finish in ("stop", "length")
        assert 0 <= candidate.n_tokens <= PARAMS.max_tokens
        assert Candidate.from_json(candidate.to_json()) == candidate


def test_no_prompts_no_candidates(made):
    assert made.sampler.sample([], 2, PARAMS) == []


def test_the_order_of_prompts_is_kept(seeded):
    forward = seeded.sample(PROMPTS, 2, PARAMS)
    assert seeded.sample(PROMPTS[::-1], 2, PARAMS) == forward[::-1]
    assert len({tuple(c.text for c in row) for row in forward}) == len(PROMPTS)


def test_a_candidate_does_not_depend_on_its_company(seeded):
    together = seeded.sample(PROMPTS, 3, PARAMS)
    assert seeded.sample(PROMPTS[1:2], 3, PARAMS) == together[1:2]
    assert [row[:1] for row in together] == seeded.sample(PROMPTS, 1, PARAMS)


def test_equal_prompts_get_equal_candidates(seeded):
    one, _, two = seeded.sample([PROMPTS[0], PROMPTS[1], PROMPTS[0]], 2, PARAMS)
    assert one == two


def test_the_seed_decides(seeded):
    first = seeded.sample(PROMPTS, 2, PARAMS)
    assert seeded.sample(PROMPTS, 2, PARAMS) == first
    assert seeded.sample(PROMPTS, 2, replace(PARAMS, seed=12)) != first


def test_candidates_of_one_prompt_differ(made):
    (row,) = made.sampler.sample(PROMPTS[:1], 6, PARAMS)
    assert len({c.text for c in row}) > 1


def test_temperature_zero_gives_one_text(made):
    (row,) = made.sampler.sample(PROMPTS[:1], 3, replace(PARAMS, temperature=0.0))
    assert len({c.text for c in row}) == 1


def test_an_answer_ends_at_its_longest(made):
    drawn = made.sampler.sample(PROMPTS, 2, replace(PARAMS, max_tokens=2))
    flat = [c for row in drawn for c in row]
    assert all(c.n_tokens <= 2 for c in flat)
    assert any(c.finish == "length" for c in flat)


def test_stop_texts_end_an_answer_and_are_not_in_it(made):
    free = [c.text for row in made.sampler.sample(PROMPTS, 3, PARAMS) for c in row]
    # A character in the middle of an answer: with it as stop text, that answer must be cut.
    longest = max(free, key=len)
    mark = longest[len(longest) // 2]
    drawn = made.sampler.sample(PROMPTS, 3, replace(PARAMS, stop=(mark, "qqqq")))
    stopped = [c for row in drawn for c in row]
    assert all(mark not in c.text for c in stopped)
    if made.seeded:
        expected = [text.split(mark)[0] for text in free]
        assert [c.text for c in stopped] == expected
        cut = [c for c, text in zip(stopped, free, strict=True) if mark in text]
        assert cut
        assert all(c.finish == "stop" for c in cut)


def test_messages_are_taken_or_refused_by_name(made):
    talk = [{"role": "user", "content": "the cat"}]
    if made.messages:
        (row,) = made.sampler.sample([talk], 2, PARAMS)
        assert len(row) == 2
        assert all(c.ok for c in row)
    else:
        with pytest.raises(IncompatibleError, match=made.sampler.name):
            made.sampler.sample([talk], 2, PARAMS)


def test_every_prompt_follows_its_own_direction(seeded):
    drawn = seeded.sample(PROMPTS, 2, PARAMS, DIRECTIONS)
    assert [len(row) for row in drawn] == [2] * len(PROMPTS)
    for p in (0, 3):
        assert seeded.sample(PROMPTS[p : p + 1], 2, PARAMS, DIRECTIONS[p : p + 1]) == [drawn[p]]
    neighbours = seeded.sample(PROMPTS[:1] * 5, 1, PARAMS, DIRECTIONS)
    assert neighbours[0][0] == drawn[0][0]
    assert len({row[0].text for row in neighbours}) > 1


@pytest.mark.parametrize("empty", ["", "  \n", [], [{"role": "user", "content": " "}]])
def test_an_empty_prompt_is_refused_with_its_row(made, empty):
    with pytest.raises(DataError, match="prompt 2 is empty"):
        made.sampler.sample(["a cat", "a dog", empty], 1, PARAMS)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None])
def test_n_is_a_positive_integer(made, n):
    with pytest.raises(ParameterError, match="n must be an integer >= 1"):
        made.sampler.sample(PROMPTS, n, PARAMS)


def test_one_text_is_no_list_of_prompts(made):
    with pytest.raises(ParameterError, match="got one text"):
        made.sampler.sample("the cat", 1, PARAMS)


def test_an_option_that_is_lacking_names_the_back_end(made):
    if not made.lacks:
        made.sampler.sample(PROMPTS[:1], 1, replace(PARAMS, top_k=3, top_p=0.5))
    for option, value in made.lacks.items():
        with pytest.raises(IncompatibleError, match=f"(?s){name_of(made.sampler)}.*{option}"):
            made.sampler.sample(PROMPTS[:1], 1, replace(PARAMS, **{option: value}))


def name_of(sampler):
    # What a sampler in an actor lacks, it says itself, in its own name.
    return "server:tiny" if isinstance(sampler, RaySampler) else sampler.name


def test_directions_without_a_template_are_refused_by_name(made):
    with pytest.raises(IncompatibleError, match=f"{made.plain.name} got directions"):
        made.plain.sample(PROMPTS, 1, PARAMS, DIRECTIONS)


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        (DIRECTIONS[:3], "one row for each of 5 prompts"),
        (DIRECTIONS[0], "one row for each of 5 prompts"),
        (np.where(np.arange(5)[:, None] == 2, np.nan, DIRECTIONS), "directions of prompt 2"),
    ],
)
def test_directions_must_fit_the_prompts(made, directions, words):
    with pytest.raises(DataError, match=words):
        made.sampler.sample(PROMPTS, 1, PARAMS, directions)


def test_the_prompts_are_left_as_they_were(made):
    talk = [{"role": "user", "content": "the cat"}]
    asked = [talk, "a dog"] if made.messages else ["a dog", "a cat"]
    before, directions = [*map(str, asked)], DIRECTIONS[:2].copy()
    made.sampler.sample(asked, 1, PARAMS, directions)
    assert [*map(str, asked)] == before
    assert (directions == DIRECTIONS[:2]).all()
