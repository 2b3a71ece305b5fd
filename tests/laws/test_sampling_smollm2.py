"""The sampling loop on a real pretrained model, where its package is installed."""

import pytest
import torch

from pluralign.engines.packaged import load_packaged, packaged_file
from pluralign.engines.sampling import PromptTemplate, SamplingParams, TransformersSampler, passes

SMOLLM2 = "smollm2-135m-instruct"
TEXT = "The three primary colours are"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TASK = [{"role": "user", "content": "Write one short sentence about the sea."}]


@pytest.fixture(scope="module")
def smollm2():
    for package in ("accelerate", "gguf"):
        pytest.importorskip(package, reason=f"the package {package} is not installed")
    try:
        packaged_file(SMOLLM2)
    except ImportError as error:
        pytest.skip(str(error))
    return load_packaged(SMOLLM2)


@pytest.fixture(scope="module")
def sampler(smollm2):
    return TransformersSampler(*smollm2, template=PromptTemplate(attributes=("brief", "warm")))


def generated(smollm2, prompt, length):
    """Tokens of the model's own greedy generation, alone."""
    model, tokenizer = smollm2
    if isinstance(prompt, str):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    else:
        made = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = made["input_ids"]
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length
    )
    return found[0, ids.shape[1] :]


def test_greedy_is_generate(smollm2, sampler):
    assert sampler.describe()["form"] == "cached"
    prompts = [TEXT, QUESTION, TASK]
    found = sampler.sample(prompts, 2, SamplingParams(temperature=0, max_tokens=24))
    for prompt, candidates in zip(prompts, found, strict=True):
        tokens = generated(smollm2, prompt, 24)
        text = smollm2[1].decode(tokens, skip_special_tokens=True)
        assert [c.text for c in candidates] == [text] * 2
        assert [c.n_tokens for c in candidates] == [len(tokens)] * 2
    assert "Paris" in found[1][0].text
    assert found[1][0].finish == "stop"


def test_candidates_differ_and_are_the_same_in_other_company(smollm2, sampler):
    params = SamplingParams(max_tokens=12, temperature=0.8, top_p=0.9, seed=5, stop=("\n",))
    whole = sampler.sample([QUESTION, TASK, TEXT], 4, params)
    assert len({c.text for c in whole[1]}) == 4
    assert not [c for row in whole for c in row if "\n" in c.text]
    small = TransformersSampler(*smollm2, batch_size=3)
    assert small.sample([TEXT, TASK], 4, params) == [whole[2], whole[1]]


def test_directions_of_one_prompt_in_one_call(sampler):
    import numpy as np

    directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    params = SamplingParams(max_tokens=8)
    together = sampler.sample([TASK] * 3, 1, params, directions)
    alone = [sampler.sample([TASK], 1, params, row[None])[0] for row in directions]
    assert together == alone


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_half_precision_does_not_cost_the_cache(smollm2, dtype):
    model = load_packaged(SMOLLM2, dtype=dtype)[0]
    sampler = TransformersSampler(model, smollm2[1])
    assert sampler.describe()["form"] == "cached"
    found = sampler.sample([QUESTION], 1, SamplingParams(temperature=0, max_tokens=12))
    assert "Paris" in found[0][0].text


def test_a_cache_that_is_wrong_in_half_precision_is_refused(smollm2, monkeypatch):
    model = load_packaged(SMOLLM2, dtype=torch.bfloat16)[0]
    right = passes.CachedRows._mask

    def wrong(self, positions, width):  # one token of the prompt is hidden
        mask = right(self, positions, width).clone()
        mask[..., 2] = False
        return mask

    monkeypatch.setattr(passes.CachedRows, "_mask", wrong)
    described = TransformersSampler(model, smollm2[1]).describe()
    assert described["form"] == "plain"
    assert "differ" in described["form_refused"]
