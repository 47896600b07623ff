"""The site: built with warnings as errors, complete in itself, its films scrubbed in a real Chromium.

Films have three frames here; `make site` makes them whole.
"""

from __future__ import annotations

import contextlib
import functools
import html
import http.server
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.page import FLAGS

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"desktop, light": (1400, 900), "phone, dark": (375, 800)}
CHECK = (ROOT / "tests" / "browser" / "page_check.js").read_text(encoding="utf-8")
IN_ORDER = {"wide": 0, "silent": 0, "titles": 1, "jumps": 0, "lang": "en", "faint": []}
SMALLEST = 0.7  # of the size of a slide's text, where its content is drawn smaller to fit
BUILD = """
import sys
sys.path.insert(0, "website")
import films
films.MOST_FRAMES = 3
from sphinx.cmd.build import main
sys.exit(main(["-q", "-W", "--keep-going", "-c", "website", ".", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.closing(server.socket):
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.browser  # beside the one below, so that the site is built once
def test_every_page_is_there_and_asks_no_other_host(site: Path):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    lessons = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    docs = {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    slides = {f"slides/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert lessons | docs | slides | {"website/index.html", "website/api.html", "README.html", "index.html"} <= pages
    for page in sorted(pages):
        text = (site / page).read_text(encoding="utf-8")
        fetched = re.findall(r"""<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=["']([^"']+)""", text)
        assert [a for a in fetched if a.startswith(("http:", "https:", "//"))] == [], page
        for a in fetched:
            if not a.startswith(("data:", "#")):
                assert ((site / page).parent / re.split(r"[?#]", a)[0]).exists(), (page, a)


@pytest.mark.browser
def test_the_map_of_the_idea_stands_as_a_picture_and_the_film_elsewhere(site: Path):
    """Both are widgets in the notebook, and the map comes first."""
    with_map = [path for path in (ROOT / "notebooks").glob("*.ipynb") if "IdeaMap(" in path.read_text(encoding="utf-8")]
    pages = {path.stem: (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8") for path in with_map}
    assert len(pages) >= 7
    for name, text in pages.items():
        alts = re.findall(r"""<img\b[^>]*?\balt="(The idea in one picture\.[^"]*)""", text)
        assert len(alts) == 1 and 'class="film"' in text, name


@pytest.mark.browser
def test_every_link_within_the_site_leads_somewhere(site: Path):
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    places = {path: set(re.findall(r"""\s(?:id|name)=["']([^"']+)""", text)) for path, text in texts.items()}
    broken, followed = [], 0
    for path, text in texts.items():
        for link in set(re.findall(r"""<a\b[^>]*?\shref=["']([^"']*)""", text)):
            if re.match(r"[a-z]+:", link) or link == "#":
                continue
            to, _, place = html.unescape(urllib.parse.unquote(link)).partition("#")
            target = (path.parent / to).resolve() if to else path
            target = target / "index.html" if target.is_dir() else target
            followed += 1
            if not target.exists() or (place and target in places and place not in places[target]):
                broken.append((path.relative_to(site).as_posix(), link))
    assert broken == [] and followed > 1000


@pytest.mark.browser
def test_the_check_of_pages_sees_faint_text_and_a_skipped_level(chromium: str):
    faulty = "<html lang=en><h1>A</h1><h3>B</h3><p style='color: #888'>grey</p><img src=x><pre style='width: 9999px'>c"
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=list(FLAGS)) as browser:
        page = browser.new_page()
        page.set_content(faulty)
        found = page.evaluate(CHECK)
    assert found["wide"] > 0 and (found["silent"], found["jumps"]) == (1, 1)
    assert [words.partition(":")[0] for words in found["faint"]] == ["grey"]


@pytest.mark.browser
@pytest.mark.parametrize("kind", SIZES)
def test_pages_fit_and_films_can_be_scrubbed(site: Path, address: str, chromium: str, kind: str):
    (width, height), scheme = SIZES[kind], kind.split()[-1]
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=list(FLAGS)) as browser:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for path in sorted(site.rglob("*.html")):
            if path in (site / "index.html", site / "search.html"):  # one leads on at once, the other is the theme's
                continue
            page.goto(f"{address}/{path.relative_to(site).as_posix()}")
            assert page.evaluate(CHECK) == IN_ORDER, path.name
            if path.parent.name == "slides":  # films of a deck are the pages' own
                continue
            for film in page.locator("figure.film").all():
                image, slider = film.locator("img"), film.locator("input")
                last = image.get_attribute("src"), image.get_attribute("alt")
                slider.fill("0")
                assert (image.get_attribute("src"), image.get_attribute("alt")) != last
                assert "Step 0 of" in film.inner_text()
                page.wait_for_function(
                    "image => image.complete && image.naturalWidth > 600", arg=image.element_handle()
                )
                film.get_by_role("button").click()
                page.wait_for_function("slider => slider.value === slider.max", arg=slider.element_handle())
                assert (image.get_attribute("src"), image.get_attribute("alt")) == last
        assert [a for a in asked if not a.startswith((address, "data:"))] == []


MEASURE = """() => [...document.querySelectorAll(".slide")].map((slide, i) => {
    const body = slide.querySelector(".body");
    const high = [slide, body].some(e => e.scrollHeight > e.clientHeight + 2);
    const over = high || [slide, body, ...body.children].some(e => e.scrollWidth > e.clientWidth + 2);
    const sizes = [body, ...body.querySelectorAll("[style]")].map(e => Number(e.style.zoom || 1));
    return {slide: i + 1, over, size: Math.min(...sizes), title: slide.querySelector("h1, h2").textContent.trim()};
})"""


@pytest.mark.browser
def test_slides_fit_and_are_turned_by_keys(site: Path, address: str, chromium: str):
    """None is higher or wider than 1280 x 720, none scrolls, and none is drawn so small that the back row loses it."""
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=list(FLAGS)) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        for path in sorted((site / "slides").glob("*.html")):
            page.goto(f"{address}/slides/{path.name}")
            found = page.evaluate(MEASURE)
            bad = [slide for slide in found if slide["over"] or slide["size"] < SMALLEST or not slide["title"]]
            assert bad == [] and 15 < len(found) < 70, (path.name, bad)
            for key, now in {"ArrowRight": 2, " ": 3, "PageUp": 2, "End": len(found), "Home": 1}.items():
                page.keyboard.press(key)
                assert page.evaluate("location.hash") == f"#{now}" and page.locator(".slide.on").count() == 1
            page.evaluate("document.querySelectorAll('.slide').forEach(slide => slide.classList.add('on'))")
            assert page.evaluate(CHECK) == IN_ORDER, path.name  # of all slides, not only of the first
        assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == len(found)
