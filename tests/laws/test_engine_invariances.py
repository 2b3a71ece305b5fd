"""Whatever the layout, head, chunk or padding, the model's own log-softmax comes out."""

import warnings

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs the [language] extra")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_flatten  # noqa: E402

from pluralign import DPO, IncompatibleError, PairScores, TokenBatch  # noqa: E402
from pluralign.engines import LogProbs, ReferenceCache, forms  # noqa: E402
from pluralign.engines.forms import select  # noqa: E402

VOCABULARY = 101
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # large weights, so that caps and scales matter
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PLAIN = {"attn_implementation": "sdpa"}
EAGER = {"attn_implementation": "eager"}
SHARED = ("shared", "packed", "two_rows")
PACKED = ("packed", "two_rows")  # sliding windows: a cache of keys and values forgets
# name: (configuration class, settings, forms that must hold)
ARCHITECTURES = {
    "llama": ("LlamaConfig", SMALL | PLAIN, SHARED),
    "llama_tied": ("LlamaConfig", SMALL | PLAIN | {"tie_word_embeddings": True}, SHARED),
    "qwen3": ("Qwen3Config", SMALL | PLAIN | {"head_dim": 8}, SHARED),
    "gemma2": (
        "Gemma2Config",
        SMALL | EAGER | {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 6},
        PACKED,
    ),
    "gemma3": (
        "Gemma3TextConfig",
        SMALL | EAGER | {"head_dim": 8, "sliding_window": 6},
        PACKED,
    ),
    "mistral": ("MistralConfig", SMALL | PLAIN | {"sliding_window": None}, SHARED),
    "mistral_sliding": ("MistralConfig", SMALL | PLAIN | {"sliding_window": 6}, PACKED),
    "gpt2": (
        "GPT2Config",
        PLAIN
        | {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
        | {"initializer_range": 0.3, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        SHARED,
    ),
    "granite": (
        "GraniteConfig",
        SMALL | PLAIN | {"logits_scaling": 3.0, "residual_multiplier": 0.5},
        SHARED,
    ),
    "cohere": ("CohereConfig", SMALL | PLAIN | {"logit_scale": 0.25}, SHARED),
    "olmo2": ("Olmo2Config", SMALL | PLAIN, SHARED),
    "phi": (
        "PhiConfig",
        SMALL | PLAIN | {"num_key_value_heads": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
        SHARED,
    ),
    "opt": (
        "OPTConfig",
        SMALL | PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0, "init_std": 0.3},
        SHARED,
    ),
    "bloom": (  # counts positions from its mask
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}
        | EAGER
        | {"initializer_range": 0.3, "hidden_dropout": 0.0, "attention_dropout": 0.0},
        ("shared", "two_rows"),
    ),
    "mixtral": (
        "MixtralConfig",
        SMALL | PLAIN | {"num_local_experts": 4, "num_experts_per_tok": 2},
        SHARED,
    ),
    "gpt_neo": (  # looks back four tokens in every other layer, and its configuration hides it
        "GPTNeoConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
        | {"attention_types": [[["global", "local"], 1]], "window_size": 4, **EAGER}
        | {"max_position_embeddings": 128, "initializer_range": 0.3}
        | {"resid_dropout": 0.0, "embed_dropout": 0.0, "attention_dropout": 0.0},
        ("two_rows",),
    ),
    "mamba": (
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
        | {"initializer_range": 0.3},
        ("two_rows",),
    ),
    "falcon_h1": (
        "FalconH1Config",
        SMALL
        | EAGER
        | {"head_dim": 8, "lm_head_multiplier": 0.3, "mamba_d_ssm": 32}
        | {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8},
        ("two_rows",),
    ),
}


def make(name="llama", **settings):
    torch.manual_seed(0)
    kind, base, _ = ARCHITECTURES[name]
    config = getattr(transformers, kind)(**(base | settings))
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():  # biases start at zero and would hide
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.train()


def with_lora(model, **settings):
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():  # PEFT reads a property that transformers renames
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, peft.LoraConfig(r=4, **settings))


