"""The outer loop on the smallest settings: its gradient, its bookkeeping, checkpoints, whole runs, and errors."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from metarules.base_model import BaseModelState, LayerState, init_state
from metarules.classic_rules import get_rule
from metarules.inner_loop import DivergenceError
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainer, MetaTrainingSettings, RunSettings, run, validate
from metarules.meta_training.__main__ import main
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
from metarules.meta_training.particles import Group, birth, draw_integer, truncated_loss
from metarules.pretrained import load_rule, plain
from metarules.tasks import Task, make_task
from metarules.tasks.distribution import DistributionSettings, draw_dataset, validation_tasks
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, UpdateRule

run_module = importlib.import_module("metarules.meta_training.run")  # the package's own `run` is the function
estimators = importlib.import_module("metarules.meta_training.estimators")

RULE = LocalRuleSettings(channels=4, signals=2, readouts=1)
DISTRIBUTION = DistributionSettings(n_examples=36, n_classes=3)
SETTINGS = MetaTrainingSettings(
    meta_steps=6,
    architectures=((5, 4), (6,)),
    particles=2,
    pool=2,
    truncation=(1, 2),
    horizon=(2, 4),
    batch_size=(6, 10),
    labels_per_class=2,
    labelled_batches=2,
    objective_every=2,
    objective=MetaObjectiveSettings(ridge=3.0, standardise_features=True),
    learning_rate=3e-3,
    warm_up=2,
    clip=1.0,
)
KEEPING = RunSettings(
    validate_every=2, save_every=3, validation_tasks=2, widths=(5,), steps=3, batch_size=10, labels_per_class=2
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trainer(dtype: torch.dtype = torch.float32, rule: LocalRuleSettings = RULE, **changed: Any) -> MetaTrainer:
    distribution = changed.pop("distribution", DISTRIBUTION)
    made = LocalRule(rule, generator=seeded(1), dtype=dtype)
    return MetaTrainer(made, replace(SETTINGS, **changed), distribution)


def theta(of: MetaTrainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in of.rule.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def fingerprint(of: MetaTrainer) -> dict[str, Tensor]:
    """Everything that may change in a trainer, as tensors."""
    found = {f"theta/{k}": v for k, v in theta(of).items()} | {f"average/{k}": v for k, v in of.average.items()}
    for name, parameter in of.rule.named_parameters():
        found |= {f"adam/{name}/{k}": v for k, v in of.optimiser.state[parameter].items()}
    for i, group in enumerate(of.groups):
        found |= {f"group{i}/{k}": v for k, v in group.phi.tensors()}
        if group.twins is not None:
            found |= {f"group{i}/other/{k}": v for k, v in group.twins.other.tensors()}
            found |= {f"group{i}/noise/{k}": v for k, v in group.twins.noise.items()}
        found |= {f"group{i}/x": group.task.x, f"group{i}/y": group.task.y}
        found[f"group{i}/numbers"] = torch.tensor([group.step, group.horizon, group.batch_size])
    for i, data in enumerate(of.pool.datasets):
        found |= {f"pool{i}/x": data.x, f"pool{i}/y": data.y}
    found["generator"] = of.generator.get_state()
    found["numbers"] = torch.tensor([of.number, of.skipped, of.pool.next])
    return {name: value.detach().clone() for name, value in found.items()}


@pytest.fixture(autouse=True)
def keep_torch_settings() -> Iterator[None]:
    """The command line sets threads and the treatment of denormal numbers for its whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


# ---------------------------------------------------------------------------------------------- the meta-gradient


def explicit_objective(phi: BaseModelState, task: Task, s: MetaTrainingSettings, g: torch.Generator) -> Tensor:
    """The meta-objective of every particle written out, with a plain solver, for the kind of SETTINGS.

    Each labelled batch is fitted in turn and scored on all the others.
    """
    batches = task.sample_labelled(s.labels_per_class, g, s.labelled_batches)
    x = torch.cat([batch.x for batch in batches], -2)
    for layer in phi.layers:
        u = x @ layer.W
        x = (u - u.mean(-2, keepdim=True)) / (u.var(-2, correction=0, keepdim=True) + 1e-6).sqrt()
        x = torch.relu(x + layer.b.unsqueeze(-2))
    x = x - x.mean(-2, keepdim=True)
    x = x / (x.square().mean(-2, keepdim=True) + 1e-6).sqrt()
    # all batches are balanced, so that centring and scaling the targets is the same for each
    y = torch.eye(task.n_classes, dtype=x.dtype)[torch.cat([batch.y for batch in batches], -1)] - 1 / task.n_classes
    y = y / y.square().sum(-1).mean(-1).sqrt()[..., None, None]
    A = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    penalty = torch.diag(torch.tensor([s.objective.ridge] * (A.shape[-1] - 1) + [0.0], dtype=x.dtype))
    n, rows, losses = batches[0].x.shape[-2], torch.arange(x.shape[-2]), []
    for i in range(s.labelled_batches):
        fitted, others = rows // n == i, rows // n != i
        B = A[..., fitted, :]
        w = torch.linalg.solve(B.mT @ B + penalty, B.mT @ y[..., fitted, :])
        guess = A[..., others, :] @ w
        guess = guess / guess.norm(dim=-1, keepdim=True)
        distance = (guess - y[..., others, :]).square().sum(-1).mean(-1)
        losses.append(distance + s.objective.ridge * w[..., :-1, :].square().sum((-2, -1)) / n)
    return sum(losses[1:], losses[0]) / len(losses)


