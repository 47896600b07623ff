"""The gradient rules against autograd: the hand-written pass down through batch norm is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metarules.base_model import (
    NONLINEARITIES,
    BaseModelState,
    InitSettings,
    LayerState,
    forward,
    forward_unchecked,
    init_state,
)
from metarules.classic_rules import (
    backprop_gradient,
    batch_norm_backward,
    cross_entropy_error,
    deltas_down,
    get_rule,
)
from metarules.update_rule import Batch

CLASSES = 4
SIZES = {1: (6, 5), 2: (6, 7, 5), 3: (6, 7, 8, 5), 4: (6, 7, 8, 3, 5)}
SPREAD = InitSettings(0.5, 0.3)


def make_phi(depth: int = 2, tasks: tuple[int, ...] = (), nonlinearity: str = "relu", seed: int = 0) -> BaseModelState:
    g = torch.Generator().manual_seed(seed)
    return init_state(
        SIZES[depth], tasks=tasks, nonlinearity=nonlinearity, settings=SPREAD, generator=g, dtype=torch.float64
    )


def make_batch(tasks: tuple[int, ...] = (), n: int = 9, seed: int = 1) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(*tasks, n, 6, generator=g, dtype=torch.float64)
    return Batch(x, torch.randint(CLASSES, (*tasks, n), generator=g))


def tie(phi: BaseModelState) -> BaseModelState:
    """V = W for every layer and the read-out."""
    layers = [replace(p, V=p.W) for p in phi.layers]
    extra = {"readout_V": phi.extra["readout_W"]} if "readout_V" in phi.extra else {}
    return phi.with_layers(layers, **extra)


def with_grad(phi: BaseModelState) -> BaseModelState:
    return phi.map(lambda t: t.clone().requires_grad_())


def supervised_loss(phi: BaseModelState, batch: Batch) -> Tensor:
    """The same loss written the ordinary way, summed over tasks."""
    logits = forward_unchecked(phi, batch.x).features @ phi.extra["readout_W"] + phi.extra["readout_b"].unsqueeze(-2)
    assert batch.y is not None
    total = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch.y.reshape(-1), reduction="sum")
    return total / batch.x.shape[-2]


def autoencoder_loss(phi: BaseModelState, batch: Batch) -> Tensor:
    """Encoder, then the decoder layer by layer with PyTorch's own batch-norm arithmetic."""
    f = NONLINEARITIES[phi.nonlinearity].value
    h = forward_unchecked(phi, batch.x).features
    for i in range(1, phi.depth):
        u = h @ phi.extra[f"decoder_W{i}"]
        h = (u - u.mean(-2, keepdim=True)) / torch.sqrt(u.var(-2, correction=0, keepdim=True) + 1e-6)
        h = f(h + phi.extra[f"decoder_b{i}"].unsqueeze(-2))
    out = h @ phi.extra["output_W"] + phi.extra["output_b"].unsqueeze(-2)
    return (out - batch.x).square().sum() / (2 * batch.x.shape[-2])


def assert_follows_gradient(before: BaseModelState, after: BaseModelState, loss: Tensor, lr: float) -> None:
    """(before - after) / lr is autograd's gradient for every tensor; what has no gradient stays."""
    names, tensors = zip(*before.tensors(), strict=True)
    grads = torch.autograd.grad(loss, tensors, allow_unused=True)
    moved = dict(after.tensors())
    for name, tensor, grad in zip(names, tensors, grads, strict=True):
        wanted = torch.zeros_like(tensor) if grad is None else grad
        error = ((tensor - moved[name]) / lr - wanted).abs().max() / wanted.abs().max().clamp(min=1.0)
        assert error < 1e-10, name


@pytest.mark.parametrize("tasks", [(), (3,), (2, 2)])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_backprop_equals_autograd(depth: int, tasks: tuple[int, ...]):
    rule = get_rule("backprop", optimiser="sgd", lr=0.1, n_classes=CLASSES)
    batch = make_batch(tasks)
    phi = with_grad(rule.init_extra(make_phi(depth, tasks)))
    assert_follows_gradient(phi, rule(phi, batch), supervised_loss(phi, batch), 0.1)


@pytest.mark.parametrize("name", sorted(NONLINEARITIES))
def test_backprop_equals_autograd_for_every_nonlinearity(name: str):
    rule = get_rule("backprop", optimiser="sgd", lr=0.1, n_classes=CLASSES)
    batch = make_batch((2,))
    phi = with_grad(rule.init_extra(make_phi(3, (2,), name)))
    after = rule(phi, batch)
    assert_follows_gradient(phi, after, supervised_loss(phi, batch), 0.1)
    if name == "step":  # no useful gradient: only the read-out learns
        assert torch.equal(after.layers[2].W, phi.layers[2].W)
        assert not torch.equal(after.extra["readout_W"], phi.extra["readout_W"])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu", "tanh", "sigmoid", "identity", "step"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_autoencoder_equals_autograd(depth: int, name: str):
    rule = get_rule("autoencoder", lr=0.1, optimiser="sgd")
    batch = make_batch((2,))
    phi = with_grad(rule.init_extra(make_phi(depth, (2,), name)))
    assert_follows_gradient(phi, rule(phi, Batch(batch.x)), autoencoder_loss(phi, batch), 0.1)


