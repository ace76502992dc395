"""Serve MathJax with the book, so that its pages ask no other host for anything.

The files come from the PyPI package django-static-mathjax, which needs no Django.
"""

import shutil
from importlib.resources import files
from pathlib import Path

FOLDER = "vendor/mathjax"  # under _static

# What pages with TeX can load: the program, TeX packages by \require, the fonts, and what reads formulas aloud.
PARTS = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2", "a11y", "sre"]


def set_path(app, config):
    config.mathjax_path = f"{FOLDER}/tex-chtml.js"


def copy_files(app):
    source = Path(str(files("mathjax"))) / "static" / "mathjax" / "es5"
    target = Path(app.outdir) / "_static" / FOLDER
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copy(source / part, target / part)


def setup(app):
    app.connect("config-inited", set_path)
    app.connect("builder-inited", copy_files)
    return {"parallel_read_safe": True}
