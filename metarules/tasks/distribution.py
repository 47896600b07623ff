"""The distribution of tasks a rule is meta-trained on: many families of data, always with permuted inputs.

Source: Metz et al., ICLR 2019, section 4 (data sets and permutations sampled per task); breadth: CONTRIBUTING, Sources.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from metarules._checks import check_choice, check_kind, check_number
from metarules._random import whole_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.families import FAMILIES, Draw
from metarules.tasks.families import MAX_CLASSES as MAX_CLASSES
from metarules.tasks.families import TaskForm as TaskForm
from metarules.tasks.making import make_task, stack_tasks
from metarules.tasks.task import Task
from metarules.tasks.task_form import DistributionSettings as DistributionSettings
from metarules.tasks.task_form import draw_form as draw_form


def draw_dataset(
    settings: DistributionSettings, split: str, generator: torch.Generator, form: TaskForm | None = None
) -> Dataset:
    """Draw one data set.

    Args:
        settings: see there.
        split: "train", or "validation" for families that hold something out, such as letters and fonts, alone.
        generator: a CPU torch.Generator.
        form: inputs, classes and examples; None is the usual form.

    Returns:
        x [N, n_0] and balanced classes of that form, of a family that can take it; targets [N, 4] where it has some.

    Raises:
        ValueError: an unknown split, a form that no family with a weight above 0 takes.
    """
    check_choice("split", split, ("train", "validation"))
    weights = {name: w for name, w in settings.weights.items() if split == "train" or FAMILIES[name].held_out}
    return draw_from(weights, settings, form or settings.usual_form, split, generator)


def draw_from(
    weights: Mapping[str, float],
    settings: DistributionSettings,
    form: TaskForm,
    split: str,
    generator: torch.Generator,
) -> Dataset:
    """Draw one data set of one of several families, each as often as its weight says.

    The same numbers are drawn from the generator whatever the family. `settings` holds the ranges of what is drawn; its
    own weights are not looked at. ValueError where no family with a weight above 0 can take the form, or where the
    one drawn returns another form; TypeError where it returns no data set.
    """
    kind, tone, distance = torch.rand(3, generator=generator).tolist()
    seed = int(torch.randint(2**31, (), generator=generator))
    clusters = whole_number(1, settings.clusters, generator)
    bend = settings.glyphs[whole_number(0, len(settings.glyphs) - 1, generator)]
    weighed = [name for name in FAMILIES if weights.get(name, 0) > 0]
    able = [name for name in weighed if FAMILIES[name].can_take(form)]
    if not able:
        raise ValueError(f"form is {form}; allowed: one that {' or '.join(weighed) or 'any kind of data'} can take")
    left = kind * sum(weights[name] for name in able)
    chosen = able[-1]  # where rounding leaves something over
    for name in able:
        left -= weights[name]
        if left < 0:
            chosen = name
            break
    low, high = settings.separation
    separation, inverted = low + (high - low) * distance, tone < settings.inverted_share
    data = FAMILIES[chosen].make(Draw(form, split, seed, clusters, separation, bend, inverted))
    return _checked(chosen, data, form)


def draw_tasks(
    settings: DistributionSettings,
    form: TaskForm | None,
    n: int,
    generator: torch.Generator,
    per_dataset: int = 2,
) -> Task:
    """Draw training tasks of one form, side by side.

    Args:
        settings: see there.
        form: what they share; None is the usual form.
        n: number of tasks.
        generator: a CPU torch.Generator.
        per_dataset: tasks made of each data set, every one with a permutation of its own. A data set takes as long to
            render as an inner step of several tasks, so they share data sets, never a permutation.

    Returns:
        x [n, N, n_0], y [n, N]; targets [n, N, 4] where every data set drawn has some.

    Raises:
        ValueError: n or `per_dataset` below 1, a form that no family with a weight above 0 takes.
    """
    check_number("n", n, low=1, integer=True)
    check_number("per_dataset", per_dataset, low=1, integer=True)
    tasks: list[Task] = []
    while len(tasks) < n:
        data = draw_dataset(settings, "train", generator, form)
        tasks += [make_task(data, generator=generator) for _ in range(min(per_dataset, n - len(tasks)))]
    return stack_tasks(tasks)


def validation_tasks(settings: DistributionSettings, n: int, generator: torch.Generator, kind: str) -> Task:
    """n tasks of held-out data in the usual form, [n, N, n_0].

    Args:
        settings: as for training; the weights of the families are not used.
        n: number of tasks.
        generator: a CPU torch.Generator.
        kind: a family that holds something out: "glyphs" (letters and fonts), "decoders" (kinds of maps),
            "handwriting" (strokes, pens and styles) or your own.

    Raises:
        ValueError: an unknown kind, n below 1.
    """
    check_choice("kind", kind, [name for name, family in FAMILIES.items() if family.held_out])
    check_number("n", n, low=1, integer=True)
    drawn = (draw_from({kind: 1.0}, settings, settings.usual_form, "validation", generator) for _ in range(n))
    return stack_tasks([make_task(data, generator=generator) for data in drawn])


def _checked(name: str, made: object, form: TaskForm) -> Dataset:
    """What a family returned, held to what it was asked for."""
    data = check_kind(f"what family {name!r} returned", made, Dataset)
    found, asked = (*data.x.shape, data.n_classes), (form.n_examples, form.n_inputs, form.n_classes)
    if found != asked:
        here, there = (f"{n} x {n_inputs} in {classes} classes" for n, n_inputs, classes in (found, asked))
        raise ValueError(f"family {name!r} returned {here}; allowed: {there}")
    fewest, least = int(data.y.bincount(minlength=form.n_classes).min()), form.n_examples // form.n_classes
    if fewest < least:
        raise ValueError(f"family {name!r} returned a class of {fewest} examples; allowed: {least} or more in each")
    return data
