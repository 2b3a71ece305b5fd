"""Candidates from a real server with OpenAI's interface: ``transformers serve`` on tiny weights."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
for package in ("fastapi", "openai", "uvicorn"):
    pytest.importorskip(package, reason=f"transformers serve needs {package}")

from pluralign.engines.sampling import SamplingParams, ServerSampler  # noqa: E402

WORDS = ["<pad>", "<unk>", "<eos>", *(f"w{i}" for i in range(100))]
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A directory of random weights with a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
    )
    made = transformers.LlamaForCausalLM(config)
    made.generation_config.do_sample = True  # the server takes the likeliest token otherwise
    made.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def address(model):
    """The address of a server of that model, until the last test is done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(
        [sys.executable, "-c", start, "serve", str(model), *options],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait(url, server, seconds=120.0):
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start (exit code {server.poll()})")


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_candidates_of_a_real_server(address, model, api, tmp_path):
    # The server's seed is one of the whole process: only requests one by one repeat themselves.
    sampler = ServerSampler(address, str(model), api=api, max_concurrency=1, retries=1)
    params = SamplingParams(max_tokens=6, seed=1)
    prompts = ["w1 w2", "w3"]
    first = sampler.sample(prompts, 3, params)
    assert [len(row) for row in first] == [3, 3]
    texts = [candidate.text for row in first for candidate in row]
    assert len(set(texts)) == 6  # each sample has a seed of its own
    for candidate in (c for row in first for c in row):
        assert candidate.finish in ("stop", "length")
        assert set(candidate.text.split()) <= set(WORDS)
        assert len(candidate.text.split()) <= 6
    assert sampler.sample(prompts, 3, params) == first
    other = sampler.sample(prompts, 3, SamplingParams(max_tokens=6, seed=2))
    assert [c.text for row in other for c in row] != texts


def test_a_model_that_the_server_does_not_serve_is_an_error_with_its_reason(address):
    sampler = ServerSampler(address, "somebody/else", retries=0)
    [[candidate]] = sampler.sample(["w1"], 1, SamplingParams(max_tokens=2))
    assert candidate.finish == "error"
    assert "somebody/else" in candidate.error
