"""The helpers that word every error, and files written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metarules import _files
from metarules._checks import check_choice, check_names, check_new_name, check_number, check_tensor
from metarules._files import csv_text, remove_leftovers, write_atomically


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes, links and devices")
def test_a_file_gets_the_umasks_mode_and_keeps_its_own(tmp_path, monkeypatch):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "private", b"1")
        os.umask(0o002)
        write_atomically(tmp_path / "shared", b"1")
    finally:
        os.umask(before)
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("private", "shared")] == ["0o600", "0o664"]
    (tmp_path / "private").chmod(0o640)
    write_atomically(tmp_path / "private", b"2")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to("shared")
    write_atomically(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "shared").read_bytes() == b"2"
    write_atomically(Path("/dev/null"), b"3")
    assert Path("/dev/null").is_char_device()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_atomically(Path("~/mine"), b"4")
    assert (tmp_path / "mine").read_bytes() == b"4" and not (tmp_path / "~").exists()


def test_file_systems_without_modes_and_syncs_do(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuses)
    monkeypatch.setattr(os, "chmod", refuses)
    for content in (b"old", b"new"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content


def test_what_killed_processes_left_is_removed(tmp_path):
    names = [".file.0123abcd.tmp", ".file.89abcdef.tmp", ".other.0123abcd.tmp", ".file.mine.tmp", "file.0123abcd.tmp"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / names[0], (0, 0))
    write_atomically(tmp_path / "file", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file", *names[1:]])  # the second may be in the making
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".file.mine.tmp", "file", "file.0123abcd.tmp"]


def test_a_reader_that_has_gone_is_no_error():
    code = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('f', sys.argv[1]); f = u.module_from_spec(s); "
    )
    code += "s.loader.exec_module(f); [f.print_whole('x' * 9999) for _ in range(99)]; sys.exit(3)"
    words = [sys.executable, "-c", code, _files.__file__]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 3


def test_a_table_reads_back_as_it_was():
    rows = [{"lever": "lambda: 10", "set": "a=(1, 2) b=3"}, {"lever": 'said "more"', "set": ""}]
    text = csv_text(rows)
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == rows
    assert "\r" not in text
