"""How nbgrader works here. Run its commands in the repository's root: `nbgrader autograde attention`, for example.

solutions/ → generate_assignment → exercises/ → the students → submitted/ → autograde → autograded/
→ generate_feedback → feedback/. The marks are in gradebook.db.
"""

import os
import secrets
import sys
from pathlib import Path

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.preprocessors import AssignLatePenalties, CheckCellMetadata, IgnorePattern, LimitOutput, SaveAutoGrades

from vitlab.grading.execution import ExecuteAll
from vitlab.grading.export import Marks
from vitlab.grading.intake import Intake

c = get_config()  # noqa: F821  (nbgrader defines it where it runs this file)

# nbgrader makes a new gradebook with the program `alembic`, which stands beside it, also where nobody activated .venv.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# Marks are found on numbers that nobody has seen before; each report says from which seed they were drawn.
os.environ.setdefault("VITLAB_SEED", str(secrets.randbelow(10**6) + 1))

c.CourseDirectory.course_id = "vision-transformers"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.CourseDirectory.submitted_directory = "submitted"
c.CourseDirectory.autograded_directory = "autograded"
c.CourseDirectory.feedback_directory = "feedback"

# What a student finds in place of a solution.
c.ClearSolutions.code_stub = {
    "python": '# YOUR CODE HERE\nraise NotImplementedError("Write this function, then run this cell again.")'
}
c.ClearSolutions.text_stub = "*Write your answer here.*"

# exercises/ stands in the checkout, and nbgrader would leave what is there alone, without a word to the gradebook: then
# "no assignment with ID 'attention' exists". It is made anew instead; nobody edits it.
c.GenerateAssignment.force = True

# An exercise is the same, byte for byte, whoever generates it: what an editor notes in a cell stays out.
c.GenerateAssignment.preprocessors.prepend([ClearMetadataPreprocessor])
c.ClearMetadataPreprocessor.enabled = True
c.ClearMetadataPreprocessor.preserve_cell_metadata_mask = {"nbgrader", "tags", "deletable", "editable"}
c.ClearMetadataPreprocessor.preserve_nb_metadata_mask = {"kernelspec", ("language_info", "name")}

# nbgrader gives 0 to a test cell with anything on stderr. Warnings and progress bars are no mistakes: they are dropped.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "^"

# A cell that runs longer is interrupted and gets 0; the others count. Its clock is the wall's, and a training may take
# three minutes of a processor core (`train_shapes`; `train_digits` one), of which a busy machine gives a third. A
# training without end is stopped before that, by its check, which counts processor time; any other function without end
# holds each cell that calls it for all of this time.
c.Execute.timeout = 600
c.Execute.extra_arguments = [
    "--log-level=ERROR",  # no kernel's greeting in the terminal
    "--IPKernelApp.exec_lines=from vitlab.grading.no_exit import exit, quit",
]

# One student's accident costs nobody else a mark, and never looks like a 0: cells that were copied, split, moved or
# deleted are found again or put back, a cell that ends the kernel has 0 and the others count, and grades.csv has no
# mark where nothing was graded.
c.Autograde.sanitize_preprocessors.prepend([Intake])
c.Autograde.autograde_preprocessors = [
    ExecuteAll,
    IgnorePattern,
    ClearMetadataPreprocessor,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
c.ExportApp.plugin_class = Marks
