// A sheet of paper to draw on with mouse, pen or finger; or with keys: arrows move the pen, Space puts it down and lifts it.
// Points are (x to the right, y downwards) in shares of the sheet's side. A stroke is sent when the pen is lifted.
const SIDE = 200; // CSS pixels
const SHARP = 2; // canvas pixels for each of them
const NEAR = 0.008; // points nearer than this to the last one are left out
const STEP = 0.04; // of the pen, for one press of an arrow key
const INK = "#1f2328";
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE * SHARP;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.style.cssText = `width: ${SIDE}px; height: ${SIDE}px; touch-action: none; cursor: crosshair; background: white;
    border: 1px solid #57606a; border-radius: 4px; box-sizing: border-box; display: block`;
  const brush = canvas.getContext("2d");
  let stroke = null; // the one being drawn
  let pen = [0.5, 0.2]; // where the keys' pen is
  let keyed = false; // whether keys are in use, so that their pen is shown

  const draw = () => {
    brush.clearRect(0, 0, canvas.width, canvas.height);
    brush.lineWidth = 0.085 * canvas.width;
    brush.lineCap = brush.lineJoin = "round";
    brush.strokeStyle = brush.fillStyle = INK;
    for (const line of stroke ? [...model.get("strokes"), stroke] : model.get("strokes")) {
      brush.beginPath();
      line.forEach(([x, y]) => brush.lineTo(x * canvas.width, y * canvas.height));
      if (line.length === 1) brush.lineTo(line[0][0] * canvas.width + 0.1, line[0][1] * canvas.height);
      brush.stroke();
    }
    if (keyed && document.activeElement === canvas) {
      brush.beginPath();
      brush.arc(pen[0] * canvas.width, pen[1] * canvas.height, 0.04 * canvas.width, 0, 2 * Math.PI);
      brush.lineWidth = 4;
      brush.strokeStyle = "#b54800";
      brush.stroke();
    }
  };
  const tell = () => canvas.setAttribute("aria-label", model.get("label"));
  const round = value => Math.round(1000 * Math.min(1, Math.max(0, value))) / 1000;
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  };
  const add = point => {
    const [x, y] = stroke[stroke.length - 1];
    if (Math.hypot(point[0] - x, point[1] - y) >= NEAR) stroke.push(point);
    draw();
  };
  const lift = () => {
    if (!stroke) return;
    const strokes = [...model.get("strokes"), stroke];
    stroke = null;
    model.set("strokes", strokes);
    model.save_changes();
    draw();
  };

  canvas.addEventListener("pointerdown", event => {
    if (event.button !== 0 || !event.isPrimary) return;
    lift();
    keyed = false;
    canvas.setPointerCapture(event.pointerId);
    stroke = [place(event)];
    draw();
  });
  canvas.addEventListener("pointermove", event => {
    if (stroke && !keyed) [...(event.getCoalescedEvents?.() ?? []), event].forEach(e => add(place(e)));
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    canvas.addEventListener(end, () => keyed || lift());
  canvas.addEventListener("keydown", event => {
    const way = ARROWS[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has plans of its own for these keys
    if (way) {
      pen = [round(pen[0] + way[0]), round(pen[1] + way[1])];
      if (stroke) add(pen);
    } else if (stroke) lift();
    else stroke = [pen];
    keyed = true;
    draw();
  });
  canvas.addEventListener("blur", () => (lift(), draw()));
  canvas.addEventListener("focus", draw);
  model.on("change:strokes", draw);
  model.on("change:label", tell);
  tell();
  draw();
  el.appendChild(canvas);
}
export default { render };
