"""An exercise in which a model is trained: what is paid, what is not, and what the student reads."""

import random
import re
import signal
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import candidate_process
from support.digits_exercise import ANSWERS, EXERCISE

from vitlab import checks
from vitlab.checks.cifar import draw_digits
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.report import MIME
from vitlab.checks.engine.training import accuracy, judge_training, mean_iou, moved_and_lit, renumbered

SHORT = replace(EXERCISE, seconds=0.3)


def _judge(name, seed=0, exercise=EXERCISE):
    return judge_training(exercise, LocalCandidate({"name_digits": ANSWERS[name]}), seed)


def test_points_grow_with_the_score():
    points = {name: [_judge(name, seed).points for seed in range(5)] for name in ("softmax_regression", "nearest_mean")}
    assert points["softmax_regression"] == [4] * 5
    assert all(2 <= p <= 4 for p in points["nearest_mean"]) and sum(points["nearest_mean"]) < 20


@pytest.mark.parametrize("name", ["constant", "random_classes", "looked_up", "most_alike", "other_classes"])
def test_chance_and_looking_up_earn_nothing(name):
    for seed in range(5):
        result = _judge(name, seed)
        assert result.points == 0 and len(result.sentences) == 3, result.sentences


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax_regression", r"^On 300 held-back images the accuracy is 9\d\.\d%, after \d+\.\d of 30 seconds"),
        ("nearest_mean", r"is 8\d\.\d%, .* From 88% on there are 2 points more\. A low score usually means too"),
        ("constant", "From 30% on there is 1 point more. Every prediction is class 3: was the model trained"),
        ("random_classes", "A low score usually means"),
        ("logits", r"shape \(300, 10\); expected was \(S,\) = \(300,\)\. If these are .* argmax along"),
        ("decimals", "torch.float32; classes are integers"),
        ("raises", r"stopped at line \d+: return test_images.reshape\(7, 7\) with RuntimeError"),
        ("stub", "^`name_digits` is not written yet: replace the line that raises NotImplementedError.$"),
    ],
)  # fmt: skip
def test_what_the_student_reads(name, words):
    result = _judge(name)
    assert re.search(words, " ".join(result.sentences)), result.sentences
    report = checks.Report((result,), 0)
    assert "wrong for" not in str(report) and float(repr(report)) == result.points
    assert report._repr_mimebundle_()[MIME]["exercises"][0]["possible"] == 4


def test_a_missing_function_is_told_so():
    result = judge_training(EXERCISE, LocalCandidate({}), 0)
    assert result.points == 0 and result.sentences == ("There is no function `name_digits` yet.",)


def test_what_it_prints_costs_nothing():
    assert _judge("noisy").remarks == ("While it ran, your code printed: epoch 1",)
    assert _judge("noisy").points == _judge("nearest_mean").points


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers of processor time")
@pytest.mark.parametrize("name", ["endless", "endless_in_spite_of_exceptions", "late"])
def test_a_training_without_end_is_stopped(name):
    result = _judge(name, exercise=SHORT)
    assert result.points == 0
    assert result.sentences[0].startswith("The training was stopped: it took more than 0.3 seconds of processor time.")


def test_what_is_too_slow_earns_nothing_in_a_thread_either():
    exercise, results = replace(EXERCISE, seconds=1e-3), []
    thread = threading.Thread(target=lambda: results.append(_judge("softmax_regression", exercise=exercise)))
    thread.start()
    thread.join()
    assert results[0].points == 0 and "took more than 0.001 seconds" in results[0].sentences[0]


def test_only_images_and_the_labels_of_others_reach_the_function():
    seen = []

    def spy(*arguments):
        seen.extend(arguments)
        return torch.zeros(300, dtype=torch.int64)

    judge_training(EXERCISE, LocalCandidate({"name_digits": spy}), 3)
    drawn = draw_digits(torch.Generator().manual_seed(3))
    assert len(seen) == 3
    assert all(map(torch.equal, seen, (drawn.images, drawn.labels, drawn.test_images)))


