"""Distance covariance of predictions and protected attributes, with its gradient."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Literal, final

import torch
from torch import Tensor

from ..errors import DataError, DataQualityWarning
from ..rules import AnyOf, Kind, OneOf, Within, check
from .dependence_attributes import Attributes
from .dependence_autograd import Curve, with_slope
from .dependence_blocks import block_sums
from .dependence_cells import cell_sums
from .dependence_line import line_sums
from .dependence_order import Estimator, Order, Sums, slope
from .dependence_weights import Weights, few_cells, spread

Measure = Literal["dcov", "sum_marginal", "ccdcov", "jdcov"]
Path = Literal["auto", "cells", "line", "blocks", "projections"]

Parts = tuple[Tensor, Tensor, Curve]
"""Value, gradient, and the product of the second derivative with a direction."""

_LOG = logging.getLogger(__name__)
_PROJECTED = ("dcov", "ccdcov")


@final
@dataclass(frozen=True, kw_only=True)
class DistanceCovariance:
    """Squared distance covariance of predictions and one or more protected attributes.

    Use it as a penalty, to lower the joint dependence of any differentiable score on
    attributes of mixed type (one-hot, 0/1, real), in their intersections as well. Do not
    use it for equalised odds or calibration, which are conditional, nor with fewer than
    about 10 rows of a cell in a batch.

    With ``a_kl = |yhat_k - yhat_l|^alpha``, ``b_kl = ||S_k - S_l||^alpha``, centred ``A`` and
    ``B`` (distance minus means), and ``U = -A`` or ``-B`` of each of ``D`` blocks::

        dcov, ccdcov   V: (1/n^2) sum_kl A B        U: 1/(n (n - 3)) sum_kl A~ B~
        sum_marginal   sum_j dcov(yhat, S_j)
        jdcov          V: (1/n^2) sum_kl prod_i (U_i + c) - c^D     U: the same, U-centred

    The gradient is the closed form, ``2 norm sum_l B_kl sgn(yhat_k - yhat_l)`` for one
    prediction a row: ``value = sum_k yhat_k gradient_k`` (and a constant for ``jdcov``).

    Args:
        measure: ``"ccdcov"`` (attributes side by side), ``"jdcov"`` (all interactions, also
            among the attributes: its value is not comparable across data sets),
            ``"sum_marginal"`` (blind to intersections), or ``"dcov"`` (one attribute only).
        estimator: ``"u"`` without bias, may be negative, needs 4 rows; ``"v"``, never
            negative but biased upwards, needs 2.
        c: weight of lower interactions in ``jdcov``, > 0.
        exponent: alpha in (0, 2). At 2 only linear dependence would be seen; any other
            than 1 costs O(n^2).
        normalise: divide by ``sqrt(dVar2(yhat) dVar2(S))``, held fixed in the gradient, so
            that ``strength`` carries over between scales.
        path: ``"cells"`` O(n log n + n M) for M distinct attribute rows, ``"line"``
            O(n log n) for one column, ``"blocks"`` O(n^2) time and O(n + block^2) memory,
            all exact; ``"projections"``, approximate; ``"auto"`` chooses among the exact.
        projections: number of random directions for ``path="projections"``.
        block: rows of a block.

    Raises:
        ParameterError: for values out of range or a path that cannot serve the measure.

    Example:
        >>> import torch
        >>> predicted = torch.tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True)
        >>> first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> psi = DistanceCovariance(estimator="v")(predicted, [first, second])
        >>> round(psi.item(), 6)
        0.073223

    Differs from the paper: the U estimator, squared, on attributes side by side is what
    the authors' lab trains with; its body was not available. The paths, ``normalise``,
    ``exponent`` and predictions of several columns are ours.

    References:
        Lee, Antonio, Avanzi, Marchi and Zhou, 2025, arXiv 2509.08163; joint distance
        covariance: Chakraborty and Zhang, 2019; U-centring: Szekely and Rizzo, 2014.
    """

    measure: Annotated[Measure, OneOf("dcov", "sum_marginal", "ccdcov", "jdcov")] = "ccdcov"
    estimator: Annotated[Estimator, OneOf("u", "v")] = "u"
    c: Annotated[float, Within(0.0, closed="neither")] = 1.0
    exponent: Annotated[float, Within(0.0, 2.0, closed="neither")] = 1.0
    normalise: Annotated[bool, Kind(bool)] = False
    path: Annotated[Path, OneOf("auto", "cells", "line", "blocks", "projections")] = "auto"
    projections: Annotated[int | None, AnyOf(Within(1, integer=True), None)] = None
    block: Annotated[int, Within(1, integer=True)] = 512

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> Iterator[str]:
        """Paths that cannot serve a measure or an exponent."""
        if (self.path == "projections") != (self.projections is not None):
            yield "path='projections' and a number of projections go together."
        if self.path == "projections" and self.measure not in _PROJECTED:
            yield f"projections serve {' and '.join(_PROJECTED)} only."
        if self.exponent != 1 and self.path not in ("auto", "blocks"):
            yield f"path={self.path!r} is for exponent 1; 'blocks' serves every exponent."

    def __call__(
        self,
        yhat: Tensor,
        attributes: Attributes | Tensor | Sequence[Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The measure, a scalar with gradient to the predictions.

        Args:
            yhat: ``(n,)`` predictions in one unit for all rows, or ``(n, p)`` vectors of
                them (O(n^2)). float16 and bfloat16 are widened; sums are float64.
            attributes: of the same rows; see :class:`Attributes`.
            generator: source of random directions.

        Returns:
            Scalar in float32, or float64 for such predictions. It can be differentiated
            twice.

        Raises:
            DataError: for too few rows, unequal numbers of rows or values not finite.
        """
        known = Attributes.of(attributes).to(yhat.device)
        predictions = yhat[:, 0] if yhat.ndim == 2 and yhat.shape[1] == 1 else yhat
        self._check(predictions, known)
        exact = predictions.detach().double()
        if bool((exact == exact[0]).all()):
            warnings.warn(
                "the predictions are constant: they depend on nothing and get no gradient.",
                DataQualityWarning,
                stacklevel=2,
            )
        scale = self._scale(exact, known) if self.normalise else 1.0
        value, gradient, curve = self._parts(exact, known, generator)
        return with_slope(
            predictions, scale * value, scale * gradient, lambda y, v: scale * curve(y, v)
        )

    def plan(self, attributes: Attributes | Tensor | Sequence[Tensor]) -> list[Path]:
        """The path of each term for one prediction a row: one, or one for each attribute."""
        return [self._path(term) for term in self._terms(Attributes.of(attributes))]

    def _check(self, yhat: Tensor, attributes: Attributes) -> None:
        least = 4 if self.estimator == "u" else 2
        if yhat.ndim not in (1, 2) or len(yhat) != len(attributes):
            raise DataError(
                f"predictions have shape {tuple(yhat.shape)}; it must be ({len(attributes)},) or "
                f"({len(attributes)}, columns), for {len(attributes)} rows of attributes."
            )
        if len(yhat) < least:
            raise DataError(
                f"{len(yhat)} rows are too few: estimator={self.estimator!r} needs {least}."
            )
        bad = (~yhat.detach().isfinite()).reshape(len(yhat), -1).any(1).nonzero()[:, 0].tolist()
        if bad:
            raise DataError(
                f"the prediction of row {bad[0]} is not finite ({len(bad)} rows in all).", rows=bad
            )
        if self.measure == "dcov" and len(attributes.blocks) > 1:
            raise DataError(
                f"measure 'dcov' is for one attribute; there are {len(attributes.blocks)}. "
                "Use 'ccdcov' for their joint dependence."
            )
        if self.path == "line" and any(t.joint.shape[1] > 1 for t in self._terms(attributes)):
            raise DataError("path 'line' is for one column; use 'auto'.")

    def _terms(self, attributes: Attributes) -> tuple[Attributes, ...]:
        return attributes.marginals if self.measure == "sum_marginal" else (attributes,)

    def _weights(self, term: Attributes) -> Weights:
        # With one attribute the joint measure equals the plain one for every c.
        product = self.measure == "jdcov" and len(term.blocks) > 1
        return Weights(term, product, self.estimator, self.exponent, self.c, self.block)

    def _path(self, term: Attributes) -> Path:
        if self.path != "auto":
            return self.path
        if self.exponent != 1:
            return "blocks"
        if few_cells(term):
            return "cells"
        return "line" if term.joint.shape[1] == 1 else "blocks"

    def _scale(self, yhat: Tensor, attributes: Attributes) -> float:
        predictions = Attributes((yhat.reshape(len(yhat), -1),))
        product = math.prod(
            spread(one, self.estimator, self.exponent, self.block)
            for one in (predictions, attributes)
        )
        return 1 / product if product > 0 else 0.0

    def _parts(
        self, yhat: Tensor, attributes: Attributes, generator: torch.Generator | None
    ) -> Parts:
        weights = [self._weights(term) for term in self._terms(attributes)]
        if yhat.ndim == 2 or self.exponent != 1:
            _say("blocks", len(yhat))
            if yhat.ndim == 2:
                _say_vectors(yhat.shape[1])
            return _pairwise(yhat, weights)
        order = Order.of(yhat)
        sums = [self._sums(order, weight, generator) for weight in weights]
        total = Sums(*(torch.stack(part).sum(0) for part in zip(*sums, strict=True)))
        gradient = weights[0].sign * slope(order, total, self.estimator)
        value = order.values @ gradient + weights[0].constant(total.rows)
        return value, order.back(gradient), _flat

    def _sums(self, order: Order, weights: Weights, generator: torch.Generator | None) -> Sums:
        term, path = weights.attributes, self._path(weights.attributes)
        _say(path, len(term))
        if path == "cells":
            return cell_sums(order, term.cells.ids[order.rows], weights.table(), self.estimator)
        if path == "blocks":
            return _all_pairs(order, weights)
        columns = term.joint[order.rows]
        if self.projections is None:
            return line_sums(order, columns[:, 0])
        return _projected(order, columns, self.projections, generator)


