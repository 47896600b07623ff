"""Data of the reader's own in the explorers: controls moved, numbers computed a second way, the last state kept."""

from __future__ import annotations

import datetime
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch

from metarules.base_model import InitSettings, forward, init_state
from metarules.classic_rules import get_rule
from metarules.classic_rules.mixed import MixedRule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.inner_loop import learn
from metarules.pretrained import load_rule
from metarules.tasks import Dataset, Task, load_dataset, make_task, read_dataset
from metarules.update_rule import UpdateRule
from metarules.widgets import BackwardWeights, InnerLoopExplorer, NeuronMicroscope, RandomNetExplorer, RuleMixer
from metarules.widgets.explorer import Explorer
from metarules.widgets.layers import LayersExplorer
from metarules.widgets.own_data import MOST, Source

N = 40  # examples of each of three classes
SIZES = (64, 12, 8)  # of the lesson's base model: small, to be quick
STEPS = 6


@pytest.fixture(scope="module")
def digits() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rule() -> UpdateRule:
    return load_rule("local")


def flowers(classes: int = 3, seed: int = 0) -> list[list[Any]]:
    """Five measurements of flowers that nobody ever picked, and their kinds."""
    g = np.random.default_rng(seed)
    centres = g.normal(size=(classes, 5))
    return [
        [*(centres[i % classes] + 0.7 * g.normal(size=5)).round(3), "abcdef"[i % classes]] for i in range(N * classes)
    ]


def csv(rows: list[list[Any]]) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in [[*"vwxyz", "kind"], *rows]).encode()


@pytest.fixture
def flowers_csv(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.csv"
    path.write_bytes(csv(flowers()))
    return path


def plain_task(path: Path) -> Task:
    """The file as a task, put together by hand."""
    data = read_dataset(path)
    return Task(data.x, data.y, data.n_classes, name=data.name)


# ---- the four explorers, and the number that each should show


def make_mixer(task: Task, rule: UpdateRule) -> Explorer:
    return RuleMixer(task, "Hebb + decorrelation", learned=rule, steps=STEPS, sizes=SIZES)


def make_net(task: Task, rule: UpdateRule) -> Explorer:
    return RandomNetExplorer(task, depth=2, width=12)


def make_backward(task: Task, rule: Any) -> Explorer:
    return BackwardWeights(rule, task, steps=STEPS, sizes=SIZES)


def make_microscope(task: Task, rule: Any) -> Explorer:
    return NeuronMicroscope(rule, task, steps=STEPS, sizes=SIZES, step=STEPS)


def make_loop(task: Task, rule: UpdateRule) -> Explorer:
    return InnerLoopExplorer(rule, task, steps=STEPS, sizes=SIZES)


def make_layers(task: Task, rule: UpdateRule) -> Explorer:
    return LayersExplorer(rule, task, steps=STEPS, sizes=SIZES)


def mixed_accuracy(task: Task, rule: UpdateRule) -> float:
    mixed = MixedRule.with_settings(hebb=1.0, decorr=0.9, soft=0.0, oja=0.0, decay=1.0, lr=0.03, temperature=0.1)
    return probe(learned_state(mixed, task, sizes=(task.n_inputs, *SIZES[1:]), steps=STEPS), task)


def random_accuracy(task: Task, rule: UpdateRule) -> float:
    g = torch.Generator().manual_seed(0)
    init = InitSettings(weight_std=1.0, bias_std=0.0)
    return probe(init_state((task.n_inputs, 12, 32), settings=init, generator=g), task)


def backward_accuracy(task: Task, rule: UpdateRule) -> float:
    g = torch.Generator().manual_seed(0)
    init = InitSettings(weight_std=0.3, bias_std=rule.recommended.bias_std)
    phi = init_state((task.n_inputs, *SIZES[1:]), settings=init, generator=g)
    batch = min(rule.recommended.batch_size, task.n_examples)
    return probe(learn(rule, phi, task, steps=STEPS, batch_size=batch, generator=g).state, task)


def learned_accuracy(task: Task, rule: UpdateRule) -> float:
    return probe(learned_state(rule, task, sizes=(task.n_inputs, *SIZES[1:]), steps=STEPS), task)


def probe(phi: Any, task: Task) -> float:
    return float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())


