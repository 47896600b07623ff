"""From a rule to accuracies: pairing, base models at once, supervised rules, and the numbers on digits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metarules.base_model import BaseModelState, forward
from metarules.evaluation import (
    Protocol,
    Results,
    evaluate_baseline,
    evaluate_rule,
    few_shot_accuracy,
    layer_accuracies,
    learned_state,
    model_tasks,
    paired_difference,
    probe_splits,
    rule_features,
)
from metarules.inner_loop import DivergenceError, inner_settings
from metarules.pretrained import save_rule, shipped_rules
from metarules.pretrained.finding import get_rule, rule_label, rule_names
from metarules.tasks import Dataset, load_dataset, make_task
from metarules.update_rule import Batch, InnerSettings, LocalRule, Trace, UpdateRule

TINY = Protocol(hidden=(16, 8), labels_per_class=3, n_splits=4, n_models=2)


@pytest.fixture(scope="module")
def letters() -> Dataset:
    """120 letters of five classes."""
    return load_dataset("glyphs", n=120, n_classes=5)


class Recorder(UpdateRule):
    """Changes nothing, and keeps what it is shown."""

    recommended = InnerSettings(steps=3, batch_size=50, weight_std=0.02, bias_std=0.0)

    def __init__(self, needs_labels: bool = False) -> None:
        super().__init__()
        self.needs_labels = needs_labels
        self.seen: list[Batch] = []

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        self.seen.append(batch)
        return Trace(z={}, x={}, next_state=phi)


class Exploding(UpdateRule):
    """Leaves the finite numbers."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        return Trace(z={}, x={}, next_state=phi.map(lambda t: t * torch.inf))


def test_one_and_two_threads_agree_within_a_standard_error_and_a_seed_says_all(letters: Dataset):
    protocol = Protocol(hidden=(64, 32), labels_per_class=3, n_splits=5, n_models=2)
    one, two, again = (
        evaluate_rule(get_rule("local"), "local", letters, protocol, steps=5, threads=threads) for threads in (1, 2, 1)
    )
    assert abs(one.row.accuracy - two.row.accuracy) <= one.row.stderr
    assert torch.equal(one.accuracies, again.accuracies)
    tables = [Results((replace(result, row=replace(result.row, seconds=None)),)).table() for result in (one, again)]
    assert tables[0] == tables[1]


def test_result_is_the_probe_on_the_features_of_the_rule(letters: Dataset):
    rule = get_rule("hebb_decorrelation")
    result = evaluate_rule(rule, "hand", letters, TINY, steps=5)
    features = rule_features(rule, model_tasks(letters, TINY), sizes=(64, 16, 8), steps=5)
    wanted = few_shot_accuracy(features, letters.y, labels_per_class=3, n_splits=4)
    assert torch.equal(result.accuracies, wanted)
    assert features.shape == (2, 120, 8)
    row = result.row
    assert (row.data, row.representation, row.dim, row.labels_per_class, row.n) == ("glyphs", "hand", 8, 3, 8)


def test_every_base_model_has_its_own_order_of_inputs(letters: Dataset):
    task = model_tasks(letters, Protocol(n_models=3))
    assert task.x.shape == (3, 120, 64)
    orders = {tuple(p.tolist()) for p in task.permutation}
    assert len(orders) == 3


def test_an_unsupervised_rule_is_shown_no_labels_and_its_recommended_batches(letters: Dataset):
    rule = Recorder()
    evaluate_rule(rule, "nothing", letters, TINY)
    assert len(rule.seen) == 3
    assert all(batch.y is None and batch.x.shape == (2, 50, 64) for batch in rule.seen)


def test_zero_steps_are_the_initial_state_with_the_recommended_spread(letters: Dataset):
    task = make_task(letters, permute=False)
    phi = learned_state(Recorder(), task, steps=0, sizes=(64, 500))
    assert 0.015 < phi.layers[0].W.std() < 0.02 and phi.layers[0].b.abs().max() == 0  # cut at two deviations
    torch.testing.assert_close(rule_features(Recorder(), task, steps=0, sizes=(64, 500)), forward(phi, task.x).features)


def test_accuracies_of_layers_are_the_probe_on_each(letters: Dataset):
    tasks = make_task(letters, tasks=(2,), generator=torch.Generator().manual_seed(0))
    phi = learned_state(get_rule("hebb"), tasks, steps=2, sizes=(64, 9, 8))
    found = layer_accuracies(phi, tasks.x, letters.y, n_splits=3)
    assert found.shape == (3, 2, 3)
    for layer, activity in enumerate(forward(phi, tasks.x).x):
        assert torch.equal(found[layer], few_shot_accuracy(activity, letters.y, n_splits=3))


def test_no_graph_is_kept(letters: Dataset):
    assert not rule_features(LocalRule(), make_task(letters, permute=False), steps=1, batch_size=20).requires_grad


def test_a_supervised_rule_sees_the_labelled_examples_of_its_split_and_no_others(letters: Dataset):
    rule = Recorder(needs_labels=True)
    evaluate_rule(rule, "labels", letters, TINY)
    task = model_tasks(letters, TINY)
    splits = probe_splits(letters.y, 3, 4, seed=0)
    for batch in rule.seen:
        assert batch.x.shape == (2, 4, 15, 64) and batch.y is not None
        for model in range(2):
            for split, rows in enumerate(splits.labelled):
                torch.testing.assert_close(batch.x[model, split], task.x[model, rows])
                assert torch.equal(batch.y[model, split], letters.y[rows])


