"""What ipywidgets leaves out for readers without a mouse or without sight: keys, a ring of focus, names.

And for those with a small window: controls that stay in sight while the page is scrolled to a picture far below.
"""

from __future__ import annotations

from typing import Any

import anywidget
import ipywidgets

# The fold's own colour for a closed header is too faint to read in both of JupyterLab's themes (4.2 and 4.4 to 1).
_CSS = """
.metarules-fold .jupyter-widget-Collapse-header { color: var(--jp-ui-font-color0) !important; }
:is(.metarules-widget, .metarules-film, .metarules-pad, .metarules-work)
:is(button, select, input, [role="slider"], [role="button"], [role="textbox"]):focus-visible {
  outline: 2px solid var(--jp-ui-font-color0, #1f2328) !important;
  outline-offset: 2px;
}
.metarules-controls { position: sticky; top: 0; z-index: 5; background: var(--jp-layout-color0, white); }
/* An ancestor that hides or scrolls what sticks out would be the window that the controls stick to. */
:is(.metarules-widget, .metarules-film, .metarules-controls) { overflow: visible !important; }
:is(.jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output):has(.metarules-controls) {
  overflow: visible !important;
}
"""
# The views of a widget come one by one, later than this one: an observer tends to each as it comes, and to each fold
# that opens. It watches the classes and the tree alone, of which nothing is changed here.
_ESM = """
const HEADER = ".jupyter-widget-Collapse-header";
// What controls are worked with, letters besides. JupyterLab would take these keys for its own: an arrow on a list
// would lead to another cell, and two letters d would delete one.
const OWN = /^(Enter|Home|End|Arrow.*|Page.*)$/;
const PLAY = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Stop and go to the start", "fa-retweet": "Repeat" };

function tell(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

function tend(root) {
  for (const header of root.querySelectorAll(HEADER)) {
    const open = header.parentElement.classList.contains("jupyter-widget-Collapse-open");
    tell(header, { tabindex: "0", role: "button", "aria-expanded": open });
  }
  for (const slider of root.querySelectorAll(".widget-slider")) {
    const name = slider.querySelector(".widget-label")?.textContent.trim() || "Slider";
    const off = slider.querySelector("[disabled]") !== null;
    for (const handle of slider.querySelectorAll('[role="slider"]')) {
      tell(handle, { "aria-label": name, "aria-disabled": off, tabindex: off ? "-1" : "0" });
    }
    slider.querySelectorAll(".widget-readout").forEach(box => tell(box, { role: "textbox", "aria-label": name }));
  }
  for (const box of root.querySelectorAll("select, input, textarea")) {
    const part = box.closest('[class*="metarules-"]').className.match(/metarules-([\\w-]+)/)[1];
    if (!box.labels?.[0]?.textContent.trim()) tell(box, { "aria-label": part.replaceAll("-", " ") });
  }
  for (const icon of root.querySelectorAll(".widget-play button i")) {
    const name = Object.entries(PLAY).find(([kind]) => icon.classList.contains(kind))?.[1];
    if (name) tell(icon.parentElement, { title: name, "aria-label": name });
  }
}

function render({ el }) {
  let gone = false;
  let root = null;
  const observer = new MutationObserver(() => tend(root));
  const own = event => !event.ctrlKey && !event.metaKey && !event.altKey &&
    !(event.shiftKey && event.key === "Enter") && (event.key.length === 1 || OWN.test(event.key));
  // Notebook 7 looks for its shortcuts before a key comes down to the control, but not where it finds this attribute.
  const claim = event => {
    if (root.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", own(event));
  };
  const press = event => {
    if (!own(event)) return;
    event.stopPropagation();
    const header = event.target.closest(HEADER);
    if (!header || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    header.click();
  };
  const start = () => {
    if (gone) return;
    root = el.closest(".metarules-widget, .metarules-film, .metarules-pad, .metarules-work");
    if (!root) return void setTimeout(start, 50); // not yet in the page
    observer.observe(root, { subtree: true, childList: true, attributeFilter: ["class", "disabled"] });
    root.addEventListener("keydown", press);
    window.addEventListener("keydown", claim, true);
    tend(root);
  };
  start();
  return () => {
    gone = true;
    observer.disconnect();
    root?.removeEventListener("keydown", press);
    window.removeEventListener("keydown", claim, true);
  };
}
export default { render };
"""


class Keys(anywidget.AnyWidget):
    """An invisible part of an `Explorable`: keys reach and work its controls, focus has a ring, each has a name."""

    _esm = _ESM
    _css = _CSS

    def __init__(self, **traits: Any) -> None:
        super().__init__(layout=ipywidgets.Layout(height="0", margin="0"), **traits)

    def __repr__(self) -> str:
        return "Keys()"
