"""The harness itself, on a tiny notebook with a slider, pictures, a button and a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from .conditions import js, pictures_change, text_changes, text_matches, visible
from .lab import LabServer
from .lesson import INTERRUPTED
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "harness.ipynb"
FIGURE = """
import io, sys, time
import ipywidgets as w
import matplotlib.pyplot as plt
from PIL import Image
plt.plot([1, 2]); plt.show()
"""
WIDGET = """
def png(value):
    file = io.BytesIO()
    Image.new("L", (64, 64), 25 * value).save(file, "png")
    return file.getvalue()

slider = w.IntSlider(value=3, max=10, continuous_update=False); slider.add_class("t-slider")
moving = w.Image(value=png(3)); moving.add_class("t-moving")
still = w.Image(value=png(3)); still.add_class("t-still")
button = w.Button(description="Go"); button.add_class("t-button")
choice = w.Box([w.Dropdown(options=["left", "right"])]); choice.add_class("t-choice")
tick = w.Checkbox(description="Tick"); tick.add_class("t-tick")
number = w.IntText(value=1, continuous_update=False); number.add_class("t-number")
fold = w.Accordion([w.VBox([tick, number])], titles=["More"], selected_index=None); fold.add_class("t-fold")
status = w.HTML("ready"); status.add_class("t-status")

def on_slide(change):
    moving.value = png(change.new)
    status.value = f"at {change.new}"

def on_click(button):
    status.value = "busy"
    time.sleep(0.5)
    status.value = "done"

def on_other(change):
    status.value = str(change.new)

slider.observe(on_slide, "value")
button.on_click(on_click)
for control in (choice.children[0], tick, number):
    control.observe(on_other, "value")
box = w.VBox([slider, w.HBox([moving, still]), button, choice, fold, status]); box.add_class("t-widget")
display(box)
"""
# The kernel's own work before a cell: an interrupt here is caught outside what guards the cell.
SLOW_KERNEL = """
import time

def slowly(lines):
    if any("nap" in line for line in lines) and globals().pop("slow_kernel", False):
        time.sleep(60)
    return lines

