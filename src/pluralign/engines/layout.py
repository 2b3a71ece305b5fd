"""How prompts and responses become padded tensors: one function per form.

A form decides which tensors the transformer body reads; whatever it decides, the
flattened hidden states, ``source`` and ``targets`` are all that the head needs.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import DataError
from ..scores import TokenBatch

Form = Literal["two_rows", "shared", "packed"]
Side = Literal["right", "left"]


class Segments(NamedTuple):
    """To whom each token of packed rows belongs.

    Attributes:
        owner: int64 ``(R, T)``; number of the pair, -1 for padding.
        part: int64 ``(R, T)``; 0 for the prompt, k for response k.
    """

    owner: Tensor
    part: Tensor


class Inputs(NamedTuple):
    """What one pass of a transformer body reads.

    Attributes:
        ids: int64 ``(R, T)``.
        positions: int64 ``(R, T)``, counted from the first token of the prompt.
        mask: bool ``(R, S)``, true where a key may be seen; ``None`` if the causal
            mask alone is right, which lets attention take its fastest path; for packed rows
            whatever the model's attention takes.
        segments: of packed rows, from which their mask is made.
    """

    ids: Tensor
    positions: Tensor
    mask: Any
    segments: Segments | None = None

    def to(self, device: torch.device) -> Inputs:
        """The inputs on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        segments = self.segments and Segments(*(part.to(device) for part in self.segments))
        return Inputs(self.ids.to(device), self.positions.to(device), mask, segments)


class Rows(NamedTuple):
    """A batch laid out for one or two passes of a transformer body.

    Attributes:
        form: which layout this is.
        passes: ``two_rows`` and ``packed`` have one; ``shared`` has the prompts, then the
            responses that see the prompts' keys and values.
        source: int64 ``(S,)``; hidden state, in the passes flattened one after the
            other, that predicts each scored token.
        targets: int64 ``(S,)``; the scored tokens.
        cell: int64 ``(S,)``; ``response * width + column`` of each scored token.
        width: scored tokens of the longest response.
        lengths: int64 ``(B, K)``; scored tokens of each response.
    """

    form: Form
    passes: tuple[Inputs, ...]
    source: Tensor
    targets: Tensor
    cell: Tensor
    width: int
    lengths: Tensor

    def to(self, device: torch.device) -> Rows:
        """The rows on a device."""
        passes = tuple(inputs.to(device) for inputs in self.passes)
        moved = {name: getattr(self, name).to(device) for name in _ON_DEVICE}
        return self._replace(passes=passes, **moved)


_ON_DEVICE = ("source", "targets", "cell", "lengths")


def lay_out(
    batch: TokenBatch,
    form: Literal["two_rows", "shared"] = "two_rows",
    pad_id: int = 0,
    padding_side: Side = "right",
) -> Rows:
    """Lay a batch out in one of the padded forms; ``packing.pack`` makes the third.

    ``two_rows`` writes ``prompt ++ response`` once per response. ``shared`` writes each
    prompt once; a batch with an empty prompt or a single response each has nothing to
    share and becomes ``two_rows``. The first token of a row has no prediction and is never scored.

    Args:
        batch: B prompts with K responses each.
        form: name of the layout.
        pad_id: any valid token id; padding is never seen by a real token.
        padding_side: of ``two_rows``; ``"left"`` exists to show that it does not matter.

    Returns:
        The tensors on the device of the batch.

    Raises:
        DataError: naming the rows whose lengths do not fit, or with nothing to score.

    Example:
        >>> batch = TokenBatch(torch.tensor([5, 6, 7, 8, 9]), torch.tensor([[2, 1, 2]]))
        >>> rows = lay_out(batch)
        >>> rows.passes[0].ids.tolist(), rows.targets.tolist()
        ([[5, 6, 7], [5, 6, 8]], [7, 8, 9])
    """
    check_batch(batch)
    several = batch.lengths.shape[1] > 2
    if form == "shared" and several and bool((batch.lengths[:, 0] > 0).all()):
        return _shared(batch, pad_id)
    return _two_rows(batch, pad_id, padding_side)


def check_batch(batch: TokenBatch, *, scored: bool = True) -> None:
    """Refuse a batch whose lengths do not fit, or with a response that has nothing to score.

    Args:
        batch: the batch.
        scored: whether each response needs a token with a prediction, or just a token.

    Raises:
        DataError: naming the rows.
    """
    lengths = batch.lengths
    if lengths.ndim != 2 or lengths.shape[1] < 2 or not len(lengths):
        raise DataError(
            f"lengths must have shape (B, 1 + K) with B, K >= 1; got {tuple(lengths.shape)}."
        )
    total = int(lengths.sum())
    if total != len(batch.tokens) or bool((lengths < 0).any()):
        raise DataError(f"lengths add up to {total}, but there are {len(batch.tokens)} tokens.")
    least = torch.where(lengths[:, :1] == 0, 2, 1) if scored else 1
    bad = (lengths[:, 1:] < least).any(1).nonzero()[:, 0].tolist()
    if bad:
        raise DataError(
            f"rows {bad[:5]} have a response with no token to score (lengths of prompt and "
            f"responses {lengths[bad[0]].tolist()}); a response needs one token, or two if the "
            "prompt is empty: drop the row, or begin the prompt with a beginning-of-text token.",
            rows=bad,
        )


