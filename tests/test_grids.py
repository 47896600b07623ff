"""Grids: a cell is the protocol's number, a stopped command goes on, and what cannot be read says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from metarules.base_model import BaseModelState, Batch
from metarules.evaluation import Protocol, evaluate_baseline, evaluate_rule, grid, grids, paired_difference
from metarules.evaluation.grids import (
    UNTAUGHT,
    Axes,
    GridSettings,
    Net,
    grid_data,
    grid_table,
    measure,
    merged,
    nets,
    read_grid,
    run_grid,
    write_grid,
)
from metarules.pretrained import get_rule
from metarules.update_rule import UpdateRule

SMALL = GridSettings(models=2, splits=4, examples=120)
NET = Net("handwriting", 8, 12, 2, "tanh")
ARGUMENTS = ["--rule", "hebb", "--width", "6", "8", "--depth", "2", "--steps", "3", "--models", "1", "--splits", "3"]
ARGUMENTS += ["--examples", "100", "--labels", "2", "4"]


class Exploding(UpdateRule):
    """Every step multiplies W by infinity."""

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        return phi.map(lambda t: t * math.inf)


def test_a_cell_is_the_protocols_number_beside_the_same_nets_untaught():
    rule, data = get_rule("hebb_decorrelation"), grid_data("handwriting", 8, SMALL)
    rows = measure(NET, {"mine": rule}, ["raw", "backprop"], labels=(2, 5), steps=(3, 8), settings=SMALL)
    found = {(row.method, row.labels, row.steps): row for row in rows}
    assert len(found) == len(rows) == 2 + 4 + 2 + 2
    for labels in (2, 5):
        protocol = Protocol((12, 32), labels, 4, 2, nonlinearity="tanh")
        start = evaluate_rule(rule, "", data, protocol, steps=0)
        assert found[UNTAUGHT, labels, 0].accuracy == start.row.accuracy and found[UNTAUGHT, labels, 0].verdict == ""
        for steps in (3, 8):
            own = evaluate_rule(rule, "", data, protocol, steps=steps)
            row = found["mine", labels, steps]
            assert (row.accuracy, row.stderr) == (own.row.accuracy, own.row.stderr)
            assert (row.above, row.above_stderr) == paired_difference(own.accuracies, start.accuracies)
        assert found["raw", labels, 0].accuracy == evaluate_baseline("raw", data, protocol).row.accuracy
        supervised = get_rule("backprop", n_classes=data.n_classes)
        theirs = found["backprop", labels, supervised.recommended.steps]
        assert theirs.accuracy == evaluate_rule(supervised, "", data, protocol).row.accuracy
    assert rows[0].megabytes >= 0 and "above untaught" in grid_table(rows)


def test_a_rule_that_diverges_says_so_in_its_row():
    rows = measure(NET, {"bad": Exploding()}, labels=(2,), steps=(3,), settings=SMALL)
    assert rows[1].verdict == "diverged" and math.isnan(rows[1].accuracy) and rows[0].accuracy > 0


def test_one_layer_has_no_width_and_a_table_no_size():
    found = nets(Axes(data=("handwriting", "blobs"), size=(8, 14), width=(16, 64), depth=(1, 2)))
    assert len(found) == 2 * 3 + 3 and all(net.width == 32 for net in found if net.depth == 1)
    assert {net.size for net in found if net.data == "blobs"} == {0}
    assert Net("blobs", 0, 64, 3, "relu").hidden == (64, 64, 32)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": (1,)}, "width is 1"),
        ({"depth": ()}, "depth is empty"),
        ({"size": (7,)}, "size is 7"),
        ({"nonlinearity": ("gelu",)}, "nonlinearity names 'gelu'"),
        ({"data": ("digit",)}, "nearest: 'digits'"),
    ],
)
def test_bad_axes_are_named(wrong: dict, words: str):
    with pytest.raises(ValueError, match=words):
        Axes(**wrong)


def test_a_stopped_command_goes_on_and_the_same_table_comes_out(tmp_path: Path, monkeypatch, capsys):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert grid.main([*ARGUMENTS, "--out", str(whole)]) == 0
    real, calls = grids.measure, []

    def once(*given, **how):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **how)

    monkeypatch.setattr(grids, "measure", once)
    assert grid.main([*ARGUMENTS, "--out", str(cut)]) == 130
    assert "stopped after 4 rows" in capsys.readouterr().err and len(read_grid(cut)) == 4
    assert grid.main([*ARGUMENTS, "--out", str(cut)]) == 0 and len(calls) == 3
    assert grid.main([*ARGUMENTS, "--out", str(cut)]) == 0 and len(calls) == 3  # nothing left to do
    same = [[replace(row, seconds=0.0, megabytes=0) for row in read_grid(path)] for path in (whole, cut)]
    assert list(map(str, same[0])) == list(map(str, same[1])) and len(same[0]) == 8
    assert "[0%] handwriting 8x8, 6-32, relu" in capsys.readouterr().err


def test_a_new_theta_takes_the_place_of_the_old(tmp_path: Path):
    rows = measure(NET, {"mine": get_rule("hebb")}, labels=(2,), steps=(1,), settings=SMALL)
    write_grid(tmp_path / "grid.csv", rows)
    back = read_grid(tmp_path / "grid.csv")
    assert [row.key for row in back] == [row.key for row in rows]
    other = [replace(row, mark="another", accuracy=0.5) for row in rows[1:]]
    assert [row.mark for row in merged(rows, other)] == ["", "another"]
    axes = Axes(width=(12,), depth=(2,), nonlinearity=("tanh",), labels=(2,), steps=(1,))
    (again,) = run_grid(axes, {"mine": get_rule("hebb")}, settings=SMALL, known=merged(rows, other))
    assert again[1].accuracy == rows[1].accuracy  # by this theta, taught anew
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other\.csv cannot be read"):
        read_grid(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--width", "1"], "width is 1"),
        (["--against", "kmeans_46"], "nearest: 'kmeans_64'"),
        (["--splits", "1"], "--splits is 1"),
        (["--labels", "60", "--examples", "100"], "labels_per_class is 60"),
    ],
)
def test_bad_arguments_are_answered(words: list[str], said: str, capsys):
    assert grid.main(["--rule", "hebb", "--steps", "1", *words]) == 2
    assert said in capsys.readouterr().err