slow_kernel = True
get_ipython().input_transformers_cleanup.append(slowly)
"""
NAP = """
for _ in range(globals().get("nap", 0)):
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def tiny(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The notebook, run once."""
    lab_server.write_notebook(NAME, ["# A tiny notebook", FIGURE, WIDGET, NAP, 'print("end")'])
    lab = new_lab()
    lab.open_notebook(NAME)
    lab.run_all()
    yield lab
    lab.close()


def test_run_all_tells_times_and_errors(tiny: LabPage, report: Report) -> None:
    run = tiny.run_all()  # for the second time in this kernel
    assert isinstance(run, Run)
    assert not run.errors and not tiny.cells_with_errors() and not tiny.console_errors()
    assert [cell.count for cell in run.cells] == [5, 6, 7, 8]
    assert run.first_picture is not None and 0 < run.first_picture <= run.seconds + 1
    assert 0 < run.slowest < run.seconds
    report.add("harness", "Run All of a tiny notebook", [run.seconds], unit="s")


def test_slider_changes_its_picture_alone(tiny: LabPage) -> None:
    before, still = tiny.pictures(".t-moving"), tiny.image_sources(".t-still")
    assert before == tiny.pictures(".t-still")  # the same bytes: both show value 3
    tiny.timed(lambda: tiny.press_slider("t-slider"), pictures_change(".t-moving"))
    assert tiny.kernel_value("slider.value") == 4
    assert tiny.text(".t-status") == "at 4"
    assert tiny.pictures(".t-moving") != before
    assert tiny.image_sources(".t-still") == still
    tiny.timed(lambda: tiny.fill_readout("t-slider", 3), text_matches(".t-status", "^at 3$"))
    assert tiny.pictures(".t-moving") == before


def test_redraw_is_timed(tiny: LabPage, report: Report) -> None:
    tiny.fill_readout("t-slider", 0)
    keys = ["ArrowRight"] * 10 + ["ArrowLeft"] * 10
    times = [tiny.timed(lambda k=key: tiny.press_slider("t-slider", k), pictures_change(".t-moving")) for key in keys]
    assert report.add("harness", "redraw of a plain picture", times, bound=200) < 200
    assert min(times) > 1


def test_button_shows_busy_then_done(tiny: LabPage) -> None:
    busy, done = text_matches(".t-status", "^busy$"), text_matches(".t-status", "^done$")
    times = tiny.timed_all(lambda: tiny.click("t-button"), {"busy": busy, "done": done})
    assert times["busy"] < 450 < times["done"] < 5000


def test_other_controls(tiny: LabPage) -> None:
    assert tiny.choices("t-choice") == ["left", "right"]
    tiny.timed(lambda: tiny.choose("t-choice", "right"), text_matches(".t-status", "^right$"))
    assert not tiny.find("t-tick").is_visible()
    tiny.unfold("t-fold")
    tiny.unfold("t-fold")  # it stays open
    tiny.unfold("t-fold", False)
    assert not tiny.find("t-tick").is_visible()
    tiny.unfold("t-fold")
    tiny.timed(lambda: tiny.toggle("t-tick"), text_matches(".t-status", "^True$"))
    tiny.timed(lambda: tiny.fill_number("t-number", -7), text_matches(".t-status", "^-7$"))


def test_conditions_that_fail_say_so(tiny: LabPage) -> None:
    assert tiny.timed(lambda: tiny.press_slider("t-slider"), js("() => true")) < 2000
    assert tiny.timed(lambda: tiny.press_slider("t-slider"), visible(".t-nothing", wanted=False)) < 2000
    with pytest.raises(Exception, match="it had not come true"):
        tiny.timed(lambda: tiny.press_slider("t-slider"), text_changes(".t-nothing"), timeout=0.3)
    with pytest.raises(Exception, match="no key, mouse or change event"):
        tiny.timed(lambda: None, js("() => true"), timeout=0.3)
    with pytest.raises(Exception, match="NameError"):
        tiny.kernel_value("nothing_of_that_name")


def test_interrupt_is_survived(tiny: LabPage) -> None:
    tiny.kernel_value("None", setup="nap = 2000")
    tiny.run_all(wait=False)
    tiny.wait_for("() => harness.cells()[2].running && harness.cells()[1].count !== null")
    tiny.interrupt()
    assert [error.split(":")[0] for error in tiny.wait_for_run().errors] == ["code cell 2"]
    assert tiny.cells()[3].count is None
    tiny.kernel_value("None", setup="nap = 0")
    run = tiny.run_all()
    assert isinstance(run, Run) and not run.errors
    tiny.timed(lambda: tiny.press_slider("t-slider"), pictures_change(".t-moving"))


def test_an_interrupt_in_the_kernels_own_code_is_told_and_survived(tiny: LabPage) -> None:
    tiny.kernel_value("None", setup=SLOW_KERNEL)
    tiny.run_all(wait=False)
    tiny.wait_for("() => harness.cells()[1].count !== null && harness.status() === 'busy'")
    tiny.page.wait_for_timeout(500)
    tiny.interrupt()
    run = tiny.wait_for_run(timeout=20)
    assert run.unanswered == 1 and not run.errors
    assert run.cells[2].running and run.cells[2].count is None and run.cells[3].count is not None
    run = tiny.run_all()
    assert isinstance(run, Run) and not run.errors and not run.unanswered
    assert all(cell.count is not None and not cell.running for cell in run.cells)


def test_matplotlib_hides_an_interrupt_behind_a_complaint() -> None:
    """Why `lesson.INTERRUPTED` has more than one entry. Once this fails, they can go."""

    class Interrupted(Bbox):
        def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match=INTERRUPTED[2]):
        Interrupted(np.array([[0.0, 0.0], [1.0, 1.0]])).count_overlaps([Bbox.unit()])


def test_restart_forgets(tiny: LabPage) -> None:
    tiny.restart()
    assert tiny.kernel_value("'slider' in globals()") is False
    run = tiny.run_all()
    assert isinstance(run, Run) and not run.errors and [cell.count for cell in run.cells] == [1, 2, 3, 4]


def test_screenshots_in_both_themes(tiny: LabPage) -> None:
    for theme in ("dark", "light"):
        tiny.set_theme(theme)
        (whole,), (widget,) = tiny.screenshot(theme), tiny.screenshot(f"widget-{theme}", "t-widget")
        assert whole.stat().st_size > widget.stat().st_size > 1000
        assert {text for text, _ in tiny.contrasts(".t-widget")} >= {"Go", "3", "ready"}
        assert tiny.contrasts(".t-status")[0][1] > 4.5


def test_nothing_gets_out(tiny: LabPage, lab_server: LabServer) -> None:
    assert not tiny.outside and not lab_server.outside_attempts()
    tiny.page.evaluate("fetch('http://example.invalid/x').catch(() => null)")
    assert tiny.outside == ["http://example.invalid/x"]
    fetch = "import urllib.request\ntry:\n urllib.request.urlopen('http://example.invalid')\nexcept OSError: pass"
    tiny.kernel_value("None", setup=fetch)
    attempts = lab_server.outside_attempts()
    assert len(attempts) == 1 and "example.invalid" in attempts[0]
    (lab_server.folder / "outside.log").unlink()  # for the tests that follow


def test_errors_and_warnings_are_seen(lab: LabPage, lab_server: LabServer) -> None:
    inside = "out = w.Output()\nwith out:\n    raise ValueError('hidden')\n"
    lab_server.write_notebook("failing.ipynb", ["import ipywidgets as w, sys", inside, "out", "sys.stderr.write('w')"])
    lab.open_notebook("failing.ipynb")
    run = lab.run_all()
    assert isinstance(run, Run) and len(run.errors) == 1 and "hidden" in run.errors[0]
    assert run.cells[2].errors and not run.cells[2].stderr
    assert run.cells[3].stderr == ("w",)


def test_server_leaves_nothing_running(tmp_path_factory: pytest.TempPathFactory) -> None:
    with LabServer(tmp_path_factory.mktemp("another")) as server:
        server.ask("POST", "api/kernels")
        started = server.processes()
        assert len(started) >= 2  # itself and a kernel
    assert not any(process.is_running() for process in started)
