"""The kernel of all pairs against blocks of torch: on a GPU, or interpreted on a CPU."""

import os
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed (it comes with torch for CUDA)")

from pluralign.objectives.dependence import DistanceCovariance  # noqa: E402
from pluralign.objectives.dependence_blocks import block_sums, distances  # noqa: E402
from pluralign.objectives.dependence_order import Order  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset:UserWarning")
CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if CUDA else "cpu"
kernels = pytest.mark.skipif(
    not CUDA and not INTERPRETED, reason="runs interpreted, in the process of test_interpreted"
)


@pytest.mark.skipif(CUDA or INTERPRETED, reason="the kernel runs in this process")
def test_interpreted():
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= 12, ran.stdout[-2000:]


def table(n, q, ties):
    draw = torch.Generator().manual_seed(n + q)
    y = torch.randn(n, generator=draw, dtype=torch.float64)
    columns = torch.randn(n, q, generator=draw, dtype=torch.float64)
    if ties:
        y, columns = (2 * y).round(), columns.round()
    return y.to(DEVICE), columns.to(DEVICE)


@kernels
@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_the_kernel_is_the_sum_over_blocks(n, q, ties):
    from pluralign.objectives.dependence_fused import fused_sums

    y, columns = table(n, q, ties)
    order = Order.of(y)
    sorted_columns = columns[order.rows]
    got = fused_sums(order, sorted_columns)
    wanted = block_sums(order, lambda a, b: distances(sorted_columns[a], sorted_columns[b]), 17)
    torch.testing.assert_close(got.rows, wanted.rows, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got.signed, wanted.signed, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
@pytest.mark.parametrize("measure", ["ccdcov", "jdcov", "sum_marginal"])
def test_a_gpu_gives_what_a_cpu_gives(measure):
    y, columns = table(3000, 3, ties=True)
    blocks = [columns[:, :1], columns[:, 1:]]
    penalty = DistanceCovariance(measure=measure, path="blocks")
    found = []
    for device in ("cuda", "cpu"):
        at = y.to(device).requires_grad_()
        psi = penalty(at, [block.to(device) for block in blocks])
        psi.backward()
        found.append((psi.item(), at.grad.cpu()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)
