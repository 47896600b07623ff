"""The outer loop on the smallest settings: its gradient, its bookkeeping, its settings and their errors."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from meta_small import DISTRIBUTION, RULE, SETTINGS, fingerprint, same, seeded, theta, trainer
from torch import Tensor

from metarules.base_model import BaseModelState, LayerState
from metarules.classic_rules import get_rule
from metarules.inner_loop import DivergenceError
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainer, MetaTrainingSettings
from metarules.meta_training.estimators import ESTIMATORS
from metarules.meta_training.randomness import draw_integer, generator_for
from metarules.meta_training.unrolls import Group, look, start_group, truncated_loss
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule, UpdateRule

estimators = importlib.import_module("metarules.meta_training.estimators")
DOUBLE = torch.float64


# ---------------------------------------------------------------------------------------------- the meta-gradient


def explicit_features(phi: BaseModelState, x: Tensor) -> Tensor:
    for layer in phi.layers:
        u = x @ layer.W
        x = (u - u.mean(-2, keepdim=True)) / (u.var(-2, correction=0, keepdim=True) + 1e-6).sqrt()
        x = torch.relu(x + layer.b.unsqueeze(-2))
    x = x - x.mean(-2, keepdim=True)
    return x / (x.square().mean(-2, keepdim=True) + 1e-6).sqrt()


def explicit_scores(x: Tensor, targets: Sequence[Tensor], ridge: float, cosine: bool) -> Tensor:
    """Each labelled batch is fitted in turn with a plain solver and scored on all the others; mean over turns."""

    def centred(y: Tensor) -> Tensor:
        y = y - y.mean((-2, -1), keepdim=True)
        return y / y.square().sum(-1).mean(-1).sqrt()[..., None, None]

    A = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    penalty = torch.diag(torch.tensor([ridge] * (A.shape[-1] - 1) + [0.0], dtype=x.dtype))
    n, rows, losses = targets[0].shape[-2], torch.arange(x.shape[-2]), []
    for i in range(len(targets)):
        y_a, y_b = centred(targets[i]), centred(torch.cat([*targets[:i], *targets[i + 1 :]], -2))
        B = A[..., rows // n == i, :]
        w = torch.linalg.solve(B.mT @ B + penalty, B.mT @ y_a)
        guess = A[..., rows // n != i, :] @ w
        guess = guess / guess.norm(dim=-1, keepdim=True) if cosine else guess
        distance = (guess - y_b).square().sum(-1).mean(-1)
        losses.append(distance + ridge * w[..., :-1, :].square().sum((-2, -1)) / n)
    return torch.stack(losses).mean(0)


def explicit_objective(phi: BaseModelState, task: Task, s: MetaTrainingSettings, g: torch.Generator) -> Tensor:
    """The meta-objective of every particle written out, for the kind of SETTINGS."""
    batches = task.sample_labelled(s.labels_per_class, g, s.labelled_batches)
    x = explicit_features(phi, torch.cat([batch.x for batch in batches], -2))
    eye = torch.eye(task.n_classes, dtype=x.dtype)
    loss = explicit_scores(x, [eye[batch.y] for batch in batches], s.objective.ridge, cosine=True)
    if s.regression and task.targets is not None:
        targets = [batch.targets for batch in batches if batch.targets is not None]
        loss = loss + s.regression * explicit_scores(x, targets, s.objective.ridge, cosine=False)
    return loss


def explicit_loss(rule: UpdateRule, group: Group, s: MetaTrainingSettings, g: torch.Generator) -> Tensor:
    """One truncation written out, drawing what the outer loop draws in its order."""
    length = min(draw_integer(*s.truncation, g), group.horizon - group.step)
    phi, looks = group.phi, []
    for t in range(1, length + 1):
        phi = rule(phi, Batch(group.task.sample(group.batch_size, g).x))
        if t == length or t % s.objective_every == 0:
            looks.append(explicit_objective(phi, group.task, s, g).mean())
    return sum(looks[1:], looks[0]) / len(looks)


@pytest.mark.parametrize(
    ("groups_per_step", "labelled_batches", "checkpoint_every"), [(1, 2, 0), (2, 3, 0), (1, 2, 2), (2, 2, 1)]
)
def test_the_meta_gradient_is_that_of_an_unroll_written_out(
    groups_per_step: int, labelled_batches: int, checkpoint_every: int
):
    t = trainer(
        DOUBLE,
        groups_per_step=groups_per_step,
        labelled_batches=labelled_batches,
        checkpoint_every=checkpoint_every,
        truncation=(5, 5),
        regression=0.5,
        clip=1e9,
    )
    for _ in range(3):  # three updates away from the start, so that no parameter is at its initial value
        t.step()
    t.groups = {i: replace(group, horizon=100) for i, group in t.groups.items()}
    chosen = [t.groups[(t.number * groups_per_step + i) % 2] for i in range(groups_per_step)]
    indices = [(t.number * groups_per_step + i) % 2 for i in range(groups_per_step)]
    losses, gradients = [], []
    for i, group in zip(indices, chosen, strict=True):
        g = generator_for(t.settings.seed, "truncation", i, group.number, group.step)
        loss = explicit_loss(t.rule, group, t.settings, g)
        gradients.append(torch.autograd.grad(loss, list(t.rule.parameters()), materialize_grads=True))
        losses.append(float(loss.detach()))
    wanted = [sum(parts) / groups_per_step for parts in zip(*gradients, strict=True)]
    done = t.step()
    assert done.loss == pytest.approx(sum(losses) / groups_per_step, rel=1e-10)
    largest = max(float(w.abs().max()) for w in wanted)
    assert largest > 1e-4
    for (name, parameter), w in zip(t.rule.named_parameters(), wanted, strict=True):
        got = torch.zeros_like(w) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got, w, rtol=1e-8, atol=1e-10 * largest, msg=lambda m, n=name: f"{n}: {m}")
    norms = [math.sqrt(sum(float(w.square().sum()) for w in part)) for part in gradients]
    assert done.gradient_norm == pytest.approx(sum(norms) / groups_per_step, rel=1e-9)


def double_group(targets: Tensor | None = None, horizon: int = 50) -> Group:
    g = seeded(3)
    y = (torch.arange(24) % 3).expand(2, 24).contiguous()
    task = Task(torch.rand(2, 24, 7, generator=g, dtype=DOUBLE), y, 3, targets=targets)
    made = start_group((5, 4), task, SETTINGS, g)
    return replace(made, phi=made.phi.map(lambda t: 30 * t), horizon=horizon)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_insides_made_again_give_the_same_gradient(every: int, monkeypatch: pytest.MonkeyPatch):
    rule, group = trainer(DOUBLE).rule, double_group()
    settings = replace(SETTINGS, truncation=(7, 7))
    whole = ESTIMATORS["backprop"](rule, group, settings, seeded(5))
    steps, step = [], LocalRule.step
    monkeypatch.setattr(LocalRule, "step", lambda *given: steps.append(1) or step(*given))
    again = ESTIMATORS["backprop"](rule, group, replace(settings, checkpoint_every=every), seeded(5))
    assert len(steps) == (7 if every == 7 else 14)  # one go through all of them has nothing to gain
    assert again.loss == pytest.approx(whole.loss, rel=1e-12)
    largest = max(float(g.abs().max()) for g in whole.gradient.values())
    assert largest > 1e-4
    for name, wanted in whole.gradient.items():
        torch.testing.assert_close(again.gradient[name], wanted, rtol=1e-12, atol=1e-12 * largest)
    for (_, a), (_, b) in zip(again.group.phi.tensors(), whole.group.phi.tensors(), strict=True):
        assert torch.equal(a, b) and not a.requires_grad


def test_regression_targets_add_their_ridge_error():
    targets = torch.randn(2, 24, 2, generator=seeded(8), dtype=DOUBLE)
    settings = replace(SETTINGS, regression=0.3)
    with_targets, without = double_group(targets), double_group()
    phi = without.phi
    plain = look(phi, without.task, settings, seeded(1))
    torch.testing.assert_close(look(phi, with_targets.task, replace(settings, regression=0.0), seeded(1)), plain)
    both = look(phi, with_targets.task, settings, seeded(1))
    torch.testing.assert_close(both, explicit_objective(phi, with_targets.task, settings, seeded(1)))
    assert float((both - plain).min()) > 0.1  # noise cannot be foretold: its error is about 1


def test_the_state_is_carried_on_without_its_graph():
    t = trainer(DOUBLE)
    group = replace(t.groups[0], horizon=50)
    loss, after = truncated_loss(t.rule, group, t.settings, seeded())
    assert loss.requires_grad
    assert after.step - group.step in (1, 2)
    assert after.task is group.task
    assert not any(tensor.requires_grad for _, tensor in after.phi.tensors())
    assert not torch.equal(after.phi.layers[0].W, group.phi.layers[0].W)


def test_a_truncation_ends_with_the_life():
    t = trainer(truncation=(2, 2))
    group = replace(t.groups[0], step=3, horizon=4)
    _, after = truncated_loss(t.rule, group, t.settings, seeded())
    assert after.step == 4
    assert after.over


# ---------------------------------------------------------------------------------------------- one step after another


def test_meta_steps_change_theta_and_stay_finite():
    t = trainer()
    before = theta(t)
    for number in range(1, 7):
        done = t.step()
        assert (done.number, t.number) == (number, number)
        assert math.isfinite(done.loss) and 0 < done.loss < 4
        assert 0 < done.gradient_norm < math.inf
        assert not done.skipped
    after = theta(t)
    changed = [name for name in after if not torch.equal(before[name], after[name])]
    assert len(changed) > 0.8 * len(after), set(after) - set(changed)
    assert all(torch.isfinite(p).all() for p in after.values())


def test_the_seed_decides_everything():
    first, again, other = trainer(), trainer(), trainer(seed=1)
    for t in (first, again, other):
        for _ in range(3):
            t.step()
    assert same(fingerprint(first), fingerprint(again))
    assert not same(theta(first), theta(other))


def test_parameters_that_are_not_trained_do_not_decay():
    t = trainer(weight_decay=0.5)
    t.rule.requires_grad_(False)
    t.rule.forward_readout.requires_grad_(True)
    before = theta(t)
    t.step()
    after = theta(t)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("forward_readout.") for name in moved)


def test_groups_take_turns_and_start_anew():
    t = trainer(groups=3)
    starts = 0
    for number in range(15):
        turn, before = number % 3, dict(t.groups)
        t.step()
        after = dict(t.groups)
        assert all(after[i] is before[i] for i in range(3) if i != turn)
        old, new = before[turn], after[turn]
        if new.number == old.number:
            assert old.step < new.step < new.horizon == old.horizon
            assert new.task is old.task and new.batch_size == old.batch_size
        else:
            starts += 1
            assert new.number == old.number + 1 and new.step == 0
            assert 2 <= new.horizon <= 4
            assert 6 <= new.batch_size <= 10
            wanted = t.new_group(turn, new.number)
            assert torch.equal(new.phi.layers[0].W, wanted.phi.layers[0].W)
            assert torch.equal(new.task.x, wanted.task.x)
    assert starts >= 3


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    t = trainer(meta_steps=6, warm_up=2, learning_rate=0.01, final_share=0.1)
    rates = []
    for _ in range(8):  # two more than planned: the rate then stays at its end
        rates.append(t.step().learning_rate)
        assert t.optimiser.param_groups[0]["lr"] == rates[-1]
    wanted = [0.005, 0.01]
    wanted += [0.01 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))) for share in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert rates == pytest.approx(wanted)
    assert trainer(warm_up=0).step().learning_rate == SETTINGS.learning_rate


def test_updates_are_adam_with_decoupled_weight_decay():
    t = trainer(DOUBLE, warm_up=0, learning_rate=0.01, final_share=1.0, weight_decay=0.1, clip=1e9)
    first = {name: torch.zeros_like(p) for name, p in theta(t).items()}
    second = {name: torch.zeros_like(p) for name, p in theta(t).items()}
    for number in range(1, 4):
        before = theta(t)
        t.step()
        for name, parameter in t.rule.named_parameters():
            assert parameter.grad is not None
            first[name] = 0.9 * first[name] + 0.1 * parameter.grad
            second[name] = 0.999 * second[name] + 0.001 * parameter.grad.square()
            move = first[name] / (1 - 0.9**number) / ((second[name] / (1 - 0.999**number)).sqrt() + 1e-8)
            wanted = before[name] * (1 - 0.01 * 0.1) - 0.01 * move
            torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-9, atol=1e-12)


def test_meta_gradients_are_clipped_and_the_norm_before_is_told():
    free, clipped = trainer(clip=1e9), trainer(clip=1e-4)
    norms = [t.step().gradient_norm for t in (free, clipped)]
    assert norms[0] == norms[1] > 1e-3
    grads = [p.grad for p in clipped.rule.parameters() if p.grad is not None]
    assert float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()) == pytest.approx(1e-4, rel=1e-2)


def test_each_group_is_clipped_for_itself():
    """The update is the mean of both groups' meta-gradients, each scaled down to the norm allowed."""
    alone = []
    for turn in (0, 1):
        t = trainer(DOUBLE, clip=1e-4)
        t.number = turn
        t.step()
        alone.append([p.grad for p in t.rule.parameters()])
    both = trainer(DOUBLE, clip=1e-4, groups_per_step=2)
    both.step()
    for p, a, b in zip(both.rule.parameters(), *alone, strict=True):
        torch.testing.assert_close(p.grad, (a + b) / 2, rtol=1e-10, atol=1e-16)


