"""Make the students' notebooks: `python -m vitlab.authoring.exercises`, run in the repository's root."""

import shutil
import sys
import tempfile
from pathlib import Path

from vitlab.grading.command import nbgrader


def release(destination: Path) -> None:
    """Generate every exercise from solutions/, without a gradebook. `destination` then holds nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        fresh = f"{directory}/exercises"
        nbgrader("generate_assignment", "*", "--no-db", f"--CourseDirectory.release_directory={fresh}")
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(fresh, destination)


if __name__ == "__main__":
    if not Path("solutions").is_dir():
        sys.exit("There is no folder solutions/ here: run this in the repository's root.")
    release(Path("exercises"))
    print("exercises/ made from solutions/:", *sorted(path.stem for path in Path("exercises").glob("*/*.ipynb")))
