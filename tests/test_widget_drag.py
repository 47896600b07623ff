"""Points of the plane that are dragged, arrows that say how long they are, clicks on the curves of lesson 5."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarules.meta_objective import MetaObjectiveSettings, one_hot, ridge_cosine_loss
from metarules.studies.objective import RIDGES, explore_objective, make_clouds
from metarules.widgets import MetaObjectiveExplorer


@pytest.fixture(scope="module")
def shared() -> MetaObjectiveExplorer:
    return MetaObjectiveExplorer()


@pytest.fixture
def explorer(shared: MetaObjectiveExplorer) -> MetaObjectiveExplorer:
    shared.reset()
    return shared


def on_screen(explorer: MetaObjectiveExplorer, x: float, y: float) -> list[float]:
    """A place of the plane in shares of its picture, by matplotlib's own transform."""
    axes = explorer._plane._plane.axes
    across, up = explorer._plane.figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
    return [float(across), float(1 - up)]


def points(explorer: MetaObjectiveExplorer) -> torch.Tensor:
    return torch.cat([explorer.pull.path_a[explorer.move], explorer.pull.path_b[explorer.move]])


def loss_again(explorer: MetaObjectiveExplorer) -> float:
    a, b, p = *points(explorer).split([15, 30]), explorer.pull
    settings = MetaObjectiveSettings(ridge=explorer.ridge_box.value)
    targets = one_hot(p.labels_a, 3, a.dtype), one_hot(p.labels_b, 3, a.dtype)
    return float(ridge_cosine_loss(a, targets[0], b, targets[1], **{"ridge": settings.ridge}))


@pytest.mark.parametrize("point", [3, 40])  # of batch a, of batch b
def test_a_point_follows_the_pointer_and_all_others_stay(explorer: MetaObjectiveExplorer, point: int):
    before, loss, reach = points(explorer), explorer.loss, explorer._plane._plane.reach
    down = on_screen(explorer, *before[point].tolist())
    dot = explorer._plane.dot_at(0, *down)
    assert dot is not None and torch.allclose(before[dot], before[point], atol=0.1 * reach)
    for x, y in ((0.3, -0.4), (-0.7, 0.2), (9.0, 0.0)):  # the last is outside the frame
        explorer.panels["plane"].dragged = [float(point), *down, *on_screen(explorer, x, y)]
        now = points(explorer)
        moved = (now != before).any(1).nonzero()[:, 0].tolist()
        assert moved == [dot] and explorer.move == 0 and explorer._plane._plane.reach == reach
        if x < 9:
            assert now[dot].tolist() == pytest.approx([x, y], abs=2e-3)
        assert explorer.loss == pytest.approx(loss_again(explorer), abs=1e-9) and explorer.loss != loss
    line = explorer.as_code("again")
    again = MetaObjectiveExplorer()
    exec(line, {"again": again})
    assert torch.equal(points(again), points(explorer)) and again.as_code() == explorer.as_code()
    explorer.ridge_box.value = 10.0
    assert torch.equal(points(explorer), now), "another lambda leaves the points where they are"
    assert explorer.loss == pytest.approx(loss_again(explorer), abs=1e-9)
    explorer.seed_box.value = 1
    assert explorer._moved == () and explorer.run.path_a[0].tolist() != before[:15].tolist()
    explorer.reset()
    assert torch.equal(points(explorer), before) and explorer.loss == loss


def test_beside_a_dot_nothing_is_dragged(explorer: MetaObjectiveExplorer):
    before = points(explorer)
    reach = explorer._plane._plane.reach
    corner = on_screen(explorer, -1.6 * reach, 0.98 * reach)
    explorer.panels["plane"].dragged = [7.0, *corner, *on_screen(explorer, 0, 0)]
    assert torch.equal(points(explorer), before) and "did not work" not in explorer.status.value


def test_after_moves_all_points_start_from_where_they_are(explorer: MetaObjectiveExplorer):
    explorer.move = 4
    now = points(explorer)
    explorer.place(0, 0.5, 0.5)
    assert explorer.move == 0 and torch.allclose(points(explorer)[1:], now[1:])
    assert points(explorer)[0].tolist() == [0.5, 0.5]
    explorer.place(99, 0.0, 0.0)
    assert "number of a point that is moved is 99; allowed" in explorer.status.value
    assert points(explorer)[0].tolist() == [0.5, 0.5], "the last good state stays"


def test_arrows_are_seen_and_say_how_long_they_are(explorer: MetaObjectiveExplorer):
    for labels, variant in ((5, 0), (1, 0), (20, 4)):
        explorer.labels_box.value = labels
        explorer.variant_menu.value = explorer.variant_menu.options[variant]
        scale, longest = explorer._plane._scale()
        moves = np.concatenate([explorer.pull.moves_a[0].numpy(), explorer.pull.moves_b[0].numpy()])
        lengths = np.linalg.norm(moves, axis=1)
        assert longest == pytest.approx(lengths.max())
        said = explorer._plane._subtitle.get_text()
        assert f"longest {longest:.2g}" in said and (scale == 1 or f"× {scale:g}" in said)
        drawn = [np.linalg.norm(line[1] - line[0]) for line in explorer._plane._plane._arrows.get_segments()]
        assert max(drawn) == pytest.approx(scale * longest), "one scale for all"
        assert max(drawn) > 0.1 * explorer._plane._plane.reach, "long enough to be seen"
    explorer.arrows_menu.value = "none"
    assert "arrows" not in explorer._plane._subtitle.get_text()


def test_clicks_on_curves_choose_lambda_and_move(explorer: MetaObjectiveExplorer):
    for number in (0, 12, 30):
        axes = explorer._ridge._axes
        place = explorer._ridge.figure.transFigure.inverted().transform(axes.transData.transform((RIDGES[number], 0.5)))
        explorer.panels["ridge"].clicked = [float(place[0].clip(0.101, 0.955)), float(1 - place[1]), float(number)]
        assert explorer.settings.ridge == pytest.approx(RIDGES[number])
    axes = explorer._moves._axes
    for move in (0, 7, 10):
        x, y = explorer._moves.figure.transFigure.inverted().transform(axes.transData.transform((move, 0.5)))
        explorer.panels["moves"].clicked = [float(x), float(1 - y), float(move)]
        assert explorer.move == move
    explorer.panels["moves"].clicked = [0.5, 0.02, 3.0]  # the heading
    assert explorer.move == 10


def test_moved_points_are_checked():
    clouds = make_clouds("Three clouds")
    for moved in ((45, 0.0, 0.0), (-1, 0.0, 0.0), (0, float("nan"), 0.0), (0, 0.0, 1e9)):
        with pytest.raises(ValueError, match="allowed"):
            explore_objective(clouds, moved=[moved])
    plain, other = explore_objective(clouds), explore_objective(clouds, moved=[(2, 1.0, -1.0)])
    assert other.path_a[0, 2].tolist() == [1.0, -1.0] and torch.equal(other.path_b[0], plain.path_b[0])
    assert torch.equal(explore_objective(clouds).path_a, plain.path_a), "the clouds themselves are as they were"
