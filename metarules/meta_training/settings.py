"""Settings of the outer loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metarules._checks import check_choice, check_number
from metarules._random import MAX_SEED
from metarules.meta_objective import MetaObjectiveSettings

ESTIMATOR_NAMES = ("backprop", "es", "pes")


@dataclass(frozen=True)
class MetaTrainingSettings:
    """How a rule is meta-trained. Numbers marked "probe" are from our early experiments (README, Sources).

    Attributes:
        meta_steps: updates of theta.
        seed: of everything random: theta, nets, tasks, batches.
        usual_net: widths above the input of the base models that rules are judged by.
        usual_net_share: share of lives lived by `usual_net`; the others draw depth and widths anew.
        depth: fewest and most layers of the other nets.
        width: fewest and most units of their hidden layers (log-uniform, multiples of 8, each layer for itself).
        top: fewest and most units of their top layer (likewise).
        particles: base models taught at once in a group on `usual_net`; larger nets are fewer, smaller ones more, so
            that every group costs about the same.
        groups: groups alive; each lives on until its turn comes again. A multiple of `groups_per_step`.
        groups_per_step: groups whose meta-gradients are averaged into one update of theta. With several processes, a
            multiple of their number.
        truncation: fewest and most inner steps a meta-gradient reaches back.
        horizon: fewest and most inner steps in a group's life (log-uniform).
        objective_every: inner steps between two looks of the meta-objective (the last step always counts).
        batch_size: fewest and most examples of an inner step, drawn for each life.
        labels_per_class: labelled examples per class in each batch of the meta-objective.
        labelled_batches: batches of the meta-objective, each fitted in turn and scored on the others.
        objective: settings of the meta-objective.
        regression: weight of the ridge error of the tasks' regression targets, where they have some.
        estimator: of the meta-gradient: "backprop", "es" or "pes", see `meta_training.estimators`.
        sigma: standard deviation of the noise on theta, for "es" and "pes".
        checkpoint_every: inner steps whose insides are made again in the backward pass instead of being kept; 0 keeps
            all. The same gradient in less memory, for a third more time.
        learning_rate: AdamW's, at its peak.
        weight_decay: AdamW's.
        warm_up: meta-steps of linear rise to that peak.
        final_share: share of the peak left at the end of a cosine decay.
        clip: largest norm of one group's meta-gradient.
        average: decay per meta-step of the exponential average of theta, the one that is shipped.
    """

    meta_steps: int = 1000
    seed: int = 0
    usual_net: tuple[int, ...] = (32, 32, 32)  # with 64 inputs: what the numbers to reach are asked of
    usual_net_share: float = 0.5  # ours
    depth: tuple[int, int] = (1, 5)  # paper: 2 to 5
    width: tuple[int, int] = (16, 128)  # paper: 64 to 512; ours is what a laptop has time for
    top: tuple[int, int] = (32, 32)  # paper
    particles: int = 8  # probe: 8
    groups: int = 8  # ours: some in every stage of life
    groups_per_step: int = 1
    truncation: tuple[int, int] = (4, 8)  # probe: 6; sampled against truncation bias (paper)
    horizon: tuple[int, int] = (48, 256)  # probe: 16 to 256; ours longer, since the first steps gain most anyway
    objective_every: int = 1  # paper: at every new state
    batch_size: tuple[int, int] = (100, 250)  # the hand rule is run at 200
    labels_per_class: int = 10  # paper
    labelled_batches: int = 5  # ours: one meta-gradient is nearly all noise with the paper's two
    objective: MetaObjectiveSettings = field(
        # ridge: probe; cross-entropy: ours, since at equal accuracy the cosine distance rewards sparser features
        default_factory=lambda: MetaObjectiveSettings(ridge=3.0, standardise_features=True, logit_scale=5.0)
    )
    regression: float = 0.0  # paper: targets beside the classes; off, see the table of levers
    estimator: str = "backprop"  # paper; ES and PES cost twice the forward passes and are noisier on short lives
    sigma: float = 0.01  # ours: a twentieth of the RMS of the shipped theta, 0.23
    checkpoint_every: int = 0  # a truncation of 8 fits into any memory
    learning_rate: float = 3e-3  # ours: at the probe's 1e-3 theta barely moved in 800 updates
    weight_decay: float = 0.0  # ours: off
    warm_up: int = 20  # ours: Adam's first steps are as large as its later ones, with less to go by
    final_share: float = 0.05  # ours
    clip: float = 0.1  # ours: those of small, odd tasks are ten times the others' and as many times as noisy
    average: float = 0.98  # ours: about the last 50 updates

    def __post_init__(self) -> None:
        for name in ("meta_steps", "particles", "groups", "groups_per_step", "objective_every", "labels_per_class"):
            check_number(name, getattr(self, name), low=1, integer=True)
        check_number("seed", self.seed, low=0, high=MAX_SEED, integer=True)
        check_number("labelled_batches", self.labelled_batches, low=2, integer=True)
        for name in ("warm_up", "checkpoint_every"):
            check_number(name, getattr(self, name), low=0, integer=True)
        check_choice("estimator", self.estimator, ESTIMATOR_NAMES)
        for name in ("sigma", "learning_rate", "clip"):
            check_number(name, getattr(self, name), low=0, low_open=True)
        for name in ("weight_decay", "regression"):
            check_number(name, getattr(self, name), low=0)
        for name in ("usual_net_share", "final_share", "average"):
            check_number(name, getattr(self, name), low=0, high=1)
        least = {"depth": 1, "width": 1, "top": 1, "truncation": 1, "horizon": 1, "batch_size": 2}
        for name, low in least.items():
            _check_span(name, getattr(self, name), low)
        if not isinstance(self.usual_net, tuple) or not self.usual_net:
            raise ValueError(f"usual_net is {self.usual_net!r}; allowed: one layer width or more")
        for width in self.usual_net:
            check_number("usual_net", width, low=1, integer=True)
        if self.groups % self.groups_per_step:
            raise ValueError(
                f"groups is {self.groups}; allowed: a multiple of groups_per_step, which is {self.groups_per_step}"
            )


def _check_span(name: str, pair: Any, low: int) -> None:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(f"{name} is {pair!r}; allowed: two whole numbers, fewest and most")
    check_number(f"{name}[0]", pair[0], low=low, integer=True)
    check_number(f"{name}[1]", pair[1], low=pair[0], integer=True)
