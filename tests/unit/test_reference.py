import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the [language] extra")

from pluralign import DataError, IncompatibleError, TokenBatch  # noqa: E402
from pluralign.engines import LogProbs, ReferenceCache, reference_key  # noqa: E402

TOKENS = torch.arange(3, 21)
BATCHES = [
    TokenBatch(TOKENS[:12], torch.tensor([[2, 3, 1], [3, 1, 2]])),
    TokenBatch(TOKENS[12:], torch.tensor([[2, 2, 2]])),
]


def make(seed=0):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture
def model():
    return make()


def with_lora(model, **settings):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], **settings))


peft_warns = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


def test_rows_are_the_engine_s(model):
    engine = LogProbs(model)
    cache = ReferenceCache.compute(model, BATCHES, engine=engine, progress=False)
    assert len(cache) == 3
    assert not cache.sums.requires_grad
    for rows, batch in (([0, 1], BATCHES[0]), ([2], BATCHES[1])):
        scores = engine(model, batch)
        assert torch.equal(cache.rows(rows).sums, scores.sums.detach())
        assert torch.equal(cache.rows(torch.tensor(rows)).lengths, scores.lengths)
    assert torch.equal(cache.rows([2, 0]).sums, cache.sums[[2, 0]])


def test_save_and_load(model, tmp_path):
    cache = ReferenceCache.compute(model, BATCHES, progress=False, max_length=32)
    cache.save(tmp_path / "run")
    again = ReferenceCache.load(tmp_path / "run", cache.key)
    assert torch.equal(again.sums, cache.sums)
    assert torch.equal(again.lengths, cache.lengths)
    assert json.loads((tmp_path / "run" / "reference.json").read_text())["max_length"] == 32
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["reference.json", "reference.safetensors"]


def test_the_key_does_not_depend_on_batching(model):
    engine = LogProbs(model)
    lengths = torch.cat([batch.lengths for batch in BATCHES])
    whole = [TokenBatch(TOKENS, lengths)]
    assert reference_key(model, whole, engine) == reference_key(model, BATCHES, engine)


def changed_token(model):
    tokens = BATCHES[1].tokens.clone()
    tokens[0] += 1
    return {"batches": [BATCHES[0], BATCHES[1]._replace(tokens=tokens)]}


def changed_boundary(model):
    return {"batches": [BATCHES[0], BATCHES[1]._replace(lengths=torch.tensor([[1, 3, 2]]))]}


def changed_weight(model):
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    return {}


def changed_dtype(model):
    model.bfloat16()
    return {}


def changed_attention(model):
    model.set_attn_implementation("eager")
    return {}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (changed_token, "tokens"),
        (changed_boundary, "tokens"),
        (changed_weight, "weights"),
        (changed_dtype, "dtype"),
        (changed_attention, "attention"),
        (lambda model: {"max_length": 7}, "max_length"),
        (lambda model: {"truncation": "left_prompt"}, "truncation"),
    ],
)
def test_every_change_is_refused_by_name(model, tmp_path, change, part):
    ReferenceCache.compute(model, BATCHES, progress=False).save(tmp_path)
    settings = {"batches": BATCHES} | change(model)
    key = reference_key(model, engine=LogProbs(model), **settings)
    with pytest.raises(IncompatibleError, match=rf"changed:.* {part} \(stored"):
        ReferenceCache.load(tmp_path, key)


def test_a_new_engine_version_or_logit_shape_is_refused(model, tmp_path):
    cache = ReferenceCache.compute(model, BATCHES, progress=False)
    cache.save(tmp_path)
    key = dataclasses.replace(cache.key, engine_version=0, logits="linear scale=2.0 softcap=None")
    with pytest.raises(IncompatibleError, match=r"logits .*; engine_version \(stored 1, now 0\)"):
        ReferenceCache.load(tmp_path, key)


