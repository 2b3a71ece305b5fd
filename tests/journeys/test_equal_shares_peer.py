"""Equal shares on real elections: the winners that pabutools finds."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest

from pluralign.decide import PackageProblem, equal_shares

DATA = Path(__file__).parents[3] / "shared" / "data" / "pabulib"
ELECTIONS = (
    "Poland_Warszawa_2023_Wesola",
    "Poland_Warszawa_2023_Rembertow",
    "US_Stanford_Dataset_PB_Cambridge_2017_vote_approvals",
    "US_Stanford_Dataset_PB_Vallejo_2017_vote_approvals",
)


def sections(path):
    """Rows of each section of a file, as dictionaries by its header."""
    found, rows, header = {}, [], None
    for line in gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines():
        if line.strip() in ("META", "PROJECTS", "VOTES"):
            rows, header = found.setdefault(line.strip(), []), None
        elif header is None:
            header = line.split(";")
        else:
            rows.append(dict(zip(header, line.split(";"), strict=False)))
    return found


@pytest.mark.parametrize("name", ELECTIONS)
def test_the_same_winners_as_pabutools(name):
    fractions = pytest.importorskip("pabutools.fractions", reason="pabutools is not installed")
    from pabutools.election import (
        Additive_Cardinal_Sat,
        CardinalBallot,
        CardinalProfile,
        Instance,
        Project,
    )
    from pabutools.rules import method_of_equal_shares

    path = DATA / f"{name}.pb.gz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    found = sections(path)
    meta = {row["key"]: row["value"] for row in found["META"]}
    ids = [row["project_id"] for row in found["PROJECTS"]]
    cost = [float(row["cost"]) for row in found["PROJECTS"]]
    votes = [row["vote"].split(",") for row in found["VOTES"] if row["vote"]]
    # An approval is worth what the project costs: no ties between projects of other prices.
    values = np.array([[c * (i in vote) for i, c in zip(ids, cost, strict=True)] for vote in votes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = PackageProblem(values, cost, float(meta["budget"].replace(",", ".")), items=ids)
    ours = equal_shares(problem)
    before, fractions.FRACTION = fractions.FRACTION, "float"
    try:
        projects = {i: Project(i, c) for i, c in zip(ids, cost, strict=True)}
        ballots = [
            CardinalBallot({projects[i]: projects[i].cost for i in vote if i in projects})
            for vote in votes
        ]
        theirs = method_of_equal_shares(
            Instance(projects.values(), budget_limit=problem.budget),
            CardinalProfile(ballots).as_multiprofile(),
            sat_class=Additive_Cardinal_Sat,
        )
    finally:
        fractions.FRACTION = before
    assert set(ours.choice) == {project.name for project in theirs}
    assert len(ours.choice) >= 2