def test_the_average_follows_theta():
    t = trainer(average=0.5)
    wanted = theta(t)
    assert same(t.average, wanted)
    for number in range(1, 7):
        t.step()
        keep = min(0.5, (1 + number) / (10 + number))  # 2/11, 3/12, .. until the decay asked for
        for name, parameter in theta(t).items():
            wanted[name] = keep * wanted[name] + (1 - keep) * parameter
            torch.testing.assert_close(t.average[name], wanted[name], rtol=1e-5, atol=1e-7)
    assert not same(t.average, theta(t))


# ---------------------------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_meta_gradient_that_is_not_finite_is_skipped_and_counted(bad: float, monkeypatch: pytest.MonkeyPatch):
    t = trainer()
    t.step()
    before, moments = theta(t), fingerprint(t)

    def spoilt(rule: UpdateRule, *rest: Any) -> tuple[Tensor, Group]:
        loss, group = truncated_loss(rule, *rest)
        return loss + bad * next(rule.parameters()).sum(), group

    with monkeypatch.context() as patched:
        patched.setattr(estimators, "truncated_loss", spoilt)
        done = t.step()
    assert done.skipped and t.skipped == 1 and t.number == 2
    assert same(theta(t), before)
    after = fingerprint(t)
    assert all(torch.equal(after[k], moments[k]) for k in moments if k.startswith("adam"))
    assert all(torch.isfinite(p).all() for p in t.average.values())
    done = t.step()
    assert not done.skipped and math.isfinite(done.loss) and t.skipped == 1
    assert not same(theta(t), before)


