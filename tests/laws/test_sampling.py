"""Laws of the sampling loop on tiny models of several architectures."""

import itertools

import numpy as np
import pytest
import torch
import transformers
from scipy import stats

from pluralign.engines.sampling import (
    PromptTemplate,
    Sampler,
    SamplingParams,
    Steering,
    TransformersSampler,
)
from pluralign.engines.sampling.base import sample_seed
from pluralign.engines.sampling.loop import Job, run
from pluralign.engines.sampling.passes import Maker, Steer
from pluralign.engines.sampling.texts import Texts
from pluralign.learn import tiny_model, train_tokenizer

PROMPTS = (
    "a cat sat on the mat",
    "dog",
    "a cat sat on the mat and saw some dog run far away from here, and then it came back",
    "a cat sat on the mat and saw some dog run far away from here, and then it ran",
    "héllo — 日本",
)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
CACHED = {
    "Llama": {},
    "Qwen3": {},
    "Gemma2": {"sliding_window": 12, "query_pre_attn_scalar": 8},
    "Mistral": {"sliding_window": 12},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
}
PLAIN = {
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(PROMPTS, vocab_size=300)


def made(name, tokenizer, **more):
    """A tiny random model whose logits are far from uniform."""
    settings = CACHED.get(name) or PLAIN.get(name) or {}
    shape = {} if name in ("GPT2", *PLAIN) else SHAPE
    special = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    config = getattr(transformers, f"{name}Config")(
        **{**shape, **settings, **special, **more}, vocab_size=len(tokenizer)
    )
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}{head}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return model


def greedy(model, tokenizer, prompt, length):
    """Text and number of tokens of the model's own generation, alone and without padding."""
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length
    )
    answer = found[0, ids.shape[1] :]
    return tokenizer.decode(answer, skip_special_tokens=True), len(answer)


@pytest.mark.parametrize("name", [*CACHED, *PLAIN])
def test_greedy_is_generate(name, tokenizer):
    model = made(name, tokenizer)
    sampler = TransformersSampler(model, tokenizer, batch_size=4)
    assert sampler.describe()["form"] == ("cached" if name in CACHED else "plain")
    assert bool(sampler.describe()["form_refused"]) == (name in PLAIN)
    length = 24 if name in CACHED else 6
    found = sampler.sample(PROMPTS, 2, SamplingParams(temperature=0, max_tokens=length))
    for prompt, candidates in zip(PROMPTS, found, strict=True):
        text, n_tokens = greedy(model, tokenizer, prompt, length)
        cut = text.rstrip("\N{REPLACEMENT CHARACTER}")
        for candidate in candidates:
            assert candidate.text in (text, cut)
            assert candidate.n_tokens == n_tokens


@pytest.mark.parametrize("name", ["Llama", "Gemma2"])
def test_a_sample_depends_on_nothing_but_itself(name, tokenizer):
    model = made(name, tokenizer)
    params = SamplingParams(max_tokens=20, temperature=0.9, top_p=0.95, seed=3)
    whole = TransformersSampler(model, tokenizer).sample(PROMPTS, 4, params)
    assert len({candidate.text for row in whole for candidate in row}) > 15
    assert len({candidate.n_tokens for row in whole for candidate in row}) > 1
    small = TransformersSampler(model, tokenizer, batch_size=3, batch_tokens=150)
    assert small.sample(PROMPTS[::-1], 4, params)[::-1] == whole
    assert [small.sample([prompt], 2, params)[0] for prompt in PROMPTS] == [r[:2] for r in whole]
    other = TransformersSampler(model, tokenizer).sample(
        PROMPTS, 4, SamplingParams(max_tokens=20, temperature=0.9, top_p=0.95, seed=4)
    )
    assert other != whole


