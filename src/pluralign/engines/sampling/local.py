"""Samples from a transformers model in this process."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ...errors import DataError, IncompatibleError, ParameterError
from ...rules import Within, check, nearest, shown
from ..hosts import attention_of, core_of, device_of, scoring_mode, stretching_length
from .base import Candidate, Prompt, SamplingParams, check_request, sample_seed
from .loop import Job, run
from .passes import Maker, Steer
from .template import PromptTemplate
from .texts import Texts

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, eq=False)
class Steering:
    r"""Turns a direction into a vector that is added to the residual stream.

    Use it for models that were not tuned to read directions in words, with one vector for
    each attribute, for example a difference of mean activations. After the module ``layer``
    the hidden state becomes ``h + v @ basis`` from the last token of the prompt on, so that
    all directions of a prompt share the keys and values of what stands before.

    Args:
        layer: name of the module, as in ``model.named_modules()``, for example
            ``"model.layers.12"``.
        basis: ``(d, H)``, a vector of the residual stream for each attribute.

    Raises:
        ParameterError: for a basis that is no finite matrix.

    Differs from the paper:
        The paper adds to all tokens after the user's prompt; ours begins one token earlier,
        with the one that predicts the first token of the answer.

    References:
        Rimsky et al., 2024, arXiv 2312.06681.
    """

    layer: str
    basis: ArrayLike

    def __post_init__(self) -> None:
        basis = np.asarray(self.basis, dtype=np.float32)
        if basis.ndim != 2 or not np.isfinite(basis).all():
            raise ParameterError(
                f"Steering.basis must be a finite matrix (d, H); got shape {basis.shape}."
            )
        object.__setattr__(self, "basis", basis)

    def vectors(self, directions: NDArray[np.float64]) -> NDArray[np.float32]:
        """``directions @ basis`` for directions ``(P, d)``.

        Raises:
            DataError: if the directions have another width than the basis.
        """
        basis = np.asarray(self.basis)
        if directions.shape[1] != len(basis):
            raise DataError(
                f"directions have {directions.shape[1]} values, but Steering.basis has "
                f"{len(basis)} rows; both count the attributes."
            )
        return (directions @ basis).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Rules of what a sampler is asked for."""

    batch_size: Annotated[int, Within(1, None, integer=True)]
    batch_tokens: Annotated[int, Within(1, None, integer=True)]

    def __post_init__(self) -> None:
        check(self)


