"""Mistakes that nobody listed: programs, their slips, the tables, and the sentences that come of them."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitlab import checks
from vitlab.attention import attention, attention_scores, concatenate_heads, multi_head_self_attention, split_heads
from vitlab.checks.engine import diagnosis, table, values
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.exercise import Exercise, Part, Sizes
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.observation import missed_step, seen
from vitlab.checks.engine.program import RESULT, Program, read
from vitlab.checks.engine.slips import run
from vitlab.checks.engine.slips.view import View
from vitlab.checks.engine.smallest import smallest
from vitlab.checks.engine.trial import Trial, agrees
from vitlab.checks.engine.words import Notation
from vitlab.decoder import project_and_upsample, upsample
from vitlab.embeddings import assemble_sequence, embed_patches, patchify
from vitlab.encoder import encoder, encoder_block
from vitlab.layer_norm import layer_norm
from vitlab.sra import spatial_reduction

EXERCISES = checks.derivable()
each_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)


def judged(name, function, seed=0):
    return judge(EXERCISES[name], LocalCandidate({name: function}), seed)


def judged_unread(name, function, seed=0):
    """As of a function whose source cannot be read, so that no change of it is tried."""
    return judged(name, partial(function), seed)


# ---- Programs: the same function, as single operations.


@each_exercise
def test_every_formulation_gives_what_the_reference_gives(exercise):
    for function in exercise.formulations:
        program = read(function, exercise.given)
        for case in (case for seed in range(3) for part in exercise.cases(seed) for case in part):
            expected = values.as_tensor(exercise.reference(*case.arguments))
            result = values.as_tensor(program.run(case.arguments)[RESULT])
            assert torch.allclose(result, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_operations_know_their_step_and_helpers_are_written_out_at_each_call():
    program = read(multi_head_self_attention)
    cuts = [op for op in program.operations if ".reshape(" in op.code]
    assert [op.step for op in cuts] == ["Q", "K", "V"] and len({op.origin for op in cuts}) == 1
    assert "softmax" not in str(program.operations) and any("torch.exp" in op.code for op in program.operations)


def test_a_helper_that_is_given_stays_a_call():
    program = read(multi_head_self_attention, given=(attention,))
    assert any(op.code.startswith("attention(") for op in program.operations)


def test_what_is_no_chain_is_one_operation():
    def total(x):
        for _ in range(3):
            x = x + 1
        return x

    [operation] = read(total).operations
    assert operation.code == "total(x)"


# ---- Tables.


@each_exercise
def test_the_committed_table_is_made_from_the_exercise_as_it_is(exercise):
    assert table.is_fresh(exercise), "run `python -m vitlab.checks tables` and commit what it writes"


@each_exercise
def test_rows_drawn_from_the_table_have_their_fingerprints(exercise):
    rows = table.load(exercise)
    cases = table.fixed_cases(exercise)
    compared = 0
    for k in np.random.default_rng(0).integers(len(rows["slips"]), size=30):
        explanation = table.explanation(exercise, rows["slips"][k].tolist())
        made = table.fingerprint([_result(explanation, case.arguments) for case in cases])
        nudged = table.fingerprint([_result(explanation, _nudged(case.arguments)) for case in cases])
        # None: of another kind, which is never looked up; and where rounding decides, each machine has another.
        if made is not None and nudged is not None and made[0] == pytest.approx(nudged[0], rel=1e-7, abs=1e-6):
            assert made[0] == pytest.approx(float(rows["fingerprints"][k]), rel=1e-6, abs=1e-5)
            compared += 1
    assert compared >= 15


def _nudged(arguments):
    """With the last digits of all floating tensors changed."""
    nudged, generator = values.copy(arguments), torch.Generator().manual_seed(0)
    for _, x in values.tensors(nudged):
        if x.is_floating_point():
            x *= 1 + 1e-14 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return nudged


def _result(function, arguments):
    try:
        return function(*arguments)
    except Exception:
        return None


@each_exercise
def test_wrong_versions_drawn_from_the_table_are_named(exercise):
    """Their own sentence is told, or that of another mistake with the same numbers in every case."""
    rows, told = table.load(exercise)["slips"], 0
    for k in np.random.default_rng(1).integers(len(rows), size=25):
        explanation = table.explanation(exercise, rows[k].tolist())
        result = judged(exercise.name, explanation, seed=int(k) % 7)
        told += result.named
        assert result.named or not result.passed
    assert told >= 20  # of 25; the others give no number, one of another kind, or the same one everywhere


def test_a_table_that_is_out_of_date_misleads_nobody(monkeypatch):
    rows = dict(table.load(EXERCISES["attention_scores"]))
    rows["slips"] = np.random.default_rng(0).permutation(rows["slips"])
    monkeypatch.setattr(table, "load", lambda exercise: rows)
    result = judged("attention_scores", lambda Q, K: 3 * attention_scores(Q, K))
    assert result.sentences[0] == "Every number is 3 times the expected one."


def test_one_slip_may_stand_behind_another():
    exercise = EXERCISES["attention_weights"]
    [(_, origin)] = [(k, o) for k, o in table.origins(exercise) if k == 1]
    behind = [slip for slip in origin.slips if slip.clause == "there is a ReLU at the end"]
    instead = [slip for slip in origin.slips if slip.clause.startswith("a sigmoid stands where")]
    A = torch.randn(1, 2, 3)
    result = run(origin.program, (instead[0], behind[0]), (A,))
    assert torch.equal(result, A.sigmoid().relu())


# ---- Sentences.


def scores_over_sqrt_of_keys(Q, K):
    return Q @ K.mT / math.sqrt(K.shape[1])


def scores_without_the_root(Q, K):
    return Q @ K.mT / Q.shape[-1]


def scores_transposed_with_softmax(Q, K):
    return (Q @ K.mT).softmax(-1)


def attention_with_keys_for_values(Q, K, V):
    return (Q @ K.mT / math.sqrt(Q.shape[-1])).softmax(-1) @ K


def attention_scaled_last(Q, K, V):
    return (Q @ K.mT).softmax(-1) / Q.shape[-1] ** 0.5 @ V


def msa_with_a_relu_on_the_queries(Z, W_Q, W_K, W_V, W_O, num_heads):
    d_h = Z.shape[-1] // num_heads
    Q, K, V = ((Z @ W).unflatten(-1, (num_heads, d_h)).transpose(1, 2) for W in (W_Q, W_K, W_V))
    return nn.functional.scaled_dot_product_attention(Q.relu(), K, V).transpose(1, 2).flatten(2) @ W_O


def msa_with_values_from_keys_and_no_output(Z, W_Q, W_K, W_V, W_O, num_heads):
    return multi_head_self_attention(Z, W_Q, W_K, W_K, torch.eye(len(W_O), dtype=Z.dtype), num_heads)


def patches_with_pixels_from_the_bottom(images, patch_size):
    return patchify(images.flip(2), patch_size)


SAID = {
    scores_over_sqrt_of_keys: ("attention_scores", "m (the number of keys) stands where d_k should"),
    scores_without_the_root: ("attention_scores", "the square root of d_k is missing"),
    scores_transposed_with_softmax: ("attention_scores", "two slips: there is a softmax over the keys"),
    attention_with_keys_for_values: ("attention", "K stands where V should"),
    attention_scaled_last: ("attention", "the softmax comes before the division by √d_k instead of after it"),
    msa_with_a_relu_on_the_queries: ("multi_head_self_attention", "there is a ReLU after `Q`"),
    msa_with_values_from_keys_and_no_output: ("multi_head_self_attention", "W_K is used in the place of W_V"),
    patches_with_pixels_from_the_bottom: ("patchify", "the rows of images are taken in reverse order"),
}


@pytest.mark.parametrize("function", SAID, ids=lambda function: function.__name__)
def test_an_unlisted_mistake_is_told_in_words(function):
    name, words = SAID[function]
    for seed in range(3):
        assert words in judged(name, function, seed).sentences[0]


def test_an_explanation_that_fits_one_seed_only_is_not_told():
    exercise = EXERCISES["attention_scores"]
    [first, *_] = [case for part in exercise.cases(0) for case in part]

    def wrong(Q, K):
        result = attention_scores(Q, K)
        return 2 * result if Q.shape == first.arguments[0].shape else result * result.abs().amax()

    assert not judged("attention_scores", wrong).named


def test_nothing_is_explained_by_results_that_show_no_computation():
    for function in (lambda Q, K: 0 * attention_scores(Q, K), lambda Q, K: attention_scores(Q, K) * float("nan")):
        assert not judged("attention_scores", function).named


# ---- What is seen of a mistake that no slip explains.


def odd(Q, K):
    """Right for one query, a formula of nobody's for more."""
    A = attention_scores(Q, K)
    return A if Q.shape[1] == 1 else (A + A.cumsum(1).sin()).cos()