def test_a_group_that_diverges_is_skipped_and_starts_anew(monkeypatch: pytest.MonkeyPatch):
    t = trainer(groups_per_step=2)
    before, old, step = theta(t), dict(t.groups), LocalRule.step

    def spoilt(rule: LocalRule, phi: BaseModelState, batch: Batch) -> BaseModelState:
        after = step(rule, phi, batch)
        if phi.layers[0].W is old[1].phi.layers[0].W:  # the second group alone
            after = after.with_layers([LayerState(p.W * float("inf"), p.b, p.V) for p in after.layers])
        return after

    with monkeypatch.context() as patched:
        patched.setattr(LocalRule, "step", spoilt)
        done = t.step()
    assert done.skipped and math.isnan(done.loss) and t.skipped == 1
    assert same(theta(t), before)
    assert t.groups[1].number == 1 and t.groups[1].step == 0
    assert t.groups[0].step > 0 or t.groups[0].number == 1
    assert all(torch.isfinite(x).all() for group in t.groups.values() for _, x in group.phi.tensors())
    assert not t.step().skipped


def test_divergence_within_a_truncation_names_the_step_of_the_life():
    class Blow(UpdateRule):
        """Doubles, then bursts."""

        def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
            return phi.map(lambda w: w * float("nan"))

    group = replace(trainer().groups[0], step=7, horizon=20)
    with pytest.raises(DivergenceError, match="W1 is NaN or infinite after inner step 8"):
        truncated_loss(Blow(), group, SETTINGS, seeded())


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labelled_batches": 1}, "labelled_batches is 1; allowed: a whole number in [2, inf]"),
        *(
            ({name: 0}, f"{name} is 0; allowed: a whole number in [1, inf]")
            for name in ("meta_steps", "particles", "groups", "groups_per_step", "objective_every", "labels_per_class")
        ),
        ({"groups_per_step": 3}, "groups is 2; allowed: a multiple of groups_per_step, which is 3"),
        ({"seed": -1}, "seed is -1; allowed: a whole number in [0, "),
        ({"warm_up": -1}, "warm_up is -1; allowed: a whole number in [0, inf]"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1; allowed: a whole number in [0, inf]"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; allowed: a number in (0, inf]"),
        ({"learning_rate": math.nan}, "learning_rate is nan; allowed: a number in (0, inf]"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; allowed: a number in [0, inf]"),
        ({"regression": -0.1}, "regression is -0.1; allowed: a number in [0, inf]"),
        ({"estimator": "newton"}, "estimator is 'newton'; allowed: backprop, es, pes"),
        ({"sigma": 0.0}, "sigma is 0.0; allowed: a number in (0, inf]"),
        ({"clip": 0.0}, "clip is 0.0; allowed: a number in (0, inf]"),
        ({"final_share": 1.5}, "final_share is 1.5; allowed: a number in [0, 1]"),
        ({"average": -0.1}, "average is -0.1; allowed: a number in [0, 1]"),
        ({"usual_net_share": 1.1}, "usual_net_share is 1.1; allowed: a number in [0, 1]"),
        ({"truncation": (0, 4)}, "truncation[0] is 0; allowed: a whole number in [1, inf]"),
        ({"truncation": (4, 3)}, "truncation[1] is 3; allowed: a whole number in [4, inf]"),
        ({"horizon": (8, 4)}, "horizon[1] is 4; allowed: a whole number in [8, inf]"),
        ({"batch_size": (1, 4)}, "batch_size[0] is 1; allowed: a whole number in [2, inf]"),
        ({"depth": (0, 4)}, "depth[0] is 0; allowed: a whole number in [1, inf]"),
        ({"width": (8, 4)}, "width[1] is 4; allowed: a whole number in [8, inf]"),
        ({"top": (0, 4)}, "top[0] is 0; allowed: a whole number in [1, inf]"),
        ({"usual_net": ()}, "usual_net is (); allowed: a tuple of one layer width or more"),
        ({"usual_net": (5, 0)}, "usual_net is 0; allowed: a whole number in [1, inf]"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        replace(SETTINGS, **changed)


def test_settings_that_do_not_fit_each_other_are_refused_at_once():
    with pytest.raises(ValueError, match=r"batch_size is \(6, 40\); allowed: at most 36, the examples of a task"):
        trainer(batch_size=(6, 40))
    with pytest.raises(ValueError, match=r"labels_per_class is 7; allowed: 1 \.\. 6, since 36 examples in 3 classes"):
        trainer(labels_per_class=7)
    with pytest.raises(ValueError, match=r"labels_per_class is 2; allowed: 1 \.\. 1, .* must fill 7 labelled batches"):
        trainer(labelled_batches=7)
    broad = replace(DISTRIBUTION, class_range=(2, 9))
    with pytest.raises(ValueError, match=r"labels_per_class is 3; allowed: 1 \.\. 2, since 36 examples in 9 classes"):
        trainer(labels_per_class=3, distribution=broad)
    with pytest.raises(ValueError, match="rule is a Hebb, which has no theta; allowed: a rule with parameters"):
        MetaTrainer(get_rule("hebb"), SETTINGS, DISTRIBUTION)

    class Supervised(LocalRule):
        needs_labels = True

    with pytest.raises(ValueError, match="rule is a Supervised, which needs labels; allowed: an unsupervised rule"):
        MetaTrainer(Supervised(RULE), SETTINGS, DISTRIBUTION)


def test_the_very_most_examples_are_enough():
    for changed in ({}, {"usual_share": 0.0}):
        t = trainer(labels_per_class=6, batch_size=(36, 36), distribution=replace(DISTRIBUTION, **changed))
        for _ in range(8):
            assert not t.step().skipped


def test_every_choice_of_the_objective_reaches_the_meta_loss():
    variants = [
        MetaObjectiveSettings(),
        MetaObjectiveSettings(ridge=0.5),
        MetaObjectiveSettings(hinge=True),
        MetaObjectiveSettings(train_share=0.5),
        MetaObjectiveSettings(normalise_features=True),
        MetaObjectiveSettings(standardise_features=True),
        MetaObjectiveSettings(centre_targets=False),
        MetaObjectiveSettings(normalise_predictions=False),
        MetaObjectiveSettings(logit_scale=5.0),
    ]
    losses = {trainer(objective=variant).step().loss for variant in variants}
    assert len(losses) == len(variants)
