"""`MetaObjectiveExplorer`: the ridge read-out, its score, and the arrows of its gradient on features in the plane."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets
import torch

from metarules._work import Progress
from metarules.meta_objective import MetaObjectiveSettings
from metarules.plots.feature_plane import PlanePicture, reach_of
from metarules.plots.ridge_scores import AnswersPicture, CurvesPicture
from metarules.studies.example import Example
from metarules.studies.objective import (
    DATA,
    MOST_LABELS,
    RIDGES,
    VARIANTS,
    Descent,
    example_in,
    explore_objective,
    make_clouds,
    objective,
    scene_of,
)
from metarules.widgets.explorer import Explorer, View
from metarules.widgets.parts import menu, number, wide

PANELS = ("plane", "answers", "ridge", "moves")
_Moved = tuple[int, float, float]  # number of a point, where it lies
ARROWS = {"both batches": ("a", "b"), "batch a": ("a",), "batch b": ("b",), "none": ()}


class MetaObjectiveExplorer(Explorer[Descent]):
    """Change the objective, see what it would do to the features, and let it.

    It opens before the first move, with all arrows drawn. In sight: K, lambda, the spread of the classes, and a button
    that takes every point to the tip of its arrow (after the last move, back to the start). In the fold: the data, the
    variant of the objective, the seed, whose arrows are drawn, Reset. Every control but the button and the choice of
    arrows starts again from features that have not moved. Points can be dragged (in code: `place`). A click on the
    curve over lambda takes that lambda, a click on the curve over moves goes to that move.

    CSS classes besides those of `Explorer`: `metarules-labels`, `metarules-ridge`, `metarules-spread`,
    `metarules-follow`, `metarules-panel-plane`, `-answers`, `-ridge`, `-moves`, and in the fold `metarules-data`,
    `metarules-variant`, `metarules-seed`, `metarules-arrows`, `metarules-reset`.

    Args:
        data: name of a data set, see `studies.objective.DATA`.
        labels_per_class: K, 1 to 20.
        ridge: lambda, 0.001 to 1000.
        spread: times the distances within classes, 0.2 to 2.
        variant: of the objective, see `studies.objective.VARIANTS`.
        seed: of the points.

    Raises:
        ValueError, TypeError: arguments out of range; once open, a widget complains in its status line instead.
    """

    dotted: ClassVar[Sequence[str]] = ("plane",)
    invites: ClassVar[str] = "Drag a dot to move it; click one to see which it is."

    def __init__(
        self,
        data: str = "Three clouds",
        *,
        labels_per_class: int = 5,
        ridge: float = 0.1,
        spread: float = 1.0,
        variant: str = "Cosine distance (the paper's)",
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, self._pulled)
        self._moved: tuple[_Moved, ...] = ()
        self._keep_frame = False  # of the plane, while a point is dragged
        self._dragged: tuple[float, int | None] = (0.0, None)  # when the pointer went down, and on which point
        self.begin(labels=labels_per_class, ridge=ridge, spread=spread, data=data, variant=variant, seed=seed, moved=())
        self._plane, self._answers = PlanePicture(), AnswersPicture()
        self._ridge = CurvesPicture(
            "From weak to strong penalty", "the same features, scored with every lambda", "lambda",
            ("loss", "error on b", "penalty"), log=True,
        )  # fmt: skip
        self._moves = CurvesPicture(
            "Follow the arrows", "what each press of the button does, and will do", "moves along the arrows",
            ("loss", "share of b right"),
        )  # fmt: skip
        sight, fold = wide(62, 252), wide(90)
        labels = widgets.IntSlider(description="K labels", min=1, max=MOST_LABELS, **sight)
        self.labels_box = self.setting("labels", labels)
        powers = widgets.FloatLogSlider(description="lambda", min=-3, max=3, step=0.2, readout_format=".4g", **sight)
        self.ridge_box = self.setting("ridge", powers)
        wider = widgets.FloatSlider(description="Spread", min=0.2, max=2, step=0.1, readout_format=".1f", **sight)
        self.spread_box = self.setting("spread", wider)
        tip = "Take every point to the tip of its arrow; after the last move, back to the start"
        self.follow_button = self.button("Follow the arrows", "follow", tip, self.next_frame)
        self.data_menu = self.setting("data", menu("Data", list(DATA), data, **fold))
        self.variant_menu = self.setting("variant", menu("Objective", list(VARIANTS), variant, **fold))
        self.seed_box = self.setting("seed", number("Seed", **fold))
        arrows = menu("Arrows on", list(ARROWS), next(iter(ARROWS)), **fold)
        self.arrows_menu = self.option("arrows", arrows, self._on_arrows)
        boxes = [self.data_menu, self.variant_menu, self.seed_box, arrows, self.make_reset_button()]
        self.lay_out([labels, powers, wider, self.follow_button], boxes, "More: data, objective, seed, arrows")
        self.panels["plane"].draggable = True
        answers = {"plane": self._on_drag, "ridge": self._on_lambda, "moves": self._on_move}
        for name, answer in answers.items():
            trait = "dragged" if name == "plane" else "clicked"
            self.panels[name].observe(self.guarded(lambda change, answer=answer: answer(*change["new"])), names=trait)
            self.panels[name].clickable = True

    # ---- what is shown, as numbers

    @property
    def pull(self) -> Descent:
        """Everything that is shown, for all moves."""
        return self.run

    @property
    def move(self) -> int:
        """How many moves the features shown have made; set it to go there."""
        return self._frame

    @move.setter
    def move(self, move: int) -> None:
        self.go(move)

    @property
    def loss(self) -> float:
        """The meta-objective of the features shown."""
        return float(self.pull.score.loss[self._frame])

    @property
    def accuracy(self) -> float:
        """Share of batch b whose largest prediction is the right one."""
        return float(self.pull.score.accuracy_b[self._frame])

    @property
    def settings(self) -> MetaObjectiveSettings:
        """The objective."""
        return self.pull.settings

    def steps_of(self, run: Descent) -> range:
        """How many moves the features can have made."""
        return range(len(run.path_a))

    def first_frame(self, view: View[Descent]) -> int:
        """The first: features that have not moved."""
        return 0

    # ---- computing

    def _pulled(self, *, progress: Progress | None, stop: threading.Event | None, **asked: Any) -> Descent:
        clouds, wanted = make_clouds(asked["data"], asked["seed"]), objective(asked["variant"], asked["ridge"])
        options = {"labels_per_class": asked["labels"], "spread": asked["spread"], "moved": asked["moved"]}
        return explore_objective(clouds, wanted, **options)

    def place(self, point: int, x: float, y: float) -> None:
        """Move a point of the features shown to another place, and start again from there.

        Args:
            point: counted through batch a and then batch b, as the line above the pictures says.
            x, y: in the plane.
        """
        self.guarded(self._place)(point, x, y)

    def _place(self, point: int, x: float, y: float) -> None:
        others = self._moved
        if self.move:  # the features have moved already: all of them start from where they are
            now = torch.cat([self.pull.path_a[self.move], self.pull.path_b[self.move]]).tolist()
            others = tuple((number, x_, y_) for number, (x_, y_) in enumerate(now))
        self._moved = tuple(sorted({**{other[0]: other for other in others}, point: (point, x, y)}.values()))
        self.recompute()

    def read_controls(self) -> dict[str, Any]:
        """As `Explorer.read_controls`, and the points that were moved, as long as the same points are shown."""
        asked = super().read_controls()
        same = all(asked[name] == self._view.settings[name] for name in ("labels", "spread", "data", "seed"))
        return {**asked, "moved": self._moved if same else ()}

    def set_controls(self, settings: Mapping[str, Any]) -> None:
        """As `Explorer.set_controls`."""
        super().set_controls(settings)
        self._moved = settings["moved"]

    def restore(self, *, step: int | None = None, moved: Sequence[_Moved] = (), **state: Any) -> None:
        """As `Explorer.restore`; `moved` holds points that lie elsewhere, see `explore_objective`."""
        self._moved = ()
        super().restore(**state)
        self._moved = tuple((int(number), float(x), float(y)) for number, x, y in moved)
        super().restore(step=step)

    def _on_drag(self, when: float, *places: float) -> None:
        """Move the point on which the pointer went down to where it is now."""
        if when != self._dragged[0]:
            self._dragged = when, self._plane.dot_at(0, *places[:2])
        if (point := self._dragged[1]) is not None:
            x, y = self._plane.place_at(*places[2:])
            self._keep_frame = True
            try:
                self._place(point, round(x, 3), round(y, 3))
            finally:
                self._keep_frame = False

    def _on_lambda(self, across: float, down: float, _: float) -> None:
        """Take the lambda of the curve that was clicked."""
        if (ridge := self._ridge.x_at(across, down)) is not None:
            self.ridge_box.value = min(RIDGES, key=lambda r: abs(math.log(r / ridge)))

    def _on_move(self, across: float, down: float, _: float) -> None:
        """Go to the move that was clicked."""
        if (move := self._moves.x_at(across, down)) is not None:
            self.show_frame(min(max(round(move), 0), len(self.pull.path_a) - 1))

    def recompute(self) -> None:
        """Score and follow anew: at once, or off the main thread where a net is taught."""
        if self.data_menu.value.startswith("Digits"):
            super().recompute()
            return
        self.drop_work()
        try:
            self.open_view(self.compute_view(self.read_controls()))
        except (ValueError, TypeError):
            self.put_back()
            raise

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """Which data are drawn."""
        return f"Drawing {settings['data']}"

    # ---- showing

    def _on_arrows(self) -> None:
        self.show("plane", *self.picture(self._view, "plane", self._frame))

    def draw_first(self, view: View[Descent]) -> None:
        """Nothing: the four figures are drawn anew for each scene, so that two must not be drawn at a time."""

    def open_view(self, view: View[Descent]) -> None:
        """Show features that have not moved."""
        if not self._keep_frame:
            self._reach = reach_of(*(scene_of(view.run, move) for move in self.steps_of(view.run)))
        super().open_view(view)

    def film(self, view: View[Descent], panel: str) -> PlanePicture:
        """The picture with dots, as it stands."""
        return self._plane

    def place_in_film(self) -> int:
        """Each scene is drawn anew: it has one frame."""
        return 0

    def example_behind(self, panel: str, dot: int) -> Example:
        """As `Explorer.example_behind`: a digit, or a point without an image."""
        shown = self._view.settings
        return example_in(make_clouds(shown["data"], shown["seed"]), shown["labels"], dot)

    def picture(self, view: View[Descent], panel: str, frame: int) -> tuple[bytes, str]:
        """PNG and alternative text of a panel after some moves."""
        p, score = view.run, view.run.score
        loss, error, penalty = (float(part[frame]) for part in (score.loss, score.error_b, score.penalty))
        if panel == "plane":
            return self._plane.picture(scene_of(p, frame), self._reach, ARROWS[self.arrows_menu.value])
        if panel == "answers":
            answers = score.predictions_b[frame]
            if p.settings.normalise_predictions and not p.settings.logit_scale:
                answers = answers / answers.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            kind, threads = _kind(p.settings)
            parts = (kind, error, penalty, loss)
            shown = (answers.numpy(), score.targets_b[frame].numpy(), p.labels_b.numpy(), p.class_names, parts)
            return self._answers.picture(*shown, threads=threads)
        if panel == "ridge":
            curves = [part[frame].numpy() for part in (p.sweep.loss, p.sweep.error_b, p.sweep.penalty)]
            at = (p.settings.ridge, loss)
            return self._ridge.picture(RIDGES, curves, at, f"lambda {p.settings.ridge:.4g}")
        history = [score.loss.numpy(), score.accuracy_b.numpy()]
        return self._moves.picture(self.steps_of(p), history, (frame, loss), f"move {frame}")

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        p, score, move = self.pull, self.pull.score, self.move
        n, k = len(p.labels_b), len(p.labels_a) // len(p.class_names)
        return (
            f"Move {move} of {len(p.path_a) - 1}, K = {k}, lambda = {p.settings.ridge:.4g}: loss {self.loss:.2f} = "
            f"{_kind(p.settings)[0]} {float(score.error_b[move]):.2f} + penalty {float(score.penalty[move]):.2f}; "
            f"{round(self.accuracy * n)} of {n} in batch b right."
        )

    def kept(self) -> str:
        """Which data are still shown."""
        return f"Still showing {self._view.settings['data']}."


def _kind(settings: MetaObjectiveSettings) -> tuple[str, bool]:
    """What the error is called, and whether it is a distance between answers and targets."""
    if settings.logit_scale:
        return "cross-entropy", False
    if settings.hinge:
        return "distance above 1", True
    return ("cosine distance" if settings.normalise_predictions else "squared distance"), True
