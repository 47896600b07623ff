"""`GeneralisationGrid`: every control moved, its numbers the protocol's, its map recorded or taught."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from metarules._work import Stopped
from metarules.evaluation import BASELINES, Protocol, evaluate_baseline, evaluate_rule
from metarules.evaluation.grids import grid_data
from metarules.pretrained import get_rule
from metarules.studies.generalisation import Generalisation, grid_map, recorded_grid, rivals, select
from metarules.tasks import load_dataset
from metarules.widgets import GeneralisationGrid

PANELS = ("map", "curve", "labels", "table")


@pytest.fixture(scope="module")
def opened() -> GeneralisationGrid:
    few = load_dataset("handwriting", n=300, split="validation", seed=1)
    return GeneralisationGrid(get_rule("hebb_decorrelation"), {"few": few}, against="raw", steps=4)


@pytest.fixture
def widget(opened: GeneralisationGrid) -> GeneralisationGrid:
    opened.reset()
    return opened


def pictures(widget: GeneralisationGrid) -> dict[str, bytes]:
    return {name: panel.value for name, panel in widget.panels.items()}


def independent(widget: GeneralisationGrid) -> tuple[float, float, float]:
    """The rule, the net untaught and the rival, by the evaluation."""
    s, data = widget.run, widget.study.dataset(widget.data_menu.value)
    protocol = Protocol(s.net.hidden, s.labels, 20, 1, widget.seed_box.value, s.net.nonlinearity)
    rule = widget.study.rule
    taught, start = (evaluate_rule(rule, "", data, protocol, steps=t) for t in (widget.step, 0))
    if s.rival in BASELINES:
        rival = evaluate_baseline(s.rival, data, protocol)
    else:
        rival = evaluate_rule(get_rule(s.rival, n_classes=data.n_classes), "", data, protocol)
    return taught.row.accuracy, start.row.accuracy, rival.row.accuracy


@pytest.mark.parametrize(
    ("control", "value", "says"),
    [
        ("depth_slider", 1, "Few, 64-32, relu"),
        ("depth_slider", 2, "Few, 64-128-32, relu"),
        ("width_slider", 16, "Few, 64-16-16-32"),
        ("nonlinearity_menu", "step", "32, step, 10 labels"),
        ("labels_menu", 5, "5 labels per class"),
        ("against_menu", "oja", "oja ("),
        ("seed_box", 7, "64-128-128-32"),
        ("data_menu", "spirals", "Spirals, "),
    ],
)
def test_every_control_gives_the_protocols_numbers(widget: GeneralisationGrid, control: str, value, says: str):
    before = pictures(widget)
    getattr(widget, control).value = value
    assert widget.wait(300) and says in widget.status.value
    rule, start, rival = independent(widget)
    assert widget.accuracy == pytest.approx(rule, abs=1e-9)
    assert widget.run.accuracies[0].mean() == pytest.approx(start, abs=1e-9)
    assert widget.run.rival_accuracies.mean() == pytest.approx(rival, abs=1e-9)
    assert f"accuracy {rule:.2f}" in widget.status.value and f"{rule:.3f}" in widget.panels["table"].alt
    changed = {name for name, png in pictures(widget).items() if png != before[name]}
    assert changed >= {"curve", "table"} and ("labels" in changed) == (control != "labels_menu")


def test_step_colours_click_and_code(widget: GeneralisationGrid):
    before = pictures(widget)
    widget.step = 1
    assert {n for n, png in pictures(widget).items() if png != before[n]} == {"curve", "table"}
    widget.colours_menu.value = "above"
    assert "above untaught" in widget.panels["map"].alt and pictures(widget)["map"] != before["map"]
    assert widget.panels["map"].clickable
    widget.panels["map"].clicked = [0.2, 0.64, 1.0]  # the leftmost column, the second row from below
    assert widget.wait(300) and "Few, 64-16-32, relu" in widget.status.value
    assert (widget.width_slider.value, widget.depth_slider.value) == (16, 2)
    assert "framed: 64-16-32" in widget.panels["map"].alt and np.isfinite(widget.run.map.accuracy[[1, 2], [0, 3]]).all()
    line = widget.as_code("widget")
    widget.reset()
    assert pictures(widget) == before and "64-128-128-32" in widget.status.value
    exec(line, {"widget": widget})
    assert "Few, 64-16-32, relu" in widget.status.value
    widget.panels["map"].clicked = [0.01, 0.01, 2.0]  # beside the map
    assert "Few, 64-16-32, relu" in widget.status.value


def test_too_few_examples_and_stop_leave_all_as_it_was(widget: GeneralisationGrid):
    before = pictures(widget)
    widget.labels_menu.value = 50  # of 30 images of a class
    assert widget.wait(300) and "labels is 50" in widget.status.value and widget.labels_menu.value == 10
    assert pictures(widget) == before
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match=r"stopped after 1 of \d+ pieces"):
        widget.study.cell(data="few", against="raw", seed=99, stop=stop)
    seen: list[tuple[int, int]] = []
    widget.study.cell(data="few", against="raw", seed=99, progress=lambda now, of: seen.append((now, of)))
    assert seen[-1][0] == seen[-1][1] and [now for now, _ in seen] == sorted({now for now, _ in seen})


def test_recorded_cells_are_taught_again_to_the_same_number():
    row = select(recorded_grid(), method="local", data="handwriting", width=16, depth=2, labels=10, steps=30, models=1)[
        0
    ]
    study = Generalisation(get_rule("local"))
    if study.rows:  # recorded with this very theta
        cell = study.cell(width=16, depth=2, against="raw")
        assert cell.accuracies[-1].mean() == pytest.approx(row.accuracy, abs=0.02)
        assert cell.map.known == 21
    assert {"raw", "vae", "neighbours", "hebb"} <= set(rivals())
    assert grid_data("handwriting", 8).x.shape == (1000, 64)


def test_recorded_grid_has_every_cell_and_no_cell_of_relu_fails():
    rows = select(recorded_grid(), method="local", models=1)
    for data in ("handwriting", "glyphs"):
        for kind in ("relu", "leaky_relu", "silu", "tanh", "step"):
            cells = select(rows, data=data, nonlinearity=kind, labels=10, steps=30)
            found = grid_map(cells)
            assert found.known == 21 and np.isfinite(found.above).sum() == 21
            if kind.endswith(("relu", "silu")):
                known = np.isfinite(found.above)
                assert found.clear[known].all() and (found.above[known] > 0).all()
    wide = select(rows, data="handwriting", width=(512, 1024), labels=10, steps=30)
    assert len(wide) == 5 * 2 * 4  # a net on which the rule does harm says so: tanh alone
    assert {row.nonlinearity for row in wide if row.verdict != "above"} <= {"tanh"}
    assert max(row.width for row in rows) == 10_000 and max(row.depth for row in rows) == 11
    assert all(row.megabytes < 8000 for row in rows if row.width == 10_000)