@final
class TransformersSampler:
    """Samples from a transformers causal language model, all prompts of a call together.

    Use it on one machine. Each prompt is read once for all its candidates, and what several
    prompts have in common at their beginning once for all of them; rows that end give way to
    others; only the last position reaches the head. For many machines use the Ray sampler.

    A candidate's tokens are drawn with its own random numbers, made from seed, prompt,
    direction and number: batch size, order and company do not change it, but for rounding,
    which may turn a token that lies on the edge of two.

    Where a model's own cache does not hold plain keys and values, or its logits through the
    loop's cache differ from its own, whole rows are read anew for every token instead;
    :meth:`describe` says so and why. So are rows beyond a local window that is counted in
    columns (GPT-Neo).

    Args:
        model: a transformers causal language model, also with a PEFT adapter.
        tokenizer: its tokenizer. Texts are continued as they are, messages go through the
            chat template.
        template: writes directions into prompts.
        steering: adds directions to the residual stream instead.
        batch_size: most rows at a time.
        batch_tokens: most tokens of all rows together, answers at their longest: bounds the
            memory of keys and values.

    Raises:
        ParameterError: for an option outside its rule, or an unknown layer.
        IncompatibleError: for no causal language model, a sharded one, or both a template
            and steering.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from pluralign.learn import tiny_model, train_tokenizer
        >>> tokenizer = train_tokenizer(["a cat", "a dog"], vocab_size=300)
        >>> sampler = TransformersSampler(tiny_model(tokenizer), tokenizer)
        >>> found = sampler.sample(["a cat", "a dog"], 3, SamplingParams(max_tokens=4))
        >>> [len(candidates) for candidates in found]
        [3, 3]
        >>> alone = sampler.sample(["a dog"], 3, SamplingParams(max_tokens=4))
        >>> alone[0] == found[1]
        True
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        template: PromptTemplate | None = None,
        steering: Steering | None = None,
        batch_size: int = 64,
        batch_tokens: int = 32_768,
    ) -> None:
        _Options(batch_size=batch_size, batch_tokens=batch_tokens)
        if template is not None and steering is not None:
            raise IncompatibleError("give directions in words (template) or by steering, not both.")
        self._model, self._core = model, core_of(model)
        if any("FSDP" in type(part).__name__ for part in (model, self._core)):
            raise IncompatibleError(
                f"{type(model).__name__} is sharded, and its parts would take different numbers "
                "of steps; gather the weights into one model."
            )
        self._template, self._steering = template, steering
        self._steer = Steer(_module(self._core, steering))
        self._texts = Texts(tokenizer, self._core)
        self._size, self._tokens = batch_size, batch_tokens
        self._limit = _context_of(self._core)
        with torch.no_grad(), scoring_mode(model), _masked_attention(self._core):
            self._maker = Maker(self._core, self._limit)
        if self._maker.reason:
            _log.warning(
                "%s is sampled without a cache, which is slow: %s.", self.name, self._maker.reason
            )

    @property
    def name(self) -> str:
        """Back-end and model."""
        known = Path(getattr(self._core.config, "name_or_path", ""))
        told = known.name if known.is_absolute() else known.as_posix() if known.name else ""
        return f"transformers:{told or type(self._core).__name__}"

    def describe(self) -> dict[str, Any]:
        """What was chosen and what the check found, for the record of a run."""
        return {
            "sampler": self.name,
            "form": self._maker.form,
            "form_difference": self._maker.difference,
            "form_refused": self._maker.reason,
            "context": self._limit,
            "ends": sorted(self._texts.ends),
            "batch_size": self._size,
            "batch_tokens": self._tokens,
        }

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams | Sequence[SamplingParams],
        directions: NDArray[np.float64] | None = None,
    ) -> list[list[Candidate]]:
        """``n`` candidates for each of P prompts; see :class:`Sampler`.

        Args:
            prompts: texts or messages. A prompt that is given several times, say at several
                temperatures, is read once.
            n: candidates of each.
            params: how they are drawn: one for all prompts, or one for each.
            directions: ``(P, d)``.

        Raises:
            DataError: for an empty prompt, or one that fills the model's context.
            ParameterError: for ``n`` below 1, or another number of ``params`` than of prompts.
            IncompatibleError: for directions without template and steering.
        """
        able = self._template is not None or self._steering is not None
        check_request(self.name, prompts, n, directions, takes_directions=able)
        jobs = self._jobs(prompts, n, _of_each(params, len(prompts)), directions)
        flat = [job for of_prompt in jobs for job in of_prompt]
        with torch.no_grad(), scoring_mode(self._model), _masked_attention(self._core):
            longest = max((len(job.ids) + job.most for job in flat), default=0)
            rows = self._maker.rows(self._steer, longest)
            run(flat, rows, self._texts, batch_size=self._size, batch_tokens=self._tokens)
        return [[self._candidate(job) for job in of_prompt] for of_prompt in jobs]

    def _jobs(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: Sequence[SamplingParams],
        directions: NDArray[np.float64] | None,
    ) -> list[list[Job]]:
        offsets: list[Tensor | None] = [None] * len(prompts)
        contents: list[Prompt] = list(prompts)
        if directions is not None:
            directions = np.asarray(directions, dtype=np.float64)
            if self._template is not None:
                pairs = zip(prompts, directions, strict=True)
                contents = [self._template.render(prompt, v) for prompt, v in pairs]
            if self._steering is not None:
                vectors = torch.from_numpy(self._steering.vectors(directions))
                offsets = list(vectors.to(device_of(self._core)))
        jobs: list[list[Job]] = []
        for row, (content, offset) in enumerate(zip(contents, offsets, strict=True)):
            own = params[row]
            ids = self._texts.prompt_ids(content)
            most = self._room(row, ids, own.max_tokens)
            seen = content if offset is None else _steered(content, directions, row)
            seeds = [sample_seed(own.seed, seen, i) for i in range(n)]
            jobs.append([Job(ids, seed, own, most, offset) for seed in seeds])
        return jobs

    def _room(self, row: int, ids: tuple[int, ...], wanted: int) -> int:
        """Tokens that an answer may have."""
        if not ids:
            raise DataError(f"prompt {row} has no tokens; give a text or messages with content.")
        if self._limit is None:
            return wanted
        if len(ids) >= self._limit:
            raise DataError(
                f"prompt {row} has {len(ids)} tokens, but {self.name} reads {self._limit} "
                "together with the answer; shorten it."
            )
        return min(wanted, self._limit - len(ids))

    def _candidate(self, job: Job) -> Candidate:
        finish = job.finish or "length"
        if finish == "error":
            return Candidate(text="", finish=finish, n_tokens=len(job.tokens), error=job.error)
        text = self._texts.answer(job.tokens)
        if finish == "stop":
            text = self._texts.without_stop(text, job.params.stop)
        else:
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")  # half a character at the cut
        return Candidate(text=text, finish=finish, n_tokens=len(job.tokens))


def _of_each(params: SamplingParams | Sequence[SamplingParams], n: int) -> list[SamplingParams]:
    found = [params] * n if isinstance(params, SamplingParams) else list(params)
    wrong = [one for one in found if not isinstance(one, SamplingParams)]
    if wrong:
        raise ParameterError(f"params must be SamplingParams; got {shown(wrong[0])}.")
    if len(found) != n:
        raise ParameterError(
            f"params must be one, or one for each of {n} prompts; got {len(found)}."
        )
    return found


def _steered(content: Prompt, directions: Any, row: int) -> Prompt:
    """What the seed of a steered prompt hashes; neighbours must not draw the same numbers."""
    turns = [{"role": "text", "content": content}] if isinstance(content, str) else content
    return [*turns, {"role": "direction", "content": str(directions[row].tolist())}]


def _module(core: Any, steering: Steering | None) -> Any:
    if steering is None:
        return None
    modules = dict(core.named_modules())
    if steering.layer not in modules:
        raise ParameterError(
            f"no module is named {shown(steering.layer)}; {nearest(steering.layer, modules)}"
        )
    width = np.shape(steering.basis)[1]
    hidden = core.config.get_text_config().hidden_size
    if width != hidden:
        raise ParameterError(
            f"Steering.basis has rows of {width} values; the hidden size is {hidden}."
        )
    return modules[steering.layer]


def _context_of(core: Any) -> int | None:
    """Most tokens of a row; beyond a stretching length a row would depend on its company."""
    config = core.config.get_text_config()
    known = [stretching_length(core), getattr(config, "max_position_embeddings", None)]
    return min((length for length in known if length), default=None)


@contextmanager
def _masked_attention(core: Any) -> Generator[None]:
    """Within it attention takes a mask of who sees whom; flash and flex kernels take none."""
    before = attention_of(core)
    if before in ("sdpa", "eager"):
        yield
        return
    core.set_attn_implementation("sdpa" if getattr(core, "_supports_sdpa", False) else "eager")
    try:
        yield
    finally:
        core.set_attn_implementation(before)
