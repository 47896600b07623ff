"""Digits drawn by hand: the bitmap against one drawn dot by dot, the pad's controls moved, its reading found again."""

from __future__ import annotations

import math
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifierCV
from widget_changes import css_classes

from metarules.base_model import forward, freeze
from metarules.classic_rules import get_rule
from metarules.evaluation import probe_splits
from metarules.evaluation.probe import ALPHAS
from metarules.plots import EmbeddingFilm, project
from metarules.plots.reading import ReadingFilm
from metarules.studies.drawing import Follower
from metarules.studies.trajectory import Exploration
from metarules.tasks import Task, load_dataset, make_task
from metarules.tasks.drawing import EXAMPLES, bitmap_to_digit, draw_bitmap, drawn_dataset, drawn_digit
from metarules.widgets import DigitPad, InnerLoopExplorer, explore
from metarules.widgets.canvas import Canvas, digit_png
from metarules.widgets.layers import LayersExplorer

ROOT = Path(__file__).resolve().parents[1]
ONE = [[[0.4, 0.3], [0.53, 0.17], [0.5, 0.85]]]

# ---- from strokes to 64 numbers


def near_a_line(x: float, y: float, lines: list[list[tuple[float, float]]], pen: float) -> bool:
    """Whether a point is within a pen's radius of a line, by walking along it in small steps."""
    for line in lines:
        for (x0, y0), (x1, y1) in zip(line, line[1:], strict=False):
            n = max(2, math.ceil(math.hypot(x1 - x0, y1 - y0) / 0.01))
            for i in range(n + 1):
                if math.hypot(x - x0 - (x1 - x0) * i / n, y - y0 - (y1 - y0) * i / n) <= pen:
                    return True
    return False


def test_a_vertical_line_is_a_bar_of_the_usual_darkness():
    bitmap = draw_bitmap([[[0.3, 0.1], [0.3, 0.9]]]).numpy()
    # (to a dot's width) a bar of radius r with round ends, 32 dots high: pi r^2 + 2 r (32 - 2 r) dots, 31 % of 1024
    r = min(np.roots([math.pi - 4, 64, -0.305 * 1024]).real)
    line = [[(16.0, r), (16.0, 32 - r)]]
    for row in range(0, 32, 3):
        for column in range(32):
            x, y = column + 0.5, row + 0.5
            if near_a_line(x, y, line, r - 0.6):
                assert bitmap[row, column], (row, column)
            if not near_a_line(x, y, line, r + 0.6):
                assert not bitmap[row, column], (row, column)


def test_a_slanted_drawing_against_one_drawn_dot_by_dot():
    # a "7" of given box: 40 wide, 60 high; with the pen's radius found by hand from the bitmap's own darkness
    strokes = [[[0, 0], [40, 0], [10, 60]]]
    bitmap = draw_bitmap(strokes).numpy()
    best = 0.0
    for pen in np.arange(1.5, 4.0, 0.05):
        height = 32 - 2 * pen
        width = min(max(40 * height / 60, 20 - 2 * pen), 24 - 2 * pen)
        place = [
            (x / 40 * width + 16 - width / 2, y / 60 * height + 16 - height / 2) for x, y in [(0, 0), (40, 0), (10, 60)]
        ]
        by_hand = np.array(
            [[near_a_line(c + 0.5, r + 0.5, [place], pen) for c in range(0, 32, 4)] for r in range(0, 32, 4)]
        )
        best = max(best, float((by_hand == bitmap[::4, ::4]).mean()))
    assert best > 0.98
    assert bitmap.mean() == pytest.approx(0.305, abs=0.02)


@pytest.mark.parametrize("digit", EXAMPLES)
def test_stored_drawings_look_like_the_digits_they_are(digit: int):
    """By the five nearest of the real digits, pixel by pixel."""
    digits = load_dataset("digits")
    row = drawn_digit(EXAMPLES[digit])
    nearest = ((digits.x - row) ** 2).sum(1).argsort()[:5]
    assert digits.y[nearest].bincount().argmax() == digit
    columns, lines = draw_bitmap(EXAMPLES[digit]).any(0), draw_bitmap(EXAMPLES[digit]).any(1)
    assert lines.all() and 12 <= columns.sum() <= 24
    assert abs(int(columns.float().argmax()) - int(columns.flip(0).float().argmax())) <= 1  # in the middle
    assert row.mean() == pytest.approx(float(digits.x.mean()), abs=0.02)


