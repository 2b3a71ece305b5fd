"""What win rates and judges must obey, whoever judges."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the [language] extra")

from pluralign import DataError, IncompatibleError, ParameterError
from pluralign.audit.intervals import wilson
from pluralign.audit.judging import (
    Duels,
    Judge,
    ModelJudge,
    ScorerJudge,
    Verdicts,
    read_sheet,
    win_frame,
    win_rates,
    write_sheet,
)
from pluralign.audit.judging.replies import TEMPLATE, fill, read_reply
from pluralign.engines.sampling import Candidate
from pluralign.engines.scorers import Length, ScriptedScorer

RESULTS = st.lists(st.sampled_from([1.0, 0.5, 0.0]), min_size=2, max_size=40)


def duels_of(size, *, prompts=None, a="x", b="y", group=None):
    prompts = prompts or [f"prompt {i}" for i in range(size)]
    return Duels(prompts, a=[a] * size, b=[b] * size, group=group)


def verdicts_of(values, errors=None):
    values = np.array(values, dtype=float)
    errors = errors or ["failed" if np.isnan(v) else "" for v in values]
    return Verdicts(values, errors, "test")


def rates_of(values, duels=None, **options):
    duels = duels or duels_of(len(values))
    return win_rates(duels, verdicts_of(values), n_bootstrap=options.pop("draws", 100), **options)


@given(RESULTS)
def test_swapping_the_arms_flips_the_rates(values):
    rates, swapped = rates_of(values), rates_of([1 - v for v in values])
    assert (swapped.wins, swapped.losses, swapped.ties) == (rates.losses, rates.wins, rates.ties)
    assert swapped.half_ties.value == pytest.approx(1 - rates.half_ties.value)
    assert swapped.no_ties.value == pytest.approx(1 - rates.no_ties.value)
    assert swapped.all.value == pytest.approx(1 - rates.all.value - rates.ties / len(values))
    assert swapped.z == pytest.approx(-rates.z)
    low, high = rates.half_ties.wilson
    assert swapped.half_ties.wilson == pytest.approx((1 - high, 1 - low))


@given(RESULTS)
def test_the_three_rates_by_hand(values):
    wins, losses, ties = values.count(1.0), values.count(0.0), values.count(0.5)
    rates = rates_of(values)
    decided = wins + losses
    assert rates.no_ties.value == pytest.approx(wins / decided if decided else 0.5)
    assert rates.no_ties.n == decided
    assert rates.all.value == pytest.approx(wins / len(values))
    assert rates.half_ties.value == pytest.approx((wins + ties / 2) / len(values))
    assert rates.z == pytest.approx((wins - losses) / math.sqrt(decided) if decided else 0.0)
    assert rates.all.wilson == pytest.approx(wilson(wins, len(values)))
    for rate in (rates.no_ties, rates.all, rates.half_ties):
        for low, high in filter(None, (rate.wilson, rate.clustered)):
            assert 0 <= low <= high <= 1


def test_errors_are_no_ties_and_no_losses():
    nan = float("nan")
    rates = rates_of([1.0, nan, 0.0, 1.0, nan, 0.5])
    without = rates_of([1.0, 0.0, 1.0, 0.5])
    assert (rates.errors, without.errors) == (2, 0)
    assert (rates.all, rates.no_ties) == (without.all, without.no_ties)
    with pytest.raises(DataError, match="no verdict on any duel; the first failed with: failed"):
        rates_of([nan, nan])


def test_only_ties_decide_nothing():
    rates = rates_of([0.5] * 5)
    assert (rates.no_ties.value, rates.no_ties.n, rates.no_ties.wilson) == (0.5, 0, None)
    assert (rates.all.value, rates.half_ties.value, rates.z) == (0.0, 0.5, 0.0)


def test_the_order_of_the_duels_does_not_matter():
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 0.5, 1.0], 30)
    prompts = [f"p{i % 9}" for i in range(30)]
    order = rng.permutation(30)
    duels = duels_of(30, prompts=prompts)
    one = win_rates(duels, verdicts_of(values))
    other = win_rates(duels.select(order), verdicts_of(values[order]))
    assert one.half_ties.value == pytest.approx(other.half_ties.value)
    assert one.half_ties.clustered == pytest.approx(other.half_ties.clustered)


def test_copies_of_a_duel_narrow_the_naive_interval_only():
    rng = np.random.default_rng(1)
    values = rng.choice([0.0, 1.0], 60)
    once = rates_of(values, draws=4000)
    eight = rates_of(
        np.repeat(values, 8),
        duels_of(480, prompts=[f"prompt {i}" for i in range(60) for _ in range(8)]),
        draws=4000,
    )
    width = lambda interval: interval[1] - interval[0]  # noqa: E731
    assert eight.clusters == once.clusters == 60
    assert width(eight.all.wilson) == pytest.approx(width(once.all.wilson) / math.sqrt(8), rel=0.05)
    assert width(eight.all.clustered) == pytest.approx(width(once.all.clustered), rel=1e-9)


def coverage(duels_per_prompt, spread, *, runs, prompts=80, rate=0.6):
    """Share of simulated comparisons whose intervals hold the true rate of all."""
    rng = np.random.default_rng(2)
    held = {"wilson": 0, "clustered": 0}
    names = [f"p{i}" for i in range(prompts) for _ in range(duels_per_prompt)]
    duels = duels_of(len(names), prompts=names)
    for run in range(runs):
        shape = np.array([rate, 1 - rate]) * spread
        chance = np.repeat(rng.beta(*shape, prompts), duels_per_prompt)
        values = (rng.random(len(names)) < chance).astype(float)
        found = win_rates(duels, verdicts_of(values), n_bootstrap=500, seed=run).all
        for kind in held:
            low, high = getattr(found, kind)
            held[kind] += low <= rate <= high
    return {kind: count / runs for kind, count in held.items()}


def test_intervals_hold_their_level_for_independent_duels():
    held = coverage(1, 10.0, runs=400)
    assert 0.92 <= held["wilson"] <= 0.98
    assert 0.92 <= held["clustered"] <= 0.98


def test_only_the_clustered_interval_holds_where_prompts_repeat():
    held = coverage(8, 1.0, runs=400, prompts=40)
    assert held["wilson"] < 0.7
    assert 0.91 <= held["clustered"] <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "per_prompt"), [(20, 8), (40, 2), (150, 8), (400, 1)])
def test_coverage_over_sizes(prompts, per_prompt):
    held = coverage(per_prompt, 1.0, runs=3000, prompts=prompts)
    assert 0.925 <= held["clustered"] <= 0.975
    if per_prompt == 1:
        assert 0.935 <= held["wilson"] <= 0.965


def test_a_judge_that_rewards_length_is_seen():
    """Arm a writes longer answers, half of the time; the judge takes the longer one."""
    rng = np.random.default_rng(3)
    n = 400
    n_words = rng.integers(5, 40, n)
    extra = np.where(rng.random(n) < 0.5, 10, 0)
    a = [" ".join(["w"] * (k + e)) for k, e in zip(n_words, extra, strict=True)]
    b = [" ".join(["w"] * k) for k in n_words]
    duels = Duels([f"p{i}" for i in range(n)], a=a, b=b)
    rates = win_rates(duels, ScorerJudge(Length())(duels))
    assert rates.half_ties.value == pytest.approx(0.5 + (extra > 0).mean() / 2)
    assert rates.longer_wins.value == 1.0
    assert rates.length_matched.value == 0.5
    assert rates.length_matched.n == (extra == 0).sum()
    assert rates.mean_words == pytest.approx(((n_words + extra).mean(), n_words.mean()))


def test_length_matching_uses_the_stated_tolerance():
    duels = Duels(["p", "q", "r"], a=["w " * 11, "w " * 12, ""], b=["w " * 10, "w " * 10, ""])
    said = verdicts_of([1.0, 1.0, 0.0])
    assert win_rates(duels, said).length_matched.n == 2
    assert win_rates(duels, said, length_tolerance=0.2).length_matched.n == 3
    assert win_rates(duels.select([1]), verdicts_of([1.0])).length_matched is None


def test_frames_by_group():
    group = ["n", "n", "n", "s", "s", "s"]
    values = [1.0, 1.0, 0.0, 0.0, 0.5, float("nan")]
    frame = win_frame(duels_of(6, group=group), verdicts_of(values))
    assert frame.group("n").value == pytest.approx(2 / 3)
    assert frame.worst().name == "s"
    assert frame.worst().value == 0.25
    assert frame.worst().n_excluded == 1
    decided = win_frame(duels_of(6, group=group), verdicts_of(values), rate="no_ties", levels=["w"])
    assert decided.group("s").n == 1
    assert decided.group("w").flag == "empty"
    assert decided.to_json()["metric"] == "win rate of a (no_ties)"
    everyone = win_rates(duels_of(6), verdicts_of(values))
    assert frame.overall.value == pytest.approx(everyone.half_ties.value)


def test_frames_weigh_repeated_prompts_by_their_duels():
    prompts, group = ["p", "p", "p", "q", "r", "s"], ["n"] * 4 + ["s"] * 2
    values = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    frame = win_frame(duels_of(6, prompts=prompts, group=group), verdicts_of(values))
    assert frame.group("n").value == pytest.approx(0.5)
    assert frame.group("n").n == 2  # prompts


def test_scorer_judge():
    rows = {"x": (1.0, 0.0), "y": (0.0, 2.0), "z": (0.9, 0.0), "none": None}
    scorer = ScriptedScorer(names=("u", "v"), rule=lambda p, r: rows[r])
    duels = Duels(["p"] * 4, a=["x", "x", "x", "none"], b=["y", "z", "x", "x"])
    verdicts = ScorerJudge(scorer, (0.8, 0.6))(duels)
    np.testing.assert_array_equal(verdicts.a_wins, [0.0, 1.0, 0.5, np.nan])
    assert verdicts.errors[3] == "the scorer gave no score"
    lenient = ScorerJudge(scorer, (0.8, 0.6), tie_within=0.1)(duels)
    assert lenient.a_wins[1] == 0.5
    swapped = ScorerJudge(scorer, (0.8, 0.6))(duels.swapped())
    np.testing.assert_array_equal(swapped.a_wins, 1 - verdicts.a_wins)
    assert isinstance(ScorerJudge(Length()), Judge)
    for direction in (None, (1.0,), (0.0, 0.0), (np.nan, 1.0)):
        with pytest.raises(ParameterError, match=r"direction must have one finite weight"):
            ScorerJudge(scorer, direction)


class Model:
    """A model that answers as a function of the two answers in the question."""

    name = "model"

    def __init__(self, reply):
        self.reply = reply
        self.asked = []

    def sample(self, prompts, n, params, directions=None):
        assert n == 1
        assert directions is None
        self.asked += prompts
        return [[self._answer(text)] for text in prompts]

    def _answer(self, text):
        first = text.split("<answer_1>\n")[1].split("\n</answer_1>")[0]
        second = text.split("<answer_2>\n")[1].split("\n</answer_2>")[0]
        found = self.reply(first, second)
        return found if isinstance(found, Candidate) else Candidate(text=found)


def longer(first, second):
    sizes = len(first), len(second)
    return f"Verdict: {'tie' if sizes[0] == sizes[1] else 1 if sizes[0] > sizes[1] else 2}"


DUELS = Duels(["p", "q", "r"], a=["long answer", "x", "same"], b=["short", "longer", "text"])


@pytest.mark.parametrize("order", ["both", "random"])
def test_a_consistent_model_is_followed_in_any_order(order):
    model = Model(longer)
    judge = ModelJudge(sampler=model, order=order)
    assert judge(DUELS).a_wins.tolist() == [1.0, 0.0, 0.5]
    assert len(model.asked) == (6 if order == "both" else 3)
    assert judge(DUELS.swapped()).a_wins.tolist() == [0.0, 1.0, 0.5]


def test_a_model_that_likes_the_first_place_decides_nothing():
    judge = ModelJudge(sampler=Model(lambda first, second: "Verdict: 1"))
    verdicts = judge(DUELS)
    assert verdicts.a_wins.tolist() == [0.5] * 3
    assert win_rates(DUELS, verdicts).first_shown == 1.0
    many = duels_of(200)
    once = ModelJudge(sampler=Model(lambda first, second: "Verdict: 1"), order="random")(many)
    assert 0.4 < once.a_wins.mean() < 0.6  # balanced by the coin
    assert win_rates(many, once).first_shown == 1.0
    again = ModelJudge(sampler=Model(lambda first, second: "Verdict: 1"), order="random", seed=1)
    assert (again(many).a_wins != once.a_wins).any()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I cannot say.", "no verdict in the reply 'I cannot say.'"),
        (Candidate(text="Both are", finish="length"), "raise max_tokens"),
        (Candidate(text="", finish="error", error="timed out"), "timed out"),
        (Candidate(text="Verdict: 1", finish="error"), "the sampler failed"),
    ],
)
def test_failures_are_errors_with_reasons(reply, reason):
    def answer(first, second):
        return reply if first == "x" else longer(first, second)  # in one of two orders

    verdicts = ModelJudge(sampler=Model(answer))(DUELS)
    np.testing.assert_array_equal(verdicts.a_wins, [1.0, np.nan, 0.5])
    assert reason in verdicts.errors[1]
    assert (verdicts.errors[0], verdicts.errors[2]) == ("", "")


def test_texts_are_put_in_as_they_are():
    model = Model(longer)
    turns = ({"role": "user", "content": "Say {first}!"},)
    ModelJudge(sampler=model, criteria="Be {kind}.")(Duels([turns], a=["{second}"], b=["{}"]))
    assert "Be {kind}." in model.asked[0]
    assert "user: Say {first}!" in model.asked[0]
    assert "<answer_1>\n{second}\n" in model.asked[0]
    assert "<answer_2>\n{second}\n" in model.asked[1]
    assert fill("{first}{second}", {"first": "{second}", "second": "{first}"}) == "{second}{first}"


def test_model_judge_refuses():
    with pytest.raises(ParameterError, match=r"\{second\} is missing"):
        ModelJudge(sampler=Model(longer), template="{prompt} {first}")
    with pytest.raises(ParameterError, match=r"ModelJudge\.order must be one of"):
        ModelJudge(sampler=Model(longer), order="a first")


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("Verdict: 1", 1.0), ("verdict: **2**", 0.0), ("**Verdict:** 2.", 0.0),
        ("Verdict: tie", 0.5), ("Verdict: a tie", 0.5), ("Verdict: neither", 0.5),
        ("Verdict: A is better", 1.0), ("Verdict: Response B", 0.0), ('"Verdict: 2"', 0.0),
        ("VERDICT = 2", 0.0), ("The verdict is Answer 1", 1.0), ("<verdict>2</verdict>", 0.0),
        ("Verdict: “2”", 0.0), ("[[B]]", 0.0), ("[[C]]", 0.5), ("1", 1.0), ("Answer 2.", 0.0),
        ("(B)", 0.0), ("Tie", 0.5), ("Verdict: 1, because it is brief", 1.0),
        ("Verdict: 2 at first sight.\n\nVerdict: 1\n\nI hope this helps!", 1.0),
        ("Verdict: 1 or 2", None), ("Verdict: 1/2", None), ("Verdict: 1.5", None),
        ("Verdict: 10", None), ("Verdict: a matter of taste", None), ("", None), (" \n", None),
        ("I prefer 1 by far", None), ('"Verdict: 1" or "Verdict: 2"', None),
        (TEMPLATE, None),
    ],
)  # fmt: skip
def test_replies(reply, meaning):
    assert read_reply(reply) == meaning


@given(st.text(max_size=300))
def test_no_reply_breaks_the_reader(text):
    assert read_reply(text) in (None, 0.0, 0.5, 1.0)


def filled(path, verdict):
    """Fill a sheet in as a function of the two answers."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["verdict"] = verdict(row["answer_1"], row["answer_2"])
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return rows


