"""Ways in which a student's function can surprise a check. Each takes a right function and returns a strange one."""

import os
import random
import sys
import warnings

import numpy as np
import torch

from vitlab.checks.engine import values


def _then(change):
    """The right function, and then `change` on its result."""

    def make(right):
        def function(*arguments):
            return change(right(*arguments))

        return function

    return make


def _instead(action):
    """Not the right function at all, but `action` on the arguments."""

    def make(right):
        def function(*arguments):
            return action(*arguments)

        return function

    return make


def first_tensor(arguments):
    """In a list of the first tensor of the arguments, or none."""
    return [x for _, x in values.tensors(arguments)][:1]


def changes_its_input(right):
    def function(*arguments):
        result = right(*arguments)
        with torch.no_grad():
            for x in first_tensor(arguments):
                x += 1
        return result

    return function


def resizes_its_input(right):
    def function(*arguments):
        result = right(*arguments).clone()
        for x in first_tensor(arguments):
            x.resize_(1)
        return result

    return function


def prints(right):
    def function(*arguments):
        print("<script>alert('printed')</script>")
        sys.stderr.write("to stderr\n")
        return right(*arguments)

    return function


def warns(right):
    def function(*arguments):
        warnings.warn("deprecated <b>long</b> ago", DeprecationWarning, stacklevel=1)
        return right(*arguments)

    return function


def floods(right):
    def function(*arguments):
        for _ in range(10):
            print("x" * 100_000)
        return right(*arguments)

    return function


def changes_torch_s_switches(right):
    def function(*arguments):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(0)
        return right(*arguments)

    return function


def raises_for_gradients(right):
    def function(*arguments):
        if any(x.requires_grad for _, x in values.tensors(arguments)):
            raise ValueError("no gradients, please")
        return right(*arguments)

    return function


def cuts_half_the_gradient(right):
    def function(*arguments):
        result = right(*arguments)
        return (result + result.detach()) / 2

    return function


def _raise(error):
    raise error


class BrokenError(Exception):
    def __str__(self):
        raise RuntimeError("even my message is broken")


class OwnTensor(torch.Tensor):
    pass


FULL = "is right"  # strange, but right: full marks
STRANGE = {  # name: (how, a word of the sentence that the student reads)
    "nothing": (_then(lambda x: None), "returns None"),
    "list": (_then(lambda x: x.tolist()), "a list of"),
    "tuple": (_then(lambda x: (x, x)), "a tuple of 2"),
    "numpy": (_then(lambda x: x.detach().numpy()), "a NumPy array"),
    "number": (_instead(lambda *a: 3.5), "a float"),
    "generator": (_instead(lambda *a: (x for x in a)), "a generator"),
    "function": (_then(lambda x: lambda: x), "a function"),
    "sparse": (_then(lambda x: x.detach().to_sparse()), "layout"),
    "complex": (_then(lambda x: x.to(torch.complex64)), "complex64"),
    "half": (_then(lambda x: x.half()), "float16"),
    "bfloat16": (_then(lambda x: x.bfloat16()), "bfloat16"),
    "integers": (_then(lambda x: x.long()), "int64"),
    "booleans": (_then(lambda x: x > 0), "bool"),
    "always double": (_then(lambda x: x.double()), "float64 for inputs of torch.float32"),
    "meta": (_then(lambda x: x.to("meta")), "a tensor"),
    "no batch": (_then(lambda x: x[0]), "shape"),
    "one more axis": (_then(lambda x: x[None]), "axis of size 1"),
    "flat": (_then(lambda x: x.flatten()), "merged or split"),
    "empty": (_then(lambda x: x[:0]), "shape"),
    "a number's tensor": (_then(lambda x: x.sum()), "shape"),
    "nan": (_then(lambda x: x * float("nan")), "NaN"),
    "one nan": (_then(lambda x: torch.where(torch.arange(x.shape[-1]) == 0, float("nan"), x)), "NaN"),
    "infinity": (_then(lambda x: x / 0), "inf|NaN"),
    "zeros": (_then(torch.zeros_like), "zero everywhere"),
    "constant": (_then(torch.ones_like), "same number everywhere"),
    "thrice": (_then(lambda x: 3 * x), "3 times"),
    "shifted": (_then(lambda x: x + 5), "plus 5"),
    "first image only": (_then(lambda x: torch.cat([x[:1], x[1:] + torch.rand(x[1:].shape)])), "image 0|random|different"),
    "rows reversed": (_then(lambda x: x.flip(1)), "reverse order"),
    "numbers shuffled": (_then(lambda x: x[..., torch.arange(x.shape[-1]).roll(2).flip(0)]), "another order|shifted|reverse|mistake|right for"),
    "stub": (_instead(lambda *a: _raise(NotImplementedError())), "not written yet"),
    "raises": (_instead(lambda *a: _raise(ValueError("<script>alert(1)</script>"))), "ValueError"),
    "broken error": (_instead(lambda *a: _raise(BrokenError())), "BrokenError"),
    "exits": (_instead(lambda *a: sys.exit("bye")), "SystemExit"),
    "recursion": (_instead(lambda *a: (lambda f: f(f))(lambda f: f(f))), "RecursionError"),
    "wrong arguments": (lambda right: lambda: None, "It is called as"),
    "asserts": (_instead(lambda *a: _raise(AssertionError())), "AssertionError"),
    "T of a batch": (_instead(lambda x, *a: (x.T, x @ x.T)), r"transpose\(-2, -1\)|a tuple of 2"),
    "view": (_instead(lambda x, *a: x.mT.view(-1)), "reshape"),
    "changes its input": (changes_its_input, "changes its input"),
    "resizes its input": (resizes_its_input, "changes its input"),
    "detaches": (_then(lambda x: x.detach()), "no gradient flows"),
    "through numpy": (_then(lambda x: torch.from_numpy(np.array(x.detach()))), "no gradient flows"),
    "cuts half the gradient": (cuts_half_the_gradient, "the gradient with respect to"),
    "raises for gradients": (raises_for_gradients, "not for tensors that need gradients"),
    "random": (_then(lambda x: x + torch.rand(x.shape)), "different results"),
    "random outside torch": (_then(lambda x: x + random.random()), "different results"),
    "prints": (prints, FULL),
    "warns": (warns, FULL),
    "floods": (floods, FULL),
    "closes stdout": (_then(lambda x: (sys.stdout.close(), x)[1]), FULL),
    "switches": (changes_torch_s_switches, "no gradient flows|is right"),
    "own tensor": (_then(lambda x: x.as_subclass(OwnTensor)), FULL),
    "parameter": (_then(lambda x: x if x.requires_grad else torch.nn.Parameter(x)), FULL),
    "transposed in memory": (_then(lambda x: x.mT.contiguous().mT), FULL),
    "writes to the descriptor": (_then(lambda x: (os.write(2, b"to the descriptor\n"), x)[1]), FULL),
}  # fmt: skip
