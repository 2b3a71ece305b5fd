"""Ghost batch norm against plain batch norm and against a loop over chunks.

Forward and backward of one layer, interleaved round by round, CPU seconds of one thread,
medians; the first round is discarded. Bars: at most 1.05 x plain batch norm, and at least
3 x faster than a loop over chunks, for a batch of 4096 in ghosts of 32.
"""

import argparse
import json
import statistics
import time

import harness  # noqa: F401  (sets thread counts before torch is imported)
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from pluralign.nn import GhostBatchNorm1d, GhostBatchNorm2d
from pluralign.provenance import machine, versions

SHAPES = [((4096, 64), 32), ((4096, 512), 32), ((4096, 16, 8, 8), 32), ((512, 64, 16, 16), 32)]


def chunk_loop(x: torch.Tensor, layer: nn.Module, size: int) -> torch.Tensor:
    """What users write: a plain layer for each chunk, then one tensor again."""
    return torch.cat([layer(part) for part in x.split(size)])


def step(run, x: torch.Tensor, gradient: torch.Tensor) -> float:
    """CPU seconds of a forward and backward pass."""
    x = x.detach().requires_grad_()
    start = time.process_time()
    run(x).backward(gradient)
    return time.process_time() - start


def measure(shape: tuple[int, ...], size: int, rounds: int) -> dict[str, float]:
    """Median seconds of each variant."""
    torch.manual_seed(0)
    x, gradient = torch.randn(shape), torch.randn(shape)
    plain_kind, ghost_kind = (
        (nn.BatchNorm1d, GhostBatchNorm1d)
        if len(shape) == 2
        else (nn.BatchNorm2d, GhostBatchNorm2d)
    )
    plain, looped = plain_kind(shape[1]), plain_kind(shape[1])
    variants = {
        "plain": plain,
        "ghost": ghost_kind(shape[1], size),
        "ghost, contiguous": ghost_kind(shape[1], size, grouping="contiguous"),
        "loop over chunks": lambda x: chunk_loop(x, looped, size),
    }
    # Short layers are repeated within a round, so that the clock's grain does not matter.
    repeats = max(1, int(4e6 // x.numel()))
    seconds = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            spent = sum(step(run, x, gradient) for _ in range(repeats))
            if number:
                seconds[name].append(spent / repeats)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for shape, size in SHAPES:
        found = measure(shape, size, options.rounds)
        rows.append(
            {
                "shape": list(shape),
                "ghost_batch_size": size,
                "milliseconds": {name: 1000 * value for name, value in found.items()},
                "times_plain": found["ghost"] / found["plain"],
                "faster_than_loop": found["loop over chunks"] / found["ghost"],
            }
        )
    record = {"rows": rows, "machine": machine(), "versions": versions(), "rounds": options.rounds}
    if options.json:
        print(json.dumps(record, indent=1))
        return
    table = Table("batch", "ghost", *rows[0]["milliseconds"], "x plain", "loop / ghost")
    for row in rows:
        cells = [f"{value:.2f} ms" for value in row["milliseconds"].values()]
        ratios = (f"{row['times_plain']:.2f}", f"{row['faster_than_loop']:.2f}")
        table.add_row(str(row["shape"]), str(row["ghost_batch_size"]), *cells, *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
