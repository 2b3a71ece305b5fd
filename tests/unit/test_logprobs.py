import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the [language] extra")

from pluralign import DataError, IncompatibleError, ParameterError, TokenBatch  # noqa: E402
from pluralign.engines import LogProbs  # noqa: E402
from pluralign.engines.layout import lay_out, whole_rows  # noqa: E402
from pluralign.engines.packing import block_mask, dense_mask, pack, visible  # noqa: E402


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config)


def batch_of(*rows):
    """Rows of (prompt, response, response, ...) as lists of ids."""
    flat = [token for row in rows for part in row for token in part]
    return TokenBatch(torch.tensor(flat), torch.tensor([[len(p) for p in row] for row in rows]))


PAIRS = batch_of(([5, 6], [7], [8, 9]), ([], [10, 11, 12], [13, 14]))


def test_two_rows_on_the_right():
    rows = lay_out(PAIRS, "two_rows")
    (inputs,) = rows.passes
    assert inputs.ids.tolist() == [[5, 6, 7], [5, 6, 8], [10, 11, 12], [13, 14, 0]]
    assert inputs.mask is None
    assert inputs.positions.tolist() == [[0, 1, 2]] * 4
    assert rows.source.tolist() == [1, 4, 5, 6, 7, 9]
    assert rows.targets.tolist() == [7, 8, 9, 11, 12, 14]
    assert rows.lengths.tolist() == [[1, 2], [2, 1]]
    assert rows.cell.tolist() == [0, 2, 3, 4, 5, 6]


def test_two_rows_on_the_left():
    rows = lay_out(PAIRS, "two_rows", padding_side="left")
    (inputs,) = rows.passes
    assert inputs.ids.tolist() == [[0, 5, 6], [5, 6, 8], [0, 10, 11], [0, 0, 13]]
    assert inputs.mask.tolist()[3] == [False, False, True]
    assert inputs.positions.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 1], [0, 0, 0]]
    assert rows.targets.tolist() == [7, 8, 9, 11, 12, 14]
    assert rows.source.tolist() == [2, 4, 5, 7, 8, 11]


def test_shared_rows():
    rows = lay_out(batch_of(([5, 6], [7], [8, 9]), ([4], [10, 11, 12], [13])), "shared")
    prompts, responses = rows.passes
    assert prompts.ids.tolist() == [[5, 6], [4, 0]]
    assert prompts.mask is None
    assert responses.ids.tolist() == [[7, 0], [8, 9], [10, 11], [13, 0]]
    assert responses.positions.tolist() == [[2, 2], [2, 2], [1, 2], [1, 1]]
    assert responses.mask.tolist() == [[True] * 4] * 2 + [[True, False, True, True]] * 2
    assert rows.targets.tolist() == [7, 8, 9, 10, 11, 12, 13]
    assert rows.source.tolist() == [1, 1, 4 + 2, 2, 4 + 4, 4 + 5, 2]


THREE = batch_of(([5, 6], [7], [8, 9]), ([4], [10, 11, 12], [13]), ([], [14, 15, 16], [17, 18]))


def test_packed_rows():
    rows = pack(THREE)
    (inputs,) = rows.passes
    # The longest pair (1 + 2 + 0 tokens, 2 + 0 + 1, 2 + 1) is as long as a row.
    assert inputs.ids.tolist() == [[5, 6, 8], [4, 10, 11], [14, 15, 17]]
    assert inputs.positions.tolist() == [[0, 1, 2], [0, 1, 2], [0, 1, 0]]
    assert inputs.segments.part.tolist() == [[0, 0, 2], [0, 1, 1], [1, 1, 2]]
    assert rows.targets.tolist() == [7, 8, 9, 10, 11, 12, 13, 15, 16, 18]
    assert rows.source.tolist() == [1, 1, 2, 3, 4, 5, 3, 6, 7, 8]
    assert rows.lengths.tolist() == [[1, 2], [3, 1], [2, 1]]
    assert rows.cell.tolist() == [0, 3, 4, 6, 7, 8, 9, 12, 13, 15]


def test_packed_rows_are_filled_first_fit():
    rows = pack(THREE, row_tokens=7, block=4)
    ids = rows.passes[0].ids
    assert ids.tolist() == [[5, 6, 8, 4, 10, 11, 0, 0], [14, 15, 17, 0, 0, 0, 0, 0]]
    assert rows.passes[0].segments.owner.tolist()[0] == [0, 0, 0, 1, 1, 1, -1, -1]
    assert rows.source.tolist()[-3:] == [8, 9, 10]


def test_who_sees_whom_in_a_packed_row():
    (inputs,) = pack(THREE, row_tokens=8).passes
    mask = dense_mask(visible(inputs.segments, inputs.positions), 2, 6, torch.device("cpu"))
    assert mask.shape == (2, 1, 6, 6)
    # 5 6 | 9's predecessor 8 sees the prompt; the next pair sees nothing of it.
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]
    assert mask[1, 0, 2].tolist() == [False, False, True, False, False, False]  # 17, not 14 15
    near = dense_mask(visible(inputs.segments, inputs.positions, 2), 2, 6, torch.device("cpu"))
    assert near[0, 0, 2].tolist() == [False, True, True, False, False, False]