@pytest.mark.parametrize("tasks", [(), (2,)])
def test_feedback_alignment_with_V_equal_to_W_is_backprop(tasks: tuple[int, ...]):
    batch = make_batch(tasks)
    feedback = get_rule("feedback_alignment", lr=0.1, n_classes=CLASSES)
    backprop = get_rule("backprop", optimiser="sgd", lr=0.1, n_classes=CLASSES)
    phi = tie(feedback.init_extra(make_phi(4, tasks)))
    a, b = feedback.trace(phi, batch), backprop.trace(phi, batch)
    for l in range(1, 5):
        torch.testing.assert_close(a.change_W[l], b.change_W[l], rtol=0, atol=1e-14)
        torch.testing.assert_close(a.change_b[l], b.change_b[l], rtol=0, atol=1e-14)
    for name in ("readout_W", "readout_b"):
        torch.testing.assert_close(a.next_state.extra[name], b.next_state.extra[name], rtol=0, atol=1e-14)


def test_feedback_alignment_keeps_V_and_differs_below_the_read_out():
    batch = make_batch()
    feedback = get_rule("feedback_alignment", lr=0.1, n_classes=CLASSES)
    phi = feedback.init_extra(make_phi(2))
    backprop = get_rule("backprop", optimiser="sgd", lr=0.1, n_classes=CLASSES)
    a, b = feedback(phi, batch), backprop(phi, batch)
    assert torch.equal(a.extra["readout_W"], b.extra["readout_W"])
    assert not torch.allclose(a.layers[1].W, b.layers[1].W)
    assert torch.equal(a.extra["readout_V"], phi.extra["readout_V"])
    assert all(torch.equal(p.V, q.V) for p, q in zip(a.layers, phi.layers, strict=True))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_kolen_pollack_shrinks_W_minus_V_by_one_minus_lr_decay(optimiser: str):
    batch = make_batch((2,))
    rule = get_rule("feedback_alignment", lr=0.1, decay=0.5, n_classes=CLASSES, kolen_pollack=True, optimiser=optimiser)
    before = rule.init_extra(make_phi(3, (2,)))
    after = before
    for _ in range(3):
        after = rule(after, batch)
    keep = (1 - 0.1 * 0.5) ** 3
    for p, q in zip(before.layers, after.layers, strict=True):
        torch.testing.assert_close(q.W - q.V, keep * (p.W - p.V), rtol=0, atol=1e-12)
    R, S = before.extra, after.extra
    wanted = keep * (R["readout_W"] - R["readout_V"])
    torch.testing.assert_close(S["readout_W"] - S["readout_V"], wanted, rtol=0, atol=1e-12)


def test_feedback_alignment_turns_the_gradient_its_way():
    """Lillicrap et al.: with V fixed and random, W comes to agree with V and so the deltas with backprop's."""
    g = torch.Generator().manual_seed(3)
    centres = torch.randn(CLASSES, 6, generator=g, dtype=torch.float64) * 2
    rule = get_rule("feedback_alignment", n_classes=CLASSES, lr=0.03)
    phi = rule.init_extra(init_state((6, 20, 20), settings=InitSettings(0.01, 0.0), generator=g, dtype=torch.float64))

    def cosine(phi: BaseModelState) -> float:
        W, V = phi.extra["readout_W"], phi.extra["readout_V"]
        return float(F.cosine_similarity(W.flatten(), V.flatten(), dim=0))

    start = cosine(phi)
    for _ in range(300):
        y = torch.randint(CLASSES, (50,), generator=g)
        phi = rule(phi, Batch(centres[y] + torch.randn(50, 6, generator=g, dtype=torch.float64), y))
    assert cosine(phi) > start + 0.2


@pytest.mark.parametrize("name", ["backprop", "autoencoder"])
def test_adam_equals_torch_optim(name: str):
    settings = {"n_classes": CLASSES} if name == "backprop" else {}
    rule = get_rule(name, lr=0.02, optimiser="adam", **settings)
    loss = supervised_loss if name == "backprop" else autoencoder_loss
    phi = rule.init_extra(make_phi(2))
    reference = {k: t.clone().requires_grad_() for k, t in phi.tensors() if k[0] != "V" and not k.startswith("adam")}
    optimiser = torch.optim.Adam(reference.values(), lr=0.02)
    for step in range(5):
        batch = make_batch(seed=step)
        layers = [LayerState(reference[f"W{l}"], reference[f"b{l}"], phi.layers[l - 1].V) for l in (1, 2)]
        optimiser.zero_grad()
        loss(phi.with_layers(layers, **{k: reference[k] for k in phi.extra if k in reference}), batch).backward()
        optimiser.step()
        phi = rule(phi, batch)
    for k, t in phi.tensors():
        if k in reference:
            torch.testing.assert_close(t, reference[k].detach(), rtol=0, atol=1e-5)  # eps stands under the root in ours
    assert float(phi.extra["adam_t"]) == 5


