"""Checks for lesson 7: what scaling theta does, finite differences, and one meta-step written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.meta_training import MetaTrainer, MetaTrainingSettings
from metarules.meta_training.unrolls import Group
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import LocalRule, LocalRuleSettings, UpdateRule

STEPS = 4  # meta-steps that the reader's own are compared over
TOLERANCE = 1e-6  # in theta


@predicted("a number such as 0.5, 1 or 2")
def check_scale(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: the meta-loss at 2 theta, divided by that at theta.

    Args:
        guess: the predicted factor.
        measured: the factor found.
    """
    return number_between(
        guess,
        0.9,
        1.1,
        f"measured: {measured:.2f}. A change twice as large makes W twice as large, and batch norm divides by the "
        "size of u = x W. Only the ratio of the two numbers counts.",
        "not as low as that. What does batch norm do to u = x W when W is twice as large?",
        "not as high as that. What does batch norm do to u = x W when W is twice as large?",
    )


@errors_as_hints
def check_difference(difference: Callable[[Callable[[Tensor], Tensor], Tensor, float], Tensor]) -> Feedback:
    """Central differences of a function with respect to each entry of theta.

    Args:
        difference: the learner's function from (f, theta [n], eps) to slopes [n].
    """

    def f(theta: Tensor) -> Tensor:
        return theta[0] ** 2 * theta[1] + theta[1] ** 3

    theta, eps = torch.tensor([1.5, -0.5], dtype=torch.float64), 1e-2
    steps = eps * torch.eye(2, dtype=torch.float64)
    up, down = (torch.stack([f(theta + sign * e) for e in steps]) for sign in (1, -1))
    got = difference(f, theta, eps)
    if not isinstance(got, Tensor) or got.shape != theta.shape:
        what = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return Feedback(False, f"a tensor of a slope for each entry of theta is wanted, shape [2], and this is {what}.")
    hints = {
        "right": (up - down) / (2 * eps),
        "twice as long as it should be: the two points lie 2 eps apart.": (up - down) / eps,
        "the sign is turned: f at the larger theta comes first.": (down - up) / (2 * eps),
        "this is a one-sided difference, whose error is much larger: step down as well as up.": (up - f(theta)) / eps,
        "divide by the distance of the two points.": up - down,
    }
    for hint, value in hints.items():
        if torch.allclose(got, value, rtol=1e-9, atol=1e-12):
            right = hint == "right"
            return Feedback(right, "one pair of losses for each number of theta." if right else hint)
    return Feedback(
        False, "step up by eps in one entry, step down by eps in the same entry, and compare the two losses."
    )


@predicted("a number between 0 and 1")
def check_share(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: what is left of the true meta-gradient's length when the graph is cut every few steps.

    Args:
        guess: the predicted share.
        measured: the share found, below a third.
    """
    return number_between(
        guess,
        measured / 3,
        min(1.0, measured * 3),
        f"measured: {measured:.2f}. Each step multiplies what came before it: most of the length comes from far back.",
        "more than that is left. (Anything within a factor of three counts as right.)",
        "less than that is left. Each step multiplies what came before it: where does most of the length come from?",
    )


def lesson_trainer() -> MetaTrainer:
    """The package's own outer loop, with settings in which every part of a meta-step can be seen.

    One group of two particles, no warm-up and no decay of the rate, a clip that bites at every step.
    """
    settings = MetaTrainingSettings(
        meta_steps=100,
        usual_net_share=1.0,
        particles=2,
        groups=1,
        truncation=(2, 4),
        horizon=(64, 64),
        batch_size=(50, 50),
        labelled_batches=2,
        warm_up=0,
        final_share=1.0,
        seed=1,
    )
    distribution = DistributionSettings(n_examples=400, usual_share=1.0, weights={"glyphs": 1.0})
    rule = LocalRule(LocalRuleSettings(), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return MetaTrainer(rule, settings, distribution)


Step = Callable[[UpdateRule, Group, torch.optim.Optimizer, MetaTrainingSettings], tuple[float, Group]]


def follow(step: Step, steps: int = STEPS) -> tuple[list[float], Tensor, Group]:
    """Take meta-steps with a learner's function from where `lesson_trainer` starts.

    Args:
        step: from (rule, group, optimiser, settings) to the loss and the group as it then stands.
        steps: how many.

    Returns:
        The losses, theta at the end as one vector, and the group.
    """
    trainer = lesson_trainer()
    rule, group, s = trainer.rule, trainer.groups[0], trainer.settings
    optimiser = torch.optim.AdamW(rule.parameters(), lr=s.learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss, group = step(rule, group, optimiser, s)
        losses.append(float(loss))
    return losses, torch.nn.utils.parameters_to_vector(rule.parameters()).detach(), group


@errors_as_hints
def check_meta_step(step: Step) -> Feedback:
    """One meta-step written out: after a few of them theta is that of `MetaTrainer`, to 1e-6.

    Args:
        step: the learner's function from (rule, group, optimiser, settings) to (loss, group).
    """
    trainer = lesson_trainer()
    before = torch.nn.utils.parameters_to_vector(trainer.rule.parameters()).detach().clone()
    wanted = [trainer.step().loss for _ in range(STEPS)]
    theta = torch.nn.utils.parameters_to_vector(trainer.rule.parameters()).detach()
    try:
        losses, found, group = follow(step)
    except (RuntimeError, TypeError) as error:
        if "TensorList" in str(error):
            return Feedback(False, "no loss was collected: replace both ... by your lines.", waiting=True)
        raise
    if torch.equal(found, before):
        return Feedback(False, "theta has not moved: is there a backward pass, and does the optimiser take its step?")
    if group.step == 0:
        return Feedback(
            False, "the group is still at inner step 0: the next truncation has to go on where this one ended."
        )
    if abs(losses[0] - wanted[0]) > TOLERANCE:
        return Feedback(False, "the first loss differs: it is the mean of the meta-objective at every new state.")
    if group.phi.layers[0].W.requires_grad:
        return Feedback(False, "phi still carries its graph: the next truncation takes it as given, so detach it.")
    if float((found - theta).abs().max()) > TOLERANCE:
        reached = abs(losses[1] - wanted[1]) < TOLERANCE
        hint = "AdamW's step is right at first and not later" if reached else "theta differs after the first meta-step"
        return Feedback(False, f"{hint}: are old gradients cleared, and is the new one clipped to settings.clip?")
    return Feedback(True, f"after {STEPS} meta-steps every number of theta is that of MetaTrainer, to 1e-6.")


def carried(group: Group, phi: Any, steps: int) -> Group:
    """The group as it stands after a truncation: its new phi, cut off from the graph, and its new age.

    Args:
        group: before.
        phi: its base models after the truncation.
        steps: inner steps that were taken.
    """
    return replace(group, phi=phi.detach(), step=group.step + steps)
