"""The README's way of teaching, as it stands there, in a fresh checkout with one student."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from vitlab.grading.classroom import hand_in, students

ROOT = Path(__file__).parents[2]


def _commands():
    section = re.search(r"^## To teach$(.*?)^## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)[1]
    (block,) = re.findall(r"^```\n(.*?)^```$", section, re.S | re.M)
    return block.splitlines()


def test_the_readme_s_commands_grade_a_student_in_a_fresh_checkout(tmp_path):
    for name in ("solutions", "exercises"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    released = (tmp_path / "exercises/attention/attention.ipynb").read_bytes()
    (student,) = [student for student in students("attention") if student.name == "unscaled"]
    hand_in("attention", student, tmp_path)

    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    environment["PYTHONPATH"] = str(ROOT)  # for the student's kernel
    commands = _commands()
    assert any("autograde" in command for command in commands)
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "ERROR" not in done.stderr, f"{command}: {done.stderr[-2000:]}"

    assert (tmp_path / "exercises/attention/attention.ipynb").read_bytes() == released
    with open(tmp_path / "grades.csv", encoding="utf-8") as file:
        ((name, score),) = [(row["student_id"], float(row["score"])) for row in csv.DictReader(file)]
    assert (name, score) == ("unscaled", 12 - 3)  # the written answer is not marked yet
    page = (tmp_path / "feedback/unscaled/attention/attention.html").read_text(encoding="utf-8")
    assert "division by √d_k is missing" in page