def explicit_loss(rule: UpdateRule, group: Group, s: MetaTrainingSettings, g: torch.Generator) -> Tensor:
    """One truncation written out, drawing what the outer loop draws in its order."""
    length = min(draw_integer(*s.truncation, g), group.horizon - group.step)
    phi, looks = group.phi, []
    for t in range(1, length + 1):
        phi = rule(phi, Batch(group.task.sample(group.batch_size, g).x))
        if t == length or t % s.objective_every == 0:
            looks.append(explicit_objective(phi, group.task, s, g).mean())
    return sum(looks[1:], looks[0]) / len(looks)


@pytest.mark.parametrize(("groups_per_step", "labelled_batches"), [(1, 2), (2, 3)])
def test_the_meta_gradient_is_that_of_an_unroll_written_out(groups_per_step: int, labelled_batches: int):
    t = trainer(
        torch.float64, groups_per_step=groups_per_step, labelled_batches=labelled_batches, truncation=(5, 5), clip=1e9
    )
    for _ in range(3):  # three updates away from the start, so that no parameter is at its initial value
        t.step()
    t.groups = [replace(group, horizon=100) for group in t.groups]  # no birth between the two groups of a step
    chosen = [(t.number * groups_per_step + i) % 2 for i in range(groups_per_step)]
    g = torch.Generator()
    g.set_state(t.generator.get_state())
    loss = sum(explicit_loss(t.rule, t.groups[i], t.settings, g) for i in chosen) / groups_per_step
    wanted = torch.autograd.grad(loss, list(t.rule.parameters()), materialize_grads=True)
    done = t.step()
    assert torch.equal(g.get_state(), t.generator.get_state())
    assert done.loss == pytest.approx(float(loss.detach()), rel=1e-10)
    largest = max(float(w.abs().max()) for w in wanted)
    assert largest > 1e-4
    for (name, parameter), w in zip(t.rule.named_parameters(), wanted, strict=True):
        got = torch.zeros_like(w) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got, w, rtol=1e-8, atol=1e-10 * largest, msg=lambda m, n=name: f"{n}: {m}")
    norm = math.sqrt(sum(float(w.square().sum()) for w in wanted))
    assert done.gradient_norm == pytest.approx(norm, rel=1e-9)


def test_the_state_is_carried_on_without_its_graph():
    t = trainer(torch.float64)
    group = replace(t.groups[0], horizon=50)
    loss, after = truncated_loss(t.rule, group, t.settings, t.generator)
    assert loss.requires_grad
    assert after.step - group.step in (1, 2)
    assert after.task is group.task
    assert not any(tensor.requires_grad for _, tensor in after.phi.tensors())
    assert not torch.equal(after.phi.layers[0].W, group.phi.layers[0].W)


def test_a_truncation_ends_with_the_life():
    t = trainer(truncation=(2, 2))
    group = replace(t.groups[0], step=3, horizon=4)
    _, after = truncated_loss(t.rule, group, t.settings, t.generator)
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
    assert all(len(group.phi.tasks) == 1 and group.phi.tasks == (2,) for group in t.groups)
    assert [group.phi.sizes for group in t.groups] == [(64, 5, 4), (64, 6)]


def test_the_seed_decides_everything():
    first, again, other = trainer(), trainer(), trainer(seed=1)
    for t in (first, again, other):
        for _ in range(3):
            t.step()
    assert same(fingerprint(first), fingerprint(again))
    assert not same(theta(first), theta(other))


def test_groups_take_turns_live_and_are_born_anew():
    t = trainer()
    births = 0
    for number in range(10):
        turn, before = number % 2, list(t.groups)
        t.step()
        assert t.groups[1 - turn] is before[1 - turn]
        old, new = before[turn], t.groups[turn]
        assert new.phi.sizes == old.phi.sizes
        if new.task is old.task:
            assert old.step < new.step < new.horizon == old.horizon
        else:
            births += 1
            assert new.step == 0
            assert 2 <= new.horizon <= 4
            assert 6 <= new.batch_size <= 10
            assert float(new.phi.layers[0].W.abs().max()) <= 0.02  # fresh weights: two standard deviations at most
            assert not new.phi.layers[0].b.any()
    assert births >= 3


