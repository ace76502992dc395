"""Judging: arguments and results of every kind, what may and may not be paid, and what can be called."""

import functools
import re

import numpy as np
import pytest
import torch
from support.made_up import EXERCISES, gram, residual_mlp
from support.strange import FULL, STRANGE
from torch import nn

from vitlab import checks
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.checks.engine.judge import judge
from vitlab.embeddings import patchify

BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def _judge(name, function, seed=0):
    return judge(BY_NAME[name], LocalCandidate({name: function}), seed)


# ---- Arguments and results of every kind.


@pytest.mark.parametrize("name", BY_NAME)
def test_references_have_full_marks_and_misconceptions_do_not(name):
    exercise = BY_NAME[name]
    for seed in range(20):
        assert _judge(name, exercise.reference, seed).sentences == (f"`{name}` is right.",)
        for misconception in exercise.misconceptions:
            result = _judge(name, misconception.function, seed)
            assert not result.passed and result.sentences[0] == misconception.sentence


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_function_of_dicts_and_lists_gets_a_sentence(name):
    make, words = STRANGE[name]
    result = _judge("residual_mlp", make(residual_mlp))
    assert re.search(words, " ".join(result.sentences)), result.sentences
    assert result.passed == (words == FULL)


RIGHT_ALL_THE_SAME = {  # what makes no difference to numbers, integers or booleans, by exercise
    "parameters": {"changes its input", "raises for gradients", "switches"},
    "rate": {"changes its input", "raises for gradients", "switches"},
    "loss": {"list", "numpy", "always double", "a number's tensor"},
    "counts": {"integers", "detaches", "through numpy", "raises for gradients", "switches"},
    "above": {"booleans", "detaches", "through numpy", "raises for gradients", "switches"},
}


@pytest.mark.parametrize("name", RIGHT_ALL_THE_SAME)
@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_function_of_any_result_gets_a_sentence(name, strange):
    make, words = STRANGE[strange]
    result = _judge(name, make(BY_NAME[name].reference))
    assert all(result.sentences) and len(" ".join(result.sentences)) < 1500
    if words != FULL:
        assert result.passed == (strange in RIGHT_ALL_THE_SAME[name]), result.sentences
    elif strange in ("prints", "warns", "floods", "writes to the descriptor"):  # the others change only tensors
        assert result.passed, result.sentences


def _then(function, change):
    return lambda *arguments: change(function(*arguments))


