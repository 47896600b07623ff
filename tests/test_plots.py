"""Pictures: colours that stay apart, text that reads and does not overlap, numbers in the right place, stable bytes."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from faint import hidden_ticks
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from sklearn.decomposition import PCA

from metarules.plots import (
    IDEA_ALT,
    AccuracyFilm,
    AlignmentFilm,
    EmbeddingFilm,
    Film,
    FilterFilm,
    accuracy_figure,
    alignment_figure,
    class_colour,
    class_marker,
    contrast,
    embedding_figure,
    examples_figure,
    figure_to_png,
    filter_figure,
    idea_figure,
    mosaic,
    project,
    ranking_figure,
    style,
)
from metarules.plots.__main__ import main
from metarules.plots.embedding import separation
from metarules.plots.filters import smoothness
from metarules.tasks import Task, load_dataset, make_task

STEPS = (0, 10, 20, 30)
GROUNDS = (style.PAPER, "#eef5fb", "#f6eff9")  # paper, and the two rooms of the idea


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def films(spread: float = 1.0) -> dict[str, Film]:
    labels = np.arange(200) % 10
    points = spread * numbers(4, 200, 2) + numbers(10, 2, seed=1)[labels]
    cosines = np.linspace([0.02, -0.05, 0.0], [0.99, 0.98, -0.9], 4)
    shares = np.linspace(0.55, 0.9, 4)[:, None] + 0.01 * numbers(4, 5)
    baselines = {"raw\npixels": 0.88, "before\nlearning": 0.87}
    return {
        "embedding": EmbeddingFilm(points, labels, STEPS),
        "uncoloured": EmbeddingFilm(points, labels, STEPS, coloured=False, noun="example"),
        "filters": FilterFilm(numbers(4, 32, 8, 8), STEPS),
        "many": FilterFilm(numbers(4, 512, 8, 8), STEPS, common_scale=True),
        "matrix": FilterFilm(numbers(4, 1, 2, 32), STEPS),
        "alignment": AlignmentFilm(cosines, numbers(4, 32, 16), numbers(4, 32, 16), STEPS, 2),
        "unchanged": AlignmentFilm(cosines, numbers(4, 32, 16), numbers(4, 32, 16), STEPS, 3, changes_V=False),
        "accuracy": AccuracyFilm(shares, STEPS, baselines),
    }


# ---- colours


def linear(colours: list[str]) -> np.ndarray:
    rgb = np.array([to_rgb(c) for c in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = rgb @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """Colour difference, Sharma, Wu and Dalal, Color Research and Application 30 (2005)."""
    (L1, a1, b1), (L2, a2, b2) = one, other
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 1 + 0.5 * (1 - np.sqrt(c7 / (c7 + 25**7)))
    C1, C2 = np.hypot(g * a1, b1), np.hypot(g * a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, g * a1)) % 360, np.degrees(np.arctan2(b2, g * a2)) % 360
    dh = (h2 - h1 + 180) % 360 - 180 if C1 * C2 else 0.0
    dH = 2 * np.sqrt(C1 * C2) * np.sin(np.radians(dh / 2))
    h = (h1 + h2) / 2 if abs(h1 - h2) <= 180 else (h1 + h2 + 360) / 2 % 360
    if C1 * C2 == 0:
        h = h1 + h2
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    wave = [(-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63)]
    T = 1 + sum(k * np.cos(np.radians(n * h + s)) for k, n, s in wave)
    SL = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    SC, SH = 1 + 0.045 * C, 1 + 0.015 * C * T
    RC = 2 * np.sqrt(C**7 / (C**7 + 25**7))
    RT = -np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))) * RC
    x, y, z = (L2 - L1) / SL, (C2 - C1) / SC, dH / SH
    return float(np.sqrt(x * x + y * y + z * z + RT * y * z))


def test_the_colour_difference_itself():
    """Two pairs out of the table in Sharma et al. (2005), and white against black."""
    assert ciede2000(np.array([50, 2.6772, -79.7751]), np.array([50, 0, -82.7485])) == pytest.approx(2.0425, abs=1e-4)
    assert ciede2000(np.array([22.7233, 20.0904, -46.6940]), np.array([23.0331, 14.9730, -42.5619])) == pytest.approx(
        2.0373, abs=1e-4
    )
    assert ciede2000(*lab(linear(["white", "black"]))) == pytest.approx(100, abs=1e-3)


# Machado, Oliveira and Fernandes, IEEE Trans. Visualization and Computer Graphics 15 (2009), severity 1.0
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_class_colours_stay_apart(vision: str):
    seen = lab(np.clip(linear([*style.CLASS_COLOURS, style.PAPER]) @ np.array(VISIONS[vision]).T, 0, 1))
    nearest = min((ciede2000(a, b), i, j) for (i, a), (j, b) in itertools.combinations(enumerate(seen), 2))
    assert nearest[0] >= 16, nearest


@pytest.mark.parametrize("vision", VISIONS)
def test_forward_backward_and_outer_stay_apart(vision: str):
    seen = lab(np.clip(linear([style.FORWARD, style.BACKWARD, style.OUTER]) @ np.array(VISIONS[vision]).T, 0, 1))
    assert min(ciede2000(a, b) for a, b in itertools.combinations(seen, 2)) >= 16


def test_no_two_classes_look_the_same():
    looks = [(class_colour(i), class_marker(i)) for i in range(60)]
    assert len(set(looks)) == 60


def test_contrast_of_text():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)
    for text, ground in itertools.product(
        (style.INK, style.MUTED, style.FORWARD, style.BACKWARD, style.OUTER), GROUNDS
    ):
        assert contrast(text, ground) >= 4.5, (text, ground)
    for ground in style.CLASS_COLOURS:
        assert contrast(style.text_on(ground), ground) >= 4.5


# ---- layout


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """All texts that show, with the room they take in pixels."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found, hidden = [], hidden_ticks(figure)
    for text in figure.findobj(Text):
        words, box = text.get_text().strip(), text.get_window_extent(renderer)
        if not words or not text.get_visible():
            continue
        if text not in hidden:
            found.append((words, box))
    return found