def test_the_smallest_failing_case_can_be_copied_into_a_cell():
    result = judged_unread("attention_scores", odd)
    assert not result.named and result.sentences[0] == "The shape is right, but the numbers are not."
    namespace = {"torch": torch, "attention_scores": odd}
    *assignments, call = result.example.code.splitlines()
    exec("\n".join(assignments), namespace)
    assert torch.allclose(eval(call, namespace), eval(result.example.received, namespace), atol=1e-3)
    namespace["attention_scores"] = attention_scores
    assert torch.allclose(eval(call, namespace), eval(result.example.expected, namespace), atol=1e-3)
    assert namespace["Q"].shape == (1, 2, 1)  # two queries, the fewest that fail
    assert any(step.startswith("products = torch.tensor(") for step in result.example.steps)


def test_a_name_that_the_student_has_not_written_is_said_to_be_a_right_solution_s():
    def assemble_sequence(patch_embeddings, class_embedding, position_embedding):
        B, _, d = patch_embeddings.shape
        sequence = torch.cat([class_embedding.expand(B, 1, d), patch_embeddings], dim=1)
        return sequence * math.sqrt(d) + position_embedding

    for text in (str(report := checks.check(assemble_sequence)), report._repr_html_()):
        assert "is multiplied by √d" in text and "is a step of a right solution" in text
        assert "# a right solution has on the way:" in text and "#     sequence = torch.tensor(" in text
    assert "right solution" not in str(checks.check(patchify))  # which is right