RIGHT = {
    "an int": ("parameters", int),
    "a NumPy integer": ("parameters", np.int64),
    "a NumPy array without axes": ("parameters", np.array),
    "a tensor": ("parameters", torch.tensor),
    "a short tensor": ("parameters", lambda n: torch.tensor(n, dtype=torch.int32)),
    "a float": ("rate", float),
    "a NumPy float": ("rate", np.float64),
    "a short NumPy float": ("rate", np.float32),
    "a tensor for a float": ("rate", torch.tensor),
    "a double": ("rate", lambda x: torch.tensor(x, dtype=torch.float64)),
    "a Python number for a tensor": ("loss", lambda x: x.item()),
    "a double for a float": ("loss", lambda x: x.double()),
    "other integers": ("counts", lambda x: x.int()),
    "bytes": ("counts", lambda x: x.to(torch.uint8)),
    "booleans": ("above", lambda x: x.clone()),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_right_numbers_of_another_kind_are_right(kind):
    name, change = RIGHT[kind]
    result = _judge(name, _then(BY_NAME[name].reference, change))
    assert result.passed, result.sentences


WRONG = {
    "4.0 for 4": ("parameters", float, "returns a float, 67.0; expected was a whole number: divide with //"),
    "a tensor 4.0 for 4": (
        "parameters",
        lambda n: torch.tensor(float(n)),
        "returns a float, 67.0; expected was a whole number",
    ),
    "a wrong number": ("parameters", lambda n: n + 1, "returns 68; expected was 67"),
    "one more of 118 million": ("parameters", lambda n: n + (n > 10**6), "returns 4722433; expected was 4722432"),
    "True for a number": ("parameters", bool, "returns a bool; expected was a whole number"),
    "a text": ("parameters", str, "returns a str"),
    "a list for a number": ("parameters", lambda n: [n], "returns a list of 1; expected was a whole number."),
    "too many digits": ("parameters", lambda n: n << 80, "an int of more than 64 bits"),
    "complex": ("rate", complex, "returns a complex"),
    "nan": ("rate", lambda x: float("nan"), "returns nan; expected was 0.00"),
    "one axis too many": ("loss", lambda x: x[None], r"has the shape \(1,\); expected was a number"),
    "half": ("loss", lambda x: (x + 0.01).half(), "returns .*; expected was"),
    "detached": ("loss", lambda x: x.detach(), "no gradient flows back to `logits`"),
    "floats for integers": (
        "counts",
        lambda x: x.float(),
        "numbers are right, but they are of torch.float32; expected are integers",
    ),
    "wrong floats": ("counts", lambda x: 2 * x.float(), "Every number is 2 times"),
    "off by one": ("counts", lambda x: x + torch.eye(4).long(), "."),
    "booleans for integers": ("counts", lambda x: x > 0, "a tensor of torch.bool"),
    "integers for booleans": ("above", lambda x: x.long(), "a tensor of torch.int64"),
    "turned booleans": ("above", lambda x: ~x, "."),
    "a NumPy array": ("counts", lambda x: x.numpy(), "a NumPy array"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_numbers_and_kinds_get_a_sentence(kind):
    name, change, words = WRONG[kind]
    result = _judge(name, _then(BY_NAME[name].reference, change))
    assert not result.passed and re.search(words, result.sentences[0]), result.sentences


def _with(change):
    def function(Z, p, blocks, scales, slope):
        result = residual_mlp(Z, p, blocks, scales, slope)
        with torch.no_grad():
            change(Z, p, blocks, scales)
        return result

    return function


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda Z, p, blocks, scales: p["W_out"].add_(1), "p['W_out']"),
        (lambda Z, p, blocks, scales: p.update(cache=Z), "p['cache']"),
        (lambda Z, p, blocks, scales: p.pop("b_out"), "p['b_out']"),
        (lambda Z, p, blocks, scales: p.update({Z: Z}), "p['Tensor']"),
        (lambda Z, p, blocks, scales: blocks[1]["W"].mul_(2), "blocks[1]['W']"),
        (lambda Z, p, blocks, scales: blocks.append({}), "blocks"),
        (lambda Z, p, blocks, scales: scales.pop(0), "scales"),
    ],
)
def test_a_change_inside_a_dict_or_list_is_seen_and_named(change, name):
    result = _judge("residual_mlp", _with(change))
    assert not result.points and f"changes its input `{name}` in place" in result.sentences[0]


@pytest.mark.parametrize(
    ("detach", "name"),
    [
        (lambda Z, p, blocks, scales: p.update(W_out=p["W_out"].detach()), "p['W_out']"),
        (lambda Z, p, blocks, scales: blocks[1].update(W=blocks[1]["W"].detach()), "blocks[1]['W']"),
        (lambda Z, p, blocks, scales: scales.__setitem__(0, scales[0].detach()), "scales[0]"),
    ],
)
def test_gradients_inside_dicts_and_lists_are_compared(detach, name):
    def function(Z, p, blocks, scales, slope):
        p, blocks, scales = dict(p), [dict(block) for block in blocks], list(scales)
        detach(Z, p, blocks, scales)
        return residual_mlp(Z, p, blocks, scales, slope)

    result = _judge("residual_mlp", function)
    assert result.points == 1 and f"no gradient flows back to `{name}`" in result.sentences[0]


def test_half_a_gradient_inside_a_dict_is_seen():
    def function(Z, p, blocks, scales, slope):
        W = (p["W_out"] + p["W_out"].detach()) / 2
        return residual_mlp(Z, {**p, "W_out": W}, blocks, scales, slope)

    assert "the gradient with respect to `p['W_out']` is not" in _judge("residual_mlp", function).sentences[0]


# ---- What can be called.


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images, patch_size: int):
        return patchify(images, patch_size) * self.scale


class Plain:
    def __call__(self, images, patch_size):
        return patchify(images, patch_size)


