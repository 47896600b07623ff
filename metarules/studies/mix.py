"""What `RuleMixer` shows, computed without any widget: a mix of terms teaching a base model."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from metarules._checks import check_kind, check_number
from metarules._work import Progress
from metarules.base_model import forward
from metarules.classic_rules import CLASSIC_RULES, get_rule
from metarules.classic_rules.mixed import MixedRule
from metarules.evaluation import effective_dimension, likeness, mean_of_pairs
from metarules.studies.trajectory import Exploration, explore
from metarules.tasks import Task
from metarules.update_rule import LocalRule, PaperRule, UpdateRule

FRAMES = 25  # recorded steps, besides step 0: half of the explorer's, so that a new mix is there in half a second
STEPS = 100  # the hand rule's recipe; a new mix is there in half a second
OWN, OWN_LEARNED = "Your own mix", "Learned, terms scaled"
_OURS = {
    "hebb": "hebb",
    "decorr_x": "decorr",
    "soft": "soft",
}  # terms of a learned rule -> here; the rest: others


@dataclass(frozen=True)
class Mix:
    """Where the sliders stand.

    Attributes:
        learned: False: the numbers below are the settings of a `MixedRule`. True: hebb, decorr, soft and others are
            factors on the terms of a learned rule, 1 leaving a term as it was learned, and the rest is unused.
        hebb, decorr, soft: the three terms in sight.
        oja, decay, lr, temperature: further settings of a `MixedRule`.
        others: factor on the other terms of a learned rule.
        as_is: name of a registered rule that is no mix of these terms; it teaches as it is, and no number is used.
    """

    learned: bool = False
    hebb: float = 1.0
    decorr: float = 0.0
    soft: float = 0.0
    oja: float = 0.0
    decay: float = 1.0
    lr: float = 0.03
    temperature: float = 0.1
    others: float = 1.0
    as_is: str = ""

    def rule(self, learned: UpdateRule) -> UpdateRule:
        """The rule this mix stands for.

        Args:
            learned: the rule whose terms are scaled if this mix is of a learned one.

        Raises:
            ValueError: a setting out of range or not finite.
            TypeError: the learned rule cannot scale its terms.
        """
        scalable = check_kind("learned", learned, LocalRule, PaperRule)
        if self.as_is:
            return get_rule(self.as_is)
        if not self.learned:
            names = [f.name for f in fields(MixedRule.settings_type)]
            return MixedRule.with_settings(**{name: getattr(self, name) for name in names})
        factors = {name: getattr(self, _OURS.get(name, "others")) for name in scalable.term_names}
        for name, factor in factors.items():
            check_number(f"the factor on {name}", factor, low=-10, high=10)
        return scalable.with_scales(terms=factors)

    def used(self, learned: UpdateRule) -> set[str]:
        """Which of the numbers matter to the rule this mix stands for."""
        if self.as_is:
            return set()
        if self.learned:
            terms = check_kind("learned", learned, LocalRule, PaperRule).term_names
            return {_OURS.get(term, "others") for term in terms}
        return {f.name for f in fields(MixedRule.settings_type)}

    @property
    def name(self) -> str:
        """The preset these numbers are, what a rule is called, or what a mix of one's own is called."""
        if self.as_is:
            return CLASSIC_RULES[self.as_is].label
        own = OWN_LEARNED if self.learned else OWN
        return next((name for name, mix in PRESETS.items() if mix == self), own)


PRESETS: Mapping[str, Mix] = MappingProxyType(
    {
        "Hebb": Mix(),
        "Oja": Mix(hebb=0.0, oja=1.0, decay=0.0, lr=1.0),
        "Hebb + decorrelation": Mix(decorr=0.9),
        "Soft competition": Mix(hebb=0.0, soft=1.0, lr=0.05),
        "Learned": Mix(learned=True, hebb=1.0, decorr=1.0, soft=1.0),
    }
)


def presets(asked: str = "") -> dict[str, Mix]:
    """`PRESETS`, then the hand-written rules from outside this package, and one of ours if asked for by its name.

    Those are no mixes of the terms at hand: a `Mix` that only names them has them teach as they are.
    """
    found = dict(PRESETS)
    for name, rule in CLASSIC_RULES.items():
        if name == asked or not rule.__module__.startswith("metarules."):
            found.setdefault(rule.label, Mix(hebb=0.0, as_is=name))
    return found


@dataclass(frozen=True, eq=False)
class MixRun:
    """A trajectory under a mix, and how different its neurons are. F recorded steps, L layers.

    Attributes:
        mix: where the sliders stood.
        exploration: the trajectory: states, few-shot accuracies, filters.
        likeness: for each layer 1 .. L, |cosine| between the incoming weights of its neurons, [F, n_l, n_l].
        dimensions: effective dimension of the activities of layers 0 .. L, [F, L + 1].
    """

    mix: Mix
    exploration: Exploration
    likeness: tuple[np.ndarray, ...]
    dimensions: np.ndarray

    def alike(self, layer: int) -> np.ndarray:
        """Mean likeness of all pairs of different neurons of a layer, 1 .. L, at every recorded step: [F]."""
        return mean_of_pairs(torch.from_numpy(self.likeness[layer - 1])).numpy()


@torch.no_grad()
def run_mix(
    mix: Mix,
    task: Task,
    learned: UpdateRule,
    *,
    steps: int = STEPS,
    seed: int = 0,
    sizes: tuple[int, ...] | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MixRun:
    """Let a mix teach one base model, and measure how alike its neurons become.

    Args:
        mix: where the sliders stand.
        task: a single task, on the CPU.
        learned: the learned rule, see `Mix.rule`.
        steps: inner steps, 1 .. 2000.
        seed: of initial weights and batches, from 0.
        sizes: (n_0, .., n_L); None takes the task's inputs and layers of 32, 32, 32.
        progress, stop: as for `explore`.

    Returns:
        The `MixRun`.

    Raises:
        Stopped, DivergenceError, ValueError, TypeError: as `explore` and `Mix.rule`.
    """
    check_number("steps", steps, low=1, integer=True)
    rule = mix.rule(learned)
    options: dict[str, Any] = {"sizes": sizes, "steps": steps, "seed": seed, "progress": progress, "stop": stop}
    e = explore(rule, task, frames=FRAMES, **options)
    activities = [forward(state, task.x).x for state in e.states]
    return MixRun(
        mix=mix,
        exploration=e,
        likeness=tuple(
            likeness(torch.stack([state.layers[l].W for state in e.states])).numpy() for l in range(e.states[0].depth)
        ),
        dimensions=torch.stack([torch.stack([effective_dimension(x) for x in xs]) for xs in activities]).numpy(),
    )
