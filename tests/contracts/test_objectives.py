"""What every objective of the catalogue promises, whatever its formula.

A method enrols by its catalogue entry; nothing here names one.
"""

import dataclasses
import importlib
import pickle
import warnings

import pytest
import torch

from pluralign import IncompatibleError, PairScores, ParameterError, catalog, objectives
from pluralign.objectives import Objective, PairObjective
from pluralign.objectives.base import swapped
from pluralign.rules import Rule, field_rules, shown

TRL_METRICS = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
BAD_VALUES = [None, -1, -1e-9, 0, 0.5, 1.0, 1e9, float("nan"), float("inf"), "no such", True, [0.1]]


def described(part, example):
    inside = ", ".join(f"{key}={value}" for key, value in example.items())
    return f"{part.name.split('.')[-1]}({inside})"


LISTED = [(part, example) for part in catalog.parts("objective") for example in part.examples]
EVERY = pytest.mark.parametrize(
    ("part", "example"), LISTED, ids=[described(*listed) for listed in LISTED]
)


def made(part, example, **changes):
    package, _, name = part.name.partition(".")
    kind = getattr(importlib.import_module(f"pluralign.{package}"), name)
    return kind(**{**example, **changes})


def batch(objective, size=7, dtype=torch.float64, seed=0):
    """A batch with every column of ``PairScores`` but ``label_prob``."""
    generator = torch.Generator().manual_seed(seed)

    def normal(centre, spread):
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        return (centre + spread * values).to(dtype)

    def uniform(high):
        return (high * torch.rand(size, generator=generator, dtype=torch.float64)).to(dtype)

    def coin():
        return torch.rand(size, generator=generator) < 0.5

    def length():
        return torch.randint(1, 40, (size,), generator=generator)

    rewards = isinstance(objective, PairObjective)
    return PairScores(
        *(normal(-30.0, 3.0) if rewards else normal(0.0, 1.5) for _ in range(4)),
        chosen_length=length(),
        rejected_length=length(),
        flip_rate=uniform(0.4),
        chosen_first=coin(),
        target_margin=uniform(1.0),
        tie=coin(),
        kind="logprob" if rewards else "reward",
    )


def columns(scores):
    return {name: getattr(scores, name) for name in sorted(scores.available())}


def only(scores, names):
    return PairScores(
        **{name: value for name, value in columns(scores).items() if name in names},
        **{name: None for name in ("chosen", "rejected") if name not in names},
        kind=scores.kind,
    )


@EVERY
def test_is_a_final_objective(part, example):
    objective = made(part, example)
    assert isinstance(objective, Objective)
    assert dataclasses.is_dataclass(objective)
    assert type(objective).__final__
    assert type(objective).__name__ in objectives.__all__


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_terms_are_unreduced_and_keep_their_precision(part, example, dtype):
    objective = made(part, example)
    scores = batch(objective, dtype=dtype)
    scores.chosen.requires_grad_()
    terms = objective(scores)
    wanted = torch.float32 if dtype == torch.bfloat16 else dtype
    assert terms.loss.shape == (7,)
    assert terms.loss.dtype == wanted
    assert terms.loss.requires_grad
    assert set(terms.metrics) >= TRL_METRICS
    for name, values in terms.metrics.items():
        assert values.shape == (7,), name
        assert values.dtype == wanted, name
        assert not values.requires_grad, name
        assert values.isfinite().all(), name


@EVERY
def test_half_precision_scores_are_subtracted_in_float32(part, example):
    objective = made(part, example)
    scores = batch(objective, dtype=torch.bfloat16)
    widened = scores._replace(
        **{n: v.float() for n, v in columns(scores).items() if v.is_floating_point()}
    )
    torch.testing.assert_close(objective(scores).loss, objective(widened).loss, rtol=0, atol=0)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("label_prob", [None, 0.3])
def test_extreme_margins_stay_finite(part, example, dtype, label_prob):
    objective = made(part, example)
    scores = batch(objective, size=4, dtype=dtype)
    reward = scores.kind == "reward"
    policy = torch.tensor([[0.0, -9000.0, -5.0, -9000.0], [-9000.0, 0.0, -5.0, -9000.0]])
    scores = scores._replace(
        chosen=policy[0].to(dtype).requires_grad_(),
        rejected=policy[1].to(dtype).requires_grad_(),
        ref_chosen=torch.full((4,), 0.0 if reward else -300.0, dtype=dtype),
        ref_rejected=torch.full((4,), 0.0 if reward else -300.0, dtype=dtype),
        chosen_length=torch.ones(4, dtype=torch.int64),
        rejected_length=torch.ones(4, dtype=torch.int64),
        label_prob=None if label_prob is None else torch.full((4,), label_prob, dtype=dtype),
    )
    terms = objective(scores)
    slopes = torch.autograd.grad(terms.loss.sum(), (scores.chosen, scores.rejected))
    for values in (terms.loss, *slopes, *terms.metrics.values()):
        assert values.isfinite().all()


