// A film: one picture a frame, a slider and a button. Without this script the last frame stands there.
for (const figure of document.querySelectorAll("figure.film")) {
  const frames = JSON.parse(figure.querySelector("script").textContent); // [step, address, what is shown]
  const image = figure.querySelector("img");
  const words = figure.querySelector(".film-step");
  const loaded = frames.map(() => null); // fetched when the film is first touched, not with the page
  const button = document.createElement("button");
  const slider = document.createElement("input");
  let timer = null;

  function load() {
    frames.forEach(([, address], i) => {
      if (!loaded[i]) {
        loaded[i] = new Image();
        loaded[i].src = address;
      }
    });
  }
  function show(i) {
    const [step, address, alt] = frames[i];
    slider.value = i;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    image.src = address;
    image.alt = alt;
    words.textContent = `Step ${step} of ${frames.at(-1)[0]}`;
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }
  function play() {
    load();
    if (Number(slider.value) === frames.length - 1) show(0);
    button.textContent = "Pause";
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next < frames.length) show(next);
      if (next >= frames.length - 1) stop();
    }, 400);
  }

  button.type = "button";
  button.textContent = "Play";
  button.addEventListener("click", () => (timer ? stop() : play()));
  Object.assign(slider, { type: "range", min: 0, max: frames.length - 1, step: 1 });
  slider.setAttribute("aria-label", `${figure.querySelector("figcaption").firstChild.textContent.trim()} Frame`);
  slider.addEventListener("pointerdown", load);
  slider.addEventListener("focus", load);
  slider.addEventListener("input", () => {
    if (timer) stop();
    show(Number(slider.value));
  });
  const row = document.createElement("div");
  row.className = "film-row";
  row.append(button, slider);
  figure.querySelector(".film-picture").after(row);
  show(frames.length - 1);
}
