"""Lesson 6's pictures: what they draw is what they were given, and they refuse what they cannot draw."""

from __future__ import annotations

import numpy as np
import pytest

from metarules.plots.answering_filters import AnsweringFiltersFilm
from metarules.plots.layer_accuracy import LayerAccuracyFilm
from metarules.plots.learning_curves import learning_curves_figure
from metarules.plots.neighbours import NeighboursFilm
from metarules.studies.planes import directions, nearest_alike


def test_curves_are_drawn_over_the_root_of_the_steps():
    runs = np.array([[0.5, 0.6], [0.7, 0.9], [0.8, 0.8]])
    figure = learning_curves_figure({"one": ([0, 25, 100], runs), "two": ([0, 4], np.array([0.4, 0.3]))}, {"raw": 0.88})
    (axes,) = figure.axes
    one, two, level = axes.get_lines()
    assert np.allclose(one.get_xdata(), [0, 5, 10]) and np.allclose(one.get_ydata(), [0.55, 0.8, 0.8])
    assert np.allclose(two.get_xdata(), [0, 2]) and np.allclose(two.get_ydata(), [0.4, 0.3])
    assert np.allclose(level.get_ydata(), 0.88) and axes.get_ylim() == (0.2, 1.0)
    words = [text.get_text() for text in figure.texts]
    assert {"one 0.80", "two 0.30", "raw 0.88"} <= set(words)
    heights = sorted(text.get_position()[1] * 3.3 for text in figure.texts if text.get_text()[-1].isdigit())
    assert min(np.diff(heights)) > 0.18, "labels do not run into each other"


def test_curves_refuse_with_a_sentence():
    values = np.zeros(3)
    with pytest.raises(ValueError, match="curves has 0 entries; allowed: 1 to 4"):
        learning_curves_figure({})
    with pytest.raises(ValueError, match="curves has 5 entries"):
        learning_curves_figure({str(i): ([1, 2, 3], values) for i in range(5)})
    with pytest.raises(ValueError, match=r"curves\['a'\] has 2 steps for 3 accuracies"):
        learning_curves_figure({"a": ([1, 2], values)})


@pytest.mark.parametrize("shape", [(4, 4), (3, 6)])
def test_outlines_stand_around_the_filters_that_answer_most(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    filters, answers = rng.normal(size=(2, 10, *shape)), rng.normal(size=(2, 5, 10))
    film = AnsweringFiltersFilm(filters, (0, 1), answers)
    film.follow(3)
    film.figure_at(1)
    order = np.argsort(-answers[1, 3])
    sheet = film._sheet(1)
    for k, line in zip(order, film._outlines, strict=False):
        if answers[1, 3, k] <= 0:
            assert len(line.get_xdata()) == 0
            continue
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        inside = sheet[int(y.min() + 1) : int(y.max()), int(x.min() + 1) : int(x.max())]
        assert np.allclose(inside, filters[1, k] / np.abs(filters[1, k]).max())
    assert f"number {order[0] + 1}" in film.alt(1)


def test_outlines_of_a_matrix_are_its_columns():
    film = AnsweringFiltersFilm(np.ones((1, 1, 3, 4)), (0,), np.array([[[0.0, 2.0, 0.0, 1.0]]]))
    film.figure_at(0)
    assert film.strongest(0) == [1, 3]
    first, second, none = film._outlines
    assert (min(first.get_xdata()), max(first.get_xdata())) == (0.5, 1.5)
    assert (min(second.get_xdata()), max(second.get_xdata())) == (2.5, 3.5) and len(none.get_xdata()) == 0


def test_directions_have_cosines_of_centred_rows():
    x = np.random.default_rng(2).normal(size=(8, 3)) + 5
    expected = np.corrcoef(np.eye(8) @ (x - x.mean(0)))  # rows less their own mean: another thing
    d = directions(x)
    centred = x - x.mean(0)
    by_hand = centred @ centred.T / np.outer(np.linalg.norm(centred, axis=1), np.linalg.norm(centred, axis=1))
    assert np.allclose(d @ d.T, by_hand) and not np.allclose(by_hand, expected)
    assert np.isfinite(directions(np.ones((4, 2)))).all()


def test_counts_of_all_rows_are_those_of_the_film():
    x, labels = np.random.default_rng(4).normal(size=(1, 30, 4)), np.arange(30) % 3
    film = NeighboursFilm([x], labels, (0,))
    counts = nearest_alike(x[0], labels)
    for dot in range(30):
        film.follow(dot)
        assert film.alike(0) == [counts[dot]]


def test_thumbnails_are_the_images_and_frames_mark_another_class():
    images = np.arange(5 * 4).reshape(5, 2, 2) / 20.0
    x = np.eye(5)[None] + 0.1
    film = NeighboursFilm([x], np.array([0, 0, 1, 1, 1]), (0,), images)
    film.figure_at(0)
    sheet = np.asarray(film._table.get_array())
    height, width = film._cell
    for k, dot in enumerate(film.nearest(0)[0]):
        cell = sheet[:height, k * width : (k + 1) * width]
        grey = 1 - (images[dot] - images.min()) / (images.max() - images.min())
        top, left = (height - 8) // 2, (width - 8) // 2
        assert np.allclose(cell[top : top + 8, left : left + 8, 0], np.kron(grey, np.ones((4, 4))))
        framed = not np.allclose(cell[top - 2, left : left + 8], 1.0)
        assert framed == (dot >= 2), "class 1 is another class than that of dot 0"
    assert film.alike(0) == [1] and "of class 0" in film.alt(0)


def test_the_class_curve_is_that_of_the_followed_class():
    rng = np.random.default_rng(3)
    layers, classes = rng.uniform(0.5, 1, (4, 3)), rng.uniform(0.5, 1, (4, 5))
    film = LayerAccuracyFilm(layers, classes, (0, 2, 4, 6))
    film.follow(3)
    film.figure_at(2)
    assert np.allclose(film._class.get_ydata(), classes[:3, 3]) and np.allclose(film._past.get_ydata(), layers[:3, -1])
    said = {label.get_text() for label in film._labels}
    assert said == {
        f"{layers[2, 0]:.2f} inputs", f"{layers[2, 1]:.2f} layer 1", f"{layers[2, 2]:.2f} layer 2",
        f"{classes[2, 3]:.2f} class 3",
    }  # fmt: skip
