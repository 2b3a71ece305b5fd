"""Laws of ghost batch normalisation: what a ghost sees, what the buffers keep, what torch does."""

import copy
import pickle

import pytest
import torch
from torch import nn

from pluralign import DataError, DataQualityWarning, IncompatibleError, ParameterError
from pluralign.nn import (
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    GhostBatchNorm3d,
    convert_ghost_norm,
    recalibrate,
    revert_ghost_norm,
    stale_share,
)

SHAPES = {
    "vectors": ((12, 5), GhostBatchNorm1d, nn.BatchNorm1d),
    "sequences": ((12, 5, 3), GhostBatchNorm1d, nn.BatchNorm1d),
    "images": ((12, 5, 3, 2), GhostBatchNorm2d, nn.BatchNorm2d),
    "volumes": ((12, 5, 2, 3, 2), GhostBatchNorm3d, nn.BatchNorm3d),
}
everywhere = pytest.mark.parametrize(("shape", "ghost", "plain"), SHAPES.values(), ids=SHAPES)
groupings = pytest.mark.parametrize("grouping", ["interleaved", "contiguous"])
updates = pytest.mark.parametrize("update", ["sequential", "scaled", "mean"])


def data(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 + 1


def layer(kind, channels, size, dtype=torch.float64, **settings):
    made = kind(channels, size, dtype=dtype, **settings)
    if made.affine:
        with torch.no_grad():
            made.weight.copy_(torch.linspace(0.5, 2.0, channels))
            made.bias.copy_(torch.linspace(-1.0, 1.0, channels))
    return made


def ghosts(x, size, grouping):
    """Rows of each full ghost, by definition; then the remainder."""
    full = len(x) // size
    rows = torch.arange(full * size)
    if grouping == "interleaved":
        return [rows[k::full] for k in range(full)]
    return list(rows.split(size))


@everywhere
@groupings
@updates
@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_one_batch_norm_after_another(shape, ghost, plain, grouping, update, momentum):
    """Output, gradients and buffers equal a loop over ordinary layers."""
    x = data(shape).requires_grad_()
    made = layer(ghost, 5, 4, grouping=grouping, running_update=update, momentum=momentum)
    weights = data(shape, seed=1)
    y = made(x)
    (y * weights).sum().backward()

    other = x.detach().clone().requires_grad_()
    loop = plain(5, dtype=torch.float64, momentum=momentum)
    loop.load_state_dict({**made.state_dict(), **loop.state_dict()} | named(made))
    groups = ghosts(x, 4, grouping)
    if update == "scaled" and momentum is not None:
        loop.momentum = momentum / len(groups)
    expected = torch.zeros_like(x)
    for rows in groups:
        expected[rows] = loop(other[rows])
    (expected * weights).sum().backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(made.weight.grad, loop.weight.grad)
    torch.testing.assert_close(made.bias.grad, loop.bias.grad)
    if update == "mean" and momentum is not None:
        means = torch.stack([x.detach()[r].transpose(0, 1).flatten(1).mean(1) for r in groups])
        torch.testing.assert_close(made.running_mean, momentum * means.mean(0))
        assert made.num_batches_tracked == 1
    else:
        torch.testing.assert_close(made.running_mean, loop.running_mean)
        torch.testing.assert_close(made.running_var, loop.running_var)


def named(made):
    return {"weight": made.weight.detach().clone(), "bias": made.bias.detach().clone()}


@everywhere
@pytest.mark.filterwarnings("ignore:.*running statistics:pluralign.errors.DataQualityWarning")
@pytest.mark.parametrize("rows", [12, 7])
def test_one_ghost_is_batch_norm_bit_for_bit(shape, ghost, plain, rows):
    x = data(shape, dtype=torch.float32)[:rows]
    made, usual = ghost(5, 12), plain(5)
    for _ in range(2):
        assert torch.equal(made(x), usual(x))
    assert made.state_dict().keys() == usual.state_dict().keys()
    for name, value in usual.state_dict().items():
        assert torch.equal(made.state_dict()[name], value), name
    made.eval(), usual.eval()
    assert torch.equal(made(x[:1]), usual(x[:1]))


@groupings
@pytest.mark.parametrize("remainder", ["own", "merge"])
def test_another_ghost_changes_nothing(grouping, remainder):
    """The Jacobian is block-diagonal by ghosts, also with rows left over."""
    x = data((14, 3))
    made = layer(GhostBatchNorm1d, 3, 4, grouping=grouping, remainder=remainder)
    jacobian = torch.autograd.functional.jacobian(made, x).abs().sum((1, 3)) > 1e-12
    block = torch.zeros(14, 14, dtype=torch.bool)
    groups = (
        ghosts(x, 4, grouping)
        if remainder == "own"
        else [*ghosts(x[:8], 4, grouping), torch.arange(8, 12)]
    )
    left = torch.arange(12, 14)
    groups = (
        [*groups, left] if remainder == "own" else [*groups[:-1], torch.cat([groups[-1], left])]
    )
    for rows in groups:
        block[rows[:, None], rows] = True
    assert torch.equal(jacobian, block)


@groupings
def test_each_ghost_has_the_asked_mean_and_variance(grouping):
    x = data((12, 5, 3))
    made = layer(GhostBatchNorm1d, 5, 4, grouping=grouping)
    y = made(x)
    for rows in ghosts(x, 4, grouping):
        variance, mean = torch.var_mean(x[rows], (0, 2), correction=0)
        got_variance, got_mean = torch.var_mean(y[rows], (0, 2), correction=0)
        torch.testing.assert_close(got_mean, made.bias.detach())
        torch.testing.assert_close(
            got_variance, made.weight.detach() ** 2 * variance / (variance + made.eps)
        )
        del mean


def test_null_space_of_the_gradient_ghost_by_ghost():
    x = data((12, 4)).requires_grad_()
    made = layer(GhostBatchNorm1d, 4, 4, eps=0.5)
    given = data((12, 4), seed=3)
    made(x).backward(given)
    for rows in ghosts(x, 4, "interleaved"):
        inside = x.detach()[rows]
        variance, mean = torch.var_mean(inside, 0, correction=0)
        standard = (inside - mean) / (variance + 0.5).sqrt()
        torch.testing.assert_close(x.grad[rows].sum(0), torch.zeros(4, dtype=torch.float64))
        torch.testing.assert_close(
            (x.grad[rows] * standard).sum(0),
            made.weight.detach()
            / (variance + 0.5).sqrt()
            * (given[rows] * standard).sum(0)
            * 0.5
            / (variance + 0.5),
        )


def test_order_of_rows_and_of_ghosts():
    x = data((12, 3))
    inside = torch.tensor([3, 1, 0, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    whole = torch.tensor([4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11])
    for order in (inside, whole):
        made = layer(GhostBatchNorm1d, 3, 4, grouping="contiguous")
        torch.testing.assert_close(made(x[order]), made(x)[order])
    for update, same in (("mean", True), ("sequential", False)):
        one, two = (
            layer(GhostBatchNorm1d, 3, 4, grouping="contiguous", running_update=update)
            for _ in range(2)
        )
        one(x), two(x[whole])
        assert torch.allclose(one.running_mean, two.running_mean) == same


def test_momentum_one_keeps_the_last_ghost():
    x = data((12, 3))
    made = layer(GhostBatchNorm1d, 3, 4, grouping="contiguous", momentum=1.0)
    made(x)
    torch.testing.assert_close(made.running_mean, x[8:].mean(0))
    torch.testing.assert_close(made.running_var, x[8:].var(0))


def test_gradients_of_first_and_second_order():
    x = data((6, 2)).requires_grad_()
    made = layer(GhostBatchNorm1d, 2, 3, track_running_stats=False)
    assert torch.autograd.gradcheck(made, (x,))
    assert torch.autograd.gradgradcheck(made, (x,))


def test_evaluation_does_not_see_the_batch():
    made = layer(GhostBatchNorm1d, 3, 4, momentum=None)
    made(data((12, 3)))
    made.eval()
    x = data((9, 3), seed=5)
    torch.testing.assert_close(made(x)[:1], made(x[:1]))
    assert made.num_batches_tracked == 3


def test_without_running_statistics_evaluation_uses_ghosts():
    made = layer(GhostBatchNorm1d, 3, 4, track_running_stats=False)
    x = data((12, 3))
    y = made(x)
    made.eval()
    assert torch.equal(made(x), y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("whole", [True, False], ids=["module too", "input only"])
def test_half_precision_keeps_statistics_in_float32(dtype, whole):
    x = (data((4096, 2), dtype=torch.float32) + 100).to(dtype)
    made = GhostBatchNorm1d(2, 2048, momentum=1.0)
    exact = GhostBatchNorm1d(2, 2048, momentum=1.0)
    expected = exact(x.float())
    y = (made.to(dtype) if whole else made)(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(made.running_var.float(), exact.running_var, rtol=0.01, atol=0)


def test_channels_last_and_other_strides():
    x = data((8, 4, 3, 3))
    made = layer(GhostBatchNorm2d, 4, 2)
    expected = made(x)
    torch.testing.assert_close(made(x.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(made(x.transpose(2, 3)), expected.transpose(2, 3))


def test_a_nan_stays_in_its_ghost():
    x = data((12, 3))
    x[5] = float("nan")  # interleaved in three ghosts: rows 2, 5, 8, 11
    y = layer(GhostBatchNorm1d, 3, 4)(x)
    assert y.isnan().all(1).nonzero().flatten().tolist() == [2, 5, 8, 11]


def test_a_constant_channel_becomes_its_bias():
    x = data((8, 2))
    x[:, 1] = 7.0
    made = layer(GhostBatchNorm1d, 2, 4)
    torch.testing.assert_close(made(x)[:, 1], made.bias[1].detach().expand(8))


def test_ghost_variance_is_smaller_on_average():
    """E[var_k] = (1 - 1/q) of the population's; means of ghosts vary by 1/q."""
    x = torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = x.view(-1, 8)
    assert abs(groups.var(1, correction=0).mean() - (1 - 1 / 8)) < 0.02
    assert abs(groups.mean(1).var() - 1 / 8) < 0.01
    made = GhostBatchNorm1d(1, 8, momentum=None, dtype=torch.float64)
    made(x)
    assert abs(made.running_var.item() - groups.var(1).mean()) < 0.02


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.lin = nn.Linear(4, 4)
        self.again = self.first
        self.deep = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))

    def forward(self, x):
        return self.deep(self.again(self.lin(self.first(x))))


def test_conversion_shares_everything_and_comes_back():
    model = Twice()
    before = dict(model.named_parameters())
    names = list(model.state_dict())
    assert convert_ghost_norm(model, 4, skip=("deep.1",)) is model
    assert model.first is model.again
    assert isinstance(model.first, GhostBatchNorm1d)
    assert type(model.deep[1]) is nn.BatchNorm1d
    assert all(p is before[name] for name, p in model.named_parameters())
    assert list(model.state_dict()) == names
    model.first.num_batches_tracked += 3
    revert_ghost_norm(model)
    assert type(model.first) is nn.BatchNorm1d
    assert model.first is model.again
    assert model.first.num_batches_tracked == 3
    lone = convert_ghost_norm(nn.BatchNorm2d(3, eps=0.1, momentum=None).eval(), 8)
    assert isinstance(lone, GhostBatchNorm2d)
    assert (lone.eps, lone.momentum, lone.training) == (0.1, None, False)


def test_copies_and_compiles():
    made = layer(GhostBatchNorm1d, 3, 4)
    x = data((12, 3))
    assert torch.equal(copy.deepcopy(made)(x), pickle.loads(pickle.dumps(made))(x))
    graph = torch.compile(copy.deepcopy(made), backend="eager", fullgraph=True)
    torch.testing.assert_close(graph(x), made(x))


def test_recalibration_is_the_mean_over_batches_and_touches_nothing_else():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), GhostBatchNorm1d(4, 2), nn.ReLU())
    batches = [data((6, 3), seed=s, dtype=torch.float32) for s in range(3)]
    model[2].eval()
    with torch.no_grad():
        hidden = [model[0](x) for x in batches]
    recalibrate(model, [batches[0], (batches[1],), {"input": batches[2]}])
    torch.testing.assert_close(
        model[2].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0)
    )
    torch.testing.assert_close(
        model[2].running_var, torch.stack([h.var(0) for h in hidden]).mean(0)
    )
    assert [m.training for m in model] == [True, True, False, True]
    assert model[2].ghost_batch_size == 2
    kept = model[2].running_mean.clone()
    with pytest.raises(DataError, match="no batch"):
        recalibrate(model, [])
    with pytest.raises(RuntimeError):
        recalibrate(model, [batches[0], data((6, 9), dtype=torch.float32)])
    assert torch.equal(model[2].running_mean, kept)


def test_stale_statistics_are_remarked():
    model = nn.Sequential(GhostBatchNorm1d(3, 4))
    model(data((8, 3), dtype=torch.float32))
    assert stale_share(model) == {"0": pytest.approx(0.81)}
    with pytest.warns(DataQualityWarning, match="81% of the running statistics"):
        model.eval()
    model.train()
    for _ in range(25):
        model(data((8, 3), dtype=torch.float32))
    model.eval()


BAD = [
    ({"ghost_batch_size": 0}, "ghost_batch_size must be an integer >= 1; got 0"),
    ({"ghost_batch_size": 2.5}, "must be an integer >= 1; got 2.5"),
    ({"momentum": 0.0}, r"momentum must be None or a finite number in \(0.0, 1.0\]; got 0.0"),
    ({"momentum": 1.5}, "got 1.5"),
    ({"eps": 0.0}, "eps must be a finite number > 0.0"),
    ({"grouping": "rows"}, "grouping must be one of 'interleaved', 'contiguous'; got 'rows'"),
    ({"running_update": "all"}, "running_update must be one of"),
    ({"remainder": "drop"}, "remainder must be one of"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[str(s) for s, _ in BAD])
def test_bad_settings(settings, message):
    with pytest.raises(ParameterError, match=message):
        GhostBatchNorm1d(3, **settings)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(9, 3), "leaves 1 value"),
        (torch.zeros(1, 3), "leaves 1 value"),
        (torch.zeros(0, 3), "batch of 0 rows"),
        (torch.zeros(8, 4), "has 3 channels; got 4"),
        (torch.zeros(8), "takes 2D or 3D input"),
        (torch.zeros(8, 3, dtype=torch.int64), "floating-point"),
    ],
)
def test_bad_batches(x, message):
    with pytest.raises(ParameterError, match=message):
        GhostBatchNorm1d(3, 4)(x)


def test_bad_conversions():
    with pytest.raises(ParameterError, match="no multiple of ghost_batch_size 4"):
        GhostBatchNorm1d(3, 4, remainder="error")(torch.randn(10, 3))
    synced = nn.Sequential(nn.BatchNorm1d(3), nn.SyncBatchNorm(3))
    with pytest.raises(IncompatibleError, match="1 is a SyncBatchNorm"):
        convert_ghost_norm(synced, 4)
    assert isinstance(convert_ghost_norm(synced, 4, skip=("1",))[0], GhostBatchNorm1d)
    with pytest.raises(ParameterError, match="names no module"):
        convert_ghost_norm(synced, 4, skip=("9",))
    with pytest.warns(DataQualityWarning, match="0 layers converted"):
        convert_ghost_norm(nn.Sequential(nn.LayerNorm(3)), 4)
