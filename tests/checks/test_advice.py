"""Advice on right answers: who writes a loop over tokens, a device or a size is told so, and nobody else is."""

import inspect
import os
import textwrap

import pytest
import test_attention
import test_embeddings
import test_encoder
import test_ffn
import test_layer_norm
import test_vit
import torch

from vitlab import checks
from vitlab.checks import TOPICS, derivable, exercises
from vitlab.checks.engine.advice import LONGEST_SOURCE, advice
from vitlab.checks.engine.candidate import LocalCandidate, Outcome
from vitlab.checks.engine.exercise import Exercise
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.report import Report

EXERCISES = derivable()
RIGHT_WAYS = [
    (EXERCISES[name], function)
    for module in (test_attention, test_embeddings, test_encoder, test_ffn, test_layer_norm, test_vit)
    for name, ways in module.CORRECT.items()
    for function in ways
]
RIGHT_WAYS += [(exercise, way) for exercise in EXERCISES.values() for way in exercise.formulations]
LOOPS = {  # over tokens or pixels; the other right ways that have loops go through heads, blocks or images
    "patchify_with_loops", "scores_with_loops", "weights_with_loops", "attention_with_loops", "tokens_with_loops",
    "ffn_with_loops",
}  # fmt: skip


def test_of_all_right_ways_those_with_loops_over_tokens_get_advice():
    advised = {}
    for exercise, function in RIGHT_WAYS:
        if found := advice(textwrap.dedent(inspect.getsource(function)), exercise):
            advised[function.__name__] = found
    assert advised.keys() == LOOPS
    assert all(len(found) == 1 and "one at a time" in found[0] for found in advised.values())


def test_an_untouched_solution_gets_no_advice():
    for topic in TOPICS:
        for exercise in exercises(topic):
            source = inspect.getsource(exercise.reference) if isinstance(exercise, Exercise) else ""
            assert advice(source, exercise if source else None) == ()


SCORES, HEADS = "attention_scores", "multi_head_self_attention"
NEEDED = {  # loops, names and numbers that are as they should be
    "heads": (HEADS, "for head in range(num_heads): pass"),
    "heads of a width": (HEADS, "for start in range(0, Z.shape[-1], W_Q.shape[1] // num_heads): pass"),
    "images": (SCORES, "y = torch.stack([k @ q.T for q, k in zip(Q, K)])"),
    "images by number": (SCORES, "B, n, d_k = Q.shape\nfor b in range(B): pass"),
    "blocks": ("encoder", "for p in blocks: Z = f(Z, p)"),
    "blocks by number": ("encoder", "for k in range(len(blocks)): Z = f(Z, blocks[k])"),
    "blocks of maps": ("attention_rollout", "for A in maps.unbind(1): R = A @ R"),
    "pieces of many queries": (SCORES, "for start in range(0, Q.shape[1], 1024): pass"),
    "so many pieces": (SCORES, "for k in range(Q.size(1) // 64 + 1): pass"),
    "an axis that nobody knows": (SCORES, "X = f(Q)\nfor x in X: pass"),
    "a name that was given away": (SCORES, "n = Q.shape[1]\nn = 4\nfor i in range(n): pass"),
    "terms of a series": ("gelu", "for k in range(40): total = total + x**k / math.factorial(k)"),
    "numbers of a formula": ("vit_parameters", "return depth * (12 * d**2 + 13 * d)"),
    "the argument's device": ("attention_rollout", "I = torch.eye(maps.shape[-1], device=maps.device)"),
    "a question about the device": ("gelu", "y = f(x) if x.device.type == 'cuda' else g(x)"),
    "a device where there is one": ("gelu", "device = 'cuda' if torch.cuda.is_available() else 'cpu'"),
    "few axes": ("gelu", "y = x.reshape(3, 9, -1).expand(2, 3, 9, -1)"),
    "a byte": ("gelu", "table = torch.arange(256)"),
    "a sentence": ("gelu", "print('moved to cuda')"),
}  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_as_it_should_be_gets_no_advice(name):
    exercise, body = NEEDED[name]
    assert advice(_function(EXERCISES[exercise], body), EXERCISES[exercise]) == ()