def test_the_block_mask_is_the_dense_mask():
    """One rule, two readers: FlexAttention's block mask holds what the dense one does."""
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    lengths = torch.tensor([[60, 90, 40], [200, 30, 80], [10, 5, 7], [120, 1, 300]])
    batch = TokenBatch(torch.arange(int(lengths.sum())) % 50, lengths)
    (inputs,) = pack(batch, row_tokens=640, block=128).passes
    rows, width = inputs.ids.shape
    assert width % 128 == 0
    sees = visible(inputs.segments, inputs.positions, 100)
    dense = dense_mask(sees, rows, width, torch.device("cpu"))
    blocks = block_mask(sees, rows, width, torch.device("cpu"))
    rule = flex.create_mask(blocks.mask_mod, rows, 1, width, width, device="cpu")
    assert torch.equal(rule, dense)
    tiles = dense.view(rows, 1, width // 128, 128, width // 128, 128).any(-1).any(3)
    assert torch.equal(blocks.to_dense().bool(), tiles)
    assert not tiles.all()  # some blocks are skipped


def test_lengths_choose_the_form(model):
    engine = LogProbs(model)

    def size(*rows):
        return TokenBatch(torch.arange(sum(map(sum, rows))) % 47 + 3, torch.tensor(rows))

    long_prompt = size([200, 20, 20])
    assert engine.form_of(model, long_prompt) == "shared"
    assert engine.form_of(model, size([20, 9, 300], [300, 8, 4])) == "packed"  # padding tells
    assert engine.form_of(model, size([1, 200, 200], [1, 200, 200])) == "two_rows"
    model.train()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable()
    assert engine.form_of(model, long_prompt) == "packed"
    with torch.no_grad():
        assert engine.form_of(model, long_prompt) == "shared"
    assert LogProbs(model, form="shared").form_of(model, long_prompt) == "packed"


def test_an_empty_prompt_has_nothing_to_share():
    assert lay_out(PAIRS, "shared").form == "two_rows"


def test_whole_rows_keep_the_last_token():
    inputs, last = whole_rows(PAIRS, pad_id=49)
    assert inputs.ids.tolist() == [[5, 6, 7, 49], [5, 6, 8, 9], [10, 11, 12, 49], [13, 14, 49, 49]]
    assert last.tolist() == [2, 3, 2, 1]
    inputs, last = whole_rows(PAIRS, pad_id=49, padding_side="left")
    assert inputs.ids.tolist()[3] == [49, 49, 13, 14]
    assert last.tolist() == [3] * 4


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (batch_of(([1], [2], [3]), ([4], [], [5])), r"rows \[1\] .* responses \[1, 0, 1\]"),
        (batch_of(([1], [2], [3]), ([], [4], [5, 6])), r"rows \[1\] .* responses \[0, 1, 2\]"),
        (TokenBatch(torch.tensor([1, 2]), torch.tensor([[1, 1, 1]])), "add up to 3"),
        (TokenBatch(torch.tensor([1, 2]), torch.tensor([[1], [1]])), r"\(B, 1 \+ K\)"),
    ],
)
@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
def test_rows_without_anything_to_score_are_named(model, batch, message, form):
    with pytest.raises(DataError, match=message):
        pack(batch) if form == "packed" else lay_out(batch, form)
    with pytest.raises(DataError, match=message):
        LogProbs(model)(model, batch)


def test_the_first_token_of_a_row_is_never_scored(model):
    engine = LogProbs(model)
    scores = engine(model, batch_of(([], [10, 11, 12])))
    logits = model(input_ids=torch.tensor([[10, 11, 12]])).logits[0].log_softmax(-1)
    assert scores.lengths.tolist() == [[2]]
    expected = logits[0, 11] + logits[1, 12]
    torch.testing.assert_close(scores.sums[0, 0], expected, atol=1e-5, rtol=0)


def test_token_values_add_up(model):
    engine = LogProbs(model)
    batch = batch_of(([5, 6], [7], [8, 9, 4]))
    values, scores = engine.token_values(model, batch), engine(model, batch)
    assert values.shape == (1, 2, 3)
    assert values[0, 0, 1:].tolist() == [0.0, 0.0]
    assert (values[0, 1] < 0).all()
    torch.testing.assert_close(values.sum(-1), scores.sums)


def test_evaluation_mode_while_gradients_are_off():
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).train()
    model.transformer.h[0].mlp.eval()
    modes = [module.training for module in model.modules()]
    engine = LogProbs(model)
    batch = batch_of(([5, 6, 4, 4], [7, 3, 2], [8, 9, 1]))
    with torch.no_grad():
        first, second = engine(model, batch).sums, engine(model, batch).sums
    assert torch.equal(first, second)
    assert [module.training for module in model.modules()] == modes
    noisy = engine(model, batch).sums
    assert not torch.equal(noisy, engine(model, batch).sums)  # dropout of 0.1 is active
    # With dropout, two responses must not see the same noise of one shared prompt.
    assert engine.form == "shared"
    twins = engine(model, batch_of(([5, 6, 4, 4], [7, 3, 2], [7, 3, 2]))).sums
    assert twins[0, 0] != twins[0, 1]


