"""A server's faults, its journal and its words: what is asked, what is kept, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pluralign.engines.sampling import (
    Candidate,
    PromptTemplate,
    SamplingParams,
    ServerSampler,
    VLLMSampler,
    find_sampler,
    registry,
    sampler_names,
)
from pluralign.engines.sampling.base import sample_seed
from pluralign.engines.sampling.journal import Journal, request_key
from pluralign.engines.sampling.retry import LONGEST_WAIT, Failure, backoff, persist, retry_after
from pluralign.engines.sampling.vllm_engine import read_output, vllm_arguments
from pluralign.errors import DataError, IncompatibleError, ParameterError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from stub_server import serving, words_of  # noqa: E402

PROMPTS = ["one", "two", "three", "four", "five", "six"]
PARAMS = SamplingParams(max_tokens=8, seed=5)


def sampler_of(server, **settings):
    usual = {"backoff": 0.001, "timeout": 5.0, "retries": 3}
    return ServerSampler(server.url, "tiny", **{**usual, **settings})


def expected(prompts, n, params=PARAMS):
    """What the stub answers, asked directly."""
    with serving() as server:
        return sampler_of(server).sample(prompts, n, params)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


# What is asked


def test_a_request_says_everything_and_its_seed_is_of_its_content():
    params = SamplingParams(
        temperature=0.7, top_p=0.9, top_k=4, max_tokens=5, stop=("END",), seed=3
    )
    with serving() as server:
        sampler_of(server, accepts_top_k=True).sample(["one"], 2, params)
    assert set(server.paths) == {"/v1/chat/completions"}
    body = min(server.bodies, key=lambda b: b["seed"] != sample_seed(3, "one", 0) % 2**31)
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "one"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 4,
        "max_tokens": 5,
        "stop": ["END"],
        "seed": sample_seed(3, "one", 0) % 2**31,
    }


def test_completions_send_texts_as_they_are_and_refuse_messages():
    with serving() as server:
        sampler = sampler_of(server, api="completions")
        (row,) = sampler.sample(["one"], 1, PARAMS)
        assert row[0].text == words_of(server.bodies[0])["text"]
        assert server.bodies[0]["prompt"] == "one"
        assert server.paths == ["/v1/completions"]
        with pytest.raises(IncompatibleError, match="prompt 1 is a list of messages"):
            sampler.sample(["one", [{"role": "user", "content": "two"}]], 1, PARAMS)
        assert len(server.bodies) == 1


def test_directions_reach_the_model_in_words():
    template = PromptTemplate(attributes=("help", "brevity"), placement="system")
    with serving() as server:
        sampler_of(server, template=template).sample(["one"], 1, PARAMS, np.array([[0.8, 0.6]]))
    system, user = server.bodies[0]["messages"]
    assert "80*help + 60*brevity" in system["content"]
    assert user == {"role": "user", "content": "one"}


@pytest.mark.parametrize("names", [(), "ab", ("a", ""), ("a", "a"), (1, 2), None])
def test_a_template_needs_names(names):
    with pytest.raises(ParameterError, match="attributes must be unique non-empty names; got"):
        PromptTemplate(attributes=names)


def test_equal_prompts_are_asked_once_and_concurrency_is_kept():
    def slow(body):
        time.sleep(0.02)
        return words_of(body)

    with serving(answer=slow) as server:
        drawn = sampler_of(server, max_concurrency=3).sample([*PROMPTS, "one"], 4, PARAMS)
    assert len(server.bodies) == 24
    assert drawn[0] == drawn[6]
    assert 2 <= server.most_at_once <= 3


def test_what_follows_a_stop_text_is_cut_where_the_server_leaves_it():
    def careless(body):
        return {"text": "yes. END no END", "finish_reason": "length", "n_tokens": 9}

    with serving(answer=careless) as server:
        params = SamplingParams(stop=("END",))
        assert sampler_of(server).sample(["one"], 1, params) == [
            [Candidate(text="yes. ", finish="stop", n_tokens=9)]
        ]


# Keys


def test_the_key_is_sent_and_kept_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", "sk-secret-1\n")
    with serving(fault=lambda number, body: 400 if number == 0 else None) as server:
        sampler = sampler_of(
            server, api_key_env="MY_KEY", max_concurrency=1, journal=tmp_path / "j.jsonl"
        )
        (row,) = sampler.sample(["one"], 2, PARAMS)
    assert {h["Authorization"] for h in server.headers} == {"Bearer sk-secret-1"}
    # This server says back what it was sent.
    assert row[0].error == "status 400: refused; you sent Bearer ***"
    kept = repr(sampler) + sampler.name + (tmp_path / "j.jsonl").read_text() + repr(row)
    assert "secret" not in kept


def test_without_a_key_none_is_sent():
    with serving() as server:
        sampler_of(server).sample(["one"], 1, PARAMS)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_at_once_and_names_the_variable(monkeypatch, status):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-2")
    with serving(fault=lambda *_: status) as server:
        with pytest.raises(ParameterError, match="OPENAI_API_KEY") as error:
            sampler_of(server, max_concurrency=2).sample(PROMPTS, 3, PARAMS)
        assert len(server.bodies) <= 2
    assert "secret" not in str(error.value)


def test_an_unusable_key_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk\N{EM DASH}secret")
    sampler = ServerSampler("http://localhost:1/v1", "tiny")
    with pytest.raises(ParameterError, match="OPENAI_API_KEY must be printable") as error:
        sampler.sample(["one"], 1, PARAMS)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url must be an address"),
        ({"base_url": "http://[half"}, "base_url must be an address"),
        ({"base_url": "http://host:99999/v1"}, "base_url must be an address"),
        ({"base_url": "https://me:sk-secret@host/v1"}, "put keys into api_key_env"),
        ({"base_url": "https://host/v1?key=sk-secret"}, "put keys into api_key_env"),
        ({"model": " "}, "model must be"),
        ({"api": "talk"}, "api must be one of 'chat', 'completions'; got 'talk'"),
        ({"timeout": 0}, "timeout must be a finite number > 0"),
        ({"retries": -1}, "retries must be an integer"),
        ({"max_concurrency": 0}, "max_concurrency must be an integer"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ParameterError, match=words.replace("(", r"\(")) as error:
        ServerSampler(**{"base_url": "http://host/v1", "model": "m", **settings})
    assert "secret" not in str(error.value)


# Faults


@pytest.mark.parametrize(
    "fault", [408, 429, 500, 502, 503, "half", "reset", "not_json", "wrong_shape"]
)
def test_a_passing_fault_leaves_no_trace(fault):
    with serving(fault=lambda number, _: fault if number % 3 == 0 else None) as server:
        drawn = sampler_of(server, retries=20).sample(PROMPTS, 2, PARAMS)
    assert drawn == expected(PROMPTS, 2)
    assert len(server.bodies) > 12


@pytest.mark.parametrize("fault", ["hang", "drip", "drip_header", "continue_for_ever"])
def test_a_request_that_hangs_is_given_up_and_sent_again(fault):
    with serving(fault=lambda number, _: fault if number == 1 else None) as server:
        drawn = sampler_of(server, timeout=0.3).sample(PROMPTS, 1, PARAMS)
    assert drawn == expected(PROMPTS, 1)
    assert len(server.bodies) == 7


@pytest.mark.parametrize(
    ("fault", "why", "tries"),
    [
        (500, "status 500", 3),
        ("half", "RemoteProtocolError", 3),
        ("hang", "no whole answer within 0.3 s", 3),
        ("not_json", "not JSON", 3),
        ("wrong_shape", "without choices", 3),
        (400, "status 400: refused", 1),
        (422, "status 422: refused", 1),
        ("null_text", "holds no text", 1),
        ("filtered", "content filter", 1),
    ],
)
def test_one_prompt_that_always_fails_is_one_failed_candidate(fault, why, tries):
    def poisoned(_, body):
        return fault if body["messages"][0]["content"] == "three" else None

    with serving(fault=poisoned) as server:
        drawn = sampler_of(server, retries=2, timeout=0.3).sample(PROMPTS, 1, PARAMS)
    whole = expected(PROMPTS, 1)
    assert drawn[:2] + drawn[3:] == whole[:2] + whole[3:]
    (bad,) = drawn[2]
    assert not bad.ok
    assert bad.text == ""
    assert why in bad.error
    assert len(server.bodies) == 5 + tries


def test_half_a_character_is_no_text_that_files_take():
    def halved(body):
        return {"text": "a \ud800 b", "finish_reason": "stop", "n_tokens": True}

    with serving(answer=halved) as server:
        (row,) = sampler_of(server).sample(["one"], 1, PARAMS)
    assert row == [Candidate(text="a \N{REPLACEMENT CHARACTER} b", n_tokens=0)]


@pytest.mark.parametrize("fault", [500, 429, "hang", "drip_header", "reset"])
def test_a_server_that_always_fails_ends_in_one_error(fault, tmp_path):
    models = "hang" if fault in ("hang", "drip_header") else 503
    with serving(fault=lambda *_: fault, models_status=models) as server:
        sampler = sampler_of(
            server, retries=2, timeout=0.2, max_concurrency=2, journal=tmp_path / "j.jsonl"
        )
        with pytest.raises(ConnectionError, match=r"out of service after 3 tries \(") as error:
            sampler.sample(PROMPTS, 5, PARAMS)
        assert len(server.bodies) <= 2 * 2 * 3
    assert "0 candidates are in" in str(error.value)


def test_a_server_that_dies_ends_in_one_error_and_the_rest_is_drawn_later(tmp_path):
    journal = tmp_path / "j.jsonl"
    server = serving(fault=lambda number, _: "reset" if number >= 7 else None, models_status=500)
    with server as first:
        dying = sampler_of(first, max_concurrency=2, journal=journal)
        with pytest.raises(ConnectionError, match=r"7 candidates are in .* run again to go on"):
            dying.sample(PROMPTS, 4, PARAMS)
    with pytest.raises(ConnectionError, match=r"out of service .*ConnectError"):
        dying.sample(PROMPTS, 4, PARAMS)  # nobody listens there now
    with serving() as second:  # on another port
        drawn = sampler_of(second, journal=journal).sample(PROMPTS, 4, PARAMS)
        assert len(second.bodies) == 24 - 7
    assert drawn == expected(PROMPTS, 4)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(404, "no model 'tiny'"), ((307, {"location": "http://there/v1"}), "http://there/v1")],
)
def test_a_wrong_address_ends_at_once(fault, words):
    with serving(fault=lambda *_: fault) as server:
        with pytest.raises(ParameterError, match=words):
            sampler_of(server, max_concurrency=1).sample(PROMPTS, 3, PARAMS)
        assert len(server.bodies) == 1


def test_retry_after_is_honoured_and_bounded():
    waits = []
    tries = iter([Failure("busy", after=2.0), Failure("busy", after=None), Candidate(text="yes")])
    done = persist(
        lambda: next(tries), retries=5, base=0.1, pause=lambda s: waits.append(s) or False
    )
    assert done == Candidate(text="yes")
    assert waits[0] == 2.0
    assert 0.1 <= waits[1] <= 0.2
    later = Failure("come tomorrow", after=86400.0)
    assert (
        persist(lambda: later, retries=5, base=0.1, pause=lambda s: pytest.fail("waited")) is later
    )
    with serving(fault=lambda n, _: (429, {"Retry-After": "7200"})) as server:
        with pytest.raises(ConnectionError, match="status 429"):
            sampler_of(server, max_concurrency=1).sample(PROMPTS, 1, PARAMS)
        assert len(server.bodies) == 1


def test_waits_double_with_jitter_up_to_a_minute():
    for attempt in range(12):
        longest = min(0.5 * 2**attempt, LONGEST_WAIT)
        drawn = [backoff(attempt, 0.5) for _ in range(50)]
        assert longest / 2 <= min(drawn)
        assert max(drawn) <= longest
        assert len(set(drawn)) > 40


def test_the_header_retry_after():
    assert retry_after("120") == 120.0
    assert retry_after(None) is None
    assert retry_after("-3") is None
    assert retry_after("Fri, 31 Dec 2399 23:59:59 GMT") > 1e9


# The journal


def test_a_journal_answers_instead_of_the_server(tmp_path):
    with serving() as server:
        sampler = sampler_of(server, journal=tmp_path / "new" / "j.jsonl")
        first = sampler.sample(PROMPTS, 2, PARAMS)
        assert sampler.sample(PROMPTS, 2, PARAMS) == first
        assert len(server.bodies) == 12
        more = sampler.sample(PROMPTS, 3, PARAMS)
        assert [row[:2] for row in more] == first
        assert len(server.bodies) == 18
        for other in (SamplingParams(max_tokens=8, seed=6), SamplingParams(max_tokens=9, seed=5)):
            before = len(server.bodies)
            sampler.sample(["one"], 1, other)
            assert len(server.bodies) == before + 1


def test_failed_candidates_are_asked_for_again(tmp_path):
    journal = tmp_path / "j.jsonl"
    with serving(fault=lambda number, _: 400 if number < 2 else None) as server:
        sampler = sampler_of(server, journal=journal)
        first = sampler.sample(PROMPTS, 1, PARAMS)
        assert sum(not row[0].ok for row in first) == 2
        assert sampler.sample(PROMPTS, 1, PARAMS) == expected(PROMPTS, 1)
        assert len(server.bodies) == 8


def test_a_torn_last_line_is_dropped_at_every_place(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        for i in range(3):
            journal.add("key", i, Candidate(text=f"text {i} \N{SNOWMAN}\n"))
    whole = path.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for end in range(start, len(whole) + 1):
        path.write_bytes(whole[:end])
        with Journal(path) as journal:
            kept = len(journal)
            assert kept == (3 if end >= len(whole) - 1 else 2)
            journal.add("key", 2, Candidate(text="again"))
        with Journal(path) as journal:
            assert len(journal) == 3
            assert journal.get("key", 2).text == ("text 2 \N{SNOWMAN}\n" if kept == 3 else "again")


@pytest.mark.parametrize(
    "line", ["{}", "not json", '{"key": "a", "i": 0, "candidate": {"x": 1}}', "3"]
)
def test_a_line_of_something_else_is_named(tmp_path, line):
    path = tmp_path / "j.jsonl"
    path.write_text(f'{{"key": "k", "i": 0, "candidate": {{"text": "a"}}}}\n{line}\n')
    with pytest.raises(DataError, match="line 2 is not one of a journal") as error:
        Journal(path)
    assert error.value.rows == (1,)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_a_journal_has_one_holder(tmp_path):
    with Journal(tmp_path / "j.jsonl"), pytest.raises(ParameterError, match="in use"):
        Journal(tmp_path / "j.jsonl")
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(journal) == 0


def test_the_key_of_a_request_is_its_content():
    assert request_key({"a": 1, "b": [2]}) == request_key({"b": [2], "a": 1})
    assert request_key({"a": 1}) != request_key({"a": 2})


KILLED = """
import sys
from pluralign.engines.sampling import SamplingParams, ServerSampler
url, journal = sys.argv[1:]
sampler = ServerSampler(url, "tiny", journal=journal, max_concurrency=4)
sampler.sample([f"prompt {p}" for p in range(30)], 3, SamplingParams(max_tokens=8, seed=5))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 there")
def test_killed_at_any_point_nothing_is_lost_and_nothing_asked_twice(tmp_path):
    journal = tmp_path / "j.jsonl"
    prompts = [f"prompt {p}" for p in range(30)]

    def asked(bodies):
        return [(body["messages"][0]["content"], body["seed"]) for body in bodies]

    def slow(body):
        time.sleep(0.01)
        return words_of(body)

    with serving(answer=slow) as server:
        for until in (1, 45):
            # Requests whose candidate is in the journal must never be seen again.
            env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
            child = subprocess.Popen([sys.executable, "-c", KILLED, server.url, journal], env=env)
            end = time.monotonic() + 60
            while len(server.bodies) < until and time.monotonic() < end:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
        time.sleep(0.05)
        kept = journal.read_bytes().count(b"\n")
        before = len(server.bodies)
        sampler = sampler_of(server, journal=journal, max_concurrency=4)
        drawn = sampler.sample(prompts, 3, SamplingParams(max_tokens=8, seed=5))
        assert len(server.bodies) - before == 90 - kept
        jobs = asked(server.bodies)
    assert drawn == expected(prompts, 3)
    assert len(set(jobs)) == 90
    # Only what was under way at a kill was asked again: at most four each time.
    assert len(jobs) <= 90 + 8
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({(row["key"], row["i"]) for row in rows}) == len(rows) == 90


