"""Claims beside their numbers: printed where they hold, one sentence where they do not."""

from __future__ import annotations

import math

import pytest
import torch

from metarules.exercises import ClaimFailed, claim


@pytest.mark.parametrize(
    ("value", "bounds", "line"),
    [
        (0.364, {"above": 0.15}, "✓ the rise: 0.36, above 0.15\n"),
        (torch.tensor(33.4), {"above": 20, "below": 50}, "✓ the rise: 33, above 20 and below 50\n"),
        (-0.013, {"below": 0, "error": 0.002}, "✓ the rise: -0.013 ± 0.002, below 0\n"),
        (-0.001, {"below": 0.1}, "✓ the rise: 0.00, below 0.1\n"),
        (5, {"above": 1}, "✓ the rise: 5, above 1\n"),
    ],
)
def test_what_holds_is_printed_with_its_number(value, bounds, line: str, capsys: pytest.CaptureFixture[str]):
    claim("the rise", value, **bounds)
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("value", "bounds"),
    [(0.1, {"above": 0.15}), (0.1, {"below": 0.1}), (0.003, {"above": 0, "error": 0.002}), (math.nan, {"above": 0})],
)
def test_what_does_not_hold_is_one_sentence_and_no_traceback(value: float, bounds):
    with pytest.raises(ClaimFailed, match=r"^the rise: .*, not (above|below)") as failed:
        claim("the rise", value, **bounds)
    shown = failed.value._render_traceback_()
    assert len(shown) == 1 and "the rise" in shown[0] and "Traceback" not in shown[0]


def test_a_claim_without_bounds_is_refused():
    with pytest.raises(ValueError, match="above and below are not given"):
        claim("the rise", 0.3)


def test_a_notebook_shows_that_sentence():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shown: list[list[str]] = []
    shell._showtraceback = lambda kind, error, lines: shown.append(lines)  # type: ignore[method-assign]
    try:
        result = shell.run_cell("from metarules.exercises import claim\nclaim('the rise', 0.1, above=0.2)")
    finally:
        InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, ClaimFailed) and len(shown) == 1 and "not above 0.2" in shown[0][0]


@pytest.mark.filterwarnings("error")
def test_a_number_still_in_a_graph_is_claimed_without_a_warning(capsys: pytest.CaptureFixture[str]):
    claim("two", torch.tensor(2.0, requires_grad=True) * 1, above=1)
    assert capsys.readouterr().out == "✓ two: 2.00, above 1\n"
