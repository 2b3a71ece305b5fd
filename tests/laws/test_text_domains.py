"""Heads of domains on a text encoder of transformers: trained together, steered by its tokens."""

import pytest
import torch

from pluralign import DataError, IncompatibleError, ParameterError
from pluralign.engines.text_encoder import TextEncoder
from pluralign.nn import DomainHeads
from pluralign.objectives.drm import DomainRisk
from pluralign.steer.domain_sessions import Adaptation, DomainSession
from pluralign.steer.domain_weights import DomainWeights

transformers = pytest.importorskip("transformers")


def encoder(pooling="mean"):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    body = transformers.BertModel(
        transformers.BertConfig(vocab_size=12, intermediate_size=32, **size)
    )
    return TextEncoder(body.eval(), pooling)


def texts(n, seed, domain=None):
    """Domain 0 judges by token 3, domain 1 by token 4; texts are padded to unequal lengths."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 12, (n, 6), generator=draw)
    for token in (3, 4):
        with_token = torch.rand(n, generator=draw) < 0.5
        place = torch.randint(0, 3, (n,), generator=draw) + 3 * (token - 3)
        ids[with_token, place[with_token]] = token
    where = (
        torch.randint(0, 2, (n,), generator=draw) if domain is None else torch.full((n,), domain)
    )
    labels = torch.stack([(ids == 3).any(1), (ids == 4).any(1)], 1)[torch.arange(n), where]
    padded = torch.cat([ids, torch.zeros(n, 2, dtype=torch.int64)], 1)
    return {"input_ids": padded, "attention_mask": (padded > 0).long()}, labels.long(), where


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_has_no_influence(pooling, side):
    made = encoder(pooling)
    ids = torch.tensor([[5, 6, 7]])
    alone = made({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    pad = torch.zeros(1, 4, dtype=torch.int64)
    mask, padded = torch.ones_like(ids), [ids, pad] if side == "right" else [pad, ids]
    masks = [mask, pad] if side == "right" else [pad, mask]
    positions = torch.arange(7)[None] - (4 if side == "left" else 0)
    longer = made(
        {
            "input_ids": torch.cat(padded, 1),
            "attention_mask": torch.cat(masks, 1),
            "position_ids": positions.clamp_min(0),
        }
    )
    torch.testing.assert_close(longer, alone, rtol=1e-4, atol=1e-5)
    assert made.width == alone.shape[1] == 32


def test_heads_and_encoder_learn_each_domain_and_tokens_steer():
    made = encoder()
    heads = DomainHeads(made.width, n_classes=2, n_domains=2)
    optimiser = torch.optim.Adam([*made.parameters(), *heads.parameters()], lr=3e-3)
    tokens, labels, where = texts(512, seed=0)
    before = made.body.embeddings.word_embeddings.weight.detach().clone()
    for _ in range(40):
        loss = DomainRisk()(heads(made(tokens)), labels, where).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert not torch.equal(made.body.embeddings.word_embeddings.weight, before)
    for domain in (0, 1):
        fresh, truth, _ = texts(256, seed=1, domain=domain)
        with torch.no_grad():
            right = (heads(made(fresh)).argmax(-1) == truth[:, None]).float().mean(0)
        assert right[domain] > 0.9
        assert right[1 - domain] < 0.7
        session = DomainSession(heads, made, weights=DomainWeights(measure="uniform"))
        assert session(fresh).probabilities.shape == (256, 2)
        assert session.n_seen == 256


@pytest.mark.parametrize("update", ["heads", "full"])
def test_adaptation_changes_copies_only(update):
    made, heads = encoder(), DomainHeads(32, n_classes=2, n_domains=2)
    kept = {name: value.clone() for name, value in made.state_dict().items()}
    session = DomainSession(
        heads, made, adaptation=Adaptation(threshold=0.0, update=update, learning_rate=0.1)
    )
    session(texts(32, seed=2)[0])
    assert all(torch.equal(made.state_dict()[name], value) for name, value in kept.items())
    own = session.encoder.body.embeddings.word_embeddings.weight
    assert torch.equal(own, kept["body.embeddings.word_embeddings.weight"]) == (update == "heads")
    assert not torch.equal(session.heads.weight, heads.weight)


def test_what_is_refused():
    with pytest.raises(ParameterError, match="pooling must be one of 'mean', 'first', 'last'"):
        TextEncoder(torch.nn.Identity(), "max")
    tokens = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[0, 0]])}
    with pytest.raises(DataError, match="text 0 has no token"):
        encoder()(tokens)
    with pytest.raises(ParameterError, match="got tokens but has no encoder"):
        DomainSession(DomainHeads(4, 2, 2))({"input_ids": torch.zeros(20, 3)})

    class Headed(torch.nn.Module):
        def forward(self, input_ids):
            return input_ids

    with pytest.raises(IncompatibleError, match="Headed returns no last_hidden_state"):
        TextEncoder(Headed())({"input_ids": torch.zeros(1, 2)})