def test_the_seed_draws_other_images_and_the_training_starts_at_the_same_place():
    drawn = []

    def draw(images, labels, test_images):
        drawn.append((torch.rand(1).item(), np.random.rand(), random.random(), images[0, 0, 0, 0].item()))
        return labels[: len(test_images)]

    for seed in (1, 1, 2):
        judge_training(EXERCISE, LocalCandidate({"name_digits": draw}), seed)
    assert drawn[0] == drawn[1] and drawn[0][:3] == drawn[2][:3] and drawn[0][3] != drawn[2][3]


def test_a_notebook_s_threads_and_random_numbers_stay():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    _judge("random_classes")
    assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == threads


def test_in_another_process_it_is_the_same():
    process = candidate_process.start()
    for name in ("nearest_mean", "constant", "logits", "stub"):
        here = _judge(name)
        there = judge_training(EXERCISE, candidate_process.RemoteCandidate(process, f"digits {name}"), 0)
        assert here.parts == there.parts
        assert [s.partition("after")[0] for s in here.sentences] == [s.partition("after")[0] for s in there.sentences]
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_a_topic_may_have_one(monkeypatch):
    monkeypatch.delenv("VITLAB_SEED", raising=False)  # which grading in the same process leaves behind
    topic = type(sys)("vitlab.checks.made_up")
    topic.EXERCISES = (EXERCISE,)
    monkeypatch.setitem(sys.modules, "vitlab.checks.made_up", topic)
    monkeypatch.setattr(checks, "TOPICS", ("made_up",))
    name_digits = ANSWERS["nearest_mean"]
    assert checks.run("made_up", {"name_digits": name_digits}).points == checks.check(name_digits).points == 2
    assert checks.run("made_up", {}).points == 0


# ---- Scores, and images that cannot be looked up.


def test_scores():
    labels = torch.tensor([[[0, 0, 1, 255]]])
    assert accuracy(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 0])) == 0.5
    assert mean_iou(torch.tensor([[[0, 0, 1, 7]]]), labels, 3) == 1
    assert mean_iou(torch.tensor([[[0, 1, 1, 0]]]), labels, 3) == 0.5  # 1/2 and 1/2
    assert mean_iou(torch.tensor([[[0, 0, -5, 0]]]), labels, 3) == pytest.approx(1 / 3)  # 1, 0 and 0 for no class
    assert mean_iou(torch.tensor([[[9, 0, 2**40, 0]]]), labels, 3) == pytest.approx(0.5 / 3)


def test_images_are_moved_and_lit_and_masks_go_along():
    g = torch.Generator().manual_seed(0)
    masks = torch.randint(5, (6, 7, 9), generator=g)
    masks[:, 0] = 255
    images = (masks / 255).unsqueeze(1).double().float()
    moved, labels = moved_and_lit(images, g, pixels=0.0, masks=masks)
    assert torch.equal(labels, masks) and labels.dtype == masks.dtype
    assert moved.shape == images.shape and 0 <= moved.min() and moved.max() <= 1
    one = (moved[0] - moved[0].min()) / (moved[0].max() - moved[0].min())  # without its brightness
    torch.testing.assert_close(one, images[0], atol=1e-5, rtol=0)
    moved, labels = moved_and_lit(images, g, pixels=2.0, masks=masks)
    assert not torch.equal(labels, masks) and set(labels.unique().tolist()) <= set(masks.unique().tolist())
    assert len({tuple(image.flatten().tolist()) for image in moved}) == 6


def test_classes_get_the_same_new_numbers_everywhere():
    first, second = renumbered(torch.Generator().manual_seed(0), 4, torch.tensor([0, 1, 2, 3]), torch.tensor([3, 3, 0]))
    assert sorted(first.tolist()) == [0, 1, 2, 3] and second.tolist() == [first[3], first[3], first[0]]
