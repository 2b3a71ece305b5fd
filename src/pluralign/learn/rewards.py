"""``RewardTrainer``: fit a reward model to preference pairs, to ratings, or to both."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback

from ..data import Preferences, ScoredPairs
from ..engines import RewardModel
from ..errors import DataQualityWarning, IncompatibleError, ParameterError
from ..objectives import BradleyTerry, Objective, RatingRegression
from ..rules import nearest, shown
from ..scores import TokenBatch
from .attributes import AttributeStep, compared_in, joined_rows
from .config import TrainingConfig
from .host import Step
from .language import require_columns
from .protected import Protected, refuse_several
from .ratings import Ratings, rating_rows, tokenised_ratings
from .record import described
from .rows import TokenRows, collate, label_columns, pair_rows, tokens_of
from .scoring import eval_batches, in_batches, scored_pairs, tokenised
from .steps import RewardStep
from .trainer import LanguageTrainer, all_rows, data_facts

Pairs: TypeAlias = Preferences | Mapping[str, Preferences]
"""Pairs of the model's only output, or of the outputs that they compare."""

_CHANCE = 0.55


@final
class RewardTrainer(LanguageTrainer):
    """Trains a reward model on preference pairs, on ratings of single responses, or on both.

    Use it for best-of-n, for steering by several attributes, for labelling new pairs, or to
    audit rewards by group. The learning rate falls from 1e-5 to 1e-6 over one epoch unless
    ``config`` says otherwise.

    ``loss of a pair = softplus(-(R_a(x, chosen) - R_a(x, rejected)))`` by default, ``a``
    being the output that its set compares; ``loss of a rated response = strength / A * sum
    over rated a of ((R_a(x, y) - rating_a) / scale_a)^2`` with the model's ``scale``. The
    loss of a step is the mean over all its pairs and rated responses.

    Args:
        model: a reward model; trained in place. With ratings, create it with their
            ``offset()`` and ``scale()``.
        pairs: what to train on: pairs, or a mapping from the model's outputs to pairs.
        ratings: rated responses; an output that they do not rate is left to the pairs.
        objective: an objective of rewards, for the pairs.
        rating_objective: of the ratings; its ``strength`` weighs them against the pairs.
        tokenizer: the model's tokenizer.
        config: settings of the run; ``TrainingConfig.for_rewards()`` if not given.
        eval_pairs: held-out pairs, in the form of ``pairs``.
        eval_ratings: held-out ratings.
        callbacks: callbacks of transformers.
        sensitive: columns of the pairs that a ``Regularised`` objective penalises, such as
            ``Regularised(base=BradleyTerry(), ..., on="reward")``.

    Raises:
        IncompatibleError: for pairs of a model with several outputs that do not say which,
            or data that lack a column.
        ParameterError: if there is nothing to train on, or for a name that is no output.
        DataError: if texts cannot be tokenised.

    References:
        Ivison et al., 2024, arXiv 2406.09279 (pairs). Wang et al., 2024, arXiv 2406.08673
        (ratings).
    """

    responses: ClassVar[int] = 2

    def __init__(
        self,
        model: RewardModel,
        pairs: Pairs | None = None,
        *,
        ratings: Ratings | None = None,
        tokenizer: Any,
        objective: Objective | None = None,
        rating_objective: RatingRegression | None = None,
        config: TrainingConfig | None = None,
        eval_pairs: Pairs | None = None,
        eval_ratings: Ratings | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        sensitive: Sequence[str] = (),
    ) -> None:
        config = config or TrainingConfig.for_rewards()
        objective = objective or BradleyTerry()
        if pairs is None and ratings is None:
            raise ParameterError("RewardTrainer needs pairs or ratings; got neither.")
        several = len(model.names) > 1 or ratings is not None or eval_ratings is not None
        refuse_several(objective, several)
        alone = next(iter(pairs.values()), None) if isinstance(pairs, Mapping) else pairs
        self._protected = Protected(sensitive, objective, alone)
        train = _Sets(self._protected, model, objective, pairs, ratings, tokenizer, config)
        held_out = _Sets(
            self._protected, model, objective, eval_pairs, eval_ratings, tokenizer, config
        )
        groups = tuple(sorted(train.groups() | held_out.groups()))
        rows = joined_rows(train.rows(groups))
        # Held-out rows are of one kind, so that every metric has a value for each of them.
        eval_rows = held_out.rows(groups)
        first = joined_rows(eval_rows[: len(held_out.pairs) or 1]) if eval_rows else None
        self.prepared(model.body, config, all_rows(rows, *eval_rows))
        self.objective = objective
        self.eval_ratings = eval_ratings
        rating_objective = rating_objective or RatingRegression()
        super().__init__(
            _ready(model),
            _step(model, objective, rating_objective, train, held_out),
            rows,
            first,
            groups=groups,
            tokenizer=tokenizer,
            config=config,
            callbacks=callbacks,
            facts={
                "objective": described(objective if train.pairs else rating_objective),
                "rating_objective": described(rating_objective) if ratings else None,
                "data": data_facts(**train.facts("train"), **held_out.facts("eval")),
            },
        )

    def fit(self) -> dict[str, float]:
        """Train, then evaluate; warns if the model is near chance on held-out pairs."""
        metrics = super().fit() | self._rated(self.eval_ratings)
        accuracy = metrics.get("eval_rewards/accuracies", 1.0)
        if accuracy < _CHANCE:
            warnings.warn(
                f"the reward model is right on {accuracy:.1%} of held-out pairs, near chance; what "
                "is optimised against it would chase noise.",
                DataQualityWarning,
                stacklevel=2,
            )
        return metrics

    def evaluate(
        self, pairs: Pairs | None = None, *, ratings: Ratings | None = None
    ) -> dict[str, float]:
        """Metrics on held-out data, per example: overall, by group, worst group.

        Of ratings the error (root mean square, in the raters' unit) and the correlation of
        each attribute, and the largest error of a group.

        Args:
            pairs: in the form of the training's; those given before if neither is given.
            ratings: rated responses.
        """
        if pairs is None and ratings is None:
            return self._evaluated(None) | self._rated(self.eval_ratings)
        if pairs is None:
            return self._rated(ratings)
        sets = _Sets(
            self._protected, self.model, self.objective, pairs, None, self.tokenizer, self.config
        )
        self.host.groups = (*self.host.groups, *sorted(sets.groups() - {*self.host.groups}))
        found = self._evaluated(joined_rows(sets.rows(self.host.groups)))
        return found | self._rated(ratings)

    def scores(self, pairs: Preferences, output: str | None = None) -> ScoredPairs:
        """Rewards of both responses of any pairs; ``kind`` is ``"reward"``.

        Args:
            pairs: the pairs.
            output: which output; may be left out if the model has one.
        """
        number = _number(output, self.model)
        tokens = tokenised(pairs, self.tokenizer, self.config)

        def reward(batch: TokenBatch) -> tuple[torch.Tensor]:
            return (self.model(batch)[..., number].float(),)

        with self.host.accelerator.autocast():
            (rewards,) = in_batches(reward, tokens, self.config)
        return scored_pairs(pairs, tokens, rewards.astype(np.float64), kind="reward")

    @torch.no_grad()
    def predict(self, ratings: Ratings) -> NDArray[np.float64]:
        """Predicted ratings ``(N, A)`` in the order of the model's outputs; NaN where dropped.

        Args:
            ratings: rated responses, of which only the texts are read.
        """
        tokens = tokenised_ratings(ratings, self.tokenizer, self.config)
        rows = TokenRows([tokens.rows(i) for i in range(len(tokens))])
        found = np.full((len(ratings), len(self.model.names)), np.nan)
        for index in eval_batches(rows.sizes(), self.config):
            batch = tokens_of(collate([rows[int(i)] for i in index]))
            with self.host.accelerator.autocast():
                rewards = self.model(batch)[:, 0].float()
            found[tokens.kept[index]] = rewards.cpu().numpy()
        return found

    def _rated(self, ratings: Ratings | None) -> dict[str, float]:
        if ratings is None:
            return {}
        errors = self.predict(ratings)
        truth = ratings.matrix(self.model.names)
        found: dict[str, float] = {}
        for name, predicted, rated in zip(self.model.names, errors.T, truth.T, strict=True):
            known = np.isfinite(predicted) & np.isfinite(rated)
            if known.any():
                found |= _fit_of(name, predicted, rated, known, ratings.group)
        return found

    def _before_training(self) -> None:
        return

    def _save_model(self, part: Path, adapter_only: bool) -> None:
        self.model.save(part)


