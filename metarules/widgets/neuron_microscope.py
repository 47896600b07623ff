"""`NeuronMicroscope`: what one neuron sees, what its network makes of it, and what every term does to its weights."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._checks import check_number
from metarules._work import Progress
from metarules.plots import Film
from metarules.plots.neuron_films import HiddenFilm, InputsFilm
from metarules.plots.neuron_terms import WIDTH, TermsFilm, percent
from metarules.plots.style import DPI
from metarules.studies.neuron import NeuronView
from metarules.studies.specimen import Specimen, prepare
from metarules.tasks import Task
from metarules.update_rule import LocalRule
from metarules.widgets.base import Explorable
from metarules.widgets.explorer import Explorer, View
from metarules.widgets.own_data import fitted
from metarules.widgets.parts import menu, number, wide
from metarules.widgets.picture import read_png, sheet, with_png

PANELS = ("inputs", "hidden", "terms")
NOTHING_OFF = "nothing"
_MOST = 10_000  # base models one widget can teach: more than anyone will ask for
_STORED = 0.6  # size of the stored picture over that of the panels, as in `side_by_side`


class NeuronMicroscope(Explorer[Specimen]):
    """Look into one neuron of a base model while a learned rule teaches it.

    The batch under the microscope is the same at every step, so that steps can be compared. In sight: the inner step,
    the layer, the neuron, and a menu that switches one term off, which teaches the base model anew without that term.
    In the fold: the seed of the base model, whether terms share one colour scale, Reset, and data of the
    reader's own.

    CSS classes besides those of `Explorer`: `metarules-step-slider`, `metarules-layer`, `metarules-neuron`,
    `metarules-off`, `metarules-panel-inputs`, `-hidden`, `-terms`, and in the fold `metarules-seed`,
    `metarules-scale`, `metarules-reset`.

    Args:
        rule: a `LocalRule`, such as `load_rule("local")`.
        task: a single task.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes what the rule recommends.
        seed: of initial weights and batches.
        step, layer, neuron: what it opens with.

    Raises:
        ValueError, TypeError, DivergenceError: as `prepare`; once open, it complains in its status line instead.
    """

    runs_kept: ClassVar[int] = 100  # they share their films

    def __init__(
        self,
        rule: LocalRule,
        task: Task,
        *,
        sizes: Sequence[int] | None = None,
        steps: int | None = None,
        seed: int = 0,
        step: int = 10,
        layer: int = 1,
        neuron: int = 4,
    ) -> None:
        super().__init__(PANELS, self._taught, task)
        self.panels["terms"].width = round(WIDTH * DPI)
        self._rule, self._sizes, self._steps = rule, sizes, steps
        self._known: dict[tuple[str | None, int, Task], Specimen] = {}
        self._shared: dict[tuple[str, bool | None, Task], Film] = {}
        self.begin(off=NOTHING_OFF, seed=seed)
        first = self.run
        check_number("layer", layer, low=1, high=len(first.sizes) - 1, integer=True)
        check_number("neuron", neuron, low=0, high=first.sizes[layer] - 1, integer=True)
        self._frame = self._opening_frame = first.frame_of(step)
        slider = self.make_slider(layout=widgets.Layout(flex="1 1 300px"))
        layers = [(f"{l}", l) for l in range(1, len(first.sizes))]
        layer_menu = menu("Layer", layers, layer, layout=widgets.Layout(width="150px"))
        self.layer_menu = self.option("layer", layer_menu, self._on_layer)
        neurons = widgets.IntSlider(
            value=neuron, max=first.sizes[layer] - 1, description="Neuron", layout=widgets.Layout(flex="1 1 240px")
        )
        self.neuron_slider = self.option("neuron", neurons)
        off = menu("Switch off", [NOTHING_OFF, *rule.settings.terms], NOTHING_OFF, layout=widgets.Layout(width="230px"))
        self.off_menu = self.setting("off", off)
        self.seed_box = self.setting("seed", number("Base model seed", seed, **wide(width=300)))
        scale = widgets.Checkbox(description="Terms share one colour scale", value=True, indent=False)
        self.scale_box = self.option("scale", scale)
        for other in range(1, min(3, len(first.sizes))):  # both kinds of picture, so that a change of layer is quick
            self._pictures(first, 0, other, 0)
        controls = [slider, self.layer_menu, self.neuron_slider, self.off_menu]
        fold = [self.seed_box, self.scale_box, self.make_reset_button()]
        self.lay_out(controls, fold, "More: base model, colours, your own data")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand, laid out like the panels."""
        bundle = super(Explorable, self)._repr_mimebundle_(**options)
        inputs, hidden, terms = (read_png(self.panels[name].value) for name in PANELS)
        width, height = terms.width, inputs.height + terms.height
        places = {(0, 0): inputs, (width - hidden.width, 0): hidden, (0, inputs.height): terms}
        return with_png(bundle, sheet((width, height), places, (round(width * _STORED), round(height * _STORED))))

    # ---- what is shown, as numbers

    @property
    def specimen(self) -> Specimen:
        """The learning that is looked into."""
        return self.run

    @property
    def view(self) -> NeuronView:
        """Every number shown about the neuron."""
        return self.specimen.view(self._frame, self.layer_menu.value, self.neuron_slider.value)

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy at the step shown: the evaluation's probe, mean over its first five splits."""
        return self.specimen.accuracy(self._frame)

    def first_frame(self, view: View[Specimen]) -> int:
        """The one shown so far: base models are compared at one step."""
        return self._frame

    # ---- controls

    def restore(self, *, step: int | None = None, neuron: int | None = None, **state: Any) -> None:
        """As `Explorer.restore`; `neuron` is one of the layer's."""
        super().restore(step=step, **state)
        if neuron is not None:
            self.guarded(self._fit_neuron)(neuron)
            self.guarded(self.redraw)()

    def _on_layer(self) -> None:
        self._fit_neuron(min(self.neuron_slider.value, self.specimen.sizes[self.layer_menu.value] - 1))
        self.redraw()

    def _fit_neuron(self, unit: int) -> None:
        """Let the slider run over the layer's neurons; its value goes first or last, so that it is always inside."""
        most = self.specimen.sizes[self.layer_menu.value] - 1
        if unit > self.neuron_slider.max:
            self.set_quietly(self.neuron_slider, max=most)
            self.set_quietly(self.neuron_slider, value=unit)
        else:
            self.set_quietly(self.neuron_slider, value=unit)
            self.set_quietly(self.neuron_slider, max=most)

    def reset(self) -> None:
        """Back to how this opened."""
        self._frame = self._opening_frame
        self.set_quietly(self.layer_menu, value=self._opening["layer"])
        self._fit_neuron(self._opening["neuron"])
        super().reset()

    # ---- computing and showing

    def _taught(
        self, task: Task, off: str, seed: int, *, progress: Progress | None, stop: threading.Event | None
    ) -> Specimen:
        """A base model taught without a term, and, to compare with, one with all terms; each is taught once."""
        term = None if off == NOTHING_OFF else off
        wanted = [o for o in dict.fromkeys((None, term)) if (o, seed, task) not in self._known]
        for i, o in enumerate(wanted):

            def tell(done: int, total: int, before: int = i) -> None:
                if progress is not None:
                    progress(before * total + done, len(wanted) * total)

            settings: dict[str, Any] = {"sizes": fitted(self._sizes, task), "steps": self._steps, "seed": seed}
            made = prepare(self._rule, task, off=o, progress=tell, stop=stop, **settings)
            made.accuracy(-1)
            self._known[o, seed, task] = made
        return self._known[term, seed, task]

    def _film(self, specimen: Specimen, name: str, layer: int) -> Film:
        """The film of a panel, made when first needed; terms have two, one of images and one of bars.

        All base models of a task share them: a film has a frame for every neuron at every step of every base model.
        """
        images = layer == 1 and specimen.task.shape is not None
        key = (name, images if name == "terms" else None, specimen.task)
        if key not in self._shared:
            look, frames = self._look, _MOST * specimen.n_views
            if name == "terms":
                first = next(known for known in self._known.values() if known.task is specimen.task)
                self._shared[key] = TermsFilm(look, frames, like=first.view(0, layer, 0))
            else:
                self._shared[key] = (InputsFilm if name == "inputs" else HiddenFilm)(look, frames)
        return self._shared[key]

    def _look(self, number: int) -> NeuronView:
        """What a frame of the films shows."""
        specimens = list(self._known.values())
        which, rest = divmod(number, specimens[0].n_views)
        return specimens[which].numbered(rest)

    def _pictures(self, specimen: Specimen, frame: int, layer: int, unit: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel."""
        drawn, n = {}, specimen.n_views
        number = list(self._known.values()).index(specimen) * n + specimen.number(frame, layer, unit)
        for name in PANELS:
            film = self._film(specimen, name, layer)
            shown = number + _MOST * n if name == "terms" and not self.scale_box.value else number
            drawn[name] = film.png(shown), film.alt(shown)
        return drawn

    def draw(self, view: View[Specimen], frame: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame, of the neuron chosen."""
        return self._pictures(view.run, frame, self.layer_menu.value, self.neuron_slider.value)

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """Which term is missing."""
        return "Learning anew" if settings["off"] == NOTHING_OFF else f"Learning without {settings['off']}"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        view, s = self.view, self.specimen
        low = min(view.shares, key=lambda name: view.shares[name])
        against = f", {low} works most against it ({percent(view.shares[low])})" if view.shares[low] <= -0.005 else ""
        most = f"{view.strongest} does most ({percent(view.shares[view.strongest])})"
        if not any(view.shares.values()):
            most = "no term changes its weights"
        words = (
            f"Step {self.step} of {s.steps[-1]}{self.on_data}, layer {view.layer}, neuron {view.unit}: "
            f"{most}{against}. Few-shot accuracy "
            f"{self.accuracy:.2f} at this step, {s.accuracy(-1):.2f} at the last"
        )
        if s.off is None:
            return f"{words}."
        whole = self._known[None, s.seed, s.task]
        return f"{words}; taught without {s.off} (with all terms {whole.accuracy(-1):.2f})."

    def kept(self) -> str:
        """Which base model is still shown."""
        s = self.specimen
        taught = "taught with all terms" if s.off is None else f"taught without {s.off}"
        return f"Still showing base model {s.seed}{self.on_data}, {taught}."
