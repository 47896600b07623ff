"""Today's rules against numbers that their first version printed: what was made faster has to have stayed the same.

`tests/first_version.npz` holds theta, phi and data (numbers that float32 holds exactly), and what the rules
of commit 6346ab1 made of them in float64: phi after three steps, and gradients by theta and by the first phi. They were
the plain rules, written as the equations stand, before anybody made them fast.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.cases import group_of, unrolls
from metarules.base_model import BaseModelState, forward
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainingSettings
from metarules.tasks import Task
from metarules.update_rule import LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

STORED = Path(__file__).parent / "first_version.npz"
TOLERANCE = 1e-10  # of the largest number in the tensor, float64
SMALL_PAPER = {"channels": 3, "delta_channels": 2, "readout_channels": 2, "top_channels": 3, "top_units": 5}
SMALL_LOCAL = {"channels": 5, "signals": 3, "readouts": 2}
SCALES = {"term_scales": {"hebb": 0.5, "rbf": 0.0}, "input_scales": {"x": 2.0, "delta": 0.0}}
CASES: dict[str, tuple[dict[str, Any], int]] = {  # settings, and tasks taught at once (0: no task dimension)
    "local default": ({}, 0),
    "local small": (SMALL_LOCAL, 3),
    **{f"local {mode}": ({**SMALL_LOCAL, "backward_update": mode}, 3) for mode in ("separate", "fixed", "tied")},
    "local switches": ({**SMALL_LOCAL, "decorrelation": False, "layer_stats": False, "softmax": False}, 3),
    "local scales": ({**SMALL_LOCAL, **SCALES}, 3),
    "paper small": (SMALL_PAPER, 0),
    **{f"paper {mode}": ({**SMALL_PAPER, "backward_update": mode}, 3) for mode in ("separate", "fixed", "tied")},
    "paper scales": ({**SMALL_PAPER, **SCALES}, 3),
}
OBJECTIVES = {
    "ridge": MetaObjectiveSettings(ridge=3.0, standardise_features=True, logit_scale=5.0),
    "hinge": MetaObjectiveSettings(normalise_features=True, hinge=True, train_share=0.3),
    "default": MetaObjectiveSettings(),
}
RUN = MetaTrainingSettings(
    particles=2, truncation=(3, 3), horizon=(9, 9), batch_size=(12, 12), labels_per_class=2, labelled_batches=3
)


@pytest.fixture(scope="module")
def stored() -> Mapping[str, Tensor]:
    """Every tensor in the file by its name, in float64; "shapes" says how the two long rows are cut."""
    with np.load(STORED, allow_pickle=False) as archive:
        row = torch.from_numpy(np.concatenate([archive["exact"].astype(np.float64), archive["made"]]))
        shapes: dict[str, list[int]] = json.loads(str(archive["shapes"]))
    parts = row.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def part(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start so, by the rest of their names, as they are called today."""
    new = names_since(prefix)
    parts = {name.removeprefix(prefix): t for name, t in stored.items() if name.startswith(prefix)}
    return {re.sub(r"\w+", lambda word: new.get(word[0], word[0]), name): t for name, t in parts.items()}


def names_since(case: str) -> Mapping[str, str]:
    """What the settings and parameters of a rule have been renamed to: the package's own table, for its old files."""
    return getattr(PaperRule, "renamed", {}) if "paper" in case else {}


def rule_of(case: str, stored: Mapping[str, Tensor]) -> UpdateRule:
    """Today's rule with the stored theta, none of whose numbers was left at a special value."""
    kind = case.split()[0]
    new = names_since(case)
    settings = {**{new.get(name, name): value for name, value in CASES[case][0].items()}, "lr": 0.05}
    rule: UpdateRule
    if kind == "local":
        rule = LocalRule(LocalRuleSettings(**settings), dtype=torch.float64)
    else:
        rule = PaperRule(PaperRuleSettings(**settings), dtype=torch.float64)
    theta = part(stored, "theta, local default: " if case == "local default" else f"theta, {kind}: ")
    with torch.no_grad():
        for name, parameter in rule.named_parameters():
            parameter.copy_(theta[name])
    return rule


def life(rule: UpdateRule, tasks: int, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """phi after three steps, and the gradient of a number made from its features, by theta and by the first phi."""
    arrays, x = part(stored, "phi "), stored["x"]
    if not tasks:
        arrays, x = {name: t[0] for name, t in arrays.items()}, x[:, 0]
    first = {name: [arrays[f"{name}_{l}"] for l in (1, 2, 3)] for name in "WbV"}
    start = BaseModelState.from_arrays(**first).map(lambda t: t.clone().requires_grad_())
    phi = start
    for batch in x:
        phi = rule(phi, batch)
    features = forward(phi, x[0]).features
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    wanted = {**dict(rule.named_parameters()), **{f"phi {name}": t for name, t in start.tensors()}}
    found = torch.autograd.grad((weights * features.square()).sum(), list(wanted.values()), materialize_grads=True)
    after = {f"after {name}": t.detach() for name, t in phi.tensors()}
    return {**after, **{f"by {name}": g for name, g in zip(wanted, found, strict=True)}}


def truncation(rule: UpdateRule, name: str, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss and meta-gradient of a truncation with one of the `OBJECTIVES`, and the weights it ends with."""
    settings = replace(RUN, objective=OBJECTIVES[name])
    task = Task(stored["task x"], (torch.arange(40) % 4).expand(2, 40).contiguous(), 4)
    arrays = part(stored, "task phi ")
    first = BaseModelState.from_arrays(**{name: [arrays[f"{name}_{l}"] for l in (1, 2)] for name in "WbV"})
    group = group_of(first, task, 9, 12)
    loss, after = unrolls.truncated_loss(rule, group, settings, torch.Generator().manual_seed(1))
    parameters = dict(rule.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    made = {"loss": loss.detach(), "after W_1": after.phi.layers[0].W}
    return {**made, **{f"by {name}": g for name, g in zip(parameters, found, strict=True)}}


def assert_same(now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> None:
    """Each tensor relative to its own largest number; gradients to a small share of the largest, if that is more.

    Biases that feed a batch norm have a gradient of zero, which comes out as rounding.
    """
    assert now.keys() == then.keys()
    largest = max(float(value.abs().max()) for name, value in then.items() if name.startswith("by "))
    assert largest > 1e-3
    for name, value in then.items():
        size = max(float(value.abs().max()), 1e-4 * largest if name.startswith("by ") else 0.0)
        assert float((now[name] - value).abs().max()) <= TOLERANCE * size, name


@pytest.mark.parametrize("case", CASES)
def test_todays_rules_do_what_the_first_version_did(case: str, stored: Mapping[str, Tensor]):
    assert_same(life(rule_of(case, stored), CASES[case][1], stored), part(stored, f"{case}: "))


def test_the_comparison_would_notice_a_difference(stored: Mapping[str, Tensor]):
    rule = rule_of("local small", stored)
    with torch.no_grad():
        next(rule.parameters()).mul_(1 + 1e-7)
    with pytest.raises(AssertionError):
        assert_same(life(rule, 3, stored), part(stored, "local small: "))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_todays_look_sees_what_the_first_version_saw(name: str, stored: Mapping[str, Tensor]):
    """Loss and meta-gradient of a truncation, objective included."""
    found, wanted = truncation(rule_of("local small", stored), name, stored), part(stored, f"objective {name}: ")
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-10)
