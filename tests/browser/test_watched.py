"""`watched` in a real JupyterLab: its line grows, Stop ends the call, the notebook's own stop button ends the cell."""

from __future__ import annotations

import pytest

from .conditions import text_matches
from .lab import LabServer
from .page import LabPage, Run

pytestmark = pytest.mark.browser

COUNT = """
import time

from metarules.widgets import kept, watched


def count(n, *, progress, stop):
    done = []
    while len(done) < n and not stop.is_set():
        time.sleep(0.02)
        done.append(len(done))
        progress(len(done), n)
    return done
"""
LINE = ".metarules-work-status"


@pytest.fixture
def counting(lab: LabPage, lab_server: LabServer) -> LabPage:
    """A notebook that counts, running."""
    lab_server.write_notebook("counting.ipynb", [COUNT, "found = watched('Counting', count, 1000)", "after = True"])
    lab.open_notebook("counting.ipynb")
    lab.run_all(wait=False)
    lab.wait_for(f"() => /[1-9][0-9]* of 1000/.test(document.querySelector('{LINE}')?.innerText)")
    return lab


def test_stop_ends_the_call_and_the_notebook_goes_on(counting: LabPage) -> None:
    counting.timed(lambda: counting.click("metarules-work-stop"), text_matches(LINE, "then stopped; these are kept"), 5)
    run = counting.wait_for_run()
    assert not run.errors and counting.kernel_value("0 < len(found) < 1000 and after")


def test_an_interrupt_ends_the_cell_with_one_sentence(counting: LabPage) -> None:
    counting.interrupt()
    run = counting.wait_for_run()
    assert isinstance(run, Run) and len(run.errors) == 1 and "Counting: " in run.errors[0], run.errors
    said = counting.text(".jp-OutputArea-output[data-mime-type*='error'], .jp-RenderedText")
    assert "these are kept. kept() gives them." in said and "Traceback" not in said and "File" not in said
    assert counting.kernel_value("0 < len(kept()) < 1000 and 'after' not in globals()")
    counting.screenshot("interrupted")