def check_layout(figure: Figure) -> None:
    """No text over another, none cut by the edge, none too small to read."""
    found = texts_of(figure)
    assert found
    width, height = figure.canvas.get_width_height()
    for words, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{words!r} is cut: {box}"
    for (a, box), (b, other) in itertools.combinations(found, 2):
        assert not box.padded(-1).overlaps(other.padded(-1)), f"{a!r} overlaps {b!r}"
    assert min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text()) >= style.SMALL


@pytest.mark.parametrize("frame", [0, 3])
@pytest.mark.parametrize("name", films())
def test_no_label_overlaps_another(name: str, frame: int):
    check_layout(films()[name].figure_at(frame))


def test_no_label_overlaps_another_where_classes_coincide():
    film = films(spread=0.01)["embedding"]
    film.points[:] *= 0.05
    film.points[0, 0] = 40.0  # one far off makes the square large and the centres near
    figure = film.figure_at(1)
    check_layout(figure)


@pytest.mark.parametrize("values", [(0.88, 0.88), (0.62, 0.88), (0.99, 1.0), (0.1, 0.1)])
def test_baseline_labels_keep_apart(values: tuple[float, float]):
    check_layout(
        accuracy_figure(
            numbers(4, 5) * 0.01 + 0.7, STEPS, dict(zip(["raw\npixels", "before\nlearning"], values, strict=True))
        )
    )


def test_idea_has_room_for_every_word():
    figure = idea_figure()
    check_layout(figure)
    words = " ".join(words for words, _ in texts_of(figure))
    for name in (
        "Inner loop",
        "Outer loop",
        "update\nnetwork",
        "meta-objective",
        "$W^3$",
        "$V^1$",
        r"\theta",
        r"\delta",
    ):
        assert name in words
    assert len(IDEA_ALT) > 200
    with pytest.raises(ValueError, match=r"image has 1 dimensions; allowed: 2"):
        idea_figure(np.zeros(64))


def test_idea_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "new" / "idea.png"
    assert main(["idea", str(out)]) == 0
    first = out.read_bytes()
    assert Image.open(io.BytesIO(first)).size == (920 * style.SHARP, 540 * style.SHARP)
    assert "wrote" in capsys.readouterr().out
    main(["idea", str(out)])
    assert out.read_bytes() == first
    with pytest.raises(SystemExit):
        main(["idea", str(tmp_path / "idea.jpg")])
    assert "allowed: a name ending in .png" in capsys.readouterr().err