def shown_accuracy(widget: Any) -> float:
    if isinstance(widget, BackwardWeights):
        return float(widget.run.accuracies[-1])
    return float(widget.accuracy)


KINDS: dict[str, tuple[Callable[[Task, UpdateRule], Explorer], Callable[[Task, UpdateRule], float]]] = {
    "mixer": (make_mixer, mixed_accuracy),
    "net": (make_net, random_accuracy),
    "backward": (make_backward, backward_accuracy),
    "microscope": (make_microscope, learned_accuracy),
    "loop": (make_loop, learned_accuracy),
    "layers": (make_layers, learned_accuracy),
}


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, digits: Task, rule: UpdateRule) -> tuple[str, Explorer]:
    return request.param, KINDS[request.param][0](digits, rule)


@pytest.fixture
def widget(opened: tuple[str, Explorer]) -> Explorer:
    """An explorer, reset."""
    opened[1].reset_button.click()
    assert opened[1].wait(300)
    return opened[1]


@pytest.fixture
def expected(opened: tuple[str, Explorer], rule: UpdateRule) -> Callable[[Task], float]:
    return lambda task: KINDS[opened[0]][1](task, rule)


def pictures(widget: Explorer) -> dict[str, bytes]:
    return {name: panel.value for name, panel in widget.panels.items()}


def type_path(widget: Explorer, path: Any) -> None:
    widget.data.path_box.value = str(path)
    assert widget.wait(300)


def upload(widget: Explorer, **files: bytes) -> None:
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    widget.data.upload_button.value = tuple(
        {"name": f"{name}.csv", "type": "", "size": len(data), "content": memoryview(data), "last_modified": when}
        for name, data in files.items()
    )
    assert widget.wait(300)


def test_a_path_is_learned_on_and_reset_brings_the_lesson_back(
    widget: Explorer, expected: Callable[[Task], float], digits: Task, flowers_csv: Path
):
    before, said, number = pictures(widget), widget.status.value, shown_accuracy(widget)
    assert number == pytest.approx(expected(digits), abs=1e-6)
    type_path(widget, flowers_csv)
    own = expected(plain_task(flowers_csv))
    assert shown_accuracy(widget) == pytest.approx(own, abs=1e-6) and own != number
    assert "on flowers (120 examples, 3 classes)" in widget.status.value
    assert "Read with labels: column 6, &#x27;kind&#x27;; scaled: each column" in widget.status.value
    assert f"{own:.2f}" in widget.status.value
    assert all(png != before[name] for name, png in pictures(widget).items())
    widget.reset_button.click()
    assert widget.wait(300)
    assert pictures(widget) == before and widget.status.value == said and widget.data.path_box.value == ""


def test_an_upload_is_learned_on_and_the_same_file_can_be_sent_again(
    widget: Explorer, expected: Callable[[Task], float], flowers_csv: Path
):
    for seed in (0, 1):
        flowers_csv.write_bytes(csv(flowers(seed=seed)))
        upload(widget, f=flowers_csv.read_bytes())
        assert shown_accuracy(widget) == pytest.approx(expected(plain_task(flowers_csv)), abs=1e-6)
        assert "on f (120 examples, 3 classes)" in widget.status.value and widget.data.upload_button.value == ()


def test_other_controls_go_on_with_the_readers_data(widget: Explorer, flowers_csv: Path):
    type_path(widget, flowers_csv)
    first = pictures(widget)
    box = widget.boxes["seed"] if isinstance(widget, RandomNetExplorer) else widget.seed_box
    box.value = 3
    assert widget.wait(300)
    assert "on flowers (120 examples, 3 classes)" in widget.status.value and pictures(widget) != first
    box.value = 0
    assert widget.wait(300)
    last = pictures(widget)
    if isinstance(widget, RuleMixer):  # its accuracy is drawn beside that of the mix before
        assert last.pop("accuracy") != first.pop("accuracy")
    assert last == first


