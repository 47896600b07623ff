"""The base model: its state, forward pass and frozen form."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metarules.base_model import (
    NONLINEARITIES,
    BaseModelState,
    InitSettings,
    LayerState,
    forward,
    freeze,
    get_nonlinearity,
    init_state,
)


def make(sizes=(6, 5, 4), **options) -> BaseModelState:
    return init_state(sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64, **options)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_init_draws_truncated_normals_of_the_stated_spread():
    phi = init_state((300, 200), generator=torch.Generator().manual_seed(0))
    layer = phi.layers[0]
    assert layer.W.abs().max() <= 0.02 and layer.V.abs().max() <= 0.02 and layer.b.abs().max() <= 0.2
    truncated = 0.8796  # standard deviation of a normal cut at two standard deviations
    assert layer.W.std() == pytest.approx(0.01 * truncated, rel=0.02)
    assert layer.b.std() == pytest.approx(0.1 * truncated, rel=0.15)
    assert not torch.equal(layer.W, layer.V)


def test_init_is_reproducible_and_settings_are_used():
    assert torch.equal(make().layers[1].W, make().layers[1].W)
    still = make(settings=InitSettings(weight_std=1.0, bias_std=0.0))
    assert not still.layers[0].b.any() and still.layers[0].W.abs().max() > 0.5


def test_forward_is_the_formula():
    phi, x = make(), inputs(7, 6)
    acts = forward(phi, x)
    below = x.numpy()
    assert torch.equal(acts.x[0], x) and torch.equal(acts.z[0], x)
    for l, layer in enumerate(phi.layers, start=1):
        u = below @ layer.W.numpy()
        z = (u - u.mean(0)) / np.sqrt(u.var(0) + 1e-6) + layer.b.numpy()
        np.testing.assert_allclose(acts.z[l].numpy(), z, rtol=1e-12, atol=1e-12)
        below = np.maximum(z, 0)
        np.testing.assert_allclose(acts.x[l].numpy(), below, rtol=1e-12, atol=1e-12)
    assert torch.equal(acts.features, acts.x[2])


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_nonlinearity_derivative_equals_autograd(name: str):
    value, derivative, module = get_nonlinearity(name)
    z = (inputs(50) * 2).requires_grad_()
    out = value(z)
    expected = torch.autograd.grad(out.sum(), z)[0] if out.requires_grad else torch.zeros_like(z)
    torch.testing.assert_close(derivative(z.detach()), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(module()(z), out)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_frozen_model_gives_a_row_the_same_answer_alone_or_in_a_crowd(name: str):
    phi, x = make(nonlinearity=name), inputs(20, 6)
    frozen = freeze(phi, x)
    torch.testing.assert_close(frozen(x), forward(phi, x).features, rtol=1e-9, atol=1e-9)
    alone = torch.cat([frozen(x[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(alone, frozen(x), rtol=1e-12, atol=1e-12)
    module = frozen.to_module()
    assert isinstance(module, nn.Sequential) and sum(isinstance(m, nn.Linear) for m in module) == 2
    torch.testing.assert_close(module(x).detach(), frozen(x), rtol=1e-12, atol=1e-12)


def test_exported_module_owns_its_numbers():
    phi, x = make(), inputs(20, 6)
    module = freeze(phi, x).to_module()
    before = module(x).detach()
    for layer in phi.layers:
        layer.W.zero_()
    torch.testing.assert_close(module(x).detach(), before)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.lists(st.integers(1, 3), max_size=2))
def test_leading_task_dimensions_are_single_runs(sizes: list[int], tasks: list[int]):
    phi = make(sizes, tasks=tasks)
    x = inputs(*tasks, 4, sizes[0])
    acts = forward(phi, x)
    for index in np.ndindex(*tasks):
        single = forward(phi.task(*index), x[index])
        torch.testing.assert_close(acts.features[index], single.features, rtol=1e-9, atol=1e-9)


def test_one_batch_is_shared_by_all_tasks():
    phi, x = make(tasks=(3,)), inputs(7, 6)
    shared = forward(phi, x).features
    torch.testing.assert_close(shared, forward(phi, x.expand(3, 7, 6)).features)


def test_constant_features_and_a_batch_of_two_stay_finite():
    phi = make()
    for x in (torch.ones(5, 6, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.float64), inputs(2, 6)):
        acts = forward(phi, x)
        assert all(torch.isfinite(t).all() for t in (*acts.x, *acts.z))
        phi_g = phi.map(lambda t: t.clone().requires_grad_())
        out = forward(phi_g, x).features.square().sum()
        grads = torch.autograd.grad(out, [p.W for p in phi_g.layers])
        assert all(torch.isfinite(g).all() for g in grads)


def test_from_arrays_keeps_dtype_squeezes_biases_and_copies():
    W = [np.ones((3, 2), np.float32), np.ones((2, 4), np.float32)]
    b = [np.zeros((1, 2), np.float32), np.zeros(4, np.float32)]
    phi = BaseModelState.from_arrays(W=W, b=b, V=[w + 1 for w in W])
    assert phi.dtype == torch.float32 and phi.layers[0].b.shape == (2,) and phi.sizes == (3, 2, 4)
    W[0][:] = 9
    assert phi.layers[0].W.max() == 1
    assert phi.layers[1].V.max() == 2


def test_state_is_immutable_and_says_what_it_is():
    phi = make(tasks=(2,))
    with pytest.raises(AttributeError):
        phi.layers = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        phi.extra["w"] = torch.ones(1)  # type: ignore[index]
    assert repr(phi) == "BaseModelState(6-5-4, relu, tasks=[2], float64)"
    assert phi.depth == 2 and phi.tasks == (2,) and phi.device.type == "cpu"


def test_map_to_detach_and_with_layers_reach_every_tensor():
    phi = make().with_layers(make().layers, decoder=torch.ones(2, dtype=torch.float64))
    half = phi.to(torch.float32)
    assert all(t.dtype == torch.float32 for _, t in half.tensors()) and "decoder" in dict(half.tensors())
    live = phi.map(lambda t: t.clone().requires_grad_())
    assert all(not t.requires_grad for _, t in live.detach().tensors())


def test_state_can_be_copied_and_pickled():
    phi = make().with_layers(make().layers, decoder=torch.ones(2, dtype=torch.float64))
    for twin in (copy.deepcopy(phi), pickle.loads(pickle.dumps(phi))):
        assert twin.sizes == phi.sizes and torch.equal(twin.extra["decoder"], phi.extra["decoder"])
        assert twin.layers[0].W is not phi.layers[0].W and torch.equal(twin.layers[0].W, phi.layers[0].W)


ARRAYS = {"W": [torch.ones(3, 2)], "b": [torch.zeros(2)], "V": [torch.ones(3, 2)]}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"b": []}, ValueError, "hold 1, 0 and 1 layers"),
        ({"W": [], "b": [], "V": []}, ValueError, "layers is empty"),
        ({"V": [torch.ones(2, 3)]}, ValueError, r"V\[0\] has shape \[2, 3\]; allowed: \[3, 2\]"),
        ({"b": [torch.zeros(3)]}, ValueError, r"b\[0\] has shape \[3\]; allowed: \[2\]"),
        ({"b": [torch.zeros(2).double()]}, ValueError, r"b\[0\] has dtype torch.float64"),
        ({"W": [torch.full((3, 2), torch.nan)]}, ValueError, r"W\[0\] holds 6 NaN or infinite"),
        ({"W": [torch.ones(3, 2, dtype=torch.int64)]}, TypeError, r"W\[0\] has dtype torch.int64"),
        ({"W": [np.array([["a"]])]}, TypeError, r"W\[0\] has dtype <U1"),
        ({"W": [torch.ones(0, 2)], "V": [torch.ones(0, 2)]}, ValueError, "holds no numbers"),
        ({"W": [torch.ones(3)]}, ValueError, "at least 2 dimensions"),
        ({"nonlinearity": "gelu"}, ValueError, "nonlinearity is 'gelu'; allowed: identity"),
    ],
)
def test_from_arrays_refuses(changes, error, message: str):
    with pytest.raises(error, match=message):
        BaseModelState.from_arrays(**{**ARRAYS, **changes})


@pytest.mark.parametrize(
    ("sizes", "options", "error", "message"),
    [
        ((3,), {}, ValueError, r"sizes is \[3\]"),
        ((3, 0), {}, ValueError, r"sizes\[1\] is 0"),
        ((3, 2), {"tasks": (0,)}, ValueError, r"tasks\[0\] is 0"),
        ((3, 2), {"nonlinearity": "nope"}, ValueError, "nonlinearity is 'nope'"),
    ],
)
def test_init_state_refuses(sizes, options, error, message: str):
    with pytest.raises(error, match=message):
        init_state(sizes, **options)


def test_init_settings_refuse_a_negative_spread():
    with pytest.raises(ValueError, match="weight_std is -1"):
        InitSettings(weight_std=-1.0)


BAD_INPUTS = [
    (torch.ones(5, 4, dtype=torch.float64), ValueError, r"x has shape \[5, 4\]; allowed: a last dimension of 6"),
    (torch.ones(5, 6), ValueError, "x has dtype torch.float32; allowed: torch.float64"),
    (torch.ones(5, 6, dtype=torch.int64), TypeError, "x has dtype torch.int64"),
    (torch.ones(6, dtype=torch.float64), ValueError, "at least 2 dimensions"),
    (torch.ones(0, 6, dtype=torch.float64), ValueError, "holds no numbers"),
    (torch.ones(1, 6, dtype=torch.float64), ValueError, "holds 1 example"),
    (torch.ones(2, 5, 6, dtype=torch.float64), ValueError, r"allowed: \['batch', 6\]|allowed: \['batch'"),
    (torch.full((5, 6), torch.inf, dtype=torch.float64), ValueError, "30 NaN or infinite"),
    (
        torch.ones(5, 6, dtype=torch.float64, device="meta"),
        TypeError,
        "x is .* on meta; allowed: a torch.Tensor",
    ),
]


@pytest.mark.parametrize(("x", "error", "message"), BAD_INPUTS)
def test_forward_and_freeze_refuse(x, error, message: str):
    for function in (forward, freeze):
        with pytest.raises(error, match=message):
            function(make(), x)


def test_frozen_model_refuses_strange_rows_and_export_of_many():
    frozen = freeze(make(), inputs(7, 6))
    with pytest.raises(ValueError, match="last dimension of 6"):
        frozen(inputs(1, 5))
    with pytest.raises(ValueError, match="NaN"):
        frozen(inputs(1, 6) * torch.nan)
    many = freeze(make(tasks=(2,)), inputs(7, 6))
    with pytest.raises(ValueError, match=r"task dimensions \[2\]"):
        many.to_module()


def test_task_index_too_long():
    with pytest.raises(ValueError, match="has 2 parts"):
        make(tasks=(2,)).task(0, 0)


def test_layers_must_chain():
    phi = make()
    broken = BaseModelState((phi.layers[0], LayerState(*(torch.ones(9, 4, dtype=torch.float64) for _ in range(3)))))
    with pytest.raises(ValueError, match=r"W\[1\] has shape \[9, 4\]; allowed: \[5, 4\]"):
        broken.validate()
