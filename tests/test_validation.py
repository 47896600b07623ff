"""Validation: few-shot accuracy on held-out data, reproducible and paired; the judge of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from meta_small import DISTRIBUTION, PLAN, RULE, same, seeded, trainer

from metarules.base_model import BaseModelState, LayerState, init_state
from metarules.meta_training import Judge, JudgeSettings, validate
from metarules.meta_training.outer_loop import averaged_rule
from metarules.tasks import Task
from metarules.tasks.distribution import validation_tasks
from metarules.update_rule import Batch, LocalRule, UpdateRule

SMALL: dict[str, Any] = {"widths": (6,), "steps": 3, "batch_size": 12, "labels_per_class": 4}


def held_out(n: int = 3) -> Task:
    return validation_tasks(replace(DISTRIBUTION, n_examples=90), n, seeded(4), "glyphs")


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
    shares = []
    for turn in torch.arange(72).split(12):
        rest = torch.ones(72, dtype=torch.bool).index_fill(0, turn, False)
        guess = Ridge(alpha=3.0).fit(x[turn], torch.eye(3)[y[turn]].numpy()).predict(x[rest]).argmax(-1)
        shares.append(float((guess == y[rest].numpy()).mean()))
    assert found == pytest.approx(sum(shares) / 6, abs=0.005)
    assert found > 0.4  # chance is a third


def test_a_rule_that_diverges_is_worth_chance():
    found = validate(Watcher(float("inf")), held_out(), **SMALL)
    torch.testing.assert_close(found, torch.full((3,), 1 / 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels_per_class": 6}, "labels_per_class is 6, for 6 batches; allowed: up to"),
        ({"batch_size": 91}, "batch_size is 91; allowed: a whole number in [2, 90]"),
        ({"batch_size": 1}, "batch_size is 1; allowed: a whole number in [2, 90]"),
        ({"steps": -1}, "steps is -1; allowed: a whole number in [0, inf]"),
        ({"widths": (0,)}, "widths is 0; allowed: a whole number in [1, inf]"),
        ({"widths": ()}, "widths is (); allowed: a tuple of one layer width or more"),
    ],
)
def test_bad_arguments_of_validate_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        validate(Watcher(0.0), held_out(), **(SMALL | changed))


# ---------------------------------------------------------------------------------------------- the judge of a run


def test_a_judge_scores_every_rule_on_the_same_tasks():
    judge, again = Judge(DISTRIBUTION, PLAN.judge), Judge(DISTRIBUTION, PLAN.judge)
    rule = LocalRule(RULE, generator=seeded(1))
    scores = judge(rule)
    kinds = ("glyphs", "decoders", "handwriting")
    assert sorted(scores) == sorted(case for kind in kinds for case in (kind, f"{kind}_wide"))
    assert all(score.shape == (2,) for score in scores.values())
    assert same(scores, judge(rule)) and same(scores, again(rule))
    for kind, task in judge.tasks.items():
        how = {"steps": 3, "batch_size": 10, "labels_per_class": 2}
        assert torch.equal(scores[kind], validate(rule, task, widths=(5,), **how))
        assert torch.equal(scores[f"{kind}_wide"], validate(rule, task, widths=(6, 5), **how))
    assert list(Judge(DISTRIBUTION, replace(PLAN.judge, wide=()))(rule)) == list(judge.tasks)
    other = Judge(DISTRIBUTION, replace(PLAN.judge, seed=1))
    assert not torch.equal(judge.tasks["glyphs"].x, other.tasks["glyphs"].x)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": 0}, "tasks is 0; allowed: a whole number in [1, inf]"),
        ({"labels_per_class": 0}, "labels_per_class is 0; allowed: a whole number in [1, inf]"),
        ({"batch_size": 1}, "batch_size is 1; allowed: a whole number in [2, inf]"),
        ({"steps": -1}, "steps is -1; allowed: a whole number in [0, inf]"),
        ({"seed": -1}, "seed is -1; allowed: a whole number in [0, inf]"),
        ({"widths": ()}, "widths is (); allowed: a tuple of one layer width or more"),
        ({"wide": (0,)}, "wide is 0; allowed: a whole number in [1, inf]"),
        ({"widths": (5, 0)}, "widths is 0; allowed: a whole number in [1, inf]"),
    ],
)
def test_settings_of_the_judge_out_of_range_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        replace(JudgeSettings(), **changed)


@pytest.mark.parametrize("changed", [{"batch_size": 37}, {"labels_per_class": 3}])
def test_a_validation_that_does_not_fit_is_refused(changed: dict[str, int]):
    with pytest.raises(ValueError, match=r"batch_size and labels_per_class of the validation are .*allowed: up to 36"):
        Judge(DISTRIBUTION, replace(PLAN.judge, **changed))


def test_what_is_judged_is_the_average_of_theta():
    t = trainer()
    for _ in range(3):
        t.step()
    before = {name: p.detach().clone() for name, p in t.rule.named_parameters()}
    rule = averaged_rule(t)
    assert same({name: p.detach() for name, p in rule.named_parameters()}, t.average)
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.zero_()
    assert same({name: p.detach() for name, p in t.rule.named_parameters()}, before)
    assert any(value.any() for value in t.average.values())