def test_rows_beyond_a_window_that_no_mask_tells_are_read_anew(tokenizer):
    config = transformers.GPTNeoConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=24,
        max_position_embeddings=256,
        initializer_range=0.3,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.GPTNeoForCausalLM(config).eval()
    sampler = TransformersSampler(model, tokenizer)
    assert sampler.describe()["form"] == "cached"
    for prompts, length in ((["dog", "a cat"], 6), (PROMPTS, 12)):
        found = sampler.sample(prompts, 2, SamplingParams(temperature=0, max_tokens=length))
        for prompt, candidates in zip(prompts, found, strict=True):
            text, n_tokens = greedy(model, tokenizer, prompt, length)
            assert {c.n_tokens for c in candidates} == {n_tokens}
            assert {text.startswith(c.text) for c in candidates} == {True}


def test_rows_of_one_call_have_parameters_of_their_own(tokenizer):
    model = made("Llama", tokenizer)
    sampler = TransformersSampler(model, tokenizer)
    each = [
        SamplingParams(temperature=t, max_tokens=n, top_p=p, seed=s)
        for t, n, p, s in [(0, 9, 1.0, 0), (0.3, 5, 0.9, 1), (2.0, 12, 1.0, 1), (1.0, 3, 0.5, 2)]
    ]
    prompts = [PROMPTS[2], PROMPTS[2], PROMPTS[2], PROMPTS[1]]
    read = []
    model.model.layers[0].register_forward_pre_hook(
        lambda module, args: read.append(tuple(args[0].shape[:2]))
    )
    together = sampler.sample(prompts, 3, each)
    assert [shape for shape in read if shape[1] > 1] == [
        (2, len(tokenizer(PROMPTS[2])["input_ids"]))
    ]
    for prompt, own, candidates in zip(prompts, each, together, strict=True):
        assert sampler.sample([prompt], 3, own) == [candidates]
        assert max(c.n_tokens for c in candidates) <= own.max_tokens
    assert len(set(together[0])) == 1
    assert len(set(together[2])) > 1


def test_without_a_cache_the_same_samples(tokenizer, monkeypatch):
    model = made("Llama", tokenizer)
    params = SamplingParams(max_tokens=8)
    cached = TransformersSampler(model, tokenizer)
    monkeypatch.setattr(
        "pluralign.engines.sampling.passes.tolerance", lambda dtype: -1.0
    )  # no cache passes its check
    plain = TransformersSampler(model, tokenizer, batch_size=3)
    assert plain.describe()["form"] == "plain"
    assert "differ by" in plain.describe()["form_refused"]
    assert plain.sample(PROMPTS, 2, params) == cached.sample(PROMPTS, 2, params)


def test_a_wrong_cache_is_noticed(tokenizer, monkeypatch):
    from pluralign.engines.sampling import passes

    wrong = passes.CachedRows._mask

    def off_by_one(self, positions, width):
        return wrong(self, positions - (positions > 6).long(), width)

    monkeypatch.setattr(passes.CachedRows, "_mask", off_by_one)
    sampler = TransformersSampler(made("Llama", tokenizer), tokenizer)
    assert sampler.describe()["form"] == "plain"
    assert sampler.describe()["form_difference"] > 1e-3


def test_pairs_of_tokens_follow_the_model(tokenizer):
    model = tiny_model(tokenizer, hidden_size=16, num_layers=1)
    with torch.no_grad():
        model.lm_head.weight.mul_(40.0)
    ids = tokenizer("dog")["input_ids"]
    params = SamplingParams(max_tokens=2, temperature=0.7)
    jobs = [Job(tuple(ids), sample_seed(0, "dog", i), params, 2) for i in range(4000)]
    with torch.no_grad():
        rows = Maker(model, None).rows(Steer())
        run(jobs, rows, Texts(tokenizer, model), batch_size=500, batch_tokens=10**6)
        first = (model(torch.tensor([ids])).logits[0, -1].double() / 0.7).softmax(-1)
        after = torch.tensor([[*ids, token] for token in range(len(first))])
        second = (model(after).logits[:, -1].double() / 0.7).softmax(-1)

    def joint(first):
        table = first[:, None] * second
        table[2] = 0  # the end token has no successor
        table[2, 0] = first[2]
        return (table / table.sum()).flatten().numpy()

    counts = np.zeros((len(first), len(first)))
    for job in jobs:
        counts[job.tokens[0], job.tokens[1] if len(job.tokens) > 1 else 0] += 1
    assert fit(counts.flatten(), joint(first)) > 1e-4
    assert fit(counts.flatten(), joint(first**0.8)) < 1e-4


