"""The one change of a student's own code that makes it right."""

import ast
import inspect
from collections import Counter
from textwrap import dedent

import pytest
import torch
from torch.nn import functional as F

from vitlab import checks
from vitlab.attention import attention_scores
from vitlab.checks.engine import repair
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.edits import edits, in_words
from vitlab.checks.engine.judge import judge

EXERCISES = checks.derivable()
ONE_CHANGE = "Your function is right with one change: "


def told(function, seed=0):
    """The first sentence on an answer, and whether it names a mistake."""
    result = judge(EXERCISES[function.__name__], LocalCandidate({function.__name__: function}), seed)
    return result.sentences[0], result.named


# Answers in ways that no reference goes, each with one mistake, and the line that would be right.


def normalize_tokens(x, eps):
    mean = x.mean(-1)
    centred = x - mean.unsqueeze(-1)
    variance = sum(centred[..., k] ** 2 for k in range(1, x.shape[-1])) / x.shape[-1]
    return centred / (variance + eps).sqrt()[..., None]


def patchify(images, patch_size):
    B, C, H, W = images.shape
    rows, columns = H // patch_size, W // patch_size
    patches = torch.zeros(B, rows * columns, patch_size**2 * C, dtype=images.dtype)
    for i in range(rows):
        for j in range(columns):
            patch = images[:, :, i * patch_size : (i + 1) * patch_size, j * patch_size : (j + 1) * patch_size]
            patches[:, i * rows + j] = patch.permute(0, 2, 3, 1).reshape(B, -1)
    return patches


@pytest.mark.parametrize(
    ("function", "change"),
    [
        (normalize_tokens, "/ x.shape[-1]` in the place of `variance = sum(centred[..., k] ** 2 for k in range(1, "),
        (patchify, "`patches[:, i * columns + j] = patch.permute(0, 2, 3, 1).reshape(B, -1)` in the place of `"),
    ],
)
def test_the_change_is_told_in_the_student_s_own_lines(function, change):
    for seed in range(3):
        sentence, named = told(function, seed)
        assert named and sentence.startswith(ONE_CHANGE) and change in sentence


def test_where_a_known_mistake_is_left_both_are_told():
    def linear_head(tokens, W, b, grid, patch_size):
        scores = []
        for k in range(W.shape[1]):
            one = (tokens * W[:, k]).sum(-1) + b[-k]
            scores.append(one.reshape(-1, *grid))
        maps = torch.stack(scores, dim=1)
        return F.interpolate(maps, scale_factor=patch_size, mode="bilinear", align_corners=True)

    sentence, named = told(linear_head)
    assert named and sentence.startswith("Two things. First: The corners are aligned (align_corners=True)")
    second = "`one = (tokens * W[:, k]).sum(-1) + b[k]` in the place of `one = (tokens * W[:, k]).sum(-1) + b[-k]`"
    assert f"Second, write {second}." in sentence


def test_two_changes_are_told_where_the_first_makes_some_cases_right():
    def poly_learning_rate(step, steps, warmup_steps, peak):
        if step < warmup_steps:
            return peak * (step + 4) / warmup_steps
        return peak * (1 - (step - warmup_steps) / (steps - warmup_steps)) ** 3

    sentence, named = told(poly_learning_rate)
    assert named and sentence.startswith("Your function is right with two changes: ") and "(step + 1)" in sentence
    assert "in the place of `return peak * (1 - (step - warmup_steps) / (steps - warmup_steps)) ** 3`" in sentence


def test_of_what_is_called_rows_and_columns_the_names_stay():
    made = changes(
        "def f(images):\n    B, C, H, W = images.shape\n    rows, columns = H // 2, W // 2\n    return rows\n"
    )
    assert not any(
        "B, C, W, H" in source or "columns, rows" in source or "= W // 2, H // 2" in source for source in made
    )


def test_a_key_of_a_dict_is_changed_into_another_one():
    def all_mlp_decoder(features, p):
        size = features[0].shape[2:]
        maps = []
        for F_i, L, b in ((features[0], p["L_1"], p["b_1"]), (features[1], p["L_2"], p["b_2"]),
                          (features[2], p["L_3"], p["b_3"]), (features[3], p["L_4"], p["b_1"])):  # fmt: skip
            maps.append(F.interpolate((F_i.mT.transpose(1, 3) @ L + b).transpose(1, 3).mT, size=size, mode="bilinear"))
        fused = F.relu(sum(maps[i].movedim(1, 3) @ p["W"].chunk(4)[i] for i in range(4)) + p["b"])
        return (fused @ p["W_head"] + p["b_head"]).movedim(3, 1)

    for seed in range(2):
        sentence, named = told(all_mlp_decoder, seed)
        assert named and ("b_1" in sentence and "b_4" in sentence)


