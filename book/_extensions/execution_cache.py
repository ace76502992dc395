"""Keep the chapters' outputs between builds for as long as the code that they import is the same.

Jupyter Book's cache knows a notebook's own cells only. Here its folder is named after a hash of vitlab's source and of
the installed versions, so a change of either executes every chapter again.
"""

import shutil
from hashlib import sha256
from pathlib import Path


def choose_folder(app, config):
    root = Path(app.srcdir)
    digest = sha256()
    for path in [*sorted((root / "vitlab").rglob("*.py")), root / "constraints.txt"]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    folder = root / ".jcache" / digest.hexdigest()[:16]
    for other in (root / ".jcache").glob("*"):
        if other != folder:
            shutil.rmtree(other)
    config.nb_execution_cache_path = str(folder)


def setup(app):
    app.connect("config-inited", choose_folder)
    return {"parallel_read_safe": True}
