"""`MetaTrainingConsole`: it opens recorded; start, pause, go on, stop; nothing is left running; the rule is kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from metarules.pretrained import load_rule
from metarules.studies import menu
from metarules.studies.live_record import load_run
from metarules.studies.menu import rules_beside
from metarules.widgets import presence
from metarules.widgets.meta_training_console import MetaTrainingConsole

PATIENCE = 600  # seconds at most; a quiet machine needs ten


def said(console: MetaTrainingConsole) -> str:
    return re.sub("<[^>]+>", "", console.status.value)


def workers() -> int:
    return sum(thread.name == "metarules-worker" for thread in threading.enumerate())


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def console() -> Iterator[MetaTrainingConsole]:
    made = MetaTrainingConsole()
    made.truncation_menu.value, made.mix_menu.value, made.meta_steps_box.value = "1 step", "letters alone", 3
    yield made
    made.stop()
    made.wait(PATIENCE)


def test_a_key_moves_over_steps_that_were_not_recorded(console: MetaTrainingConsole):
    before, last = load_run().steps[-2:]
    assert last - before > 1
    for pressed, shown in ((last - 1, before), (before + 1, last)):  # left, right
        console.slider.value = pressed
        assert console.step == shown == console.slider.value


def test_it_opens_with_the_recorded_run(console: MetaTrainingConsole):
    run = load_run()
    console.reset()
    assert said(console).startswith("A recorded run") and f"{run.accuracy():.2f} at the end" in said(console)
    assert console.step == run.steps[-1] and console.start_button.description == "Start" and not console.busy
    assert all(picture.value and len(picture.alt.split()) > 5 for picture in console.panels.values())
    before = {name: picture.value for name, picture in console.panels.items()}
    console.slider.value = 0
    assert console.step == 0 and all(picture.value != before[name] for name, picture in console.panels.items())


def test_start_pause_go_on_to_the_end(console: MetaTrainingConsole):
    threads = workers()
    console.start_button.click()
    assert console.busy and console.start_button.description == "Pause"
    until(lambda: console.live is not None and console.live.number >= 1)
    console.start_button.click()
    assert console.wait(PATIENCE) and console.start_button.description == "Go on" and said(console).startswith("Paused")
    assert workers() == threads and console.live is not None and not console.live.over
    live, number = console.live, console.live.number
    console.start_button.click()
    assert console.wait(PATIENCE) and console.live is live and live.number == 3 > number - 1
    assert said(console).startswith("Your run, meta-step 3 of 3") and console.start_button.description == "Start"
    assert len(console.run.loss) == 3 and console.accuracy == console.run.accuracy() and workers() == threads


def test_stop_keeps_the_rule_and_the_next_start_is_another_run(console: MetaTrainingConsole, tmp_path: Path):
    console.start_button.click()
    until(lambda: console.live is not None and console.live.number >= 1)
    console.stop_button.click()
    assert (
        console.wait(PATIENCE) and said(console).startswith("Stopped") and console.start_button.description == "Start"
    )
    kept, live = console.rule, console.live
    console.file_box.value = str(tmp_path / "mine.safetensors")
    console.save_button.click()
    again = load_rule(tmp_path / "mine.safetensors")
    assert torch.equal(parameters_to_vector(again.parameters()), parameters_to_vector(kept.parameters()))
    console.use_button.click()
    label = f"My rule (meta-step {kept.card['meta_steps']})"
    assert label in said(console) and label in rules_beside(load_rule("local"))
    menu._KEPT.clear()
    console.start_button.click()
    until(lambda: console.live is not live)
    console.stop()
    assert console.wait(PATIENCE)


def test_an_interrupt_a_closed_page_and_a_second_console_pause_it(console: MetaTrainingConsole):
    def a_rival() -> None:
        MetaTrainingConsole()

    def close_the_page() -> None:
        console._presence._deadline = time.monotonic() - 1

    console.meta_steps_box.value = 50
    for end in (presence._interrupt_all, close_the_page, a_rival):
        console.train()
        assert console.wait(0.0) is False
        end()
        assert console.wait(PATIENCE) and said(console).startswith("Paused") and not console._presence.watching, end


def test_a_page_that_beats_is_there_and_without_one_nothing_is_lost():
    page = presence.Presence()
    page.watch(True)
    assert not page.lost
    page.beat = 1.0
    assert not page.lost and page._deadline is not None
    page._deadline = time.monotonic() - 1
    assert page.lost
    page.beat = 2.0
    assert not page.lost


def test_bad_choices_are_answered_with_a_sentence(console: MetaTrainingConsole):
    for control, value, words in (
        (console.seed_box, -3, "seed is -3"),
        (console.rate_box, 0.0, "learning_rate is 0"),
        (console.meta_steps_box, 0, "meta_steps is 0"),
    ):
        good = control.value
        control.value = value
        console.start_button.click()
        assert words in said(console) and not console.busy and console.start_button.description == "Start"
        control.value = good
    for button in (console.save_button, console.use_button):
        button.click()
        assert "press Start first" in said(console)


def test_every_choice_reaches_the_settings(console: MetaTrainingConsole):
    before = console.wanted()
    menus = (console.preset_menu, console.from_menu, console.mix_menu, console.truncation_menu, console.estimator_menu)
    for control in menus:
        control.value = next(value for value in control.options if value != control.value)
        assert console.wanted() != before
        before = console.wanted()
    console.rate_box.value, console.seed_box.value = 0.5, 7
    assert console.wanted().learning_rate == 0.5 and console.wanted().seed == 7
    assert said(console).startswith("The next Start uses this choice")
    console.reset_button.click()
    assert console.wanted().seed == 0 and said(console).startswith("A recorded run")


def test_a_line_of_python_brings_its_choices_and_step_back(console: MetaTrainingConsole):
    console.from_menu.value, console.meta_steps_box.value, console.seed_box.value = "from scratch", 50, 4
    console.step = 20
    again = MetaTrainingConsole()
    exec(console.as_code("again"), {"again": again})
    assert again.wanted() == console.wanted() and again.step == 20 and again.as_code() == console.as_code()
    with pytest.raises(ValueError, match="colour"):
        again.restore(colour=True)