def make_batch(lengths, seed=1):
    lengths = torch.tensor(lengths)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (int(lengths.sum()),), generator=generator)
    return TokenBatch(tokens, lengths)


UNEVEN = make_batch([[7, 5, 9], [3, 12, 1], [11, 4, 4], [1, 2, 6]])


def rows_of(batch):
    """(prompt ids, response ids) one by one, cut by hand."""
    tokens, out = batch.tokens.tolist(), []
    for lengths in batch.lengths.tolist():
        prompt, tokens = tokens[: lengths[0]], tokens[lengths[0] :]
        for length in lengths[1:]:
            out.append((prompt, tokens[:length]))
            tokens = tokens[length:]
    return out


def by_hand(model, batch):
    """Each response alone, unpadded, through the model's own forward and log_softmax."""
    sums = []
    for prompt, response in rows_of(batch):
        ids = torch.tensor([prompt + response])
        logits = model(input_ids=ids, use_cache=False).logits.float()
        log_probs = torch.log_softmax(logits[0, :-1], dim=-1)
        token = log_probs[torch.arange(ids.shape[1] - 1), ids[0, 1:]]
        sums.append(token[-min(len(response), ids.shape[1] - 1) :].sum())
    return torch.stack(sums).view(len(batch.lengths), -1)


def gradients(model):
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.clone() for name, grad in found.items()}


def assert_same_gradients(found, expected, rtol=1e-5):
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        gap = (found[name] - grad).norm()
        # A gradient that cancels to rounding noise has no relative accuracy.
        assert gap <= rtol * grad.norm() + 1e-6, f"{name}: {gap} against {grad.norm()}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_its_own_log_softmax(name):
    model = make(name)
    engine = LogProbs(model)
    forms = engine.describe()["forms"]
    assert tuple(forms) == ARCHITECTURES[name][2]
    assert engine.head == "linear"
    expected = by_hand(model, UNEVEN)
    for form in ("auto", *forms):
        sums = LogProbs(model, form=form)(model, UNEVEN).sums
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=0)


LISTED = ("llama", "qwen3", "gemma2", "gemma3", "mistral", "mistral_sliding", "gpt2", "phi")
LISTED += ("olmo2", "granite", "mixtral")
EDGES = {
    "a prompt of one token, responses of one": make_batch([[1, 1, 7], [1, 7, 1], [30, 1, 1]]),
    "prompts that are empty": make_batch([[0, 3, 2], [8, 1, 5], [0, 2, 2]]),
    "very unequal lengths": make_batch([[70, 1, 40], [1, 2, 1], [2, 60, 1]]),
    "one response": make_batch([[9, 4], [1, 1], [2, 8]]),
    "five responses": make_batch([[9, 4, 1, 7, 2, 3], [2, 8, 8, 1, 1, 1]]),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", LISTED)
def test_edges_in_every_form(name, edge):
    """Values and gradients of the model's own forward, one response at a time, unpadded."""
    model, batch = make(name), EDGES[edge]
    expected = by_hand(model, batch)
    expected.square().mean().backward()
    wanted = gradients(model)
    for form in ARCHITECTURES[name][2]:
        model.zero_grad()
        sums = LogProbs(model, form=form)(model, batch).sums
        # A mixture that routes a token on the edge of two experts is as exact as its router.
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=1e-6)
        sums.square().mean().backward()
        assert_same_gradients(gradients(model), wanted, rtol=1e-4)


