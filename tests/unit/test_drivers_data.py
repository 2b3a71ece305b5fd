"""Readers of choices and of CMS files; the market with known drivers."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pluralign.datasets.choices import load_choices
from pluralign.datasets.market import make_market
from pluralign.datasets.medicare import (
    county_plans,
    read_benefits,
    read_enrolment,
    read_landscape,
    read_penetration,
    stack_plans,
)
from pluralign.errors import DataError, ParameterError

DATA = Path(__file__).parents[3] / "shared" / "data" / "discrete_choice"


def fish(**changes):
    rows = [
        {"id": i, "mode": mode, "took": float(mode == took), "price": i + price, "age": 30.0 + i}
        for i, took in enumerate(["boat", "pier", "boat"])
        for mode, price in (("boat", 20.0), ("pier", 5.0))
    ]
    return [{**row, **changes} for row in rows]


def test_long_choices_become_one_row_each():
    table = load_choices(fish(), outcome="took", alternative="mode", choice="id")
    assert table.y.tolist() == ["boat", "pier", "boat"]
    assert table.unit.tolist() == [0, 1, 2]
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "price.boat": [20, 21, 22],
        "price.pier": [5, 6, 7],
        "age": [30, 31, 32],
    }


def test_alternatives_without_names_are_compared_within_their_choice():
    table = load_choices(
        fish(), outcome="took", alternative="mode", choice="id", labelled=False, leave_out=["age"]
    )
    assert table.columns["price"].tolist() == [7.5, -7.5] * 3
    assert table.y.tolist() == [1, 0, 0, 1, 1, 0]
    assert table.unit.tolist() == [0, 0, 1, 1, 2, 2]


def test_text_of_numbers_in_a_csv_is_numbers(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("took,price,town\nboat,1.5,a\npier,,b\n")
    table = load_choices(path, outcome="took")
    assert table.columns["price"].tolist()[0] == 1.5
    assert np.isnan(table.columns["price"][1])
    assert table.columns["town"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([], {}, DataError, "there are no rows"),
        (fish(), {"choice": "idd"}, ParameterError, "no column 'idd'; did you mean 'id'"),
        (fish(), {"choice": None}, ParameterError, "choice or unit must name a column"),
        (fish(took=1), {}, DataError, "row 0: choice 0 has 2 chosen alternatives"),
        (fish()[:-1], {}, DataError, r"row 4: the choice has the alternatives \['boat'\]"),
    ],
)
def test_choices_that_cannot_be_read(rows, options, error, message):
    with pytest.raises(error, match=message):
        load_choices(rows, **{"outcome": "took", "alternative": "mode", "choice": "id", **options})


@pytest.mark.skipif(not DATA.exists(), reason="the choice data are not beside the repository")
def test_the_classic_tables_are_read():
    yogurt = load_choices(
        DATA / "yogurt_long.parquet", outcome="choice", alternative="alt", choice="chid", unit="id"
    )
    assert len(yogurt.y) == 2412
    assert len(set(yogurt.unit.tolist())) == 100
    assert set(yogurt.y) == {"dannon", "hiland", "weight", "yoplait"}
    heating = load_choices(DATA / "heating_wide.parquet", outcome="depvar", leave_out=["idcase"])
    assert len(heating.y) == 900
    assert heating.columns["region"].dtype == object


HEADER = (
    "State,County,Organization Name,Plan Name,Type of Medicare Health Plan,"
    '"Monthly Consolidated Premium\n(Includes Part C + D)",Annual Drug Deductible,'
    "Drug Benefit Type,Additional Coverage Offered in the Gap,Drug Benefit Type Detail,"
    "Contract ID,Plan ID,Segment ID,In-network MOOP Amount **,Overall Star Rating"
)
PLANS = [
    'New Jersey,Essex,Org A,One,Local HMO *,$0.00,$-,Enhanced,Yes,EA,H1,001,0,"$6,700.00",4.5',
    "New Jersey,Essex,Org A,One,Local HMO *,$9.00,$-,Enhanced,Yes,EA,H1,001,1,$500.00,4.5",
    "New Jersey,Essex,Org B,Two,Local PPO,$45.50,$250.00,Basic,No,BA,H2,3,0,$5000,Not Applicable",
    "New Jersey,Essex,Org B,New,Local PPO,$45.50,$250.00,Basic,No,BA,H2,4,0,$5000,3",
    "New Jersey,Bergen,Org B,Two,Local PPO,$45.50,$250.00,Basic,No,BA,H2,3,0,$5000,4",
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "landscape.csv").write_text(
        "\n".join(["2022 Landscape", "Notes, more", "", HEADER, *PLANS, ""]), encoding="cp1252"
    )
    with (tmp_path / "cpsc.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        places = ["SSA State County Code", "FIPS State County Code", "State", "County"]
        table.writerow(["Contract Number", "Plan ID", *places, "Enrollment"])
        table.writerow(["H1", "1", "31200", "34013", "NJ", "Essex", "195"])
        table.writerow(["H2", "003", "31200", "34013", "NJ", "Essex", "*"])
        table.writerow(["H2", "003", "31100", "34003", "NJ", "Bergen", "1,000"])
    (tmp_path / "pbp.txt").write_text(
        "pbp_a_hnumber\tpbp_a_plan_identifier\tsegment_id\tdental\tcopay\n"
        "H1\t001\t000\t1\t20\nH1\t001\t001\t0\t0\nH2\t003\t000\t\t35.5\n"
    )
    (tmp_path / "penetration.csv").write_text(
        "State Name,County Name,FIPSST,FIPSCNTY,FIPS,SSAST,SSACNTY,SSA,Eligibles,Enrolled,"
        'Penetration\nNew Jersey,Essex,34,13,34013,31,200,31200,"2,000",400,20.00%\n'
    )
    return tmp_path


def test_cms_files_become_shares_and_attributes(files):
    landscape, members = (
        read_landscape(files / "landscape.csv"),
        read_enrolment(files / "cpsc.csv"),
    )
    benefits = read_benefits(files / "pbp.txt", columns=["dental", "copay"])
    place = {"state": "New Jersey", "code": "NJ", "county": "Essex"}
    total = read_penetration(files / "penetration.csv")[("New Jersey", "Essex")]
    table = county_plans(landscape, members, **place, enrolled=total, benefits=benefits)
    assert table.unit.tolist() == ["H1-1", "H2-3"]
    assert table.share.tolist() == [195 / 400, 5 / 400]
    assert table.starred.tolist() == [False, True]
    assert table.columns["premium"].tolist() == [0.0, 45.5]
    assert table.columns["drug_deductible"].tolist() == [0.0, 250.0]
    assert table.columns["moop"].tolist() == [6700.0, 5000.0]
    assert np.isnan(table.columns["stars"][1])
    assert table.columns["copay"].tolist() == [20.0, 35.5]
    assert table.notes == ("1 plans without members", "1 plans starred, at 5")
    alone = county_plans(landscape, members, **place, starred="drop")
    assert alone.unit.tolist() == ["H1-1"]
    assert alone.share.tolist() == [195 / 200]
    both = stack_plans({2021: table, 2022: alone})
    assert both.unit.tolist() == ["H1-1", "H2-3", "H1-1"]
    assert both.columns["year"].tolist() == [2021, 2021, 2022]
    assert np.isnan(both.columns["copay"][2])


def test_cms_files_that_do_not_fit_are_refused_by_name(files):
    with pytest.raises(DataError, match=r"cpsc.csv: no line has columns for state, county, prem"):
        read_landscape(files / "cpsc.csv")
    with pytest.raises(DataError, match=r"pbp.txt: no line has columns"):
        read_enrolment(files / "pbp.txt")
    with pytest.raises(DataError, match=r"no file has the columns \['hearing'\]"):
        read_benefits(files / "pbp.txt", columns=["hearing"])
    rows = read_landscape(files / "landscape.csv"), read_enrolment(files / "cpsc.csv")
    with pytest.raises(DataError, match=r"no plan of Union, New Jersey is in both files"):
        county_plans(*rows, state="New Jersey", code="NJ", county="Union")
    with pytest.raises(ParameterError, match="starred must be one of 'lowest', 'drop'"):
        county_plans(*rows, state="New Jersey", code="NJ", county="Essex", starred="zero")


def test_the_market_is_what_it_says():
    world = make_market(3)
    assert np.bincount(world.y).tolist() == [47, 60, 65]
    assert np.bincount(world.unit).max() == 3
    assert world.share.sum() == pytest.approx(1)
    ordered = np.argsort(world.share)
    assert (np.diff(world.y[ordered]) >= 0).all()
    large = make_market(0, n=8000, n_plans=4000)
    x = np.column_stack([np.ones(8000), *large.columns.values()])
    found = np.linalg.lstsq(x, np.log(large.share), rcond=None)[0][1:]
    effects = dict(zip(large.columns, found * x[:, 1:].std(0), strict=True))
    assert effects["moop"] == pytest.approx(-0.6 * np.sqrt(1.09), abs=0.05)
    assert found[list(large.columns).index("brand_A")] == pytest.approx(1.2, abs=0.08)
    assert abs(effects["premium"]) < 0.05
    money = np.corrcoef(large.columns["moop"], large.columns["copay"])[0, 1]
    assert money == pytest.approx(0.6 / 1.09, abs=0.04)
    flag = large.columns["extra_00"]
    twice = flag.reshape(4000, 2)
    assert (twice[:, 0] != twice[:, 1]).mean() == pytest.approx(2 * 0.08 * 0.92, abs=0.03)
    with pytest.raises(ParameterError, match="n_plans must be an integer in"):
        make_market(n=20, n_plans=21)