def test_the_step_whose_numbers_the_result_has_is_named():
    def product_only(Q, K, V):
        return Q @ K.mT if V.shape[-1] != K.shape[1] else attention(Q, K, V)

    sentences = judged_unread("attention", product_only).sentences
    assert any("missing" in sentence for sentence in sentences)


def test_an_argument_without_effect_is_named():
    def scores(Q, K):
        return (Q + 1).cumsum(-1).sum(-1, keepdim=True).sin().expand(-1, -1, K.shape[1]) + torch.arange(K.shape[1])

    assert "The result does not depend on `K`." in judged("attention_scores", scores).sentences


def test_images_that_touch_each_other_are_named():
    def scores(Q, K):
        A = attention_scores(Q, K)
        return A + A.std(dim=0, unbiased=False).sin()

    assert any("images should not touch each other" in s for s in judged_unread("attention_scores", scores).sentences)


def test_a_size_without_effect_is_named():
    def heads(Z, W_Q, W_K, W_V, W_O, num_heads):
        return (multi_head_self_attention(Z, W_Q, W_K, W_V, W_O, 1) + 0.1 * Z).sin()

    exercise, candidate = EXERCISES["multi_head_self_attention"], LocalCandidate({"multi_head_self_attention": heads})
    case = next(case for part in exercise.cases(0) for case in part if case.arguments[-1] > 1)
    trial = Trial(case, exercise.reference(*case.arguments), candidate.call(exercise.name, case.arguments), "", True)
    assert "The result does not depend on `num_heads`." in seen(exercise, candidate, [trial])


def test_a_step_is_not_to_blame_where_there_is_a_way_around_it():
    def block(Z, p, num_heads):
        return (encoder_block(Z, p, num_heads) + Z).sin()

    assert not missed_step(EXERCISES["encoder_block"], LocalCandidate({"encoder_block": block}))


def test_what_else_is_wrong_stands_beside_a_wrong_result():
    def weights(A):
        if len(A) > 1:
            return (A.softmax(-1) + 0.1).sin()
        result = A.softmax(-1)
        A.zero_()
        return result

    sentences = judged("attention_weights", weights).sentences
    assert any(sentence.startswith("Besides, the function changes its input `A`") for sentence in sentences), sentences


def test_a_function_that_stops_where_its_slip_does_is_told_both():
    def scores(Q, K):
        return Q @ K / Q.shape[-1] ** 0.5

    first, second, *_ = judged("attention_scores", scores).sentences
    assert first.startswith("Your function does what comes of one slip: the exchange of axes of K")
    assert second.startswith("The function stopped at line ")


def test_the_smallest_case_keeps_whole_numbers_whole():
    example = smallest(EXERCISES["shift_labels"], LocalCandidate({"shift_labels": lambda labels: labels}))
    assert "dtype=torch.uint8" in example.code


def test_a_comprehension_is_no_function_of_the_student_s():
    def encoder(z_0, blocks, gamma, beta, num_heads):
        return torch.stack([block["W"] for block in blocks])

    text = " ".join(judged("encoder", encoder).sentences)
    assert "KeyError" in text and "<listcomp>" not in text


def test_one_number_that_is_right_by_chance_is_no_pattern():
    expected = torch.arange(1.0, 57).reshape(1, 2, 28)
    output = expected**1.1
    output[..., 5] = expected[..., 5]
    assert "right for" not in diagnosis.wrong_numbers(output, expected, torch.float32, ("image", "token", "feature"))
    output[:, 0] = expected[:, 0]
    assert "right for token 0" in diagnosis.wrong_numbers(
        output, expected, torch.float32, ("image", "token", "feature")
    )


def test_in_mixup_images_may_touch_and_what_is_scaled_in_place_is_told():
    def mixup(images, targets, lam, partner):
        images *= lam
        return images + (1 - lam) * images[partner]

    text = " ".join(judged("mixup", mixup).sentences)
    assert "changes its input `images` in place, and may read again" in text
    assert "should not touch" not in text