SHEET = Duels(
    [f"prompt {i}" for i in range(30)],
    a=[f"from a {i}" for i in range(30)],
    b=[f"from b {i}" for i in range(30)],
    names=("ours", "theirs"),
)


def test_a_sheet_is_blind_and_read_back(tmp_path):
    path = write_sheet(SHEET, tmp_path / "sheet.jsonl", seed=4)
    assert "ours" not in path.read_text()
    assert "theirs" not in path.read_text()
    rows = filled(path, lambda first, second: "1" if "from a" in first else " 2")
    assert 5 < sum("from a" in row["answer_1"] for row in rows) < 25
    assert [row["row"] for row in rows] != list(range(30))
    verdicts = read_sheet(path, SHEET, judge="Ada")
    assert verdicts.a_wins.tolist() == [1.0] * 30
    assert verdicts.judge == "Ada"
    assert read_sheet(path, SHEET).first_shown.mean() == pytest.approx(
        sum("from a" in row["answer_1"] for row in rows) / 30
    )
    other = write_sheet(SHEET, tmp_path / "other.jsonl", seed=5)
    assert other.read_text() != write_sheet(SHEET, path, seed=4).read_text()


def test_skips_and_what_is_not_filled_in(tmp_path):
    path = write_sheet(SHEET, tmp_path / "sheet.jsonl")
    filled(path, lambda first, second: "skip" if first.endswith("7") else "tie")
    verdicts = read_sheet(path, SHEET)
    assert verdicts.errors.count("skipped") == 3
    assert np.nansum(verdicts.a_wins) == 27 / 2
    rows = filled(path, lambda first, second: "" if first.endswith(" 7") else "TIE")
    line = next(i for i, row in enumerate(rows) if not row["verdict"])
    with pytest.raises(DataError, match=f"row {line}: verdict is not filled in"):
        read_sheet(path, SHEET)
    assert read_sheet(path, SHEET, partial=True).errors[7] == "not filled in"


