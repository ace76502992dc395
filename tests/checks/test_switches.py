"""A check under its own switches: whatever a notebook has set up, right is right, and nothing is left behind."""

import contextlib
import random
import warnings

import numpy as np
import pytest
import torch
from support.made_up import EVERY

from vitlab import checks
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.judge import judge


@contextlib.contextmanager
def _set(write, value, before):
    write(value)
    try:
        yield
    finally:
        write(before)


def _state():
    """All that a check must give back."""
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        torch.get_default_device(), torch.empty(0).type(), torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"), torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(), torch.is_anomaly_check_nan_enabled(),
        torch.is_anomaly_enabled(), torch.is_warn_always_enabled(), torch.get_num_threads(),
        torch.get_float32_matmul_precision(), torch._tensor_str.get_printoptions(),
        np.geterr(), np.get_printoptions(), list(warnings.filters),
        torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate(),
    )  # fmt: skip


NOTEBOOKS = {
    "nothing": contextlib.nullcontext,
    "no gradients": lambda: _set(torch.set_grad_enabled, False, True),
    "with no_grad": torch.no_grad,
    "with inference_mode": torch.inference_mode,
    "device meta": lambda: _set(torch.set_default_device, "meta", None),
    "device cpu": lambda: _set(torch.set_default_device, "cpu", None),
    "with device meta": lambda: torch.device("meta"),
    "double": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: _set(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "tensor type": lambda: _set(torch.set_default_tensor_type, "torch.DoubleTensor", "torch.FloatTensor"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.float16),
    "deterministic": lambda: _set(torch.use_deterministic_algorithms, True, False),
    "anomaly": torch.autograd.detect_anomaly,
    "precision": lambda: _set(torch.set_float32_matmul_precision, "medium", "highest"),
    "printing": lambda: _set(lambda profile: torch.set_printoptions(profile=profile), "full", "default"),
    "numpy raises": lambda: np.errstate(all="raise"),
    "numpy prints": lambda: np.printoptions(precision=1),
    "warnings are errors": lambda: _set(lambda action: warnings.simplefilter(action), "error", "default"),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_right_answer_is_right_in_any_notebook(name):
    with warnings.catch_warnings(), NOTEBOOKS[name]():
        before = _state()
        for exercise in EVERY:
            result = judge(exercise, LocalCandidate({exercise.name: exercise.reference}), 1)
            assert result.passed and not result.remarks, result.sentences
        assert _state() == before
    assert torch.ones(1).device == torch.device("cpu") and torch.get_default_dtype() == torch.float32


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_wrong_answer_is_told_the_same_in_any_notebook(name):
    exercise = EVERY[0]
    candidate = LocalCandidate({exercise.name: exercise.misconceptions[0].function})
    expected = judge(exercise, candidate, 1)
    with warnings.catch_warnings(), NOTEBOOKS[name]():
        assert judge(exercise, candidate, 1) == expected


def _meddle(images, patch_size):
    """A right answer that changes whatever can be changed."""
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.autograd.set_detect_anomaly(True)
    torch.set_num_threads(3)
    torch.set_warn_always(False)
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.set_float32_matmul_precision("medium")
    torch.set_printoptions(precision=1)
    np.seterr(all="raise")
    np.set_printoptions(precision=1)
    warnings.simplefilter("error")
    torch.manual_seed(3), torch.rand(1, device="cpu"), np.random.rand(), random.random()
    return EVERY[0].reference(images, patch_size)


@pytest.mark.parametrize("name", ["nothing", "with device meta", "device meta", "with inference_mode", "autocast"])
def test_what_an_answer_changes_is_put_back(name):
    with NOTEBOOKS[name]():
        before = _state()
        checks.run("embeddings", {"patchify": _meddle, "embed_patches": lambda *a: torch.rand(3)})
        checks.check(EVERY[1].reference)
        assert _state() == before


def test_numbers_drawn_after_a_check_are_those_that_were_due():
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    first = draw()
    checks.run("embeddings", {"patchify": lambda images, patch_size: torch.rand(images.shape) + np.random.rand()})
    assert [first, draw()] == expected