def test_pyplot_is_never_touched():
    code = "import sys, metarules.plots, metarules.widgets; print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


# ---- films


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("name", films())
def test_a_film_shows_each_frame_as_the_figure_does(name: str):
    film = films()[name]
    order = [3, 0, 2, 1, 3]  # whatever was shown before must leave no trace
    pngs = [film.png(frame) for frame in order]
    assert pngs[0] is pngs[-1]
    for frame, png in zip(order, pngs, strict=True):
        drawn = pixels(figure_to_png(films()[name].figure_at(frame)))
        # to rounding: a stamp's soft edges are blended once more
        assert np.abs(pixels(png).astype(int) - drawn).max() <= (2 if name == "embedding" else 0)
    assert len({film.png(frame) for frame in range(4)}) == 4
    assert pixels(pngs[0]).shape == (330 * style.SHARP, 450 * style.SHARP, 3)


@pytest.mark.parametrize(
    ("wanted", "limits", "placed"),
    [
        ([1, 2, 5], {}, [1, 2, 5]),
        ([1, 1.2, 1.3], {}, [1, 2, 3]),
        ([-3, 4.8, 4.9], {"low": 0, "high": 5}, [0, 4, 5]),
        ([4.9, 4.9, 4.9], {"low": 4, "high": 5}, [4, 5, 6]),
        ([], {"low": 0, "high": 5}, []),
    ],
)
def test_labels_of_a_margin_are_moved_apart(wanted: list[float], limits: dict[str, float], placed: list[float]):
    assert style.apart(wanted, 1, **limits) == pytest.approx(placed)
    assert style.apart(wanted, [1.0] * len(wanted), **limits) == pytest.approx(placed)


@pytest.mark.parametrize("name", films())
def test_a_film_tells_what_it_shows(name: str, unchecked_types: None):
    film = films()[name]
    assert "step 20" in film.alt(2)
    assert 60 < len(film.alt(2)) < 500 and film.alt(2) != film.alt(1)
    for frame in (-1, 4, 1.5, True):
        with pytest.raises((ValueError, TypeError), match=r"frame is .*; allowed: a whole number in \[0, 3\]"):
            film.png(frame)


def test_a_film_needs_its_two_methods():
    film = Film(style.new_figure(1, 1), 1, [])
    with pytest.raises(NotImplementedError, match="Film must define set_frame"):
        film.png(0)
    with pytest.raises(NotImplementedError, match="Film must define alt"):
        film.alt(0)
    with pytest.raises(ValueError, match="frames is 0"):
        Film(style.new_figure(1, 1), 0, [])


def test_pngs_are_what_was_drawn_and_stay_the_same():
    image = np.random.default_rng(0).integers(0, 256, (13, 7, 4), dtype=np.uint8)
    png = style.pixels_to_png(image)
    assert np.array_equal(pixels(png), image[..., :3])
    figure = filter_figure(numbers(4, 9, 8, 8), STEPS)
    assert figure_to_png(figure) == figure_to_png(figure)
    assert b"Software" not in figure_to_png(figure)


# ---- embedding


def test_projection_is_pca_of_the_last_frames_directions():
    features = np.abs(numbers(3, 50, 6))
    points = project(features)
    rows = features / np.linalg.norm(features, axis=-1, keepdims=True)
    pca = PCA(2).fit(rows[-1])
    assert np.allclose(np.abs(points[-1]), np.abs(pca.transform(rows[-1])))
    signs = np.sign((points[-1] * pca.transform(rows[-1])).sum(0))
    centred = rows[0] - rows[0].mean(0)
    assert np.allclose(points[0], signs * (centred @ pca.components_.T))
    assert np.allclose(project(features * [[[2.0]], [[3.0]], [[0.5]]]), points), "loudness does not count"


