"""`exit` and `quit` while a notebook is graded: they end a cell, and not the whole notebook."""


def exit(*_) -> None:
    raise RuntimeError("exit() would end the whole notebook: return from the function instead.")


quit = exit
