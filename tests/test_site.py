"""The built book in a browser: what a reader meets, on a wide and a narrow screen, in light and in dark."""

import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
PAGES = [f"{name}.html" for name in [TOC["root"], *CHAPTERS]]  # in reading order

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install it with: apt-get install chromium")

# The smallest contrast between a text and what lies behind it in the page's main column, with that text.
LOWEST_CONTRAST = """
() => {
  const parse = (color) => {
    const numbers = color.match(/[\\d.]+/g).map(Number);
    return numbers.length === 4 ? numbers : [...numbers, 1];
  };
  const over = ([r, g, b, a], behind) => [r, g, b].map((value, i) => value * a + behind[i] * (1 - a));
  const background = (element) => {
    if (!element) return [255, 255, 255];
    const color = parse(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, background(element.parentElement));
  };
  const luminance = (rgb) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const lowest = { contrast: 21, text: "" };
  const texts = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const behind = background(element);
    const color = over(parse(getComputedStyle(element).color), behind);
    const [dark, light] = [luminance(behind), luminance(color)].sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < lowest.contrast) Object.assign(lowest, { contrast, text });
  }
  return lowest;
}
"""

# Text outside of code in which a formula's source can be read: it was not typeset.
RAW_FORMULAS = r"""
() => {
  const article = document.querySelector("article").cloneNode(true);
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


@pytest.fixture
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

        context = browser.new_context(**{"viewport": {"width": 1300, "height": 1000}, **screen})
        context.route("**/*", stay_here)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("response", lambda reply: reply.ok or complaints.append(f"{reply.status}: {reply.url}"))
        page.goto(address + path)
        page.evaluate("() => window.MathJax?.startup?.promise")  # until the formulas are typeset
        yield page
        context.close()
        assert complaints == []

    return opened


@pytest.mark.parametrize("path", PAGES)
def test_page_is_whole(visit, path):
    with visit(path) as page:
        assert page.locator("article h1").count() == 1
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
        assert page.locator(f'article a[href^="https://colab."][href$="/{exercise}"]').count() == 1
        with page.expect_download() as download:
            page.locator("article a.download").click()
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
        page.keyboard.type("softmax")
        page.keyboard.press("Enter")
        page.locator("#search-results li a").first.click()
        page.wait_for_load_state()
        assert page.url.removeprefix(address).partition("?")[0].partition("#")[0] in PAGES
        assert "softmax" in page.locator("article").inner_text().lower()


@pytest.mark.parametrize("path", PAGES)
def test_narrow_screen_needs_no_sideways_scrolling(visit, path):
    with visit(path, viewport={"width": 360, "height": 700}) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES)
def test_text_stands_out_in_light_and_in_dark(visit, path):
    with visit(path) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f"html[data-theme={scheme}]")
            lowest = page.evaluate(LOWEST_CONTRAST)
            assert lowest["contrast"] >= 4.5, (scheme, lowest)  # WCAG 2.2, level AA
