"""Two moons pulled apart, and the player of films: numbers computed a second way, every control moved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV

from metarules.base_model import forward
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.evaluation.probe import ALPHAS
from metarules.plots import project, save_gif
from metarules.plots.moons import MoonsFilm, moons_figure
from metarules.pretrained import load_rule
from metarules.studies.moons import HIDDEN, INPUTS, MoonsRun, teach_moons
from metarules.update_rule import UpdateRule
from metarules.widgets.film_player import FilmPlayer

STEPS = 8


@pytest.fixture(scope="module")
def rule() -> UpdateRule:
    return load_rule("local")


@pytest.fixture(scope="module")
def run(rule: UpdateRule) -> MoonsRun:
    return teach_moons(rule, steps=STEPS)


def film_of(run: MoonsRun) -> MoonsFilm:
    return MoonsFilm(
        run.plane, run.points, run.labels, run.steps, run.regions, run.extent, run.labelled, run.accuracies,
        run.input_accuracy,
    )  # fmt: skip


def test_the_numbers_are_the_evaluation_s(run: MoonsRun, rule: UpdateRule):
    assert run.steps == tuple(range(STEPS + 1)) and run.task.n_inputs == INPUTS
    y = run.task.y
    every = []
    for frame in (0, 3, STEPS):
        phi = learned_state(rule, run.task, sizes=(INPUTS, *HIDDEN), steps=frame)
        features = forward(phi, run.task.x).features
        every.append(features)
        assert run.accuracies[frame].tolist() == few_shot_accuracy(features, y, n_splits=10).tolist()
    assert run.input_accuracy == pytest.approx(float(few_shot_accuracy(run.task.x, y, n_splits=10).mean()), abs=1e-12)
    last = project(torch.stack(every).numpy())[-1]
    assert np.allclose(run.points[-1], last, atol=1e-5)


def test_it_really_pulls_them_apart(rule: UpdateRule):
    """Over four base models, each with moons of its own: one alone scatters by two points."""
    runs = [teach_moons(rule, steps=STEPS, frames=1, seed=seed) for seed in range(4)]
    before, after = np.mean([run.accuracies.mean(1) for run in runs], 0)
    assert after > 0.9 > 0.87 > before
    assert np.mean([run.input_accuracy for run in runs]) < 0.87


def test_regions_are_what_the_readout_says(run: MoonsRun, rule: UpdateRule):
    """Ask the read-out at every point itself, and look up the ground it stands on."""
    phi = learned_state(rule, run.task, sizes=(INPUTS, *HIDDEN), steps=STEPS)
    features = forward(phi, run.task.x).features.double().numpy()
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    labels = run.task.y.numpy()
    read_out = RidgeClassifierCV(alphas=ALPHAS).fit(scaled[run.labelled], labels[run.labelled])
    left, right, bottom, top = run.extent
    size = run.regions.shape[-1]
    column = np.rint((run.plane[:, 0] - left) / (right - left) * (size - 1)).astype(int)
    row = np.rint((run.plane[:, 1] - bottom) / (top - bottom) * (size - 1)).astype(int)
    ground = run.regions[-1][row, column]
    # the plane leaves the noise of the other fourteen directions out, so a few points near the boundary may differ
    assert (ground == read_out.predict(scaled)).mean() > 0.96
    assert {0, 1} == set(np.unique(run.regions)) and (run.input_regions != run.regions[-1]).any()


def test_a_straight_line_on_the_inputs_has_a_straight_boundary(run: MoonsRun):
    """Along every row of the ground of the inputs' own read-out the answer changes once at most."""
    assert (np.abs(np.diff(run.input_regions, axis=1)).sum(1) <= 1).all()


def test_two_inputs_are_their_own_plane():
    run = teach_moons(get_rule("hebb"), inputs=2, hidden=(8, 4), steps=7, frames=1)
    assert run.steps == (0, 7)
    assert np.allclose(run.plane, (run.task.x - run.task.x.mean(0)).numpy(), atol=1e-6)


def test_bad_settings_are_answered_with_a_sentence(rule: UpdateRule):
    with pytest.raises(ValueError, match="inputs is 1; allowed"):
        teach_moons(rule, inputs=1)
    with pytest.raises(ValueError, match="steps is 0; allowed"):
        teach_moons(rule, steps=0)
    with pytest.raises(ValueError, match="frames is 0; allowed"):
        teach_moons(rule, frames=0)
    with pytest.raises(ValueError, match="which needs labels; allowed: rules that learn without"):
        teach_moons(get_rule("backprop"))


def test_the_film(run: MoonsRun, tmp_path: Path):
    film = film_of(run)
    assert film.frames == STEPS + 1 and len({film.png(f) for f in range(film.frames)}) == film.frames
    assert f"{run.accuracies[3].mean():.2f}, before learning {run.accuracies[0].mean():.2f}" in film.alt(3)
    assert moons_figure(film, 2) is film.figure and film._corner.get_text() == "step 2"
    path = save_gif(film, tmp_path / "moons.gif", frames=[0, 4, 8])
    with Image.open(path) as image:
        frames: Any = image
        assert frames.n_frames == 3 and path.stat().st_size < 300_000


def test_the_player_moves_the_film(run: MoonsRun):
    player = FilmPlayer(film_of(run), run.steps)
    assert player.step == STEPS and f"inner step {STEPS}." in player.picture.alt
    before = player.picture.value
    assert Image.open(io.BytesIO(before)).width == player.picture.width * 1.5
    player.slider.value = 2
    assert player.step == player.play.value == 2 and player.picture.value == player.film.png(2) != before
    player.play.value = 3
    assert player.step == 3 and f"{run.accuracies[3].mean():.2f}, before" in player.picture.alt
    player.step = 10**6
    assert player.picture.value == before and player.step == STEPS
    player.step = -1
    assert player.step == 0 and repr(player) == "FilmPlayer()"
    data = player._repr_mimebundle_()
    assert Image.open(io.BytesIO(data["image/png"])).size == Image.open(io.BytesIO(before)).size
    with pytest.raises(ValueError, match="steps has 2 entries; allowed: 9"):
        FilmPlayer(film_of(run), [0, 1])


def test_css_classes_of_the_player_are_the_documented_ones(run: MoonsRun):
    player = FilmPlayer(film_of(run), run.steps)
    for widget, name in ((player, "film"), (player.play, "film-play"), (player.slider, "film-slider")):
        assert f"metarules-{name}" in widget._dom_classes and f"`metarules-{name}`" in (FilmPlayer.__doc__ or "")


def test_the_player_takes_uneven_steps(run: MoonsRun):
    player = FilmPlayer(film_of(run), [0, 1, 2, 3, 5, 8, 13, 21, 34])
    player.step = 20
    assert player.step == 13 and player.slider.value == 6
