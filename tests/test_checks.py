"""The checks engine, over all topics: references pass, misconceptions are named, no function surprises it."""

import json
import re
from importlib import import_module

import pytest
import torch
from support.strange import FULL, STRANGE

from vitlab import checks
from vitlab.checks.engine import diagnosis
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.report import MIME

SEEDS = range(3)  # make checks-report takes 20
EXERCISES = list(checks.derivable().values())
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


def _judge(exercise, function, seed=0):
    return judge(exercise, LocalCandidate({exercise.name: function}), seed)


@each_exercise
def test_the_reference_has_full_marks(exercise):
    for seed in SEEDS:
        result = _judge(exercise, exercise.reference, seed)
        assert (result.points, result.sentences) == (exercise.points, (f"`{exercise.name}` is right.",))


@pytest.mark.parametrize("topic", checks.TOPICS)
def test_every_right_way_has_full_marks(topic):
    """CORRECT of a topic's tests has them; a training is tested there."""
    correct = import_module(f"test_{topic}").CORRECT
    exercises = [exercise for exercise in EXERCISES if exercise in checks.exercises(topic)]
    assert correct.keys() == {exercise.name for exercise in exercises}
    for exercise in exercises:
        assert len(correct[exercise.name]) >= 6
        for function in correct[exercise.name]:
            for seed in SEEDS:
                result = _judge(exercise, function, seed)
                assert result.passed, f"{function.__name__}, seed {seed}: {result.sentences}"


@each_exercise
def test_every_misconception_is_rejected_with_its_own_sentence(exercise):
    assert len({misconception.sentence for misconception in exercise.misconceptions}) >= 8
    for seed in SEEDS:
        for misconception in exercise.misconceptions:
            result = _judge(exercise, misconception.function, seed)
            assert result.points < exercise.points, misconception.sentence
            assert result.sentences[0] == misconception.sentence


@each_exercise
@pytest.mark.parametrize("name", STRANGE)
def test_whatever_the_function_does_the_student_reads_a_sentence(exercise, name):
    make, words = STRANGE[name]
    before = torch.get_default_dtype()
    result = _judge(exercise, make(exercise.reference))
    assert torch.get_default_dtype() == before and torch.is_grad_enabled()
    text = " ".join(result.sentences)
    cases = [case for part in exercise.cases(0) for case in part]
    # the strange ways are those of functions that return floating tensors; of others, any sentence will do
    floating = exercise.shape and exercise.reference(*cases[0].arguments).is_floating_point()
    if floating and "gradient" in words and not any(case.gradient for case in cases):
        assert result.passed, text
    elif floating:
        if words == FULL:
            assert result.passed, text
        elif name != "switches":
            assert not result.passed
        named = {misconception.sentence for misconception in exercise.misconceptions}
        assert re.search(words, text) or result.sentences[0] in named or result.named, text
    assert text
    html = checks.Report((result,), seed=0)._repr_html_()
    assert "<script>" not in html and "<b>" not in html and len(html) < 20_000


def test_a_blank_notebook_has_no_points():
    for topic in checks.TOPICS:
        report = checks.run(topic, {})
        assert report.points == 0 and not report.passed
        assert all("There is no function" in exercise.sentences[0] for exercise in report.exercises)


def test_something_that_is_no_function_is_told_so():
    report = checks.run("embeddings", {"patchify": 3})
    assert report.exercises[0].sentences == ("`patchify` is an int, not a function.",)
    for thing in (None, 3, lambda x: x, torch.relu):
        report = checks.check(thing)
        assert report.points == 0 and not report.passed and "There is no exercise" in str(report)


def test_a_decorated_or_renamed_function_is_found_by_its_name():
    namespace = {}
    exec(
        "from vitlab.embeddings import patchify as p\npatchify = lambda images, patch_size: p(images, patch_size)",
        namespace,
    )
    assert checks.check(namespace["patchify"]).passed


def test_an_unknown_topic_is_an_error_that_names_the_topics():
    with pytest.raises(ValueError, match="the topics are embeddings, attention"):
        checks.run("atention", {})


def test_prints_and_warnings_are_shown_and_cost_nothing(capfd, recwarn):
    for name in ("prints", "warns"):
        result = _judge(EXERCISES[0], STRANGE[name][0](EXERCISES[0].reference))
        assert result.passed and result.remarks
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_the_keyboard_still_interrupts():
    def patchify(images, patch_size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.check(patchify)


def test_the_report_is_points_for_nbgrader_and_reasons_for_the_student():
    right, wrong = EXERCISES[0].reference, EXERCISES[0].misconceptions[0]
    assert float(repr(checks.check(right))) == EXERCISES[0].points
    report = checks.run("embeddings", {"patchify": wrong.function})
    bundle = report._repr_mimebundle_()
    assert float(bundle["text/plain"]) == report.points
    assert "first difference" in bundle["text/html"] and "image 0, patch 0, number 1" in bundle["text/html"]
    assert json.loads(json.dumps(bundle[MIME]))["exercises"][0]["sentences"] == [wrong.sentence]


def test_the_line_of_the_student_s_error_is_named(tmp_path):
    path = tmp_path / "student.py"
    path.write_text("def patchify(images, patch_size):\n    x = images\n    return x.reshape(7, 7)\n")
    namespace = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    sentence = checks.run("embeddings", namespace).exercises[0].sentences[0]
    assert "line 3: return x.reshape(7, 7)" in sentence and "The sizes make 49 numbers, and there are 48" in sentence


def test_the_same_seed_gives_the_same_report():
    functions = {e.name: e.misconceptions[1].function for e in EXERCISES}
    for topic in checks.TOPICS:
        assert str(checks.run(topic, functions, 3)) == str(checks.run(topic, functions, 3))
        assert str(checks.run(topic, functions, 3)) != str(checks.run(topic, functions, 4))


def test_the_grader_s_seed_is_used_and_named(monkeypatch):
    function = EXERCISES[0].misconceptions[0].function

    def patchify(images, patch_size):
        return function(images, patch_size)

    monkeypatch.setenv("VITLAB_SEED", "1234")
    report = checks.check(patchify)
    assert (
        report.as_dict()["seed"] == 1234 and "use seed=1234" in str(report) and "use seed=1234" in report._repr_html_()
    )
    assert str(report) == str(checks.check(patchify, seed=1234)) != str(checks.check(patchify, seed=0))


def test_diagnosis_names_axes_to_exchange_and_missing_rows():
    expected = torch.randn(2, 3, 4)
    assert "permute(0, 2, 1)" in diagnosis.wrong_shape(expected.mT, expected, "(B, n, d)")
    assert "n+1 is 2 instead of 3" in diagnosis.wrong_shape(expected[:, 1:], expected, "(B, n+1, d)")
    partly = expected.clone()
    partly[0] += torch.randn(3, 4)
    sentence = diagnosis.wrong_numbers(partly, expected, torch.float32, ("image", "patch", "number"))
    assert sentence == "The result is right for image 1 and wrong for image 0."