class _Sets:
    """Pairs by output and ratings, tokenised by the rules of a run."""

    def __init__(
        self,
        protected: Protected,
        model: RewardModel,
        objective: Objective,
        pairs: Pairs | None,
        ratings: Ratings | None,
        tokenizer: Any,
        config: TrainingConfig,
    ) -> None:
        self.names, self._protected = model.names, protected
        self.single = not isinstance(pairs, Mapping)
        given = {} if pairs is None else _by_output(pairs, model)
        for data in given.values():
            require_columns(objective, data, reference=False)
        _check_alike(given)
        self.pairs = {name: (p, tokenised(p, tokenizer, config)) for name, p in given.items()}
        self.ratings = None
        if ratings is not None:
            ratings.matrix(model.names)  # a name that is no output is refused before the work
            self.ratings = (ratings, tokenised_ratings(ratings, tokenizer, config))

    def groups(self) -> set[str]:
        """Names of all groups."""
        sets: list[Any] = [data for data, _ in self.pairs.values()]
        sets += [self.ratings[0]] if self.ratings else []
        return {name for data in sets for name in data.group or ()}

    def rows(self, groups: Sequence[str]) -> list[TokenRows]:
        """Rows of each set, those of pairs first."""
        found = [
            compared_in(
                self._protected.rows(pair_rows(data, tokens, groups), data, tokens),
                self.names.index(name),
            )
            for name, (data, tokens) in self.pairs.items()
        ]
        if self.ratings is not None:
            found.append(rating_rows(*self.ratings, self.names, groups))
        return found

    def facts(self, part: str) -> dict[str, tuple[Any, Any]]:
        """What ``run.json`` says of the sets, by name."""
        named = {part if self.single else f"{part}/{k}": v for k, v in self.pairs.items()}
        rated = f"{part}/ratings" if self.pairs else part
        return named | ({rated: self.ratings} if self.ratings else {})


