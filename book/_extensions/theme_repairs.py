"""Mend what the theme writes into every page, once all pages are written.

Icons: the theme sends Font Awesome twice, a script that draws every icon there is and fonts with every icon there is,
0.8 MB together, compressed. The fonts alone do it, with the two or three dozen icons that the pages and the theme's
style sheet name; the script goes.

Names: the search button shows "Search Ctrl+K" but says "Search" to who cannot see it; without the label it says what it
shows.
"""

import re
from pathlib import Path

from fontTools.subset import Options, Subsetter, load_font, save_font

STYLE_SHEET = "_static/styles/pydata-sphinx-theme.css"
FONTS = "_static/vendor/fontawesome/webfonts"
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
ICON_SCRIPT = re.compile(r'<script [^>]*src="[^"]*/scripts/fontawesome\.js[^"]*"></script>')
SEARCH_LABEL = re.compile(r'(<button class="btn search-button-field[^>]*) aria-label="[^"]*"')


def mend(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    named = set()  # classes such as fa-rocket
    for page in out.rglob("*.html"):
        html = ICON_SCRIPT.sub("", SEARCH_LABEL.sub(r"\1", page.read_text(encoding="utf-8")))
        page.write_text(html, encoding="utf-8")
        named.update(re.findall(r"\bfa-[\w-]+", html))
    for script in (out / "_static" / "scripts").glob("*theme.js"):
        named.update(re.findall(r"\bfa-[\w-]+", script.read_text(encoding="utf-8")))
    icons = icons_in_use((out / STYLE_SHEET).read_text(encoding="utf-8"), named)
    for font in (out / FONTS).glob("*.ttf"):
        keep_icons(font, icons)


def icons_in_use(style_sheet, named):
    """The code points of the icons with these class names, and of those that the theme's own rules show."""
    by_name = {
        name: int(code, 16)
        for selectors, code in ICON_RULE.findall(style_sheet)
        for name in re.findall(r"fa-[\w-]+", selectors)
    }
    in_rules = re.findall(r'"\\([ef][0-9a-f]{3})', ICON_RULE.sub("", style_sheet))
    return {by_name[name] for name in named & by_name.keys()} | {int(code, 16) for code in in_rules}


def keep_icons(font, icons):
    """Write the WOFF2 file beside a TrueType font anew, with these icons only."""
    options = Options(flavor="woff2", layout_features=[], name_IDs=[0, 13, 14])  # copyright and licence stay
    with load_font(font, options) as glyphs:
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=icons)
        subsetter.subset(glyphs)
        save_font(glyphs, font.with_suffix(".woff2"), options)


def setup(app):
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True}
