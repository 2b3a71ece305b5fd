"""The loop around a model: order, refilling, ends of answers, refusals."""

import numpy as np
import pytest
import torch

from pluralign.engines.sampling import (
    Candidate,
    PromptTemplate,
    SamplingParams,
    Steering,
    TransformersSampler,
)
from pluralign.engines.sampling.loop import Job, queue, run
from pluralign.engines.sampling.texts import Texts
from pluralign.errors import DataError, IncompatibleError, ParameterError
from pluralign.learn import tiny_model, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the cat sat on the mat"] * 3, vocab_size=280)


@pytest.fixture(scope="module")
def texts(tokenizer):
    return Texts(tokenizer, object())


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer, hidden_size=32, max_length=64)


class Script:
    """Rows that say a given text after each prompt, and count what they are asked for."""

    def __init__(self, answers, vocabulary):
        self.answers, self.vocabulary = answers, vocabulary
        self.rows = []  # (prompt, tokens seen)
        self.widest = self.begun = 0

    def add(self, starts):
        new = [[start.ids, 0] for start in starts for _ in range(start.rows)]
        self.begun += len(starts)
        self.rows += new
        self.widest = max(self.widest, len(self.rows))
        return self.logits(new)

    def advance(self, tokens):
        assert len(tokens) == len(self.rows)
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            assert token == self.answers[row[0]][row[1]], "a row got another row's token"
            row[1] += 1
        return self.logits(self.rows)

    def keep(self, order):
        self.rows = [self.rows[row] for row in order.tolist()]

    def logits(self, rows):
        found = torch.zeros(len(rows), self.vocabulary)
        for row, (ids, seen) in enumerate(rows):
            found[row, self.answers[ids][seen]] = 50.0
        return found


def said(texts, tokenizer, answers, params, **limits):
    """What the loop makes of answers, given as tokens."""
    scripts = {(5, number): list(answer) for number, answer in enumerate(answers)}
    rows = Script(scripts, len(tokenizer))
    jobs = [Job(ids, seed, params, params.max_tokens) for seed, ids in enumerate(scripts)]
    run(jobs, rows, texts, **{"batch_size": 3, "batch_tokens": 10_000, **limits})
    return jobs, rows


def test_every_answer_goes_to_its_job_while_rows_end_and_others_begin(texts, tokenizer):
    answers = [[20 + k] * (1 + 5 * k % 7) + [tokenizer.eos_token_id] for k in range(11)]
    jobs, rows = said(texts, tokenizer, answers, SamplingParams(max_tokens=20))
    assert [job.tokens for job in jobs] == answers
    assert {job.finish for job in jobs} == {"stop"}
    assert rows.widest == 3
    assert rows.rows == []
    assert rows.begun == 11


def test_tokens_of_all_rows_are_bounded(texts, tokenizer):
    answers = [[30] * 9] * 4
    jobs, rows = said(texts, tokenizer, answers, SamplingParams(max_tokens=8), batch_tokens=25)
    assert rows.widest == 2  # each may hold 2 + 8 tokens
    assert [(len(job.tokens), job.finish) for job in jobs] == [(8, "length")] * 4
    _, rows = said(texts, tokenizer, answers, SamplingParams(max_tokens=8), batch_tokens=5)
    assert rows.widest == 1  # a row that is too large goes alone


@pytest.mark.parametrize("stop", ["sat on", "日", "é.", "t\n\n"])
def test_stop_texts_are_found_across_tokens_and_within_characters(texts, tokenizer, stop):
    text = f"the cat — ⚠️ {stop} and more"
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    params = SamplingParams(max_tokens=99, stop=(stop,))
    (job,), _ = said(texts, tokenizer, [tokens], params)
    assert job.finish == "stop"
    assert texts.without_stop(texts.answer(job.tokens), params.stop) == "the cat — ⚠️ "
    assert stop not in texts.answer(job.tokens[:-1])  # at the first token that completes it


def test_a_special_token_as_stop_text_ends_without_being_shown(texts, tokenizer):
    cat = tokenizer(" cat", add_special_tokens=False)["input_ids"]
    params = SamplingParams(max_tokens=99, stop=("<s>",))
    (job,), _ = said(texts, tokenizer, [[*cat, tokenizer.bos_token_id, *cat]], params)
    assert job.finish == "stop"
    assert texts.answer(job.tokens) == " cat"


def test_all_ends_that_the_model_names(tokenizer):
    class Core:
        class generation_config:
            eos_token_id = (7, 9)

    assert Texts(tokenizer, Core).ends == {7, 9, tokenizer.eos_token_id}


def test_a_cut_character_is_not_shown(model, tokenizer):
    sampler = TransformersSampler(model, tokenizer)
    found = sampler.sample(["the cat"], 64, SamplingParams(max_tokens=3, temperature=1.5))[0]
    cut = [c for c in found if c.finish == "length"]
    assert len(cut) > 30
    assert not [c for c in cut if c.text.endswith("\N{REPLACEMENT CHARACTER}")]


