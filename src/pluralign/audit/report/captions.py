"""Sentences that stay the same whatever the data, for the figures behind the means."""

from __future__ import annotations

from typing import Final

CHANGE: Final = (
    "Each line leads from the share of pairs that the start ranks rightly to that of the tuned "
    "model. The whisker is the interval of the change on the same pairs, drawn around its end: "
    "where it stays clear of the grey dot, chance alone hardly explains the change."
)

DRIFT_LEAD: Final = (
    "Both log-probabilities may fall, and that alone is no fault: the loss rewards the gap between "
    "them, and nothing holds the chosen response up. Probability moves to responses that are in "
    "neither. Worry when the chosen one falls far while ranking accuracy does not rise: then the "
    "model unlearns what it was shown."
)

DRIFT: Final = (
    "Mean change of the log-probability of a response against the reference, in nats per response, "
    "with its interval. Left of the dashed line the response has become less likely."
)

DRIFT_REMEDY: Final = (
    "Look at what the model writes before using it. A smaller learning rate, fewer steps, a larger "
    "beta or an added likelihood term on the chosen response hold it back."
)

DRIFT_CURVE: Final = (
    "The same during training: over the held-out pairs where they were evaluated more than once, "
    "else over the pairs of the training steps."
)

MARGIN: Final = (
    "Log-probability of the chosen response minus that of the rejected one. Bars right of the "
    "dashed line are pairs ranked rightly; near the line a small change of the model turns them. "
    "The outermost bars hold all that lies beyond; each panel is as high as its highest bar."
)

MARGIN_GROUPS: Final = (
    "The mark is the median pair of a group, the line through it its middle half (not an interval "
    "of confidence)."
)

DIFFICULTY: Final = (
    "Each pair has a loss that training must reach before the model ranks it rightly; the "
    "reference and beta decide it before training starts. From log 2 = 0.69 on the reference "
    "ranks the pair rightly already. The further left, the harder: a mean loss above a bar says "
    "little about the pairs in it. The outermost bar holds all that lies beyond."
)

THRESHOLDS: Final = (
    "The share of pairs that are ranked rightly once each of them has reached a loss. At log 2 = "
    "0.69, where tuning starts, it is the accuracy of the reference; the lower a loss training "
    "reaches, the more pairs have turned. Where a curve climbs only at its left end, hardly "
    "any training turns those pairs. A mean loss hides this: the hard pairs stay above it."
)

LENGTH: Final = (
    "Ranking accuracy by how long the chosen response is, compared with the rejected one. A level "
    "row means that length decides little. Rising marks mean that the score favours long "
    "responses, falling ones that it favours short ones, as sums of log-probabilities do."
)

CALIBRATION: Final = (
    "The implicit reward claims a probability for the response it prefers: the logistic function "
    "of beta times the margin. Each mark is a level of that claim, and how often the labels agree. "
    "Marks on the dashed line keep their word, marks below it claim too much, marks above it too "
    "little. Where labels are noisy, a model that is sure claims more than any label can confirm."
)

CALIBRATION_GROUPS: Final = (
    "Circles: how often labels agree with the rewards in a group, with the interval. Squares: how "
    "often the rewards claim it."
)

CHECKPOINTS: Final = (
    "Ranking accuracy and win rate at the same checkpoints. Near the reference both rise together; "
    "past the peak of the win rate, ranking accuracy may go on rising while the win rate falls. "
    "Choose a checkpoint by the win rate, not by ranking accuracy."
)

DATA_LEAD: Final = (
    "Found in the pairs before training, the gravest first. A model learns what its labels say, "
    "faults included."
)

TEXTS_NOTE: Final = "These are texts from the data. They may offend."
