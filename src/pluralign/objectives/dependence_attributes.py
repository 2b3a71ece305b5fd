"""Protected attributes as blocks of numbers, with their distinct rows found once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor

from ..errors import DataError, DataQualityWarning


class Cells(NamedTuple):
    """Distinct rows of the attributes: their intersections.

    Attributes:
        ids: ``(n,)`` number of each row's cell.
        representatives: ``(M,)`` one row of each cell; rows refer to ``Attributes.whole``.
    """

    ids: Tensor
    representatives: Tensor


@final
@dataclass(frozen=True, eq=False)
class Attributes:
    """Protected attributes of ``n`` rows: one block of columns for each attribute.

    Build it once from all training rows with :meth:`of`; ``take`` a mini-batch from it, and
    the search for distinct rows is not repeated.

    Args:
        blocks: each ``(n, q_j)`` float64: one-hot, 0/1 or real columns.
        parent: the attributes that these rows were taken from.
        index: ``(n,)`` the rows taken.

    Example:
        >>> import torch
        >>> both = Attributes.of([torch.tensor([0, 1, 0, 1]), torch.tensor([0.3, 0.1, 0.3, 0.9])])
        >>> [tuple(block.shape) for block in both.blocks], len(both.cells.representatives)
        ([(4, 1), (4, 1)], 3)
    """

    blocks: tuple[Tensor, ...]
    parent: Attributes | None = None
    index: Tensor | None = None

    @classmethod
    def of(cls, blocks: Attributes | Tensor | Sequence[Tensor]) -> Attributes:
        """Checked attributes from one tensor ``(n,)`` or ``(n, q)``, or one for each attribute.

        Raises:
            DataError: for blocks of unequal length or values that are not finite.
        """
        if isinstance(blocks, Attributes):
            return blocks
        given = [blocks] if isinstance(blocks, Tensor) else list(blocks)
        if not given:
            raise DataError("no protected attribute is given; pass at least one block of columns.")
        made = tuple(_block(block, number) for number, block in enumerate(given))
        lengths = [len(block) for block in made]
        if len(set(lengths)) > 1:
            raise DataError(f"the attributes have {lengths} rows; all need one number of rows.")
        for number, block in enumerate(made):
            if lengths[0] > 1 and bool((block == block[0]).all()):
                warnings.warn(
                    f"attribute {number} is constant; it contributes nothing.",
                    DataQualityWarning,
                    stacklevel=3,
                )
        return cls(made)

    def __len__(self) -> int:
        return len(self.blocks[0])

    @property
    def whole(self) -> Attributes:
        """The attributes that cells refer to: the parent of a batch."""
        return self if self.parent is None else self.parent

    def take(self, rows: Tensor) -> Attributes:
        """The attributes of some rows ``(b,)``; they share the cells found for all."""
        index = rows if self.index is None else self.index[rows]
        return Attributes(tuple(block[rows] for block in self.blocks), self.whole, index)

    def to(self, device: torch.device) -> Attributes:
        """The attributes on a device."""
        if self.blocks[0].device == device:
            return self
        index = None if self.index is None else self.index.to(device)
        parent = None if self.parent is None else self.parent.to(device)
        return Attributes(tuple(block.to(device) for block in self.blocks), parent, index)

    @cached_property
    def joint(self) -> Tensor:
        """All columns side by side, ``(n, q)``."""
        return torch.cat(self.blocks, 1)

    @cached_property
    def marginals(self) -> tuple[Attributes, ...]:
        """Each attribute alone."""
        if self.parent is None:
            return tuple(Attributes((block,)) for block in self.blocks)
        pairs = zip(self.blocks, self.parent.marginals, strict=True)
        return tuple(Attributes((block,), parent, self.index) for block, parent in pairs)

    @cached_property
    def cells(self) -> Cells:
        """Distinct rows over all attributes."""
        if self.parent is not None and self.index is not None:
            found = self.parent.cells
            return Cells(found.ids[self.index], found.representatives)
        ids = torch.zeros(len(self), dtype=torch.int64, device=self.joint.device)
        for column in self.joint.T:
            values, code = torch.unique(column, return_inverse=True)
            if len(values) > 1:
                _, ids = torch.unique(ids * len(values) + code, return_inverse=True)
        representatives = ids.new_zeros(int(ids.max()) + 1)
        representatives[ids] = torch.arange(len(self), device=ids.device)
        return Cells(ids, representatives)


def _block(values: Tensor, number: int) -> Tensor:
    block = values.detach().double()
    block = block[:, None] if block.ndim == 1 else block
    if block.ndim != 2 or 0 in block.shape:
        raise DataError(
            f"attribute {number} has shape {tuple(values.shape)}; it must be (rows,) or "
            "(rows, columns), neither empty."
        )
    bad = (~block.isfinite()).nonzero()
    if len(bad):
        rows = bad[:, 0].unique().tolist()
        raise DataError(
            f"attribute {number}, column {int(bad[0, 1])}, row {rows[0]} is not finite "
            f"({len(rows)} rows in all); fill or drop missing values.",
            rows=rows,
        )
    return block