def test_projection_of_odd_features():
    assert project(np.ones((2, 5, 3))).tolist() == np.zeros((2, 5, 2)).tolist()
    assert project(np.zeros((2, 5, 3))).tolist() == np.zeros((2, 5, 2)).tolist()
    assert project(numbers(2, 5, 1)).shape == (2, 5, 2)
    for wrong in (numbers(5, 3), numbers(0, 5, 3), np.full((1, 5, 3), np.nan)):
        with pytest.raises(ValueError, match=r"features (has shape .*; allowed: \[frames, N, n_L\]|holds NaN)"):
            project(wrong)


def test_embedding_draws_the_points_it_was_given():
    labels = np.arange(60) % 3
    features = numbers(4, 60, 8)
    figure = embedding_figure(features, labels, STEPS, frame=1, class_names=["a", "b", "c"])
    points = project(features)
    main_axes = figure.axes[1]
    for c, dots in enumerate(main_axes.lines):
        assert np.allclose(dots.get_xydata(), points[1][labels == c])
        assert np.allclose(to_rgb(dots.get_color()), to_rgb(class_colour(c)))
    for c, dots in enumerate(figure.axes[0].lines):
        assert np.allclose(dots.get_xydata(), points[0][labels == c]), "the small picture stays at step 0"
    badges = [t for t in main_axes.texts if t.get_text()]
    assert [t.get_text() for t in badges] == ["a", "b", "c"]
    assert "step 10" in [t.get_text() for t in figure.texts]


def test_uncoloured_embedding_gives_no_class_away():
    film = films()["uncoloured"]
    figure = film.figure_at(0)
    assert len(figure.axes[1].lines) == 1 and not figure.axes[1].texts
    told = [EmbeddingFilm(numbers(2, 9, 2), np.arange(9) % 3, (0, 1), sees_labels=s) for s in (False, True)]
    words = [" ".join(t.get_text() for t in f.figure.texts) for f in told]
    assert "never sees the classes" in words[0] and "is given the classes" in words[1]


def test_separation():
    points = np.array([[0.0, 1], [0, -1], [10, 1], [10, -1]])
    assert separation(points, np.array([0, 0, 1, 1])) == pytest.approx(5)
    assert separation(np.zeros((4, 2)), np.array([0, 0, 1, 1])) == 0


def test_labels_are_pushed_apart():
    for points in (np.zeros((10, 2)), numbers(10, 2) * 0.01, 10 * numbers(10, 2)):
        moved = style.spread(points, 1.0)
        gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(moved, 2)]
        assert min(gaps) > 0.97
        assert np.abs(moved.mean(0) - points.mean(0)).max() < 0.1
    far = np.array([[0.0, 0], [5, 5]])
    assert np.allclose(style.spread(far, 1.0), far, atol=1e-5)


# ---- filters


