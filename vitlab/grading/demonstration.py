"""Grade a demonstration class and print its marks: `python -m vitlab.grading.demonstration`, in the repository's root.

The class has a course of its own in _build/demonstration: submitted/ and gradebook.db of a real class are not touched.
Where nothing has changed since the last time, the marks are those of the last time.
"""

import hashlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

COURSE = Path("_build/demonstration")
MARKS = COURSE / "marks.json"
BY_HAND = "by hand"


def fingerprint() -> str:
    """A number that changes when anything changes on which the marks depend."""
    paths = [Path("nbgrader_config.py"), *Path("solutions").rglob("*"), *Path("vitlab").rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def class_marks() -> dict[str, Any]:
    """The marks by topic, student and exercise; graded now unless that was done before."""
    now = fingerprint()
    if MARKS.exists():
        saved = json.loads(MARKS.read_text(encoding="utf-8"))
        if saved["fingerprint"] == now:
            return saved["marks"]
    from vitlab.grading.classroom import grade  # importing nbgrader takes seconds

    try:
        marks = grade(COURSE)
    except SystemExit:
        sys.exit(f"nbgrader could not grade the class; what it said is in {COURSE}/nbgrader.log.")
    MARKS.write_text(json.dumps({"fingerprint": now, "marks": marks}, indent=1) + "\n", encoding="utf-8")
    return marks


def table(by_student: dict[str, Any]) -> str:
    """One row a student, one column an exercise."""
    header = ["", *next(iter(by_student.values()))["exercises"], "total"]
    rows = [header]
    for student, entry in by_student.items():
        marks = entry["exercises"].values()
        total = f"{sum(m['points'] or 0 for m in marks):g}/{sum(m['possible'] for m in marks):g}"
        rows.append([student, *(shown(mark) for mark in marks), total])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def shown(mark: dict[str, Any]) -> str:
    return BY_HAND if mark["points"] is None else f"{mark['points']:g}/{mark['possible']:g}"


def missing_marks(by_student: dict[str, Any]) -> str:
    """Where points are missing, with the reasons that the student reads."""
    paragraphs = []
    for student, entry in by_student.items():
        by_program = {name: mark for name, mark in entry["exercises"].items() if mark["expected"] is not None}
        lost = {name: mark for name, mark in by_program.items() if mark["points"] < mark["possible"]}
        if lost:
            paragraphs.append(f"{student} ({entry['description']})")
        for name, mark in lost.items():
            text = f"{name} {shown(mark)}: {' '.join(mark['reasons'])}"
            paragraphs.append(textwrap.fill(text, width=110, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(paragraphs)


def surprises(by_topic: dict[str, Any]) -> list[str]:
    """Marks that are not what the student's answer deserves."""
    return [
        f"{student} has {shown(mark)} and not {mark['expected']:g} for {name}"
        for by_student in by_topic.values()
        for student, entry in by_student.items()
        for name, mark in entry["exercises"].items()
        if mark["expected"] is not None and mark["points"] != mark["expected"]
    ]


def main() -> int:
    if not Path("solutions").is_dir():
        sys.exit("There is no folder solutions/ here: run this in the repository's root.")
    by_topic = class_marks()
    for topic, by_student in by_topic.items():
        print("", topic, "=" * len(topic), table(by_student), "", sep="\n")
        print("Where marks are missing:", missing_marks(by_student), sep="\n")
    print(f"\n{BY_HAND}: a written answer, to be marked by hand, for example with nbgrader's formgrader")
    print(f"feedback pages: {COURSE}/feedback/<student>/<topic>/<topic>.html")
    print(f"marks as a table: {COURSE}/grades.csv")
    if wrong := surprises(by_topic):
        sys.exit(f"The marks are not as they should be: {'; '.join(wrong)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
