"""Rows, standard errors, paired differences, the text table and its JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from metarules.evaluation import Results, Row, cli, make_result, mean_and_stderr, mean_ranks, paired_difference
from metarules.evaluation.results import verdict

FIELDS = ["data", "representation", "dim", "labels_per_class", "accuracy", "stderr", "n", "seconds"]


def accuracies(models: int = 4, splits: int = 10, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(models, splits, generator=g, dtype=torch.float64)


def example() -> Results:
    """Two rows: `better` lies above `worse` by 0.1 on every split."""
    worse = accuracies() * 0.5
    first = make_result("digits", "better", 32, 10, worse + 0.1, 0.5)
    second = make_result("digits", "worse", 64, 10, worse[:1], 0.25)
    return Results((first, second), {"seed": 0}, {"oja": "it diverged"})


def test_stderr_is_over_splits_of_the_means_over_models():
    a = accuracies()
    mean, stderr = mean_and_stderr(a)
    per_split = a.numpy().mean(axis=0)
    assert mean == pytest.approx(a.numpy().mean())
    assert stderr == pytest.approx(np.std(per_split, ddof=1) / math.sqrt(10))


def test_paired_difference_cancels_what_splits_share():
    a = accuracies()
    mean, stderr = paired_difference(a + 0.25, a)
    assert mean == pytest.approx(0.25) and stderr == pytest.approx(0, abs=1e-12)
    b = accuracies(models=1, seed=1)
    mean, stderr = paired_difference(a, b)
    d = a.numpy().mean(axis=0) - b.numpy()[0]
    assert mean == pytest.approx(d.mean()) and stderr == pytest.approx(np.std(d, ddof=1) / math.sqrt(10))


@pytest.mark.parametrize(
    ("difference", "stderr", "wanted"),
    [(0.03, 0.01, "above"), (-0.03, 0.01, "below"), (0.019, 0.01, "level"), (-0.019, 0.01, "level"), (0, 0, "level")],
)
def test_above_means_by_more_than_two_standard_errors(difference: float, stderr: float, wanted: str):
    assert verdict(float(difference), float(stderr)) == wanted


def test_a_row_counts_all_accuracies():
    row = example().rows[0]
    assert list(asdict(row)) == FIELDS
    assert (row.data, row.representation, row.dim, row.labels_per_class, row.n) == ("digits", "better", 32, 10, 40)


def test_table_is_aligned_and_holds_every_row():
    lines = example().table().splitlines()
    assert lines[0].split() == FIELDS
    assert [line.split()[1] for line in lines[1:]] == ["better", "worse"]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split()[4] == f"{example().rows[0].accuracy:.4f}"


def test_comparison_names_the_verdict():
    lines = example().comparison("better").splitlines()
    assert len(lines) == 2 and lines[1].startswith("better - worse") and lines[1].split()[-1] in ("above", "level")


def test_json_round_trip(tmp_path: Path):
    path = tmp_path / "deeper" / "results.json"
    results = example()
    results.write_json(path)
    found = json.loads(path.read_text())
    assert list(found) == ["rows", "accuracies", "settings", "skipped", "versions"]
    assert [list(row) for row in found["rows"]] == [FIELDS, FIELDS]
    assert set(found["versions"]) == {"python", "metarules", "torch", "numpy", "scikit-learn"}
    back = Results.read_json(path)
    assert back.rows == results.rows and back.settings == {"seed": 0} and back.skipped == {"oja": "it diverged"}
    for a, b in zip(back.results, results.results, strict=True):
        torch.testing.assert_close(a.accuracies, b.accuracies, atol=1e-6, rtol=0)
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "results.json"
    example().write_json(path)
    before = path.read_bytes()
    broken = Results(example().results, {"net": object()})
    with pytest.raises(TypeError):
        broken.write_json(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": []}', '{"rows": [{"data": 1}], "accuracies": []}'])
def test_files_that_are_not_results_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json cannot be read .*allowed: a file written by Results\.write_json"):
        Results.read_json(path)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Results.read_json(tmp_path / "none.json")


def test_an_unknown_representation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="representation is 'best'; allowed: better, worse"):
        example()["best"]
    assert isinstance(example()["worse"].row, Row)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.ones(5), ValueError, r"accuracies has shape \[5\]; allowed"),
        (torch.ones(4, 1), ValueError, r"accuracies has shape \[4, 1\]; allowed: .* at least two splits"),
        (torch.ones(2, 3, 4), ValueError, r"accuracies has shape \[2, 3, 4\]; allowed"),
        (torch.full((2, 3), torch.nan), ValueError, "accuracies holds 6 NaN"),
        (torch.ones(2, 3).int(), TypeError, "accuracies has dtype torch.int32"),
    ],
)
def test_accuracies_of_another_form_are_refused(bad: torch.Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make_result("digits", "odd", 32, 10, bad)


def test_only_the_same_splits_can_be_paired():
    with pytest.raises(ValueError, match=r"b has shape \[4, 9\]; allowed: \[models, 10\], the splits of a"):
        paired_difference(accuracies(), accuracies(splits=9))


def results(data: str, **means: float) -> Results:
    return Results(tuple(make_result(data, k, 3, 10, torch.full((1, 2), v)) for k, v in means.items()))


def test_ranks_of_files_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results("a", x=0.9, y=0.8).write_json(tmp_path / "a.json")
    results("b", y=0.9, x=0.5).write_json(tmp_path / "b.json")
    results("c", z=0.9).write_json(tmp_path / "c.json")
    a, b, c = (str(tmp_path / f"{name}.json") for name in "abc")
    assert cli.main(["--rank", a]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["x", "1.00", "0.9000"],
        ["y", "2.00", "0.8000"],
    ]
    assert cli.main(["--rank", a, b]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["representation", "mean", "rank", "a", "b"]
    assert [line.split()[1] for line in lines] == ["1.50", "1.50"]
    for files, said in (([a, c], "no representation in common"), ([a, a], "different data sets"), (["no"], "No such")):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["--rank", *files])
        assert said in capsys.readouterr().err


def test_mean_ranks_over_data_sets():
    found = mean_ranks([results("a", x=0.9, y=0.8, z=0.1), results("b", y=0.7, x=0.7), results("c", x=0.1, y=0.2)])
    assert found == pytest.approx({"y": (2 + 1.5 + 1) / 3, "x": (1 + 1.5 + 2) / 3})
    with pytest.raises(ValueError, match="found is empty"):
        mean_ranks([])