def test_first_lives_are_shortened_so_that_groups_fall_out_of_step():
    task = make_task(draw_dataset(DISTRIBUTION, "train", seeded()), generator=seeded(), tasks=(2,))
    settings = replace(SETTINGS, horizon=(50, 100), truncation=(4, 8))
    first = [birth((5,), task, settings, seeded(i), age=True).horizon for i in range(40)]
    later = [birth((5,), task, settings, seeded(i)).horizon for i in range(40)]
    assert min(later) >= 50 and max(later) <= 100
    assert 4 <= min(first) < 30 and max(first) <= 100


def test_drawn_numbers_stay_in_range_and_reach_its_ends(monkeypatch: pytest.MonkeyPatch):
    g = seeded()
    assert {draw_integer(3, 6, g) for _ in range(200)} == {3, 4, 5, 6}
    assert {draw_integer(2, 5, g, log=True) for _ in range(200)} == {2, 3, 4, 5}
    logs = torch.tensor([draw_integer(16, 256, g, log=True) for _ in range(2000)])
    assert 60 < logs.median() < 70  # the geometric mean is 64
    assert logs.min() >= 16 and logs.max() <= 256
    for share in (0.0, 1.0 - 2**-53):
        monkeypatch.setattr(torch, "rand", lambda *_, share=share, **__: torch.tensor(share, dtype=torch.float64))
        for low in range(1, 300):
            for high in (low, low + 7):
                assert draw_integer(low, high, g, log=True) == (low if share == 0 else high)
                assert draw_integer(low, high, g) == (low if share == 0 else high)


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


def test_meta_gradients_are_clipped_and_the_norm_before_is_told():
    free, clipped = trainer(clip=1e9), trainer(clip=1e-4)
    norms = [t.step().gradient_norm for t in (free, clipped)]
    assert norms[0] == norms[1] > 1e-3
    grads = [p.grad for p in clipped.rule.parameters() if p.grad is not None]
    assert float(torch.stack([g.square().sum() for g in grads]).sum().sqrt()) == pytest.approx(1e-4, rel=1e-2)


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


def test_a_group_that_diverges_is_skipped_and_born_anew(monkeypatch: pytest.MonkeyPatch):
    t = trainer(groups_per_step=2)
    before, old, step = theta(t), list(t.groups), LocalRule.step

    def spoilt(rule: LocalRule, phi: BaseModelState, batch: Batch) -> BaseModelState:
        after = step(rule, phi, batch)
        if phi.depth == 1:  # the second group alone
            after = after.with_layers([LayerState(p.W * float("inf"), p.b, p.V) for p in after.layers])
        return after

    with monkeypatch.context() as patched:
        patched.setattr(LocalRule, "step", spoilt)
        done = t.step()
    assert done.skipped and math.isnan(done.loss) and t.skipped == 1
    assert same(theta(t), before)
    assert t.groups[1].task is not old[1].task and t.groups[1].step == 0
    assert all(torch.isfinite(x).all() for group in t.groups for _, x in group.phi.tensors())
    assert not t.step().skipped


def test_divergence_within_a_truncation_names_the_step_of_the_life():
    class Blow(UpdateRule):
        """Doubles, then bursts."""

        def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
            return phi.map(lambda w: w * float("nan"))

    group = replace(trainer().groups[0], step=7, horizon=20)
    with pytest.raises(DivergenceError, match="W1 is NaN or infinite after inner step 8"):
        truncated_loss(Blow(), group, SETTINGS, seeded())


# ---------------------------------------------------------------------------------------------- digits stay unseen


def test_meta_training_never_touches_the_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import sklearn.datasets

    from metarules.tasks.dataset import DATASETS

    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("the digits were about to be read")

    monkeypatch.setattr(sklearn.datasets, "load_digits", forbidden)
    monkeypatch.setattr(importlib.import_module("metarules.tasks.digits"), "digits", forbidden)
    monkeypatch.setitem(DATASETS, "digits", forbidden)
    run(
        tmp_path / "run",
        settings=replace(SETTINGS, meta_steps=2),
        distribution=DISTRIBUTION,
        rule_settings=RULE,
        keeping=KEEPING,
        report=lambda text: None,
    )
    t = trainer()
    names = {data.name for data in t.pool.datasets} | set(t.groups[0].task.name.split(" + "))
    assert all(name == "glyphs" or name.startswith("random decoder") for name in names)
    assert not any(character.isdigit() for d in t.pool.datasets if d.name == "glyphs" for character in d.class_names)


