"""What is measured for the book: speed and memory, and what models can do that were trained here.

This file stays light: the command `vitlab` imports it before anything is to be done.
"""

from pathlib import Path

RESULTS = Path("book/results")  # from the repository's root, where measurements are run