def test_two_changes_at_one_place_are_too_many():
    def attention_scores(Q, K):
        products = [[(q * k).sum().sin() for k in keys[:-1]] for q, keys in zip(Q.flatten(0, 1), K, strict=False)]
        return torch.tensor(products)

    sentence, named = told(attention_scores)
    assert not named and ONE_CHANGE not in sentence


def test_the_notebook_s_names_stay_as_they_are():
    calls = Counter()

    def made(source):
        names = {"torch": torch, "calls": calls, "seen": "kept"}
        exec(source, names)
        return names

    source = "def f(x):\n    global seen\n    seen = 'changed'\n    calls.update('f')\n    return x\n"
    names = made(source)
    candidate = LocalCandidate({"f": names["f"]})
    outcome = candidate.call("f", (torch.ones(2),), instead=source.replace("return x", "return x + 1"))
    assert outcome.output.tolist() == [2.0, 2.0] and names["seen"] == "kept" and calls == {"f": 1}
    assert candidate.call("f", (torch.ones(2),)).output.tolist() == [1.0, 1.0]


def test_a_source_that_stops_is_an_outcome():
    candidate = LocalCandidate({"attention_scores": attention_scores})
    outcome = candidate.call("attention_scores", (torch.ones(2), torch.ones(2)), instead="def attention_scores(:")
    assert outcome.kind == "raised" and outcome.text.startswith("SyntaxError")


def test_what_may_not_end_or_is_no_function_is_left_alone():
    assert repair._source("def f(x):\n    while x < 3:\n        x += 1\n    return x\n") == ""
    assert repair._source("f = lambda x: x\n") == repair._source("") == repair._source("def f(:") == ""
    assert repair._source("@decorated\ndef f(x):\n    return x\n") == "def f(x):\n    return x\n"


def test_a_change_that_would_take_for_ever_is_given_up():
    def ffn_parameters(d, d_ff):
        count = 0
        for _ in range(d_ff):  # or in range(d_ff**2), which takes a while
            count += 2 * d + 1
        return count + 10

    assert told(ffn_parameters)[0] == f"{ONE_CHANGE}`return count + d` in the place of `return count + 10`."


def test_the_search_ends_when_its_seconds_are_over(monkeypatch):
    monkeypatch.setattr(repair, "SECONDS", 0.0)
    assert ONE_CHANGE not in told(patchify)[0]


def test_a_search_is_not_made_where_an_input_is_changed_in_place():
    def mixup_targets(targets, lam, partner):
        targets *= lam
        return targets + (1 - lam) * targets[partner]

    assert "changes its input `targets` in place" in " ".join(
        judge(EXERCISES["mixup_targets"], LocalCandidate({"mixup_targets": mixup_targets}), 0).sentences
    )


# ---- The changes themselves.


def changes(source):
    """All the texts that one change makes of a source."""
    return {edit.applied(source) for edit in edits(source)}


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("return x.sum(-1)", "return x.sum(-1, keepdim=True)"),
        ("return x.softmax(dim=1)", "return x.softmax(dim=-1)"),
        ("return (x + 1) / y", "return y / (x + 1)"),
        ("return x + 1 / y", "return x + 1 * y"),
        ("return x @ y", "return x @ (y.transpose(-2, -1))"),
        ("return x.reshape(2, 3)", "return x.reshape(3, 2)"),
        ("return torch.cat([x, y])", "return torch.cat([y, x])"),
        ("return torch.einsum('bnd,bmd->bmn', x, y)", "return torch.einsum('bnd,bmd->bnm', x, y)"),
        ("return F.gelu(x, approximate='tanh')", "return F.gelu(x, approximate='none')"),
        ("return x if y < 3 else 0", "return x if y <= 3 else 0"),
        ("return x", "return x + y"),
        ("return x * 3 + y - 2", "return x * (3 + y - 2)"),
        ("return x + 3 - y // 2", "return (x + 3 - y) // 2"),
    ],
)
def test_an_expression_is_changed(line, other):
    made = changes(f"def f(x, y):\n    {line}\n")
    # parentheses that change nothing aside
    assert ast.dump(ast.parse(f"def f(x, y):\n    {other}\n")) in {
        ast.dump(ast.parse(source)) for source in made if _parses(source)
    }


