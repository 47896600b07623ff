"""`PaperRule` against numbers printed by the authors' released implementation (see reference/README.md)."""

from __future__ import annotations

import json
import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metarules.base_model import BaseModelState, forward
from metarules.meta_objective import one_hot, ridge_cosine_loss, ridge_cosine_score
from metarules.update_rule import PaperRule, Trace
from metarules.update_rule.paper.tensorflow import ROOT, variable_names

REFERENCE = Path(__file__).parent / "reference"
FLOAT64, FLOAT32, ZERO = 1e-9, 2e-5, 1e-12  # tolerances; the last one is absolute, where the reference is zero
STEP_SIZES = ("lr1e-4", "lr5e-2")
RUNS = ("K1_lr5e-2", "K3_lr1e-4", "K3_lr5e-2")


@cache
def archive(name: str) -> dict[str, np.ndarray]:
    with np.load(REFERENCE / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def theta(name: str, dtype: type = np.float64) -> dict[str, np.ndarray]:
    return {key: value.astype(dtype) for key, value in archive(name).items()}


def state(data: dict[str, np.ndarray], prefix: str, dtype: type = np.float64) -> BaseModelState:
    depth = sum(key.startswith(f"{prefix}/W") for key in data)
    W, b, V = ([data[f"{prefix}/{n}{l}"].astype(dtype) for l in range(1, depth + 1)] for n in "WbV")
    return BaseModelState.from_arrays(W=W, b=b, V=V)


def shuffled(images: np.ndarray, order: np.ndarray) -> Tensor:
    """Images [batch, side, side, 1] as inputs [batch, side * side], pixels in the run's own order."""
    return torch.from_numpy(images.astype(np.float64).reshape(len(images), -1)[:, order])


def error(got: Tensor, wanted: np.ndarray) -> float:
    """max |error| / max |reference|."""
    difference = np.abs(got.detach().double().numpy().reshape(wanted.shape) - wanted.astype(np.float64)).max()
    return float(difference / np.abs(wanted).max())


def compare(got: dict[str, Tensor], wanted: dict[str, np.ndarray], tolerance: float) -> None:
    """Same keys, same shapes, same numbers; the worst error goes to the test's output."""
    assert set(got) == set(wanted)
    shapes = {key: (tuple(got[key].shape), wanted[key].shape) for key in got if got[key].shape != wanted[key].shape}
    assert shapes == {}
    zeros = [key for key, value in wanted.items() if np.abs(value).max() < ZERO]
    assert all(float(got[key].abs().max()) < ZERO for key in zeros), zeros
    errors = {key: error(got[key], value) for key, value in wanted.items() if key not in zeros}
    worst = max(errors, key=errors.__getitem__)
    print(f"{len(errors)} tensors, {len(zeros)} true zeros, worst {worst}: {errors[worst]:.2e}")
    assert {key: value for key, value in errors.items() if not value < tolerance} == {}


def part(data: dict[str, np.ndarray], pattern: str) -> dict[str, np.ndarray]:
    """Entries whose key, less what the pattern matches at its beginning, is left as the new key."""
    return {key[m.end() :]: value for key, value in data.items() if (m := re.match(pattern, key))}


def flat(phi: BaseModelState) -> dict[str, Tensor]:
    """W1, b1 [1, n], V1, ... as the archives store a state."""
    return {name: t.unsqueeze(0) if name[0] == "b" else t for name, t in phi.tensors()}


def same(a: BaseModelState, b: BaseModelState) -> bool:
    return all(torch.equal(p, q) for (_, p), (_, q) in zip(a.tensors(), b.tensors(), strict=True))


def without_unused(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state's entries less the backward layers' biases and the pixel order, which no step touches."""
    return {key: value for key, value in data.items() if not re.search(r"(^|/)(vb\d|shuffle_ind)$", key)}


def everything(rule: PaperRule, phi: BaseModelState, trace: Trace) -> dict[str, Tensor]:
    """One step's intermediates under the archives' keys."""
    depth = phi.depth
    result = {f"x{l}": trace.x[l] for l in range(depth + 1)} | {f"z{l}": trace.z[l] for l in range(1, depth + 1)}
    for name in ("d", "h", "delta"):
        result |= {f"{name}{l}": value for l, value in getattr(trace, name).items()}
    result["top_delta"] = trace.d[depth]
    for l in range(1, depth + 1):
        result[f"dnext{l}"] = trace.d[l - 1]
        result[f"bias_readout{l}"] = rule.bias_readout(trace.h[l]).squeeze(-1)
        result[f"change_W{l}"], result[f"change_b{l}"] = trace.change_W[l], trace.change_b[l]
        result |= {f"term{l}/{name}": value for name, value in trace.terms[l].items()}
        for term, matrix in rule.forward_readout.lowrank(trace.h[l - 1], trace.h[l]).items():
            short = {"0_order": "weight_readout_0", "1_order": "weight_readout_1", "rbf": "weight_readout_rbf"}
            result[f"lowrank{l}/forward{short.get(term, term)}"] = matrix
    return result | {f"after/{name}": value for name, value in flat(trace.next_state).items()}


@cache
def small_trace() -> tuple[PaperRule, BaseModelState, Trace]:
    data = archive("small_step")
    rule = PaperRule.from_tf_variables(theta("small_theta"), lr=float(data["lr"]))
    phi = state(data, "before")
    return rule, phi, rule.trace(phi, shuffled(data["image"], data["before/shuffle_ind"]))


@pytest.mark.parametrize(("name", "tolerance"), [("small_step_f64", FLOAT64), ("small_step", FLOAT32)])
def test_one_small_step(name: str, tolerance: float):
    rule, phi, trace = small_trace()
    inputs = ("image", "label", "lr")
    data = {key: value for key, value in without_unused(archive(name)).items() if key not in inputs}
    got = everything(rule, phi, trace) | {f"before/{key}": value for key, value in flat(phi).items()}
    compare(got | {"embedding": trace.x[phi.depth]}, data, tolerance)


def test_calling_the_rule_and_a_float32_rule_give_the_same_step():
    rule, phi, trace = small_trace()
    assert same(rule(phi, trace.x[0]), trace.next_state)
    single = PaperRule.from_tf_variables(archive("small_theta"), lr=0.05)
    after = single(phi.to(torch.float32), trace.x[0].float())
    compare(flat(after), without_unused(part(archive("small_step"), "after/")), FLOAT32)


def test_every_convolution_and_batch_norm_inside():
    """The archive's layout is [p, batch, q] where ours is [batch, p, q], but for blocks that convolve over units."""
    rule, phi, trace = small_trace()
    modules = dict(rule.named_modules())
    owners = {tf: own.rpartition(".")[0] for tf, own in variable_names(rule.settings).items()}
    places = {tf.rpartition("/")[0].removeprefix(f"{ROOT}/"): modules[own] for tf, own in owners.items()}
    places |= {"ConcatUnitConv": rule.network.units[0], "ConcatUnitConv_1": rule.network.units[1]}
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(key: str, _: object, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.setdefault(key, []).append((given[0], out))

    wanted = re.compile("conv_1d|batch_norm|ConcatUnitConv")
    handles = [m.register_forward_hook(partial(note, key)) for key, m in places.items() if wanted.search(key)]
    try:
        rule.plain()(phi, trace.x[0])
    finally:
        for handle in handles:
            handle.remove()
    got: dict[str, Tensor] = {}
    for key, calls in seen.items():
        top = key.startswith("compute_top_delta/")
        own_axis_first = not key.startswith("ConcatUnitConv") or key.count("/") == 0
        for l, (given, out) in zip([phi.depth] if top else range(phi.depth, -1, -1), calls, strict=True):
            name = key.replace("compute_top_delta/", "top/") if top else f"h{l}/{key}"
            got[name] = out.transpose(0, 1) if own_axis_first else out
            if key.rpartition("/")[-1] in ("conv_1d", "batch_norm") and own_axis_first:
                got[f"{name}_INPUT"] = given.transpose(0, 1)
    got |= {f"h{l}/{ROOT}": trace.h[l] for l in range(phi.depth + 1)} | {f"top/{ROOT}": trace.d[phi.depth]}
    compare(got, archive("small_step_internals"), FLOAT32)


@pytest.mark.parametrize("lr", STEP_SIZES)
def test_twenty_steps(lr: str):
    data = archive(f"small_traj_{lr}")
    rule = PaperRule.from_tf_variables(theta("small_theta"), lr=float(data["lr"]))
    assert float(data["lr"]) == float(lr.removeprefix("lr"))
    phi = state(data, "t00")
    got = {f"t00/{name}": t for name, t in flat(phi).items()}
    with torch.no_grad():
        for step, image in enumerate(data["images"], start=1):
            phi = rule(phi, shuffled(image, data["t00/shuffle_ind"]))
            if step % 5 == 0:
                got |= {f"t{step:02d}/{name}": t for name, t in flat(phi).items()}
    compare(got, without_unused(part(data, "f64_")), FLOAT64)
    single = {key: value for key, value in data.items() if key.startswith("t")}
    compare(got, without_unused(single), FLOAT32)


@cache
def metagradient(run: str) -> dict[str, Tensor]:
    """States, features, loss and gradients of one of the unrolled runs, under the archives' keys."""
    data = archive(f"small_metagrad_{run}")
    rule = PaperRule.from_tf_variables(theta("small_theta"), lr=float(data["lr"]))
    phi0 = phi = state(data, "before").map(lambda t: t.clone().requires_grad_())
    order = data["before/shuffle_ind"]
    got: dict[str, Tensor] = {}
    for step in range(int(data["K"])):
        phi = rule(phi, shuffled(data[f"image{step}"], order))
        got |= {f"s{step + 1}/{name}": t for name, t in flat(phi).items()}
    halves = ("train", "test")
    images = [shuffled(data[f"meta_image_{half}"], order) for half in halves]
    got["features"] = forward(phi, torch.cat(images)).features
    a, b = got["features"].split([len(x) for x in images])
    y_a, y_b = (one_hot(torch.from_numpy(data[f"meta_label_{half}"]), 10, torch.float64) for half in halves)
    got["loss"] = ridge_cosine_loss(a, y_a, b, y_b, ridge=0.1)
    parameters = dict(rule.named_parameters())
    initial = dict(phi0.tensors())
    wanted = [*parameters.values(), *initial.values()]
    gradients = torch.autograd.grad(got["loss"], wanted, allow_unused=True)
    by_name = dict(zip(parameters, gradients[: len(parameters)], strict=True))
    got |= {f"grad_theta/{name}": value for name, value in rule.to_tf_variables(by_name).items()}
    for name, value in zip(initial, gradients[len(parameters) :], strict=True):
        got[f"grad_state0/{name}"] = value.unsqueeze(0) if name[0] == "b" else value
    return got


@pytest.mark.parametrize("run", RUNS)
def test_metagradient(run: str):
    data = archive(f"small_metagrad_{run}_f64")
    compare(metagradient(run), {k: v for k, v in without_unused(data).items() if not k.startswith("stat_")}, FLOAT64)


@pytest.mark.parametrize("run", RUNS)
def test_metagradient_as_printed_in_float32(run: str):
    exact = archive(f"small_metagrad_{run}_f64")
    kept = {  # true zeros are rounding noise in float32
        key: value
        for key, value in without_unused(archive(f"small_metagrad_{run}")).items()
        if key in exact and not key.startswith("stat_") and np.abs(exact[key]).max() > ZERO
    }
    got = {key: value for key, value in metagradient(run).items() if key in kept}
    compare(got, kept, FLOAT32)


@pytest.mark.parametrize("run", RUNS)
def test_statistics_of_the_meta_objective(run: str):
    inputs, data = archive(f"small_metagrad_{run}"), archive(f"small_metagrad_{run}_f64")
    a, b = torch.from_numpy(data["features"]).chunk(2)
    halves = ("train", "test")
    y_a, y_b = (one_hot(torch.from_numpy(inputs[f"meta_label_{half}"]), 10, torch.float64) for half in halves)
    score = ridge_cosine_score(a, y_a, b, y_b)
    got = {"total_loss": score.loss, "mse_test": score.error_b, "mse_train": score.error_a}
    got |= {"ridge_component": score.penalty, "accuracy_test": score.accuracy_b}
    wanted = {key: value for key, value in part(data, "stat_").items() if key != "accuracy_train"}  # we keep none
    compare(got, wanted, FLOAT64)


@cache
def default_trace() -> tuple[PaperRule, BaseModelState, Trace]:
    data = archive("default_step")
    rule = PaperRule.from_tf_variables(theta("default_theta"), lr=float(data["lr"]))
    phi = state(data, "before")
    with torch.no_grad():
        return rule, phi, rule.trace(phi, shuffled(data["image"], data["before/shuffle_ind"]))


def corner(value: Tensor, wanted: np.ndarray) -> Tensor:
    return value[tuple(slice(n) for n in wanted.shape)]


def test_one_step_at_the_papers_sizes():
    rule, phi, trace = default_trace()
    assert sum(p.numel() for p in rule.parameters()) == 114_670
    got = {key: value.detach() for key, value in everything(rule, phi, trace).items()}
    data = without_unused(archive("default_step_f64"))
    slices = part(data, "slice/")
    compare({key: corner(value, slices[key]) for key, value in got.items()}, slices, FLOAT64)
    compare({key: value.square().sum().sqrt() for key, value in got.items()}, part(data, "norm/"), FLOAT64)
    compare({key: value.sum() for key, value in got.items()}, part(data, "sum/"), FLOAT64)


def test_one_step_at_the_papers_sizes_as_printed_in_float32():
    """The archive says by how much float32 was off (`f32err`); we may be off by no more than that."""
    rule, phi, trace = default_trace()
    got = {key: value.detach() for key, value in everything(rule, phi, trace).items()}
    data = without_unused(archive("default_step"))
    allowed = part(archive("default_step_f64"), "f32err/")
    compared = 0
    for key, value in data.items():
        if not key.startswith("before/") and key not in ("image", "label", "lr"):
            name = key.replace("slice_after/", "after/").removeprefix("f32/")
            assert error(corner(got[name], value), value) < max(FLOAT32, 1.01 * float(allowed[name])), key
            compared += 1
    assert compared == 35


def test_names_of_the_base_models_variables_are_passed_over():
    names = json.loads((REFERENCE / "small_names.json").read_text())["shortnames"]
    data = archive("small_step")
    extended = theta("small_theta") | {tf: data[f"before/{short}"] for tf, short in names.items()}
    extended["global_step"] = np.array(7)
    _, phi, trace = small_trace()
    again = PaperRule.from_tf_variables(extended, lr=0.05)(phi, trace.x[0])
    assert same(again, trace.next_state)


def test_every_archive_has_a_test():
    tested = {"small_theta", "small_step", "small_step_f64", "small_step_internals"}
    tested |= {f"small_traj_{lr}" for lr in STEP_SIZES}
    tested |= {f"small_metagrad_{run}{suffix}" for run in RUNS for suffix in ("", "_f64")}
    tested |= {"default_theta", "default_step", "default_step_f64", "meta_objective"}
    assert {path.stem for path in REFERENCE.glob("*.npz")} == tested
    assert sum(path.stat().st_size for path in REFERENCE.iterdir()) < 4e6
