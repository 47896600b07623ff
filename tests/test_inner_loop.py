"""The inner loop: splitting it, stacking tasks, recording, divergence, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metarules.base_model import WIDTHS, BaseModelState, InitSettings, LayerState, forward, init_state
from metarules.classic_rules import get_rule
from metarules.inner_loop import RECORDERS, DivergenceError, batches, check_finite, learn, unroll, weight_norms
from metarules.inner_loop import start as begin
from metarules.tasks import Dataset, Task, make_task
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

SIZES = (6, 5, 4)
N = 30
DOUBLE = torch.float64
SMALL_LOCAL = LocalRuleSettings(channels=4, signals=2, readouts=1)
SMALL_PAPER = PaperRuleSettings(channels=5, signals=3, readouts=2, top_channels=6, top_units=SIZES[-1], lr=0.05)
RULES: dict[str, Callable[[], UpdateRule]] = {
    "local": lambda: LocalRule(SMALL_LOCAL, dtype=DOUBLE),
    "local, V learns apart": lambda: LocalRule(LocalRuleSettings(channels=4, backward_update="separate"), dtype=DOUBLE),
    "paper": lambda: PaperRule(SMALL_PAPER, dtype=DOUBLE),
    "hebb_decorrelation": lambda: get_rule("hebb_decorrelation"),
    "autoencoder": lambda: get_rule("autoencoder", optimiser="adam"),
    "autoencoder, SGD": lambda: get_rule("autoencoder", optimiser="sgd", lr=0.1),
    "backprop": lambda: get_rule("backprop", n_classes=3),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def start(*tasks: int, dtype: torch.dtype = DOUBLE, sizes: tuple[int, ...] = SIZES) -> BaseModelState:
    phi = init_state(sizes, tasks=tasks, generator=seeded(1), dtype=dtype)
    return phi.map(lambda t: t * 10)  # weights of 0.1: far enough from zero for every term to matter


def example_task(*tasks: int, dtype: torch.dtype = DOUBLE, n: int = N) -> Task:
    g = seeded(2)
    x = torch.rand(n, SIZES[0], generator=g)
    data = Dataset("noise", x, torch.arange(n) % 3, None, ("a", "b", "c"))
    return make_task(data, generator=g, tasks=tasks, dtype=dtype)


def assert_same(a: BaseModelState, b: BaseModelState, tolerance: float = 0.0) -> None:
    for (name, first), (other, second) in zip(a.tensors(), b.tensors(), strict=True):
        assert name == other
        if tolerance:
            torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(first, second), name


class Constant(UpdateRule):
    """Adds a given number to every weight at each step: for tests of the loop itself."""

    def __init__(self, amount: float | Callable[[int], float] = 1.0) -> None:
        super().__init__()
        self.amount = amount
        self.seen: list[Batch] = []

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        self.seen.append(batch)
        amount = self.amount(len(self.seen)) if callable(self.amount) else self.amount
        return phi.with_layers([LayerState(p.W + amount, p.b, p.V) for p in phi.layers])


class Supervised(Constant):
    """The same, with labels."""

    needs_labels = True


# ---------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("tasks", [(), (3,)])
def test_two_runs_of_five_equal_one_of_ten(name: str, tasks: tuple[int, ...]):
    rule, phi, task = RULES[name](), start(*tasks), example_task(*tasks)
    g = seeded(3)
    first = learn(rule, phi, task, steps=5, batch_size=8, generator=g).state
    twice = learn(rule, first, task, steps=5, batch_size=8, generator=g).state
    assert_same(twice, learn(rule, phi, task, steps=10, batch_size=8, generator=seeded(3)).state)
    assert not torch.equal(first.layers[0].W, twice.layers[0].W)


@pytest.mark.parametrize("name", RULES)
def test_a_stack_of_eight_tasks_equals_eight_single_runs(name: str):
    rule, phi, task = RULES[name](), start(8), example_task(8)
    phi = rule.init_extra(phi, seeded(4))
    drawn = list(batches(task, 5, 10, seeded(5)))
    together = unroll(rule, phi, drawn)
    for i in range(8):
        alone = unroll(rule, phi.task(i), [Batch(b.x[i], None if b.y is None else b.y[i]) for b in drawn])
        # Adam's first steps are g / |g|: a gradient of zero, and rounding makes it 1e-17, counts as 1e-17 / 1e-8
        adam = getattr(getattr(rule, "settings", None), "optimiser", "") == "adam"
        assert_same(alone, together.task(i), 1e-9 if adam else 1e-12)


@pytest.mark.parametrize("name", ["local", "backprop"])
def test_learn_is_unroll_on_batches_drawn_alike(name: str):
    rule, task = RULES[name](), example_task(2)
    phi = rule.init_extra(start(2), seeded(4))
    learned = learn(rule, phi, task, steps=4, batch_size=7, generator=seeded(6)).state
    assert_same(learned, unroll(rule, phi, batches(task, 4, 7, seeded(6))))


def test_the_loop_changes_nothing_it_was_given():
    rule, phi, task = RULES["local"](), start(), example_task()
    before, x = phi.map(Tensor.clone), task.x.clone()
    theta = [p.detach().clone() for p in rule.parameters()]
    learn(rule, phi, task, steps=3, batch_size=8, generator=seeded())
    assert_same(phi, before)
    assert torch.equal(x, task.x)
    assert all(torch.equal(p, q) for p, q in zip(theta, rule.parameters(), strict=True))


def test_no_step_is_where_it_started():
    rule, phi = RULES["local"](), start()
    assert_same(learn(rule, phi, example_task(), steps=0, batch_size=8, generator=seeded()).state, phi)
    assert_same(unroll(rule, phi, []), phi)


def test_a_batch_without_task_dimensions_is_shared_in_unroll():
    rule, phi = RULES["local"](), start(3)
    x = torch.rand(9, SIZES[0], generator=seeded(), dtype=DOUBLE)
    assert_same(unroll(rule, phi, [x, x]), unroll(rule, phi, [x.expand(3, -1, -1)] * 2))


# ---------------------------------------------------------------------------------------------- recording


def test_recordings_stand_at_the_chosen_steps():
    rule, phi, task = RULES["local"](), start(2), example_task(2)

    def run(**options: Any) -> Any:
        return learn(rule, phi, task, steps=6, batch_size=8, generator=seeded(7), **options)

    every = run(record=("state", "features", "weight_alignment", "weight_norms"))
    assert every.steps == tuple(range(7))
    assert set(every.records) == set(RECORDERS)
    assert_same(every.states[0], phi)
    assert_same(every.states[-1], every.state)
    assert_same(every.states[4], learn(rule, phi, task, steps=4, batch_size=8, generator=seeded(7)).state)
    some = run(record="state", record_at=[6, 2, 2, 0])
    assert some.steps == (0, 2, 6)
    for i, step in enumerate(some.steps):
        assert_same(some.states[i], every.states[step])
    for i, state in enumerate(every.states):
        assert torch.equal(every.records["features"][i], forward(state, task.x).features)
        W, V = state.layers[1].W.flatten(1), state.layers[1].V.flatten(1)
        cosine = (W * V).sum(-1) / (W.norm(dim=-1) * V.norm(dim=-1))
        torch.testing.assert_close(every.records["weight_alignment"][i][:, 1], cosine)
        torch.testing.assert_close(every.records["weight_norms"][i][:, 1], W.square().mean(-1).sqrt())
    assert run().steps == ()
    assert run(record_at=[1]).records == {}


def test_recorders_of_your_own():
    seen = []

    def top(phi: BaseModelState, task: Task) -> float:
        seen.append(task)
        return float(phi.layers[-1].W.mean())

    task = example_task()
    rule = Constant(2.0)
    found = learn(rule, start(), task, steps=3, batch_size=8, generator=seeded(), record={"top": top}, record_at=(1, 3))
    assert found.records["top"][1] == pytest.approx(found.records["top"][0] + 4.0)
    assert seen == [task, task]
    with pytest.raises(KeyError, match='"state" was not recorded; recorded: top'):
        _ = found.states


def test_weight_alignment_of_zeros_is_zero():
    phi = start().map(torch.zeros_like)
    assert not RECORDERS["weight_alignment"](phi, example_task()).any()
    assert not weight_norms(phi).any()


# ---------------------------------------------------------------------------------------------- labels


def test_labels_reach_supervised_rules_alone():
    task = example_task(2)
    for rule in (Constant(), Supervised()):
        learn(rule, start(2), task, steps=3, batch_size=8, generator=seeded(9))
        unroll(rule, start(2), batches(task, 3, 8, seeded(9)))
        drawn = list(batches(task, 3, 8, seeded(9)))
        assert len(rule.seen) == 6
        for batch, expected in zip(rule.seen, 2 * drawn, strict=True):
            assert torch.equal(batch.x, expected.x)
            assert batch.y is None if not rule.needs_labels else torch.equal(batch.y, expected.y)


# ---------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize(
    ("bad", "tensor"), [(float("nan"), "W1"), (float("inf"), "W1"), (-float("inf"), "W1")], ids=["nan", "inf", "-inf"]
)
def test_divergence_names_step_and_tensor_and_keeps_the_last_good_phi(bad: float, tensor: str):
    rule = Constant(lambda count: bad if count == 4 else 1.0)
    phi, task = start(2), example_task(2)
    with pytest.raises(
        DivergenceError, match=f"{tensor} is NaN or infinite after inner step 4; try a smaller"
    ) as error:
        learn(rule, phi, task, steps=6, batch_size=8, generator=seeded())
    assert (error.value.step, error.value.tensor) == (4, tensor)
    assert_same(error.value.last_good, unroll(Constant(), phi, [task.x] * 3))


def test_divergence_of_other_tensors_is_named_too():
    class Bad(Constant):
        def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
            low, top = phi.layers
            return phi.with_layers([low, LayerState(top.W, top.b * float("nan"), top.V)])

    class BadExtra(Constant):
        def init_extra(self, phi: BaseModelState, generator: torch.Generator | None = None) -> BaseModelState:
            return phi.with_layers(phi.layers, decoder=torch.zeros(3))

        def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
            return phi.with_layers(phi.layers, decoder=torch.full((3,), float("inf")))

    for rule, name in ((Bad(), "b2"), (BadExtra(), "decoder")):
        with pytest.raises(DivergenceError, match=f"^the rule diverged: {name} is NaN or infinite after inner step 1;"):
            learn(rule, start(), example_task(), steps=2, batch_size=8, generator=seeded())


def test_a_step_size_far_too_large_diverges_with_a_clear_error():
    rule, task = LocalRule(LocalRuleSettings(channels=4, lr=1e6)), example_task(dtype=torch.float32)
    with pytest.raises(DivergenceError, match=r"W1 is NaN or infinite after inner step \d+; try a smaller") as error:
        learn(rule, start(dtype=torch.float32), task, steps=100, batch_size=8, generator=seeded())
    assert error.value.step > 1
    for name, tensor in error.value.last_good.tensors():
        assert torch.isfinite(tensor).all(), name


def test_large_numbers_that_are_finite_are_no_divergence():
    phi = start(dtype=torch.float32).map(lambda t: torch.full_like(t, 3e38))
    assert not torch.isfinite(phi.layers[0].W.sum())
    assert check_finite(phi, phi, 1) is phi


# ---------------------------------------------------------------------------------------------- the graph


def test_no_graph_is_kept_unless_asked_for():
    rule, phi, task = RULES["local"](), start(), example_task()
    options: dict[str, Any] = {"steps": 3, "batch_size": 8, "generator": seeded(), "record": ("state", "features")}
    plain = learn(rule, phi, task, **options)
    kept = learn(rule, phi, task, **options, keep_graph=True)
    x = task.x[:8]
    for made, graph in (
        (plain.state, False),
        (plain.states[1], False),
        (kept.state, True),
        (kept.states[1], True),
        (unroll(rule, phi, [x]), False),
        (unroll(rule, phi, [x], keep_graph=True), True),
    ):
        for name, tensor in made.tensors():
            assert tensor.requires_grad is graph, name
            assert (tensor.grad_fn is not None) is graph, name
    assert plain.records["features"][2].grad_fn is None
    assert kept.records["features"][2].grad_fn is not None
    with torch.no_grad():
        assert not unroll(rule, phi, [x], keep_graph=True).layers[0].W.requires_grad


def test_a_phi_that_wants_gradients_is_cut_off_too():
    """V is handed on untouched by some rules, so it would carry its caller's graph along."""
    rule, task = LocalRule(LocalRuleSettings(channels=4, backward_update="fixed"), dtype=DOUBLE), example_task()
    phi = start().map(lambda t: t.clone().requires_grad_())
    assert not any(t.requires_grad for _, t in unroll(rule, phi, [task.x]).tensors())
    assert not any(t.requires_grad for _, t in unroll(rule, phi, []).tensors())
    after = learn(rule, phi, task, steps=1, batch_size=8, generator=seeded()).state
    assert not any(t.requires_grad for _, t in after.tensors())
    after = unroll(rule, phi, [task.x] * 2, keep_graph=True)
    gradients = torch.autograd.grad(after.layers[0].W.square().sum(), [p.W for p in phi.layers])
    assert all(g.abs().max() > 0 for g in gradients)


