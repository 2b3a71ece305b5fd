"""Data larger than memory are checked in little of it.

What is kept of a pair is some 260 bytes, so what counts is the number of pairs, not their
length: 5 GB are checked here in long pairs, and the memory of 5 GB in short ones is told
from the slope.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign import Preferences
from pluralign.audit.quality import check_data
from pluralign.audit.quality.ledger import LedgerBuilder

ROOT = Path(__file__).parents[2]
LIMIT = 1_500  # MB

SCRIPT = """
import resource, sys
import numpy as np
from pluralign.audit.quality import check_data
from pluralign.datasets import iter_preferences

n, size = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz     ", dtype=np.uint8)
base = bytes(rng.choice(letters, 4_000_000)).decode()
written = 0

def rows():
    global written
    for start in range(0, n, 1000):
        places = rng.integers(0, len(base) - size, (1000, 3, 4)).tolist()
        for i in range(min(1000, n - start)):
            prompt, chosen, rejected = (
                "".join(base[p : p + size // 12] for p in part) + "." for part in places[i]
            )
            written += len(prompt) + len(chosen) + len(rejected) + 60
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected, "group": f"g{i % 20}"}

audit = check_data(iter_preferences(rows(), chunk_rows=2_000))
assert audit.n_pairs == n
print(written / 1e9, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def checked(n, size):
    """Gigabytes read and the peak of resident memory in MB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n), str(size)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(float, done.stdout.split()))


@pytest.mark.slow
def test_five_gigabytes_are_checked_below_one_and_a_half():
    read, peak = checked(340_000, 15_000)
    print(f"{read:.2f} GB, peak {peak:.0f} MB")
    assert read >= 5.0
    assert peak < LIMIT


@pytest.mark.slow
def test_the_memory_of_a_pair_lets_five_gigabytes_of_short_pairs_pass():
    """Pairs of 1.5 kB, about the mean of HH-RLHF: 3.4 million of them are 5 GB."""
    few, many = 300_000, 900_000
    _, start = checked(few, 300)
    _, end = checked(many, 300)
    slope = (end - start) / (many - few) * 1e6
    expected = end + slope * (3_400_000 - many) / 1e6
    print(f"{slope:.0f} bytes a pair, {expected:.0f} MB for 3.4 million pairs")
    assert expected < LIMIT


def chunk(start, size, **columns):
    texts = [[f"{part} {start + i}" for i in range(size)] for part in ("ask", "yes", "no")]
    return Preferences(
        prompt=texts[0],
        chosen=texts[1],
        rejected=texts[2],
        pair_id=[str(start + i) for i in range(size)],
        **columns,
    )


def test_a_pair_leaves_less_than_260_bytes():
    builder = LedgerBuilder()
    for start in range(0, 6_000, 1_000):
        builder.add(chunk(start, 1_000, group=[f"g{i % 7}" for i in range(1_000)]))
    ledger = builder.close()
    held = [getattr(ledger, name) for name in ledger.__dataclass_fields__]
    arrays = [array for array in held if isinstance(array, np.ndarray)]
    assert sum(array.nbytes for array in arrays if any(array.strides)) <= 260 * 6_000
    assert ledger.names is None  # rows that are counted from the start have no names to keep
    assert (len(ledger), ledger.weight[-1], ledger.annotator[0]) == (6_000, 1.0, -1)


def test_a_column_that_comes_late_is_filled_before():
    builder = LedgerBuilder()
    builder.add(chunk(0, 3))
    builder.add(chunk(3, 2, weight=[0.5, 2.0], group=["n", "s"]))
    builder.add(chunk(5, 2))
    ledger = builder.close()
    assert ledger.weight.tolist() == [1, 1, 1, 0.5, 2, 1, 1]
    assert ledger.group.tolist() == [-1, -1, -1, 0, 1, -1, -1]
    assert ledger.first.tolist() == [-1] * 7


def test_chunks_of_any_size_give_the_findings_of_the_whole():
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"question {i % 40} " + "word " * 30,
            "chosen": f"answer {rng.integers(5)} " + "more " * 20 + (" " if i % 9 == 0 else ""),
            "rejected": f"answer {rng.integers(5)} " + "less " * 20,
            "group": "ns"[i % 2],
            "annotator": f"a{i % 11}",
            "weight": float(i % 3),
        }
        for i in range(240)
    ]
    whole = check_data(Preferences.from_records(rows)).to_json()["findings"]
    assert len(whole) >= 5
    for size in (1, 7, 100):
        parts = [
            Preferences.from_records(
                [row | {"id": i + j} for j, row in enumerate(rows[i : i + size])]
            )
            for i in range(0, 240, size)
        ]
        assert check_data(parts).to_json()["findings"] == whole
