"""Draws: numbers by counter, tokens by inversion, against the laws that they must follow."""

import numpy as np
import pytest
import torch
from scipy import stats

from pluralign.engines.sampling.draw import draw, uniforms

MASK = 2**64 - 1


def in_integers(seed, step):
    """SplitMix64's output function with Python's integers."""

    def hashed(word):
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        return word ^ (word >> 31)

    return hashed((hashed(seed) + (step + 1) * 0x9E3779B97F4A7C15) & MASK) / 2**64


def numbers(seeds, steps):
    return uniforms(np.array(seeds, np.uint64), np.array(steps, np.uint64))


def drawn(logits, n, *, temperature=1.0, top_p=1.0, top_k=None, seed=1):
    """``n`` draws from one row of logits."""
    rows = logits.expand(n, -1)
    uniform = torch.from_numpy(numbers([seed] * n, range(n)))
    full = lambda value: torch.full((n,), value)  # noqa: E731
    return draw(rows, uniform, full(temperature), full(top_p), full(top_k or logits.shape[-1]))


def fits(tokens, p):
    """p-value of Pearson's chi-square test, rare tokens pooled; fails on an impossible token."""
    counts = np.bincount(tokens.numpy(), minlength=len(p)).astype(float)
    assert counts[p == 0].sum() == 0
    order = np.argsort(-p)
    counts, expected = counts[order], p[order] * counts.sum()
    large = int((expected >= 8).sum())
    observed = np.append(counts[:large], counts[large:].sum())
    expected = np.append(expected[:large], expected[large:].sum())
    kept = expected > 1e-9
    assert kept.sum() > 1
    return stats.chisquare(observed[kept], expected[kept] * counts.sum() / expected.sum()).pvalue


def law(logits, temperature, top_p, top_k):
    """The distribution that transformers' own warpers leave."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = logits[None].double()
    scores = TemperatureLogitsWarper(float(temperature))(None, scores)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(float(top_p))(None, scores)
    return scores.softmax(-1)[0].numpy()


def test_numbers_are_splitmix64():
    seeds, steps = [0, 1, 2**63 - 1, 12345678901234567], [0, 3, 10**6, 2]
    expected = [in_integers(*pair) for pair in zip(seeds, steps, strict=True)]
    assert numbers(seeds, steps) == pytest.approx(expected, abs=2.0**-52)


def test_numbers_are_uniform_over_steps_and_seeds_and_not_correlated():
    over_steps = numbers([99] * 20_000, range(20_000))
    over_seeds = numbers(range(20_000), [4] * 20_000)
    for sample in (over_steps, over_seeds):
        assert stats.kstest(sample, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / np.sqrt(len(sample))
    assert abs(np.corrcoef(over_steps, over_seeds)[0, 1]) < 4 / np.sqrt(20_000)
    assert min(over_steps.min(), over_seeds.min()) >= 0
    assert max(over_steps.max(), over_seeds.max()) < 1


@pytest.mark.parametrize("vocabulary", [5, 256, 257, 5000])
@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, None), (0.6, 1.0, None), (1.0, 0.9, None), (1.4, 0.8, 40), (1.0, 1.0, 3)],
)
def test_draws_follow_the_law(vocabulary, temperature, top_p, top_k):
    torch.manual_seed(vocabulary)
    logits = 2.5 * torch.randn(vocabulary)
    top_k = min(top_k, vocabulary) if top_k else None
    tokens = drawn(logits, 20_000, temperature=temperature, top_p=top_p, top_k=top_k)
    assert fits(tokens, law(logits, temperature, top_p, top_k)) > 1e-4


def test_a_nucleus_wider_than_what_is_sorted_first():
    torch.manual_seed(0)
    logits = 0.3 * torch.randn(1000)  # nine tenths of the mass need most of the tokens
    p = law(logits, 1.0, 0.9, None)
    assert (p > 0).sum() > 700
    tokens = drawn(logits, 10_000, top_p=0.9)
    assert fits(tokens, p) > 1e-4
    assert len(tokens.unique()) > 600


def test_a_wrong_law_is_noticed():
    torch.manual_seed(1)
    logits = 2 * torch.randn(50)
    tokens = drawn(logits, 20_000, temperature=1.05)
    assert fits(tokens, law(logits, 1.0, 1.0, None)) < 1e-4


def test_rows_have_their_own_parameters_and_share_nothing():
    torch.manual_seed(2)
    logits = 2 * torch.randn(6, 700)
    uniform = torch.rand(6, dtype=torch.float64)
    temperature = torch.tensor([0.0, 1.0, 0.7, 1.0, 2.0, 1.0])
    top_p = torch.tensor([1.0, 1.0, 0.9, 0.5, 1.0, 0.99])
    top_k = torch.tensor([700, 700, 700, 5, 1, 700])
    together = draw(logits, uniform, temperature, top_p, top_k)
    for row in range(6):
        one = slice(row, row + 1)
        alone = draw(logits[one], uniform[one], temperature[one], top_p[one], top_k[one])
        assert alone.item() == together[row]
    assert together[0] == logits[0].argmax()
    assert together[4] == logits[4].argmax()


def test_ends_of_the_unit_interval_and_impossible_tokens():
    logits = torch.full((1, 600), -torch.inf)
    logits[0, [7, 300, 511]] = torch.tensor([0.0, 1.0, 0.5])
    one = torch.ones(1)
    for top_p, lowest, highest in ((1.0, 7, 511), (0.999, 300, 7)):  # a nucleus is sorted
        for u, expected in ((0.0, lowest), (1 - 2.0**-53, highest)):
            uniform = torch.tensor([u], dtype=torch.float64)
            token = draw(logits, uniform, one, top_p * one, torch.tensor([600]))
            assert token.item() == expected


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_give_no_token(bad, temperature):
    logits = torch.zeros(2, 10)
    logits[1, 3] = bad
    one = torch.ones(2)
    token = draw(logits, 0.5 * one.double(), temperature * one, one, torch.tensor([10, 10]))
    assert token[0] >= 0
    assert token[1] == -1
