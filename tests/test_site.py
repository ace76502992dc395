"""The built book in a browser: what a reader meets, on a wide and a narrow screen, in light and in dark."""

import gzip
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from fontTools.ttLib import TTFont
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [f"{name}.html" for name in [TOC["root"], *CHAPTERS]]  # in reading order
ALL_PAGES = [*PAGES, "genindex.html", "search.html"]

WIDE = {"width": 1300, "height": 1000}
NARROW = {"width": 390, "height": 800}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install it with: apt-get install chromium")

# What a style sheet shows in place of a class such as fa-rocket, or by itself: letters of the icon fonts.
ICONS = """
() => [...document.querySelectorAll("*")].flatMap((element) =>
  ["::before", "::after"]
    .map((place) => getComputedStyle(element, place))
    .filter((style) => style.fontFamily.includes("Font Awesome"))
    .map((style) => style.content.match(/^"(.)"$/u)?.[1])
    .filter((icon) => icon),
)
"""

# Of an element and what stands around it, the first that can be scrolled sideways: whether it has something to scroll.
SCROLLS = """
(element) => {
  while (element && !["auto", "scroll"].includes(getComputedStyle(element).overflowX)) element = element.parentElement;
  return element !== null && element.scrollWidth > element.clientWidth;
}
"""

# How many letters of code go on a line.
ROOM = """
(code) => {
  const letters = document.createElement("span");
  letters.textContent = "x".repeat(10);
  code.append(letters);
  const width = letters.getBoundingClientRect().width / 10;
  letters.remove();
  const style = getComputedStyle(code);
  return (code.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)) / width;
}
"""

# Formulas in a line of text that reach beyond it, or beyond a telephone's screen, or that scroll.
CUT_IN_A_LINE = """
(formulas) => formulas.filter((formula) => {
  const [right, room] = [formula, formula.parentElement].map((e) => e.getBoundingClientRect().right);
  return right > Math.min(room + 1, innerWidth) || getComputedStyle(formula).overflowX !== "visible";
}).map((formula) => formula.innerText)
"""

# The theme lets the keyboard reach what scrolls, a moment after the window has changed its size.
REACHABLE = """
() => [...document.querySelectorAll("pre, .cell_output > .output, .pst-scrollable-table-container")].every(
  (box) => box.tabIndex === 0 || (box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight),
)
"""

# Text outside of code in which a formula's source can be read: it was not typeset.
RAW_FORMULAS = r"""
() => {
  const article = document.querySelector("article, .bd-search-container").cloneNode(true);
  article.querySelectorAll("pre, code, script, style").forEach((element) => element.remove());
  return article.textContent.match(/\$[^$]*\$|\\\(|\\\[|\\(frac|mathbb|begin)\b/g) ?? [];
}
"""


@pytest.fixture(scope="module")
def address():
    """The built book, served on this machine."""
    if not (SITE / "index.html").exists():
        pytest.fail("there is no book in _build/html: run make course")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(address, browser):
    """Open pages and, when leaving, hold them to account for their errors and their requests."""

    @contextmanager
    def opened(path, **screen):
        complaints = []

        def stay_here(route):
            if route.request.url.startswith(address):
                route.continue_()
            else:
                complaints.append(f"asks another host: {route.request.url}")
                route.abort()

        context = browser.new_context(**{"viewport": WIDE, **screen})
        context.route("**/*", stay_here)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("response", lambda reply: reply.ok or complaints.append(f"{reply.status}: {reply.url}"))
        page.goto(address + path)
        page.evaluate("() => window.MathJax?.startup?.promise")  # until the formulas are typeset
        page.evaluate("() => document.fonts.ready.then(() => {})")
        yield page
        context.close()
        assert complaints == [], path

    return opened


@pytest.fixture(scope="module", params=ALL_PAGES)
def opened_once(request, visit):
    """A page that all tests of it share, since opening it takes longer than looking at it."""
    with visit(request.param) as page:
        yield page


