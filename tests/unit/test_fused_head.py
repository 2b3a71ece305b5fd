"""The kernels of the head against plain log-softmax: on a GPU, or interpreted on a CPU.

Triton decides when it is imported whether it interprets, so the tests below run in a
process of their own where there is no GPU.
"""

import os
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed (it comes with torch for CUDA)")

from pluralign import TokenBatch  # noqa: E402
from pluralign.engines import LogitShape, LogProbs, head, token_logprobs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset:UserWarning")

CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if CUDA else "cpu"
kernels = pytest.mark.skipif(
    not CUDA and not INTERPRETED, reason="runs interpreted, in the process of test_interpreted"
)
NEEDS_GPU = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")


@pytest.mark.skipif(CUDA or INTERPRETED, reason="the kernels run in this process")
def test_interpreted():
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) > 20, ran.stdout[-2000:]


@pytest.fixture(autouse=True, scope="module")
def exact_products_of_bfloat16():
    """The interpreter keeps bfloat16 as uint16, and multiplies matrices of those integers."""
    if not INTERPRETED:
        yield
        return
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def widened(x):
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    plain = InterpreterBuilder.create_dot
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            InterpreterBuilder,
            "create_dot",
            lambda self, a, b, *more: plain(self, widened(a), widened(b), *more),
        )
        yield


def inputs(n, width, vocabulary, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=generator).to(DEVICE, dtype)  # noqa: E731
    targets = torch.randint(vocabulary, (n,), generator=generator)
    targets[-1] = vocabulary - 1  # the last column of the last tile
    return draw(n, width) / width**0.5 * 3, draw(vocabulary, width), draw(vocabulary), targets


def plain(hidden, weight, targets, bias, shape):
    """In float64, where nothing rounds."""
    z = torch.nn.functional.linear(hidden, weight, bias) * shape.scale
    if shape.softcap is not None:
        z = shape.softcap * torch.tanh(z / shape.softcap)
    return torch.log_softmax(z, dim=-1)[torch.arange(len(targets)), targets]


def fused(hidden, weight, targets, bias=None, shape=LogitShape(), chunk=1000):  # noqa: B008
    from pluralign.engines.fused_head import fused_logprobs

    return fused_logprobs(hidden, weight, bias, targets.to(DEVICE), shape, chunk)


def compare(size, dtype, shape, with_bias, chunk, atol, rtol):
    hidden, weight, bias, targets = inputs(*size, dtype=dtype)
    bias = bias if with_bias else None
    leaves = [t.requires_grad_() for t in (hidden, weight, bias) if t is not None]
    upstream = torch.linspace(-1, 2, size[0], dtype=torch.float64)
    found = fused(hidden, weight, targets, bias, shape, chunk)
    assert found.dtype == torch.float32
    exact = [t.detach().cpu().double().requires_grad_() for t in leaves]
    expected = plain(*exact[:2], targets, exact[2] if with_bias else None, shape)
    torch.testing.assert_close(found.cpu().double(), expected, atol=atol, rtol=0)
    ours = torch.autograd.grad(found, leaves, upstream.to(DEVICE, torch.float32))
    theirs = torch.autograd.grad(expected, exact, upstream)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == dtype
        gap = (our.cpu().double() - their).norm() / their.norm()
        assert gap < rtol, f"{gap:.2g} of shape {tuple(their.shape)}"


SHAPES = [LogitShape(), LogitShape(0.25), LogitShape(1.0, 3.0), LogitShape(-2.0, 1.5)]
# Tokens, width and vocabulary: within a tile, at its edge, just over it in every direction.
SIZES = [(1, 5, 11), (7, 32, 128), (129, 33, 257)]


@kernels
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradients(size, shape):
    compare(size, torch.float32, shape, with_bias=True, chunk=1000, atol=2e-5, rtol=1e-5)


@kernels
@pytest.mark.parametrize("chunk", [1, 40, 129])
def test_blocks_of_the_vocabulary_do_not_matter(chunk):
    from pluralign.engines.fused_head import _blocks

    n, _, vocabulary = size = (129, 33, 300)
    blocks = _blocks(n, vocabulary, chunk)
    assert len(blocks) == {1: 3, 40: 3, 129: 2}[chunk]
    assert [i for block in blocks for i in range(300)[block]] == list(range(300))
    compare(size, torch.float32, SHAPES[3], with_bias=False, chunk=chunk, atol=2e-5, rtol=1e-5)


@kernels
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(dtype, shape):
    """The value is exact; a gradient carries the roundings of the dtype, no more."""
    rounding = torch.finfo(dtype).eps
    compare((20, 96, 200), dtype, shape, with_bias=True, chunk=1000, atol=5e-5, rtol=rounding)


def near(x):
    return x.bfloat16().float()


def cut(x):
    """The interpreter drops the bits that bfloat16 lacks; a GPU rounds."""
    return (x.view(torch.int32) & ~0xFFFF).view(torch.float32)


@kernels
def test_autocast_sets_the_dtype_of_products():
    hidden, weight, _, targets = inputs(20, 96, 200)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        found = fused(hidden, weight, targets)
    rounded = map(cut if INTERPRETED else near, (hidden, weight))
    torch.testing.assert_close(found, fused(*rounded, targets), atol=1e-5, rtol=0)
    assert not torch.equal(found, fused(hidden, weight, targets))