@EVERY
def test_gradients(part, example):
    objective = made(part, example)
    scores = batch(objective, size=5)

    def loss(chosen, rejected):
        return objective(scores._replace(chosen=chosen, rejected=rejected)).loss

    inputs = (scores.chosen.clone().requires_grad_(), scores.rejected.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


@EVERY
def test_no_gradient_reaches_the_reference(part, example):
    objective = made(part, example)
    scores = batch(objective)
    for tensor in (scores.chosen, scores.ref_chosen, scores.ref_rejected):
        tensor.requires_grad_()
    references = (scores.ref_chosen, scores.ref_rejected)
    loss = objective(scores).loss.sum()
    assert torch.autograd.grad(loss, references, allow_unused=True) == (None, None)


@EVERY
def test_inputs_are_left_alone(part, example):
    objective = made(part, example)
    scores = batch(objective)._replace(label_prob=torch.full((7,), 0.8, dtype=torch.float64))
    before = {name: (value, value.clone()) for name, value in columns(scores).items()}
    objective(scores)
    for name, (value, copy) in before.items():
        assert torch.equal(value, copy), name


@EVERY
def test_rows_do_not_see_each_other(part, example):
    objective = made(part, example)
    scores = batch(objective)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    shuffled = scores._replace(**{name: value[order] for name, value in columns(scores).items()})
    terms, again = objective(scores), objective(shuffled)
    assert torch.equal(terms.loss[order], again.loss)
    for name, values in terms.metrics.items():
        assert torch.equal(values[order], again.metrics[name]), name


@EVERY
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch's log_ndtr
def test_vmap_is_a_loop(part, example):
    objective = made(part, example)
    scores = batch(objective)
    names = list(columns(scores))

    def of_one_pair(*values):
        return objective(PairScores(**dict(zip(names, values, strict=True)), kind=scores.kind)).loss

    mapped = torch.func.vmap(of_one_pair)(*columns(scores).values())
    torch.testing.assert_close(mapped, objective(scores).loss, rtol=1e-12, atol=1e-12)
    alone = [of_one_pair(*(value[i] for value in columns(scores).values())) for i in range(7)]
    torch.testing.assert_close(mapped, torch.stack(alone), rtol=1e-12, atol=1e-12)


@EVERY
def test_compiles_as_one_graph(part, example):
    objective = made(part, example)
    scores = batch(objective)
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own deprecations are not ours
        compiled = torch.compile(objective.__call__, fullgraph=True, backend="eager")(scores)
    torch.testing.assert_close(compiled.loss, objective(scores).loss, rtol=1e-12, atol=1e-12)


@EVERY
def test_is_a_value(part, example):
    objective = made(part, example)
    assert pickle.loads(pickle.dumps(objective)) == objective
    assert eval(repr(objective), vars(objectives)) == objective
    assert dataclasses.replace(objective) == objective
    assert hash(objective) == hash(made(part, example))
    name = dataclasses.fields(objective)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(objective, name, getattr(objective, name))


@EVERY
def test_every_field_has_a_rule_and_says_so_when_it_is_broken(part, example):
    objective = made(part, example)
    rules = field_rules(type(objective))
    assert set(rules) == {field.name for field in dataclasses.fields(objective)}
    for name, rule in rules.items():
        assert isinstance(rule, Rule)
        bad = [value for value in BAD_VALUES if not rule.admits(value)]
        assert len(bad) >= 3, name
        for value in bad:
            with pytest.raises(ParameterError) as caught:
                made(part, example, **{name: value})
            owner = type(objective).__name__
            wanted = f"{owner}.{name} must be {rule.wants()}; got {shown(value)}."
            assert wanted in str(caught.value).splitlines()


@EVERY
def test_needs_are_what_is_read(part, example):
    objective = made(part, example)
    scores = batch(objective)
    least = only(scores, objective.needs)
    assert torch.equal(objective(least).loss, objective(scores).loss)
    for name in sorted(objective.needs):
        with pytest.raises(IncompatibleError, match=rf"{type(objective).__name__} needs .*{name}"):
            objective(only(scores, objective.needs - {name}))


@EVERY
def test_nothing_is_asked_for_in_vain(part, example):
    objective = made(part, example)
    scores = only(batch(objective), objective.needs)
    scores = scores._replace(label_prob=torch.full((7,), 0.7, dtype=torch.float64))
    terms = objective(scores)
    for name, value in columns(scores).items():
        other = value.logical_not() if value.dtype == torch.bool else value + value.new_ones(7)
        if name == "flip_rate":
            other = value / 2
        changed = objective(scores._replace(**{name: other}))
        same = torch.equal(changed.loss, terms.loss) and all(
            torch.equal(changed.metrics[key], values) for key, values in terms.metrics.items()
        )
        assert not same, f"{name} is needed but changes nothing"


@EVERY
def test_misfits_are_refused(part, example):
    objective = made(part, example)
    scores = batch(objective)
    with pytest.raises(IncompatibleError, match="rejected has shape"):
        objective(scores._replace(rejected=scores.rejected[:3]))
    with pytest.raises(IncompatibleError, match="the batch has"):
        objective(scores._replace(kind="reward" if scores.kind == "logprob" else "logprob"))


@EVERY
def test_soft_labels(part, example):
    objective = made(part, example)
    scores = batch(objective)
    hard = objective(scores).loss
    one, zero = torch.ones(7), torch.zeros(7)
    assert torch.equal(objective(scores._replace(label_prob=one)).loss, hard)
    reverse = swapped(scores)
    assert torch.equal(objective(reverse._replace(label_prob=zero)).loss, hard)
    share = torch.linspace(0, 1, 7, dtype=torch.float64)
    expected = share * hard + (1 - share) * objective(reverse).loss
    got = objective(scores._replace(label_prob=share)).loss
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