def test_the_kept_graph_gives_the_gradient_of_the_unroll():
    """d loss / d theta in one direction, against a central difference."""
    rule, phi, task = RULES["local"](), start(), example_task()
    drawn = list(batches(task, 3, 8, seeded()))

    def loss() -> Tensor:
        after = unroll(rule, phi, drawn, keep_graph=True)
        return torch.stack([layer.W.square().sum() + layer.b.sum() for layer in after.layers]).sum()

    theta = nn.utils.parameters_to_vector(rule.parameters()).detach()
    direction = torch.randn(theta.shape, generator=seeded(1), dtype=DOUBLE)
    gradient = nn.utils.parameters_to_vector(
        torch.autograd.grad(loss(), list(rule.parameters()), materialize_grads=True)
    )
    values = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(theta + sign * 1e-6 * direction, rule.parameters())
        values.append(float(loss().detach()))
    assert float(gradient @ direction) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


# ---------------------------------------------------------------------------------------------- errors


def call(**changed: Any) -> Any:
    given = {"rule": Constant(), "phi": start(), "task": example_task(), "steps": 3, "batch_size": 8} | changed
    return learn(given.pop("rule"), given.pop("phi"), given.pop("task"), **{"generator": seeded(), **given})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": -1}, r"steps is -1; allowed: a whole number in [0, inf]"),
        ({"batch_size": 1}, r"batch_size is 1; allowed: a whole number in [2, 30]"),
        ({"batch_size": 31}, r"batch_size is 31; allowed: a whole number in [2, 30]"),
        ({"record": ("state", "loss", "mood")}, "record names 'loss', 'mood'; allowed: features, state, weight_al"),
        ({"record": "states"}, "record names 'states'; allowed: features"),
        ({"record": ("state",), "record_at": [0, 4]}, r"record_at is 4; allowed: a whole number in [0, 3]"),
        ({"record_at": [-1]}, r"record_at is -1; allowed: a whole number in [0, 3]"),
        ({"task": example_task(2)}, "task has leading dimensions [2]; allowed: [], those of phi"),
        ({"phi": start(2)}, "task has leading dimensions []; allowed: [2], those of phi"),
        ({"phi": start(3), "task": example_task(2)}, "task has leading dimensions [2]; allowed: [3], those of phi"),
        ({"phi": start(sizes=(7, 4))}, "task.x has shape [30, 6]; allowed: a last dimension of 7"),
        ({"phi": start(dtype=torch.float32)}, "task.x has dtype torch.float64; allowed: torch.float32"),
        ({"task": example_task(n=3).task()}, "batch_size is 8; allowed: a whole number in [2, 3]"),
        (
            {"task": Task(torch.rand(1, 6, dtype=DOUBLE), torch.tensor([0]), 1)},
            "task.x holds 1 example(s); allowed: at",
        ),
        ({"rule": LocalRule(SMALL_LOCAL)}, "phi has dtype torch.float64; allowed: torch.float32, the dtype of this"),
        ({"rule": PaperRule(dtype=DOUBLE)}, "phi has a top layer of 4 units; allowed: 32"),
        ({"phi": start().map(lambda t: t * float("nan"))}, "W[0] holds 30 NaN or infinite values; allowed: finite"),
    ],
)
def test_bad_arguments_of_learn_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"phi": start().map(lambda t: t * float("inf"))}, r"W\[0\] holds \d+ NaN or infinite values; allowed: finite"),
        ({"batches": [torch.rand(1, 6, dtype=DOUBLE)]}, r"x holds 1 example\(s\); allowed: at least 2"),
        ({"batches": [torch.rand(4, 5, dtype=DOUBLE)]}, r"x has shape \[4, 5\]; allowed: a last dimension of 6"),
        ({"batches": [torch.rand(2, 4, 6, dtype=DOUBLE)]}, r"x has shape \[2, 4, 6\]; allowed: \['batch', 6\]"),
        ({"batches": [torch.rand(4, 6)]}, "x has dtype torch.float32; allowed: torch.float64"),
        ({"batches": [torch.zeros(0, 6, dtype=DOUBLE)]}, r"x has shape \[0, 6\] and holds no numbers"),
        ({"batches": [torch.full((4, 6), torch.nan, dtype=DOUBLE)]}, "x holds 24 NaN or infinite values"),
        ({"rule": Supervised(), "batches": [torch.rand(4, 6, dtype=DOUBLE)]}, r"batch\.y is None; allowed: class numb"),
    ],
)
def test_bad_arguments_of_unroll_are_named(changed: dict[str, Any], message: str):
    given = {"rule": Constant(), "phi": start(), "batches": [example_task().x]} | changed
    with pytest.raises(ValueError, match="^" + message):
        unroll(given["rule"], given["phi"], given["batches"])