# Names


def test_samplers_are_found_by_name():
    for name in sampler_names():
        assert callable(find_sampler(name))
    assert set(registry.BUILT_IN) <= set(sampler_names())
    with pytest.raises(ParameterError, match="did you mean 'transformers'"):
        find_sampler("transformer")
    with pytest.raises(ParameterError, match="valid names: ray, scripted, server"):
        find_sampler("qqq")


@pytest.fixture
def another_package(tmp_path, monkeypatch):
    """Installs a package with entry points, as pip would lay it out."""

    def install(name, points, code=""):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[pluralign.samplers]", *points]))
        (tmp_path / f"{name}.py").write_text(code)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    for name in ("acme_one", "acme_two"):
        sys.modules.pop(name, None)


def test_another_package_adds_a_sampler(another_package):
    code = "class Echo:\n    name = 'echo'\n    def sample(self, *_):\n        return []\n"
    another_package("acme_one", ["echo = acme_one:Echo", "server = acme_one:Echo"], code)
    assert "echo" in sampler_names()
    assert find_sampler("echo")().name == "echo"
    assert find_sampler("server") is ServerSampler
    assert len(set(sampler_names())) == len(sampler_names())


def test_another_package_that_is_broken_is_named(another_package):
    another_package(
        "acme_one", ["broken = acme_one:Echo", "number = acme_one:N", "both = a:b"], "N = 3\n"
    )
    another_package("acme_two", ["both = acme_two:Echo"])
    with pytest.raises(
        ParameterError, match=r"'broken' of acme_one \(acme_one:Echo\) does not load"
    ):
        find_sampler("broken")
    with pytest.raises(ParameterError, match="cannot be called"):
        find_sampler("number")
    with pytest.raises(ParameterError, match="two packages have a sampler 'both'"):
        find_sampler("both")