@kernels
def test_a_frozen_weight_gets_no_gradient_and_a_tied_one_both():
    hidden, weight, _, targets = inputs(7, 32, 128)
    fused(hidden.requires_grad_(), weight, targets).sum().backward()
    assert weight.grad is None
    own = token_logprobs(hidden.detach().cpu().requires_grad_(), weight.cpu(), targets)
    assert own.requires_grad
    ids = torch.tensor([3, 3, 1, 0, 100, 4, 4], device=DEVICE)
    tied, other = weight.clone().requires_grad_(), weight.cpu().double().requires_grad_()
    fused(tied[ids], tied, targets).sum().backward()
    plain(other[ids.cpu()], other, targets, None, LogitShape()).sum().backward()
    torch.testing.assert_close(tied.grad.cpu().double(), other.grad, atol=1e-4, rtol=1e-5)


@kernels
def test_huge_logits_and_nothing_to_score():
    hidden, weight, _, targets = inputs(7, 32, 128)
    found = fused((1e4 * hidden).requires_grad_(), weight, targets)
    found.sum().backward()
    assert torch.isfinite(found).all()
    empty = fused(hidden[:0].requires_grad_(), weight, targets[:0])
    assert empty.shape == (0,)
    empty.sum().backward()


def model_and_batch():
    transformers = pytest.importorskip("transformers", reason="needs the [language] extra")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(
        vocab_size=300, num_attention_heads=4, initializer_range=0.2, **sizes
    )
    lengths = torch.tensor([[7, 5, 9], [3, 12, 1]])
    tokens = torch.arange(int(lengths.sum())) * 37 % 300
    return transformers.LlamaForCausalLM(config).to(DEVICE), TokenBatch(tokens, lengths)


def step(engine, model, batch):
    model.zero_grad()
    sums = engine(model, batch).sums
    (sums * torch.tensor([1.0, -0.5], device=DEVICE)).sum().backward()
    return sums, [p.grad.clone() for p in model.parameters()]


@kernels
def test_an_engine_whose_head_is_the_kernels(monkeypatch):
    model, batch = model_and_batch()
    engine = LogProbs(model, form="two_rows")
    assert engine.head == "linear"
    found = []
    for kernel in ("torch", "triton"):
        monkeypatch.setattr(head, "kernel_of", lambda hidden, kernel=kernel: kernel)
        found.append(step(engine, model, batch))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
def test_they_compile_to_tensor_cores_without_a_gpu(tmp_path, monkeypatch):
    """For compute capability 9.0: what an interpreter lets pass, a compiler may refuse."""
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from pluralign.engines import fused_head

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kinds = {"targets": "*i64", "n": "i32", "vocabulary": "i32", "size": "i32"}
    kinds |= {"scale": "fp32", "cap": "fp32", "has_bias": True, "caps": True, "dtype": tl.bfloat16}
    kinds |= {"tokens": 128, "columns": 128, "steps": 32}
    kinds |= dict.fromkeys(("target_logit", "part", "lse", "grad"), "*fp32")
    for kernel in (fused_head._scores, fused_head._slopes):
        names = [(i, name, kinds.get(name, "*bf16")) for i, name in enumerate(kernel.arg_names)]
        constant = {(i,): kind for i, _, kind in names if not isinstance(kind, str)}
        source = ASTSource(
            fn=kernel,
            signature={n: k if isinstance(k, str) else "constexpr" for _, n, k in names},
            constexprs=constant,
            attrs={(i,): [["tt.divisibility", 16]] for i, _, k in names if str(k)[0] == "*"}
            | {(i,): [["tt.divisibility", 16]] for i, n, _ in names if n == "size"},
        )
        made = compile(source, GPUTarget("cuda", 90, 32), {"num_warps": 8, "num_stages": 4})
        assert "wgmma" in made.asm["ptx"]
        assert "st.local" not in made.asm["ptx"]  # the tile stays in registers
        assert made.metadata.shared <= 99 * 2**10


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_runs_the_kernels(dtype, monkeypatch):
    assert head.kernel_of(torch.zeros(1, device="cuda", dtype=dtype)) == "triton"
    model, batch = model_and_batch()
    model = model.to(dtype)
    engine = LogProbs(model)
    assert engine.describe()["head_kernel"] == "triton"
    found, gradients = step(engine, model, batch)
    again, same = step(engine, model, batch)
    assert torch.equal(found, again)  # the same bits: nothing is added atomically
    assert all(map(torch.equal, gradients, same))
    monkeypatch.setattr(head, "kernel_of", lambda hidden: "torch")
    close = {torch.float32: 1e-3, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(found, step(engine, model, batch)[0], atol=close, rtol=close)


def test_a_cpu_never_loads_them():
    code = """
import sys, torch
from pluralign.engines import token_logprobs
token_logprobs(torch.zeros(2, 4), torch.zeros(9, 4), torch.tensor([1, 2]))
assert "pluralign.engines.fused_head" not in sys.modules
assert "triton" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
