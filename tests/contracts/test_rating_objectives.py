"""What objectives promise (see test_objectives.py), for those that read ratings."""

import dataclasses
import math
import pickle
import warnings

import pytest
import torch

from pluralign import IncompatibleError, ParameterError, catalog, objectives
from pluralign.objectives import RatingRegression
from pluralign.objectives.ratings import RatingScores
from pluralign.rules import field_rules, shown

EXAMPLES = next(
    part.examples
    for method in catalog.METHODS
    for part in method.parts
    if part.name == "objectives.RatingRegression"
)
EVERY = pytest.mark.parametrize("objective", [RatingRegression(**e) for e in EXAMPLES], ids=repr)


def batch(size=7, attributes=3, dtype=torch.float64, missing=0.4):
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(size, attributes, generator=generator, dtype=torch.float64)
    rating = torch.randint(0, 5, (size, attributes), generator=generator).double()
    gone = torch.rand(size, attributes, generator=generator) < missing
    return RatingScores(predicted.to(dtype), rating.masked_fill(gone, math.nan).to(dtype))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_terms_are_unreduced_and_keep_their_precision(objective, dtype):
    scores = batch(dtype=dtype)
    scores.predicted.requires_grad_()
    terms = objective(scores)
    wanted = torch.float32 if dtype == torch.bfloat16 else dtype
    assert terms.loss.shape == (7,)
    assert terms.loss.dtype == wanted
    assert terms.loss.requires_grad
    for values in terms.metrics.values():
        assert values.shape == (7,)
        assert values.dtype == wanted
        assert not values.requires_grad
        assert values.isfinite().all()
    widened = RatingScores(*(part.to(wanted) for part in scores))
    assert torch.equal(objective(widened).loss, terms.loss)


@EVERY
def test_gradients(objective):
    scores = batch()
    predicted = scores.predicted.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: objective(RatingScores(p, scores.rating)).loss, predicted
    )


@EVERY
def test_missing_ratings_have_no_gradient_and_no_part(objective):
    scores = batch()
    predicted = scores.predicted.clone().requires_grad_()
    loss = objective(RatingScores(predicted, scores.rating)).loss
    (slope,) = torch.autograd.grad(loss.sum(), predicted)
    missing = scores.rating.isnan()
    assert missing.any()
    assert slope.isfinite().all()
    assert ((slope == 0) == missing).all()
    moved = scores.predicted + 1e3 * missing
    assert torch.equal(objective(RatingScores(moved, scores.rating)).loss, loss.detach())


@EVERY
def test_each_rating_weighs_the_same(objective):
    """Leaving one attribute out changes nothing for the others."""
    complete = batch(missing=0.0)
    slopes = []
    for rating in (complete.rating, complete.rating.index_fill(1, torch.tensor([0]), math.nan)):
        predicted = complete.predicted.clone().requires_grad_()
        loss = objective(RatingScores(predicted, rating)).loss
        slopes.append(torch.autograd.grad(loss.sum(), predicted)[0])
    assert torch.equal(slopes[0][:, 1:], slopes[1][:, 1:])
    by_hand = objective.strength * (complete.predicted - complete.rating) ** 2
    torch.testing.assert_close(objective(complete).loss, by_hand.mean(1))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_extremes_stay_finite(objective, dtype):
    predicted = torch.tensor([[9e3, -9e3], [0.0, 1.0], [9e3, 0.0]], dtype=dtype, requires_grad=True)
    rating = torch.tensor([[-9e3, 9e3], [math.nan, math.nan], [math.nan, 0.0]], dtype=dtype)
    terms = objective(RatingScores(predicted, rating))
    (slope,) = torch.autograd.grad(terms.loss.sum(), predicted)
    for values in (terms.loss, slope, *terms.metrics.values()):
        assert values.isfinite().all()
    assert terms.loss[1] == 0


@EVERY
def test_inputs_are_left_alone(objective):
    scores = batch()
    before = [part.clone() for part in scores]
    objective(scores)
    for part, copy in zip(scores, before, strict=True):
        torch.testing.assert_close(part, copy, rtol=0, atol=0, equal_nan=True)


@EVERY
def test_no_gradient_reaches_the_ratings(objective):
    scores = batch(missing=0.0)
    for part in scores:
        part.requires_grad_()
    loss = objective(scores).loss.sum()
    assert torch.autograd.grad(loss, scores.rating, allow_unused=True) == (None,)


@EVERY
def test_rows_and_attributes_do_not_see_each_other(objective):
    scores = batch()
    order, columns = torch.tensor([3, 0, 6, 2, 5, 1, 4]), torch.tensor([2, 0, 1])
    terms = objective(scores)
    again = objective(RatingScores(*(part[order] for part in scores)))
    assert torch.equal(again.loss, terms.loss[order])
    turned = objective(RatingScores(*(part[:, columns] for part in scores)))
    torch.testing.assert_close(turned.loss, terms.loss, rtol=1e-12, atol=0)


@EVERY
def test_vmap_is_a_loop(objective):
    scores = batch()

    def of_one(predicted, rating):
        return objective(RatingScores(predicted[None], rating[None])).loss[0]

    mapped = torch.func.vmap(of_one)(*scores)
    torch.testing.assert_close(mapped, objective(scores).loss, rtol=1e-12, atol=1e-12)


@EVERY
def test_compiles_as_one_graph(objective):
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own deprecations are not ours
        compiled = torch.compile(objective.__call__, fullgraph=True, backend="eager")(batch())
    torch.testing.assert_close(compiled.loss, objective(batch()).loss, rtol=1e-12, atol=1e-12)


@EVERY
def test_is_a_value(objective):
    assert type(objective).__final__
    assert type(objective).__name__ in objectives.__all__
    assert pickle.loads(pickle.dumps(objective)) == objective
    assert eval(repr(objective), vars(objectives)) == objective
    assert hash(objective) == hash(dataclasses.replace(objective))
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.strength = 2.0


def test_every_field_has_a_rule_and_says_so_when_it_is_broken():
    rules = field_rules(RatingRegression)
    assert set(rules) == {field.name for field in dataclasses.fields(RatingRegression)}
    for bad in (None, 0, -1.0, float("nan"), float("inf"), "1", True):
        wanted = f"RatingRegression.strength must be {rules['strength'].wants()}; got {shown(bad)}."
        with pytest.raises(ParameterError) as caught:
            RatingRegression(strength=bad)
        assert str(caught.value) == wanted


@pytest.mark.parametrize(
    "shapes", [((3, 2), (3, 1)), ((3,), (3,)), ((3, 0), (3, 0)), ((2, 3), (3, 2))]
)
def test_misfits_are_refused(shapes):
    with pytest.raises(IncompatibleError, match="one shape"):
        RatingRegression()(RatingScores(*(torch.zeros(shape) for shape in shapes)))