def test_blocks_are_counted():
    bitmap = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.3
    counts = bitmap_to_digit(bitmap).reshape(8, 8) * 16
    for i in range(8):
        for j in range(8):
            assert counts[i, j] == sum(bool(bitmap[4 * i + a, 4 * j + b]) for a in range(4) for b in range(4))
    for wrong in (bitmap[:16], bitmap.float()):
        with pytest.raises(ValueError, match=r"bitmap has shape .*allowed: \[32, 32\], torch.bool"):
            bitmap_to_digit(wrong)


places = st.floats(-1e3, 1e3).map(lambda v: round(v, 3))


@given(st.lists(st.lists(st.tuples(places, places), min_size=1, max_size=6), min_size=1, max_size=4))
def test_any_drawing_fills_the_height_or_the_width(strokes: Any):
    bitmap = draw_bitmap(strokes)
    lines, columns = bitmap.any(1), bitmap.any(0)
    assert bitmap.any() and columns.sum() <= 26
    assert drawn_digit(strokes).shape == (64,) and 0 <= drawn_digit(strokes).min() <= drawn_digit(strokes).max() <= 1
    points = np.concatenate([np.array(line, dtype=float) for line in strokes])
    # with the thickest pen, 6 dots, a drawing of 20 x 18 still fits the height; a squarer one may fall short of it
    if np.ptp(points[:, 1]) > 20 / 18 * np.ptp(points[:, 0]) > 0:
        assert np.ptp(np.flatnonzero(lines.numpy())) >= 30


@given(st.floats(0.1, 10), st.floats(-5, 5), st.floats(-5, 5))
def test_place_and_size_of_a_drawing_do_not_matter(scale: float, right: float, down: float):
    moved = [[[x * scale + right, y * scale + down] for x, y in line] for line in EXAMPLES[2]]
    assert (drawn_digit(moved) - drawn_digit(EXAMPLES[2])).abs().mean() < 0.005


@pytest.mark.parametrize(
    "strokes", [[], [[]], None, 3, "ab", [[[1, 2, 3]]], [[[float("nan"), 0]]], [[["a", "b"]]], [[1, 2]]]
)
def test_what_is_no_drawing_is_refused(strokes: Any):
    with pytest.raises(ValueError, match=r"strokes.*allowed"):
        draw_bitmap(strokes)


def test_drawings_as_data():
    digits = load_dataset("digits")
    rows = [drawn_digit(EXAMPLES[d]) for d in (7, 4)]
    both = drawn_dataset(rows, [7, 4], digits)
    assert len(both) == 1799 and both.y[-2:].tolist() == [7, 4] and torch.equal(both.x[-2:], torch.stack(rows))
    assert torch.equal(both.x[:1797], digits.x) and both.shape == (8, 8)
    own = drawn_dataset(rows, [7, 4])
    assert len(own) == 2 and own.y.tolist() == [7, 4] and own.n_classes == 10
    with pytest.raises(ValueError, match="rows holds 2 drawings"):
        drawn_dataset(rows, [7])
    with pytest.raises(ValueError, match="y holds class numbers"):
        drawn_dataset(rows, [7, 12])


# ---- following one example


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def exploration(task: Task) -> Exploration:
    return explore(get_rule("hebb_decorrelation"), task, steps=8, sizes=(64, 20, 12))


def scores_again(e: Exploration, frame: int, row: torch.Tensor) -> np.ndarray:
    """The probe by scikit-learn, the statistics by NumPy."""
    assert e.task.permutation is not None
    model = freeze(e.states[frame], e.task.x)
    features = forward(e.states[frame], e.task.x).features.double().numpy()
    new = model(row[e.task.permutation].unsqueeze(0)).double().numpy()
    middle, std = features.mean(0), features.std(0)
    std[std <= 1e-7 * np.abs(features).max(0)] = np.inf
    scores = []
    for labelled in probe_splits(e.task.y, 10, 5).labelled:
        fit = RidgeClassifierCV(alphas=ALPHAS).fit(((features - middle) / std)[labelled], e.task.y[labelled].numpy())
        scores.append(fit.decision_function((new - middle) / std)[0])
    return np.mean(scores, 0)


