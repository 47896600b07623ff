"""What `MetaTrainingConsole` shows, computed without any widget: meta-training in small pieces, looked at as it goes.

The trainer is `meta_training.MetaTrainer`, the tasks and nets are those of a preset. A piece of work is short, so that
a run can be paused and stopped at any time, and every meta-step leaves something to look at.

    python -m metarules.studies.live_record --seeds 0 1 2 --seconds 60
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from metarules._checks import check_choice, check_number
from metarules.base_model import forward_unchecked
from metarules.evaluation.held_out import Judge, JudgeSettings, few_shot
from metarules.meta_training import MetaTrainer, Plan, preset
from metarules.meta_training.outer_loop import averaged_rule
from metarules.meta_training.randomness import generator_for
from metarules.meta_training.settings import ESTIMATOR_NAMES
from metarules.meta_training.unrolls import Group
from metarules.studies.example import Example, example_of
from metarules.studies.planes import main_directions, turned_to
from metarules.tasks import Task
from metarules.tasks.task_form import WEIGHTS
from metarules.update_rule import UpdateRule

LIVE_PRESETS = ("demo", "laptop", "neighbours")  # those whose meta-steps a laptop takes in less than a second
# which coefficients the rule starts with: what stands here in place of the preset's
STARTS: Mapping[str, Mapping[str, float]] = {
    "decorrelation too weak": {"decorr": 0.3},  # the puzzle of lesson 7, with two thousand numbers
    "the shipped rule's start": {},
    "from scratch": {"hebb": 0.05, "decorr": 0.05, "soft": 0.05},  # as every other term
}
MIXES: Mapping[str, Mapping[str, float] | None] = {
    "the preset's mix": None,
    "letters alone": {"glyphs": 1.0},
    "handwriting alone": {"handwriting": 1.0},
    "random decoders alone": {"decoders": 1.0},
    "all families": WEIGHTS,
}
TRUNCATIONS = {"1 step": (1, 1), "2 to 4 steps": (2, 4), "4 to 8 steps": (4, 8), "8 to 16 steps": (8, 16)}
GROUPS = 4  # of particles; more would show more ages, and take longer to draw before the first point
PARTICLES = 8  # in a group at `TRUNCATIONS["4 to 8 steps"]`; fewer where a truncation is longer, at the same price
SHOWN = 2  # particles of each group that are looked at
DOTS = 80  # examples of each
# ours: half a second for each kind of held-out data, so that a pause never waits longer
JUDGE = JudgeSettings(tasks=4, wide=(), steps=40, batch_size=64)
JUDGE_EVERY = 10  # meta-steps between two looks at held-out data


@dataclass(frozen=True)
class LiveSettings:
    """What a run in the console can be given."""

    preset: str = "demo"  # of `LIVE_PRESETS`: nets, tasks, horizons
    start: str = "decorrelation too weak"  # of `STARTS`
    mix: str = "the preset's mix"  # of `MIXES`: families of training data
    truncation: str = "4 to 8 steps"  # of `TRUNCATIONS`: inner steps that a meta-gradient reaches back
    estimator: str = "backprop"  # of the meta-gradient: backprop, es or pes
    learning_rate: float = 0.01  # AdamW's, at its peak; ours: more than the presets', for a run of two minutes
    meta_steps: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("preset", LIVE_PRESETS), ("start", STARTS), ("mix", MIXES), ("truncation", TRUNCATIONS)):
            check_choice(name, getattr(self, name), known)
        check_choice("estimator", self.estimator, ESTIMATOR_NAMES)
        check_number("learning_rate", self.learning_rate, low=0, high=1, low_open=True)
        check_number("meta_steps", self.meta_steps, low=1, high=100_000, integer=True)
        check_number("seed", self.seed, low=0, high=2**31, integer=True)

    def plan(self) -> Plan:
        """The preset with these choices, in meta-steps of one group each."""
        plan, span = preset(self.preset), TRUNCATIONS[self.truncation]
        usual = sum(TRUNCATIONS["4 to 8 steps"])
        train = replace(
            plan.train,
            meta_steps=self.meta_steps,
            seed=self.seed,
            groups=GROUPS,
            groups_per_step=1,
            particles=max(1, min(16, round(PARTICLES * usual / sum(span)))),
            truncation=span,
            batch_size=(50, 50),
            estimator=self.estimator,
            learning_rate=self.learning_rate,
            warm_up=5,
            average=0.9,
        )
        mix = MIXES[self.mix]
        data = plan.data if mix is None else replace(plan.data, usual_share=1.0, weights=mix)
        return replace(plan, train=train, data=data, rule=replace(plan.rule, **STARTS[self.start]), start="")


@dataclass(frozen=True, eq=False)
class Thumb:
    """One particle at one moment: a small base model at its own age, on its own data.

    Attributes:
        points: its top layer's activities in their main plane, within [-1, 1], [n, 2].
        labels: class numbers [n].
        age: inner steps so far.
        horizon: inner steps after which it starts anew.
        accuracy: few-shot accuracy on its own task, in [0, 1].
        examples: what the points stand for [n]; () where only their classes are known, as in a recorded run.
    """

    points: np.ndarray
    labels: np.ndarray
    age: int
    horizon: int
    accuracy: float
    examples: tuple[Example, ...] = ()

    def example(self, number: int) -> Example:
        """What a point stands for."""
        return self.examples[number] if self.examples else Example(number, int(self.labels[number]), None)


@dataclass(frozen=True, eq=False)
class LiveRun:
    """A run so far. M meta-steps.

    Attributes:
        settings: of the run.
        loss: meta-loss of each meta-step [M], NaN where one was skipped.
        norm: length of the meta-gradient before clipping [M].
        clip: what it was clipped to.
        judged: meta-step of each look at held-out data.
        held_out: kind -> accuracies [looks, tasks]; a last look may still lack some kinds.
        steps: meta-steps at which particles were looked at, from 0.
        looks: the particles at each of them.
        ended: whether nothing more will come.
    """

    settings: LiveSettings
    loss: tuple[float, ...]
    norm: tuple[float, ...]
    clip: float
    judged: tuple[int, ...]
    held_out: Mapping[str, tuple[tuple[float, ...], ...]]
    steps: tuple[int, ...]
    looks: tuple[tuple[Thumb, ...], ...]
    ended: bool = False

    @property
    def complete(self) -> int:
        """Looks at held-out data that all kinds have had."""
        return min(len(found) for found in self.held_out.values())

    def gain(self) -> tuple[float, float]:
        """How far held-out accuracy lies above the start's at the last complete look, paired by task.

        Returns:
            Mean and standard error; NaN before the first look.
        """
        if not self.complete:
            return float("nan"), float("nan")
        pairs = np.concatenate([np.subtract(f[self.complete - 1], f[0]) for f in self.held_out.values()])
        return float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(len(pairs)))

    def accuracy(self, look: int = -1) -> float:
        """Mean held-out accuracy over all kinds at a complete look, by default the last; NaN before the first."""
        if not self.complete:
            return float("nan")
        at = range(self.complete)[look]
        return float(np.mean([found[at] for found in self.held_out.values()]))


@dataclass(eq=False)
class LiveTraining:
    """A run that goes on piece by piece.

    Args:
        settings: of the run.

    Example:
        >>> live = LiveTraining(LiveSettings(meta_steps=2))
        >>> while not live.over:
        ...     live.advance()
        >>> rule = live.rule()
    """

    settings: LiveSettings
    _loss: list[float] = field(default_factory=list, init=False)
    _norm: list[float] = field(default_factory=list, init=False)
    _steps: list[int] = field(default_factory=list, init=False)
    _looks: list[tuple[Thumb, ...]] = field(default_factory=list, init=False)
    _judged: list[int] = field(default_factory=list, init=False)
    _held_out: dict[str, list[tuple[float, ...]]] = field(default_factory=dict, init=False)
    _queue: deque[Callable[[], None]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        plan = self.settings.plan()
        self.trainer = MetaTrainer(plan.make_rule(), plan.train, plan.data)
        self._judged_by = Judge(plan.data, JUDGE)
        self._held_out = {kind: [] for kind in self._judged_by.cases}
        self._bases: dict[tuple[int, int, int], np.ndarray] = {}
        self._examples: dict[tuple[int, int, int], tuple[Example, ...]] = {}
        self._look()
        self._turn = False  # whether it is the held-out data's turn; the first point comes before the first judgement
        self._plan_judging(averaged_rule(self.trainer))

    @property
    def number(self) -> int:
        """Meta-steps taken."""
        return self.trainer.number

    @property
    def over(self) -> bool:
        """Whether all meta-steps are taken and judged."""
        return not self._queue and self.number >= self.settings.meta_steps

    def advance(self) -> None:
        """One short piece of work: a meta-step or one kind of held-out data, in turn while there is both."""
        if self._queue and (self._turn or self.number >= self.settings.meta_steps):
            self._queue.popleft()()
            self._turn = False
        elif not self.over:
            self._meta_step()
            self._turn = True

    def rule(self) -> UpdateRule:
        """The rule found so far: the averaged theta, with a card that says how it was made."""
        rule = averaged_rule(self.trainer)
        rule.card = {"made_by": "MetaTrainingConsole", "meta_steps": self.number, **vars(self.settings)}
        return rule

    def so_far(self) -> LiveRun:
        """Everything there is to look at, which later pieces leave alone."""
        kept = {kind: tuple(found) for kind, found in self._held_out.items()}
        loss, norm, clip = tuple(self._loss), tuple(self._norm), self.trainer.settings.clip
        steps, looks = tuple(self._steps), tuple(self._looks)
        return LiveRun(self.settings, loss, norm, clip, tuple(self._judged), kept, steps, looks, self.over)

    def _meta_step(self) -> None:
        step = self.trainer.step()
        self._loss.append(step.loss)
        self._norm.append(step.gradient_norm)
        self._look()
        if self.number % JUDGE_EVERY == 0 or self.number == self.settings.meta_steps:
            self._plan_judging(averaged_rule(self.trainer))

    def _plan_judging(self, rule: UpdateRule) -> None:
        """Put off the judgement of a rule as it is now, a kind of data at a time."""
        self._judged.append(self.number)
        for kind in self._held_out:
            self._queue.append(lambda kind=kind: self._judge(rule, kind))  # type: ignore[misc]

    def _judge(self, rule: UpdateRule, kind: str) -> None:
        self._held_out[kind].append(tuple(self._judged_by.score(rule, kind).tolist()))

    @torch.no_grad()
    def _look(self) -> None:
        self._steps.append(self.number)
        found = [
            self._thumb(index, group, i)
            for index, group in self.trainer.groups.items()
            for i in range(min(SHOWN, group.task.tasks[0]))
        ]
        self._looks.append(tuple(found))

    def _thumb(self, index: int, group: Group, i: int) -> Thumb:
        phi, x, y = group.phi.task(i), group.task.x[i], group.task.y[i]
        one = Task(x, y, group.task.n_classes)
        g = generator_for(self.settings.seed, "look", index, group.number, i)
        labelled = one.sample_labelled(5, g, 2) if int(y.bincount().min()) >= 10 else ()
        accuracy = float(few_shot(phi, labelled, one.n_classes)) if labelled else float("nan")
        features = forward_unchecked(phi, x).features
        centred = torch.nn.functional.normalize(features, dim=-1)[:DOTS]
        centred = centred - centred.mean(0)
        key = (index, group.number, i)
        points = (centred @ main_directions(centred).mT).numpy()
        if key in self._bases:  # so that nothing jumps
            points = turned_to(points[None], self._bases[key][None])[0]
        self._bases[key] = points
        shown = points / max(np.abs(points).max(), 1e-12)
        if key not in self._examples:
            task = group.task.task(i)
            self._examples[key] = tuple(example_of(task, number) for number in range(len(points)))
        return Thumb(shown, y[:DOTS].numpy(), group.step, group.horizon, accuracy, self._examples[key])