def test_mosaic_puts_each_filter_in_its_place():
    filters = numbers(5, 2, 3)
    sheet = mosaic(filters)
    columns = 2
    assert sheet.shape == (3 * 3 - 1, 2 * 4 - 1)
    for i, f in enumerate(filters):
        top, left = 3 * (i // columns), 4 * (i % columns)
        assert np.allclose(sheet[top : top + 2, left : left + 3], f / np.abs(f).max())
    assert np.isnan(sheet[2]).all() and np.isnan(sheet[:, 3]).all() and np.isnan(sheet[6:, 4:]).all()
    common = mosaic(filters, common_scale=True)
    assert np.allclose(common[:2, :3], filters[0] / np.abs(filters).max())
    assert mosaic(np.zeros((1, 2, 2))).tolist() == [[0, 0], [0, 0]]
    assert mosaic(filters, gap=0).shape == (6, 6)
    for wrong in (numbers(2, 3), numbers(0, 2, 3)):
        with pytest.raises(ValueError, match=r"filters has shape .*; allowed: \[n, height, width\]"):
            mosaic(wrong)


def test_filter_figure_shows_before_and_now():
    filters = numbers(4, 9, 8, 8)
    figure = filter_figure(filters, STEPS, frame=2)
    small, large = (axes.images[0].get_array() for axes in figure.axes)
    assert np.allclose(np.ma.filled(small, np.nan), mosaic(filters[0]), equal_nan=True)
    assert np.allclose(np.ma.filled(large, np.nan), mosaic(filters[2]), equal_nan=True)
    assert figure.axes[1].images[0].get_array().shape == mosaic(filters[0]).shape


def test_smoothness_tells_noise_from_patterns():
    assert abs(smoothness(numbers(200, 8, 8))) < 0.05
    wave = np.sin(np.arange(64).reshape(1, 8, 8) / 8)
    assert smoothness(wave) > 0.5
    assert smoothness(np.zeros((3, 1, 1))) == 0


# ---- alignment, accuracy


def test_alignment_marks_the_chosen_layer():
    cosines = torch.linspace(-0.1, 0.9, 12).reshape(4, 3).numpy()
    W, V = numbers(4, 5, 6), numbers(4, 5, 6, seed=1)
    figure = alignment_figure(cosines, W, V, STEPS, layer=2, frame=1)
    curves = figure.axes[-1]
    mark = curves.lines[-1]
    assert mark.get_xydata().tolist() == [[10, pytest.approx(cosines[1, 1])]]
    for k, line in enumerate(curves.lines[:3]):
        assert np.allclose(line.get_ydata(), cosines[:, k]) and line.get_label() == f"layer {k + 1}"
    assert [line.get_linewidth() > 2 for line in curves.lines[:3]] == [False, True, False]
    shown = [axes.images[0].get_array() for axes in figure.axes[:2]]
    assert np.corrcoef(shown[0].ravel(), W[1].ravel())[0, 1] == pytest.approx(1)
    assert np.corrcoef(shown[1].ravel(), V[1].ravel())[0, 1] == pytest.approx(1)
    words = [t.get_text() for t in figure.texts]
    assert f"cosine {cosines[1, 1]:.2f}" in words and {"W²", "V²"} <= set(words)


def test_alignment_says_when_a_rule_leaves_V_alone():
    words = " ".join(t.get_text() for t in films()["unchanged"].figure.texts)
    assert "never changes V" in words
    tiny = AlignmentFilm(np.full((2, 1), -0.001), numbers(2, 2, 2), numbers(2, 2, 2), (0, 1), 1)
    assert "cosine 0.00" in [t.get_text() for t in tiny.figure_at(0).texts]


def test_accuracy_writes_the_mean_of_the_splits():
    shares = np.array([[0.5, 0.6], [0.7, 0.8], [0.85, 0.86]])
    figure = accuracy_figure(shares, (0, 4, 9), {"raw\npixels": 0.83}, frame=1)
    axes = figure.axes[0]
    past, mark = axes.lines[-2:]
    assert np.allclose(past.get_ydata(), [0.55, 0.75]) and np.allclose(mark.get_xydata(), [[4, 0.75]])
    words = [t.get_text() for t in figure.texts]
    assert "0.75 at step 4" in words and "raw\npixels\n0.83" in words
    assert axes.get_ylim() == (0.5, 1.0) or axes.get_ylim()[0] < 0.5
    assert axes.get_ylim()[0] <= shares.mean(1).min() - 0.04
    single = accuracy_figure(shares[:, :1], (0, 4, 9))
    assert "0.85 at step 9" in [t.get_text() for t in single.texts]


def digits_task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


def test_examples_show_one_image_of_each_class_twice():
    figure = examples_figure(digits_task(), 4)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 8
    for above, below in zip(shown[:4], shown[4:], strict=True):
        assert not np.array_equal(above, below)
        np.testing.assert_array_equal(np.sort(above.ravel()), np.sort(below.ravel()))


def test_examples_refuse():
    with pytest.raises(ValueError, match="n is 11"):
        examples_figure(digits_task(), 11)
    with pytest.raises(ValueError, match=r"leading dimensions \[2\]"):
        examples_figure(make_task(load_dataset("digits"), generator=torch.Generator(), tasks=(2,)))


def test_ranking_draws_bars_in_order_and_refuses_strangers():
    scores = {"low": (0.3, 0.01), "high": (0.9, 0.02)}
    figure = ranking_figure(scores, 0.1, ["high"], "what was measured")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "high"]
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.9]
    with pytest.raises(ValueError, match="highlight names other; allowed: low, high"):
        ranking_figure(scores, 0.1, ["other"])
    with pytest.raises(ValueError, match="scores is empty"):
        ranking_figure({}, 0.1)