@pytest.mark.parametrize("digit", [7, 2])
def test_a_drawing_is_read_by_the_probe(exploration: Exploration, digit: int):
    row = drawn_digit(EXAMPLES[digit])
    followed = Follower(exploration).follow(row)
    for frame in (0, 3, 8):
        again = scores_again(exploration, frame, row)
        np.testing.assert_allclose(followed.scores[frame], again, atol=1e-4)
        assert followed.read_as[frame] == again.argmax()


def test_an_example_of_the_data_lies_where_the_data_show_it(exploration: Exploration, task: Task):
    number = int(exploration.dots[5])
    followed = Follower(exploration).follow(load_dataset("digits").x[number])
    np.testing.assert_allclose(followed.points, exploration.points[:, 5], atol=1e-4)
    features = torch.stack([forward(phi, task.x).features for phi in exploration.states]).numpy()
    np.testing.assert_allclose(followed.points, project(features)[:, number], atol=1e-4)


@pytest.mark.parametrize("row", [torch.zeros(63), torch.full((64,), float("nan")), torch.zeros(1, 64)])
def test_rows_that_cannot_be_followed(exploration: Exploration, row: torch.Tensor):
    with pytest.raises(ValueError, match=r"row has shape .*; allowed: \[64\], finite"):
        Follower(exploration).follow(row)


def test_the_star_is_drawn_and_named(exploration: Exploration):
    followed = Follower(exploration).follow(drawn_digit(EXAMPLES[7]))
    labels = exploration.task.y.numpy()[exploration.dots]
    says = [f"read as {c}" for c in followed.read_as]
    plain = EmbeddingFilm(exploration.points, labels, exploration.steps)
    star = EmbeddingFilm(exploration.points, labels, exploration.steps, star=followed.points, star_says=says)
    assert star.png(3) != plain.png(3) and star.alt(3).endswith(
        f"A star marks your drawing: read as {followed.read_as[3]}."
    )
    star.figure_at(2)
    mark, words = star._stars
    assert mark.get_offsets()[0].tolist() == pytest.approx(followed.points[2].tolist())
    assert words.get_text() == f"★ {says[2]}"
    for frame in range(len(says)):  # no label lies over the star, and what is said of it stands beside the dots
        star.figure_at(frame)
        assert words.get_position()[0] < star._small.get_position().x1 < star._axes.get_position().x0
        badges = np.array([badge.get_position() for badge in star._badges])
        gaps = np.linalg.norm(badges - followed.points[frame], axis=1)
        inside = (np.abs(badges - star._inside[0]) > 1e-3).all(1) & (np.abs(badges - star._inside[1]) > 1e-3).all(1)
        assert gaps[inside].min() > 0.9 * star._least


def test_the_nearest_are_found_one_by_one(exploration: Exploration):
    row = drawn_digit(EXAMPLES[4])
    followed = Follower(exploration).follow(row)
    task = exploration.task
    assert task.permutation is not None
    for frame in (0, len(exploration.steps) - 1):
        model = freeze(exploration.states[frame], task.x)
        with torch.no_grad():
            data = model(task.x).double().numpy()
            own = model(row[task.permutation].float()[None]).double().numpy()[0]
        data, own = data - data.mean(0), own - data.mean(0)
        cosines = [float(x @ own / np.linalg.norm(x) / np.linalg.norm(own)) for x in data]
        best = sorted(range(len(data)), key=lambda i: -cosines[i])[:5]
        shown = followed.nearest[frame]
        assert np.allclose([cosines[i] for i in shown], [cosines[i] for i in best], atol=1e-5)
        assert len(set(shown.tolist())) == 5