@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", ["lm_head"]])
def test_adapters_in_every_form(form, checkpointing, targets):
    model = with_lora(make(), target_modules=targets, init_lora_weights=False)
    for edge in ("five responses", "prompts that are empty"):
        batch = EDGES[edge]
        model.zero_grad()
        expected = by_hand(model, batch)
        expected.square().mean().backward()
        wanted = gradients(model)
        model.zero_grad()
        core = model.get_base_model()
        if checkpointing:
            getattr(core, "activation_checkpointing_enable", core.gradient_checkpointing_enable)()
            core.enable_input_require_grads()
        sums = LogProbs(model, form=form, chunk_tokens=5)(model, batch).sums
        torch.testing.assert_close(sums, expected, atol=1e-4, rtol=1e-6)
        sums.square().mean().backward()
        assert_same_gradients(gradients(model), wanted, rtol=1e-4)
        if checkpointing:
            name = "activation_checkpointing_disable"
            getattr(core, name, core.gradient_checkpointing_disable)()
            core.disable_input_require_grads()


def test_a_form_whose_numbers_differ_is_left_and_the_numbers_are_kept(caplog):
    model = make("gpt_neo")
    with caplog.at_level("INFO", logger="pluralign"):
        facts = LogProbs(model).describe()
    assert facts["forms"] == ["two_rows"]
    for form in ("shared", "packed"):
        gap = facts["form_difference"][form]
        assert gap > 1e-3
        told = f"log-probabilities differ by {gap:.2g} (relative)"
        assert facts["form_refused"][form] == told
        assert f"cannot use form={form!r}: {told}" in caplog.text
        with pytest.raises(IncompatibleError, match="differ by"):
            LogProbs(model, form=form)


@pytest.mark.parametrize("name", ["gpt_neo", "mpt"])
def test_a_difference_that_weights_before_training_hide_is_found(name):
    """Logits of small weights hardly depend on the context, but training makes them."""
    kind, base, _ = ARCHITECTURES["gpt_neo"]
    if name == "mpt":  # distances by column, not by position
        kind, base = "MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}
    config = getattr(transformers, kind)(**(base | {"vocab_size": VOCABULARY}))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.002)
    facts = LogProbs(model).describe()
    assert facts["forms"] == ["two_rows"]
    assert max(facts["form_difference"].values()) < 1e-4
    assert "hidden states differ" in facts["form_refused"]["packed"]


def test_rows_beyond_a_window_that_no_mask_tells_are_not_shared():
    """Wider than the rows of the start's check, so that it finds nothing."""
    model = make("gpt_neo", window_size=40)
    engine = LogProbs(model)
    assert engine.form == "shared"
    for lengths, form in [
        ([[20, 4, 4], [3, 9, 9]], "shared"),
        ([[30, 6, 6]], "two_rows"),  # each row fits, but not all three parts
        ([[70, 10, 20], [5, 30, 3]], "two_rows"),
    ]:
        batch = make_batch(lengths)
        for asked in ("auto", "shared", "packed"):
            engine = LogProbs(model, form=asked)
            if form == "two_rows":
                assert engine.form_of(model, batch) == form
            sums = engine(model, batch).sums
            torch.testing.assert_close(sums, by_hand(model, batch), atol=1e-4, rtol=0)


def test_experts_are_not_balanced_and_a_model_that_asks_for_it_is_told():
    """The loss that balances them counts tokens, of which a shared prompt has fewer."""
    model = make("mixtral", output_router_logits=True)
    with pytest.warns(RuntimeWarning, match="MixtralForCausalLM.*router_aux_loss_coef.*not part"):
        engine = LogProbs(model)
    torch.testing.assert_close(
        engine(model, UNEVEN).sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["llama", "gemma2", "cohere", "phi", "gpt2"])
@pytest.mark.parametrize("head", ["linear", "own", "full"])
def test_gradients_equal_autograd_through_full_logits(name, head):
    model = make(name)
    weights = torch.tensor([[1.0, -0.5], [0.3, 2.0], [-1.0, 1.0], [0.7, 0.1]])
    (by_hand(model, UNEVEN) * weights).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    engine = LogProbs(model, head=head, chunk_tokens=5)
    (engine(model, UNEVEN).sums * weights).sum().backward()
    assert_same_gradients(gradients(model), expected)


