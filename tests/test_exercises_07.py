"""Lesson 7's exercises: right answers pass, listed wrong ones get a hint and never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from metarules.exercises.lesson_07 import carried, check_difference, check_meta_step, check_scale, check_share
from metarules.meta_training.randomness import draw_integer, generator_for
from metarules.meta_training.unrolls import look


def meta_step(
    clip: bool = True, every: bool = True, clear: bool = True, hand_on: Callable[..., Any] = carried, step: bool = True
) -> Any:
    """A meta-step as the lesson writes it, with faults on request."""

    def taken(rule: Any, group: Any, optimiser: Any, s: Any) -> Any:
        g = generator_for(s.seed, "truncation", 0, group.number, group.step)
        length = min(draw_integer(*s.truncation, g), group.horizon - group.step)
        phi, losses = group.phi, []
        for _ in range(length):
            phi = rule(phi, group.task.sample(group.batch_size, g).x)
            losses.append(look(phi, group.task, s, g).mean())
        loss = torch.stack(losses).mean() if every else losses[-1]
        if clear:
            optimiser.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(rule.parameters(), s.clip)
        if step:
            optimiser.step()
        return loss.item(), hand_on(group, phi, length)

    return taken


def test_the_meta_step_is_metatrainers():
    answer = check_meta_step(meta_step())
    assert answer.right, answer.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (meta_step(clip=False), "clipped"),
        (meta_step(every=False), "at every new state"),
        (meta_step(clear=False), "cleared"),
        (meta_step(step=False), "theta has not moved"),
        (meta_step(hand_on=lambda group, phi, steps: group), "still at inner step 0"),
        (lambda rule, group, optimiser, s: (torch.stack([]), group), "replace both ..."),
        (lambda rule, group, optimiser, s: None, "stopped with TypeError"),
    ],
)
def test_wrong_meta_steps_get_a_hint(answer: Any, hint: str):
    verdict = check_meta_step(answer)
    assert not verdict.right and hint in verdict.message, verdict.message


def test_a_graph_that_is_carried_along_is_noticed():
    def attached(group: Any, phi: Any, steps: int) -> Any:
        return replace(group, phi=phi, step=group.step + steps)

    assert not check_meta_step(meta_step(hand_on=attached)).right


def central(f: Any, theta: Any, eps: float) -> Any:
    return torch.stack([(f(theta + e) - f(theta - e)) / (2 * eps) for e in eps * torch.eye(2, dtype=theta.dtype)])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda f, t, eps: 2 * central(f, t, eps), "twice as long"),
        (lambda f, t, eps: -central(f, t, eps), "sign"),
        (lambda f, t, eps: 2 * eps * central(f, t, eps), "divide by"),
        (lambda f, t, eps: central(f, t, eps).sum(), "shape [2]"),
        (lambda f, t, eps: torch.stack([..., ...]), "three dots"),  # type: ignore[list-item]
        (lambda f, t, eps: t, "step up by eps"),
        (lambda f, t, eps: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_differences_get_a_hint(answer: Any, hint: str):
    verdict = check_difference(answer)
    assert not verdict.right and hint in verdict.message, verdict.message


def test_right_difference_and_guesses_pass_and_none_asks_for_a_guess():
    assert check_difference(central).right
    assert check_scale(1, 1.01).right and check_share(0.1, 0.09).right
    for none in (check_scale(None, 1.0), check_share(None, 0.1)):
        assert not none.right and "guess" in none.message and "1.0" not in none.message
    assert "high" in check_scale(2.0, 1.0).message and "low" in check_scale(0.5, 1.0).message
    assert "less" in check_share(0.9, 0.09).message and "more" in check_share(0.001, 0.09).message