def _pairwise(yhat: Tensor, weights: list[Weights]) -> Parts:
    """The form by pairs, for vectors of predictions and other exponents."""
    columns = yhat.reshape(len(yhat), -1)
    forms = [weight.pairwise() for weight in weights]
    found = [form.value_and_slope(columns) for form in forms]
    sign, constant = weights[0].sign, weights[0].constant(forms[0].rows)

    def curve(at: Tensor, direction: Tensor) -> Tensor:
        flat = at.reshape(columns.shape), direction.reshape(columns.shape)
        return sign * torch.stack([form.curve(*flat) for form in forms]).sum(0).reshape(yhat.shape)

    value = sign * torch.stack([one for one, _ in found]).sum() + constant
    gradient = sign * torch.stack([other for _, other in found]).sum(0)
    return value, gradient.reshape(yhat.shape), curve


def _all_pairs(order: Order, weights: Weights) -> Sums:
    """Every pair of rows: one kernel on a GPU, blocks elsewhere and for products."""
    columns = weights.attributes.joint
    if columns.is_cuda and not weights.product and find_spec("triton") is not None:
        from .dependence_fused import MOST_COLUMNS, fused_sums

        if columns.shape[1] <= MOST_COLUMNS:
            return fused_sums(order, columns[order.rows])
    return block_sums(order, weights.block(order.rows), weights.size)