BAD: list[tuple[bytes | None, str]] = [
    (None, "there is no file or folder"),
    (b"", "bad.csv is empty"),
    (b"v,w,kind\n1,nan,a\n2,5,b\n3,6,a\n", "bad.csv, line 2, column 2, &#x27;w&#x27; is &#x27;nan&#x27;"),
    (b"\xff\xfe\x00", "bad.csv is UTF-16 text"),
    (csv(flowers()[: 3 * 5]), "bad.csv: class &#x27;a&#x27; (column 6, &#x27;kind&#x27;) has 5 example(s)"),
]


def test_bad_data_are_answered_by_a_sentence_and_nothing_is_lost(widget: Explorer, tmp_path: Path, flowers_csv: Path):
    for good in (None, flowers_csv):
        if good is not None:
            type_path(widget, good)
        before, number, shown = pictures(widget), shown_accuracy(widget), widget.data.shown
        for i, (content, message) in enumerate(BAD):
            (tmp_path / str(i)).mkdir(exist_ok=True)
            if content is not None:
                (tmp_path / str(i) / "bad.csv").write_bytes(content)
            type_path(widget, tmp_path / str(i) / ("nowhere.csv" if content is None else "bad.csv"))
            assert "This did not work" in widget.status.value and message in widget.status.value
            assert isinstance(widget.last_error, ValueError)
            assert pictures(widget) == before and shown_accuracy(widget) == number
            assert widget.data.wanted is widget.data.shown is shown  # what is learned next is learned on the data shown


def test_an_emptied_box_asks_for_the_lessons_data(widget: Explorer, flowers_csv: Path):
    before, said = pictures(widget), widget.status.value
    type_path(widget, flowers_csv)
    type_path(widget, "")
    assert pictures(widget) == before and widget.status.value == said


@pytest.mark.parametrize("opened", ["net", "loop"], indirect=True)  # the others take data by the same code
@pytest.mark.parametrize("kind", ["task", "dataset", "mapping", "images", "small"])
def test_use_takes_whatever_holds_data(widget: Explorer, kind: str, flowers_csv: Path, digits: Task):
    moons = load_dataset("two_moons", n=300)
    rows = digits.unpermute(digits.x)
    given: dict[str, tuple[Any, str]] = {
        "task": (make_task(moons, permute=False), "two moons (300 examples, 2 classes)"),
        "dataset": (moons, "two moons (300 examples, 2 classes)"),
        "mapping": ({"flowers.csv": flowers_csv.read_bytes()}, "flowers (120 examples, 3 classes)"),
        "images": (
            Dataset("rows", rows, digits.y, (8, 8), tuple("0123456789")),
            "rows (1797 examples, 10 classes)",
        ),
        "small": (
            Dataset("some", rows[:200], digits.y[:200] % 2, (8, 8), ("even", "odd")),
            "some (200 examples, 2 classes)",
        ),
    }
    data, words = given[kind]
    widget.use(data)
    assert widget.wait(300)
    assert f"on {words}" in widget.status.value


@pytest.mark.usefixtures("unchecked_types")
def test_use_of_what_holds_no_data_is_a_sentence(widget: Explorer):
    before = pictures(widget)
    for data in (None, 3, {}, {"a.csv": "text"}, [1, 2]):
        widget.use(data)
        assert widget.wait(300)
        assert "allowed" in widget.status.value and pictures(widget) == before


def test_at_most_four_controls_are_in_sight(opened: tuple[str, Explorer]):
    _, row, fold, *_, panels = opened[1].children
    assert len(row.children) <= 4
    assert isinstance(fold, ipywidgets.Accordion) and fold.selected_index is None
    assert "metarules-fold" in fold._dom_classes and "metarules-panels" in panels._dom_classes
    assert opened[1].data.path_box not in row.children


def test_all_pictures_have_words(widget: Explorer, flowers_csv: Path):
    type_path(widget, flowers_csv)
    assert all(panel.alt for panel in widget.panels.values())


