"""Settings of the outer loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metarules._checks import check_choice, check_fields, check_number, check_widths
from metarules._random import MAX_SEED
from metarules.base_model import WIDTHS
from metarules.meta_objective import MetaObjectiveSettings

ESTIMATOR_NAMES = ("backprop", "es", "pes")


@dataclass(frozen=True)
class MetaTrainingSettings:
    """How a rule is meta-trained. Numbers marked "probe" are from our early experiments (CONTRIBUTING, Sources)."""

    meta_steps: int = 1000  # updates of theta
    seed: int = 0  # of everything random: theta, nets, tasks, batches
    # widths above the input of the base models that rules are judged by; with 64 inputs, what the numbers to reach are
    # asked of
    usual_net: tuple[int, ...] = WIDTHS
    usual_net_share: float = 0.5  # share of unrolls on `usual_net`; the others draw depth and widths anew; ours
    depth: tuple[int, int] = (1, 5)  # fewest and most layers of the other nets; paper: 2 to 5
    # fewest and most units of their hidden layers (log-uniform, multiples of 8, each layer for itself); paper: 64 to
    # 512, ours is what a laptop has time for
    width: tuple[int, int] = (16, 128)
    top: tuple[int, int] = (32, 32)  # fewest and most units of their top layer (likewise); paper
    # base models taught at once in a group on `usual_net`; larger nets are fewer, smaller ones more, so that every
    # group costs about the same; probe: 8
    particles: int = 8
    # groups that are kept, each unrolled further when its turn comes; a multiple of groups_per_step; ours: some in
    # every stage of an unroll
    groups: int = 8
    # groups whose meta-gradients are averaged into one update of theta; with several processes, a multiple of their
    # number
    groups_per_step: int = 1
    # fewest and most inner steps a meta-gradient reaches back; probe: 6; sampled against truncation bias (paper)
    truncation: tuple[int, int] = (4, 8)
    # fewest and most inner steps before a group starts anew (log-uniform); probe: 16 to 256; ours longer, since the
    # first steps gain most anyway
    horizon: tuple[int, int] = (48, 256)
    # inner steps between two evaluations of the meta-objective (the last step always counts); paper: at every new state
    objective_every: int = 1
    # fewest and most examples of an inner step, drawn for each unroll; the hand rule is run at 200
    batch_size: tuple[int, int] = (100, 250)
    labels_per_class: int = 10  # labelled examples per class in each batch of the meta-objective; paper
    # batches of the meta-objective, each fitted in turn and scored on the others; ours: one meta-gradient is nearly all
    # noise with the paper's two
    labelled_batches: int = 5
    # the meta-objective; ridge: probe; cross-entropy: ours, since at equal accuracy the cosine distance rewards sparser
    # features
    objective: MetaObjectiveSettings = field(
        default_factory=lambda: MetaObjectiveSettings(ridge=3.0, standardise_features=True, logit_scale=5.0)
    )
    # weight of the ridge error of the tasks' regression targets, where they have some; paper: targets beside the
    # classes; off, see the table of levers
    regression: float = 0.0
    # of the meta-gradient: backprop, es or pes, see `meta_training.estimators`; paper: backprop; the others cost twice
    # the forward passes and are noisier on short unrolls
    estimator: str = "backprop"
    # standard deviation of the noise on theta, for es and pes; ours: a 25th of the RMS of the shipped theta, 0.25
    sigma: float = 0.01
    # inner steps whose intermediates are recomputed in the backward pass instead of being kept: the same gradient in
    # less memory, for a third more time; 0 keeps all, since a truncation of 8 fits into any memory
    checkpoint_every: int = 0
    learning_rate: float = 3e-3  # AdamW's, at its peak; ours: at the probe's 1e-3 theta barely moved in 800 updates
    weight_decay: float = 0.0  # AdamW's weight decay; ours: off
    # meta-steps of linear rise to that peak; ours: Adam's first steps are as large as later ones, with less to go by
    warm_up: int = 20
    final_share: float = 0.05  # share of the peak left at the end of a cosine decay; ours
    # largest norm of one group's meta-gradient; ours: those of small, odd tasks are ten times the others' and as many
    # times as noisy
    clip: float = 0.1
    # decay per meta-step of the exponential average of theta, the one that is shipped; ours: about the last 50 updates
    average: float = 0.98

    def __post_init__(self) -> None:
        counts = ("meta_steps", "particles", "groups", "groups_per_step", "objective_every", "labels_per_class")
        check_fields(self, *counts, low=1, integer=True)
        check_number("seed", self.seed, low=0, high=MAX_SEED, integer=True)
        check_number("labelled_batches", self.labelled_batches, low=2, integer=True)
        check_fields(self, "warm_up", "checkpoint_every", low=0, integer=True)
        check_choice("estimator", self.estimator, ESTIMATOR_NAMES)
        check_fields(self, "sigma", "learning_rate", "clip", low=0, low_open=True)
        check_fields(self, "weight_decay", "regression", low=0)
        check_fields(self, "usual_net_share", "final_share", "average", low=0, high=1)
        least = {"depth": 1, "width": 1, "top": 1, "truncation": 1, "horizon": 1, "batch_size": 2}
        for name, low in least.items():
            _check_span(name, getattr(self, name), low)
        check_widths("usual_net", self.usual_net)
        if self.groups % self.groups_per_step:
            raise ValueError(
                f"groups is {self.groups}; allowed: a multiple of groups_per_step, which is {self.groups_per_step}"
            )


def _check_span(name: str, pair: Any, low: int) -> None:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(f"{name} is {pair!r}; allowed: two whole numbers, fewest and most")
    check_number(f"{name}[0]", pair[0], low=low, integer=True)
    check_number(f"{name}[1]", pair[1], low=pair[0], integer=True)
