"""Ray on two local workers draws what one process draws, whatever dies on the way."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'pluralign[scale]'")

import pyarrow.parquet as pq

from pluralign.engines.sampling import (
    PromptTemplate,
    RaySampler,
    SamplingParams,
    ServerSampler,
    TransformersSampler,
)
from pluralign.engines.sampling.ray_data import read_candidates
from pluralign.errors import DataError, ParameterError
from pluralign.learn import tiny_model, train_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

from local_ray import local_ray
from stub_server import serving

PROMPTS = [f"the cat saw {number}" for number in range(12)]
PARAMS = SamplingParams(max_tokens=8, seed=2)
TEMPLATE = PromptTemplate(attributes=("help", "brevity"))
ANGLES = np.linspace(0, np.pi / 2, len(PROMPTS))
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


@pytest.fixture(scope="module")
def cluster():
    with local_ray() as ray:
        yield ray


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    words = [*PROMPTS, TEMPLATE.instruction((0.8, 0.6))] * 3
    tokenizer = train_tokenizer(words, vocab_size=320)
    tiny_model(tokenizer, hidden_size=16, num_layers=1, seed=4).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def maker_of(folder, kill_at="", once=None):
    """A maker of samplers; a worker that meets the prompt ``kill_at`` dies, ``once`` if given."""

    def make():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(folder)
        inner = TransformersSampler(model, AutoTokenizer.from_pretrained(folder))

        class Mortal:
            name = inner.name

            def sample(self, prompts, n, params, directions=None):
                hit = kill_at and any(kill_at in prompt for prompt in prompts)
                if hit and not (once and once.exists()):
                    if once:
                        once.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner.sample(prompts, n, params, directions)

        return Mortal()

    return make


def test_two_workers_one_of_which_is_killed_draw_what_one_process_draws(
    cluster, model_folder, tmp_path
):
    once = tmp_path / "killed"
    sampler = RaySampler(
        maker_of(model_folder, kill_at="saw 7", once=once),
        tmp_path / "out",
        name="tiny",
        template=TEMPLATE,
        batch_size=2,
    )
    drawn = sampler.sample(PROMPTS, 2, PARAMS, DIRECTIONS)
    assert once.exists()

    rendered = [TEMPLATE.render(p, v) for p, v in zip(PROMPTS, DIRECTIONS, strict=True)]
    alone = maker_of(model_folder)()
    assert drawn == alone.sample(rendered, 2, PARAMS)

    # As anyone would read it: one table of a folder, no candidate lost, none twice.
    (request,) = (tmp_path / "out").iterdir()
    table = pq.read_table(request).to_pylist()
    assert sorted((row["row"], row["i"]) for row in table) == [
        (row, i) for row in range(len(PROMPTS)) for i in range(2)
    ]
    assert {row["row"]: row["prompt"] for row in table} == dict(enumerate(rendered))
    said = json.loads((request / "_request.json").read_text())
    assert (said["sampler"], said["n"], said["params"]["seed"]) == ("ray:tiny", 2, 2)
    assert not [path for path in request.iterdir() if path.name.startswith("_tries")]


@pytest.mark.slow
def test_a_batch_that_always_kills_its_worker_ends_in_one_error(cluster, model_folder, tmp_path):
    sampler = RaySampler(
        maker_of(model_folder, kill_at="saw 7"),
        tmp_path,
        name="tiny",
        batch_size=6,
        restarts=1,
    )
    with pytest.raises(ConnectionError, match="begins with prompt 6: its worker died 2 times"):
        sampler.sample(PROMPTS, 1, PARAMS)
    healed = RaySampler(maker_of(model_folder), tmp_path, name="tiny", batch_size=6)
    assert healed.sample(PROMPTS, 1, PARAMS) == maker_of(model_folder)().sample(PROMPTS, 1, PARAMS)


@pytest.mark.slow
def test_actors_that_ask_a_server_draw_only_what_is_missing(cluster, tmp_path):
    with serving(fault=lambda n, body: 400 if "saw 3" in str(body) and n < 12 else None) as server:
        url = server.url

        def make():
            return ServerSampler(url, "tiny")

        def sampler(**settings):
            return RaySampler(make, tmp_path, name="tiny", batch_size=4, num_cpus=0.5, **settings)

        first = sampler().sample(PROMPTS, 1, PARAMS)
        assert [p for p, row in enumerate(first) if not row[0].ok] == [3]
        assert len(server.bodies) == 12
        (folder,) = tmp_path.iterdir()
        (folder / "part-000000008.parquet").unlink()
        again = sampler(workers=1).sample(PROMPTS, 1, PARAMS)
        assert len(server.bodies) == 12 + 8  # the failed batch and the one that is gone
        assert again == ServerSampler(url, "tiny").sample(PROMPTS, 1, PARAMS)
        asked = len(server.bodies)
        assert sampler().sample(PROMPTS, 1, PARAMS) == again
        assert len(server.bodies) == asked
        with pytest.raises(DataError, match="12 candidates, 12 of them different, instead of 2"):
            read_candidates(folder, 12, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"make": 3}, "make must be callable"),
        ({"name": " "}, "name must say"),
        ({"workers": 0}, "workers must be an integer"),
        ({"batch_size": 0}, "batch_size must be an integer"),
        ({"num_cpus": -1.0}, "num_cpus must be a finite number"),
        ({"restarts": -1}, "restarts must be an integer"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ParameterError, match=words):
        RaySampler(**{"make": list, "folder": "x", "name": "m", **settings})
