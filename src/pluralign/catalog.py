"""The methods as data: what each is, where it stands, what it needs, how to cite it.

``pluralign list``, ``show`` and ``cite``, the contract suites and the docs index all
read this file; a new method enrols by one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from .errors import ParameterError
from .rules import nearest

Status = Literal["stable", "provisional", "planned"]
Role = Literal["objective", "metric", "function", "sampler", "scorer", "selector", "estimator"]


@final
@dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication.

    Args:
        authors: full names in order.
        title: title as published.
        year: year of publication.
        arxiv: arXiv number without version, or empty.
        venue: conference or journal, or empty.
    """

    authors: tuple[str, ...]
    title: str
    year: int
    arxiv: str = ""
    venue: str = ""

    def bibtex(self) -> str:
        """A BibTeX entry; its key is first author, year and first long title word."""
        surname = self.authors[0].split()[-1].lower()
        word = next((w for w in self.title.split() if len(w) > 3), self.title.split()[0])
        key = f"{surname}{self.year}{''.join(c for c in word.lower() if c.isalnum())}"
        lines = [
            f"  title = {{{self.title}}}",
            f"  author = {{{' and '.join(self.authors)}}}",
            f"  year = {{{self.year}}}",
        ]
        if self.venue:
            lines.append(f"  booktitle = {{{self.venue}}}")
        if self.arxiv:
            lines += [f"  eprint = {{{self.arxiv}}}", "  archivePrefix = {arXiv}"]
        kind = "inproceedings" if self.venue else "misc"
        return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


@final
@dataclass(frozen=True)
class Part:
    """A public object that a method consists of.

    Args:
        name: package (or module) and object, such as ``"objectives.RDPO"``.
        role: whose contract suite it must pass.
        examples: constructor arguments to test it with, one mapping per configuration.
    """

    name: str
    role: Role
    examples: tuple[Mapping[str, Any], ...] = ({},)


@final
@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the library.

    Args:
        key: short name used on the command line and for files.
        title: name in words.
        verb: the package that a user meets it in.
        problem: the user's problem that it answers, in one line.
        paper: what to cite.
        parts: its public objects; empty while planned.
        needs: what the data or the model must offer, in words.
        extra: the installation extra, such as ``"language"``.
        status: ``stable``, ``provisional`` or ``planned``.
    """

    key: str
    title: str
    verb: Literal["collect", "learn", "steer", "audit", "decide", "study"]
    problem: str
    paper: Paper
    parts: tuple[Part, ...] = ()
    needs: str = ""
    extra: str = ""
    status: Status = "planned"
    baseline: bool = field(default=False)

    @property
    def page(self) -> str:
        """Path of the method's page in the documentation; the baselines share one."""
        return f"docs/methods/{'baselines' if self.baseline else self.key}.md"


def find(key: str) -> Method:
    """The method called ``key``.

    Raises:
        ParameterError: with the nearest key, if there is none.
    """
    for method in METHODS:
        if method.key == key:
            return method
    known = [method.key for method in METHODS]
    raise ParameterError(f"no method is called {key!r}; {nearest(key, known)}")


def parts(role: Role) -> list[Part]:
    """All listed objects of one role, in catalogue order."""
    return [part for method in METHODS for part in method.parts if part.role == role]