def fit(counts, p):
    """p-value of Pearson's chi-square test, rare cells pooled."""
    expected = p * counts.sum()
    large = expected >= 8
    observed = np.append(counts[large], counts[~large].sum())
    expected = np.append(expected[large], expected[~large].sum())
    assert len(observed) > 10
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


def test_prompts_are_read_once_and_common_beginnings_once(tokenizer):
    model = made("Llama", tokenizer)
    template = PromptTemplate(attributes=("helpful", "brief"))
    sampler = TransformersSampler(model, tokenizer, template=template)
    read = []
    model.model.layers[0].register_forward_pre_hook(
        lambda module, args: read.append(tuple(args[0].shape[:2]))
    )
    directions = np.array([[np.cos(a), np.sin(a)] for a in (0.2, 0.5, 0.8)])
    texts = [template.render(PROMPTS[2], v) for v in directions]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    common = len(list(itertools.takewhile(lambda t: len(set(t)) == 1, zip(*ids, strict=False))))
    assert common > 32
    sampler.sample([PROMPTS[2]] * 3, 4, SamplingParams(max_tokens=3, temperature=0), directions)
    assert read == [(1, common), (3, max(map(len, ids)) - common), (12, 1), (12, 1)]


@pytest.mark.parametrize("batch_size", [64, 2])
def test_several_prompts_with_several_directions_each(batch_size, tokenizer):
    model = made("Llama", tokenizer)
    template = PromptTemplate(attributes=("helpful", "brief"))
    sampler = TransformersSampler(model, tokenizer, template=template, batch_size=batch_size)
    longs = [PROMPTS[2], f"{PROMPTS[0]}, {PROMPTS[4]}: {PROMPTS[1]} {PROMPTS[0]}"]
    prompts = [longs[0], longs[1]] * 3
    directions = np.array([[np.cos(a), np.sin(a)] for a in (0.1, 0.2, 0.4, 0.5, 0.8, 0.9)])
    params = SamplingParams(max_tokens=5)
    begun = []
    model.model.layers[0].register_forward_pre_hook(
        lambda module, args: begun.append(tuple(args[0].shape[:2]))
    )
    together = sampler.sample(prompts, 1, params, directions)
    read = [shape for shape in begun if shape[1] > 20]
    least = min(len(tokenizer(text)["input_ids"]) for text in longs)
    assert sum(shape[0] for shape in read if shape[1] >= least) == 2  # each text once
    for prompt, direction, candidates in zip(prompts, directions, together, strict=True):
        alone = TransformersSampler(model, tokenizer).sample(
            [template.render(prompt, direction)], 1, params
        )
        assert alone == [candidates]


def test_a_direction_in_words_is_the_rendered_prompt(tokenizer):
    model = made("Llama", tokenizer)
    template = PromptTemplate(attributes=("helpful", "brief"))
    params = SamplingParams(max_tokens=6)
    directions = np.array([[1.0, 0.0], [0.6, 0.8]])
    told = TransformersSampler(model, tokenizer, template=template)
    texts = [template.render(PROMPTS[0], v) for v in directions]
    plain = TransformersSampler(model, tokenizer)
    assert isinstance(plain, Sampler)
    assert told.sample([PROMPTS[0]] * 2, 3, params, directions) == plain.sample(texts, 3, params)


def steered_greedily(model, module, vector, ids, length):
    """Token by token, all of the text read each time, the vector added from the prompt's end on."""
    text = list(ids)

    def add(_, __, output):
        output = output.clone()
        output[:, len(ids) - 1 :] += vector
        return output

    with torch.no_grad():
        for _ in range(length):
            handle = module.register_forward_hook(add)
            logits = model(torch.tensor([text])).logits[0, -1]
            handle.remove()
            text.append(int(logits.argmax()))
            if text[-1] == 2:
                break
    return text[len(ids) :]


