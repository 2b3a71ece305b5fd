import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the [language] extra")

from pluralign import DataError, ParameterError, TokenBatch  # noqa: E402
from pluralign.engines import RewardModel, score_with  # noqa: E402

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}
ROWS = [([5, 6, 7], [8], [9, 10, 11, 12]), ([], [13], [14, 15]), ([3, 3], [4, 4, 4], [2])]


def batch_of(*rows):
    flat = [token for row in rows for part in row for token in part]
    return TokenBatch(torch.tensor(flat), torch.tensor([[len(p) for p in row] for row in rows]))


@pytest.fixture
def causal():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL))


def by_hand(model):
    out = []
    for prompt, *responses in ROWS:
        for response in responses:
            states = model.body(input_ids=torch.tensor([prompt + response])).last_hidden_state
            out.append(states[0, -1] @ model.head.weight.T)
    return torch.stack(out).view(len(ROWS), 2, -1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_reward_at_the_last_token(causal, side):
    model = RewardModel(causal.model, ("helpful", "harmless", "honest"), padding_side=side)
    rewards = model.rewards(batch_of(*ROWS))
    assert rewards.shape == (3, 2, 3)
    torch.testing.assert_close(rewards, by_hand(model), atol=1e-5, rtol=0)
    alone = torch.cat([model(batch_of(row)) for row in ROWS])
    torch.testing.assert_close(rewards, alone, atol=1e-5, rtol=0)


def test_the_head_starts_small_and_without_bias(causal):
    torch.manual_seed(0)
    weight = RewardModel(causal.model, tuple("abcdefghij")).head.weight
    assert 0.2 < weight.std() < 0.4
    assert RewardModel(causal.model).head.bias is None


def test_training_a_copy_leaves_the_policy_alone(causal):
    model = RewardModel.from_causal(causal)
    model.rewards(batch_of(*ROWS)).sum().backward()
    assert model.head.weight.grad is not None
    assert all(p.grad is None for p in causal.parameters())
    assert RewardModel.from_causal(causal, share=True).body is causal.model


def test_save_and_load(causal, tmp_path):
    model = RewardModel.from_causal(causal, ("helpful", "harmless"))
    model.save(tmp_path)
    again = RewardModel.load(tmp_path)
    assert again.names == ("helpful", "harmless")
    assert torch.equal(again.rewards(batch_of(*ROWS)), model.rewards(batch_of(*ROWS)))
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}
    model.bfloat16().save(tmp_path)
    assert RewardModel.load(tmp_path).head.weight.dtype == torch.bfloat16
    with pytest.raises(DataError, match=r"no reward_config.json here"):
        RewardModel.load(tmp_path / "body")


def test_names_must_be_unique(causal):
    with pytest.raises(ParameterError, match=r"unique non-empty names; got \('a', 'a'\)"):
        RewardModel(causal.model, ("a", "a"))


def test_an_empty_response_is_named(causal):
    with pytest.raises(DataError, match=r"rows \[1\]") as caught:
        RewardModel(causal.model).rewards(batch_of(([1], [2], [3]), ([4], [], [5])))
    assert caught.value.rows == (1,)


@pytest.mark.parametrize("pad", [0, None])
def test_any_sequence_classifier(pad):
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        **SMALL, num_key_value_heads=2, num_labels=3, pad_token_id=pad
    )
    model = transformers.Qwen2ForSequenceClassification(config).train()
    found = score_with(model, batch_of(*ROWS))
    assert model.training
    assert found.shape == (3, 2, 3)
    expected = [
        model(input_ids=torch.tensor([prompt + response])).logits[0]
        for prompt, *responses in ROWS
        for response in responses
    ]
    torch.testing.assert_close(found.view(6, 3), torch.stack(expected), atol=1e-5, rtol=0)


def test_a_classifier_that_is_not_causal():
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, num_labels=1, hidden_dropout_prob=0.0)
    model = transformers.BertForSequenceClassification(config).eval()
    found = score_with(model, batch_of(*ROWS))
    alone = torch.cat([score_with(model, batch_of(row)) for row in ROWS])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
