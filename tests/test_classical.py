"""Which classical rule is it: coefficients and R^2 by an independent least squares, and rules that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarules.base_model import InitSettings, forward, init_state
from metarules.classic_rules import get_rule
from metarules.inner_loop import learn, start
from metarules.meta_objective import ridge_fit
from metarules.plots.classical import classical_figure
from metarules.pretrained import load_rule
from metarules.studies.backward_weights import MEASURED, readout_gradient
from metarules.studies.classical import CLASSICAL, classical_changes, classical_fit, fit_change
from metarules.studies.trajectory import fixed_sample
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import LocalRule


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rule() -> LocalRule:
    found = load_rule("local")
    assert isinstance(found, LocalRule)
    return found


def test_a_rule_that_is_hebb_and_decorrelation_gives_just_these(task: Task):
    hand = get_rule("hebb_decorrelation", hebb=1.0, decorr=0.7)
    found = classical_fit([hand], task, steps=(0, 3, 10)).fit
    wanted = dict.fromkeys(CLASSICAL, 0.0) | {"Hebb": 1.0, "decorrelation": 0.7}
    assert (found.r2 > 0.999).all()
    assert np.abs(found.coefficients - [wanted[name] for name in found.names]).max() < 0.02
    assert (found.lost[..., [0, 2]] > 0.05).all() and found.lost[..., [1, 3, 4, 5]].max() < 1e-3


@pytest.mark.parametrize(("name", "classical"), [("hebb", "Hebb"), ("soft_competition", "soft competition")])
def test_single_rules_are_recognised(task: Task, name: str, classical: str):
    found = classical_fit([get_rule(name)], task, steps=(2,)).fit
    k = found.names.index(classical)
    assert found.alone[0, 0, :, k].min() > 0.75 and found.alone[0, 0].argmax(-1).tolist() == [k] * 3


def test_numbers_are_those_of_an_independent_least_squares(task: Task, rule: LocalRule):
    found = classical_fit([rule], task, steps=(0, 4))
    phi, how, generator = start(rule, task, steps=4, seed=0)
    phi = learn(rule, phi, task, steps=4, batch_size=how.batch_size, generator=generator).state
    x = task.x[torch.from_numpy(fixed_sample(task.n_examples, MEASURED))]
    with torch.no_grad():
        change = rule.trace(phi, x).delta_W
        classical = classical_changes(phi, x, float(rule.log_temperature.exp()))
    for l in (1, 2, 3):
        A = np.stack([classical[l][name].numpy().ravel() for name in CLASSICAL], -1).astype(np.float64)
        y = change[l].numpy().ravel().astype(np.float64)
        # a second way: QR by hand, not LAPACK's gelsd
        Q, R = np.linalg.qr(A)
        c = np.linalg.solve(R, Q.T @ y)
        assert np.allclose(found.fit.coefficients[0, 1, l - 1], c, atol=2e-3)
        explained = np.square(Q.T @ y).sum() / np.square(y).sum()
        assert found.fit.r2[0, 1, l - 1] == pytest.approx(explained, abs=1e-4)
        for k in range(len(CLASSICAL)):
            q, _ = np.linalg.qr(np.delete(A, k, 1))
            without = np.square(q.T @ y).sum() / np.square(y).sum()
            assert found.fit.lost[0, 1, l - 1, k] == pytest.approx(explained - without, abs=1e-3)
            cosine = y @ A[:, k] / np.linalg.norm(y) / np.linalg.norm(A[:, k])
            assert found.fit.alone[0, 1, l - 1, k] == pytest.approx(cosine**2, abs=1e-4)


def test_what_is_left_over_is_shared_out_among_the_terms(task: Task, rule: LocalRule):
    found = classical_fit([rule], task, steps=(0, 5))
    assert found.terms == rule.settings.terms and found.left_over.shape == (1, 2, 3, len(found.terms))
    assert np.allclose(found.left_over.sum(-1), 1, atol=1e-3)
    hand = classical_fit([get_rule("hebb")], task, steps=(0,))
    assert hand.terms == () and hand.left_over.shape == (1, 1, 3, 0)


def test_the_classical_changes_are_known_by_hand():
    g = torch.Generator().manual_seed(1)
    phi = init_state((6, 5), settings=InitSettings(0.3, 0.1), generator=g, dtype=torch.float64)
    x = torch.rand(40, 6, generator=g, dtype=torch.float64)
    found = classical_changes(phi, x)[1]
    u = forward(phi, x).features
    centred = [a - a.mean(0) for a in (x, u)]
    lower, upper = (a / a.square().mean(0).sqrt() for a in centred)
    W = phi.layers[0].W

    def unit(T):
        return T / T.square().mean(0).sqrt()

    assert torch.allclose(found["Hebb"], unit(lower.T @ upper), atol=0.02)
    assert torch.allclose(found["decay"], -unit(W), atol=0.02)
    assert torch.allclose(found["decorrelation"], -unit(unit(W) @ upper.T @ upper), atol=0.02)
    for name in CLASSICAL:
        assert found[name].square().mean(0).sqrt().max() < 1.001, name


def test_the_autoencoder_is_the_gradient_of_its_loss():
    g = torch.Generator().manual_seed(2)
    phi = init_state((6, 5, 4), settings=InitSettings(0.3, 0.1), generator=g, dtype=torch.float64)
    x = torch.rand(40, 6, generator=g, dtype=torch.float64)
    found = readout_gradient(phi, x, x)
    w = ridge_fit(forward(phi, x).features, x, ridge=1.0)
    Ws = [layer.W.clone().requires_grad_() for layer in phi.layers]
    moving = phi.with_layers([type(layer)(W, layer.b, layer.V) for layer, W in zip(phi.layers, Ws, strict=True)])
    loss = (forward(moving, x).features @ w[:-1] + w[-1] - x).square().sum() / (2 * len(x))
    for l, wanted in enumerate(torch.autograd.grad(loss, Ws), start=1):
        assert torch.allclose(found[l], wanted, atol=1e-9)


def test_a_fit_of_nothing_and_of_changes_along_each_other():
    g = torch.Generator().manual_seed(3)
    T = torch.randn(4, 3, generator=g)
    twice = fit_change(2 * T, {"a": T, "b": T})
    assert twice.coefficients == pytest.approx([1, 1]) and twice.r2 == pytest.approx(1)
    assert twice.alone == pytest.approx([1, 1], abs=1e-6)
    still = fit_change(0 * T, {"a": T})
    assert still.r2 == 0 and still.coefficients == pytest.approx([0])
    empty = fit_change(T, {"a": T, "b": 0 * T})
    assert empty.coefficients == pytest.approx([1, 0]) and empty.lost[1] == 0


def test_bad_input_is_named(task: Task, rule: LocalRule):
    T = torch.ones(2, 3)
    with pytest.raises(ValueError, match="changes is empty"):
        fit_change(T, {})
    with pytest.raises(ValueError, match=r"changes\['a'\] has shape \[3\]; allowed: \[2, 3\]"):
        fit_change(T, {"a": torch.ones(3)})
    with pytest.raises(ValueError, match="meta_steps has 2 entries; allowed: 1"):
        classical_fit([rule], task, meta_steps=(0, 1))


def test_the_picture_holds_the_numbers(task: Task, rule: LocalRule):
    found = classical_fit([rule, rule], task, meta_steps=(0, 10), steps=(0, 3))
    figure = classical_figure(found, 3)
    coefficients, r2 = figure.axes[0], figure.axes[1]
    drawn = [line.get_ydata() for line in coefficients.get_lines()][1:]
    assert np.allclose(drawn, found.fit.coefficients[:, 1, 0].T)
    assert np.allclose(r2.get_lines()[1].get_ydata(), found.fit.r2[:, 1, 0])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    assert max(t.get_window_extent(renderer).x1 for t in figure.texts) < figure.bbox.x1, "nothing is cut"
    with pytest.raises(ValueError, match="step is 2; allowed"):
        classical_figure(found, 2)