WRONG_HEADED = {
    "by number": (SCORES, "B, n, d_k = Q.shape\nfor i in range(n): pass", "`for i in range(n)` takes the tokens"),
    "by size": (SCORES, "for i in range(Q.size(1)): pass", "`for i in range(Q.size(1))` takes the tokens"),
    "by shape": (SCORES, "m = K.shape[-2]\nS = [[q @ K[0, j] for j in range(m)] for q in Q]", "takes the keys"),
    "within an image": (SCORES, "for b in range(len(Q)):\n    for q in Q[b]: pass", "`for q in Q[b]` takes"),
    "with numbers": ("layer_norm", "for image in x:\n    for i, token in enumerate(image): pass", "takes the tokens"),
    "side by side": (SCORES, "for q, k in zip(Q, K):\n    for a, b in zip(q, k): pass", "takes the tokens"),
    "turned round": ("layer_norm", "for token in x.transpose(0, 1): pass", "takes the tokens"),
    "permuted": ("layer_norm", "for token in x.permute(1, 0, 2): pass", "takes the tokens"),
    "unbound": ("layer_norm", "y = torch.stack([f(t) for t in x.unbind(dim=-2)], 1)", "takes the tokens"),
    "number by number": ("gelu", "y = [f(v) for v in x.flatten().tolist()]", "takes the tokens"),
    "all numbers": ("gelu", "for i in range(x.numel()): pass", "takes the tokens"),
    "rows of patches": ("patchify", "H = images.shape[2]\nfor i in range(H // patch_size): pass", "takes the rows"),
    "columns of pixels": ("patchify", "*_, W = images.shape\nfor j in range(0, W, 1): pass", "takes the columns"),
    "in a dict": ("vit", "for position in p['E_pos'][1:]: pass", "takes the tokens"),
    "a part of the shape": ("patchify", "H, W = images.shape[-2:]\nfor j in range(W): pass", "takes the columns"),
    "lines of pixels": ("patchify", "for line in images[0, 0]: pass", "takes the rows"),
    "to a device": ("gelu", "x = x.to('cuda')", "`'cuda'` is a device"),
    "a device's number": ("gelu", "y = torch.zeros(x.shape, device='cuda:1')", "`'cuda:1'` is a device"),
    "back from a device": ("gelu", "y = f(x).cpu()", "`f(x).cpu()` is a device"),
    "a largest size": ("attention_rollout", "I = torch.eye(1024)[:n, :n]", "in `torch.eye(1024)` a size"),
    "a size in a tuple": ("gelu", "y = torch.zeros((2, 197))", "in `torch.zeros((2, 197))` a size"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_HEADED)
def test_what_is_right_but_wrong_headed_gets_advice(name):
    exercise, body, words = WRONG_HEADED[name]
    (sentence,) = advice(_function(EXERCISES[exercise], body), EXERCISES[exercise])
    assert words in sentence and sentence.startswith("This costs no point: ")


def _function(exercise, body):
    return f"def {exercise.name}({', '.join(exercise.arguments)}):\n" + textwrap.indent(body, "    ")


def test_a_function_that_trains_has_sizes_of_its_own():
    source = (
        "def train_digits(images, labels, test_images):\n    x = images.reshape(-1, 64)\n    for i in range(9): f(x)"
    )
    assert advice(source) == ()
    assert "is a device" in advice(source + "\n    model.cuda()")[0]


# ---- in a report


def test_a_wrong_answer_gets_explanations_and_no_advice():
    def attention_scores(Q, K):
        return torch.stack([q @ K.mT for q in Q.unbind(1)], dim=1)

    result = checks.check(attention_scores).exercises[0]
    assert not result.passed and result.sentences and not result.advice


# ---- hostile sources


DEEP = {
    "brackets": "(" * 5000 + ")" * 5000,
    "signs": "-" * 15_000 + "1",
    "nots": "not " * 4000 + "1",
    "lambdas": "lambda: " * 2000 + "1",
    "dots": "x" + ".a" * 9000,
    "calls": "x" + "()" * 9000,
    "indices": "Q" + "[0]" * 6000,
    "sums": "+".join("1" * 9000),
    "powers": "**".join("x" * 6000),
    "conditions": "1 if x else " * 1500 + "1",
    "lengths": "len(" * 150 + "Q" + ")" * 150,
    "quotients": "1 / (" * 150 + "Q" + ")" * 150,
    "turns": "Q" + ".transpose(0, 1)" * 800,
    "formatted": "f'{" * 3000,
    "a huge number": "torch.zeros(0x" + "f" * 15_000 + ")",
    "many digits": "torch.zeros(" + "9" * 15_000 + ")",
}


@pytest.mark.parametrize("name", DEEP)
def test_a_monster_is_passed_over(name):
    exercise = EXERCISES["attention_scores"]
    for body in (f"return {DEEP[name]}", f"for i in range({DEEP[name]}): pass", f"for i in {DEEP[name]}: pass"):
        assert isinstance(advice(_function(exercise, body), exercise), tuple)


@pytest.mark.parametrize(
    "body",
    [
        "for p in blocks.numel(): blocks.size(0), blocks.shape, len(blocks.unbind(3)), blocks[0][1][2]",
        "for x in range(blocks): Z.size('a'), Z[None, ..., 9:, 3], Z.unbind(7), Z.permute(0, 0, 5), Z.transpose(1)",
        "for (a, *b), c in zip(Z, blocks, gamma['x']): (a, b), *c = Z.shape\nfor Z.x in Z: f()",
        "*_, = Z.shape\na, b, c, d, e = Z.shape\n*a, b, c, d, e = Z.shape\nfor a in enumerate(): pass",
    ],
)
def test_what_makes_no_sense_is_passed_over(body):
    exercise = EXERCISES["encoder"]
    assert advice(_function(exercise, body + "\nx.cpu()"), exercise)[-1].startswith("This costs no point: `x.cpu()`")


@pytest.mark.parametrize(
    "source", ["", "\0", "\ud800", "def f(", "x = 3", "class f: pass", "def f(): pass", "def f(*a, **k): pass"]
)  # fmt: skip
def test_what_is_no_answer_gets_no_advice(source):
    assert advice(source, EXERCISES["attention_scores"]) == ()


def test_a_source_is_never_executed(monkeypatch):
    monkeypatch.delenv("RAN", raising=False)
    run = "__import__('os').environ.__setitem__('RAN', 'yes')"
    source = f"@{run}\ndef attention_scores(Q=({run}), K: {run} = 0) -> {run}:\n    for i in range(Q.shape[1]): {run}"
    assert advice(source, EXERCISES["attention_scores"])
    assert "RAN" not in os.environ


def test_what_a_source_holds_is_harmless_where_it_is_shown():
    exercise = EXERCISES["attention_scores"]
    body = "for i in range(Q.shape[1] + len('`<script>\\x1b[2J')): pass  # \x1b[2J`"
    found = advice(_function(exercise, body), exercise)
    assert found and "\x1b" not in found[0]
    result = judge(exercise, _Says(exercise.reference, _function(exercise, body)), 0)
    assert result.passed and result.advice == found
    assert "<script>" not in Report((result,), 0)._repr_html_()


def test_of_a_long_source_nothing_is_said():
    exercise = EXERCISES["attention_scores"]
    loop = _function(exercise, "for i in range(Q.shape[1]): pass\n#")
    assert advice(loop + "x" * (LONGEST_SOURCE - len(loop)), exercise)
    assert advice(loop + "x" * LONGEST_SOURCE, exercise) == ()


class _Says(LocalCandidate):
    """Right, and says of itself that it was written like this."""

    def __init__(self, function, source):
        super().__init__({function.__name__: function})
        self.source = source

    def call(self, *arguments, **options) -> Outcome:
        outcome = super().call(*arguments, **options)
        return Outcome(**{**vars(outcome), "source": self.source})


def test_what_only_looks_like_a_function_has_no_source():
    class Wrapped:
        @property
        def __wrapped__(self):
            raise SystemExit

        def __call__(self, Q, K):
            return EXERCISES["attention_scores"].reference(Q, K)

    def loop(Q, K):
        return EXERCISES["attention_scores"].reference(Q, K)

    loop.__wrapped__ = loop
    for function in (Wrapped(), loop, torch.bmm):
        outcome = LocalCandidate({"f": function}).call("f", (torch.ones(1, 2, 3), torch.ones(1, 2, 3)))
        assert outcome.source == ""