@pytest.mark.parametrize("form", ["auto", "two_rows", "shared", "packed"])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_do_not_matter(form, chunk):
    model = make()
    sums = LogProbs(model, form=form, chunk_tokens=chunk)(model, UNEVEN).sums
    torch.testing.assert_close(sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_padding_side_does_not_matter(name):
    model = make(name)
    right, left = (LogProbs(model, form="two_rows", padding_side=s) for s in ("right", "left"))
    torch.testing.assert_close(
        right(model, UNEVEN).sums, left(model, UNEVEN).sums, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("form", ["auto", "two_rows", "shared", "packed"])
def test_batch_size_does_not_matter(form):
    model = make()
    engine = LogProbs(model, form=form)
    alone = []
    start = 0
    for lengths in UNEVEN.lengths:
        stop = start + int(lengths.sum())
        alone.append(engine(model, TokenBatch(UNEVEN.tokens[start:stop], lengths[None])).sums)
        start = stop
    torch.testing.assert_close(engine(model, UNEVEN).sums, torch.cat(alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("responses", [1, 3, 4])
@pytest.mark.parametrize("form", ["auto", "two_rows", "shared", "packed"])
def test_any_number_of_responses(form, responses):
    model = make()
    batch = make_batch([[5, *range(1, responses + 1)], [2, *range(3, responses + 3)]])
    scores = LogProbs(model, form=form)(model, batch)
    assert scores.lengths.tolist() == batch.lengths[:, 1:].tolist()
    torch.testing.assert_close(scores.sums, by_hand(model, batch), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name", ["llama", "gemma2", "gemma3", "mistral_sliding", "gpt2", "mixtral"]
)
def test_forms_give_the_same_gradients(name):
    model, found = make(name), []
    for form in ("two_rows", "auto", *ARCHITECTURES[name][2][:-1]):
        model.zero_grad()
        LogProbs(model, form=form)(model, UNEVEN).sums.square().mean().backward()
        found.append(gradients(model))
    for other in found[1:]:
        assert_same_gradients(other, found[0])


@pytest.mark.parametrize("row_tokens", [0, 30, 60, 1000])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_packing_does_not_matter(name, row_tokens):
    """Neither how full rows are, nor in which order pairs come."""
    model = make(name)
    engine = LogProbs(model, form="packed", row_tokens=row_tokens)
    expected = by_hand(model, UNEVEN)
    torch.testing.assert_close(engine(model, UNEVEN).sums, expected, atol=1e-4, rtol=0)
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        sums = engine(model, select(UNEVEN, order)).sums
        torch.testing.assert_close(sums, expected[order], atol=1e-4, rtol=0)


def test_a_batch_split_by_length_is_the_whole(monkeypatch):
    model = make()
    monkeypatch.setattr(forms, "_GROUP_TOKENS", 30)
    engine = LogProbs(model)
    assert len(forms.similar(UNEVEN.lengths)) > 1
    found, whole = engine(model, UNEVEN), LogProbs(model, form="two_rows")(model, UNEVEN)
    assert torch.equal(found.lengths, whole.lengths)
    torch.testing.assert_close(found.sums, whole.sums, atol=1e-4, rtol=0)
    values = engine.token_values(model, UNEVEN)
    expected = LogProbs(model, form="two_rows").token_values(model, UNEVEN)
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
def test_pairs_are_a_special_case_of_many_responses(form):
    """Scores of a pair do not change when the prompt has two more responses."""
    model = make()
    four = make_batch([[7, 5, 9, 3, 6], [3, 12, 1, 4, 4]])
    engine = LogProbs(model, form=form)
    parts = four.tokens.split(four.lengths.flatten().tolist())
    pairs = TokenBatch(torch.cat([*parts[:3], *parts[5:8]]), four.lengths[:, :3])
    torch.testing.assert_close(
        engine(model, pairs).sums, engine(model, four).sums[:, :2], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
def test_threads_do_not_matter(form):
    model, found = make(), []
    engine = LogProbs(model, form=form)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(engine(model, UNEVEN).sums)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile.*")
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
def test_flex_attention_reads_the_same_rule(monkeypatch):
    """The branch of a GPU, forward only: FlexAttention has no backward on a CPU."""
    flex = pytest.importorskip("transformers.integrations.flex_attention")
    monkeypatch.setattr(flex.WrappedFlexAttention, "__call__", lambda self: flex.flex_attention)
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    model = make("llama", head_dim=16)
    with torch.no_grad():
        expected = by_hand(model, UNEVEN)
        model.set_attn_implementation("flex_attention")
        engine = LogProbs(model, form="packed")
        assert engine.describe()["row_tokens"] == 8192
        sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, expected, atol=1e-4, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_flex_attention_on_a_gpu(checkpointing):
    model = make("llama", hidden_size=64, head_dim=16).cuda()
    by_hand_gpu = LogProbs(model, form="two_rows")
    by_hand_gpu(model, UNEVEN).sums.sum().backward()
    expected, wanted = by_hand_gpu(model, UNEVEN).sums, gradients(model)
    model.zero_grad()
    engine = LogProbs(model, form="packed")
    assert engine.describe()["attention"] == "flex_attention"
    if checkpointing:
        model.gradient_checkpointing_enable()
    sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, expected, atol=1e-3, rtol=0)
    sums.sum().backward()
    assert_same_gradients(gradients(model), wanted, rtol=1e-3)


STEPS = [
    make_batch([[7, 5, 9], [3, 12, 1], [11, 4, 4], [1, 2, 6]], seed=2),
    make_batch([[2, 3, 3], [9, 1, 7], [20, 6, 2], [5, 5, 5]], seed=3),
    make_batch([[4, 8, 2], [6, 6, 6], [1, 10, 3], [13, 2, 9]], seed=4),
]


def losses(
    batches=STEPS,
    *,
    micro=4,
    order=(0, 1, 2, 3),
    threads=1,
    checkpointing=False,
    cast=False,
    name="llama",
    **options,
):
    """The losses of eight steps of DPO, in one of many ways that must not matter."""
    model = make(name, initializer_range=0.1)
    engine = LogProbs(model, **options)
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    objective = DPO(beta=0.5)
    batches = [select(batch, order) for batch in batches]
    with torch.no_grad():
        reference = [engine(model, batch).sums for batch in batches]
    found = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in range(8):
            batch, known = batches[step % 3], reference[step % 3]
            total = 0.0
            for rows in torch.arange(4).split(micro):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
                    sums = engine(model, select(batch, rows.tolist())).sums
                scores = PairScores(*sums.unbind(1), *known[rows].unbind(1))
                loss = objective(scores).loss.sum() / 4
                loss.backward()
                total += loss.item()
            optimizer.step()
            optimizer.zero_grad()
            found.append(total)
    finally:
        torch.set_num_threads(before)
    return torch.tensor(found)


WAYS = {
    "shared": {"form": "shared"},
    "packed": {"form": "packed"},
    "packed in fuller rows": {"form": "packed", "row_tokens": 60},
    "packed in another order": {"form": "packed", "row_tokens": 60, "order": (2, 0, 3, 1)},
    "shared in another order": {"form": "shared", "order": (3, 1, 0, 2)},
    "padded on the left": {"form": "two_rows", "padding_side": "left"},
    "chosen by length": {},
    "one pair at a time": {"micro": 1},
    "two pairs at a time, packed": {"micro": 2, "form": "packed"},
    "chunks of one token": {"chunk_tokens": 1},
    "chunks of seven tokens": {"chunk_tokens": 7, "form": "packed"},
    "two threads": {"threads": 2, "form": "packed"},
    "the model's own head": {"head": "own"},
    "all logits": {"head": "full"},
    "checkpointing": {"checkpointing": True},
    "checkpointing in two rows": {"checkpointing": True, "form": "two_rows"},
}


@pytest.fixture(scope="module")
def plain_losses():
    found = losses(form="two_rows")
    assert found[0] == pytest.approx(0.6931, abs=1e-4)
    assert (found[3:6] < found[:3] - 0.05).all(), found  # it learns: the sequence says something
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_sequence_of_losses_does_not_depend_on_the_way(plain_losses, way):
    torch.testing.assert_close(losses(**WAYS[way]), plain_losses, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
def test_the_sequence_of_losses_in_bfloat16_stays_within_bounds(plain_losses, form):
    """Products in bfloat16, weights in float32: 0.1 nats, where the loss falls by more."""
    found = losses(form=form, cast=True)
    assert not torch.equal(found, plain_losses)
    torch.testing.assert_close(found, plain_losses, atol=0.1, rtol=0)


@pytest.mark.parametrize("form", ["two_rows", "shared", "packed"])
def test_four_responses_have_the_gradients_of_two_pairs(form):
    model = make()
    engine = LogProbs(model, form=form)
    four = make_batch([[7, 5, 9, 3, 6], [3, 12, 1, 4, 4]])
    parts = four.tokens.split(four.lengths.flatten().tolist())
    engine(model, four).sums.square().sum().backward()
    expected = gradients(model)
    model.zero_grad()
    for first in (1, 3):
        columns = [0, first, first + 1]
        pieces = [parts[5 * row + column] for row in range(2) for column in columns]
        pair = TokenBatch(torch.cat(pieces), four.lengths[:, columns])
        engine(model, pair).sums.square().sum().backward()
    assert_same_gradients(gradients(model), expected)


def test_two_halves_accumulate_to_the_whole():
    model = make()
    engine = LogProbs(model)
    whole = make_batch([[7, 5, 9], [3, 12, 1]])
    halves = [
        TokenBatch(whole.tokens[:21], whole.lengths[:1]),
        TokenBatch(whole.tokens[21:], whole.lengths[1:]),
    ]
    engine(model, whole).sums.sum().backward()
    expected = gradients(model)
    model.zero_grad()
    for half in halves:
        engine(model, half).sums.sum().backward()
    assert_same_gradients(gradients(model), expected)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mixtral"])
def test_activation_checkpointing_changes_nothing(name):
    model = make(name)
    engine = LogProbs(model)
    engine(model, UNEVEN).sums.sum().backward()
    expected = gradients(model)
    model.zero_grad()
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()
    assert engine.form_of(model, UNEVEN) == "packed"  # the prompt is still computed once
    sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0)
    sums.sum().backward()
    assert_same_gradients(gradients(model), expected)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "lm_head"]])
def test_lora_scores_and_gradients(targets):
    model = with_lora(make(), target_modules=targets, init_lora_weights=False)
    engine = LogProbs(model, chunk_tokens=5)
    assert engine.head == ("own" if "lm_head" in targets else "linear")
    by_hand(model, UNEVEN).square().mean().backward()
    expected = gradients(model)
    assert all("lora_" in name for name in expected)
    model.zero_grad()
    sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0)
    sums.square().mean().backward()
    assert_same_gradients(gradients(model), expected)


