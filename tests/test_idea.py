"""The idea figure as it lights up through the lessons: each arrow's words, its tensor, and a click on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text

from metarules import forward, init_state, load_rule, ridge_cosine_loss
from metarules.classic_rules.statistics import standardise
from metarules.meta_objective import ridge_fit
from metarules.plots import idea_alt, idea_figure, style
from metarules.plots.idea import legend_figure
from metarules.plots.idea_arrows import ARROWS, arrow_at, arrows_of
from metarules.update_rule.anatomy import named_inputs
from metarules.widgets import IdeaMap
from metarules.widgets.picture import read_png
from tests.test_plots import check_layout


@pytest.mark.parametrize("lesson", [1, 2, 3, 4, 5, 6, 7, 8])
def test_idea_lights_up_lesson_by_lesson(lesson: int):
    """Its words are grey before its lesson and have its colour from then on; its own lesson draws it wider."""
    figure = idea_figure(lesson=lesson)
    check_layout(figure)
    colours = {(text.get_text(), text.get_color()) for text in figure.findobj(Text)}
    drawn = {(patch.get_linewidth(), patch.get_edgecolor()) for patch in figure.findobj(FancyArrowPatch)}
    for arrow in ARROWS.values():
        met = arrow.lesson <= lesson
        for words in arrow.words:
            assert (words.text, arrow.color if met else style.MUTED) in colours
        width = arrow.width * (1.7 if arrow.lesson == lesson else 1)
        assert (width, to_rgba(arrow.color if met else style.FAINT)) in drawn
        assert (arrow.equation in {words for words, _ in colours}) == (arrow.lesson == lesson)
        assert (str(arrow) in idea_alt(lesson)) == (arrow.lesson == lesson)


def test_every_lesson_up_to_the_outer_loop_has_its_arrow():
    assert {arrow.lesson for arrow in ARROWS.values()} == set(range(1, 8))
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match=r"lesson is .*; allowed: a whole number from 0 to 8"):
            idea_figure(lesson=wrong)
    with pytest.raises(ValueError, match="explained is 'up'; allowed: activity, again"):
        idea_figure(explained=["up"])
    with pytest.raises(ValueError, match="explained is empty"):
        legend_figure([])


def test_an_arrow_carries_a_tensor_of_the_shape_that_is_told():
    """Each tensor of the table is computed as its code says, on a net whose sizes are all different."""
    rule = load_rule("local")
    g = torch.Generator().manual_seed(0)
    B, sizes, k, l, L = 11, (7, 6, 5, 4), 3, 2, 3
    phi = init_state(sizes, generator=g)
    batches = torch.rand(2, B, sizes[0], generator=g)
    x, classes = batches[0], torch.arange(B) % k
    acts, trace = forward(phi, x), rule.trace(phi, x)
    y = torch.nn.functional.one_hot(classes, k).float()
    after = forward(rule(phi, x), batches[1]).x[L]
    loss = ridge_cosine_loss(acts.x[L], y, after, y)
    inputs = named_inputs(rule, phi, trace, layer=l)
    found = {
        "forward": forward(phi, x).x[l],
        "activity": standardise(acts.x[l]),
        "change": trace.delta_W[l],
        "statistics": inputs["weight_stats"],
        "signal_in": trace.d[l],
        "signal_out": trace.delta[l],
        "backward": trace.d[l - 1],
        "fit": ridge_fit(acts.x[L], y),
        "score": loss,
    }
    value = {"B": B, "n_l": sizes[l], "n_{l-1}": sizes[l - 1], "n_L + 1": sizes[L] + 1, "k": k}
    value |= {"D": trace.d[l].shape[-1], "1": 1, "8": 8}
    for name, tensor in found.items():
        told = [value[symbol] for symbol in ARROWS[name].shape[1:-1].split(", ") if symbol]
        assert list(tensor.shape) == told, name
    again, theta = rule(phi, x), list(rule.parameters())
    assert [layer.V.shape for layer in again.layers] == [layer.V.shape for layer in phi.layers]
    assert [g.shape for g in torch.autograd.grad(loss, theta, allow_unused=True) if g is not None]
    assert set(ARROWS) == {*found, "again", "gradient"}


def marked(shown: IdeaMap, untouched: bytes, name: str) -> bool:
    """Whether all that has another colour than in the untouched picture lies along this arrow."""
    tall = round(5.4 * style.SHARP * style.DPI)
    now, before = (np.asarray(read_png(png), dtype=int)[:tall] for png in (shown.value, untouched))
    changed = np.argwhere(abs(now - before).max(-1) > 60) / style.SHARP / style.DPI
    return len(changed) > 500 and all(arrow_at(x, 5.4 - y, [name], reach=0.15) for y, x in changed[::97])


@pytest.mark.parametrize("lesson", [None, 1, 4, 8])
def test_a_click_on_an_arrow_gives_its_line(lesson: int | None):
    shown = IdeaMap(lesson)
    untouched = shown.alt, shown.value
    width, height = (side / style.SHARP / style.DPI for side in read_png(shown.value).size)
    assert width == pytest.approx(9.2, abs=0.01) and shown.explained == arrows_of(lesson or 0)
    clicks = 0
    for name, arrow in ARROWS.items():
        for x, y in [tuple(np.mean(line[-2:], 0)) for line in arrow.lines] + [(w.x, w.y) for w in arrow.words]:
            height = read_png(shown.value).size[1] / style.SHARP / style.DPI
            shown.clicked = [x / 9.2, (5.4 - y) / height, clicks]
            clicks += 1
            assert shown.explained == (name,) and str(arrow) in shown.alt
            assert marked(shown, untouched[1], name)
    pictures = shown.value
    shown.clicked = [0.5, 0.999, clicks]  # below the picture
    assert (shown.alt, shown.value) == untouched and shown.value != pictures


def test_keys_go_through_the_arrows():
    """What the page does with a key is for the browser test; here `at` is what it sets."""
    shown = IdeaMap(3)
    for at, (name, arrow) in enumerate(ARROWS.items(), start=1):
        shown.at = at
        assert shown.explained == (name,) and str(arrow) in shown.alt
    assert shown.places == 1 + len(ARROWS)
    shown.at = 0
    assert shown.explained == arrows_of(3)


def test_where_no_arrow_is_near():
    assert arrow_at(0.8, 3.5, list(ARROWS)) is None and arrow_at(6.93, 2.0, []) is None
    assert arrow_at(6.93, 2.0, list(ARROWS)) == "gradient"