def typed(images: torch.Tensor, patch_size: int) -> torch.Tensor:
    B, C, H, W = images.shape
    P = patch_size
    return images.reshape(B, C, H // P, P, W // P, P).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, P * P * C)


class Typed(nn.Module):
    def forward(self, images: torch.Tensor, patch_size: int) -> torch.Tensor:
        return typed(images, patch_size)


CALLABLE = {
    "a module": Module,
    "a script": lambda: torch.jit.script(typed),
    "a scripted module": lambda: torch.jit.script(Typed()),
    "a partial": lambda: functools.partial(lambda scale, images, patch_size: scale * patchify(images, patch_size), 1),
    "an object": Plain,
    "a method": lambda: Plain().__call__,
    "a cached function": lambda: functools.wraps(patchify)(lambda *arguments: patchify(*arguments)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", CALLABLE)
def test_whatever_can_be_called_can_be_an_answer(kind):
    patchify = CALLABLE[kind]()
    for seed in range(3):
        assert checks.run("embeddings", {"patchify": patchify}, seed).exercises[0].passed
        assert checks.check(patchify, seed).passed


def test_a_module_without_forward_is_not_written_yet():
    assert "not written yet" in checks.run("embeddings", {"patchify": nn.Module()}).exercises[0].sentences[0]


# ---- Which exercise a call of check is about.


def _notebook(*cells):
    """Run cells as IPython does: each has its source in linecache. What the last line of the last one shows."""
    import ast
    import linecache

    space = {"torch": torch, "check": checks.check}
    for i, cell in enumerate(cells):
        name = f"<cell {id(space)} {i}>"
        linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
        body = ast.parse(cell).body
        *statements, last = body
        exec(compile(ast.Module(statements, []), name, "exec"), space)
        shown = eval(compile(ast.Expression(last.value), name, "eval"), space) if isinstance(last, ast.Expr) else exec(
            compile(ast.Module([last], []), name, "exec"), space
        )  # fmt: skip
    return shown


SCORES = "def attention_scores(Q, K):\n    return Q @ K.mT / Q.shape[-1] ** 0.5\n"


def test_a_second_name_for_a_function_earns_nothing_where_it_is_wrong():
    cells = SCORES, "attention_weights = attention_scores\n"
    for call in (
        "check(attention_weights)",
        "check(\n    attention_weights,\n    seed=3,\n)",
        "0, check(function=attention_weights)",
    ):
        report = _notebook(*cells, call)
        report = report[1] if isinstance(report, tuple) else report
        assert report.exercises[0].name == "attention_weights" and report.points == 0
        assert "`attention_weights` and `attention_scores` are one and the same function" in str(report)
    report = _notebook(*cells, "check(attention_scores)")
    assert report.passed and report.points == 3 and "same function" not in str(report)


def test_where_the_call_cannot_be_read_the_name_is_found_and_two_names_earn_the_lesser():
    assert _notebook(SCORES, "[check(f) for f in [attention_scores]][0]").passed
    report = _notebook(SCORES, "attention_weights = attention_scores", "[check(f) for f in [attention_scores]][0]")
    assert report.points == 0 and "one and the same function" in str(report)
    space = {"check": checks.check}
    exec(SCORES + "report = check(attention_scores)", space)  # no source anywhere
    assert space["report"].passed
    assert _notebook("from vitlab import attention as a", "check(a.attention_scores)").passed


def test_the_earlier_functions_are_those_of_the_notebook():
    module = (
        "class Attend(torch.nn.Module):\n    def forward(self, Q, K, V):\n"
        "        return attention_weights(attention_scores(Q, K)) @ V\n\nattention = Attend()\n"
    )
    wrong = SCORES.replace("** 0.5", "** 1.5"), "def attention_weights(A):\n    return A.softmax(-1)\n"
    report = _notebook(*wrong, module, "check(attention)")
    assert report.passed and "Right, given the results of your `attention_scores`" in str(report)


# ---- What is not paid because an earlier function is wrong, too.


def test_zeros_are_not_right_because_an_earlier_function_gives_zeros():
    def zeros(images, patch_size):
        return torch.zeros_like(patchify(images, patch_size))

    functions = {
        "patchify": zeros,
        "embed_patches": lambda images, E, P: torch.zeros(
            len(images), zeros(images, P).shape[1], E.shape[1], dtype=E.dtype
        ),
    }
    result = checks.run("embeddings", functions).exercises[1]
    assert result.points == 0 and "Nothing can be said yet" in result.sentences[0]


@pytest.mark.parametrize("number", [float("nan"), 1.0])
def test_nor_is_one_number_everywhere(number):
    def same(images, patch_size):
        return torch.full_like(patchify(images, patch_size), number)

    functions = {"patchify": same, "embed_patches": lambda images, E, P: same(images, P) @ torch.ones_like(E)}
    result = checks.run("embeddings", functions).exercises[1]
    assert result.points == 0


def test_a_wrong_dtype_is_not_right_because_an_earlier_function_is_wrong():
    functions = {
        "patchify": lambda images, patch_size: patchify(images, patch_size).flip(1),
        "embed_patches": lambda images, E, patch_size: (patchify(images, patch_size).flip(1) @ E).double(),
    }
    result = checks.run("embeddings", functions).exercises[1]
    assert result.points < result.possible and "given the results" not in " ".join(result.sentences)


def test_a_mean_is_not_right_because_the_scores_are_zero():
    functions = {
        "attention_scores": lambda Q, K: 0 * (Q @ K.mT),
        "attention_weights": lambda A: A.softmax(-1),
        "attention": lambda Q, K, V: V.mean(dim=1, keepdim=True).expand(-1, Q.shape[1], -1),
    }
    result = checks.run("attention", functions).exercises[2]
    assert result.points == 0 and "Nothing can be said yet" in result.sentences[0]


def _embed_reversed(change):
    def patchify_(images, patch_size):
        return patchify(images, patch_size).flip(1)

    functions = {"patchify": patchify_, "embed_patches": lambda images, E, P: change(patchify_(images, P), E)}
    return checks.run("embeddings", functions).exercises[1]


def test_inputs_and_gradients_count_also_where_an_earlier_function_is_wrong():
    right = _embed_reversed(lambda patches, E: patches @ E)
    assert right.passed and right.excused and len(right.sentences) == 1
    detached = _embed_reversed(lambda patches, E: patches @ E.detach())
    assert detached.points == 2 and "no gradient flows back to `E`" in detached.sentences[1]
    changed = _embed_reversed(lambda patches, E: (patches @ E, E.data.mul_(2))[0])
    assert changed.points == 0 and "changes its input `E`" in changed.sentences[1]


def test_a_gradient_that_an_earlier_function_cuts_costs_there_only():
    def patchify_(images, patch_size):
        return patchify(images.detach(), patch_size).flip(1)

    functions = {"patchify": patchify_, "embed_patches": lambda images, E, P: patchify_(images, P) @ E}
    result = checks.run("embeddings", functions).exercises[1]
    assert result.passed and result.excused


def test_an_overflow_in_an_earlier_function_still_costs_once():
    functions = {
        "attention_scores": lambda Q, K: Q @ K.mT / Q.shape[-1] ** 0.5,
        "attention_weights": lambda A: A.exp() / A.exp().sum(-1, keepdim=True),
    }
    functions["attention"] = lambda Q, K, V: functions["attention_weights"](functions["attention_scores"](Q, K)) @ V
    weights, attention = checks.run("attention", functions).exercises[1:3]
    assert (
        not weights.passed
        and attention.passed
        and "given the results of your `attention_weights`" in attention.sentences[0]
    )


def test_an_earlier_function_that_is_not_there_takes_no_blame():
    def stops(X, p, num_heads, sr_ratio):
        raise ValueError("of its own")

    sentences = judge(checks.derivable()["spatial_reduction_attention"],
                      LocalCandidate({"spatial_reduction_attention": stops}), 0).sentences  # fmt: skip
    assert "ValueError: of its own" in sentences[0]


def test_an_earlier_function_that_changes_takes_no_blame():
    def make(right_calls):
        calls = []

        def changing(images, patch_size):
            calls.append(1)
            patches = patchify(images, patch_size)
            return patches if len(calls) <= right_calls else patches.flip(1)

        return changing

    told = []
    for right_calls in range(3, 30):  # from one that is wrong in its own check to one that is never wrong
        functions = {
            "patchify": make(right_calls),
            "embed_patches": lambda images, E, patch_size: patchify(images, patch_size).flip(1) @ E,
        }
        first, second = checks.run("embeddings", functions).exercises[:2]
        assert not (first.passed and second.passed), right_calls
        told += [second.sentences[0]] if first.passed else []
    assert any("right in its own check and wrong when it is called here" in sentence for sentence in told)


def test_a_blamed_function_must_answer_the_same_again():
    state = {"wrong": True}

    def turning(images, patch_size):
        patches = patchify(images, patch_size)
        state["wrong"] = not state["wrong"]
        return patches.flip(1) if state["wrong"] else patches.flip(2)

    def embed(images, E, patch_size):
        return turning(images, patch_size) @ E

    result = checks.run("embeddings", {"patchify": turning, "embed_patches": embed}).exercises[1]
    assert result.points == 0


# ---- What must not be kept between calls.


def test_a_result_kept_by_size_is_found():
    kept = {}

    def patchify_(images, patch_size):
        return kept.setdefault((images.shape, patch_size, images.requires_grad), patchify(images, patch_size))

    result = checks.run("embeddings", {"patchify": patchify_}).exercises[0]
    assert result.points == 0 and result.sentences[0].endswith("it is the earlier result; keep nothing between calls.")


def test_a_tensor_that_is_written_again_is_found():
    buffers = {}

    def patchify_(images, patch_size):
        result = patchify(images, patch_size)
        if images.requires_grad:
            return result
        return buffers.setdefault((result.shape, result.dtype), torch.empty_like(result)).copy_(result)

    result = checks.run("embeddings", {"patchify": patchify_}).exercises[0]
    assert result.points == 0 and "A call changes what an earlier call returned" in result.sentences[0]


def test_an_input_that_is_kept_and_changed_later_is_found():
    kept = []

    def patchify_(images, patch_size):
        for earlier in kept:
            earlier.data.zero_()
        kept.append(images)
        return patchify(images, patch_size)

    result = checks.run("embeddings", {"patchify": patchify_}).exercises[0]
    assert result.points == 0 and "A call changes what an earlier call returned, or was given" in result.sentences[0]


def test_a_sum_over_calls_is_found():
    total = []

    def patchify_(images, patch_size):
        total.append(1)
        return patchify(images, patch_size) + (len(total) - 1) * 1e-3

    assert "Two calls" in checks.run("embeddings", {"patchify": patchify_}).exercises[0].sentences[0]


def test_a_view_of_the_input_is_a_right_result():
    def whole(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    exercise = Exercise(whole, takes={"x": "B n"}, returns="B n", parts=(Part("all", 1, Sizes(gradient=True)),))
    assert judge(exercise, LocalCandidate({"whole": lambda x: x.view(-1).view_as(x)}), 0).passed
    assert judge(exercise, LocalCandidate({"whole": lambda x: x}), 0).passed


def test_a_function_with_yield_is_told_about_return():
    def patchify_(images, patch_size):
        yield patchify(images, patch_size)

    sentence = checks.run("embeddings", {"patchify": patchify_}).exercises[0].sentences[0]
    assert "a generator" in sentence and "`yield` where a `return`" in sentence


# ---- What is not written yet.


def _stub(*arguments):
    raise NotImplementedError("Write this function, then run this cell again.")


def test_a_stub_hears_one_sentence():
    report = checks.run("attention", {"attention_scores": _stub})
    result = report.exercises[0]
    assert result.sentences == (
        "`attention_scores` is not written yet: replace the line that raises NotImplementedError.",
    )
    assert not (result.points or result.excerpt or result.remarks)
    text = str(report) + report._repr_html_()
    assert "wrong for" not in text and "It works for" not in text


def test_a_function_that_calls_a_stub_hears_which():
    def attention_scores(Q, K):
        raise NotImplementedError("Write this function, then run this cell again.")

    def attention(Q, K, V):
        return attention_scores(Q, K) @ V

    result = checks.run("attention", {"attention": attention, "attention_scores": attention_scores}).exercises[2]
    assert result.sentences == ("`attention` calls `attention_scores`, which is not written yet.",)


def test_pytorch_s_own_not_implemented_error_is_no_stub():
    def patchify_(images, patch_size):
        return images.to("meta").to("cpu")

    sentence = checks.run("embeddings", {"patchify": patchify_}).exercises[0].sentences[0]
    assert "not written" not in sentence and "NotImplementedError: Cannot copy out of meta tensor" in sentence


def test_an_error_in_another_function_of_the_student_is_located_there():
    def cut(images):
        return images.reshape(7, 7)

    def patchify_(images, patch_size):
        return cut(images)

    sentence = checks.run("embeddings", {"patchify": patchify_}).exercises[0].sentences[0]
    assert re.search(r"stopped at line \d+ of `cut`: return images.reshape\(7, 7\) with", sentence)


def test_what_stops_is_told_with_the_shapes_and_numbers_on_its_line():
    def scores(Q, K):
        d_k, hidden = Q.shape[-1], "a secret"
        parts = {"K": K, "Q": [Q]}
        wrong = (parts["Q"][0]
                 @ parts["K"]
                 / d_k if hidden else K)  # fmt: skip
        return wrong

    report = checks.run("attention", {"attention_scores": scores}, seed=0).exercises[0]
    sentence = next(s for s in report.sentences if "stopped" in s)
    Q, K = next(case.arguments for part in checks.derivable()["attention_scores"].cases(0) for case in part)
    assert 'parts["Q"][0] @ parts["K"] with RuntimeError' in sentence
    assert f'There, parts["K"] has the shape {tuple(K.shape)}. In A @ B' in sentence  # a list in a dict is left out
    assert "secret" not in sentence

    def reshaped(Q, K):
        d_k = Q.shape[-1]
        return Q.reshape(d_k + 1, -1, 7 * 11 * 13)

    sentence = checks.run("attention", {"attention_scores": reshaped}, seed=0).exercises[0].sentences[0]
    assert f"There, Q has the shape {tuple(Q.shape)}, d_k = {Q.shape[-1]}. There are {Q.numel()} numbers" in sentence


def test_tensors_of_several_dtypes_on_the_line_are_told_apart():
    def scores(Q, K):
        K = K.double() if Q.dtype == torch.float32 else K.float()
        return Q @ K.mT

    sentence = checks.run("attention", {"attention_scores": scores}).exercises[0].sentences[0]
    assert re.search(r"Q has the shape \(.*\) and torch.float32, K has the shape \(.*\) and torch.float64", sentence)


HINTS = {  # what a beginner's line leads to, and what is said of it beside Python's own words
    "Q - Q.max(dim=-1)": "take .values, or amax",
    "1 if Q == 0 else 2": "torch.where chooses entry by entry",
    "torch.nn.functional.interpolate(Q[None], size=(2, 2) * 2)": "a tuple times a number repeats the tuple",
    "Q.reshape(Q.shape[0] / 1)": "divide with //",
    "torch.eye(Q.shape[-1]).double() @ Q.float()[0].T": "made with another dtype",
    "torch.nn.functional.conv2d(Q[None].repeat(1, 7, 1, 1), torch.ones(7, 1, 3, 3))": "groups=d",
    "torch.nn.functional.conv2d(Q[None], torch.ones(2, 99, 3, 3))": "the weight, (2, 99, 3, 3), is for 99",
    "torch.nn.functional.conv2d(Q[None], torch.ones(98, 1, 3, 3), groups=99)": "the weight, (98, 1, 3, 3), has 98",
    "Q + torch.ones(99)": "and 99 stand side by side, and are not the same: print both shapes.",
    "Q.reshape(7, 11, 13, 17, 19)": "The sizes make 323,323 numbers, and there are",
    "Q.reshape(-1, 323323)": "which does not divide them",
    "Q.interpolate()": "hides torch.nn.functional",
    "torch.nn.functional.cross_entropy(Q[0], torch.full((Q.shape[1],), 255))": "is ignore_index passed on?",
    "torch.mm(Q, K)": "torch.mm multiplies two matrices",
    "Q / torch.sqrt(Q.shape[-1])": "take those of `math`",
    "torch.conv2d(Q[None], Q.new_ones(1, 1, 3, 3), stride=2, padding='same')": "Say how wide the border is",
}


@pytest.mark.parametrize("line", HINTS)
def test_what_an_exception_usually_means_is_said(line):
    function = eval(f"lambda Q, K: {line}", {"torch": torch})
    sentences = checks.run("attention", {"attention_scores": function}).exercises[0].sentences
    assert HINTS[line] in " ".join(sentences), sentences


def test_keepdim_is_asked_for_where_an_axis_is_lost_and_only_there():
    def inline(Q, K):
        return Q / Q.norm(dim=-1)

    def named(Q, K):
        lengths = Q.norm(dim=-1)
        return Q / lengths

    def none_lost(Q, K):
        return Q + K

    def told(function):
        return " ".join(checks.run("attention", {"attention_scores": function}).exercises[0].sentences)

    assert "keepdim=True" in told(inline) and "(1, 7) is (1, 7, 5) without an axis" in told(named)
    assert "keepdim" not in told(none_lost) and "(1, 7, 5) and (1, 2, 5) do not fit: on axis 1" in told(none_lost)


def test_keepdim_is_not_asked_for_where_an_argument_has_fewer_axes():
    def columns(targets, lam, partner):
        return lam * targets + (1 - lam) * targets[:, partner]

    for seed in range(4):
        sentences = checks.run("cifar", {"mixup_targets": columns}, seed).exercises[-2].sentences
        assert "(targets[:, partner])" in sentences[0] and "keepdim" not in " ".join(sentences)


def test_a_warning_about_T_is_no_hint_on_a_line_without_it():
    def scores(Q, K):
        assert Q.T is not None
        return Q @ K

    sentence = next(
        s for s in checks.run("attention", {"attention_scores": scores}).exercises[0].sentences if "stopped" in s
    )
    assert "K.T reverses" not in sentence and "In A @ B" in sentence


def test_a_result_too_large_to_be_copied_is_told_and_stops_nothing():
    result = _judge("gram", lambda X, size: torch.ones(1).expand(2**20, 2**20))  # takes no memory by itself
    assert not result.passed and "1,099,511,627,776 numbers, (1048576, 1048576); expected was" in result.sentences[0]


# ---- The largest tensor that is made.


def _by_broadcasting(X, size):
    return (X[:, : size[0], None] * X[:, None, : size[1]]).sum(dim=-1)


SMALL_ENOUGH = {
    "one product": gram,
    "einsum": lambda X, size: torch.einsum("bid,bjd->bij", X[:, : size[0]], X[:, : size[1]]),
    "image by image": lambda X, size: torch.cat([gram(X_i[None], size) for X_i in X]),
    "a view that repeats": lambda X, size: gram(X[:, :, None].expand(-1, -1, 1000, -1)[:, :, 0], size),
    "another dtype": lambda X, size: gram(X.double(), size).to(X.dtype),
}
TOO_LARGE = {
    "all products": _by_broadcasting,
    "without gradients": torch.no_grad()(_by_broadcasting),
    "one that is not used": lambda X, size: (torch.empty(6, 36), gram(X, size))[1],
    "one of several that an operation returns": lambda X, size: (torch.ones(1).expand(6, 36).sort(), gram(X, size))[1],
    "filled in place": lambda X, size: torch.empty(*size, len(X), 3).copy_(X[0, 0, 0]).mul(0).sum() + gram(X, size),
}


@pytest.mark.parametrize("way", SMALL_ENOUGH)
def test_what_makes_no_large_tensor_is_right(way):
    assert _judge("gram", SMALL_ENOUGH[way]).passed


@pytest.mark.parametrize("way", TOO_LARGE)
def test_a_tensor_larger_than_need_be_is_told(way):
    result = _judge("gram", TOO_LARGE[way])
    assert [part.failed_on is None for part in result.parts] in ([True, False], [False, False]), result.sentences


def test_what_was_made_and_what_is_enough_stand_in_the_sentence():
    result = _judge("gram", _by_broadcasting)
    assert result.sentences == (
        "The result is right, but a tensor of 216 numbers is made on the way, (1, 8, 9, 3). It can be done with 72 at "
        "most, (1, 8, 9).",
    )
    assert [part.failed_on for part in result.parts] == [None, "B = 1, d = 3, rows = 8, columns = 9"]
