"""Milestones: the functions that are there and right run the model, and the others are named."""

import json
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt

from vitlab import ffn
from vitlab.checks import exercises
from vitlab.milestone import collect

matplotlib.use("Agg")

ROOT = Path(__file__).parents[1]
PART_ONE = ("embeddings", "attention", "layer_norm", "ffn", "encoder", "vit")
PIXELS = ("layer_norm", "segmentation", "overlap_embeddings", "sra", "mix_ffn", "decoder")

GELU = """
def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2
"""
NORMALIZE_TOKENS = """
def normalize_tokens(x, eps):
    deviation = x - x.mean(-1, keepdim=True)
    return deviation / (deviation.square().mean(-1, keepdim=True) + eps).sqrt()
"""

LAYER_NORM = """
def layer_norm(x, gamma, beta, eps):
    return gamma * normalize_tokens(x, eps) + beta
"""
FFN = """
from vitlab.ffn import gelu as g

def ffn(Z, W_1, b_1, W_2, b_2):
    return g(Z @ W_1 + b_1) @ W_2 + b_2
"""
ENCODER_BLOCK = """
def encoder_block(Z, p, num_heads):
    matrices = p["W_Q"], p["W_K"], p["W_V"], p["W_O"]
    Z = Z + msa(layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6), *matrices, num_heads)
    return Z + ffn(layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6), p["W_1"], p["b_1"], p["W_2"], p["b_2"])
"""


def write(folder: Path, name: str, *cells: str, solution: int | None = None) -> None:
    """A notebook of code cells, that at place `solution` being the one for an answer."""
    marks = [{"nbgrader": {"solution": True, "grade_id": "gelu_solution"}} if i == solution else {} for i in range(9)]
    notebook = [
        {"cell_type": "code", "metadata": mark, "source": cell.splitlines(keepends=True)}
        for cell, mark in zip(cells, marks, strict=False)
    ]
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": notebook}), encoding="utf-8")


def said(mine) -> dict[str, str]:
    """What is said of each function, "" where it is right."""
    return {answer.name: answer.fault for answer in mine.answers}


# ---- the notebook of the milestone