class _Grid(NamedTuple):
    """Segments as a right-padded matrix: ``ids (R, T)`` and where it holds tokens."""

    ids: Tensor
    valid: Tensor


def _grid(tokens: Tensor, starts: Tensor, lengths: Tensor, pad_id: int) -> _Grid:
    column = torch.arange(int(lengths.max()), device=tokens.device)
    valid = column < lengths[:, None]
    index = (starts[:, None] + column).clamp_(max=max(len(tokens) - 1, 0))
    return _Grid(tokens[index].masked_fill_(~valid, pad_id), valid)


def _segments(batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Starts and lengths of the prompts ``(B,)`` and of the responses ``(B * K,)``."""
    lengths = batch.lengths
    starts = (lengths.flatten().cumsum(0) - lengths.flatten()).view_as(lengths)
    return starts[:, 0], lengths[:, 0], starts[:, 1:].flatten(), lengths[:, 1:].flatten()


class _Joined(NamedTuple):
    """``prompt ++ response`` of every response, padded."""

    ids: Tensor
    position: Tensor
    valid: Tensor
    prompt: Tensor
    total: Tensor


def _joined(batch: TokenBatch, pad_id: int, side: Side) -> _Joined:
    p_start, p_length, r_start, r_length = _segments(batch)
    responses = batch.lengths.shape[1] - 1
    p_start = p_start.repeat_interleave(responses)[:, None]
    prompt = p_length.repeat_interleave(responses)[:, None]
    total = prompt + r_length[:, None]
    width = int(total.max())
    position = torch.arange(width, device=total.device).expand(len(total), -1)
    if side == "left":
        position = position - (width - total)
    index = torch.where(position < prompt, p_start + position, r_start[:, None] + position - prompt)
    valid = (position >= 0) & (position < total)
    ids = batch.tokens[index.clamp_(0, len(batch.tokens) - 1)].masked_fill_(~valid, pad_id)
    return _Joined(ids, position, valid, prompt, total)


def _two_rows(batch: TokenBatch, pad_id: int, side: Side) -> Rows:
    rows = _joined(batch, pad_id, side)
    first = rows.prompt.clamp(min=1)
    scored = (rows.valid & (rows.position >= first))[:, 1:]
    row, column = scored.nonzero(as_tuple=True)
    lengths = (rows.total - first).view(len(batch.lengths), -1)
    width = int(lengths.max())
    # The last token of a row predicts nothing, so the body never reads its column.
    inputs = Inputs(
        rows.ids[:, :-1].contiguous(),
        rows.position[:, :-1].clamp(min=0),
        rows.valid[:, :-1] if side == "left" else None,
    )
    return Rows(
        form="two_rows",
        passes=(inputs,),
        source=row * inputs.ids.shape[1] + column,
        targets=rows.ids[:, 1:][scored],
        cell=row * width + (rows.position - first)[:, 1:][scored],
        width=width,
        lengths=lengths,
    )


def whole_rows(
    batch: TokenBatch, pad_id: int = 0, padding_side: Side = "right"
) -> tuple[Inputs, Tensor]:
    """``prompt ++ response`` of every response, and the column of its last token.

    For models that read a finished text, such as reward models. The mask is always
    given: not every such model is causal.

    Args:
        batch: B prompts with K responses each.
        pad_id: token id of the padding.
        padding_side: where the padding is.

    Returns:
        Inputs of ``B * K`` rows and int64 ``(B * K,)``.

    Raises:
        DataError: naming the rows with an empty response.
    """
    check_batch(batch, scored=False)
    rows = _joined(batch, pad_id, padding_side)
    column = torch.arange(rows.ids.shape[1], device=rows.ids.device)
    last = torch.where(rows.valid, column, 0).amax(1)
    return Inputs(rows.ids, rows.position.clamp(min=0), rows.valid), last


def _shared(batch: TokenBatch, pad_id: int) -> Rows:
    p_start, p_length, r_start, r_length = _segments(batch)
    n_prompts, responses = len(p_length), batch.lengths.shape[1] - 1
    prompt = _grid(batch.tokens, p_start, p_length, pad_id)
    response = _grid(batch.tokens, r_start, r_length, pad_id)
    p_width, width = prompt.ids.shape[1], response.ids.shape[1]
    owner = torch.arange(n_prompts, device=p_start.device).repeat_interleave(responses)
    places = torch.arange(p_width, device=p_start.device).expand(n_prompts, -1)
    steps = torch.arange(width - 1, device=p_start.device)
    seen = torch.cat([prompt.valid[owner], torch.ones_like(response.valid[:, 1:])], dim=1)
    # Padding stays at the row's last position: a later one may be beyond the model's.
    own = torch.minimum(steps, (r_length[:, None] - 2).clamp(min=0))
    # The first response token is predicted by the last prompt token, the others by
    # the response token before them.
    row, column = response.valid.nonzero(as_tuple=True)
    last = owner * p_width + p_length[owner] - 1
    source = n_prompts * p_width + row * (width - 1) + column - 1
    return Rows(
        form="shared",
        passes=(
            Inputs(prompt.ids, places, None),
            Inputs(response.ids[:, :-1].contiguous(), p_length[owner][:, None] + own, seen),
        ),
        source=torch.where(column == 0, last[row], source),
        targets=response.ids[response.valid],
        cell=row * width + column,
        width=width,
        lengths=r_length.view(n_prompts, responses),
    )