@pytest.mark.parametrize("kind", ["full", "lora", "lora_on_the_head"])
def test_implicit_reward_is_exactly_zero_at_step_zero(kind):
    model = make()
    if kind != "full":
        targets = ["q_proj", "lm_head"] if kind == "lora_on_the_head" else ["q_proj", "down_proj"]
        model = with_lora(model, target_modules=targets)
    engine = LogProbs(model)
    batches = [UNEVEN, make_batch([[4, 6, 2]])]
    cache = ReferenceCache.compute(model, batches, engine=engine, progress=False)
    policy = torch.cat([engine(model, batch).sums for batch in batches])
    assert torch.equal(policy - cache.sums, torch.zeros(5, 2))


@pytest.mark.parametrize("form", ["auto", "two_rows", "shared", "packed"])
@pytest.mark.parametrize("head", ["linear", "own"])
def test_bfloat16_stays_within_bounds(form, head):
    model = make(initializer_range=0.05)
    exact = LogProbs(model)(model, UNEVEN)
    rounded = model.bfloat16()
    sums = LogProbs(rounded, form=form, head=head)(rounded, UNEVEN).sums
    assert sums.dtype == torch.float32
    assert ((sums - exact.sums).abs() / exact.lengths).max() < 0.02  # nats a token


def test_autocast_is_honoured():
    model = make(initializer_range=0.05)
    engine = LogProbs(model)
    exact = engine(model, UNEVEN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = engine(model, UNEVEN).sums
    assert sums.dtype == torch.float32
    assert not torch.equal(sums, exact.sums)
    assert ((sums - exact.sums).abs() / exact.lengths).max() < 0.02
    sums.sum().backward()
    assert all(torch.isfinite(grad).all() for grad in gradients(model).values())


class Largest(TorchDispatchMode):
    """The most elements of any tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(out)[0]:
            if isinstance(leaf, torch.Tensor):
                self.numel = max(self.numel, leaf.numel())
        return out


def largest(model, batch, **options):
    engine = LogProbs(model, **options)
    with Largest() as seen:
        engine(model, batch).sums.sum().backward()
    return seen.numel


@pytest.mark.parametrize("head", ["linear", "own"])
def test_no_tensor_of_all_logits(head):
    vocabulary = 4001
    model = make(vocab_size=vocabulary)
    lengths = [[20, 40, 40]] * 4
    batch = make_batch(lengths)
    scored = 4 * 2 * 40
    allowed = vocabulary * 32 + 1  # the weight and its gradient are the largest left
    assert largest(model, batch, head=head, chunk_tokens=16) <= allowed < scored * vocabulary
    assert largest(model, batch, head="full") >= 4 * 2 * 59 * vocabulary


def test_an_unknown_head_goes_through_the_model_itself():
    model = make()
    plain = type(model).forward

    def warped(self, *args, **kwargs):
        out = plain(self, *args, **kwargs)
        out.logits = out.logits + 0.3 * torch.sin(out.logits)
        return out

    model.forward = warped.__get__(model)
    engine = LogProbs(model)
    assert (engine.head, engine.form) == ("own", "shared")
    sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0)


def test_a_cap_that_only_large_logits_show_is_found():
    model = make(initializer_range=0.02)
    plain = type(model).forward

    def capped(self, *args, **kwargs):
        out = plain(self, *args, **kwargs)
        out.logits = 30.0 * torch.tanh(out.logits / 30.0)
        return out

    model.forward = capped.__get__(model)
    assert LogProbs(model).head == "own"


def test_full_logits_are_the_last_resort_and_said_so():
    model = make()
    plain = type(model).forward

    def shifted(self, input_ids=None, **kwargs):  # logits that depend on more than the states
        out = plain(self, input_ids=input_ids, **kwargs)
        out.logits = out.logits.roll(1, -1) * (1 + input_ids[..., None] % 2)
        return out

    model.forward = shifted.__get__(model)
    with pytest.warns(RuntimeWarning, match="full logits are computed"):
        engine = LogProbs(model)
    assert (engine.head, engine.form) == ("full", "two_rows")
    sums = engine(model, UNEVEN).sums
    torch.testing.assert_close(sums, by_hand(model, UNEVEN), atol=1e-4, rtol=0)


def test_inside_a_distributed_wrapper(tmp_path):
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    model = make()
    engine = LogProbs(model)
    engine(model, UNEVEN).sums.sum().backward()
    expected = gradients(model)
    model.zero_grad()
    store = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model)
        calls = []
        wrapped.register_comm_hook(None, count_buckets(calls))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            engine(wrapped, UNEVEN).sums.sum().backward()
    finally:
        distributed.destroy_process_group()
    assert calls, "gradients were not handed to the other processes"
    assert_same_gradients(gradients(model), expected)


def count_buckets(calls):
    def hook(state, bucket):
        calls.append(bucket.index())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    # The annotations are objects, as the reducer asks for, not strings.
    hook.__annotations__ = {
        "bucket": torch.distributed.GradBucket,
        "return": torch.futures.Future[torch.Tensor],
    }
    return hook
