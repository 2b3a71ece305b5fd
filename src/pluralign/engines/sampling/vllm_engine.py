"""Candidates from vLLM in this program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import NDArray

from ...rules import Kind, check
from .base import Candidate, Finish, Prompt, SamplingParams, check_request, sample_seed
from .template import PromptTemplate


@final
@dataclass(frozen=True)
class VLLMSampler:
    """Samples from a vLLM engine, which runs in a process of its own beside this program.

    Use it for many prompts on a GPU whose environment has vLLM. It pins versions of torch and
    transformers, so it often needs an environment of its own: there, start its server and
    take ``ServerSampler(..., accepts_top_k=True)`` instead; the candidates are drawn alike.

    Each candidate is a request with its own seed, and the engine computes what prompts share
    once. The engine's arithmetic depends on how it batches: equal seeds give equal texts only
    in its batch-invariant mode. The engine is started by the first call of ``sample``.

    Args:
        model: name or folder of a model.
        template: how directions are put into words; without it they are refused.
        engine: further arguments of ``vllm.LLM``, such as ``{"tensor_parallel_size": 2}``.

    Raises:
        ImportError: from ``sample``, if vLLM is not installed.

    Example:
        >>> VLLMSampler("some/model").name
        'vllm:some/model'
    """

    model: Annotated[str, Kind(str)]
    _: KW_ONLY
    template: PromptTemplate | None = None
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check(self)

    @property
    def name(self) -> str:
        """``vllm:`` and the model."""
        return f"vllm:{self.model}"

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each of P prompts; texts as they are, messages by the chat template.

        Raises:
            DataError: for an empty prompt or directions that do not fit.
            ParameterError: for ``n`` below 1.
            IncompatibleError: for directions without a template.
        """
        template = self.template
        takes = template is not None
        check_request(self.name, prompts, n, directions, takes_directions=takes)
        seen = list(prompts)
        if directions is not None and template is not None:
            pairs = zip(prompts, directions, strict=True)
            seen = [template.render(prompt, direction) for prompt, direction in pairs]
        drawn: list[list[Candidate]] = [[] for _ in seen]
        texts = [row for row, prompt in enumerate(seen) if isinstance(prompt, str)]
        talks = [row for row, prompt in enumerate(seen) if not isinstance(prompt, str)]
        for rows, ask in ((texts, "generate"), (talks, "chat")):
            requests = [(row, i) for row in rows for i in range(n)]
            answers = self._answers(ask, [(seen[row], i) for row, i in requests], params)
            for (row, _), answer in zip(requests, answers, strict=True):
                drawn[row].append(read_output(answer.outputs[0]))
        return drawn

    def _answers(
        self, ask: str, requests: list[tuple[Prompt, int]], params: SamplingParams
    ) -> list[Any]:
        if not requests:
            return []
        make = _vllm().SamplingParams
        settings = [make(**vllm_arguments(params, prompt, i)) for prompt, i in requests]
        contents = [_plain(prompt) for prompt, _ in requests]
        return getattr(self._engine, ask)(contents, settings, use_tqdm=False)

    @cached_property
    def _engine(self) -> Any:
        return _vllm().LLM(**{"model": self.model, "enable_prefix_caching": True, **self.engine})


def _vllm() -> Any:
    try:
        return import_module("vllm")
    except ImportError as error:
        raise ImportError(
            "VLLMSampler needs vLLM: pip install vllm, or start `vllm serve` in another "
            "environment and take ServerSampler."
        ) from error


def vllm_arguments(params: SamplingParams, prompt: Prompt, i: int) -> dict[str, Any]:
    """The arguments of ``vllm.SamplingParams`` for candidate ``i`` of a prompt.

    Example:
        >>> given = vllm_arguments(SamplingParams(stop=("END",)), "Hello", 0)
        >>> given["top_k"], given["stop"], given["n"]
        (0, ['END'], 1)
    """
    return {
        "n": 1,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k or 0,  # 0 means all
        "max_tokens": params.max_tokens,
        "stop": list(params.stop),
        "include_stop_str_in_output": False,
        "skip_special_tokens": True,
        "seed": sample_seed(params.seed, prompt, i),
    }


def read_output(output: Any) -> Candidate:
    """The candidate in one of vLLM's completions."""
    known: dict[str, Finish] = {"stop": "stop", "length": "length"}
    finish = known.get(output.finish_reason, "error")
    return Candidate(
        text=output.text,
        finish=finish,
        n_tokens=len(output.token_ids),
        error=f"ended by {output.finish_reason!r}" if finish == "error" else "",
    )


def _plain(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]