def _parses(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def test_lines_that_are_alike_are_changed_together():
    source = (
        "def f(Z, W_Q, W_K, h):\n    Q = (Z @ W_Q).view(3, h, -1)\n    K = (Z @ W_K).view(3, h, -1)\n    return Q, K\n"
    )
    assert source.replace("view(3, h, -1)", "view(3, -1, h)") in changes(source)
    different = "def f(x):\n    mu = x.mean(-1)\n    var = x.var(dim=-1)\n    return mu, var\n"
    assert different.replace("-1)", "-1, keepdim=True)") in changes(different)


def test_a_name_is_changed_together_in_two_lines_that_follow_each_other():
    source = "def f(k, rows, columns):\n    i = k // rows\n    j = k % rows\n    return i + rows, j\n"
    assert source.replace("k // rows", "k // columns").replace("k % rows", "k % columns") in changes(source)


def test_all_starts_of_a_slice_are_multiplied():
    source = "def f(X, i, j, R):\n    return X[:, i : i + R, j : j + R]\n"
    assert source.replace("i : i", "i * R : (i * R)").replace("j : j", "j * R : (j * R)") in changes(source)


def test_what_undoes_a_step_is_not_tried_beside_a_known_mistake():
    source = "def f(x, b, unused):\n    mu = x.mean()\n    return x - mu\n"
    keeps = {edit.applied(source): edit.keeps for edit in edits(source)}
    assert keeps[source.replace("x - mu", "(x - mu) + b")] and keeps[source.replace("x - mu", "(x - mu) / unused")]
    for undone in ("(x - mu) + mu", "(x - mu) + x", "(x - mu) / mu"):
        assert not keeps[source.replace("x - mu", undone)]


def test_nothing_is_changed_whose_shape_alone_is_read_or_that_is_written_to():
    source = "def f(x, out):\n    B, n = x.shape\n    out[0] = x\n    return out\n"
    assert not any(").shape" in made or "out.T[0]" in made or "-1).shape" in made for made in changes(source))
    assert source.replace("x.shape", "out.shape") in changes(source)


def test_a_line_is_moved_into_the_loop_that_follows_it():
    source = "def f(x):\n    y = 0\n    for k in x:\n        for i in k:\n            y += i\n    return y\n"
    moved = source.replace("    y = 0\n", "    pass\n").replace("        for i", "        y = 0\n        for i")
    found = {edit.applied(source): in_words(source, edit) for edit in edits(source)}
    assert found[moved] == "`y = 0` at the beginning of the loop, and not before it"


def test_a_line_is_moved_out_of_the_loop_and_left_out_and_exchanged():
    source = "def f(x):\n    y = x\n    for k in range(3):\n        y = y + k\n        return y\n"
    moved = source.replace("        return y", "    return y")
    found = {edit.applied(source): in_words(source, edit) for edit in edits(source)}
    assert found[moved] == "`return y` behind the loop, and not in it"
    assert found[source.replace("    y = x\n", "    pass\n")] == "`y = x` left out"
    two = "def f(x):\n    x = x + 1\n    x = x * 2\n    return x\n"
    other = "def f(x):\n    x = x * 2\n    x = x + 1\n    return x\n"
    assert {edit.applied(two): in_words(two, edit) for edit in edits(two)}[other] == "`x = x * 2` before `x = x + 1`"


def test_a_statement_of_several_lines_is_changed_as_one():
    source = "def f(a, b, c):\n    return (a * 2\n            + b\n            + c) * 3\n"
    other = ast.dump(ast.parse("def f(a, b, c):\n    return (a * (2 + b + c)) * 3\n"))
    assert other in {ast.dump(ast.parse(made)) for made in changes(source) if _parses(made)}


def test_of_a_long_statement_only_the_change_is_shown():
    source = f"def f(x):\n    return x.sum(dim=0) + {' + '.join(['x'] * 100)}\n"
    words = {in_words(source, edit) for edit in edits(source)}
    assert "`1` in the place of `0`" in words and max(map(len, words)) < 1000


def test_letters_of_more_than_one_byte_do_not_shift_a_change():
    source = 'def f(x, ε):\n    μ = x.mean(dim=1)  # 平均\n    return x - μ + ε, "é", x.sum(dim=0)\n'
    assert source.replace("x.sum(dim=0)", "x.sum(dim=-1)") in changes(source)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES.keys())
def test_every_change_of_a_reference_has_words(exercise):
    source = repair._source(dedent(inspect.getsource(exercise.reference)))
    found = edits(source)
    assert len(found) > 50 and found == sorted(found, key=lambda edit: edit.cost)
    for edit in found[::25]:
        assert edit.applied(source) != source and in_words(source, edit)
    assert sum(map(_parses, (edit.applied(source) for edit in found[::25]))) > 0.8 * len(found[::25])