@pytest.mark.parametrize("form", ["cached", "plain"])
def test_steering_adds_to_the_residual_stream(form, tokenizer, monkeypatch):
    model = made("Llama", tokenizer)
    basis = np.random.default_rng(0).normal(size=(2, 32))
    if form == "plain":
        monkeypatch.setattr("pluralign.engines.sampling.passes.tolerance", lambda dtype: -1.0)
    steering = Steering("model.layers.1", basis)
    sampler = TransformersSampler(model, tokenizer, steering=steering, batch_size=3)
    assert sampler.describe()["form"] == form
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-3.0, 2.0]])
    prompts = [PROMPTS[2], PROMPTS[2], PROMPTS[2], PROMPTS[0]]
    params = SamplingParams(temperature=0, max_tokens=7)
    found = sampler.sample(prompts, 1, params, directions)
    texts = set()
    for prompt, direction, (candidate,) in zip(prompts, directions, found, strict=True):
        vector = torch.from_numpy(direction @ basis).float()
        ids = tokenizer(prompt)["input_ids"]
        tokens = steered_greedily(model, model.model.layers[1], vector, ids, 7)
        expected = tokenizer.decode(tokens, skip_special_tokens=True)
        assert candidate.text.rstrip("\N{REPLACEMENT CHARACTER}") == expected.rstrip(
            "\N{REPLACEMENT CHARACTER}"
        )
        texts.add(expected)
    assert len(texts) > 2  # the vectors do something


def test_steered_neighbours_draw_their_own_numbers(tokenizer):
    model = made("Llama", tokenizer)
    none = Steering("model.layers.1", np.zeros((2, 32)))
    sampler = TransformersSampler(model, tokenizer, steering=none)
    params = SamplingParams(max_tokens=6)
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = sampler.sample([PROMPTS[0]] * 3, 4, params, directions)
    assert found[0] == found[2]
    assert found[0] != found[1]
    assert found[0] == sampler.sample([PROMPTS[0]], 4, params, directions[:1])[0]


def test_messages_go_through_the_chat_template(tokenizer):
    from copy import deepcopy

    chatty = deepcopy(tokenizer)
    chatty.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    model = made("Llama", tokenizer)
    sampler = TransformersSampler(model, chatty)
    turns = [{"role": "system", "content": "a cat"}, {"role": "user", "content": "dog"}]
    params = SamplingParams(temperature=0, max_tokens=5)
    (found,) = sampler.sample([turns], 1, params)
    ids = chatty("[system]a cat[user]dog[assistant]", add_special_tokens=False)["input_ids"]
    answer = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=5)[0, len(ids) :]
    cut = tokenizer.decode(answer, skip_special_tokens=True)
    assert found[0].text.rstrip("\N{REPLACEMENT CHARACTER}") == cut.rstrip(
        "\N{REPLACEMENT CHARACTER}"
    )
    assert sample_seed(0, turns, 0) != sample_seed(0, "dog", 0)


def test_an_adapter_is_sampled_with_its_weights(tokenizer):
    peft = pytest.importorskip("peft")
    base = made("Llama", tokenizer)
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    ).eval()
    params = SamplingParams(temperature=0, max_tokens=8)
    sampler = TransformersSampler(model, tokenizer)
    assert sampler.describe()["form"] == "cached"
    adapted = sampler.sample(PROMPTS, 1, params)
    for prompt, (candidate,) in zip(PROMPTS, adapted, strict=True):
        assert candidate.n_tokens == greedy(model, tokenizer, prompt, 8)[1]
        assert greedy(model, tokenizer, prompt, 8)[0].startswith(candidate.text)
    with model.disable_adapter():
        assert TransformersSampler(model, tokenizer).sample(PROMPTS, 1, params) != adapted


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_other_attention_gives_the_same_samples_and_is_put_back(attention, tokenizer):
    model = made("Mistral", tokenizer)
    params = SamplingParams(max_tokens=10)
    expected = TransformersSampler(model, tokenizer).sample(PROMPTS, 2, params)
    model.set_attn_implementation(attention)
    sampler = TransformersSampler(model, tokenizer)
    assert sampler.describe()["form"] == "cached"
    assert sampler.sample(PROMPTS, 2, params) == expected
    assert model.config._attn_implementation == attention