def outputs(folder: str, name: str, monkeypatch) -> Iterator[tuple[str, str]]:
    """Run a committed notebook beside those of its folder; what each cell prints, by its id."""
    monkeypatch.chdir(ROOT / folder / name)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    namespace = {}
    for cell in json.loads(Path(f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and cell["id"] != "set-up":  # which has a line for Jupyter, and no need here
            with redirect_stdout(StringIO()) as printed:
                exec("".join(cell["source"]), namespace)
            yield cell["id"], printed.getvalue()


def test_blank_stubs_fail_milestone_1(monkeypatch):
    printed = dict(outputs("exercises", "milestone_1", monkeypatch))
    names = [exercise.name for topic in PART_ONE for exercise in exercises(topic)]
    assert [line for line in printed["functions"].splitlines() if "✗" in line] == [
        f"  ✗ {name}: Not written yet." for name in names
    ]
    assert f"0 of {len(names)} functions are yours and right." in printed["functions"]
    assert "The milestone is not reached yet" in printed["verdict"]
    assert all(f"`{name}`" in printed["verdict"] for name in names)
    assert "yours" not in printed["calls"] and "by vitlab's function" in printed["count"]


def test_right_functions_reach_milestone_1(monkeypatch):
    printed = dict(outputs("solutions", "milestone_1", monkeypatch))
    assert "✗" not in printed["functions"]
    assert "The milestone is reached" in printed["verdict"]
    assert "vitlab's" not in printed["calls"] and "by your function" in printed["count"]


def test_blank_stubs_fail_milestone_2(monkeypatch):
    printed = dict(outputs("exercises", "milestone_2", monkeypatch))
    names = [exercise.name for topic in PIXELS for exercise in exercises(topic)]
    assert f"0 of {len(names)} functions are yours and right." in printed["functions"]
    assert "The milestone is not reached yet" in printed["verdict"]
    assert all(f"`{name}`" in printed["verdict"] for name in names)
    assert "yours" not in printed["calls"]


def test_right_functions_reach_milestone_2(monkeypatch):
    printed = dict(outputs("solutions", "milestone_2", monkeypatch))
    assert "✗" not in printed["functions"]
    assert "The milestone is reached" in printed["verdict"]
    assert "vitlab's" not in printed["calls"]


# ---- what is taken from a notebook


def test_only_what_defines_the_functions_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAN", raising=False)
    write(
        tmp_path, "ffn",
        "%pip install something\nimport math, os\nimport torch\nimport nobody_has_this as n\nfrom math import erf",
        "os.environ['RAN'] = 'a statement'",
        "root = math.sqrt(2)\nunused = os.environ.setdefault('RAN', 'an assignment that is not needed')",
        "def phi(x):\n    return (1 + torch.erf(x / root)) / 2",
        "def unused(x=os.environ.setdefault('RAN', 'a default')):\n    return n.sum(x)",
        "def gelu(x):\n    unused = x  # not the one above\n    return unused * phi(x)",
        "for i in range(3):\n    os.environ['RAN'] = 'a loop'\nraise SystemExit",
    )  # fmt: skip
    mine = collect(("ffn",), tmp_path)
    assert said(mine) == {"gelu": "", "ffn": "Not written yet.", "ffn_parameters": "Not written yet."}
    assert "RAN" not in os.environ


@pytest.mark.parametrize(
    "name", ["ffn", "Copy of ffn", "ffn (1)", "ffn(2)", "../ffn/ffn", "ffn/ffn"], ids=lambda name: name
)
def test_notebooks_are_found_where_browsers_and_colab_put_them(name, tmp_path):
    here = tmp_path / "here"
    (here / Path(name).parent).mkdir(parents=True, exist_ok=True)
    (here / "../ffn").mkdir(exist_ok=True)
    write(here, name, "import torch" + GELU)
    write(here, "mix_ffn", "import torch\ndef gelu(x):\n    return x")
    assert said(collect(("ffn",), here))["gelu"] == ""


def test_the_cell_for_the_answer_counts(tmp_path):
    wrong = "def gelu(x):\n    return x"
    write(tmp_path, "ffn", "import torch" + GELU, wrong, solution=0)
    assert said(collect(("ffn",), tmp_path))["gelu"] == ""
    write(tmp_path, "ffn", "import torch" + GELU, wrong, solution=1)
    assert said(collect(("ffn",), tmp_path))["gelu"] != ""


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([], "Not written yet."),
        (["import torch", "from vitlab.ffn import gelu"], "Not written yet."),
        (["import torch", "def gelu(x):\n    return x.relu()"], "ReLU"),
        (["import torch", "def gelu(x):\n    return other(x)"], "NameError: name 'other' is not defined"),
        (["def gelu(x) return x"], "the cell that begins with `def gelu(x) return x` is no Python"),
        (["import nobody_has_this as n\ngelu = n.gelu"], "`import nobody_has_this as n` fails in line 2 (NameError"),
        (["import nobody_has_this as n\ndef gelu(x):\n    return n.gelu(x)"], "name 'n' is not defined"),
        (["gelu = 3"], "Not written yet."),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said_by_name(cells, sentence, tmp_path):
    write(tmp_path, "ffn", *cells)
    mine = collect(("ffn",), tmp_path)
    assert sentence in said(mine)["gelu"] and "gelu" in mine.missing
    x = torch.randn(2, 3)
    torch.testing.assert_close(mine["gelu"](x), torch.nn.functional.gelu(x))  # vitlab's stands in
    assert "The milestone is not reached yet: vitlab's functions stood in for `gelu`" in mine.verdict(x, x)


def test_an_import_that_fails_is_said_beside_the_function_that_needs_it(tmp_path):
    write(tmp_path, "ffn", "import nobody_has_this as n", "def gelu(x):\n    return n.gelu(x)")
    assert "ffn.ipynb, the cell that begins with `import nobody_has_this as n` fails in line 1" in str(
        collect(("ffn",), tmp_path)
    ).replace("\n      ", " ")


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"cells": [{"cell_type": "code"}]}', '{"cells": 3}'])
def test_what_is_no_notebook_is_said(text, tmp_path):
    (tmp_path / "ffn.ipynb").write_text(text, encoding="utf-8")
    assert said(collect(("ffn",), tmp_path))["gelu"].startswith("ffn.ipynb cannot be read as a notebook")


def test_a_folder_without_notebooks_is_said(tmp_path):
    assert set(said(collect(("layer_norm", "ffn"), tmp_path)).values()) == {"Its notebook is missing."}


# ---- how the functions are linked


def test_functions_call_each_other_and_those_that_stand_in_call_the_student_s(tmp_path):
    write(tmp_path, "layer_norm", NORMALIZE_TOKENS)  # and layer_norm is missing
    write(tmp_path, "ffn", "import torch" + GELU, FFN)
    imports = "from vitlab.layer_norm import *\nfrom vitlab.ffn import ffn"
    write(
        tmp_path, "encoder", imports, "from vitlab.attention import multi_head_self_attention as msa", ENCODER_BLOCK
    )  # fmt: skip
    mine = collect(("layer_norm", "ffn", "encoder"), tmp_path)
    assert mine.missing == ["layer_norm", "ffn_parameters", "encoder"]
    shapes = {"gamma_1": (6,), "beta_1": (6,), "W_Q": (6, 6), "W_K": (6, 6), "W_V": (6, 6), "W_O": (6, 6)}
    shapes |= {"gamma_2": (6,), "beta_2": (6,), "W_1": (6, 8), "b_1": (8,), "W_2": (8, 6), "b_2": (6,)}
    p = {name: torch.randn(shape) for name, shape in shapes.items()}
    mine["encoder"](torch.randn(2, 5, 6), [p, p], torch.ones(6), torch.zeros(6), 3)
    assert mine.calls == {
        "encoder": 1, "encoder_block": 2, "layer_norm": 5, "normalize_tokens": 5, "ffn": 2, "gelu": 2,
    }  # fmt: skip


def test_vitlab_s_own_functions_stay_as_they_are(tmp_path):
    before = dict(vars(ffn))
    write(tmp_path, "ffn", "import torch" + GELU)
    collect(("ffn",), tmp_path)
    assert vars(ffn) == before


def test_the_verdict_is_about_the_scores_too(tmp_path):
    write(tmp_path, "layer_norm", NORMALIZE_TOKENS, LAYER_NORM)
    mine = collect(("layer_norm",), tmp_path)
    scores = torch.tensor([[10.0, -20.0]])
    assert mine.missing == [] and "not" not in mine.verdict(scores, scores * (1 + 1e-6)).splitlines()[1]
    for other in (scores + 0.01, scores * torch.nan):
        assert "The milestone is not reached yet: your functions pass" in mine.verdict(scores, other)
    assert mine.verdict(scores, scores).endswith("Not called: `normalize_tokens` and `layer_norm`.")
