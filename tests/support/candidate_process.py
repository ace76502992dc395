"""A candidate in another process. Run as a program it is that process: calls come on stdin, outcomes go to stdout."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from support import digits_exercise
from support.made_up import EVERY
from support.strange import STRANGE
from vitlab.checks.engine import wire
from vitlab.checks.engine.candidate import LocalCandidate, Outcome
from vitlab.checks.engine.values import Value

TESTS = Path(__file__).parents[1]


def functions(variant: str) -> dict:
    """The functions of one imagined student: "reference", "misconception 3", a strange one of `STRANGE`, or
    "digits constant", an answer to the training exercise, "wrong-headed": right, with a loop over tokens, or "a slip":
    the same with one change."""
    if variant.startswith("digits "):
        return {digits_exercise.EXERCISE.name: digits_exercise.ANSWERS[variant.split()[1]]}
    if variant == "wrong-headed":
        return {"attention_scores": attention_scores_one_by_one}
    if variant == "a slip":
        return {"attention_scores": attention_scores_of_all_but_one}
    if variant in STRANGE:
        return {exercise.name: STRANGE[variant][0](exercise.reference) for exercise in EVERY}
    if variant == "reference":
        return {exercise.name: exercise.reference for exercise in EVERY}
    k = int(variant.split()[1])
    return {e.name: e.misconceptions[k % len(e.misconceptions)].function for e in EVERY}


def attention_scores_one_by_one(Q, K):
    return torch.stack([(K @ q.unsqueeze(-1)).squeeze(-1) for q in Q.unbind(1)], dim=1) / Q.shape[-1] ** 0.5


def attention_scores_of_all_but_one(Q, K):
    scores = [sum(Q[..., k, None] * K[:, None, :, k] for k in range(1, K.shape[-1])) for _ in range(1)]
    return scores[0] / K.shape[-1] ** 0.5


@cache
def candidates(variant: str) -> LocalCandidate:
    """In the other process: one for each student, so that it can tell what a later call changes."""
    return LocalCandidate(functions(variant))


class RemoteCandidate:
    """Reaches the functions of `variant` in the process, over a pipe."""

    def __init__(self, process: subprocess.Popen, variant: str):
        self.process, self.variant = process, variant

    def call(
        self,
        name: str,
        arguments: tuple[Value, ...],
        cotangent: Tensor | None = None,
        seconds: float | None = None,
        largest: bool = False,
        instead: str = "",
    ) -> Outcome:
        _write(self.process.stdin, self.variant.encode())
        _write(self.process.stdin, wire.encode_call(name, arguments, cotangent, seconds, largest, instead))
        return wire.decode_outcome(_read(self.process.stdout))


def start() -> subprocess.Popen:
    command = [sys.executable, "-m", "support.candidate_process"]
    return subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _write(pipe, message: bytes) -> None:
    pipe.write(len(message).to_bytes(8, "big") + message)
    pipe.flush()


def _read(pipe) -> bytes:
    return pipe.read(int.from_bytes(pipe.read(8), "big"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    while variant := _read(sys.stdin.buffer).decode():
        call = wire.decode_call(_read(sys.stdin.buffer))
        _write(sys.stdout.buffer, wire.encode_outcome(candidates(variant).call(*call)))