# ---------------------------------------------------------------------------------------------- validation


def held_out(n: int = 3) -> Task:
    return validation_tasks(replace(DISTRIBUTION, n_examples=90), n, seeded(4), "glyphs")


SMALL: dict[str, Any] = {"widths": (6,), "steps": 3, "batch_size": 12, "labels_per_class": 4}


class Watcher(UpdateRule):
    """Changes W by a given amount and remembers all it was shown."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.seen: list[tuple[BaseModelState, Batch]] = []

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        self.seen.append((phi, batch))
        return phi.with_layers([LayerState(p.W + self.amount, p.b, p.V) for p in phi.layers])


def test_validation_is_reproducible_and_paired():
    rule, task = LocalRule(RULE), held_out()
    first = validate(rule, task, **SMALL)
    assert first.shape == (3,)
    assert not first.requires_grad
    assert torch.equal(first, validate(rule, task, **SMALL))
    assert not torch.equal(first, validate(rule, task, **SMALL, seed=1))
    still, moving = Watcher(0.0), Watcher(0.5)
    for watcher in (still, moving):
        validate(watcher, task, **SMALL)
    assert len(still.seen) == len(moving.seen) == 3
    assert torch.equal(still.seen[0][0].layers[0].W, moving.seen[0][0].layers[0].W)
    for (_, a), (_, b) in zip(still.seen, moving.seen, strict=True):
        assert torch.equal(a.x, b.x)
        assert a.y is None and b.y is None


def test_validation_measures_few_shot_accuracy():
    """A rule that does nothing leaves the random base model, whose accuracy is computed here by scikit-learn."""
    from sklearn.linear_model import Ridge

    task, g = held_out(1), seeded(0)
    found = float(validate(Watcher(0.0), task, **SMALL))
    phi = init_state((64, 6), tasks=(1,), generator=g)
    phi = phi.with_layers([LayerState(p.W, torch.zeros_like(p.b), p.V) for p in phi.layers])
    # init_state draws b even where its spread is 0, so the generator stands where the validation's stood
    labelled = task.sample_labelled(4, g, 6)
    u = torch.cat([batch.x[0] for batch in labelled]) @ phi.layers[0].W[0]
    x = torch.relu((u - u.mean(0)) / (u.var(0, correction=0) + 1e-6).sqrt())
    x = ((x - x.mean(0)) / (x.var(0, correction=0) + 1e-6).sqrt()).numpy()
    y = torch.cat([batch.y[0] for batch in labelled])
    n = 12
    guess = Ridge(alpha=3.0).fit(x[:n], torch.eye(3)[y[:n]].numpy()).predict(x[n:]).argmax(-1)
    assert found == pytest.approx(float((guess == y[n:].numpy()).mean()), abs=0.02)
    assert found > 0.4  # chance is a third


def test_a_rule_that_diverges_is_worth_chance():
    found = validate(Watcher(float("inf")), held_out(), **SMALL)
    torch.testing.assert_close(found, torch.full((3,), 1 / 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels_per_class": 6}, "per_class is 6 and n_sets 6, which takes 36 examples of every class; allowed"),
        ({"batch_size": 91}, "batch_size is 91; allowed: a whole number in [2, 90]"),
        ({"batch_size": 1}, "batch_size is 1; allowed: a whole number in [2, 90]"),
        ({"steps": -1}, "steps is -1; allowed: a whole number in [0, inf]"),
        ({"widths": (0,)}, "sizes or tasks is 0; allowed: a whole number in [1, inf]"),
        ({"widths": ()}, "sizes is [64]; allowed: at least an input and one layer"),
    ],
)
def test_bad_arguments_of_validate_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        validate(Watcher(0.0), held_out(), **(SMALL | changed))


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labelled_batches": 1}, "labelled_batches is 1; allowed: a whole number in [2, inf]"),
        *(({name: 0}, f"{name} is 0; allowed: a whole number in [1, inf]") for name in ("meta_steps", "particles")),
        ({"groups_per_step": 3}, "groups_per_step is 3; allowed: 1 .. 2"),
        ({"objective_every": 0}, "objective_every is 0; allowed: a whole number in [1, inf]"),
        ({"labels_per_class": 0}, "labels_per_class is 0; allowed: a whole number in [1, inf]"),
        ({"seed": -1}, "seed is -1; allowed: a whole number in [0, "),
        ({"pool": 1}, "pool is 1; allowed: a whole number in [2, inf]"),
        ({"warm_up": -1}, "warm_up is -1; allowed: a whole number in [0, inf]"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; allowed: a number in (0, inf]"),
        ({"learning_rate": math.nan}, "learning_rate is nan; allowed: a number in (0, inf]"),
        ({"estimator": "newton"}, "estimator is 'newton'; allowed: backprop, es, pes"),
        ({"sigma": 0.0}, "sigma is 0.0; allowed: a number in (0, inf]"),
        ({"clip": 0.0}, "clip is 0.0; allowed: a number in (0, inf]"),
        ({"final_share": 1.5}, "final_share is 1.5; allowed: a number in [0, 1]"),
        ({"average": -0.1}, "average is -0.1; allowed: a number in [0, 1]"),
        ({"truncation": (0, 4)}, "truncation[0] is 0; allowed: a whole number in [1, inf]"),
        ({"truncation": (4, 3)}, "truncation[1] is 3; allowed: a whole number in [4, inf]"),
        ({"horizon": (8, 4)}, "horizon[1] is 4; allowed: a whole number in [8, inf]"),
        ({"batch_size": (1, 4)}, "batch_size[0] is 1; allowed: a whole number in [2, inf]"),
        ({"architectures": ()}, "architectures is (); allowed: one or more tuples of layer widths"),
        ({"architectures": ((4,), ())}, "architectures is ((4,), ()); allowed: one or more tuples of layer widths"),
        ({"architectures": ((4,), (5, 0))}, "architectures[1] is 0; allowed: a whole number in [1, inf]"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        replace(SETTINGS, **changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"validate_every": 0}, "validate_every is 0; allowed: a whole number in [1, inf]"),
        ({"save_every": 0}, "save_every is 0; allowed: a whole number in [1, inf]"),
        ({"validation_tasks": 0}, "validation_tasks is 0; allowed: a whole number in [1, inf]"),
        ({"batch_size": 1}, "batch_size is 1; allowed: a whole number in [2, inf]"),
        ({"steps": -1}, "steps is -1; allowed: a whole number in [0, inf]"),
        ({"widths": ()}, "widths is empty; allowed: at least one layer width"),
    ],
)
def test_settings_of_a_run_out_of_range_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        replace(KEEPING, **changed)


def test_settings_that_do_not_fit_each_other_are_refused_at_once():
    with pytest.raises(ValueError, match=r"batch_size is \(6, 40\); allowed: at most 36, the examples of a task"):
        trainer(batch_size=(6, 40))
    with pytest.raises(ValueError, match=r"labels_per_class is 7; allowed: 1 \.\. 6, since 36 examples in 3 classes"):
        trainer(labels_per_class=7)
    with pytest.raises(ValueError, match=r"labels_per_class is 2; allowed: 1 \.\. 1, .* must fill 7 labelled batches"):
        trainer(labelled_batches=7)
    with pytest.raises(ValueError, match="rule is a Hebb, which has no theta; allowed: a rule with parameters"):
        MetaTrainer(get_rule("hebb"), SETTINGS, DISTRIBUTION)

    class Supervised(LocalRule):
        needs_labels = True

    with pytest.raises(ValueError, match="rule is a Supervised, which needs labels; allowed: an unsupervised rule"):
        MetaTrainer(Supervised(RULE), SETTINGS, DISTRIBUTION)
    trainer(labels_per_class=6, batch_size=(36, 36)).step()  # the very most


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


# ---------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], dict[str, Tensor]]:
    """A checkpoint after three steps, the trainer's state there, and its state three steps later."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    t = trainer()
    for _ in range(3):
        t.step()
    save_checkpoint(t, path)
    there = fingerprint(t)
    for _ in range(3):
        t.step()
    return path, there, fingerprint(t)