def test_a_comparison_or_a_mask_in_a_reference_has_words():
    notation = Notation(Program(print, [], (), {}))
    formulas = {
        "labels == 254": "labels = 254", "(a == 0) | ~b": "(a = 0) or (not b)", "p['W_Q'] @ Z.mT": "W_Q Zᵀ",
        "A / A.sum(-1) @ V": "(A / sum(A)) V", "(a + b) - (c - d)": "a + b - (c - d)", "sum(f(x) for x in y)": "sum(…)",
        "(Q @ K.transpose(-2, -1)) / math.sqrt(d_k)": "Q Kᵀ / √d_k", "Z.reshape(B, n, h, d_h).transpose(1, 2)": "Z",
        "(a * b + c) * d ** 2": "(a · b + c) · d²", "-(x + 1)": "-(x + 1)",
    }  # fmt: skip
    assert {code: notation.of(code) for code in formulas} == formulas


STEPS = {  # which named step a result has not been through, whatever it does then
    "products": lambda Q, K, V: (Q.cumsum(1).sin() @ K.mT).softmax(-1) @ V,
    "weights": lambda Q, K, V: (attention_scores(Q, K) + attention_scores(Q, K).sin()) @ V,
}


@pytest.mark.parametrize("step", STEPS)
def test_the_first_step_that_is_missed_is_named(step):
    sentence = missed_step(EXERCISES["attention"], LocalCandidate({"attention": STEPS[step]}))
    assert sentence.startswith(f"Look at the step `{step}` first") or (step == "weights" and "`shifted`" in sentence)


def test_a_step_that_was_passed_is_named_where_what_follows_is_wrong():
    def attend(Q, K, V):
        weights = attention_scores(Q, K).softmax(-1)
        return (weights.sin() + weights.square()) @ V

    candidate = LocalCandidate({"attention": attend})
    assert missed_step(EXERCISES["attention"], candidate).startswith(
        "Your result depends on `Q` and `K` only through the step `weights`"
    )


def test_a_right_answer_has_no_smallest_failing_case():
    assert smallest(EXERCISES["attention"], LocalCandidate({"attention": attention})) is None


def test_nothing_agrees_where_nothing_came():
    assert not agrees(attention, [])


def test_a_table_is_not_fresh_where_an_origin_has_moved_and_builds_though_one_stops():
    def made(*misconceptions):
        def twice(X):
            doubled = 2 * X
            return doubled

        exercise = Exercise(twice, takes={"X": "B n"}, returns="B n", parts=(Part("all", 1, Sizes()),))
        for function in misconceptions:
            exercise.misconception("")(function)
        return exercise

    def once(X):
        same = 1 * X
        return same

    def always_stops(X):
        return X @ X

    def stops_sometimes(X):
        fourth = X[3]  # of the two fixed cases the second has three rows
        return 3 * X + fourth

    assert table.source_key(made(once, always_stops)) == table.source_key(made(once))
    assert table.source_key(made(always_stops, once)) != table.source_key(made(once))
    exercise = made(stops_sometimes)
    first, second = table.fixed_cases(exercise)
    assert len(first.arguments[0]) > 3 and len(second.arguments[0]) == 3
    assert 1 in table.build(exercise)["slips"][:, 0]  # rows of the misconception, too


# ---- Functions that stop, and what is said beside.


def _stopping():
    """An exercise of its own, with a misconception that stops in every case."""

    def product(X, Y):
        return X @ Y.transpose(-1, -2)

    exercise = Exercise(
        product,
        takes={"X": "B n d", "Y": "B m d"},
        returns="B n m",
        parts=(Part("all", 1, Sizes(B=1), Sizes(), Sizes(gradient=True)),),
    )

    @exercise.misconception("Y is not transposed.")
    def _(X, Y):
        return X @ Y

    return exercise


def test_a_function_that_stops_with_the_words_of_a_listed_mistake_has_made_it():
    exercise = _stopping()

    def told(function):
        return judge(exercise, LocalCandidate({"product": function}), 0)

    first, second = told(lambda X, Y: torch.matmul(X, Y)).sentences
    assert first == "Y is not transposed." and second.startswith("The function stopped at line ")
    others = (
        lambda X, Y: Y @ X,
        lambda X, Y: X.transpose(1, 2) @ Y,
        lambda X, Y: X @ Y if len(X) > 1 else X @ Y.mT,
    )
    for other in others:  # they stop with other sizes, or in some cases only
        assert "Y is not transposed." not in told(other).sentences


