"""Make links from a chapter to an exercise's notebook download it.

`[the exercise](../exercises/attention/attention.ipynb)` opens the notebook where the chapter is read in Jupyter. MyST
takes it for a link to a page, but exercises are no pages of the book.
"""

from sphinx.addnodes import download_reference, pending_xref


def make_downloads(app, doctree):
    for link in list(doctree.findall(pending_xref)):
        target = link.get("reftarget", "")
        if link.get("refdomain") == "doc" and target.startswith("exercises/"):
            download = download_reference(refdoc=link["refdoc"], reftarget=f"/{target}.ipynb")
            download += link.children
            link.replace_self(download)


def setup(app):
    app.connect("doctree-read", make_downloads, priority=400)  # before Sphinx collects the files to copy, at 500
    return {"parallel_read_safe": True}