@pytest.fixture
def page(opened_once):
    """A page as `visit` opens it: wide and light."""
    show(opened_once)
    return opened_once


def show(page, scheme="light", viewport=WIDE):
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f"html[data-theme={scheme}]")


def test_page_is_whole(page):
    assert page.locator("article h1, .bd-search-container h1").count() == 1
    assert page.locator(".math:not(:has(mjx-container))").count() == 0
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate(RAW_FORMULAS) == []
    for image in page.locator("img").all():
        source = image.get_attribute("src")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0, source
        assert image.get_attribute("alt"), f"{source} has no text for those who cannot see it"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_has_formulas_figures_and_its_exercise(visit, chapter):
    with visit(f"{chapter}.html") as page:
        assert page.locator("mjx-container").count() > 0
        assert page.locator("article img").count() > 0
        exercise = f"exercises/{Path(chapter).name}/{Path(chapter).name}.ipynb"
        if not (ROOT / exercise).exists():  # which MiT has not
            assert page.locator("article a.download").count() == 0 and chapter == "book/mit"
            return
        assert page.locator(f'article a[href^="https://colab."][href$="/{exercise}"]').count() == 1
        with page.expect_download() as download:
            page.locator(f'article a.download[href$="/{Path(exercise).name}"]').click()
        assert Path(download.value.path()).read_bytes() == (ROOT / exercise).read_bytes()


def test_next_leads_through_the_whole_book(visit, address):
    with visit(PAGES[0]) as page:
        page.goto(address)  # the front door leads to the first page
        page.wait_for_url(address + PAGES[0])
        for path in PAGES[1:]:
            page.locator("a.right-next").click()
            page.wait_for_url(address + path)
        assert page.locator("a.right-next").count() == 0


def test_search_finds_a_page(visit, address):
    with visit(PAGES[0]) as page:
        page.get_by_role("button", name="Search").first.click()
        icon, box = (page.locator(f"dialog {part}").bounding_box() for part in ("i", "input"))
        assert icon["x"] + icon["width"] <= box["x"]  # it hides none of the text
        page.keyboard.type("softmax")
        page.keyboard.press("Enter")
        page.locator("#search-results li a").first.click()
        page.wait_for_load_state()
        assert page.url.removeprefix(address).partition("?")[0].partition("#")[0] in PAGES
        assert "softmax" in page.locator("article").inner_text().lower()


def test_a_figure_leaves_room_for_its_text(page):
    for image in page.locator("article img").all():
        assert image.bounding_box()["height"] <= 400, image.get_attribute("alt")


def test_narrow_screen_needs_no_sideways_scrolling(page):
    show(page, viewport={"width": 360, "height": 700})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_code_is_whole_beside_two_sidebars(page):
    """The window is just wide enough for both, and so the text is narrow: 76 letters go on a line, and none is cut."""
    show(page, viewport={"width": 1200, "height": 900})
    code = page.locator("article div.cell_input pre")
    assert all(letters >= 76 for letters in code.evaluate_all(f"codes => codes.map({ROOM})"))
    assert code.evaluate_all("codes => codes.every((code) => code.scrollWidth <= code.clientWidth)")


def test_formulas_fit_on_a_telephone(page):
    """Numbered ones, and those in a line of text, which have no scroll bars."""
    show(page, viewport=NARROW)
    page.locator("details").evaluate_all("folds => folds.forEach((fold) => (fold.open = true))")
    too_wide = "formulas => formulas.filter(f => f.scrollWidth - f.clientWidth > 1).map(f => f.innerText)"
    assert page.locator("div.math:has(.eqno) mjx-container").evaluate_all(too_wide) == []
    assert page.locator("article span.math mjx-container").evaluate_all(CUT_IN_A_LINE) == []


def test_outputs_wrap(page):
    show(page, viewport=NARROW)
    cut = "outputs => outputs.filter(o => o.scrollWidth > o.clientWidth).map(o => o.textContent)"
    assert page.locator("article div.cell_output pre").evaluate_all(cut) == []