def test_a_wrong_dtype_beside_a_known_mistake_is_told_and_is_not_blamed_for_the_numbers():
    def mixup(images, targets, lam, partner):
        return (1 - lam) * images.double() + lam * images[partner].double()

    first, second = judged("mixup", mixup).sentences
    assert first.startswith("The shares are exchanged") and second.startswith(
        "Besides, the function returns torch.float64"
    )

    def shift_labels(labels):
        return (labels.long() - 1).where(labels > 0, 255)

    first, second = judged("shift_labels", shift_labels).sentences
    assert first.startswith("255 becomes 254") and second.startswith("Besides, the function returns torch.int64")

    def unknown(images, targets, lam, partner):
        return images.double().sin() - images[partner].double().exp()

    assert "digits are lost" not in " ".join(judged("mixup", unknown).sentences)


def test_whole_numbers_are_right_or_wrong_and_not_nearly_right():
    def shift_labels(labels):
        return torch.where(labels == 0, 255, labels.float()) - 1.0

    text = " ".join(judged("shift_labels", shift_labels).sentences)
    assert "two or three digits" not in text and "Besides, the function returns torch.float32" in text


def test_a_decimal_where_a_whole_number_belongs_is_told_so():
    def output_size(size, kernel_size, stride, padding):
        return (size - kernel_size) / stride + 1.1

    assert "a whole number: divide with //" in judged_unread("output_size", output_size).sentences[0]


def test_what_has_an_effect_in_one_case_is_not_called_idle():
    def poly_learning_rate(step, steps, warmup_steps, peak):
        if step < warmup_steps:  # at step 0 it is 0, whatever the warm-up
            return peak * step / warmup_steps * math.exp(-step)
        return peak * math.exp(-(step - warmup_steps) / steps) / 3

    assert "does not depend" not in " ".join(judged("poly_learning_rate", poly_learning_rate).sentences)

    def without(step, steps, warmup_steps, peak):
        return peak * math.exp(-step / steps) / 3

    assert "The result does not depend on `warmup_steps`." in judged("poly_learning_rate", without).sentences


