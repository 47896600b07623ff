"""Three small real tables that scikit-learn ships, read as a table of one's own is read: every column scaled to 0 .. 1.

Source: UCI "Wine", "Breast Cancer Wisconsin (Diagnostic)" and "Iris", through `sklearn.datasets`. Meta-training never
sees them, and no setting is chosen by them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from metarules.tasks.dataset import Dataset, register
from metarules.tasks.own_data.reading import read_files


@register("wine")
def wine() -> Dataset:
    """178 wines of three growers by 13 measurements, such as alcohol, ash and hue; x [178, 13]."""
    from sklearn.datasets import load_wine  # here, as below: importing scikit-learn takes a second

    return _read("wine", load_wine)


@register("breast_cancer")
def breast_cancer() -> Dataset:
    """569 tumours, malignant or benign, by 30 measurements of their cells' nuclei; x [569, 30]."""
    from sklearn.datasets import load_breast_cancer

    return _read("breast_cancer", load_breast_cancer)


@register("iris")
def iris() -> Dataset:
    """150 flowers of three species by length and width of sepals and petals; x [150, 4]."""
    from sklearn.datasets import load_iris

    return _read("iris", load_iris)


def _read(name: str, load: Callable[[], Any]) -> Dataset:
    found, content = load(), io.BytesIO()
    np.savez(content, x=found.data, y=found.target)
    data = read_files({f"{name}.npz": content.getvalue()})
    scaled = data.reading.partition("; ")[2]  # which of the arrays holds the labels says nothing here
    return replace(data, class_names=tuple(map(str, found.target_names)), reading=scaled)