@pytest.mark.parametrize("estimator", ["es", "pes"])
def test_every_estimator_is_resumed_bit_for_bit(estimator: str, tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    t = trainer(estimator=estimator)
    for _ in range(3):
        t.step()
    save_checkpoint(t, path)
    again = trainer(estimator=estimator)
    load_checkpoint(again, path)
    for _ in range(3):
        t.step()
        again.step()
    assert same(fingerprint(t), fingerprint(again))


def test_a_resumed_trainer_goes_on_bit_for_bit(half_way: tuple[Path, dict[str, Tensor], dict[str, Tensor]]):
    path, there, end = half_way
    content = path.read_bytes()
    t = trainer()
    t.step()  # wherever it was before
    load_checkpoint(t, path)
    assert same(fingerprint(t), there)
    assert [group.task.name for group in t.groups] and t.groups[0].phi.nonlinearity == "relu"
    for _ in range(3):
        t.step()
    assert same(fingerprint(t), end)
    assert path.read_bytes() == content  # nothing in the trainer is tied to the file


def test_a_checkpoint_before_the_first_step(tmp_path: Path):
    t = trainer()
    save_checkpoint(t, tmp_path / "c.safetensors")
    other = trainer()
    for _ in range(2):
        other.step()
    load_checkpoint(other, tmp_path / "c.safetensors")
    t.step(), other.step()
    assert same(fingerprint(t), fingerprint(other))


def refused(path: Path, message: str, of: MetaTrainer | None = None) -> None:
    """The checkpoint is refused with that message, and the trainer stays as it was."""
    t = of or trainer()
    before = fingerprint(t)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(t, path)
    assert same(fingerprint(t), before)


@pytest.fixture(scope="module")
def stepped() -> MetaTrainer:
    """A trainer for refusals, which leave it as it is."""
    t = trainer()
    t.step()
    return t


def test_truncated_checkpoints_are_refused(half_way: Any, stepped: MetaTrainer, tmp_path: Path):
    whole, path = half_way[0].read_bytes(), tmp_path / "c.safetensors"
    for length in (0, 5, 8, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, r"c\.safetensors is truncated or no checkpoint of this package", stepped)


def spoil(half_way: Any, path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
    """Write the good checkpoint anew with `change` applied to its facts and tensors."""
    with safetensors.safe_open(half_way[0], framework="pt") as file:
        facts = json.loads(file.metadata()["metarules"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(facts, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"metarules": json.dumps(facts)}))
    return path


PART = r"c\.safetensors lacks a part or holds a wrong one \(.*{}.*\); allowed: an unaltered file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts, tensors: facts.update(format=2), r"c\.safetensors has format 2; allowed: 1"),
        (lambda facts, tensors: facts.pop("format"), r"c\.safetensors has format None; allowed: 1"),
        (lambda facts, tensors: facts.pop("settings"), "belongs to a run with other settings"),
        (lambda facts, tensors: tensors.pop("theta/log_lr"), PART.format("theta/log_lr")),
        (lambda facts, tensors: tensors.pop("average/log_lr"), PART.format("average/log_lr")),
        (
            lambda facts, tensors: tensors.update({"theta/log_lr": torch.zeros(2)}),
            PART.format("theta/log_lr has shape"),
        ),
        (lambda facts, tensors: tensors.pop("group1/phi/W1"), PART.format("group1/phi/W1")),
        (lambda facts, tensors: tensors.pop("pool1/x"), PART.format("pool1/x")),
        (lambda facts, tensors: tensors.pop("generator"), PART.format("generator")),
        (lambda facts, tensors: tensors.update(generator=torch.zeros(3)), PART.format("")),
        (lambda facts, tensors: facts.pop("number"), PART.format("number")),
        (lambda facts, tensors: facts["groups"].pop(), PART.format("out of range")),
        (lambda facts, tensors: facts["pool"][0].pop("name"), PART.format("name")),
        (lambda facts, tensors: facts.update(groups=None), PART.format("None")),
    ],
)
def test_altered_checkpoints_are_refused(
    change: Callable[..., Any], message: str, half_way: Any, stepped: MetaTrainer, tmp_path: Path
):
    refused(spoil(half_way, tmp_path / "c.safetensors", change), message, stepped)