def test_scores_and_nearest_are_drawn(exploration: Exploration):
    followed, task = Follower(exploration).follow(drawn_digit(EXAMPLES[7])), exploration.task
    film = ReadingFilm(task.image(task.x).numpy(), task.y.numpy(), exploration.steps, 10, 5)
    empty = film.png(3)
    assert "empty" in film.alt(3)
    film.follow(followed.scores, followed.nearest)
    assert film.png(3) != empty and film.png(3) != film.png(0)
    film.figure_at(3)
    heights = [bar.get_height() - 1 for bar in film._bars]
    assert heights == pytest.approx(followed.scores[3].clip(-1, 1.1))
    assert [segment[0, 1] for segment in film._before.get_segments()] == pytest.approx(followed.scores[0].clip(-1, 1.1))
    images = task.image(task.x).numpy()
    shown = [np.asarray(thumb.get_array()) for thumb in film._thumbs]
    for drawn, number in zip(shown, [*followed.nearest[3], *followed.nearest[0]], strict=True):
        assert np.corrcoef(drawn.ravel(), images[number].ravel())[0, 1] == pytest.approx(-1)
    classes = ", ".join(str(int(task.y[i])) for i in followed.nearest[3])
    assert f"are of class {classes}; before learning" in film.alt(3)
    film.follow(None, None)
    assert film.png(3) == empty


# ---- the pad


@pytest.fixture(scope="module")
def explorer(task: Task) -> InnerLoopExplorer:
    return InnerLoopExplorer("hebb_decorrelation", task, rules={"Oja": get_rule("oja")}, steps=8, sizes=(64, 20, 12))


@pytest.fixture
def pad(explorer: InnerLoopExplorer) -> Iterator[DigitPad]:
    made = DigitPad(explorer)
    yield made
    made.explorer.reset_button.click()
    assert made.wait(300)


def button(pad: DigitPad, name: str) -> Any:
    stack: list[Any] = [pad]
    while stack:
        widget = stack.pop()
        if f"metarules-{name}" in widget._dom_classes:
            return widget
        stack += list(getattr(widget, "children", ()))
    raise AssertionError(name)


def test_it_opens_with_an_example_and_says_what_the_probe_says(pad: DigitPad):
    explorer = pad.explorer
    for step in (8, 0, 3):
        pad.slider.value = step
        assert explorer.step == step
        assert pad.row is not None
        scores = scores_again(explorer.exploration, step, pad.row)
        assert pad.read_as == scores.argmax() == int(scores.argsort()[-1])
        second = scores.argsort()[-2]
        assert (
            f"At step {step} your drawing (the star) is read as {pad.read_as}; next best is {second}."
            in pad.status.value
        )
        assert pad.embedding.value == explorer.panels["embedding"].value
        assert f"read as {pad.read_as}" in pad.embedding.alt
        assert (
            f"at inner step {step}, from -1 to 1, the highest three: {pad.read_as} {scores.max():.2f}"
            in pad.reading.alt
        )
    explorer.step = 5
    assert pad.slider.value == 5 and "At step 5" in pad.status.value


def test_the_pad_follows_the_step_that_was_recorded(task: Task):
    explorer = InnerLoopExplorer("hebb", task, steps=200, sizes=(64, 8, 4))
    pad, steps = DigitPad(explorer), explorer.exploration.steps
    assert steps[-1] - steps[-2] > 2
    for asked in (199, steps[-2] + 1, 100):  # from the end, where the last steps are not recorded
        explorer.step = 200
        explorer.slider.value = asked
        assert explorer.step == explorer.slider.value == pad.slider.value <= asked
    pad.slider.value = 0
    assert explorer.step == explorer.slider.value == 0


def test_drawing_clearing_and_examples_move_the_star_alone(pad: DigitPad):
    explorer = pad.explorer
    before = {name: panel.value for name, panel in explorer.panels.items()}
    seen, reading = pad.seen.value, pad.reading.value
    pad.canvas.strokes = ONE
    now = {name: panel.value for name, panel in explorer.panels.items()}
    assert {name for name in now if now[name] != before[name]} == {"embedding"}
    assert pad.seen.value != seen and pad.reading.value != reading
    button(pad, "clear").click()
    assert pad.canvas.strokes == [] and pad.row is None and pad.read_as is None and "empty sheet" in pad.status.value
    assert "star" not in explorer.panels["embedding"].alt
    shown = []
    for _ in range(len(EXAMPLES) + 1):
        button(pad, "example").click()
        shown.append(pad.canvas.strokes)
    assert shown == [*EXAMPLES.values(), EXAMPLES[7]]
    assert {name: panel.value for name, panel in explorer.panels.items()} == before


