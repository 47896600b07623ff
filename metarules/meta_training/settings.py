"""Settings of the outer loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from metarules._checks import check_choice, check_number
from metarules.meta_objective import MetaObjectiveSettings

ESTIMATOR_NAMES = ("backprop", "es", "pes")
MAX_SEED = 2**63 - 1  # what torch.Generator.manual_seed takes


@dataclass(frozen=True)
class MetaTrainingSettings:
    """How a rule is meta-trained. Numbers marked "probe" are from our early experiments (README, Sources).

    Attributes:
        meta_steps: updates of theta.
        seed: of everything random: theta, tasks, particles.
        architectures: widths of the base models' layers above the input; one group of particles for each.
        particles: tasks taught at once in each group.
        pool: data sets kept ready, out of which tasks are made.
        groups_per_step: groups whose meta-gradients are averaged into one update of theta.
        truncation: fewest and most inner steps a meta-gradient reaches back.
        horizon: fewest and most inner steps in a particle's life (log-uniform).
        objective_every: inner steps between two looks of the meta-objective (the last step always counts).
        batch_size: fewest and most examples of an inner step, drawn for each life.
        labels_per_class: labelled examples per class in each batch of the meta-objective.
        labelled_batches: batches of the meta-objective, each fitted in turn and scored on the others.
        objective: settings of the meta-objective.
        estimator: of the meta-gradient: "backprop", "es" or "pes", see `meta_training.estimators`.
        sigma: standard deviation of the noise on theta, for "es" and "pes".
        learning_rate: Adam's, at its peak.
        warm_up: meta-steps of linear rise to that peak.
        final_share: share of the peak left at the end of a cosine decay.
        clip: largest norm of a meta-gradient.
        average: decay per meta-step of the exponential average of theta, the one that is shipped.
    """

    meta_steps: int = 1000
    seed: int = 0
    architectures: tuple[tuple[int, ...], ...] = ((32, 32, 32), (64, 32), (64, 64, 32), (32, 32), (48, 48, 48, 32))
    particles: int = 8  # probe: 8
    pool: int = 96  # ours: about 25 MB, ten seconds to render; twice as many as live at once, two renewed at each birth
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
    estimator: str = "backprop"  # paper; ES and PES cost twice the forward passes and are noisier on short lives
    sigma: float = 0.01  # ours: a twentieth of the RMS of the shipped theta, 0.22
    learning_rate: float = 3e-3  # ours: at the probe's 1e-3 theta barely moved in 800 updates
    warm_up: int = 20  # ours: Adam's first steps are as large as its later ones, with less to go by
    final_share: float = 0.05  # ours
    clip: float = 1.0  # ours: most meta-gradients of the start have norms below it
    average: float = 0.98  # ours: about the last 50 updates

    def __post_init__(self) -> None:
        for name in ("meta_steps", "particles", "groups_per_step", "objective_every", "labels_per_class"):
            check_number(name, getattr(self, name), low=1, integer=True)
        check_number("seed", self.seed, low=0, high=MAX_SEED, integer=True)
        check_number("pool", self.pool, low=2, integer=True)  # two are renewed at each birth
        check_number("labelled_batches", self.labelled_batches, low=2, integer=True)
        check_number("warm_up", self.warm_up, low=0, integer=True)
        check_choice("estimator", self.estimator, ESTIMATOR_NAMES)
        check_number("sigma", self.sigma, low=0, low_open=True)
        check_number("learning_rate", self.learning_rate, low=0, low_open=True)
        check_number("clip", self.clip, low=0, low_open=True)
        check_number("final_share", self.final_share, low=0, high=1)
        check_number("average", self.average, low=0, high=1)
        for name, least in (("truncation", 1), ("horizon", 1), ("batch_size", 2)):
            pair = getattr(self, name)
            if len(pair) != 2:
                raise ValueError(f"{name} is {pair!r}; allowed: two whole numbers, fewest and most")
            check_number(f"{name}[0]", pair[0], low=least, integer=True)
            check_number(f"{name}[1]", pair[1], low=pair[0], integer=True)
        if not self.architectures or not all(self.architectures):
            raise ValueError(f"architectures is {self.architectures!r}; allowed: one or more tuples of layer widths")
        for i, widths in enumerate(self.architectures):
            for width in widths:
                check_number(f"architectures[{i}]", width, low=1, integer=True)
        if self.groups_per_step > len(self.architectures):
            raise ValueError(f"groups_per_step is {self.groups_per_step}; allowed: 1 .. {len(self.architectures)}")
