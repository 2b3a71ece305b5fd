import pytest

torch = pytest.importorskip("torch")

from pluralign.engines import LogitShape, token_logprobs  # noqa: E402


def inputs(n=7, width=5, vocabulary=11, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    targets = torch.randint(vocabulary, (n,), generator=generator)
    return draw(n, width), draw(vocabulary, width), draw(vocabulary), targets


def plain(hidden, weight, targets, bias=None, shape=LogitShape()):  # noqa: B008
    z = torch.nn.functional.linear(hidden, weight, bias) * shape.scale
    if shape.softcap is not None:
        z = shape.softcap * torch.tanh(z / shape.softcap)
    return torch.log_softmax(z, dim=-1)[torch.arange(len(targets)), targets]


SHAPES = [LogitShape(), LogitShape(0.25), LogitShape(1.0, 3.0), LogitShape(-2.0, 1.5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_value_and_gradients(shape, with_bias, chunk):
    hidden, weight, bias, targets = inputs()
    leaves = [t.requires_grad_() for t in (hidden, weight, *([bias] if with_bias else []))]
    bias = bias if with_bias else None
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    found = token_logprobs(hidden, weight, targets, bias=bias, shape=shape, chunk_tokens=chunk)
    expected = plain(hidden, weight, targets, bias, shape)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    ours = torch.autograd.grad(found, leaves, upstream)
    theirs = torch.autograd.grad(expected, leaves, upstream)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradcheck(shape):
    hidden, weight, bias, targets = inputs(n=4, width=3, vocabulary=5)
    leaves = [t.requires_grad_() for t in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda h, w, b: token_logprobs(h, w, targets, bias=b, shape=shape, chunk_tokens=3), leaves
    )


def test_only_what_is_asked_gets_a_gradient():
    hidden, weight, _, targets = inputs()
    token_logprobs(hidden.requires_grad_(), weight, targets).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_frozen_weight_leaves_one_gradient_and_no_recomputation(shape, chunk):
    hidden, weight, bias, targets = inputs()
    leaf = hidden.requires_grad_()
    upstream = torch.linspace(-1, 2, 7, dtype=torch.float64)
    found = token_logprobs(leaf, weight, targets, bias=bias, shape=shape, chunk_tokens=chunk)
    assert type(found.grad_fn).__name__ == "_HiddenOnlyBackward"
    expected = plain(leaf, weight, targets, bias, shape)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    ours, theirs = (torch.autograd.grad(out, leaf, upstream) for out in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(
        lambda h: token_logprobs(h, weight, targets, bias=bias, shape=shape), [leaf]
    )
    with torch.no_grad():  # then not even the forward pass makes it
        quiet = token_logprobs(leaf, weight, targets, bias=bias, shape=shape)
    assert quiet.grad_fn is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pluralign.engines.head._d_logits", None)
        with torch.no_grad():
            token_logprobs(leaf, weight, targets, bias=bias, shape=shape)


@pytest.mark.parametrize("chunk", [3, 100])
def test_a_graph_that_is_kept_gives_the_same_gradient_again(chunk):
    hidden, weight, bias, targets = inputs()
    leaves = [t.requires_grad_() for t in (hidden, weight, bias)]
    out = token_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=chunk)
    first = torch.autograd.grad(out.sum(), leaves, retain_graph=True)
    again = torch.autograd.grad(out.sum(), leaves)
    torch.testing.assert_close(first, again, atol=1e-12, rtol=0)


def test_the_last_chunk_is_computed_once_and_only_the_newest_is_kept(monkeypatch):
    from pluralign.engines import head

    sizes = []
    logits = head._logits

    def counted(buffer, hidden, *rest):
        sizes.append(len(hidden))
        return logits(buffer, hidden, *rest)

    monkeypatch.setattr(head, "_logits", counted)
    hidden, weight, _, targets = inputs()
    weight.requires_grad_()
    older = token_logprobs(hidden, weight, targets, chunk_tokens=3)
    newer = token_logprobs(hidden, weight, targets, chunk_tokens=3)
    assert sizes == [3, 3, 1] * 2
    sizes.clear()
    newer.sum().backward()
    assert sizes == [3, 3]
    sizes.clear()
    older.sum().backward()
    assert sizes == [1, 3, 3]


def test_a_tied_weight_sums_both_gradients():
    _, weight, _, targets = inputs()
    ids = torch.tensor([3, 3, 1, 0, 10, 4, 4])
    tied = weight.clone().requires_grad_()
    token_logprobs(tied[ids], tied, targets, chunk_tokens=2).sum().backward()
    other = weight.clone().requires_grad_()
    plain(other[ids], other, targets).sum().backward()
    torch.testing.assert_close(tied.grad, other.grad, atol=1e-12, rtol=0)


def test_low_precision_is_summed_in_float32(monkeypatch):
    monkeypatch.setattr("pluralign.engines.head._UPCAST_ROWS", 4)
    hidden, weight, bias, targets = inputs(dtype=torch.bfloat16)
    leaves = [t.requires_grad_() for t in (hidden, weight, bias)]
    found = token_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=3)
    assert found.dtype == torch.float32
    exact = [t.detach().float().requires_grad_() for t in leaves]
    expected = plain(exact[0], exact[1], targets, exact[2])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    ours = torch.autograd.grad(found.sum(), leaves)
    theirs = torch.autograd.grad(expected.sum(), exact)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == torch.bfloat16
        torch.testing.assert_close(our.float(), their, atol=1e-2, rtol=1e-2)


def test_huge_logits_stay_finite():
    hidden, weight, _, targets = inputs(dtype=torch.float32)
    hidden = (1e4 * hidden).requires_grad_()
    found = token_logprobs(hidden, weight, targets)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(hidden.grad).all()


def test_nothing_to_score():
    hidden, weight, _, targets = inputs()
    empty = token_logprobs(hidden[:0].requires_grad_(), weight, targets[:0])
    assert empty.shape == (0,)
    empty.sum().backward()
