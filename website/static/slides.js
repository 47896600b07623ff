// A deck: what is higher than a slide is parted, then one slide is shown at a time. Keys: arrows, space, Home, End, F.
const SMALLER = 0.84; // what is a little too high is drawn smaller, so that code stays with what it printed
const SMALLEST = 0.6; // what cannot be parted is drawn smaller, down to this; below it, the slide scrolls

const over = (body) => body.scrollHeight > body.clientHeight + 1;

// Move the rows of a table or list that are too many for its slide; returns what the next slide begins with, or null.
function part(body, block) {
  const rows = block.querySelector("tbody") ?? (/^[OU]L$/.test(block.tagName) ? block : null);
  if (!rows || rows.children.length < 2) return null;
  const rest = block.cloneNode(true);
  const later = rest.querySelector("tbody") ?? rest;
  const all = rows.children.length;
  while (over(body) && rows.children.length > 1) rows.lastElementChild.remove();
  for (let i = 0; i < rows.children.length; i++) later.firstElementChild.remove();
  if (rest.tagName === "OL") rest.start = (rest.start || 1) + rows.children.length;
  return rows.children.length < all ? rest : null;
}

// Draw something smaller, no more than needed and no smaller than `least`; whether it fits then.
function shrink(thing, least, tooLarge = over) {
  for (let zoom = 0.96; tooLarge(thing) && zoom >= least - 1e-6; zoom -= 0.04) thing.style.zoom = zoom;
  return !tooLarge(thing);
}

function paginate(slide) {
  const body = slide.querySelector(".body");
  for (const block of body.children) shrink(block, SMALLEST, (wide) => wide.scrollWidth > wide.clientWidth + 1);
  if (!over(body) || shrink(body, SMALLER)) return;
  body.style.zoom = "";
  const moved = [];
  while (over(body) && body.children.length > 1) {
    moved.unshift(body.lastElementChild);
    moved[0].remove();
  }
  while (moved.length && body.children.length > 1 && body.lastElementChild.textContent.trim().endsWith(":")) {
    moved.unshift(body.lastElementChild); // "... like this:" goes with what it announces
    moved[0].remove();
  }
  if (over(body)) {
    const rest = part(body, body.lastElementChild);
    if (rest) moved.unshift(rest);
  }
  if (!shrink(body, SMALLEST)) {
    body.classList.add("tall");
    body.tabIndex = 0;
  }
  if (!moved.length) return;
  const next = slide.cloneNode(false);
  const title = document.createElement("h2");
  title.innerHTML = slide.querySelector("h1, h2").innerHTML;
  const rest = document.createElement("div");
  rest.className = "body";
  rest.append(...moved);
  next.classList.replace("title", "text");
  next.append(title, rest);
  slide.after(next);
  paginate(next);
}

function deck() {
  const main = document.querySelector("main");
  document.documentElement.classList.add("deck");
  document.querySelectorAll(".slide").forEach(paginate);
  const slides = [...document.querySelectorAll(".slide")];
  const nav = document.createElement("nav");
  const where = document.createElement("span");
  const count = document.createElement("span");
  const back = document.createElement("button");
  const on = document.createElement("button");
  let now = 0;

  function show(i) {
    now = Math.min(Math.max(i, 0), slides.length - 1);
    slides.forEach((slide, j) => slide.classList.toggle("on", j === now));
    count.textContent = `${now + 1} / ${slides.length}`;
    history.replaceState(null, "", `#${now + 1}`);
  }
  function scale() {
    main.style.transform = `translate(-50%, -50%) scale(${Math.min(innerWidth / 1280, innerHeight / 720)})`;
  }
  const moves = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -1e6, End: 1e6 };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, .tall")) return;
    if (event.key === " " && event.target.matches("button")) return;
    if (event.key in moves) {
      event.preventDefault();
      show(now + moves[event.key]);
    }
    if (event.key === "f") document.documentElement.requestFullscreen();
  });
  Object.assign(back, { type: "button", textContent: "‹", ariaLabel: "Slide before" });
  Object.assign(on, { type: "button", textContent: "›", ariaLabel: "Next slide" });
  back.addEventListener("click", () => show(now - 1));
  on.addEventListener("click", () => show(now + 1));
  count.setAttribute("aria-live", "polite");
  where.className = "where";
  where.textContent = document.title;
  nav.setAttribute("aria-label", "Slides");
  nav.append(where, back, count, on);
  main.append(nav);
  addEventListener("resize", scale);
  addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0));
  scale();
  show(Number(location.hash.slice(1)) - 1 || 0);
}

if (innerWidth > 700) deck(); // a phone reads the slides as one page
