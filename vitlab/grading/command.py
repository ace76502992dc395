"""nbgrader's commands, several in one process: importing nbgrader takes longer than most of them."""

import contextlib

from jupyter_core.application import NoStart
from nbgrader.apps.nbgraderapp import NbGraderApp


def nbgrader(*arguments: str) -> None:
    """Run one command, for example `nbgrader("autograde", "attention")` for `nbgrader autograde attention`.

    Raises:
        SystemExit: if the command fails; its message is then on stderr.
    """
    app = NbGraderApp.instance()
    try:
        app.initialize([*arguments, "--log-level=ERROR"])
        with contextlib.suppress(NoStart):  # how it says that the command, not the app around it, has run
            app.start()
    finally:
        app.reset()