def test_supervised_rules_get_a_read_out_for_the_readers_classes(digits: Task, rule: UpdateRule, flowers_csv: Path):
    widget = InnerLoopExplorer(rule, digits, steps=STEPS, sizes=SIZES)
    type_path(widget, flowers_csv)
    widget.rule_menu.value = "Backprop (given all labels)"
    assert widget.wait(300) and widget.exploration.sees_labels
    assert "Backprop (given all labels) on flowers (120 examples, 3 classes)" in widget.status.value
    task = plain_task(flowers_csv)
    phi = learned_state(get_rule("backprop", n_classes=3), task, sizes=(5, *SIZES[1:]), steps=STEPS)
    assert widget.accuracy == pytest.approx(probe(phi, task), abs=1e-6)


# ---- how a file is read


def test_options_overrule_how_a_file_is_read_and_reset_forgets_them(digits: Task, rule: UpdateRule, tmp_path: Path):
    widget = InnerLoopExplorer(rule, digits, steps=STEPS, sizes=SIZES)
    path, before = tmp_path / "f.csv", widget.status.value
    rows = ["v;w;x;Class;Target"]
    rows += [f"{v:.2f};{w:.2f};{x:.2f};{'abc'.index(kind)};{kind}" for v, w, x, *_, kind in flowers()]
    path.write_text("\n".join(rows).replace(".", ","))
    type_path(widget, path)
    assert "could both hold the labels; allowed: label=&#x27;Class&#x27;" in widget.status.value
    boxes = widget.data.options
    for name, value, said in [
        ("label", "Target", "Read with labels: column 5, &#x27;Target&#x27;; decimal commas; scaled: each column"),
        ("drop", "Class, 1", "left out: column 1, &#x27;v&#x27; (as asked), column 4, &#x27;Class&#x27; (as asked)"),
        ("scale", "one", "one scale for all"),
    ]:
        boxes[name].value = value
        assert widget.wait(300) and said in widget.status.value
    expected = read_dataset(path, label="Target", drop=["Class", 1], scale="one")
    assert torch.equal(widget.exploration.task.x, expected.x)
    for name, value, said in [
        ("decimal", ".", "did not work"),
        ("decimal", "", "decimal commas"),
        ("separator", ",", "did not work"),
        ("separator", "", "decimal commas"),
        ("shape", "2 x 1", "(120 examples, 3 classes)"),
        ("shape", "3 x 3", "height * width = 2"),
        ("shape", "none", "one scale"),
        ("label", "none", "column 5, &#x27;Target&#x27; is the text"),
        ("drop", "Target", "without labels a rule can learn"),
        ("label", "4", "labels: column 4"),
    ]:
        boxes[name].value = value
        assert widget.wait(300) and said in widget.status.value, widget.status.value
    widget.reset_button.click()
    assert widget.wait(300) and widget.status.value == before and not any(box.value for box in boxes.values())


# ---- the source of data


def test_data_are_read_once_and_images_shuffled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flowers_csv: Path):
    calls = []
    monkeypatch.setattr(
        "metarules.widgets.own_data.read_dataset", lambda path: calls.append(path) or read_dataset(path)
    )
    source = Source(flowers_csv)
    assert source.name == "flowers.csv" and not calls
    threads = [threading.Thread(target=source.task) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [flowers_csv] and source.task() is source.task() and source.holds(source.task())
    assert source.task().permutation is None and source.described() == "flowers (120 examples, 3 classes)"
    images = Source(load_dataset("digits")).task()
    assert images.permutation is not None and images.shape == (8, 8)


def test_many_examples_are_thinned_and_it_is_said():
    x = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    source = Source(Dataset("many", x, torch.arange(5000) % 4, None, tuple("abcd")))
    assert source.task().n_examples == MOST and source.task().y.bincount().tolist() == [MOST // 4] * 4
    assert source.described() == "many (2000 of its 5000 examples, 4 classes)"


def test_names_before_reading():
    buffer = io.BytesIO()
    assert Source("some/where/x.npz").name == "x.npz" and Source("some/where/").name == "where"
    assert Source({"a.npy": b"", "a_labels.npy": b""}).name == "a.npy and 1 more" and Source({}).name == "nothing"
    assert Source(buffer).name
