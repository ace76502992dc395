"""What crosses to a candidate in another process comes back the same, and nothing broken or hostile is believed."""

import json

import pytest
import torch
from support import candidate_process, made_up
from support.strange import STRANGE

from vitlab import checks
from vitlab.checks import derivable
from vitlab.checks.engine import repair, wire
from vitlab.checks.engine.candidate import LocalCandidate, Outcome
from vitlab.checks.engine.judge import judge


@pytest.fixture(scope="module")
def process():
    process = candidate_process.start()
    yield process
    process.stdin.close()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("exercise", made_up.EVERY, ids=lambda exercise: exercise.name)
def test_a_candidate_in_another_process_gets_the_same_reports(exercise, process, monkeypatch):
    monkeypatch.setattr(repair, "SECONDS", 0.0)  # the search for a change may end sooner in one of the two
    variants = ["reference", *(f"misconception {k}" for k in range(min(4, len(exercise.misconceptions))))]
    if exercise in made_up.EXERCISES:  # they take and return all that the course's exercises do
        variants += [name for name in STRANGE if "random" not in name and name != "first image only"]
    for variant in variants:
        here, there = (
            checks.Report((judge(exercise, candidate, 0),), 0)
            for candidate in (
                LocalCandidate(candidate_process.functions(variant)),
                candidate_process.RemoteCandidate(process, variant),
            )
        )
        assert here.as_dict() == there.as_dict(), variant
        assert here._repr_html_() == there._repr_html_(), variant


def test_the_change_that_repairs_an_answer_is_found_in_another_process_too(process):
    for candidate in (
        LocalCandidate(candidate_process.functions("a slip")),
        candidate_process.RemoteCandidate(process, "a slip"),
    ):
        told = judge(derivable()["attention_scores"], candidate, 0).sentences[0]
        assert told.startswith("Your function is right with one change: ") and "range(0, K.shape[-1])" in told


def test_advice_on_a_right_answer_costs_no_point_and_is_the_same_from_another_process(process):
    exercise = derivable()["attention_scores"]
    here = judge(exercise, LocalCandidate(candidate_process.functions("wrong-headed")), 0)
    there = judge(exercise, candidate_process.RemoteCandidate(process, "wrong-headed"), 0)
    assert here == there and here.passed and here.points == exercise.points
    (sentence,) = here.advice
    assert "`for q in Q.unbind(1)` takes the tokens one at a time" in sentence
    report = checks.Report((here,), 0)
    assert sentence in str(report) and "<code>for q in Q.unbind(1)</code>" in report._repr_html_()


def _same(x, y):
    if isinstance(x, torch.Tensor):
        return x.dtype == y.dtype and x.shape == y.shape and torch.equal(x, y)
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(_same(x[key], y[key]) for key in x)
    if isinstance(x, list | tuple):
        return type(x) is type(y) and len(x) == len(y) and all(map(_same, x, y))
    return type(x) is type(y) and x == y


def test_what_crosses_the_wire_comes_back_the_same():
    tensors = (torch.randn(2, 0, 3), torch.tensor(3.0), torch.randn(2, 3).to(torch.complex64), torch.ones(2).bfloat16())
    booleans = torch.tensor([True, False])
    nested = ({"W": tensors[1], "tensor": booleans}, [{"x": torch.arange(6).reshape(2, 3).T}, []], 7, 0.1, {}, (4, 5))
    assert _same(
        wire.decode_call(wire.encode_call("f", (*tensors, *nested), tensors[3])),
        ("f", (*tensors, *nested), tensors[3], None, False, ""),
    )
    assert wire.decode_call(wire.encode_call("f", (), seconds=2.5, largest=True, instead="x"))[-3:] == (2.5, True, "x")
    for output in (tensors[2], booleans, torch.arange(6.0)[::2][:1], 3, 0.5, True, -(2**63), float("inf")):
        outcome = Outcome(
            "returned", output, "text", "line", "inside", "there", (tensors[0], None), ((1, "W"), (0,)), True,
            "printed", "\ud800", 0.25, (2, 3), "def f(): ...",
        )  # fmt: skip
        back = wire.decode_outcome(wire.encode_outcome(outcome))
        assert all(_same(getattr(back, name), getattr(outcome, name)) for name in Outcome.__dataclass_fields__)


def _message(head, numbers=b""):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(head).to_bytes(8, "big") + head + numbers


def _outcome(**changes):
    fields = {
        "kind": "raised", "output": None, "text": "", "line": "", "inside": "", "there": "", "gradients": [],
        "changed": [], "overwrites": False, "printed": "", "warned": "", "seconds": 0.0, "largest": [], "source": "",
    }  # fmt: skip
    assert changes.keys() <= fields.keys()
    return list({**fields, **changes}.values())


def test_the_outcome_that_the_broken_ones_are_made_from_is_fine():
    assert wire.decode_outcome(_message(_outcome())) == Outcome("raised")


ONES = wire.encode_outcome(Outcome("returned", torch.ones(9)))
BROKEN = {
    "nothing": b"",
    "no message": b"garbage that is no message at all",
    "an empty list": _message([]),
    "a dict": _message({"a": {}}),
    "a call": wire.encode_call("f", ()),
    "a byte too few": ONES[:-1],
    "a byte too many": ONES + b"x",
    "a negative size": ONES.replace(b"[9]", b"[-9]"),
    "a size with decimals": ONES.replace(b"[9]", b"[1e9]"),
    "no size": ONES.replace(b"[9]", b"[[]"),
    "a true size": _message(_outcome(kind="returned", output={"tensor": ["torch.uint8", [True]]}), b"1"),
    "huge sizes and a zero": _message(_outcome(kind="returned", output={"tensor": ["torch.uint8", [0, 2**62, 2**62]]})),
    "an unknown dtype": ONES.replace(b"torch.float32", b"torch.floatxx"),
    "neither tensor nor dict": _message(_outcome(output={"pickle": "c__builtin__\neval"})),
    "very deep": _message(b"[" * 100_000 + b"]" * 100_000),
    "no JSON": _message(b"[NaN,"),
    "no text": _message(b"\xff\xfe"),
    "an unknown kind": _message(_outcome(kind="right")),
    "returned nothing": _message(_outcome(kind="returned")),
    "raised a number": _message(_outcome(output=3)),
    "a number for a text": _message(_outcome(text=3)),
    "a number for a source": _message(_outcome(source=3)),
    "a text for gradients": _message(_outcome(gradients="none")),
    "a text for a gradient": _message(_outcome(gradients=["none"])),
    "a text for a path": _message(_outcome(changed=["Z"])),
    "a list in a path": _message(_outcome(changed=[[[]]])),
    "an endless time": _message(_outcome(seconds=float("inf"))),
    "a negative side": _message(_outcome(largest=[4, -5])),
    "no tuple": _message(_outcome(largest={"tuple": 4})),
    "one field less": _message(_outcome()[:-1]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_a_value_error(name):
    with pytest.raises(ValueError):
        wire.decode_outcome(BROKEN[name])
    with pytest.raises(ValueError):
        wire.decode_call(BROKEN[name] if name != "a call" else ONES)


def test_any_byte_is_a_boolean():
    message = _message(_outcome(kind="returned", output={"tensor": ["torch.bool", [3]]}), b"\x00\x01\xff")
    assert wire.decode_outcome(message).output.tolist() == [False, True, True]