def test_nothing_or_rubbish_on_disk(model, tmp_path):
    key = ReferenceCache.compute(model, BATCHES, progress=False).key
    with pytest.raises(DataError, match="no reference cache here"):
        ReferenceCache.load(tmp_path, key)
    ReferenceCache.compute(model, BATCHES, progress=False).save(tmp_path)
    (tmp_path / "reference.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(DataError, match="not a reference cache"):
        ReferenceCache.load(tmp_path, key)
    (tmp_path / "reference.safetensors").unlink()
    with pytest.raises(DataError, match="this file of the cache is gone"):
        ReferenceCache.load(tmp_path, key)
    (tmp_path / "reference.json").write_text("{")
    with pytest.raises(DataError, match="not a reference cache"):
        ReferenceCache.load(tmp_path, key)


ORDER = [[2, 0], [1]]  # numbers of the rows of BATCHES
IN_ORDER = TokenBatch(
    torch.cat([TOKENS[6:12], TOKENS[12:], TOKENS[:6]]),
    torch.tensor([[3, 1, 2], [2, 2, 2], [2, 3, 1]]),
)


def test_rows_may_come_in_any_order(model):
    engine = LogProbs(model, form="two_rows")
    cache = ReferenceCache.compute(model, BATCHES, ORDER, engine=engine, progress=False)
    expected = ReferenceCache.compute(model, [IN_ORDER], engine=engine, progress=False)
    assert cache.key == expected.key
    torch.testing.assert_close(cache.sums, expected.sums)
    assert torch.equal(cache.lengths, expected.lengths)
    for wrong in ([[0, 1], [1]], [[0], [1, 2]], [[1, 2], [3]]):
        with pytest.raises(DataError, match="must number the 3 rows"):
            ReferenceCache.compute(model, BATCHES, wrong, progress=False)


@pytest.mark.parametrize("rows_per_shard", [1, 2, 100])
def test_shards_and_token_values(model, tmp_path, rows_per_shard):
    engine = LogProbs(model)
    cache = ReferenceCache.compute(
        model, BATCHES, ORDER, engine=engine, token_level=True, progress=False
    )
    cache.save(tmp_path, rows_per_shard=rows_per_shard)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) == max(1, -(-3 // rows_per_shard))
    again = ReferenceCache.load(tmp_path, cache.key)
    assert torch.equal(again.sums, cache.sums)
    assert again.token_level
    values = again.token_values([1, 2, 0])
    first, second = engine.token_values(model, BATCHES[0]), engine.token_values(model, BATCHES[1])
    expected = torch.zeros(3, 2, 3)
    expected[0, :, :2] = second[0]
    expected[1:] = first
    assert torch.equal(values, expected)
    torch.testing.assert_close(values.double().sum(-1).float(), again.rows([1, 2, 0]).sums)


def test_token_values_are_mapped_from_disk(model, tmp_path):
    cache = ReferenceCache.compute(model, BATCHES, token_level=True, progress=False)
    cache.save(tmp_path)
    again = ReferenceCache.load(tmp_path, cache.key)
    (part,) = again._values
    start, size = part.data_ptr(), part.numel() * part.element_size()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list its maps")
    lines = [line for line in maps.read_text().splitlines() if str(tmp_path) in line]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    assert any(low <= start and start + size <= high for low, high in spans)


def test_sums_alone_have_no_token_values(model):
    cache = ReferenceCache.compute(model, BATCHES, progress=False)
    assert not cache.token_level
    with pytest.raises(IncompatibleError, match="token_level=True"):
        cache.token_values([0])


def test_a_failed_write_leaves_the_old_cache(model, tmp_path, monkeypatch):
    import safetensors.torch

    cache = ReferenceCache.compute(model, BATCHES, progress=False)
    cache.save(tmp_path)

    def torn(tensors, path, metadata=None):
        path.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", torn)
    with pytest.raises(OSError, match="disk full"):
        cache.save(tmp_path)
    assert torch.equal(ReferenceCache.load(tmp_path, cache.key).sums, cache.sums)


def test_batches_must_fit(model):
    with pytest.raises(DataError, match="at least one batch"):
        ReferenceCache.compute(model, [], progress=False)
    three = TokenBatch(TOKENS[:7], torch.tensor([[1, 2, 2, 2]]))
    with pytest.raises(DataError, match=r"number of responses; got \[2, 3\]"):
        ReferenceCache.compute(model, [*BATCHES, three], progress=False)


def test_autocast_is_part_of_the_key(model):
    engine = LogProbs(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        key = reference_key(model, BATCHES, engine)
    assert key.dtype == "torch.float32 autocast torch.bfloat16"
    assert key != reference_key(model, BATCHES, engine)


@peft_warns
def test_an_adapter_is_switched_off_for_the_reference(model, tmp_path):
    plain = ReferenceCache.compute(model, BATCHES, progress=False)
    adapted = with_lora(make(), init_lora_weights=False)
    engine = LogProbs(adapted)
    cache = ReferenceCache.compute(adapted, BATCHES, engine=engine, progress=False)
    assert torch.equal(cache.sums, plain.sums)
    assert cache.key.weights == plain.key.weights
    assert cache.key.adapter == "disabled"
    assert not torch.equal(engine(adapted, BATCHES[0]).sums, cache.sums[:2])


@peft_warns
def test_an_adapter_can_be_part_of_the_reference(model):
    adapted = with_lora(model, init_lora_weights=False)
    engine = LogProbs(adapted)
    settings = {"engine": engine, "disable_adapter": False}
    cache = ReferenceCache.compute(adapted, BATCHES, progress=False, **settings)
    assert torch.equal(engine(adapted, BATCHES[0]).sums, cache.sums[:2])
    with torch.no_grad():
        next(p for n, p in adapted.named_parameters() if "lora_B" in n).add_(1.0)
    assert reference_key(adapted, BATCHES, **settings).weights != cache.key.weights
