"""What the files of the topics have in common: a reader sees the shape wherever one changes."""

import ast
from pathlib import Path

import pytest

import vitlab

PACKAGE = Path(vitlab.__file__).parent
FILES = [*PACKAGE.glob("*.py"), *PACKAGE.glob("segmentation/*.py"), *PACKAGE.glob("fast/*.py")]
RESHAPING = {"reshape", "view", "flatten", "unflatten", "permute", "transpose", "movedim", "unfold", "expand"}


def without_shape(source: str) -> list[str]:
    """The lines that change a shape and have no comment with the new one, such as "# (B, n, d)"."""
    lines, missing = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RESHAPING
        if called or (isinstance(node, ast.Attribute) and node.attr == "T"):
            written = lines[node.lineno - 1 : node.end_lineno]
            if not any("(" in line.partition("  # ")[2] for line in written):
                missing.append(f"{node.lineno}: {written[0].strip()}")
    return missing


def test_a_line_without_shape_is_found():
    assert without_shape("y = x.flatten(1)\n") == ["1: y = x.flatten(1)"]
    assert without_shape("y = x.flatten(1)  # all of it\n") == ["1: y = x.flatten(1)  # all of it"]
    assert without_shape("y = x.T\n") == ["1: y = x.T"]
    assert without_shape("y = x.flatten(1)  # (B, n, d)\n") == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_every_line_that_changes_a_shape_says_the_new_one(file):
    assert without_shape(file.read_text(encoding="utf-8")) == []
