"""Each lesson's explorer as a film that a page can scrub without a kernel: a WebP picture a frame, and what it shows.

films.record(explorer) asks an explorer for its picture at every recorded step; FILMS says which explorer a lesson has.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from metarules import load_dataset, load_rule, make_task
from metarules.pretrained.storage import shipped_run
from metarules.studies.evolution import evolution
from metarules.widgets import InnerLoopExplorer
from metarules.widgets.backward_weights import BackwardWeights
from metarules.widgets.explorer import Explorer
from metarules.widgets.generalisation_grid import GeneralisationGrid
from metarules.widgets.layers import LayersExplorer
from metarules.widgets.meta_objective_explorer import MetaObjectiveExplorer
from metarules.widgets.meta_training_console import MetaTrainingConsole
from metarules.widgets.neuron_microscope import NeuronMicroscope
from metarules.widgets.random_net import RandomNetExplorer
from metarules.widgets.rule_mixer import RuleMixer
from metarules.widgets.rule_timeline import RuleTimeline

MOST_FRAMES = 24  # at 30 to 80 kB each: a film loads in seconds on a phone
QUALITY = 80  # of WebP: no difference from the PNG is seen at this size


@dataclass(frozen=True)
class Frame:
    """One frame: the step, the path of its picture from the folder of films, its size and what it shows."""

    step: int
    path: str
    width: int
    height: int
    alt: str


def _digits() -> Any:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


FILMS: dict[str, dict[str, Callable[[], Explorer[Any]]]] = {  # lesson: caption: how its explorer opens
    "00_start_here": {
        "The shipped rule teaches a net": lambda: InnerLoopExplorer(load_rule("local"), _digits()),
        "Two rules on the same digits from the same seed": lambda: InnerLoopExplorer("local", _digits(), beside="hebb"),
    },
    "01_base_model": {"What each layer of a random net keeps": lambda: RandomNetExplorer(_digits())},
    "02_local_rules": {"Hebb and decorrelation, mixed": lambda: RuleMixer(_digits())},
    "03_update_networks": {"One neuron while it learns": lambda: NeuronMicroscope(load_rule("local"), _digits())},
    "04_backward_weights": {"V turns towards W": lambda: BackwardWeights(load_rule("local"), _digits())},
    "05_meta_objective": {"Points that follow the gradient": MetaObjectiveExplorer},
    "06_inner_loop": {"One image through every layer": lambda: LayersExplorer(load_rule("local"), _digits())},
    "07_outer_loop": {"A rule while it is meta-trained, by meta-steps": MetaTrainingConsole},
    "08_how_a_rule_evolves": {
        "The last snapshot and the start": lambda: RuleTimeline(evolution(shipped_run("local")), _digits())
    },
    "09_does_it_generalise": {"One net of the map learns": lambda: GeneralisationGrid(load_rule("local"))},
    "10_build_your_own_rule": {
        "A rule by hand and the shipped one": lambda: InnerLoopExplorer("hebb_decorrelation", _digits(), beside="local")
    },
}


def record(explorer: Explorer[Any], folder: Path, name: str) -> list[Frame]:
    """Write the picture of every recorded step, at most MOST_FRAMES of them, the first and the last among them."""
    explorer.wait()
    steps = list(explorer.steps_of(explorer.run))
    if len(steps) > MOST_FRAMES:
        steps = [steps[round(i * (len(steps) - 1) / (MOST_FRAMES - 1))] for i in range(MOST_FRAMES)]
    (folder / name).mkdir(parents=True, exist_ok=True)
    frames = []
    for i, step in enumerate(steps):
        explorer.step = step
        png = explorer._repr_mimebundle_()
        png = (png[0] if isinstance(png, tuple) else png)["image/png"]
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        path = f"{name}/{i:02d}.webp"
        picture.save(folder / path, quality=QUALITY)
        alt = " ".join(panel.alt for panel in explorer.panels.values())
        frames.append(Frame(step, path, *picture.size, alt))
    explorer.close()
    return frames


def record_lesson(lesson: str, folder: Path) -> dict[str, list[Frame]]:
    """The films of a lesson by their captions; none for a lesson without one."""
    return {
        caption: record(make(), folder, f"{lesson[:2]}-{i}")
        for i, (caption, make) in enumerate(FILMS.get(lesson, {}).items())
    }
