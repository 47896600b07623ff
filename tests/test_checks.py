"""The helpers that word every error, and files written whole or not at all."""

from __future__ import annotations

import csv
import io
import os

import pytest
import torch

from metarules._checks import check_choice, check_names, check_new_name, check_number, check_tensor
from metarules._files import csv_text, write_atomically


@pytest.mark.parametrize(
    ("value", "options", "error"),
    [
        (True, {}, TypeError),
        ("3", {}, TypeError),
        (2.5, {"integer": True}, TypeError),
        (float("nan"), {}, ValueError),
        (-1, {"low": 0}, ValueError),
        (0, {"low": 0, "low_open": True}, ValueError),
        (11, {"high": 10}, ValueError),
        (float("inf"), {}, ValueError),
    ],
)
def test_check_number_refuses_and_names(value, options, error):
    with pytest.raises(error, match=r"steps is .*; allowed: a"):
        check_number("steps", value, **options)


def test_checks_return_what_is_good():
    assert check_number("lr", 0.5, low=0, high=1) == 0.5
    assert check_choice("rule", "oja", ("hebb", "oja")) == "oja"
    check_names("terms", {"hebb": 1.0}, ("hebb", "oja"))
    x = torch.ones(2, 3)
    assert check_tensor("x", x, min_dims=2, last=3, like=x) is x


def test_names_and_choices_list_what_is_allowed():
    with pytest.raises(ValueError, match="rule is 'x'; allowed: hebb, oja"):
        check_choice("rule", "x", ("oja", "hebb"))
    with pytest.raises(ValueError, match="terms names 'a', 'b'; allowed: hebb"):
        check_names("terms", ("b", "hebb", "a"), ("hebb",))
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got list"):
        check_tensor("x", [1.0])


def test_a_name_is_given_once():
    first = lambda: 1  # noqa: E731
    second = lambda: 2  # noqa: E731
    assert check_new_name("mine", None, dict) == check_new_name("mine", dict, dict) == "mine"
    for name in (3, "", " "):
        with pytest.raises(ValueError, match=f"name is {name!r}; allowed: text that is not empty"):
            check_new_name(name, None, dict)
    for known, new in ((dict, list), (first, second)):
        with pytest.raises(ValueError, match=r"name is 'mine', which .* has already; allowed: another name"):
            check_new_name("mine", known, new)


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.bin"
    write_atomically(path, b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    monkeypatch.undo()
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_table_reads_back_as_it_was():
    rows = [{"lever": "lambda: 10", "set": "a=(1, 2) b=3"}, {"lever": 'said "more"', "set": ""}]
    text = csv_text(rows)
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == rows
    assert "\r" not in text