def _flat(yhat: Tensor, direction: Tensor) -> Tensor:
    """Absolute differences have no curvature; at ties the sub-gradient is 0."""
    return torch.zeros_like(direction)


def _projected(
    order: Order, columns: Tensor, number: int, generator: torch.Generator | None
) -> Sums:
    """Mean over random directions of the sums of one column, without bias."""
    q = columns.shape[1]
    device = columns.device if generator is None else generator.device
    drawn = torch.randn(number, q, dtype=columns.dtype, device=device, generator=generator)
    units = (drawn / drawn.norm(dim=1, keepdim=True)).to(columns.device)
    factor = math.sqrt(math.pi) * math.exp(math.lgamma((q + 1) / 2) - math.lgamma(q / 2)) / number
    rows, signed = torch.zeros_like(order.values), torch.zeros_like(order.values)
    for unit in units:
        found = line_sums(order, columns @ unit)
        rows += factor * found.rows
        signed += factor * found.signed
    return Sums(rows, signed)


@cache
def _say_once(path: Path, large: bool) -> None:
    cost = "O(n^2) time, in blocks" if path == "blocks" else "O(n log n)"
    _LOG.log(
        logging.WARNING if path == "blocks" and large else logging.INFO,
        "distance covariance takes the path %r (%s)",
        path,
        cost,
    )


@cache
def _say_vectors(columns: int) -> None:
    _LOG.warning(
        "predictions have %d columns: what is measured is the dependence of the whole vector",
        columns,
    )


def _say(path: Path, n: int) -> None:
    _say_once(path, n > 20_000)