def test_where_only_exceptions_are_wrong_a_mistake_is_known_by_their_words_alone():
    def viewed(images, kernel_size, stride):
        k = kernel_size
        windows = F.pad(images, (k // 2,) * 4).unfold(2, k, stride).unfold(3, k, stride)
        windows = windows.permute(0, 2, 3, 4, 5, 1)  # (B, rows, columns, k, k, C)
        return windows.view(*windows.shape[:3], -1)

    for seed in range(3):
        result = judged("overlapping_patches", viewed, seed)
        said = " ".join(result.sentences)
        assert "`return windows.reshape(" in result.sentences[0] and "use reshape" in said and "border" not in said


# ---- Answers as students write them, and what they hear.


def head_on_a_square_grid(tokens, W, b, grid, patch_size):
    side = int(tokens.shape[1] ** 0.5)
    scores = (tokens @ W + b).transpose(1, 2).reshape(len(tokens), -1, side, side)
    return F.interpolate(scores, size=(side * patch_size, side * patch_size), mode="bilinear")


def head_without_the_first_token(tokens, W, b, grid, patch_size):
    scores = (tokens[:, 1:] @ W + b).transpose(1, 2).unflatten(2, grid)
    return F.interpolate(scores, scale_factor=patch_size, mode="bilinear")


def head_that_stretches_classes(tokens, W, b, grid, patch_size):
    scores = (tokens @ W + b).unflatten(1, grid)
    return F.interpolate(scores, size=(grid[0] * patch_size, grid[1] * patch_size), mode="bilinear")


def masks_of_layer_norm(patches, classes):
    p, c = ((x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) for x in (patches, classes))
    return p @ c.mT


def size_of_a_range(size, kernel_size, stride, padding):
    return len(range(0, size + 2 * padding - kernel_size, stride))


def size_of_every_start(size, kernel_size, stride, padding):
    return len(range(0, size + 2 * padding, stride))


def embedded_with_a_turned_kernel(images, E, b, kernel_size, stride):
    k = kernel_size
    weight = E.reshape(k, k, images.shape[1], -1).permute(3, 2, 1, 0)
    return F.conv2d(images, weight, b, stride=stride, padding=k // 2).permute(0, 2, 3, 1)


def sra_of(queries, keys, values, lay_out=lambda Z, X: Z.reshape(X.shape)):
    """`queries` ... say of what they are made: the tokens or the squares."""

    def function(X, p, num_heads, sr_ratio):
        tokens = squares = X.flatten(1, 2)
        if sr_ratio > 1:
            squares = layer_norm(spatial_reduction(X, p["W_S"], p["b_S"], sr_ratio), p["gamma"], p["beta"], 1e-5)
        of = {"tokens": tokens, "squares": squares}
        parts = ((queries, "W_Q"), (keys, "W_K"), (values, "W_V"))
        Q, K, V = (split_heads(of[kind] @ p[W], num_heads) for kind, W in parts)
        return lay_out(concatenate_heads(attention(Q, K, V)) @ p["W_O"], X)

    return function


def sra_of_strips(X, p, num_heads, sr_ratio):
    R, rows, columns = sr_ratio, X.shape[1] // sr_ratio, X.shape[2] // sr_ratio
    tokens = squares = X.flatten(1, 2)
    if R > 1:
        squares = X[:, : rows * R, : columns * R].reshape(len(X), rows * columns, -1) @ p["W_S"] + p["b_S"]
        squares = layer_norm(squares, p["gamma"], p["beta"], 1e-5)
    Q, K, V = (split_heads(x @ p[W], num_heads) for x, W in ((tokens, "W_Q"), (squares, "W_K"), (squares, "W_V")))
    return (concatenate_heads(attention(Q, K, V)) @ p["W_O"]).reshape(X.shape)


def convolution_of_the_inside(X, kernel, bias):
    Y = torch.zeros_like(X)
    for i in range(1, X.shape[1] - 1):
        for j in range(1, X.shape[2] - 1):
            Y[:, i, j] = (X[:, i - 1 : i + 2, j - 1 : j + 2] * kernel).sum(dim=(1, 2)) + bias
    return Y


def convolution_with_padded_features(X, kernel, bias):
    padded, Y = F.pad(X, (1, 1, 1, 1)), bias
    for u in range(3):
        for v in range(3):
            Y = Y + kernel[u, v] * padded[:, u : u + X.shape[1], v : v + X.shape[2]]
    return Y


def map_by_one_factor(F_i, L, b, size):
    projected = torch.einsum("bihw,ic->bchw", F_i, L) + b[:, None, None]
    return F.interpolate(projected, scale_factor=size[0] / F_i.shape[2], mode="bilinear")


def maps_of_the_smallest_size(features, p):
    size = features[-1].shape[-2:]
    maps = [project_and_upsample(f, p[f"L_{i}"], p[f"b_{i}"], size) for i, f in enumerate(features, start=1)]
    fused = torch.relu(torch.cat(maps, dim=1).permute(0, 2, 3, 1) @ p["W"] + p["b"])
    return (fused @ p["W_head"] + p["b_head"]).permute(0, 3, 1, 2)


def fused_by_one_row(features, p):
    fused = p["b"][:, None, None]
    for i, F_i in enumerate(features):
        L, b, W_i = p[f"L_{i + 1}"], p[f"b_{i + 1}"], p["W"][i]
        fused = fused + project_and_upsample(F_i, L * W_i, b * W_i, features[0].shape[-2:])
    return (torch.relu(fused).permute(0, 2, 3, 1) @ p["W_head"] + p["b_head"]).permute(0, 3, 1, 2)


def fused_after_stretching(features, p):
    fused = p["b"]
    for i, (F_i, W_i) in enumerate(zip(features, p["W"].chunk(4), strict=True), start=1):
        large = upsample(F_i, features[0].shape[-2:]).permute(0, 2, 3, 1)
        fused = fused + large @ (p[f"L_{i}"] @ W_i) + p[f"b_{i}"] @ W_i
    return (torch.relu(fused) @ p["W_head"] + p["b_head"]).permute(0, 3, 1, 2)


def fused_in_one_stack(features, p):
    size, Ws = features[0].shape[-2:], p["W"].chunk(4)
    parts = [
        project_and_upsample(f, p[f"L_{i}"] @ W, p[f"b_{i}"] @ W, size)
        for i, (f, W) in enumerate(zip(features, Ws, strict=True), 1)
    ]
    fused = torch.relu(torch.stack(parts).sum(dim=0) + p["b"][:, None, None])
    return (fused.permute(0, 2, 3, 1) @ p["W_head"] + p["b_head"]).permute(0, 3, 1, 2)


def rate_that_rises_first(step, steps, warmup_steps, peak):
    up, down = (step + 1) / warmup_steps, 1 - (step - warmup_steps) / (steps - warmup_steps)
    return peak * (up if step < warmup_steps else down)


def embedded_as_means(images, E, patch_size):
    return patchify(images, patch_size) @ E / patch_size**2


def weights_of_scores_cut_off(A):
    exponentials = A.clamp(max=80).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def tokens_in_batch_norm(x, eps):
    return F.batch_norm(x.transpose(1, 2), None, None, training=True, eps=eps).transpose(1, 2)


def tokens_in_instance_norm(x, eps):
    return F.instance_norm(x.mT, eps=eps).mT


def tokens_of_a_smallest_length(x, eps):
    return F.normalize(x - x.mean(dim=2, keepdim=True), dim=2, eps=eps) * x.shape[2] ** 0.5


def sequence_with_its_class_last(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding[None, None].expand(len(patch_embeddings), -1, -1)
    return torch.cat((patch_embeddings + position_embedding[1:], class_tokens), dim=1)


def gelu_of_a_rounded_root(x):
    return torch.tensor([0.5 * v * (1 + math.erf(v / 1.41)) for v in x.flatten().tolist()]).reshape(x.shape)


def gelu_standardized(x):
    return x * torch.special.ndtr((x - x.mean()) / x.std(unbiased=False))


def targets_of_the_larger_share(targets, lam, partner):
    return torch.maximum(lam * targets, (1 - lam) * targets[partner])


def patches_on_a_grid_without_the_last(images, kernel_size, stride):
    B, C, H, W = images.shape
    columns = F.unfold(images, kernel_size, padding=kernel_size // 2, stride=stride)
    squares = columns.reshape(B, C, kernel_size**2, H // stride, W // stride)
    return squares.permute(0, 3, 4, 2, 1).flatten(3)


def patches_with_padded_channels(images, kernel_size, stride):
    k = kernel_size
    x = F.pad(images.permute(0, 2, 3, 1), (k // 2,) * 4)
    rows, columns = (range(0, size - k + 1, stride) for size in x.shape[1:3])
    return torch.stack([torch.stack([x[:, i : i + k, j : j + k].flatten(1) for j in columns], 1) for i in rows], 1)


def vit_of_exchanged_numbers(images, p, patch_size, num_heads):
    z_0 = assemble_sequence(embed_patches(images, p["E"], num_heads) + p["b"], p["x_class"], p["E_pos"])
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], patch_size)
    return z_L[:, 0] @ p["W_head"] + p["b_head"]


def loss_of_narrow_targets(logits, labels, smoothing):
    y = F.one_hot(labels).to(logits.dtype) * (1 - smoothing) + smoothing / logits.shape[1]
    return torch.sum(-y * logits.log_softmax(dim=1), dim=1).mean()


def targets_of_numbered_classes(targets, lam, partner):
    N = targets.shape[1]
    return lam * targets + (1 - lam) * F.one_hot(partner % N, N)


def head_of_a_line(tokens, W, b, grid, patch_size):
    line = F.interpolate((tokens @ W + b).transpose(1, 2), scale_factor=patch_size**2, mode="linear")
    return line.reshape(len(tokens), -1, grid[0] * patch_size, grid[1] * patch_size)


def size_in_two_divisions(size, kernel_size, stride, padding):
    return size // stride + (2 * padding - kernel_size) // stride + 1


def size_to_the_nearest(size, kernel_size, stride, padding):
    return round((size + padding - kernel_size) / stride) + 1


def convolution_that_rolls(X, kernel, bias):
    return sum(kernel[u + 1, v + 1] * X.roll((u, v), dims=(1, 2)) for u in (-1, 0, 1) for v in (-1, 0, 1)) + bias


def map_with_its_bias_on_columns(F_i, L, b, size):
    projected = F.interpolate((F_i.movedim(1, -1) @ L).movedim(-1, 1), size=size, mode="bilinear")
    return projected + b


def loss_of_aligned_corners_over_all_pixels(logits, labels, ignore_index):
    up = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=True)
    return F.cross_entropy(up, labels.long(), ignore_index=ignore_index, reduction="none").mean()


def rate_without_brackets(step, steps, warmup_steps, peak):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * 1 - (step - warmup_steps) / (steps - warmup_steps)


HEARD = (
    ("embed_patches", embedded_as_means, "The embeddings are divided by P²"),
    ("attention_weights", weights_of_scores_cut_off, "Large numbers are cut off (clamp)"),
    ("normalize_tokens", tokens_in_batch_norm, "This is batch normalization"),
    ("normalize_tokens", tokens_in_instance_norm, "This is instance normalization"),
    ("normalize_tokens", tokens_of_a_smallest_length, "ε is the smallest length allowed"),
    ("assemble_sequence", sequence_with_its_class_last, "stands at the end, and gets no position"),
    ("gelu", gelu_of_a_rounded_root, "√2 is rounded to 1.41"),
    ("gelu", gelu_standardized, "x is standardized"),
    ("mixup_targets", targets_of_the_larger_share, "the larger is taken"),
    ("overlapping_patches", patches_on_a_grid_without_the_last, "Patches are missing at the end"),
    ("overlapping_patches", patches_with_padded_channels, "around the channels and the columns"),
    ("vit", vit_of_exchanged_numbers, "patch_size and num_heads are exchanged"),
    ("cross_entropy", loss_of_narrow_targets, "F.one_hot makes as many classes as the largest label asks for"),
    ("mixup_targets", targets_of_numbered_classes, "`partner` is read as classes"),
    ("linear_head", head_of_a_line, "The scores are stretched as a sequence"),
    ("output_size", size_in_two_divisions, "The size is divided by the stride by itself"),
    ("output_size", size_to_the_nearest, "the division is rounded to the nearest"),
    ("depthwise_convolution", convolution_that_rolls, "Two things come of torch.roll"),
    ("segmentation_loss", loss_of_aligned_corners_over_all_pixels, "Two things: the corners are aligned"),
    ("poly_learning_rate", rate_without_brackets, "peak * (1 - t)"),
    ("project_and_upsample", map_with_its_bias_on_columns, "it needs the shape"),
    ("linear_head", head_on_a_square_grid, "The grid is taken as square"),
    ("linear_head", head_without_the_first_token, "The first token is left out as a class token"),
    ("linear_head", head_that_stretches_classes, "the exchange of axes of the grid of scores is missing"),
    ("mask_scores", masks_of_layer_norm, "This is layer normalization"),
    ("output_size", size_of_a_range, "ends before the last start"),
    ("output_size", size_of_every_start, "Every patch is counted that starts within the padded image"),
    ("embed_overlapping_patches", embedded_with_a_turned_kernel, "E.reshape(k, k, C, d).permute(3, 2, 0, 1)"),
    ("spatial_reduction_attention", sra_of("squares", "squares", "squares"), "The queries are reduced as well"),
    ("spatial_reduction_attention", sra_of("tokens", "squares", "tokens"), "The values come from all tokens"),
    ("spatial_reduction_attention", sra_of("tokens", "tokens", "squares"), "The keys come from all tokens"),
    ("spatial_reduction_attention", sra_of_strips, "The grid is cut by a reshape alone"),
    (
        "spatial_reduction_attention",
        sra_of("tokens", "squares", "squares", lambda Z, X: Z),
        "the reshape of the result is missing",
    ),
    ("depthwise_convolution", convolution_of_the_inside, "those at the border come out as 0"),
    ("depthwise_convolution", convolution_with_padded_features, "F.pad counts axes from the last"),
    ("project_and_upsample", map_by_one_factor, "rows should be stretched by H / h and columns by W / w"),
    ("all_mlp_decoder", maps_of_the_smallest_size, "the size of the last and smallest one"),
    ("fused_decoder", fused_by_one_row, "W_i is one row of W"),
    ("fused_decoder", fused_after_stretching, "A map is stretched with all its C_i channels"),
    ("fused_decoder", fused_in_one_stack, "All four maps are kept side by side"),
    ("poly_learning_rate", rate_that_rises_first, "It is divided by warmup_steps where that is 0"),
)


@pytest.mark.parametrize(("name", "function", "words"), HEARD, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_told_to_students(name, function, words):
    for seed in range(3):
        assert words in judged(name, function, seed).sentences[0]


def test_a_step_with_words_is_told_in_them_and_shown_with_them():
    def linear_head(tokens, W, b, grid, patch_size):
        return head_that_stretches_classes(tokens, W, b, grid, patch_size)

    text = str(checks.check(linear_head))
    assert "laid_out" not in text and "of a right solution;" not in text
    assert "  # z W + b\n" in text  # beside its numbers, under the smallest case


def test_the_size_of_an_argument_s_axis_has_the_declared_symbol():
    """H / h, where another size happens to be as long as h."""

    def stretched(F_i, L, b, size):
        factor = size[0] // F_i.shape[2]
        return factor * F_i

    exercise = EXERCISES["project_and_upsample"]
    view = View(read(stretched), exercise, table.fixed_cases(exercise)[0])
    assert view.notation.of("F_i.shape[2]") == "h" and view.notation.of("F_i.shape[1]") == "C_i"


def test_a_factor_of_its_own_is_told_where_there_are_numbers_to_tell_it():
    expected = torch.arange(1.0, 25).reshape(2, 3, 4)
    axes = ("image", "token", "feature")
    factors = torch.arange(2.0, 8).reshape(2, 3, 1)

    def told(output, expected=expected):
        return diagnosis.wrong_numbers(output, expected, torch.float32, axes)

    assert told(factors * expected) == "Each token is the expected one times a factor of its own."
    assert "factor" not in told(factors * expected[..., :1], expected[..., :1])
    assert "wherever it is not 0" in told(expected * (factors > 3))

    def scores(Q, K, odd=False):
        A = attention_scores(Q, K)
        return (
            A.square().cumsum(-2).sin() if odd and len(Q) > 1 else A * torch.arange(2.0, 2 + A.shape[1])[:, None].sin()
        )

    for odd, words in (
        (False, "Each query is the expected one times"),
        (True, "The shape is right, but the numbers are"),
    ):
        assert words in judged("attention_scores", lambda Q, K, odd=odd: scores(Q, K, odd)).sentences[0]