METHODS: tuple[Method, ...] = (
    Method(
        key="dpo",
        title="Direct preference optimisation",
        verb="learn",
        problem="Tune a language model on preference pairs without a reward model.",
        paper=Paper(
            authors=(
                "Rafael Rafailov",
                "Archit Sharma",
                "Eric Mitchell",
                "Stefano Ermon",
                "Christopher D. Manning",
                "Chelsea Finn",
            ),
            title="Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
            year=2023,
            arxiv="2305.18290",
            venue="NeurIPS",
        ),
        parts=(
            Part(
                "objectives.DPO",
                "objective",
                (
                    {},
                    {"beta": 0.5, "length_normalise": "token_mean"},
                    {"reference_weight": 0.5},
                ),
            ),
        ),
        needs="pairs, a reference model",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="cdpo",
        title="Conservative DPO (label smoothing)",
        verb="learn",
        problem="Keep the margin of a pair finite when some labels are wrong.",
        paper=Paper(
            authors=("Eric Mitchell",),
            title="A note on DPO with noisy preferences & relationship to IPO",
            year=2023,
        ),
        parts=(
            Part("objectives.CDPO", "objective", ({"flip_rate": 0.1}, {"flip_rate": "per_pair"})),
        ),
        needs="pairs, a reference model, an assumed flip rate",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="ipo",
        title="Identity preference optimisation",
        verb="learn",
        problem="Regress the margin to a finite target instead of pushing it without end.",
        paper=Paper(
            authors=(
                "Mohammad Gheshlaghi Azar",
                "Mark Rowland",
                "Bilal Piot",
                "Daniel Guo",
                "Daniele Calandriello",
                "Michal Valko",
                "Rémi Munos",
            ),
            title="A General Theoretical Paradigm to Understand Learning from Human Preferences",
            year=2023,
            arxiv="2310.12036",
            venue="AISTATS",
        ),
        parts=(Part("objectives.IPO", "objective", ({}, {"length_normalise": "token_mean"})),),
        needs="pairs, a reference model",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="slic",
        title="SLiC hinge loss",
        verb="learn",
        problem="Stop pushing a pair once its margin is reached.",
        paper=Paper(
            authors=(
                "Yao Zhao",
                "Rishabh Joshi",
                "Tianqi Liu",
                "Misha Khalman",
                "Mohammad Saleh",
                "Peter J. Liu",
            ),
            title="SLiC-HF: Sequence Likelihood Calibration with Human Feedback",
            year=2023,
            arxiv="2305.10425",
        ),
        parts=(Part("objectives.SLiC", "objective"),),
        needs="pairs, a reference model",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="simpo",
        title="Simple preference optimisation",
        verb="learn",
        problem="Tune without a reference model, on length-normalised rewards.",
        paper=Paper(
            authors=("Yu Meng", "Mengzhou Xia", "Danqi Chen"),
            title="SimPO: Simple Preference Optimization with a Reference-Free Reward",
            year=2024,
            arxiv="2405.14734",
            venue="NeurIPS",
        ),
        parts=(Part("objectives.SimPO", "objective", ({}, {"beta": 2.5, "target_margin": 0.0})),),
        needs="pairs",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="cpo",
        title="Contrastive preference optimisation",
        verb="learn",
        problem="Tune without a reference model, held in place by a likelihood term.",
        paper=Paper(
            authors=(
                "Haoran Xu",
                "Amr Sharaf",
                "Yunmo Chen",
                "Weiting Tan",
                "Lingfeng Shen",
                "Benjamin Van Durme",
                "Kenton Murray",
                "Young Jin Kim",
            ),
            title="Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance "
            "in Machine Translation",
            year=2024,
            arxiv="2401.08417",
            venue="ICML",
        ),
        parts=(Part("objectives.CPO", "objective", ({}, {"nll_weight": 0.0})),),
        needs="pairs",
        extra="language",
        status="stable",
        baseline=True,
    ),
    Method(
        key="ratings",
        title="Rating regression",
        verb="learn",
        problem="Learn a reward for each attribute from ratings, some of them missing.",
        paper=Paper(
            authors=(
                "Zhilin Wang",
                "Yi Dong",
                "Olivier Delalleau",
                "Jiaqi Zeng",
                "Gerald Shen",
                "Daniel Egert",
                "Jimmy J. Zhang",
                "Makesh Narsimhan Sreedhar",
                "Oleksii Kuchaiev",
            ),
            title="HelpSteer2: Open-source dataset for training top-performing reward models",
            year=2024,
            arxiv="2406.08673",
            venue="NeurIPS",
        ),
        parts=(Part("objectives.RatingRegression", "function", ({}, {"strength": 0.5})),),
        needs="rated responses",
        extra="language",
        status="provisional",
        baseline=True,
    ),
    Method(
        key="rdpo",
        title="Robust DPO",
        verb="learn",
        problem="Labels are wrong at a known rate, perhaps more often in some groups.",
        paper=Paper(
            authors=("Sayak Ray Chowdhury", "Anush Kini", "Nagarajan Natarajan"),
            title="Provably Robust DPO: Aligning Language Models with Noisy Feedback",
            year=2024,
            arxiv="2403.00409",
            venue="ICML",
        ),
        parts=(
            Part(
                "objectives.RDPO",
                "objective",
                (
                    {"flip_rate": 0.2},
                    {"flip_rate": "per_pair"},
                    {"flip_rate": 0.2, "variant": "forward"},
                    {"flip_rate": 0.2, "margin_cap": 5.0},
                    {"flip_rate": 0.2, "link": "squared"},
                    {"flip_rate": 0.2, "link": "hinge"},
                    {"flip_rate": 0.2, "link": "probit"},
                    {"flip_rate": 0.2, "link": "probit", "variant": "forward"},
                    {"flip_rate": "per_pair", "length_normalise": "token_mean"},
                    {"rho_plus": 0.1, "rho_minus": 0.3},
                    {"rho_plus": 0.1, "rho_minus": 0.3, "variant": "forward"},
                ),
            ),
            Part("objectives.RobustPlackettLuce", "function"),
            Part("audit.flip_rate", "function"),
            Part("audit.has_finite_minimiser", "function"),
        ),
        needs="pairs, a reference model, flip rates (known or estimated)",
        extra="language",
        status="stable",
    ),
    Method(
        key="ranking_accuracy",
        title="Ranking accuracy and alignment gap",
        verb="audit",
        problem="Does the model itself prefer what people preferred, and could it?",
        paper=Paper(
            authors=(
                "Angelica Chen",
                "Sadhika Malladi",
                "Lily H. Zhang",
                "Xinyi Chen",
                "Qiuyi Zhang",
                "Rajesh Ranganath",
                "Kyunghyun Cho",
            ),
            title="Preference Learning Algorithms Do Not Learn Preference Rankings",
            year=2024,
            arxiv="2405.19534",
            venue="NeurIPS",
        ),
        parts=(Part("audit.ranking_accuracy", "metric"),),
        needs="scored pairs; a reference model for the gap",
        status="stable",
    ),
    Method(
        key="unpacking",
        title="Unpacking DPO and PPO: factorial study",
        verb="study",
        problem="Which part of a preference pipeline buys what?",
        paper=Paper(
            authors=(
                "Hamish Ivison",
                "Yizhong Wang",
                "Jiacheng Liu",
                "Zeqiu Wu",
                "Valentina Pyatkin",
                "Nathan Lambert",
                "Noah A. Smith",
                "Yejin Choi",
                "Hannaneh Hajishirzi",
            ),
            title="Unpacking DPO and PPO: Disentangling Best Practices for Learning "
            "from Preference Feedback",
            year=2024,
            arxiv="2406.09279",
            venue="NeurIPS",
        ),
        parts=(
            Part(
                "objectives.BradleyTerry",
                "objective",
                (
                    {},
                    {"target_margin": 0.5},
                    {"target_margin": "per_pair", "tie_threshold": 0.3},
                    {"tie_threshold": 0.3},
                    {"flip_rate": "per_pair"},
                ),
            ),
        ),
        needs="pairs; for the reward model only, so far",
        extra="language",
    ),
    Method(
        key="mapl",
        title="Multi-level aware preference learning",
        verb="collect",
        problem="Prompts carry several instructions and models follow only some.",
        paper=Paper(
            authors=(
                "Ruopei Sun",
                "Jianfeng Cai",
                "Jinhua Zhu",
                "Kangwen Zhao",
                "Dongyun Xue",
                "Wengang Zhou",
                "Li Li",
                "Houqiang Li",
            ),
            title="Multi-Level Aware Preference Learning: Enhancing RLHF for Complex "
            "Multi-Instruction Tasks",
            year=2025,
            arxiv="2505.12845",
        ),
    ),
    Method(
        key="hypo",
        title="Hybrid preference optimisation (online-KL DPO)",
        verb="learn",
        problem="Offline pairs do not cover what the tuned model says.",
        paper=Paper(
            authors=(
                "Yuda Song",
                "Gokul Swamy",
                "Aarti Singh",
                "J. Andrew Bagnell",
                "Wen Sun",
            ),
            title="The Importance of Online Data: Understanding Preference Fine-tuning "
            "via Coverage",
            year=2024,
            arxiv="2406.01462",
            venue="NeurIPS",
        ),
    ),
    Method(
        key="rps",
        title="Robust preference selection",
        verb="steer",
        problem="A user asks for a trade-off that the model was not tuned for.",
        paper=Paper(
            authors=("Ruochen Mao", "Yuling Shi", "Xiaodong Gu", "Jiaheng Wei"),
            title="Robust Preference Alignment via Directional Neighborhood Consensus",
            year=2025,
            arxiv="2510.20498",
            venue="ICLR",
        ),
        parts=(
            Part(
                "steer.DirectionalSelection",
                "selector",
                (
                    {},
                    {"scheme": "grid", "k": 3},
                    {"scheme": "uniform", "spread": 60.0},
                    {"scheme": "uniform", "law": "angle", "include_target": False},
                    {"train_directions": ((1.0, 0.0),)},
                    {"per_direction": 3, "k": 2},
                    {"standardise": "pool"},
                    {"spread": 0.0},
                ),
            ),
            Part("steer.coverage_gain", "function"),
            Part("steer.compare", "function"),
        ),
        needs="a sampler that follows directions, a scorer of each attribute",
        extra="steer",
        status="stable",
    ),
    Method(
        key="dcpo",
        title="Dual caption preference optimisation",
        verb="learn",
        problem="Tune a diffusion model when one caption does not fit both images.",
        paper=Paper(
            authors=(
                "Amir Saeidi",
                "Yiran Luo",
                "Agneet Chatterjee",
                "Shamanthak Hegde",
                "Bimsara Pathiraja",
                "Yezhou Yang",
                "Chitta Baral",
            ),
            title="Dual Caption Preference Optimization for Diffusion Models",
            year=2025,
            arxiv="2502.06023",
        ),
    ),
    Method(
        key="ncp",
        title="Noise-conditioned perception",
        verb="learn",
        problem="Tune a diffusion model in the features of its own network.",
        paper=Paper(
            authors=(
                "Alexander Gambashidze",
                "Anton Kulikov",
                "Yuriy Sosnin",
                "Ilya Makarov",
            ),
            title="Aligning Diffusion Models with Noise-Conditioned Perception",
            year=2024,
            arxiv="2406.17636",
        ),
    ),
    Method(
        key="diffier",
        title="Iterative error reduction for guided diffusion",
        verb="steer",
        problem="Guided samples drift away from what the model was trained on.",
        paper=Paper(
            authors=("Ao Chen", "Lihe Ding", "Tianfan Xue"),
            title="DiffIER: Optimizing Diffusion Models with Iterative Error Reduction",
            year=2025,
            arxiv="2508.13628",
        ),
    ),
    Method(
        key="a2pr",
        title="Adaptive advantage-guided policy regularisation",
        verb="learn",
        problem="Learn control from a mixed-quality data set without new trials.",
        paper=Paper(
            authors=("T. Liu", "Y. Li", "Y. Lan", "H. Gao", "W. Pan", "X. Xu"),
            title="Adaptive Advantage-Guided Policy Regularization for Offline "
            "Reinforcement Learning",
            year=2024,
            arxiv="2405.19909",
            venue="ICML",
        ),
    ),
    Method(
        key="drm",
        title="Domain-specific risk minimisation",
        verb="learn",
        problem="Data come from several domains and a new one must be served.",
        paper=Paper(
            authors=(
                "Y.-F. Zhang",
                "J. Wang",
                "J. Liang",
                "Z. Zhang",
                "B. Yu",
                "L. Wang",
                "D. Tao",
                "X. Xie",
            ),
            title="Domain-Specific Risk Minimization for Domain Generalization",
            year=2023,
            arxiv="2208.08661",
            venue="KDD",
        ),
        parts=(
            Part("nn.DomainHeads", "function"),
            Part("learn.domains.DomainEnsembleClassifier", "estimator"),
            Part("steer.domain_weights.DomainWeights", "function"),
        ),
        needs="two or more labelled domains with different label rules",
        extra="tabular",
        status="stable",
    ),
    Method(
        key="ghost_batch_norm",
        title="Ghost batch normalisation and the large-batch regime",
        verb="learn",
        problem="Large batches generalise worse than small ones.",
        paper=Paper(
            authors=("Elad Hoffer", "Itay Hubara", "Daniel Soudry"),
            title="Train longer, generalize better: closing the generalization gap in large batch "
            "training of neural networks",
            year=2017,
            arxiv="1705.08741",
            venue="NeurIPS",
        ),
        parts=(
            Part("nn.GhostBatchNorm1d", "function"),
            Part("nn.convert_ghost_norm", "function"),
            Part("nn.recalibrate", "function"),
        ),
        needs="a network with batch normalisation; the regime needs nothing",
        status="stable",
    ),
    Method(
        key="distance_covariance",
        title="Distance-covariance regularisation",
        verb="learn",
        problem="Predictions depend on several protected attributes jointly.",
        paper=Paper(
            authors=("H. M. Lee", "K. Antonio", "B. Avanzi", "L. Marchi", "R. Zhou"),
            title="Machine Learning with Multitype Protected Attributes: Intersectional Fairness "
            "through Regularisation",
            year=2025,
            arxiv="2509.08163",
        ),
        parts=(
            Part("objectives.DistanceCovariance", "function"),
            Part("objectives.Regularised", "function"),
            Part("learn.DependenceRegularisedClassifier", "estimator"),
            Part("learn.DependenceRegularisedRegressor", "estimator", ({}, {"loss": "poisson"})),
        ),
        needs="rows with protected attributes of any type, at training only",
        extra="tabular",
        status="stable",
    ),
    Method(
        key="adaptive_sampling",
        title="Adaptive sampling across groups",
        verb="collect",
        problem="Spend a data budget so that no group's model starves.",
        paper=Paper(
            authors=(
                "W. Cai",
                "R. Encarnacion",
                "B. Chern",
                "S. Corbett-Davies",
                "M. Bogen",
                "S. Bergman",
                "S. Goel",
            ),
            title="Adaptive Sampling Strategies to Construct Equitable Training Datasets",
            year=2022,
            arxiv="2202.01327",
            venue="FAccT",
        ),
        parts=(
            Part("collect.AdaptiveSampler", "function"),
            Part("collect.SamplingPlan", "function"),
            Part("collect.allocate", "function"),
            Part("collect.allocate_whole", "function"),
            Part("collect.fit_curve", "function"),
            Part("collect.GroupPool", "function"),
        ),
        needs="groups known before buying, a metric by group, data in batches",
        status="stable",
    ),
    Method(
        key="negotiation",
        title="Negotiative alignment",
        verb="decide",
        problem="Groups disagree and a package must be agreed within a budget.",
        paper=Paper(
            authors=("R. Mushkani", "H. Berard", "S. Koseki"),
            title="Negotiative Alignment: Embracing Disagreement to Achieve Fairer Outcomes "
            "-- Insights from Urban Studies",
            year=2025,
            arxiv="2503.12613",
        ),
        parts=(
            Part("decide.PackageProblem", "function"),
            Part("decide.solve", "function"),
            Part("decide.compare", "function"),
            Part("decide.negotiate", "function"),
            Part("decide.equal_shares", "function"),
            Part("decide.explain", "function"),
            Part("decide.bootstrap", "function"),
        ),
        needs="what each item is worth to each group, costs, a budget",
        status="stable",
    ),
    Method(
        key="drivers",
        title="Drivers of choice (VIF screen and multinomial lasso)",
        verb="learn",
        problem="Which attributes drive a graded choice?",
        paper=Paper(
            authors=("X. Liao",),
            title="What Benefits Drive Membership in Medicare Advantage Plans?",
            year=2025,
            arxiv="2511.08603",
        ),
        parts=(
            Part(
                "learn.drivers.ChoiceDrivers",
                "estimator",
                ({}, {"penalty": "grouped", "folds": 2}, {"alpha": 0.5, "folds": 2}),
            ),
            Part("learn.drivers.driver_report", "function"),
            Part("learn.drivers.selection_frequencies", "function"),
        ),
        needs="rows with attributes and a class, better with what unit each belongs to",
        extra="tabular",
        status="stable",
    ),
)