def test_foreign_files_are_no_checkpoints(stepped: MetaTrainer, tmp_path: Path):
    from metarules.pretrained import save_rule

    path = tmp_path / "c.safetensors"
    save_rule(LocalRule(RULE), path)
    refused(path, "belongs to a run with other settings", stepped)
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(2)}))
    refused(path, "no checkpoint of this package", stepped)
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(2)}, {"metarules": "[1]"}))
    refused(path, r"c\.safetensors has format None; allowed: 1", stepped)
    torch.save({"x": 1}, path)
    refused(path, "no checkpoint of this package", stepped)
    with pytest.raises(FileNotFoundError, match=r"path is 'gone\.safetensors', and there is no such checkpoint"):
        load_checkpoint(stepped, tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"seed": 1}, "meta_training.seed is 0 there and 1 here"),
        ({"clip": 2.0}, "meta_training.clip is 1.0 there and 2.0 here"),
        ({"architectures": ((5, 4), (7,))}, r"meta_training.architectures is \[\[5, 4\], \[6\]\] there and"),
        ({"distribution": replace(DISTRIBUTION, clusters=2)}, "distribution.clusters is 3 there and 2 here"),
        ({"rule": replace(RULE, channels=5)}, "rule.channels is 4 there and 5 here"),
        ({"rule": replace(RULE, term_scales={"soft": 0.0})}, r"rule.term_scales is {} there and {'soft': 0.0} here"),
    ],
)
def test_a_run_with_other_settings_is_not_resumed(changed: dict[str, Any], difference: str, half_way: Any):
    refused(
        half_way[0], rf"belongs to a run with other settings: {difference}.*; allowed: the same", trainer(**changed)
    )