def test_another_base_model_is_followed_anew(pad: DigitPad):
    explorer = pad.explorer
    explorer.rule_menu.value = "Oja"
    assert pad.wait(300) and explorer.rule_name == "Oja"
    assert pad.row is not None
    frame = len(explorer.exploration.steps) - 1
    assert pad.read_as == scores_again(explorer.exploration, frame, pad.row).argmax()
    assert "star" in explorer.panels["embedding"].alt
    explorer.use(load_dataset("two_moons", n=300))
    assert pad.wait(300) and pad.read_as is None and "no images of 8 by 8" in pad.status.value
    assert pad.reading.layout.display == "none"


def test_drawings_are_kept_and_learned_with(pad: DigitPad):
    button(pad, "learn").click()
    assert "no drawing has been kept" in pad.status.value
    for strokes, digit in ((EXAMPLES[4], 4), (ONE, 1)):
        pad.canvas.strokes = strokes
        pad.meant.value = digit
        button(pad, "keep").click()
    assert "Kept 2 drawing(s): 4, 1" in pad.status.value and pad.canvas.strokes == []
    button(pad, "keep").click()
    assert "there is no drawing to keep" in pad.status.value and len(pad.kept) == 2
    button(pad, "learn").click()
    assert pad.wait(300)
    learned = pad.explorer.exploration.task
    assert learned.n_examples == 1799 and learned.y[-2:].tolist() == [4, 1]
    assert torch.equal(learned.unpermute(learned.x)[-2], drawn_digit(EXAMPLES[4]))
    assert len(pad.dataset(alone=True)) == 2


def test_a_drawing_that_is_none_is_a_sentence(pad: DigitPad):
    pad.canvas.strokes = [[["a"]]]
    assert "This did not work: strokes" in pad.status.value


@pytest.mark.usefixtures("unchecked_types")
def test_the_pad_wants_an_explorer_with_an_embedding(task: Task, explorer: InnerLoopExplorer):
    with pytest.raises(TypeError, match="explorer is 3; allowed: an InnerLoopExplorer"):
        DigitPad(cast(Any, 3))
    with pytest.raises(ValueError, match="allowed: one that shows an embedding"):
        DigitPad(LayersExplorer("hebb_decorrelation", task, steps=2, sizes=(64, 8, 4)))
    with pytest.raises(ValueError, match="strokes holds no points"):
        DigitPad(explorer, [])


def test_css_classes_and_words_for_readers_who_do_not_see(pad: DigitPad):
    documented = DigitPad.__doc__ or ""
    found = css_classes(pad)
    assert found and all(f"`{name}`" in documented for name in found)
    assert "Space puts it down" in pad.canvas.label and pad.seen.alt and pad.embedding.alt
    assert repr(pad) == "DigitPad()" and repr(pad.canvas) == "Canvas()"
    data = pad._repr_mimebundle_()
    assert (data[0] if isinstance(data, tuple) else data)["image/png"].startswith(b"\x89PNG")
    assert len(pad.children[1].children) <= 3  # with the canvas four controls in sight


def test_a_digits_picture_shows_its_pixels():
    import io

    from PIL import Image

    pixels = np.arange(64).reshape(8, 8) / 63
    image = np.asarray(Image.open(io.BytesIO(digit_png(pixels))).convert("L"))
    side = len(image) / 8
    middles = (np.arange(8) * side + side / 2).astype(int)
    np.testing.assert_allclose(image[np.ix_(middles, middles)], 255 * (1 - pixels), atol=1)


def test_the_script_is_packaged():
    """The wheel holds what git does not ignore below metarules/."""
    script = ROOT / "metarules" / "widgets" / "canvas.js"
    assert script.read_text(encoding="utf-8") == Canvas._esm and "http" not in Canvas._esm
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"][0] == "metarules"
    try:
        answer = subprocess.run(
            ["git", "check-ignore", str(script)], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        pytest.skip("git is not installed")
    assert answer.stdout == ""