def test_no_gradient_is_kept_while_off(model):
    with torch.no_grad():
        assert not LogProbs(model)(model, PAIRS).sums.requires_grad
    assert LogProbs(model)(model, PAIRS).sums.requires_grad


def test_describe_is_json(model):
    facts = json.loads(json.dumps(LogProbs(model).describe()))
    assert facts["form"] == "shared"
    assert facts["head"] == "linear"
    assert facts["dtype"] == "torch.float32"
    assert facts["forms"] == ["shared", "packed", "two_rows"]
    assert all(gap < 1e-4 for gap in facts["form_difference"].values())
    assert "multiply-adds" in facts["form_rule"]


def test_scale_and_cap_of_the_configuration_are_used():
    config = transformers.Gemma2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=7.0,
        attn_implementation="eager",
    )
    facts = LogProbs(transformers.Gemma2ForCausalLM(config)).describe()
    assert (facts["logit_scale"], facts["logit_softcap"]) == (1.0, 7.0)


def test_options_obey_their_rules(model):
    with pytest.raises(ParameterError, match=r"form must be one of .*got 'rows'") as caught:
        LogProbs(model, form="rows", chunk_tokens=0)
    assert "chunk_tokens must be None or an integer >= 1; got 0" in str(caught.value)


def test_a_form_or_head_asked_for_by_name_must_hold(model):
    peft = pytest.importorskip("peft")
    with pytest.raises(IncompatibleError, match="only two_rows is padded on the left"):
        LogProbs(model, form="shared", padding_side="left")
    with pytest.raises(IncompatibleError, match="full logits need every row whole"):
        LogProbs(model, form="shared", head="full")
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["lm_head"]), model)
    with pytest.raises(IncompatibleError, match="head='linear'"):
        LogProbs(model, head="linear")


def test_what_is_no_causal_transformers_model_is_refused():
    with pytest.raises(IncompatibleError, match="Linear is not a transformers model"):
        LogProbs(torch.nn.Linear(2, 2))


def test_an_encoder_decoder_is_refused_by_name():
    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1)
    with pytest.raises(IncompatibleError, match="T5ForConditionalGeneration is an encoder-decoder"):
        LogProbs(transformers.T5ForConditionalGeneration(config))


def test_frequencies_that_depend_on_length_are_shared_below_it(model):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    changed = {"rope_parameters": rope, "max_position_embeddings": 16}
    config = type(model.config)(**(model.config.to_dict() | changed))
    stretched = transformers.LlamaForCausalLM(config)
    engine = LogProbs(stretched)
    forms = [engine.form_of(stretched, batch_of(([5] * 9, [6] * n, [7] * n))) for n in (6, 7, 20)]
    assert forms == ["shared", "two_rows", "two_rows"]
    # No row reaches the limit of 16 tokens, nor may the padding of a prompt of 9 before 12 tokens.
    batch = batch_of(([5] * 9, [6] * 5, [7]), ([8] * 2, [9] * 12, [4]))
    found = LogProbs(stretched, form="shared")(stretched, batch).sums
    expected = LogProbs(stretched, form="two_rows")(stretched, batch).sums
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_dropout_is_read_from_the_modules():
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).train()
    batch = batch_of(([5] * 20, [7, 3, 2], [8, 9, 1]))
    noisy = LogProbs(model)
    assert noisy.describe()["active_dropout"]
    assert noisy.form_of(model, batch) == "two_rows"
    for module in model.modules():  # what the trainers do; the configuration keeps its rates
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert config.resid_pdrop == 0.1
    silent = LogProbs(model)
    assert not silent.describe()["active_dropout"]
    assert silent.form_of(model, batch) == "shared"


def test_dropout_that_no_module_shows_is_found_by_running(model):
    layer = model.model.layers[0].mlp
    plain = layer.forward
    layer.forward = lambda x: torch.nn.functional.dropout(plain(x), 0.5, layer.training)
    state = torch.get_rng_state()
    engine = LogProbs(model.train())
    assert torch.equal(torch.get_rng_state(), state)
    assert engine.describe()["active_dropout"]
    assert engine.form_of(model, batch_of(([5] * 20, [7, 3], [8, 9]))) == "two_rows"
    assert engine.form_of(model.eval(), batch_of(([5] * 20, [7, 3], [8, 9]))) == "shared"
    assert LogProbs(model, form="two_rows").form == "two_rows"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_prompt_learning_is_refused_by_name(model):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(IncompatibleError, match="PromptTuningConfig"):
        LogProbs(peft.get_peft_model(model, config))