def test_bad_arguments_of_batches_are_named_at_once():
    with pytest.raises(ValueError, match=r"steps is -2; allowed: a whole number in \[0, inf\]"):
        batches(example_task(), -2, 8, seeded())
    with pytest.raises(ValueError, match=r"batch_size is 40; allowed: a whole number in \[2, 30\]"):
        batches(example_task(), 2, 40, seeded())


def test_a_refused_call_draws_nothing():
    g = seeded()
    before = g.get_state()
    with pytest.raises(ValueError, match="record names"):
        call(rule=get_rule("autoencoder"), record=("loss",), generator=g)
    assert torch.equal(before, g.get_state())


def test_constant_data_and_the_smallest_batch_stay_finite():
    flat = Task(torch.full((4, 6), 0.5, dtype=DOUBLE), torch.tensor([0, 0, 1, 1]), 2)
    for name in ("local", "paper", "hebb_decorrelation", "autoencoder"):
        for task in (flat, example_task()):
            after = learn(RULES[name](), start(), task, steps=5, batch_size=2, generator=seeded()).state
            after.validate()


WRONG_TYPES = {
    "learn('local', phi, task, **how)": "rule is 'local'; allowed: an UpdateRule",
    "learn(rule, task, phi, **how)": "phi is Task(task: 30...s, unpermuted); allowed: a BaseModelState",
    "learn(rule, phi, task.x, **how)": "task is a tensor [30, 6] of torch.float32 on cpu; allowed: a Task",
    "learn(rule, phi, task, **how | {'steps': 2.5})": "steps is 2.5; allowed: a whole number up to 10,000,000",
    "learn(rule, phi, task, **how | {'batch_size': '8'})": "batch_size is '8'; allowed: a whole number",
    "learn(rule, phi, task, **how | {'generator': None})": "generator is None; allowed: a torch.Generator",
    "learn(rule, phi, task, **how, record=('state',), record_at=2)": "record_at is 2; allowed: a list or the like",
    "learn(rule, phi, task, **how, record_at=[0.5])": "record_at is 0.5; allowed: a whole number in [0, 3]",
    "learn(rule, phi, task, **how, record={'mine': 3})": "record is {'mine': 3}; allowed: text or a list",
    "unroll('local', phi, [x])": "rule is 'local'; allowed: an UpdateRule",
    "unroll(rule, x, [x])": "phi is a tensor [30, 6] of torch.float32 on cpu; allowed: a BaseModelState",
    "unroll(rule, phi, ['a'])": "batch must be a Batch or a tensor x, got str",
    "unroll(rule, phi, [[[0.0] * 6] * 2])": "batch must be a Batch or a tensor x, got list",
    "unroll(rule, phi, [torch.zeros(4, 6, dtype=torch.int64)])": "x has dtype torch.int64; allowed: a floating dtype",
    "batches(x, 3, 8, g)": "task is a tensor [30, 6] of torch.float32 on cpu; allowed: a Task",
    "batches(task, 3, 8, 0)": "generator is 0; allowed: a torch.Generator",
    "begin('local', task)": "rule is 'local'; allowed: an UpdateRule (see load_rule and get_rule",
    "begin(rule, x)": "task is a tensor [30, 6] of torch.float32 on cpu; allowed: a Task (see make_task)",
    "begin(rule, task, generator=3)": "generator is 3; allowed: a torch.Generator",
}


