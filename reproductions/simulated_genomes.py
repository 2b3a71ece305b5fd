"""Genomes of three populations by ``msprime``, a trait of 100 causal sites, and a polygenic score.

The populations are those of Gutenkunst et al., 2009: YRI, CEU and CHB; the score is a ridge on
standardised genotypes. Used by ``adaptive_sampling.py``.
"""

from typing import Any

import numpy as np

POPULATIONS = ("YRI", "CEU", "CHB")


def out_of_africa() -> Any:
    """Three populations with the parameters of Gutenkunst et al., 2009; 25 years a generation."""
    import msprime

    ooa, europe, asia = 140_000 / 25, 21_200 / 25, 21_200 / 25
    grow = {"CEU": 0.004, "CHB": 0.0055}
    first = {"CEU": 1000, "CHB": 510}
    model = msprime.Demography()
    model.add_population(name="YRI", initial_size=12_300)
    for name in ("CEU", "CHB"):
        now = first[name] * np.exp(grow[name] * europe)
        model.add_population(name=name, initial_size=now, growth_rate=grow[name])
    model.add_population(name="OOA", initial_size=2_100)
    model.add_population(name="AMH", initial_size=12_300)
    model.add_population(name="ANC", initial_size=7_300)
    model.set_symmetric_migration_rate(["CEU", "CHB"], 9.6e-5)
    model.set_symmetric_migration_rate(["YRI", "CHB"], 1.9e-5)
    model.set_symmetric_migration_rate(["YRI", "CEU"], 3e-5)
    model.add_population_split(time=asia, derived=["CEU", "CHB"], ancestral="OOA")
    model.add_symmetric_migration_rate_change(time=europe, populations=["YRI", "OOA"], rate=25e-5)
    model.add_population_split(time=ooa, derived=["YRI", "OOA"], ancestral="AMH")
    model.add_population_split(time=220_000 / 25, derived=["AMH"], ancestral="ANC")
    return model


class Genomes:
    """Simulated people, a trait of 100 causal sites, and a kernel score for any training set."""

    def __init__(self, seed: int, people: int = 1500, length: float = 3e6, test: int = 500) -> None:
        import msprime

        samples = [msprime.SampleSet(people, population=p) for p in POPULATIONS]
        trees = msprime.sim_ancestry(
            samples,
            demography=out_of_africa(),
            sequence_length=length,
            recombination_rate=1e-8,
            random_seed=seed + 1,
        )
        trees = msprime.sim_mutations(
            trees, rate=1.25e-8, model=msprime.BinaryMutationModel(), random_seed=seed + 1
        )
        haplotypes = trees.genotype_matrix()
        genotypes = (haplotypes[:, ::2] + haplotypes[:, 1::2]).T.astype(np.float32)
        share = genotypes.mean(0) / 2
        genotypes = genotypes[:, np.minimum(share, 1 - share) > 0.01]
        self.who = np.repeat(np.arange(3), people)
        rng = np.random.default_rng(seed)
        self.trait = self._trait(genotypes, rng)
        scaled = (genotypes - genotypes.mean(0)) / genotypes.std(0)
        self.kernel = (scaled @ scaled.T / scaled.shape[1]).astype(np.float64)
        orders = [rng.permutation(np.flatnonzero(self.who == p)) for p in range(3)]
        self.test, self.train = [o[:test] for o in orders], [o[test:] for o in orders]

    def _trait(self, genotypes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        causal = rng.choice(genotypes.shape[1], 100, replace=False)
        value = genotypes[:, causal].astype(np.float64) @ rng.standard_normal(100)
        within = np.mean([value[self.who == p].var() for p in range(3)])
        trait = value + rng.normal(0, np.sqrt(within), len(value))
        # Centred within a population, or the score only learns where people are from.
        return trait - np.array([trait[self.who == p].mean() for p in range(3)])[self.who]

    def accuracy(self, counts: tuple[int, ...]) -> list[float]:
        """Squared correlation of score and trait on held-out people of each population."""
        rows = np.concatenate([train[:n] for train, n in zip(self.train, counts, strict=True)])
        block = self.kernel[np.ix_(rows, rows)]
        dual = np.linalg.solve(block + np.diag(block).mean() * np.eye(len(rows)), self.trait[rows])
        return [
            float(np.corrcoef(self.kernel[np.ix_(test, rows)] @ dual, self.trait[test])[0, 1] ** 2)
            for test in self.test
        ]
