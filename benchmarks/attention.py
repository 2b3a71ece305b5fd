"""What a multiply-add in attention costs, next to one in a matrix product.

The layout of a batch is chosen by one sum (``engines/forms.py``) in which this ratio is
the only measured number. Forward and backward, heads of 64, 1024 keys seen under a mask.

    python benchmarks/attention.py [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics

from harness import now, quiet, since, table

LENGTH, HEADS, SIZE, WIDTH = 1024, 4, 64, 704


def seconds(call: object, device: str, rounds: int = 7) -> float:
    """Median of a call, forward and backward; the first round warms up."""
    taken = []
    for _ in range(rounds + 1):
        begun = now(device)
        call().sum().backward()  # type: ignore[operator]
        taken.append(since(begun, device)[device == "cuda"])
    return statistics.median(taken[1:])


def main() -> None:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    quiet()
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    draw = lambda *size: torch.randn(*size, device=device, dtype=dtype, requires_grad=True)  # noqa: E731
    query, key, value = (draw(1, HEADS, LENGTH, SIZE) for _ in range(3))
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=device).tril()[None, None]
    attend = lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)  # noqa: E731
    left, right = draw(LENGTH, HEADS * SIZE), draw(HEADS * SIZE, WIDTH)
    attention = seconds(attend, device) / (2 * LENGTH**2 * HEADS * SIZE)
    product = seconds(lambda: left @ right, device) / (LENGTH * HEADS * SIZE * WIDTH)
    rows = [
        {"variant": name, "ns": f"{1e9 * s:.4f}", "ratio": f"{s / product:.2f}"}
        for name, s in (("matrix product", product), ("attention", attention))
    ]
    table(f"A multiply-add, forward and backward, on {device}", rows)


if __name__ == "__main__":
    main()
