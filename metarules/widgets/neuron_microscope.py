"""`NeuronMicroscope`: what one neuron sees, what its network makes of it, and what every term does to its weights."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
from PIL import Image

from metarules._checks import check_number
from metarules._work import Progress
from metarules.plots.film import Film
from metarules.plots.neuron_films import HiddenFilm, InputsFilm
from metarules.plots.neuron_terms import WIDTH, TermsFilm, percent
from metarules.plots.style import DPI
from metarules.studies.neuron import NeuronView
from metarules.studies.specimen import Specimen, prepare
from metarules.tasks import Task
from metarules.update_rule import LocalRule
from metarules.widgets.base import Explorable
from metarules.widgets.own_data import OwnData, Source
from metarules.widgets.picture import compact_png, with_png

PANELS = ("inputs", "hidden", "terms")
NOTHING_OFF = "nothing"
_MOST = 10_000  # base models one widget can teach: more than anyone will ask for
_STORED = 0.6  # size of the stored picture over that of the panels, as in `side_by_side`


class NeuronMicroscope(OwnData):
    """Look into one neuron of a base model while a learned rule teaches it.

    The batch under the microscope is the same at every step, so that steps can be compared. In sight: the inner step,
    the layer, the neuron, and a menu that switches one term off, which teaches the base model anew without that term.
    In the fold: the seed of the base model, whether terms share one colour scale, Reset, and data of the
    reader's own.

    CSS classes besides those of `OwnData`: `metarules-step-slider`, `metarules-layer`, `metarules-neuron`,
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
        super().__init__(PANELS, task)
        self.panels["terms"].width = round(WIDTH * DPI)
        self._rule, self._sizes, self._steps = rule, sizes, steps
        self._specimen = first = prepare(rule, task, seed=seed, sizes=sizes, steps=steps)
        check_number("layer", layer, low=1, high=len(first.sizes) - 1, integer=True)
        check_number("neuron", neuron, low=0, high=first.sizes[layer] - 1, integer=True)
        self._known: dict[tuple[str | None, int, Source], Specimen] = {(None, seed, self.wanted): first}
        self._films: dict[tuple[str, bool | None, Task], Film] = {}
        self._opening = (first.steps[first.frame_of(step)], layer, neuron, seed)
        self._make_controls()
        for other in range(1, min(3, len(first.sizes))):  # both kinds of picture, so that a change of layer is quick
            self._draw(first, 0, other, 0)
        self._redraw()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand, laid out like the panels."""
        bundle = super(Explorable, self)._repr_mimebundle_(**options)
        return with_png(bundle, self._sheet())

    # ---- what is shown, as numbers

    @property
    def specimen(self) -> Specimen:
        """The learning that is looked into."""
        return self._specimen

    @property
    def step(self) -> int:
        """The inner step shown; set it to move there (to the last recorded step before it)."""
        return self.slider.value

    @step.setter
    def step(self, step: int) -> None:
        self.slider.value = step

    @property
    def view(self) -> NeuronView:
        """Every number shown about the neuron."""
        return self.specimen.view(self._frame, self.layer_menu.value, self.neuron_slider.value)

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy at the step shown: the evaluation's probe, mean over its first five splits."""
        return self.specimen.accuracy(self._frame)

    @property
    def _frame(self) -> int:
        return self.specimen.frame_of(self.slider.value)

    # ---- controls

    def _make_controls(self) -> None:
        step, layer, neuron, seed = self._opening
        steps, sizes = self.specimen.steps, self.specimen.sizes
        slider = widgets.IntSlider(
            value=step,
            max=steps[-1],
            step=steps[1],
            description="Inner step",
            layout=widgets.Layout(flex="1 1 300px"),
        )
        self.slider = self.control(slider, "step-slider", self._on_move)
        layers = [(f"{l}", l) for l in range(1, len(sizes))]
        menu = widgets.Dropdown(description="Layer", options=layers, value=layer, layout=widgets.Layout(width="150px"))
        self.layer_menu = self.control(menu, "layer", self._on_layer)
        neurons = widgets.IntSlider(
            value=neuron, max=sizes[layer] - 1, description="Neuron", layout=widgets.Layout(flex="1 1 240px")
        )
        self.neuron_slider = self.control(neurons, "neuron", self._on_move)
        off = widgets.Dropdown(
            description="Switch off",
            options=[NOTHING_OFF, *self._rule.settings.terms],
            layout=widgets.Layout(width="230px"),
        )
        self.off_menu = self.control(off, "off", self._recompute)
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="300px")}
        box = widgets.IntText(value=seed, description="Base model seed", continuous_update=False, **wide)
        self.seed_box = self.control(box, "seed", self._recompute)
        scale = widgets.Checkbox(description="Terms share one colour scale", value=True, indent=False)
        self.scale_box = self.control(scale, "scale", self._redraw)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        controls = [self.slider, self.layer_menu, self.neuron_slider, self.off_menu]
        fold = [self.seed_box, self.scale_box, self.reset_button, self.data_controls()]
        self.lay_out(controls, fold, "More: base model, colours, your own data")

    def _on_move(self) -> None:
        self.set_quietly(self.slider, value=self.specimen.steps[self._frame])
        self._redraw()

    def _on_layer(self) -> None:
        self._fit_neuron(min(self.neuron_slider.value, self.specimen.sizes[self.layer_menu.value] - 1))
        self._redraw()

    def _fit_neuron(self, unit: int) -> None:
        """Let the slider run over the layer's neurons; its value goes first or last, so that it is always inside."""
        most = self.specimen.sizes[self.layer_menu.value] - 1
        if unit > self.neuron_slider.max:
            self.set_quietly(self.neuron_slider, max=most)
            self.set_quietly(self.neuron_slider, value=unit)
        else:
            self.set_quietly(self.neuron_slider, value=unit)
            self.set_quietly(self.neuron_slider, max=most)

    def _on_reset(self) -> None:
        self.drop_work()
        step, layer, neuron, seed = self._opening
        self.data_back()
        self._specimen = self._known[None, seed, self.wanted]
        self._put_back()
        self.set_quietly(self.slider, value=step)
        self.set_quietly(self.layer_menu, value=layer)
        self.set_quietly(self.scale_box, value=True)
        self._fit_neuron(neuron)
        self._redraw()

    def _recompute(self) -> None:
        """Teach a base model with what the controls say, off the main thread, unless that is known already."""
        off = None if self.off_menu.value == NOTHING_OFF else self.off_menu.value
        seed, source = self.seed_box.value, self.wanted
        place = self._frame, self.layer_menu.value, self.neuron_slider.value
        if (off, seed, source) in self._known and (None, seed, source) in self._known:
            self.drop_work()
            self._open(self._known[off, seed, source])
            return

        def work(progress: Progress, stop: threading.Event) -> Specimen:
            task = source.task()
            settings: dict[str, Any] = {"sizes": self.fitted(self._sizes, task), "steps": self._steps, "seed": seed}
            wanted = [o for o in dict.fromkeys((None, off)) if (o, seed, source) not in self._known]
            for i, o in enumerate(wanted):

                def tell(done: int, total: int, before: int = i) -> None:
                    progress(before * total + done, len(wanted) * total)

                made = prepare(self._rule, task, off=o, progress=tell, stop=stop, **settings)
                made.accuracy(-1)
                self._known[o, seed, source] = made
            self._draw(self._known[off, seed, source], *place)
            return self._known[off, seed, source]

        self.start("Learning anew" if off is None else f"Learning without {off}", work, self._open, self._put_back)

    # ---- showing

    def _open(self, specimen: Specimen) -> None:
        self._specimen = specimen
        self._put_back()
        self._redraw()

    def _put_back(self) -> None:
        """Let the controls say what is shown."""
        self.data_shown(self.specimen.task)
        self.set_quietly(self.off_menu, value=self.specimen.off or NOTHING_OFF)
        self.set_quietly(self.seed_box, value=self.specimen.seed)

    def _film(self, specimen: Specimen, name: str, layer: int) -> Film:
        """The film of a panel, made when first needed; terms have two, one of images and one of bars.

        All base models of a task share them: a film has a frame for every neuron at every step of every base model.
        """
        images = layer == 1 and specimen.task.shape is not None
        key = (name, images if name == "terms" else None, specimen.task)
        if key not in self._films:
            look, frames = self._look, _MOST * specimen.n_views
            if name == "terms":
                first = next(known for known in self._known.values() if known.task is specimen.task)
                self._films[key] = TermsFilm(look, frames, like=first.view(0, layer, 0))
            else:
                self._films[key] = (InputsFilm if name == "inputs" else HiddenFilm)(look, frames)
        return self._films[key]

    def _look(self, number: int) -> NeuronView:
        """What a frame of the films shows."""
        specimens = list(self._known.values())
        which, rest = divmod(number, specimens[0].n_views)
        return specimens[which].numbered(rest)

    def _draw(self, specimen: Specimen, frame: int, layer: int, unit: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel."""
        drawn = {}
        for name in PANELS:
            film = self._film(specimen, name, layer)
            number = list(self._known.values()).index(specimen) * specimen.n_views + specimen.number(frame, layer, unit)
            if name == "terms" and not self.scale_box.value:
                number += _MOST * specimen.n_views
            drawn[name] = film.png(number), film.alt(number)
        return drawn

    def _redraw(self) -> None:
        """Show all panels at the step and the neuron chosen."""
        drawn = self._draw(self.specimen, self._frame, self.layer_menu.value, self.neuron_slider.value)
        for name, (png, alt) in drawn.items():
            self.show(name, png, alt)
        if not self.busy:
            self.say(self._summary())

    def _summary(self) -> str:
        view, s = self.view, self.specimen
        low = min(view.shares, key=lambda name: view.shares[name])
        against = f", {low} works most against it ({percent(view.shares[low])})" if view.shares[low] <= -0.005 else ""
        words = (
            f"Step {self.step} of {s.steps[-1]}{self.on_data}, layer {view.layer}, neuron {view.unit}: "
            f"{view.strongest} does most ({percent(view.shares[view.strongest])}){against}. Few-shot accuracy "
            f"{self.accuracy:.2f} at this step, {s.accuracy(-1):.2f} at the last"
        )
        if s.off is None:
            return f"{words}."
        whole = self._known[None, s.seed, self._shown_source]
        return f"{words}; taught without {s.off} (with all terms {whole.accuracy(-1):.2f})."

    def kept(self) -> str:
        """Which base model is still shown."""
        s = self.specimen
        taught = "taught with all terms" if s.off is None else f"taught without {s.off}"
        return f"Still showing base model {s.seed}{self.on_data}, {taught}."

    def _sheet(self) -> bytes:
        """The three pictures on one sheet, for readers without a kernel."""
        images = {name: Image.open(io.BytesIO(self.panels[name].value)).convert("RGB") for name in PANELS}
        width, gap = images["terms"].width, images["terms"].width - 2 * images["inputs"].width
        height = images["inputs"].height
        sheet = Image.new("RGB", (width, height + images["terms"].height), "white")
        places = {"inputs": (0, 0), "hidden": (images["inputs"].width + gap, 0), "terms": (0, height)}
        for name, place in places.items():
            sheet.paste(images[name], place)
        buffer = io.BytesIO()
        small = sheet.resize((round(width * _STORED), round(sheet.height * _STORED)), Image.Resampling.LANCZOS)
        small.save(buffer, format="png")
        return compact_png(buffer.getvalue())