def test_a_failing_disk_leaves_the_old_checkpoint(half_way: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "c.safetensors"
    path.write_bytes(half_way[0].read_bytes())

    def full(*args: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(trainer(), path)
    assert path.read_bytes() == half_way[0].read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


# ---------------------------------------------------------------------------------------------- whole runs


def tiny_run(out: Path, **options: Any) -> Path:
    given: dict[str, Any] = {"settings": SETTINGS, "distribution": DISTRIBUTION, "rule_settings": RULE}
    given |= {"keeping": KEEPING, "report": lambda text: None}
    return run(out, **(given | options))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    told: list[str] = []
    out = tmp_path_factory.mktemp("runs") / "deep" / "whole"
    assert tiny_run(out, report=told.append) == out / "rule.safetensors"
    return out, told


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_log_checkpoint_and_rule(whole_run: tuple[Path, list[str]]):
    out, told = whole_run
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.safetensors",
        "log.csv",
        "rule.json",
        "rule.safetensors",
    ]
    log = rows(out)
    assert [int(row["meta_step"]) for row in log] == list(range(7))
    assert [row["meta_step"] for row in log if row["glyphs"]] == ["0", "2", "4", "6"]
    assert all(0 < float(row["meta_loss"]) < 4 and row["skipped"] == "0" for row in log[1:])
    assert len(told) == 3
    assert re.fullmatch(r"meta-step 6/6: loss \d\.\d{3}, glyphs \d\.\d{3}, decoders \d\.\d{3}, 0\.0 min left", told[-1])


def test_the_card_tells_how_the_rule_was_made(whole_run: tuple[Path, list[str]]):
    out, _ = whole_run
    rule, log = load_rule(out / "rule.safetensors"), rows(out)
    card = rule.card
    assert card["meta_training"] == plain(SETTINGS)
    assert card["distribution"] == plain(DISTRIBUTION)
    assert card["keeping"] == plain(KEEPING)
    assert card["settings"] == plain(RULE)
    assert card["kind"] == "local"
    assert card["command"] == "metarules.meta_training.run with the settings on this card"
    assert (card["seed"], card["skipped"], card["digits_reads"]) == (0, 0, 0)
    assert card["minutes"] >= 0
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?|unknown", card["revision"])
    assert card["recommended"] == {"steps": 100, "batch_size": 200, "weight_std": 0.01, "bias_std": 0.0}
    validated = [row for row in log if row["glyphs"]]
    assert [p["meta_step"] for p in card["validation"]] == [0, 2, 4, 6][: len(card["validation"])]
    for point, row in zip(card["validation"], validated, strict=False):
        assert (point["glyphs"], point["decoders"]) == (float(row["glyphs"]), float(row["decoders"]))
    # the rule kept is the best of the run, by the mean of both kinds
    means = {int(row["meta_step"]): float(row["glyphs"]) + float(row["decoders"]) for row in validated[1:]}
    assert card["meta_steps"] == max(step for step, mean in means.items() if mean == max(means.values()))


def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(whole_run: tuple[Path, list[str]], tmp_path: Path):
    out = tmp_path / "broken"

    def pull_the_plug(text: str) -> None:
        if text.startswith("meta-step 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_run(out, report=pull_the_plug)
    assert len(rows(out)) == 5  # one step further than the checkpoint
    tiny_run(out, resume=True)
    with safetensors.safe_open(whole_run[0] / "checkpoint.safetensors", framework="pt") as file:
        whole = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    with safetensors.safe_open(out / "checkpoint.safetensors", framework="pt") as file:
        resumed = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert same(whole, resumed)
    rules = [load_rule(folder / "rule.safetensors") for folder in (whole_run[0], out)]
    assert same(*({name: p.detach() for name, p in rule.named_parameters()} for rule in rules))
    for a, b in zip(rows(whole_run[0]), rows(out), strict=True):
        assert {k: v for k, v in a.items() if k != "minutes"} == {k: v for k, v in b.items() if k != "minutes"}
    minutes = [float(row["minutes"]) for row in rows(out)]
    assert minutes == sorted(minutes)
    tiny_run(out, resume=True)  # nothing left to do
    assert len(rows(out)) == 7


@pytest.mark.parametrize("name", ["log.csv", "checkpoint.safetensors", "rule.safetensors"])
def test_a_folder_in_use_is_refused(name: str, tmp_path: Path):
    (tmp_path / name).write_text("precious")
    with pytest.raises(FileExistsError, match="which holds a run already; allowed: another folder, or --resume"):
        tiny_run(tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_to_resume(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"which holds no checkpoint\.safetensors; allowed: the folder of a run"
    ):
        tiny_run(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_a_validation_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path):
    for changed in ({"batch_size": 37}, {"labels_per_class": 3}):
        with pytest.raises(
            ValueError, match=r"batch_size and labels_per_class of the validation are .*allowed: up to 36"
        ):
            tiny_run(tmp_path / "none", keeping=replace(KEEPING, **changed))
    assert not (tmp_path / "none").exists()


def test_only_local_rules_have_their_average_taken_out():
    t = trainer()
    t.rule = Watcher(0.0)
    with pytest.raises(TypeError, match=r"trainer\.rule is a Watcher; allowed: LocalRule"):
        run_module.averaged_rule(t)


def test_the_revision_is_known_in_a_checkout_alone(monkeypatch: pytest.MonkeyPatch):
    def none(*args: Any, **options: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", none)
    assert run_module._revision() == "unknown"


# ---------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `main` asks `run` for, which then does the tiny run into the same folder."""
    asked: list[dict[str, Any]] = []

    def instead(out: Path, **options: Any) -> Path:
        asked.append({"out": out, **options})
        return tiny_run(out, **(options | {"settings": replace(SETTINGS, meta_steps=2)}))

    monkeypatch.setattr("metarules.meta_training.__main__.run", instead)
    return asked


def test_the_command_line_runs_and_resumes(
    runs: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    chosen = ["--seed", "3", "--meta-steps", "40", "--particles", "5", "--learning-rate", "0.01", "--threads", "1"]
    assert main(["--out", str(out), *chosen]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"wrote {out / 'rule.safetensors'}"
    assert said.out.startswith("meta-step 2/2: loss")
    asked = runs[0]["settings"]
    assert asked == replace(MetaTrainingSettings(), seed=3, meta_steps=40, particles=5, learning_rate=0.01)
    assert (runs[0]["out"], runs[0]["resume"]) == (out, False)
    assert main(["--out", str(out)]) == 2
    assert re.match("error: out is .* which holds a run already; allowed", capsys.readouterr().err)
    assert main(["--out", str(out), "--resume"]) == 0
    assert runs[-1]["resume"] is True
    assert runs[-1]["settings"] == MetaTrainingSettings()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--meta-steps", "0"], "meta_steps is 0; allowed: a whole number in [1, inf]"),
        (["--particles", "-1"], "particles is -1; allowed: a whole number in [1, inf]"),
        (["--learning-rate", "0"], "learning_rate is 0.0; allowed: a number in (0, inf]"),
        (["--learning-rate", "nan"], "learning_rate is nan; allowed: a number in (0, inf]"),
        (["--seed", "-4"], "seed is -4; allowed: a whole number in [0, "),
        (["--threads", "0"], "threads is 0; allowed: a whole number in [1, inf]"),
        (["--resume"], "out is '{out}', which holds no checkpoint.safetensors; allowed: the folder of a run"),
    ],
)
def test_bad_options_are_named_and_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    assert main(["--out", str(out), *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: " + message.format(out=out))
    assert said.out == ""
    assert not out.exists()


def test_options_that_cannot_be_read_exit_with_2(capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["--out"], ["--out", "x", "--seed", "1.5"], ["--out", "x", "--speed", "9"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert "usage: python -m metarules.meta_training" in capsys.readouterr().err


def test_help_tells_every_option_and_its_default(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for option in ("--out", "--resume", "--seed", "--meta-steps", "--particles", "--learning-rate", "--threads"):
        assert option in said
    assert str(MetaTrainingSettings().meta_steps) in said


def test_a_run_stopped_by_hand_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def stopped(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metarules.meta_training.__main__.run", stopped)
    assert main(["--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == f"stopped; --out {tmp_path} --resume goes on from the last checkpoint\n"


def test_a_disk_that_cannot_be_written_is_an_error_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def unwritable(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", "log.csv")

    monkeypatch.setattr("metarules.meta_training.__main__.run", unwritable)
    assert main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: 'log.csv'\n"


def test_settings_are_plain_data_all_the_way():
    """A card and a checkpoint hold them as JSON."""
    for settings in (SETTINGS, DISTRIBUTION, KEEPING, RULE):
        assert json.loads(json.dumps(plain(settings))) == plain(settings)
        assert set(plain(settings)) == {f.name for f in dataclasses.fields(settings)}


def test_the_card_names_the_command_that_makes_the_rule_again():
    others = (DistributionSettings(), RunSettings(), LocalRuleSettings())
    words = "python -m metarules.meta_training --out runs/local --seed 3 --meta-steps 1500"
    assert run_module._command(MetaTrainingSettings(meta_steps=1500, seed=3), *others) == words
    for changed in (MetaTrainingSettings(clip=2.0), MetaTrainingSettings()):
        unusual = others if changed.clip == 2.0 else (*others[:2], LocalRuleSettings(channels=4))
        assert "with the settings on this card" in run_module._command(changed, *unusual)
