"""The hand-written rules: the contract, their formulae, their symmetries, and what they do to data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import metarules.pretrained
from metarules.base_model import BaseModelState, InitSettings, LayerState, forward, init_state
from metarules.classic_rules import (
    CLASSIC_RULES,
    Autoencoder,
    Backprop,
    ClassicRule,
    Hebb,
    HebbSettings,
    OjaSettings,
    RuleSettings,
    get_rule,
    register,
)
from metarules.update_rule import Batch, InnerSettings, UpdateRule

HEBBIAN = ("hebb", "oja", "hebb_decorrelation", "soft_competition")
CARRYING = ("autoencoder", "feedback_alignment", "backprop")
SIZES = (6, 7, 4)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in sorted(CLASSIC_RULES)),
    ("oja", {"subspace": True}),
    ("autoencoder", {"optimiser": "sgd", "decay": 0.1}),
    ("backprop", {"optimiser": "adam"}),
    ("feedback_alignment", {"kolen_pollack": True, "decay": 0.1}),
]
every_rule = pytest.mark.parametrize(("name", "settings"), VARIANTS)


def make_phi(tasks: tuple[int, ...] = (), sizes: tuple[int, ...] = SIZES, **options: Any) -> BaseModelState:
    options = {"dtype": torch.float64, "settings": InitSettings(0.3, 0.1)} | options
    return init_state(sizes, tasks=tasks, generator=torch.Generator().manual_seed(0), **options)


def make_batch(tasks: tuple[int, ...] = (), n: int = 11, dtype: torch.dtype = torch.float64) -> Batch:
    g = torch.Generator().manual_seed(1)
    x = torch.rand(*tasks, n, 6, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x, torch.randint(10, (*tasks, n), generator=g))


def assert_same(a: BaseModelState, b: BaseModelState, atol: float = 1e-12) -> None:
    one, two = dict(a.tensors()), dict(b.tensors())
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.var(0, correction=0) + 1e-6).sqrt()


# --- the contract ---------------------------------------------------------------------------------------------------


@every_rule
def test_contract(name: str, settings: dict[str, Any]):
    rule = get_rule(name, **settings)
    assert isinstance(rule, UpdateRule) and type(rule) is CLASSIC_RULES[name]
    assert isinstance(rule.recommended, InnerSettings)
    assert list(rule.parameters()) == []
    assert repr(rule.settings.lr) in repr(rule)
    phi, batch = rule.init_extra(make_phi((2,))), make_batch((2,))
    kept = phi.map(torch.clone)
    trace = rule.trace(phi, batch)
    assert_same(trace.next_state, rule(phi, batch), 0)
    assert_same(phi, kept, 0)  # nothing was written in place
    lr, decay = rule.settings.lr, rule.settings.decay
    for l, (p, q) in enumerate(zip(phi.layers, trace.next_state.layers, strict=True), start=1):
        torch.testing.assert_close(q.W, (1 - lr * decay) * p.W - lr * trace.change_W[l])
        torch.testing.assert_close(q.b, p.b - lr * trace.change_b[l] if l in trace.change_b else p.b)
        if not settings.get("kolen_pollack"):
            assert torch.equal(p.V, q.V)
        assert all(term.shape == p.W.shape for term in trace.terms[l].values()) and trace.terms[l]
        if name in CARRYING:
            assert trace.d[l].shape == trace.delta[l].shape == (*trace.z[l].shape, 1)
    assert set(trace.x) == set(trace.z) == {0, 1, 2} and set(trace.change_W) == {1, 2}
    assert torch.equal(trace.x[2], forward(phi, batch.x).features)


@every_rule
def test_eight_tasks_equal_eight_single_runs(name: str, settings: dict[str, Any]):
    rule = get_rule(name, **settings)
    many = rule.init_extra(make_phi((8,)), torch.Generator().manual_seed(2))
    singles = [many.task(i) for i in range(8)]
    batch = make_batch((8,))
    for _ in range(3):
        many = rule(many, batch)
        singles = [rule(s, Batch(batch.x[i], batch.y[i])) for i, s in enumerate(singles)]
    for i, single in enumerate(singles):
        assert_same(many.task(i), single)


@every_rule
def test_shared_batch_and_two_task_dimensions(name: str, settings: dict[str, Any]):
    rule = get_rule(name, **settings)
    phi, batch = rule.init_extra(make_phi((2, 3))), make_batch()
    assert_same(rule(phi, batch).task(1, 2), rule(phi.task(1, 2), batch))


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_and_batches_of_two_stay_finite(name: str, settings: dict[str, Any], dtype: torch.dtype):
    rule = get_rule(name, **settings)
    constant = make_batch(dtype=dtype)
    constant.x[:, 2:4] = 0.7
    all_constant = Batch(torch.full_like(constant.x, 0.3), constant.y)
    tiny = make_batch(n=2, dtype=dtype)
    twins = Batch(tiny.x[:1].repeat(2, 1), tiny.y)
    zeros = Batch(torch.zeros_like(tiny.x), tiny.y)
    for batch in (constant, all_constant, tiny, twins, zeros):
        for std in (0.3, 0.0):
            phi = rule.init_extra(make_phi(dtype=dtype, settings=InitSettings(std, 0.0)))
            for _ in range(5):
                phi = rule(phi, batch)
            assert all(torch.isfinite(t).all() for _, t in phi.tensors())


@every_rule
def test_a_step_differentiates_and_agrees_with_finite_differences(name: str, settings: dict[str, Any]):
    """Smooth nonlinearity, so that there are no kinks; every tensor of phi and the input get a finite gradient."""
    rule = get_rule(name, **settings)
    phi, batch = rule.init_extra(make_phi(nonlinearity="tanh")), make_batch()
    if "adam_t" in phi.extra:  # Adam's very first step is a sign, so take it before
        phi = rule(phi, batch)
    W0 = phi.layers[0].W

    def after(W: Tensor, x: Tensor) -> Tensor:
        start = phi.with_layers((replace(phi.layers[0], W=W), *phi.layers[1:]))
        return rule(rule(start, Batch(x, batch.y)), Batch(x, batch.y)).layers[0].W

    assert torch.autograd.gradcheck(after, (W0.clone().requires_grad_(), batch.x.clone().requires_grad_()), atol=1e-5)


@every_rule
def test_gradients_stay_finite_on_constant_data(name: str, settings: dict[str, Any]):
    rule = get_rule(name, **settings)
    phi = rule.init_extra(make_phi(settings=InitSettings(0.0, 0.0))).map(lambda t: t.requires_grad_())
    batch = make_batch()
    batch.x[:] = 0.5
    total = torch.stack([p.W.square().sum() for p in rule(rule(phi, batch), batch).layers]).sum()
    for grad in torch.autograd.grad(total, [p.W for p in phi.layers], allow_unused=True):
        assert grad is None or torch.isfinite(grad).all()


@pytest.mark.parametrize("nonlinearity", ["leaky_relu", "swish", "tanh", "sigmoid", "step", "identity"])
@every_rule
def test_every_nonlinearity_runs(name: str, settings: dict[str, Any], nonlinearity: str):
    rule = get_rule(name, **settings)
    phi = rule.init_extra(make_phi(nonlinearity=nonlinearity))
    assert all(torch.isfinite(t).all() for _, t in rule(phi, make_batch()).tensors())


# --- symmetries of the neuron-local rules ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEBBIAN)
def test_invariant_to_the_order_of_examples(name: str):
    rule, phi, batch = get_rule(name), make_phi(), make_batch()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(4))
    assert_same(rule(phi, batch), rule(phi, Batch(batch.x[order])))


@pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS if v[0] in HEBBIAN])
def test_equivariant_to_permuting_inputs_and_hidden_units(name: str, settings: dict[str, Any]):
    rule, phi, batch = get_rule(name, **settings), make_phi(), make_batch()
    g = torch.Generator().manual_seed(4)
    orders = [torch.randperm(n, generator=g) for n in SIZES]

    def permuted(phi: BaseModelState) -> BaseModelState:
        layers = [
            LayerState(p.W[below][:, above], p.b[above], p.V[below][:, above])
            for p, below, above in zip(phi.layers, orders[:-1], orders[1:], strict=True)
        ]
        return phi.with_layers(layers)

    assert_same(permuted(rule(phi, batch)), rule(permuted(phi), Batch(batch.x[:, orders[0]])))


# --- formulae -------------------------------------------------------------------------------------------------------


def test_hand_rule_is_the_recipe():
    """The hand rule, written out plainly for one model."""
    rule = get_rule("hebb_decorrelation", lr=0.03, decorr=0.8)
    phi, batch = make_phi(), make_batch()
    after, a = rule(phi, batch), forward(phi, batch.x)
    for l in (1, 2):
        W = phi.layers[l - 1].W
        lower, upper = standard(a.x[l - 1]), standard(a.x[l])
        B = len(batch.x)
        hebb = -lower.T @ upper / B
        q = W / W.pow(2).mean(0).sqrt() @ upper.T @ upper / B
        decorr = q / q.pow(2).mean().sqrt()

        def n(T: Tensor) -> Tensor:
            return T / (1e-3 + T.pow(2).mean(0)).sqrt()

        wanted = (1 - 0.03) * W - 0.03 * (n(hebb) + 0.8 * n(decorr))
        # the recipe has no guard against a column of zeros; ours adds 1e-6 to a mean square of about 0.1
        torch.testing.assert_close(after.layers[l - 1].W, wanted, rtol=0, atol=1e-6)


def test_hebb_is_the_hand_rule_without_decorrelation():
    phi, batch = make_phi(), make_batch()
    assert_same(get_rule("hebb", lr=0.1)(phi, batch), get_rule("hebb_decorrelation", lr=0.1, decorr=0)(phi, batch))


def test_soft_competition_is_soft_k_means_step():
    rule = get_rule("soft_competition", lr=1.0, temperature=0.5)
    phi, batch = make_phi(sizes=(6, 5)), make_batch()
    won = torch.softmax(forward(phi, batch.x).z[1] / 0.5, 1)
    centred = batch.x - batch.x.mean(0)
    for j in range(5):
        wanted = (won[:, j : j + 1] * centred).sum(0) / won[:, j].sum()
        torch.testing.assert_close(rule(phi, batch).layers[0].W[:, j], wanted, rtol=0, atol=1e-5)


# --- what the rules do to data --------------------------------------------------------------------------------------


def correlated(n: int = 500) -> Tensor:
    """Inputs whose standardised covariance has clearly separate principal components."""
    g = torch.Generator().manual_seed(7)
    mix = torch.randn(6, 6, generator=g, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.2, 0.5, 0.3, 0.2]).double()
    return torch.randn(n, 6, generator=g, dtype=torch.float64) @ mix.T


def run(rule: ClassicRule, phi: BaseModelState, x: Tensor, steps: int) -> BaseModelState:
    for _ in range(steps):
        phi = rule(phi, x)
    return phi


def test_oja_finds_the_leading_principal_component_with_unit_weights():
    x = correlated()
    W = run(get_rule("oja"), make_phi(sizes=(6, 4)), x, 400).layers[0].W
    _, vectors = torch.linalg.eigh(standard(x).T @ standard(x) / len(x))
    torch.testing.assert_close((W.T @ vectors[:, -1]).abs(), torch.ones(4).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(W.norm(dim=0), torch.ones(4).double(), rtol=0, atol=1e-4)


def test_oja_subspace_spans_the_leading_components():
    x = correlated()
    W = run(get_rule("oja", subspace=True), make_phi(sizes=(6, 3)), x, 3000).layers[0].W
    _, vectors = torch.linalg.eigh(standard(x).T @ standard(x) / len(x))
    torch.testing.assert_close(W.T @ W, torch.eye(3).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(W @ W.T, vectors[:, -3:] @ vectors[:, -3:].T, rtol=0, atol=1e-3)


@pytest.mark.parametrize("subspace", [False, True])
def test_oja_recovers_from_huge_weights(subspace: bool):
    phi = make_phi(settings=InitSettings(1e3, 0.0))
    after = run(get_rule("oja", subspace=subspace, lr=10.0), phi, correlated(50), 50)
    assert max(float(p.W.norm(dim=-2).max()) for p in after.layers) < 20


def mean_abs_cosine(features: Tensor) -> float:
    c = torch.corrcoef(features.T).abs()
    n = len(c)
    return float((c.sum() - n) / (n * (n - 1)))


def test_hebb_collapses_and_decorrelation_cures_it():
    """Filters start at random; under Hebb alone their responses become copies of one feature, up to sign."""
    x = correlated()
    phi = make_phi(sizes=(6, 6), settings=InitSettings(0.01, 0.0))
    z = {}
    for name in ("hebb", "hebb_decorrelation"):
        z[name] = mean_abs_cosine(forward(run(get_rule(name), phi, x, 300), x).z[1])
    assert z["hebb"] > 0.9 > 0.6 > z["hebb_decorrelation"]


def test_weights_of_decaying_rules_stay_bounded():
    phi = make_phi(settings=InitSettings(100.0, 0.0))
    for name in ("hebb", "hebb_decorrelation", "soft_competition"):
        after = run(get_rule(name, lr=0.3), phi, correlated(), 200)
        assert max(float(p.W.abs().max()) for p in after.layers) < 10


def test_soft_competition_finds_clusters():
    g = torch.Generator().manual_seed(0)
    centres = 4 * torch.eye(6, dtype=torch.float64)
    x = centres[torch.arange(300) % 6] + 0.3 * torch.randn(300, 6, generator=g, dtype=torch.float64)
    phi = run(get_rule("soft_competition"), make_phi(sizes=(6, 24), settings=InitSettings(0.01, 0.0)), x, 200)
    W = phi.layers[0].W
    nearest = torch.cdist(W.T, centres - x.mean(0)).min(0).values
    assert nearest.max() < 0.5  # every centre has a neuron standing on it


def test_autoencoder_learns_to_reconstruct():
    rule, x = Autoencoder(), make_batch(n=60).x
    phi = rule.init_extra(make_phi(sizes=(6, 8, 5), settings=InitSettings(0.1, 0.0)))
    start = float((rule.reconstruct(phi, x) - x).square().mean())
    end = float((rule.reconstruct(run(rule, phi, x, 300), x) - x).square().mean())
    assert end < 0.1 * start and end < 0.5 * float(x.var(0).mean())


@pytest.mark.parametrize("name", ["backprop", "feedback_alignment"])
def test_supervised_rules_learn_their_labels(name: str):
    rule = get_rule(name, n_classes=3)
    g = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = 2 * torch.eye(6, dtype=torch.float64)[y] + 0.5 * torch.randn(90, 6, generator=g, dtype=torch.float64)
    settings = InitSettings(rule.recommended.weight_std, 0.0)
    phi = rule.init_extra(make_phi(sizes=(6, 20, 10), settings=settings))
    for _ in range(200):
        phi = rule(phi, Batch(x, y))
    logits = forward(phi, x).features @ phi.extra["readout_W"] + phi.extra["readout_b"]
    assert float((logits.argmax(1) == y).double().mean()) > 0.95


# --- what is carried in phi.extra -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CARRYING)
def test_init_extra_is_seeded_and_keeps_what_is_there(name: str):
    rule, phi, batch = get_rule(name), make_phi((2,)), make_batch((2,))
    one, two, three = (rule.init_extra(phi, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert_same(one, two, 0)
    matrix = "output_W" if name == "autoencoder" else "readout_W"
    assert not torch.equal(one.extra[matrix], three.extra[matrix])
    assert_same(rule.init_extra(phi), rule.init_extra(phi), 0)
    learned = rule(one, batch)
    assert_same(rule.init_extra(learned, torch.Generator().manual_seed(5)), learned, 0)
    assert all(t.dtype == torch.float64 and t.shape[:1] == (2,) for t in one.extra.values())


@pytest.mark.parametrize("name", CARRYING)
def test_missing_or_foreign_extra_is_named(name: str):
    rule, batch = get_rule(name), make_batch()
    with pytest.raises(ValueError, match=r"phi\.extra lacks '.*'; allowed: a phi that went through rule\.init_extra"):
        rule(make_phi(), batch)
    phi = rule.init_extra(make_phi())
    key = next(iter(phi.extra))
    for value, words in (
        (phi.extra[key][..., :1], "has shape"),
        (phi.extra[key].float(), "has dtype torch.float32"),
        (phi.extra[key] * float("nan"), "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            rule(phi.with_layers(phi.layers, **{key: value}), batch)
    wider = rule.init_extra(make_phi(sizes=(6, 9, 8))).extra
    with pytest.raises(ValueError, match=r"phi\.extra\['.*'\] has shape"):
        rule(replace(make_phi(), extra=wider), batch)


# --- errors ---------------------------------------------------------------------------------------------------------


@every_rule
def test_bad_batches_are_named(name: str, settings: dict[str, Any]):
    rule = get_rule(name, **settings)
    phi, batch = rule.init_extra(make_phi()), make_batch()
    y = batch.y

    def infinite() -> Tensor:
        x = batch.x.clone()
        x[3, 2] = float("inf")
        return x

    for bad, error, words in (
        (Batch(batch.x[:1], y[:1]), ValueError, "at least 2"),
        (Batch(batch.x[:0], y[:0]), ValueError, "no numbers"),
        (Batch(batch.x * float("nan"), y), ValueError, "NaN or infinite"),
        (Batch(infinite(), y), ValueError, "1 NaN or infinite"),
        (Batch(batch.x[:, :5], y), ValueError, "a last dimension of 6"),
        (Batch(batch.x[None], y[None]), ValueError, "x has shape"),
        (Batch(batch.x.float(), y), ValueError, "torch.float64"),
        (Batch(batch.x.long(), y), TypeError, "floating dtype"),
    ):
        with pytest.raises(error, match=words):
            rule(phi, bad)
        with pytest.raises(error, match=words):
            rule.trace(phi, bad)


@pytest.mark.parametrize("name", ["backprop", "feedback_alignment"])
def test_bad_labels_are_named(name: str):
    rule, batch = get_rule(name, n_classes=10), make_batch()
    assert rule.needs_labels
    phi = rule.init_extra(make_phi())
    for y, error, words in (
        (None, ValueError, r"batch\.y is None"),
        (batch.y[None], ValueError, r"batch\.y has shape \[1, 11\]"),
        (batch.y.double(), TypeError, "whole numbers"),
        (batch.y - 20, ValueError, "class numbers from 0"),
        (batch.y + 10, ValueError, r"below n_classes = 10"),
    ):
        with pytest.raises(error, match=words):
            rule(phi, Batch(batch.x, y))
    with pytest.raises(ValueError, match=r"batch\.y is None"):
        rule(phi, batch.x)
    with pytest.raises(ValueError, match=r"batch\.y is None"):
        rule.step(phi, Batch(batch.x))  # unchecked, and still a sentence


@pytest.mark.parametrize("name", (*HEBBIAN, "autoencoder"))
def test_unsupervised_rules_need_and_see_no_labels(name: str):
    rule, batch = get_rule(name), make_batch()
    phi = rule.init_extra(make_phi())
    assert not rule.needs_labels
    assert_same(rule(phi, batch), rule(phi, batch.x), 0)


@pytest.mark.parametrize(
    ("name", "settings", "error", "words"),
    [
        ("hebbian", {}, ValueError, "rule name is 'hebbian'; allowed: autoencoder, backprop"),
        ("hebb", {"rate": 1.0}, ValueError, "settings of Hebb names 'rate'; allowed: decay, lr"),
        ("hebb", {"lr": -0.1}, ValueError, r"lr is -0\.1; allowed: a number in \[0, 10\]"),
        ("hebb", {"lr": float("nan")}, ValueError, "lr is nan"),
        ("hebb", {"lr": "fast"}, TypeError, r"lr\b[\s\S]*fast"),
        ("hebb", {"lr": True}, TypeError, "lr is True"),
        ("hebb", {"lr": 2.0}, ValueError, r"lr \* decay is 2\.0"),
        ("oja", {"decay": 1.5}, ValueError, "decay is 1.5"),
        ("oja", {"subspace": 1}, TypeError, r"subspace\b[\s\S]*1"),
        ("hebb_decorrelation", {"decorr": 11}, ValueError, "decorr is 11"),
        ("hebb_decorrelation", {"hebb": None}, TypeError, r"hebb\b[\s\S]*None"),
        ("soft_competition", {"temperature": 0}, ValueError, "temperature is 0"),
        ("autoencoder", {"optimiser": "lbfgs"}, ValueError, "optimiser is 'lbfgs'; allowed: adam, sgd"),
        ("autoencoder", {"decoder_std": -1}, ValueError, "decoder_std is -1"),
        ("backprop", {"n_classes": 1}, ValueError, "n_classes is 1"),
        ("backprop", {"n_classes": 2.5}, TypeError, r"n_classes\b[\s\S]*2\.5"),
        ("backprop", {"readout_std": -1}, ValueError, "readout_std is -1"),
        ("backprop", {"kolen_pollack": True}, ValueError, "settings of Backprop names 'kolen_pollack'"),
        ("feedback_alignment", {"kolen_pollack": "yes"}, TypeError, r"kolen_pollack\b[\s\S]*yes"),
    ],
)
def test_bad_names_and_settings_are_named(name: str, settings: dict[str, Any], error: type[Exception], words: str):
    with pytest.raises(error, match=words):  # a wrong type meets beartype before our own words, where that is on
        get_rule(name, **settings)


def test_flags_are_true_or_false():
    with pytest.raises(TypeError, match="subspace is 1; allowed: True or False"):
        OjaSettings(subspace=1)


def test_settings_of_another_rule_are_refused():
    with pytest.raises(TypeError, match="settings is a OjaSettings; allowed for Hebb: HebbSettings or None"):
        Hebb(OjaSettings())
    with pytest.raises(TypeError, match="settings is a dict"):
        Backprop({"lr": 0.1})
    assert Hebb(HebbSettings(lr=0.2)).settings.lr == 0.2


def test_names_of_other_rules_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("metarules.pretrained.finding.CLASSIC_RULES", {"local": Hebb})
    with pytest.raises(ValueError, match=r"name is 'oja', which metarules\.classic_rules\.hebbian\.Oja has already"):
        register("oja")(Hebb)
    with pytest.raises(TypeError, match=r"rule is .*dict.*; allowed: a subclass of ClassicRule|type"):
        register("mine")(cast(Any, dict))
    with pytest.raises(ValueError, match=r"hebbian\.Hebb is registered as 'local', the name of a learned rule"):
        metarules.pretrained.get_rule("local")


def test_unfinished_subclasses_say_what_is_missing():
    class Mine(ClassicRule):
        pass

    assert Mine().settings == RuleSettings()
    with pytest.raises(NotImplementedError, match="Mine must define step, which returns phi, or step_traced"):
        Mine()(make_phi(), make_batch())
