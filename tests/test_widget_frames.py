"""Moving through an explorer's frames: play and its pace, clicks on curves; its pictures as files; aligned planes."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from widget_changes import pictures

from metarules.plots import AccuracyFilm
from metarules.plots.film import Film
from metarules.studies.planes import each_turned_to_the_last, turned_to
from metarules.studies.trajectory import early_steps
from metarules.tasks import Task, load_dataset, make_task
from metarules.widgets import InnerLoopExplorer
from metarules.widgets.frames import dwell

STEPS = 60  # more than frames, so that some steps are not recorded


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def explorer(task: Task) -> InnerLoopExplorer:
    return InnerLoopExplorer("hebb", task, steps=STEPS, sizes=(64, 8, 4))


def test_play_runs_over_frames_and_begins_slowly(explorer: InnerLoopExplorer):
    places = early_steps(STEPS)
    assert explorer.play.max == len(places) - 1 and explorer.exploration.steps == places
    waits = []
    for frame in (0, 1, 2, 8, len(places) - 1):
        explorer.play.value = frame
        assert explorer.step == explorer.slider.value == places[frame]
        waits.append(explorer.play.interval)
    assert waits == [600, 550, 500, 200, 200]
    explorer.speed_menu.value = 2.0  # half the speed
    explorer.play.value = 0
    assert explorer.play.interval == 2 * 600
    explorer.speed_menu.value = 0.5
    assert explorer.play.interval == 300, "at once"
    explorer.reset_button.click()
    assert explorer.speed_menu.value == 1.0 and explorer.play.interval == 200 and explorer.step == STEPS
    assert [dwell(frame) for frame in (0, 4, 8, 100)] == [3, 2, 1, 1]


def test_keys_faster_than_pictures_go_one_way(task: Task, monkeypatch: pytest.MonkeyPatch):
    explorer = InnerLoopExplorer("hebb", task, steps=200, sizes=(64, 8, 4))
    seen = [explorer.step]
    for key in (199, 198, 197, 196):  # sent before the page heard that 199 means the step recorded before it
        explorer.slider.value = key
        seen.append(explorer.step)
        assert explorer.slider.value == explorer.step
    assert seen[1] < 196 and seen[1:] == [seen[1]] * 4
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1)
    explorer.slider.value = 197  # a second later it is a move of its own
    assert explorer.step == 200


def place_of(film: AccuracyFilm, frame: int) -> tuple[float, float]:
    """Where the mark of a frame is drawn, in shares of the picture."""
    (axes, steps) = film.step_axes or pytest.fail("no axis of steps")
    x, y = film.figure.transFigure.inverted().transform(
        axes.transData.transform((steps[frame], float(film.mean[frame])))
    )
    return float(x), float(1 - y)


@pytest.mark.parametrize("frame", [0, 3, 20, 50])
def test_a_click_on_a_curve_goes_to_its_step(explorer: InnerLoopExplorer, frame: int):
    explorer.reset()
    film = explorer.film(explorer._view, "accuracy")
    assert isinstance(film, AccuracyFilm) and explorer.panels["accuracy"].clickable
    explorer.play.playing = True
    explorer.panels["accuracy"].clicked = [*place_of(film, frame), 1.0 + frame]
    assert explorer.step == explorer.exploration.steps[frame] and not explorer.play.playing
    explorer.panels["accuracy"].clicked = [0.5, 0.02, 2.0]  # the heading
    assert explorer.step == explorer.exploration.steps[frame]


def test_even_steps_have_an_even_axis():
    accuracies = np.linspace(0.1, 0.9, 8)[:, None]
    even = AccuracyFilm(accuracies, range(0, 16, 2), {})
    uneven = AccuracyFilm(accuracies, early_steps(100, 7), {})
    for film, middle in ((even, 0.5), (uneven, 0.25)):
        axes, steps = film.step_axes or pytest.fail("no axis of steps")
        left, at, right = axes.transData.transform([(s, 0.5) for s in (0, middle * steps[-1], steps[-1])])[:, 0]
        assert at == pytest.approx((left + right) / 2), "a quarter of the steps is half-way up a square root"
        assert steps[0] > axes.get_xlim()[0] and steps[-1] < axes.get_xlim()[1]
    assert "wider at the start" in uneven.step_axes[0].get_xlabel()  # type: ignore[index]
    assert "wider" not in even.step_axes[0].get_xlabel()  # type: ignore[index]


def test_pictures_are_saved(explorer: InnerLoopExplorer, tmp_path: Path):
    explorer.reset()
    explorer.step = 3
    before = pictures(explorer)
    explorer.save_panel.value = "accuracy"
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.SVG", b"<?xml"), ("a.gif", b"GIF89a")):
        explorer.save_name.value = str(tmp_path / "new" / name)
        explorer.save_button.click()
        assert explorer.wait(300) and f"Wrote {name}: " in explorer.status.value
        assert (tmp_path / "new" / name).read_bytes().startswith(begins)
    assert (tmp_path / "new" / "a.png").read_bytes() == before["accuracy"] == pictures(explorer)["accuracy"]
    words = (tmp_path / "new" / "a.svg").read_text()
    assert f"{explorer.accuracy:.2f} at step 3" in words and words == (tmp_path / "new" / "a.SVG").read_text()
    with Image.open(tmp_path / "new" / "a.gif") as gif:
        assert gif.n_frames == len(explorer.exploration.steps)  # type: ignore[attr-defined]
    explorer.save_name.value = str(tmp_path / "a.mp4")
    explorer.save_button.click()
    assert explorer.wait(300) and "allowed: .gif, .png, .svg" in explorer.status.value
    explorer.reset()
    assert (explorer.save_panel.value, explorer.save_name.value) == ("embedding", "embedding.png")


def test_after_a_vector_picture_a_film_draws_as_before():
    film: Film = AccuracyFilm(np.linspace(0.1, 0.9, 5)[:, None], range(5), {})
    other: Film = AccuracyFilm(np.linspace(0.1, 0.9, 5)[:, None], range(5), {})
    film.svg(2)
    assert film.png(1) == other.png(1)
    film.svg(3)
    assert film.png(4) == other.png(4) and Image.open(io.BytesIO(film.png(4))).size == (675, 495)


# ---- planes that are turned to each other


def test_what_is_only_turned_does_not_seem_to_move(generator: torch.Generator):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points, turn = rng.normal(size=(3, 30, 2)) + 2, np.linalg.qr(rng.normal(size=(2, 2)))[0]
        first, second, third = each_turned_to_the_last([points, points @ turn + 5, 0.5 * points @ turn.T])
        assert np.allclose(first, points)
        for cloud, scale in ((second, 1.0), (third, 0.5)):
            gap = (cloud - scale * points)[-1]
            assert np.allclose(gap, gap[0]), "the same cloud, but for where its middle is"


def test_turning_leaves_distances_and_no_other_turn_is_nearer():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points, others = rng.normal(size=(2, 40, 2)), rng.normal(size=(1, 40, 2))
        points[-1] += others[-1] @ rng.normal(size=(2, 2))
        turned = turned_to(points, others)
        for before, after in zip(points, turned, strict=True):
            assert np.allclose(*(np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (before, after)))

        def moved(cloud: np.ndarray, others: np.ndarray = others) -> float:
            gap = (cloud - cloud.mean(0)) - (others[-1] - others[-1].mean(0))
            return float((gap**2).sum())

        for angle in np.linspace(0, 2 * np.pi, 25):
            c, s = np.cos(angle), np.sin(angle)
            for mirror in (1, -1):
                other_way = points[-1] @ np.array([[c, mirror * s], [-s, mirror * c]])
                assert moved(turned[-1]) <= moved(other_way) + 1e-9