def _by_output(pairs: Pairs, model: RewardModel) -> dict[str, Preferences]:
    if isinstance(pairs, Preferences):
        if len(model.names) != 1:
            raise IncompatibleError(
                f"pairs say which response is better, not in what; the model has outputs "
                f"{list(model.names)}. Give a mapping from the name of an output to pairs, or use "
                "a RewardModel with one name."
            )
        return {model.names[0]: pairs}
    if not pairs:
        raise ParameterError("RewardTrainer.pairs is an empty mapping; name an output.")
    return {model.names[_number(name, model)]: data for name, data in pairs.items()}


def _number(output: str | None, model: RewardModel) -> int:
    if output is None and len(model.names) == 1:
        return 0
    if output not in model.names:
        raise ParameterError(
            f"the model has no output {shown(output)}; {nearest(str(output), model.names)}"
        )
    return model.names.index(output)


def _check_alike(pairs: Mapping[str, Preferences]) -> None:
    """Labels that one set has and another lacks would have to be invented for the other."""
    columns = {name: set(label_columns(data)) for name, data in pairs.items()}
    for name, found in columns.items():
        other = next(iter(columns))
        if found != columns[other]:
            raise IncompatibleError(
                f"pairs of {other!r} have the columns {sorted(columns[other])} and those of "
                f"{name!r} {sorted(found)}; give all sets the same."
            )


def _step(
    model: RewardModel,
    objective: Objective,
    rating_objective: RatingRegression,
    *sets: _Sets,
) -> Step:
    if len(model.names) == 1 and not any(one.ratings for one in sets):
        return RewardStep(objective)
    return AttributeStep(objective, rating_objective, *model.scaling())


def _fit_of(
    name: str,
    predicted: NDArray[np.float64],
    rated: NDArray[np.float64],
    known: NDArray[np.bool_],
    group: Sequence[str] | None,
) -> dict[str, float]:
    """Error and correlation of one attribute, and the group with the largest error."""
    squared = np.square(predicted - rated)
    found = {f"eval_ratings/{name}/rmse": float(np.sqrt(squared[known].mean()))}
    if np.ptp(predicted[known]) and np.ptp(rated[known]):
        correlation = float(np.corrcoef(predicted[known], rated[known])[0, 1])
        found[f"eval_ratings/{name}/correlation"] = correlation
    if group is not None:
        names = np.array(group, dtype=object)
        parts = [known & (names == one) for one in sorted(set(group))]
        errors = [float(np.sqrt(squared[part].mean())) for part in parts if part.any()]
        found[f"eval_worst_group/ratings/{name}/rmse"] = max(errors)
    return found


def _ready(model: RewardModel) -> RewardModel:
    """The model with its head where its body is, and the body's switch for checkpointing."""
    model.head.to(next(model.body.parameters()).device)
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        if hasattr(model.body, name):
            setattr(model, name, getattr(model.body, name))
    return model