def damaged(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")
    return path


@pytest.mark.parametrize(
    ("change", "message", "rows"),
    [
        (lambda lines: [*lines[:3], lines[3][:40]], "line 4 is not JSON", (3,)),
        (lambda lines: lines[:-2], "has 28 of 30 rows; 2 are missing", None),
        (lambda lines: [*lines, lines[4]], "row 30: judges row .* again .first in row 4", (30,)),
        (lambda lines: [*lines[:5], "{}", *lines[6:]], "row 5: lacks", (5,)),
        (lambda lines: [line.replace("from a 3", "from a III") for line in lines],
         "an answer was changed", None),
        (lambda lines: [line.replace('"tie"', '"both"') for line in lines], "got 'both'", None),
        (lambda lines: [lines[0].replace('"row": ', '"row": 9'), *lines[1:]], "0: row must", (0,)),
    ],
)  # fmt: skip
def test_torn_sheets_are_refused_with_their_rows(change, message, rows, tmp_path):
    path = write_sheet(SHEET, tmp_path / "sheet.jsonl")
    filled(path, lambda first, second: "tie")
    with pytest.raises(DataError, match=message) as caught:
        read_sheet(damaged(path, change), SHEET)
    assert caught.value.rows
    assert rows is None or caught.value.rows == rows


def test_a_sheet_of_other_duels_is_refused(tmp_path):
    path = write_sheet(SHEET, tmp_path / "sheet.jsonl")
    with pytest.raises(DataError, match=r"30 of 30 rows .*is of another sheet"):
        read_sheet(path, SHEET.swapped())
    with pytest.raises(DataError, match="of another sheet"):
        read_sheet(path, SHEET.select(range(29)))


def test_verdicts_survive_json():
    verdicts = Verdicts(np.array([1.0, np.nan]), ("", "x"), "j", np.array([0.5, np.nan]))
    again = Verdicts.from_json(json.loads(json.dumps(verdicts.to_json())))
    np.testing.assert_array_equal(again.a_wins, verdicts.a_wins)
    np.testing.assert_array_equal(again.first_shown, verdicts.first_shown)
    assert (again.errors, again.judge) == (verdicts.errors, "j")
    record = json.loads(json.dumps(rates_of([1.0, 0.0, 0.5]).to_json()))
    assert record["half_ties"]["value"] == 0.5
    assert "half_ties 0.500 (n = 3) wilson [" in str(rates_of([1.0, 0.0, 0.5]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Duels([], [], []), DataError, "nothing to judge"),
        (lambda: Duels(["p"], ["a", "b"], ["c"]), DataError, "a must have one value for each of 1"),
        (lambda: Duels(["p"], "a", ["c"]), DataError, "a must have one value"),
        (lambda: Duels(["p", ""], ["a"] * 2, ["c"] * 2), DataError, "row 1: prompt is blank"),
        (lambda: Duels(["p"], [None], ["c"]), DataError, "row 0: a must be a text"),
        (lambda: Duels(["p"], ["a"], ["c"], names=("x", "x")), DataError, "two different names"),
        (lambda: Duels.from_records([{"prompt": "p", "a": "x"}]), DataError, "row 0: lacks 'b'"),
        (lambda: verdicts_of([0.7]), DataError, "row 0: a verdict is"),
        (lambda: verdicts_of([1.0, np.nan], ["", ""]), DataError, "row 1: a verdict is"),
        (lambda: win_rates(duels_of(2), verdicts_of([1.0])), IncompatibleError, "1 verdicts on 2"),
        (lambda: rates_of([1.0], confidence=1.0), ParameterError, "confidence must be"),
        (lambda: rates_of([1.0], draws=5), ParameterError, "n_bootstrap must be"),
        (lambda: win_frame(duels_of(1), verdicts_of([1.0])), DataError, "needs duels with groups"),
        (lambda: win_frame(duels_of(1, group=["n"]), verdicts_of([1.0]), rate="x"), ParameterError,
         "rate must be one of"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_duels_from_records():
    rows = [{"prompt": "p", "ours": "x", "theirs": "y", "group": "north"}]
    duels = Duels.from_records(rows, names=("ours", "theirs"))
    assert (duels.a, duels.b, duels.group, duels.names) == (
        ("x",), ("y",), ("north",), ("ours", "theirs"),
    )  # fmt: skip