def test_supervised_accuracies_come_from_the_model_of_the_same_split(letters: Dataset):
    rule = get_rule("backprop", n_classes=5)
    result = evaluate_rule(rule, "backprop", letters, TINY, steps=20)
    assert result.accuracies.shape == (2, 4)
    untrained = evaluate_rule(rule, "backprop", letters, TINY, steps=0)
    assert result.row.accuracy > untrained.row.accuracy + 0.05


def test_batches_are_cut_to_small_sets_and_settings_can_be_given():
    rule = get_rule("hebb_decorrelation")
    assert inner_settings(rule, 1797) == rule.recommended
    assert inner_settings(rule, 30) == replace(rule.recommended, batch_size=30)
    assert inner_settings(rule, 1797, 7, 9) == replace(rule.recommended, steps=7, batch_size=9)


def test_a_method_without_chance_runs_once(letters: Dataset):
    assert evaluate_baseline("raw", letters, TINY).accuracies.shape == (1, 4)
    result = evaluate_baseline("random_init", letters, TINY)
    assert result.accuracies.shape == (2, 4) and result.row.dim == 8


def test_order_of_inputs_and_seed_are_reproducible(letters: Dataset):
    rule = get_rule("hebb_decorrelation")
    a, b = (evaluate_rule(rule, "hand", letters, TINY, steps=3).accuracies for _ in range(2))
    assert torch.equal(a, b)
    other = evaluate_rule(rule, "hand", letters, replace(TINY, seed=1), steps=3).accuracies
    assert not torch.equal(a, other)


def test_labels_without_structure_give_chance(letters: Dataset):
    noise = Dataset("noise", torch.rand(1000, 20), torch.arange(1000) % 10, None, tuple("0123456789"))
    result = evaluate_rule(get_rule("hebb_decorrelation"), "hand", noise, Protocol(n_splits=10, n_models=1), steps=5)
    assert 0.07 < result.row.accuracy < 0.13


def test_divergence_is_reported(letters: Dataset):
    with pytest.raises(DivergenceError, match="after inner step 1"):
        evaluate_rule(Exploding(), "exploding", letters, TINY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": ()}, r"hidden is \(\); allowed: a tuple of one layer width or more"),
        ({"hidden": (3, 0)}, "hidden is 0; allowed"),
        ({"labels_per_class": 0}, "labels_per_class is 0; allowed"),
        ({"n_splits": 1}, r"n_splits is 1; allowed: a whole number in \[2"),
        ({"n_models": 0}, "n_models is 0; allowed"),
        ({"seed": -1}, "seed is -1; allowed"),
    ],
)
def test_protocol_settings_out_of_range_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Protocol(**change)


def test_more_labels_than_a_class_has_are_refused(letters: Dataset):
    with pytest.raises(ValueError, match="labels_per_class is 99; allowed: 1 to 23"):
        evaluate_rule(get_rule("hebb"), "hebb", letters, replace(TINY, labels_per_class=99), steps=1)


def test_sizes_that_do_not_fit_the_data_are_refused(letters: Dataset):
    with pytest.raises(ValueError, match=r"allowed: a last dimension of 63"):
        rule_features(get_rule("hebb"), make_task(letters, permute=False), sizes=(63, 8), steps=1)


def test_unknown_baseline_is_refused(letters: Dataset):
    with pytest.raises(ValueError, match="name is 'umap'; allowed"):
        evaluate_baseline("umap", letters, TINY)


@pytest.mark.parametrize("name", rule_names())
def test_every_named_rule_can_be_found(name: str):
    rule = get_rule(name, n_classes=3)
    assert isinstance(rule, UpdateRule) and rule_label(name) == name
    if rule.needs_labels:
        assert rule.settings.n_classes == 3


def test_a_rule_file_is_found_by_path_and_named_without_its_folder(tmp_path):
    path = save_rule(LocalRule(), tmp_path / "mine.safetensors", {"recommended": {"steps": 9, "batch_size": 11}})
    assert get_rule(str(path)).recommended.steps == 9
    assert rule_label(str(path)) == "mine.safetensors"
    with pytest.raises(FileNotFoundError, match="No such file"):
        get_rule(str(tmp_path / "none.safetensors"))


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"rule is 'hobb'; allowed: .*hebb.* or the path of a \.safetensors file"):
        get_rule("hobb")


@pytest.mark.slow
def test_hand_rule_reaches_its_number_on_digits():
    digits = load_dataset("digits")
    hand = evaluate_rule(get_rule("hebb_decorrelation"), "hebb_decorrelation", digits, steps=100)
    assert hand.row.n == 200 and hand.row.dim == 32
    assert hand.row.accuracy >= 0.86
    random = evaluate_baseline("random_init", digits)
    assert 0.55 < random.row.accuracy < 0.67
    assert 0.91 < evaluate_baseline("kmeans_32", digits).row.accuracy < 0.93
    mean, stderr = paired_difference(hand.accuracies, random.accuracies)
    assert mean > 2 * stderr


@pytest.mark.slow
def test_shipped_rule_reaches_its_number_on_digits():
    if "local" not in shipped_rules():
        pytest.skip("metarules/pretrained/rules holds no rule named local yet")
    digits = load_dataset("digits")
    shipped = evaluate_rule(get_rule("local"), "local", digits, steps=100)
    assert shipped.row.accuracy >= 0.90
    start = evaluate_rule(get_rule("local_start"), "local_start", digits, steps=100)
    mean, stderr = paired_difference(shipped.accuracies, start.accuracies)
    assert mean > 2 * stderr
