"""Notebooks in their committed form, and the tool that brings them there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from vitlab.authoring.notebooks import MILESTONES, committed_form, generated_cells

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*/*.ipynb"))
EXERCISES = sorted((ROOT / "exercises").glob("*/*.ipynb"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_authoring(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vitlab.authoring", *options]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", CHAPTERS + SOLUTIONS, ids=name)
def test_notebook_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == committed_form(path, CONFIG), "run python -m vitlab.authoring"


@pytest.mark.parametrize("path", CHAPTERS + SOLUTIONS + EXERCISES, ids=name)
def test_notebook_has_no_outputs_and_begins_by_setting_up(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code if cell.outputs or cell.execution_count] == []
    assert [cell.get("id") for cell in code[:1]] in ([], ["set-up"])


@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_solution_opens_in_colab_and_its_chapter_leads_to_it(path):
    assert "open-in-colab" in [cell.get("id") for cell in nbformat.read(path, as_version=4).cells]
    topic = {milestone: topic for topic, milestone in MILESTONES.items()}.get(path.stem, path.stem)
    last = nbformat.read(ROOT / "book" / f"{topic}.ipynb", as_version=4).cells[-1]
    assert last.get("id") == "exercise"
    assert last.source.count(f"exercises/{path.stem}/{path.name})") == 2  # in Colab, and to download


def test_pre_commit_agrees():
    """nbstripout, as .pre-commit-config.yaml runs it, finds nothing to change."""
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
        for hook in repository["hooks"]
    ]
    (options,) = [hook["args"] for hook in hooks if hook["id"] == "nbstripout"]
    notebooks = [str(path) for path in CHAPTERS + SOLUTIONS + EXERCISES]
    command = [sys.executable, "-m", "nbstripout", "--verify", *options, *notebooks]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def repository(tmp_path):
    """A small repository whose chapter was just edited in Jupyter."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book").mkdir()
    cells = [
        nbformat.v4.new_code_cell("# to be written", id="set-up", metadata={"collapsed": True}),
        nbformat.v4.new_code_cell(
            "1 + 1",
            id="sum",
            execution_count=3,
            outputs=[nbformat.v4.new_output("execute_result", data={"text/plain": "2"}, execution_count=3)],
            metadata={"tags": ["hide-output"], "execution": {"iopub.status.busy": "now"}},
        ),
        nbformat.v4.new_markdown_cell("to be written", id="exercise"),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=cells, metadata={"widgets": {}, "kernelspec": {"name": "mine", "display_name": "Mine"}}
    )
    nbformat.write(notebook, tmp_path / "book" / "attention.ipynb")
    return tmp_path


def test_tool_rewrites_once(repository):
    chapter = repository / "book" / "attention.ipynb"
    edited = chapter.read_bytes()
    assert run_authoring(repository, "--check").returncode == 1
    assert chapter.read_bytes() == edited  # --check only looks

    assert run_authoring(repository).stdout == "book/attention.ipynb rewritten\n"
    rewritten = chapter.read_bytes()
    assert run_authoring(repository, "--check").returncode == 0
    assert run_authoring(repository).stdout == ""
    assert chapter.read_bytes() == rewritten


def test_tool_keeps_what_authors_write_and_nothing_else(repository):
    run_authoring(repository)
    notebook = nbformat.read(repository / "book" / "attention.ipynb", as_version=4)
    set_up, total, exercise = notebook.cells
    assert notebook.metadata.kernelspec.name == "python3" and "widgets" not in notebook.metadata
    assert (total.source, total.outputs, total.execution_count) == ("1 + 1", [], None)
    assert total.metadata == {"tags": ["hide-output"]}
    assert set_up.metadata == {"tags": ["remove-cell"]}
    assert set_up.source == generated_cells(CONFIG, "attention")["set-up"]
    assert exercise.source == generated_cells(CONFIG, "attention")["exercise"]


def test_a_notebook_that_colab_saved_keeps_its_cells_names(repository):
    path = repository / "book" / "attention.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.nbformat_minor, notebook.metadata["colab"] = 0, {"provenance": []}
    _, total, exercise = notebook.cells
    total.metadata = {"nbgrader": {"grade_id": "sum-check"}, "id": "no id!", "outputId": "7"}
    copied = nbformat.from_dict({**exercise, "metadata": {"id": "exercise"}})
    for cell in notebook.cells:
        cell.metadata.setdefault("id", cell.pop("id"))
        cell.pop("id", None)
    copied.pop("id")
    notebook.cells.append(copied)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert run_authoring(repository).returncode == 0
    mended = nbformat.read(path, as_version=4)
    assert [cell.id for cell in mended.cells] == ["set-up", "sum-check", "exercise", "cell-3"]
    assert [sorted(cell.metadata) for cell in mended.cells] == [["tags"], ["nbgrader"], [], []]
    assert run_authoring(repository, "--check").returncode == 0


def test_tool_follows_the_address(repository):
    config = repository / "_config.yml"
    text = config.read_text(encoding="utf-8").replace(CONFIG["repository"]["url"], "https://github.com/someone/fork")
    config.write_text(text.replace("branch: main", "branch: autumn"), encoding="utf-8")
    run_authoring(repository)
    set_up, _, exercise = nbformat.read(repository / "book" / "attention.ipynb", as_version=4).cells
    assert "git+https://github.com/someone/fork@autumn" in set_up.source
    assert "/github/someone/fork/blob/autumn/exercises/attention/attention.ipynb" in exercise.source


def test_tool_wants_the_root(tmp_path):
    done = run_authoring(tmp_path)
    assert done.returncode != 0
    assert "run this in the repository's root" in done.stderr


def test_set_up_cell_is_silent_where_vitlab_is_installed():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        result = InteractiveShell().run_cell(generated_cells(CONFIG, "attention")["set-up"])
    result.raise_error()
    assert (captured.stdout, captured.stderr, captured.outputs) == ("", "", [])


def test_a_new_topic_gets_its_stubs_and_keeps_what_is_there(repository):
    new = ("new", "layer_norm", "layer_norm")
    said = run_authoring(repository, *new).stdout
    rooms = ["vitlab/checks", "tests", "book", "solutions/layer_norm"]
    paths = [next((repository / room).glob("*layer_norm*")) for room in rooms]
    assert all(f"{path.relative_to(repository)} written" in said for path in paths)
    checks, tests, chapter, solution = (path.read_text(encoding="utf-8") for path in paths)
    assert 'takes={"x": "", "gamma": "", "beta": "", "eps": ""}' in checks and "EXERCISES = (the_layer_norm,)" in checks
    compile(checks, "checks", "exec"), compile(tests, "tests", "exec")
    assert "[Open the exercise in Colab]" in chapter  # already in its committed form
    notebook = nbformat.reads(solution, as_version=4)
    assert [c.id for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")] == [
        "layer-norm-check",
        "written-question-answer",
    ]
    assert "def layer_norm(x, gamma, beta, eps):" in solution

    paths[0].write_text("mine", encoding="utf-8")
    assert "written" not in run_authoring(repository, *new).stdout and paths[0].read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("topic", "function", "words"),
    [("layer_norm", "batch_norm", "has no function batch_norm"), ("nothing", "f", "No module named 'vitlab.nothing'")],
)
def test_a_new_topic_needs_its_reference_first(repository, topic, function, words):
    done = run_authoring(repository, "new", topic, function)
    assert done.returncode != 0 and words in done.stderr and not (repository / "solutions").exists()
