"""Marks as a table: `nbgrader export` writes grades.csv. What was not graded has no mark there, and not a 0."""

import csv

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import ExportPlugin

COLUMNS = ("assignment", "student_id", "last_name", "first_name", "timestamp", "score", "max_score", "remark")
NOT_HANDED_IN = "not handed in"
NOT_GRADED = "not graded: see `python -m vitlab.grading.intake`"


class Marks(ExportPlugin):
    """One row a student and assignment; `score` stays empty where nothing was handed in or graded, as `remark` says."""

    def export(self, gradebook: Gradebook) -> None:
        with open(self.to or "grades.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for assignment in gradebook.assignments:
                if self.assignment and assignment.name not in self.assignment:
                    continue
                for student in gradebook.students:
                    if not self.student or student.id in self.student:
                        writer.writerow(self._row(gradebook, assignment, student))

    def _row(self, gradebook: Gradebook, assignment, student) -> dict:
        row = {
            "assignment": assignment.name,
            "student_id": student.id,
            "last_name": student.last_name,
            "first_name": student.first_name,
            "max_score": assignment.max_score,
        }
        try:
            submission = gradebook.find_submission(assignment.name, student.id)
        except MissingEntry:
            return row | {"remark": NOT_HANDED_IN}
        row["timestamp"] = submission.timestamp
        grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
        if any(grade.auto_score is None and grade.cell.cell_type == "code" for grade in grades):
            return row | {"remark": NOT_GRADED}
        by_hand = sum(grade.needs_manual_grade for grade in grades)
        score = max(0.0, submission.score - submission.late_submission_penalty)
        return row | {"score": score, "remark": f"{by_hand} to be marked by hand" if by_hand else ""}