# vLLM, as far as it can be known without it


def test_vllm_gets_every_parameter():
    params = SamplingParams(temperature=0.0, top_p=0.5, max_tokens=7, stop=("a", "b"), seed=9)
    given = vllm_arguments(params, "one", 3)
    assert given == {
        "n": 1,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 0,
        "max_tokens": 7,
        "stop": ["a", "b"],
        "include_stop_str_in_output": False,
        "skip_special_tokens": True,
        "seed": sample_seed(9, "one", 3),
    }
    assert vllm_arguments(SamplingParams(top_k=11), "one", 0)["top_k"] == 11


def test_vllm_answers_are_read_with_their_end():
    from types import SimpleNamespace

    def output(reason):
        return SimpleNamespace(text="yes", finish_reason=reason, token_ids=[1, 2])

    assert read_output(output("length")) == Candidate(text="yes", finish="length", n_tokens=2)
    assert read_output(output("stop")).finish == "stop"
    assert read_output(output("abort")).error == "ended by 'abort'"


def test_vllm_is_asked_for_only_when_it_draws():
    sampler = VLLMSampler("some/model")
    with pytest.raises(IncompatibleError, match="vllm:some/model got directions"):
        sampler.sample(["one"], 1, PARAMS, np.ones((1, 2)))
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install vllm"):
            sampler.sample(["one"], 1, PARAMS)