@pytest.mark.parametrize("call", WRONG_TYPES)
def test_wrong_types_are_named(unchecked_types: None, call: str):
    g = seeded()
    rule, x = get_rule("hebb"), torch.rand(30, 6, generator=g)
    task, phi = Task(x, torch.arange(30) % 3, 3), init_state((6, 4), generator=g)
    how = {"steps": 3, "batch_size": 8, "generator": g}
    with pytest.raises(TypeError, match="^" + re.escape(WRONG_TYPES[call])):
        eval(call, globals(), {"rule": rule, "x": x, "phi": phi, "task": task, "g": g, "how": how})


# ---------------------------------------------------------------------------------------------- where it begins


def test_a_start_is_what_its_parts_draw():
    rule, task = get_rule("autoencoder", optimiser="sgd"), example_task(2)
    phi, how, generator = begin(rule, task, sizes=SIZES, steps=4, nonlinearity="tanh", seed=3)
    own, g = rule.recommended, seeded(3)
    assert how == replace(own, steps=4, batch_size=N) and own.batch_size > N, "the batch is cut to the task"
    init = InitSettings(weight_std=own.weight_std, bias_std=own.bias_std)
    wanted = init_state(SIZES, tasks=(2,), nonlinearity="tanh", settings=init, generator=g, dtype=DOUBLE)
    assert_same(phi, rule.init_extra(wanted, g))
    assert phi.nonlinearity == "tanh" and torch.equal(generator.get_state(), g.get_state())
    g = seeded(3)
    again = begin(rule, task, sizes=SIZES, batch_size=7, weight_std=1.0, nonlinearity="tanh", generator=g)
    assert again.generator is g and again.settings == replace(own, batch_size=7, weight_std=1.0)
    torch.testing.assert_close(again.phi.layers[0].W * own.weight_std, phi.layers[0].W)


def test_a_start_takes_the_spread_of_the_rule_and_the_usual_net():
    rule, task = get_rule("hebb"), example_task(dtype=torch.float32)
    phi = begin(rule, task).phi
    assert phi.sizes == (6, *WIDTHS) and phi.dtype == torch.float32
    assert not any(layer.b.any() for layer in phi.layers), "not init_state's own default, which is the authors' 0.1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1; allowed: a whole number in [0,"),
        ({"steps": -1}, "steps is -1; allowed: a whole number in [0, inf]"),
        ({"batch_size": 1}, "batch_size is 1; allowed: a whole number in [2, inf]"),
        ({"weight_std": -0.1}, "weight_std is -0.1; allowed"),
        ({"sizes": (6,)}, "sizes is [6]; allowed: at least an input and one layer"),
    ],
)
def test_bad_arguments_of_start_are_named(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        begin(get_rule("hebb"), example_task(), **options)