def test_decay_shrinks_matrices_and_not_biases():
    batch = make_batch()
    plain = get_rule("backprop", optimiser="sgd", lr=0.1, n_classes=CLASSES)
    decaying = get_rule("backprop", optimiser="sgd", lr=0.1, decay=0.5, n_classes=CLASSES)
    phi = plain.init_extra(make_phi(2))
    a, b = plain(phi, batch), decaying(phi, batch)
    torch.testing.assert_close(b.layers[0].W, a.layers[0].W - 0.05 * phi.layers[0].W)
    torch.testing.assert_close(b.extra["readout_W"], a.extra["readout_W"] - 0.05 * phi.extra["readout_W"])
    assert torch.equal(b.layers[0].b, a.layers[0].b)
    assert torch.equal(b.extra["readout_b"], a.extra["readout_b"])


def test_public_gradient_of_any_loss_equals_autograd():
    phi = with_grad(make_phi(3, (2,), "tanh"))
    x = make_batch((2,)).x
    target = torch.randn(2, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    a = forward(phi, x)
    loss = (a.features - target).pow(4).sum()
    grad_W, grad_b = backprop_gradient(phi, a, 4 * (a.features - target).pow(3))
    wanted = torch.autograd.grad(loss, [t for p in phi.layers for t in (p.W, p.b)])
    for l in (1, 2, 3):
        torch.testing.assert_close(grad_W[l], wanted[2 * l - 2], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(grad_b[l], wanted[2 * l - 1], rtol=1e-10, atol=1e-10)


def test_through_V_uses_V_below_the_top_only():
    phi = make_phi(2)
    a = forward(phi, make_batch().x)
    top = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    by_W, by_V = deltas_down(phi, a, top, "W"), deltas_down(phi, a, top, "V")
    assert torch.equal(by_W.grad_W[2], by_V.grad_W[2])
    torch.testing.assert_close(by_V.d[1], by_V.delta[2] @ phi.layers[1].V.T)
    assert not torch.allclose(by_W.grad_W[1], by_V.grad_W[1])
    tied = deltas_down(tie(phi), a, top, "V")
    torch.testing.assert_close(tied.grad_W[1], by_W.grad_W[1], rtol=0, atol=1e-14)


def test_batch_norm_backward_equals_autograd_even_where_eps_matters():
    g = torch.Generator().manual_seed(0)
    u = (1e-3 * torch.randn(2, 7, 3, generator=g, dtype=torch.float64)).requires_grad_()
    error = torch.randn(2, 7, 3, generator=g, dtype=torch.float64)
    std = torch.sqrt(u.var(-2, correction=0, keepdim=True) + 1e-6)
    normalised = (u - u.mean(-2, keepdim=True)) / std
    (wanted,) = torch.autograd.grad(normalised, u, error, retain_graph=True)
    torch.testing.assert_close(batch_norm_backward(error, normalised, std), wanted, rtol=1e-10, atol=1e-10)


def test_cross_entropy_error_equals_autograd():
    logits = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.randint(3, (2, 5), generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / 5, logits)
    torch.testing.assert_close(cross_entropy_error(logits, y), wanted)


def test_no_autograd_call_inside(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("autograd was called")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(Tensor, "backward", refuse)
    batch = make_batch()
    for name, settings in (("backprop", {"n_classes": CLASSES}), ("autoencoder", {})):
        rule = get_rule(name, **settings)
        with torch.inference_mode():  # no graph could be recorded either
            rule(rule.init_extra(make_phi(2)), batch)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda phi, a, d: deltas_down(phi, a, d, "U"), ValueError, "through is 'U'; allowed: V, W"),
        (lambda phi, a, d: deltas_down(phi, a, d[:-1]), ValueError, "delta_top has shape"),
        (lambda phi, a, d: deltas_down(phi, a, d.float()), ValueError, "delta_top has dtype"),
        (lambda phi, a, d: deltas_down(phi, a, d * float("nan")), ValueError, "delta_top holds 45 NaN"),
        (lambda phi, a, d: backprop_gradient(phi, a, d.long()), TypeError, "delta_top has dtype torch.int64"),
        (lambda phi, a, d: backprop_gradient(make_phi(3), a, d), ValueError, "activations have widths"),
        (lambda phi, a, d: batch_norm_backward(d, d[:, :2], d[:1]), ValueError, "normalised has shape"),
        (lambda phi, a, d: batch_norm_backward(d, d, d), ValueError, "std has shape"),
        (
            lambda phi, a, d: cross_entropy_error(d, torch.full((9,), 5)),
            ValueError,
            "y holds 5; allowed: class numbers",
        ),
        (lambda phi, a, d: cross_entropy_error(d, torch.zeros(9)), TypeError, "whole numbers"),
    ],
)
def test_errors_of_the_public_functions(call, error, words):
    phi = make_phi(2)
    a = forward(phi, make_batch().x)
    with pytest.raises(error, match=words):
        call(phi, a, torch.zeros(9, 5, dtype=torch.float64))
