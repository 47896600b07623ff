"""A PNG picture with alternative text. (`ipywidgets.Image` has none, and fails to show when given a tooltip.)"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets
from PIL import Image, ImageChops

_ESM = """
function render({ model, el }) {
  const img = document.createElement("img");
  img.style.cssText = "display: block; max-width: 100%; height: auto; border-radius: 4px; background: white";
  const draw = () => {
    const url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    const old = img.src;
    img.src = url;
    if (old) URL.revokeObjectURL(old);
  };
  const tell = () => {
    img.alt = model.get("alt");
    img.width = model.get("width");
    img.style.cursor = model.get("draggable") ? "grab" : model.get("clickable") ? "crosshair" : "auto";
    img.style.touchAction = model.get("draggable") ? "none" : "auto";
  };
  const placeOf = (event) => {
    const box = img.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  let pressed = null;  // where the pointer went down, and when
  let last = null;  // where it was last, not yet told
  let asked = 0;  // when a picture was asked for that has not come
  let moved = false;
  const tellDrag = () => {
    if (last === null) return;
    model.set("dragged", [...pressed, ...last]);
    model.save_changes();
    last = null;
    asked = performance.now();
  };
  img.draggable = false;
  img.addEventListener("pointerdown", (event) => {
    moved = false;
    if (!model.get("draggable") || event.button) return;
    pressed = [event.timeStamp, ...placeOf(event)];
    img.setPointerCapture(event.pointerId);
  });
  img.addEventListener("pointermove", (event) => {
    if (pressed === null) return;
    const place = placeOf(event);
    if (!moved && Math.hypot((place[0] - pressed[1]) * img.width, (place[1] - pressed[2]) * img.height) < 4) return;
    moved = true;
    last = place;
    if (!asked || performance.now() - asked > 500) tellDrag();  // else with the next picture: never faster than drawn
  });
  const release = () => {
    if (pressed !== null && moved) tellDrag();
    pressed = null;
  };
  img.addEventListener("pointerup", release);
  img.addEventListener("pointercancel", release);
  img.addEventListener("click", (event) => {
    if (!model.get("clickable") || moved) return;
    model.set("clicked", [...placeOf(event), event.timeStamp]);  // the time tells two clicks on one place apart
    model.save_changes();
  });
  model.on("change:value", () => {
    draw();
    asked = 0;
    if (pressed !== null) tellDrag();
  });
  model.on("change:alt change:width change:clickable change:draggable", tell);
  tell();
  draw();
  el.appendChild(img);
  return () => URL.revokeObjectURL(img.src);
}
export default { render };
"""


class Picture(anywidget.AnyWidget):
    """A PNG shown at a fixed width in CSS pixels, narrower where the page is; a change of `value` does not flicker.

    Traits:
        value: PNG bytes.
        alt: what the picture shows, for readers who do not see it.
        width: CSS pixels.
        clickable: whether a click is answered.
        clicked: where the last click was, [across, down, when], the first two in shares of the picture's size.
        draggable: whether something in it can be dragged.
        dragged: [when and where the pointer went down, where it is now] as for `clicked`: [when, across, down, across,
            down]. It is told anew while the pointer moves, as fast as new pictures come.
    """

    _esm = _ESM
    value = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(450).tag(sync=True)
    clickable = traitlets.Bool(False).tag(sync=True)
    clicked = traitlets.List(traitlets.Float()).tag(sync=True)
    draggable = traitlets.Bool(False).tag(sync=True)
    dragged = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.layout.align_self = "flex-start"
        self.layout.max_width = "100%"

    def __repr__(self) -> str:
        return "Picture()"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its PNG for readers without a kernel."""
        return with_png(super()._repr_mimebundle_(**options), self.value)


def with_png(bundle: Any, png: bytes) -> Any:
    """Add a PNG to a widget's MIME bundle: what is shown where widgets are dead, and what a notebook stores.

    Args:
        bundle: what `_repr_mimebundle_` returned: data, (data, metadata), or None.
        png: the picture.
    """
    if isinstance(bundle, tuple):
        return {**bundle[0], "image/png": png}, bundle[1]
    return {**(bundle or {}), "image/png": png}


def side_by_side(pngs: Sequence[bytes], columns: int = 2, scale: float = 0.6) -> bytes:
    """Pictures of one size laid out in rows, as one PNG.

    Args:
        pngs: at least one.
        columns: pictures in a row.
        scale: size over that of the originals, which are drawn for sharp screens.

    Raises:
        ValueError: no pictures.
    """
    if not pngs:
        raise ValueError("pngs is empty; allowed: at least one picture")
    images = [read_png(png) for png in pngs]
    width, height = (round(side * scale) for side in images[0].size)
    small = [image.resize((width, height), Image.Resampling.LANCZOS) for image in images]
    rows = -(-len(images) // columns)
    places = {(i % columns * width, i // columns * height): image for i, image in enumerate(small)}
    return sheet((width * min(columns, len(images)), height * rows), places)


def one_above(wide: bytes, below: bytes) -> bytes:
    """One picture over another, the upper one as wide as the lower, as one PNG."""
    lower, upper = read_png(below), read_png(wide)
    upper = upper.resize((lower.width, round(upper.height * lower.width / upper.width)), Image.Resampling.LANCZOS)
    return sheet((lower.width, upper.height + lower.height), {(0, 0): upper, (0, upper.height): lower})


def multiplied(png: bytes, by: bytes) -> bytes:
    """A picture seen through another of its size, as through a coloured glass, as one PNG."""
    buffer = io.BytesIO()
    ImageChops.multiply(read_png(png), read_png(by)).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def sheet(
    size: tuple[int, int], places: Mapping[tuple[int, int], Image.Image], small: tuple[int, int] | None = None
) -> bytes:
    """Pictures on a white sheet, as one PNG.

    Args:
        size: of the sheet in pixels, width and height.
        places: where the upper left corner of a picture lies -> the picture.
        small: what the sheet is then shrunk to; None leaves it.
    """
    page = Image.new("RGB", size, "white")
    for place, image in places.items():
        page.paste(image, place)
    return _compact(page if small is None else page.resize(small, Image.Resampling.LANCZOS))


def read_png(png: bytes) -> Image.Image:
    """A PNG as an image without transparency."""
    return Image.open(io.BytesIO(png)).convert("RGB")


def compact_png(png: bytes) -> bytes:
    """The same picture with at most 256 colours: a third of the size, which a notebook stores twice."""
    return _compact(read_png(png))


def _compact(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # an octree keeps small dots in their colours; Pillow's own median cut merges them
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