def test_prompts_that_begin_alike_stand_together_longest_first():
    params = SamplingParams(max_tokens=1)
    head = tuple(range(40))
    prompts = [(*head, 1), (9, 9), (*head, 2, 3), tuple(range(60, 160)), (*head, 1)]
    units = queue([Job(ids, 0, params, 1) for ids in prompts], batch_size=8)
    assert [(len(u.start.ids), u.start.rows, u.start.shared) for u in units] == [
        (100, 1, 0),
        (42, 1, 40),
        (41, 2, 40),
        (2, 1, 0),
    ]
    assert len({u.start.family for u in units}) == 3


def test_more_candidates_than_rows_share_their_prompt():
    params = SamplingParams(max_tokens=1)
    units = queue([Job(tuple(range(50)), i, params, 1) for i in range(7)], batch_size=3)
    assert [(u.start.rows, u.start.shared) for u in units] == [(3, 49), (3, 49), (1, 49)]


def test_short_beginnings_are_not_worth_a_pass():
    params = SamplingParams(max_tokens=1)
    units = queue([Job((1, 2, 3, i), 0, params, 1) for i in range(4)], batch_size=8)
    assert [u.start.shared for u in units] == [0] * 4


def test_answers_end_where_the_context_ends(model, tokenizer):
    sampler = TransformersSampler(model, tokenizer)
    prompt = "the cat " * 20
    used = len(tokenizer(prompt)["input_ids"])
    assert 40 < used < 64
    (found,) = sampler.sample([prompt], 8, SamplingParams(max_tokens=100))
    assert max(c.n_tokens for c in found) == 64 - used
    with pytest.raises(DataError, match=r"prompt 1 has \d+ tokens, but .* reads 64"):
        sampler.sample(["the", "the cat " * 60], 1, SamplingParams())


def test_a_row_without_finite_logits_is_an_error_and_the_others_go_on(model, tokenizer):
    sampler = TransformersSampler(model, tokenizer)
    alone = sampler.sample(["the cat"], 2, SamplingParams(max_tokens=4))[0]
    token = tokenizer("zq", add_special_tokens=False)["input_ids"][0]
    weight = model.get_input_embeddings().weight.data
    before = weight[token].clone()
    try:
        weight[token] = torch.nan
        good, bad = sampler.sample(["the cat", "zq"], 2, SamplingParams(max_tokens=4))
    finally:
        weight[token] = before
    assert good == alone
    assert (
        bad
        == [
            Candidate(text="", finish="error", error="the model's logits are not finite at token 0")
        ]
        * 2
    )


def test_the_model_is_left_as_it_was(model, tokenizer):
    sampler = TransformersSampler(model, tokenizer)
    model.train()
    model.model.layers[0].eval()
    state = torch.get_rng_state()
    sampler.sample(["the cat"], 2, SamplingParams(max_tokens=3))
    assert model.training
    assert not model.model.layers[0].training
    model.eval()
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert not model.model.layers[1]._forward_hooks


@pytest.mark.parametrize(
    ("known", "name"), [("", "LlamaForCausalLM"), ("/a/b/mine", "mine"), ("org/m", "org/m")]
)
def test_its_name_tells_the_model_and_no_folder(known, name, model, tokenizer, monkeypatch):
    monkeypatch.setattr(model.config, "_name_or_path", known)
    assert TransformersSampler(model, tokenizer).name == f"transformers:{name}"


def test_refusals(model, tokenizer):
    template = PromptTemplate(attributes=("a", "b"))
    steering = Steering("model.layers.1", np.zeros((2, 32)))
    one = SamplingParams(max_tokens=1)
    with pytest.raises(IncompatibleError, match="not both"):
        TransformersSampler(model, tokenizer, template=template, steering=steering)
    with pytest.raises(ParameterError, match=r"batch_size must be an integer >= 1; got 0"):
        TransformersSampler(model, tokenizer, batch_size=0)
    with pytest.raises(ParameterError, match=r"no module is named 'model.layer.1'.*model\.layers"):
        TransformersSampler(model, tokenizer, steering=Steering("model.layer.1", np.zeros((2, 32))))
    with pytest.raises(ParameterError, match="hidden size is 32"):
        TransformersSampler(model, tokenizer, steering=Steering("model.layers.1", np.zeros((2, 8))))
    with pytest.raises(ParameterError, match="finite matrix"):
        Steering("model.layers.1", np.full((2, 32), np.nan))
    sampler = TransformersSampler(model, tokenizer)
    with pytest.raises(IncompatibleError, match="no chat template"):
        sampler.sample([[{"role": "user", "content": "Hi"}]], 1, one)
    with pytest.raises(IncompatibleError, match="no way to follow"):
        sampler.sample(["the"], 1, one, np.ones((1, 2)))
    with pytest.raises(ParameterError, match="one for each of 1 prompts; got 2"):
        sampler.sample(["the"], 1, [one, one])
    with pytest.raises(ParameterError, match=r"params must be SamplingParams; got 0\.5"):
        sampler.sample(["the"], 1, [0.5])
    with pytest.raises(DataError, match="prompt 1 is empty"):
        sampler.sample(["the", " "], 1, one)
    steered = TransformersSampler(model, tokenizer, steering=steering)
    with pytest.raises(DataError, match=r"directions have 3 values.*2 rows"):
        steered.sample(["the"], 1, one, np.ones((1, 3)))
