"""The foundation's rules, frozen in benchmarks/yardstick, against today's: faster is only worth telling of if equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import yardstick
from benchmarks.yardstick import particles as yardstick_particles
from metarules.base_model import BaseModelState, forward, init_state
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainingSettings
from metarules.meta_training.unrolls import start_group, truncated_loss
from metarules.tasks import Task
from metarules.update_rule import LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

TOLERANCE = 1e-10  # of the largest number in the tensor, float64
SMALL_PAPER = {"channels": 6, "delta_channels": 4, "readout_channels": 2, "top_channels": 5, "top_units": 7}
SMALL_LOCAL = {"channels": 6, "signals": 3, "readouts": 2}
SMALL_RUN = MetaTrainingSettings(
    particles=2, truncation=(3, 3), horizon=(9, 9), batch_size=(12, 12), labels_per_class=2, labelled_batches=3
)


def both(kind: str, settings: Mapping[str, Any], generator: torch.Generator) -> tuple[UpdateRule, UpdateRule]:
    """Today's rule and the foundation's with the same theta, none of whose numbers is left at a special value."""
    now: UpdateRule
    then: UpdateRule
    if kind == "local":
        now = LocalRule(LocalRuleSettings(**settings), dtype=torch.float64)
        then = yardstick.LocalRule(yardstick.LocalRuleSettings(**settings), dtype=torch.float64)
    else:
        now = PaperRule(PaperRuleSettings(**settings), dtype=torch.float64)
        then = yardstick.PaperRule(yardstick.PaperRuleSettings(**settings), dtype=torch.float64)
    with torch.no_grad():
        for parameter in now.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    then.load_state_dict(now.state_dict())
    return now, then


def life(rule: UpdateRule, phi: BaseModelState, batches: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """phi after a few steps, and the gradient of a number made from its features, by theta and by the first phi."""
    start = phi.map(lambda t: t.detach().clone().requires_grad_())
    phi = start
    for x in batches:
        phi = rule(phi, x)
    features = forward(phi, batches[0]).features
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    wanted = {**dict(rule.named_parameters()), **{f"phi {name}": t for name, t in start.tensors()}}
    found = torch.autograd.grad((weights * features.square()).sum(), list(wanted.values()), allow_unused=True)
    gradient = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(wanted.items(), found, strict=True)}
    return {name: t.detach() for name, t in phi.tensors()}, gradient


def assert_same(now: Mapping[str, Tensor], then: Mapping[str, Tensor], floor: float = 0.0) -> None:
    """Each tensor relative to its own largest number, or to `floor` where that is larger."""
    assert now.keys() == then.keys()
    for name, value in then.items():
        size = max(float(value.abs().max()), floor)
        assert float((now[name] - value).abs().max()) <= TOLERANCE * size, name


CASES = [
    ("local", {}),
    ("local", SMALL_LOCAL),
    *(("local", {**SMALL_LOCAL, "backward_update": mode}) for mode in ("separate", "fixed", "tied")),
    ("local", {**SMALL_LOCAL, "decorrelation": False, "layer_stats": False, "softmax": False}),
    ("local", {**SMALL_LOCAL, "term_scales": {"hebb": 0.5, "rbf": 0.0}, "input_scales": {"x": 2.0, "delta": 0.0}}),
    ("paper", SMALL_PAPER),
    *(("paper", {**SMALL_PAPER, "backward_update": mode}) for mode in ("separate", "fixed", "tied")),
    ("paper", {**SMALL_PAPER, "term_scales": {"hebb": 0.5, "rbf": 0.0}, "input_scales": {"x": 2.0, "delta": 0.0}}),
]


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "all")
@pytest.mark.parametrize("tasks", [(), (3,)], ids=str)
def test_todays_rules_do_what_the_foundations_did(
    kind: str, settings: Mapping[str, Any], tasks: tuple[int, ...], generator: torch.Generator
):
    now, then = both(kind, {**settings, "lr": 0.05}, generator)
    phi = init_state((9, 8, 5, 7), tasks=tasks, generator=generator, dtype=torch.float64)
    phi = phi.map(lambda t: t + 0.3 * torch.randn(t.shape, generator=generator, dtype=t.dtype))
    batches = [torch.rand(*tasks, 12, 9, generator=generator, dtype=torch.float64) for _ in range(3)]
    (phi_now, gradient_now), (phi_then, gradient_then) = life(now, phi, batches), life(then, phi, batches)
    assert_same(phi_now, phi_then)
    # biases that feed a batch norm have a gradient of zero, which comes out as rounding
    largest = max(float(g.abs().max()) for g in gradient_then.values())
    assert largest > 1e-3
    assert_same(gradient_now, gradient_then, floor=1e-4 * largest)


def test_the_comparison_would_notice_a_difference(generator: torch.Generator):
    now, then = both("local", SMALL_LOCAL, generator)
    with torch.no_grad():
        next(now.parameters()).mul_(1 + 1e-7)
    phi = init_state((9, 8, 7), generator=generator, dtype=torch.float64)
    batches = [torch.rand(12, 9, generator=generator, dtype=torch.float64)]
    with pytest.raises(AssertionError):
        assert_same(life(now, phi, batches)[1], life(then, phi, batches)[1])


@pytest.mark.parametrize(
    "objective",
    [
        MetaObjectiveSettings(ridge=3.0, standardise_features=True, logit_scale=5.0),
        MetaObjectiveSettings(normalise_features=True, hinge=True, train_share=0.3),
        MetaObjectiveSettings(),
    ],
)
def test_todays_look_sees_what_the_foundations_saw(objective: MetaObjectiveSettings):
    """Loss and meta-gradient of a truncation, objective included, today's rule and look against the foundation's."""
    settings = replace(SMALL_RUN, objective=objective)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 40, 6, generator=generator, dtype=torch.float64)
    task = Task(x, (torch.arange(40) % 4).expand(2, 40).contiguous(), 4)
    group = start_group((5, 4), task, settings, generator)
    group = replace(group, phi=group.phi.map(lambda t: 30 * t))
    now, then = both("local", SMALL_LOCAL, generator)
    found = []
    for rule, unrolled in ((now, truncated_loss), (then, yardstick_particles.truncated_loss)):
        loss, after = unrolled(rule, group, settings, torch.Generator().manual_seed(1))
        gradient = torch.autograd.grad(loss, list(rule.parameters()), allow_unused=True, materialize_grads=True)
        found.append((loss, after.phi.layers[0].W, *gradient))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
