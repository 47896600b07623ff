"""A widget without a mouse: Tab reaches every control, a ring shows where the focus is, keys work what it is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .conditions import text_matches
from .widget import Widget

ROOT = ".metarules-widget"
SOON = 40  # looks, 50 ms apart, until a control must stand where it stood
RING = 3.0  # contrast of the ring of focus with what is around it: WCAG 2.1, 1.4.11
# What a control of each kind must answer: a click, or another value (and which key takes that back).
CLICKED = {"submit": ("Enter", "Space"), "button": ("Enter", "Space")}
CHANGED = {
    "slider": ("ArrowLeft", "ArrowRight"),
    "select-one": ("ArrowDown", "ArrowUp"),
    "checkbox": ("Space", "Space"),
}
TYPED = ("number", "text", "textbox")  # takes whatever is typed; that these boxes act is for the lessons' tests to show

# Where Notebook 7 finds this it looks for no shortcut: it would before a key comes down to the control.
CLAIMED = "document.activeElement.hasAttribute('data-lm-suppress-shortcuts')"

# Work that never ends by itself, to be stopped.
ENDLESS = """
def _work_until_stopped():
    from metarules.widgets.base import Explorable
    from metarules._work import Stopped

    def work(progress, stop):
        stop.wait(60)
        raise Stopped("stopped by a key")

    shown = [value for value in globals().values() if isinstance(value, Explorable)][-1]
    shown.start("Working", work, lambda result: None, lambda: None)
"""


@dataclass(frozen=True)
class Control:
    """A control in sight, by what Tab reaches.

    Attributes:
        number: in the page, from 0.
        kind: what it is: its ARIA role, type or tag, or "fold".
        name: what a screen reader calls it.
        expanded: of a fold, whether it is open, "true" or "false".
        widget: number of the widget that it belongs to: a slider and its read-out are one.
    """

    number: int
    kind: str
    name: str
    expanded: str | None
    widget: int


def controls(widget: Widget) -> list[Control]:
    """All controls in sight, the folded ones left out."""
    return [Control(**found) for found in widget.lab.page.evaluate("s => harness.controls(s)", ROOT)]


def focused(widget: Widget) -> dict[str, Any]:
    """`number` of the control that has the focus, None if it is none of the widget's; `contrast` of its ring."""
    return dict(widget.lab.page.evaluate("harness.focused()"))


def check_tab(widget: Widget) -> list[Control]:
    """Tab goes through all controls in sight, in reading order; each has a name and, focused, a ring that is seen."""
    found, page = controls(widget), widget.lab.page
    page.evaluate("s => harness.focusBefore(s)", ROOT)
    for control in found:
        page.keyboard.press("Tab")
        now = focused(widget)
        assert now["number"] == control.number, f"Tab reached {now['number']} and not {control}, of {found}"
        assert now["contrast"] >= RING, f"no ring to be seen around {control}: {now['contrast']} to 1"
        assert control.name, f"a control without a name: {control}"
    page.keyboard.press("Tab")
    assert focused(widget)["number"] is None, "Tab does not leave the widget"
    return found


def check_fold(widget: Widget) -> None:
    """Enter and Space open and close the fold, which says how it is."""
    page = widget.lab.page
    (fold,) = (control for control in controls(widget) if control.kind == "fold")
    page.locator(f"{ROOT} [data-harness='{fold.number}']").focus()
    for key, expanded in (("Enter", "true"), ("Space", "false"), ("Space", "true"), ("Enter", "false")):
        page.keyboard.press(key)
        widget.lab.wait_for(
            "([s, wanted]) => document.querySelector(`${s} [aria-expanded]`).ariaExpanded === wanted",
            5,
            [ROOT, expanded],
        )
        seen = widget.lab.find("metarules-fold").locator(".jupyter-widget-Collapse-contents").is_visible()
        assert seen == (expanded == "true"), key
        assert focused(widget)["number"] == fold.number, f"{key} on the fold took the focus away"


def check_keys(widget: Widget) -> None:
    """Every control in sight answers its keys. Its widget does not hear of it, but for sliders: press Reset after."""
    page = widget.lab.page
    found = controls(widget)
    page.evaluate("s => harness.deafen(s, true)", ROOT)
    try:
        for control in found:
            page.locator(f"{ROOT} [data-harness='{control.number}']").focus()
            before = page.evaluate("harness.pressed()")["state"]
            for key in CLICKED.get(control.kind, ()):
                page.keyboard.press(key)
                assert page.evaluate("harness.pressed()")["clicks"] == 1, f"{key} does not press {control}"
            if control.kind in CHANGED:
                there, back = CHANGED[control.kind]
                page.keyboard.press(there)
                assert page.evaluate(CLAIMED), f"Notebook 7 would take {there} from {control}"
                after = page.evaluate("harness.pressed()")["state"]
                page.keyboard.press(back)
                if after == before:  # it stood at that end
                    after = page.evaluate("harness.pressed()")["state"]
                    page.keyboard.press(there)
                assert after != before, f"{there} and {back} do not move {control}"
                for _ in range(SOON):  # a slider goes on to a recorded step, once the kernel has said so
                    if page.evaluate("harness.pressed()")["state"] == before:
                        break
                    page.wait_for_timeout(50)
                else:
                    raise AssertionError(f"{there} and {back} leave {control} moved")
            known = {*CLICKED, *CHANGED, *TYPED, "fold"}
            assert control.kind in known, f"{control} is of a kind that this test does not know: add what its keys do"
    finally:
        page.evaluate("s => harness.deafen(s, false)", ROOT)


def check_reset(widget: Widget) -> None:
    """Enter on Reset brings everything back."""
    widget.move()
    widget.lab.find("metarules-reset").focus()
    widget.lab.page.keyboard.press("Enter")
    widget.wait_until_reset()


def check_stop(widget: Widget) -> None:
    """Work in progress is stopped by keys: Tab reaches Stop, Enter presses it."""
    lab = widget.lab
    lab.kernel_value("_work_until_stopped()", setup=ENDLESS)
    lab.wait_for("() => document.querySelector('.metarules-stop').checkVisibility({ visibilityProperty: true })")
    assert "Stop" in {control.name for control in check_tab(widget)}
    lab.find("metarules-stop").focus()
    lab.timed(lambda: lab.page.keyboard.press("Enter"), text_matches(widget.status, "^Stopped by a key"))
    assert not lab.find("metarules-stop").is_visible()