def test_page_weighs_less_than_a_megabyte(page):
    """Everything that it loads, in the compression that web servers use."""
    loaded = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    files = {SITE / unquote(urlsplit(address).path).lstrip("/") for address in [page.url, *loaded]}
    weights = {file.name: len(gzip.compress(file.read_bytes(), compresslevel=6)) for file in files}
    assert sum(weights.values()) < 1_000_000, sorted(weights.items(), key=lambda item: -item[1])[:5]


def test_axe_finds_nothing_serious(page):
    """In light, in dark, and on a narrow screen. https://dequeuniversity.com/rules/axe explains the rules."""
    of_colour = ("color-contrast", "link-in-text-block")  # half of the time; the width of the screen changes no colour
    everything = {"rules": {"label-content-name-mismatch": {"enabled": True}}}
    colours = {"runOnly": list(of_colour)}
    others = {"rules": everything["rules"] | {rule: {"enabled": False} for rule in of_colour}}
    for scheme, viewport, run in (("light", WIDE, everything), ("dark", WIDE, colours), ("light", NARROW, others)):
        show(page, scheme, viewport)
        page.evaluate("() => Promise.all(document.getAnimations().map((fading) => fading.finished)).then(() => {})")
        page.wait_for_function(REACHABLE)
        # preload: axe would fetch style sheets once more, some of them from wrong addresses
        options = {"resultTypes": ["violations"], "preload": False} | run
        found = [
            (rule["id"], node["html"])
            for rule in Axe().run(page, options=options).response["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        assert found == [], (scheme, viewport)


def test_icons_licence_and_favicon_are_there(page):
    in_fonts = {icon for font in SITE.glob("_static/vendor/fontawesome/webfonts/*.woff2") for icon in icons_of(font)}
    icons = page.evaluate(ICONS)
    assert len(icons) >= 3 and set(icons) <= in_fonts
    assert page.locator(".bd-footer-content a[rel=license]").inner_text() == "CC BY 4.0"
    favicon = page.locator("link[rel=icon]").evaluate("link => link.href")
    assert Path(urlsplit(favicon).path) == Path("/_static/favicon.svg")


def test_the_favicon_is_a_picture(visit):
    with visit("_static/favicon.svg") as page:  # Chromium says so if it is none
        assert page.locator("svg rect").count() == 4


def icons_of(font: Path) -> list[str]:
    with TTFont(font) as opened:
        return [chr(code) for code in opened.getBestCmap() or {}]


def test_pictures_keep_their_light_in_the_dark(page):
    show(page, "dark")
    filters = page.locator("article img").evaluate_all("images => images.map(i => getComputedStyle(i).filter)")
    assert set(filters) <= {"none"}


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
def test_headings_weigh_what_their_level_says(visit, viewport):
    with visit(f"{CHAPTERS[0]}.html", viewport=viewport) as page:
        styles = [
            page.locator(f"article h{level}").first.evaluate(
                "h => [getComputedStyle(h).fontSize, getComputedStyle(h).fontWeight].map(parseFloat)"
            )
            for level in (1, 2, 3)
        ]
        sizes, weights = zip(*styles, strict=True)
        assert sizes[0] > sizes[1] > sizes[2] and weights[0] >= weights[1] >= weights[2]


def test_what_is_too_wide_scrolls_inside_itself(visit):
    """A formula, a table and a report's table, each made wider than the screen."""
    wide = "element => { element.style.minWidth = '900px'; element.style.display = 'inline-block'; }"
    for path, kind in (
        (f"{CHAPTERS[0]}.html", "article mjx-container[display=true] > mjx-math"),
        (PAGES[0], "article table.table"),
        (PAGES[0], "article .text_html table"),
    ):
        with visit(path, viewport=NARROW) as page:
            element = page.locator(kind).first
            element.evaluate(wide)
            assert element.evaluate(SCROLLS), kind
            assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW["width"], kind
