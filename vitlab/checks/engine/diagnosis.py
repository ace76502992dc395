"""What is wrong with a tensor, in a sentence: how it differs from the expected one, whoever made the mistake."""

import math
import re
from collections.abc import Collection
from itertools import permutations

import torch
from torch import Tensor

# Relative to the largest expected number. In float32, sums in another order and exponentials of large scores differ by a
# few hundred-thousandths; in float64, a √d_k that was computed in float32 passes, and a stray ε of 1e-6 does not.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 2e-7}

OWN_FACTOR = "Each {} is the expected one times a factor of its own."
LEFT_OUT = "The result is right wherever it is not 0: is something left out of the computation?"
ZERO = "The result is zero everywhere."
BEYOND = "A slice lies beyond the edge of its tensor, so that nothing is in it: print its bounds; is the height used for the width, or a size taken from somewhere else?"
OTHER_DTYPE = "One of the tensors was made with another dtype; create new tensors with dtype=x.dtype, and do not convert the input."
DECIMAL = "Sizes and positions are whole numbers: divide with //, since / gives a decimal number."
PRODUCT = "In A @ B the columns of A must be as many as the rows of B. Compare the shapes: is a transpose missing or one too many, or is another tensor meant?"
OF_MATH = "torch's functions take tensors: for a plain number take those of `math`."
ONE_ANSWER = (
    "An `if` asks for one answer, and this tensor has one for each of its entries: torch.where chooses entry by entry."
)
HINTS = (  # what a message of PyTorch usually means in these exercises
    ("of 0 elements", BEYOND),
    ("x0 and ", BEYOND),  # shapes cannot be multiplied (2x0 and 48x5)
    ("use of `x.T` on tensors", "K.T reverses all axes, the batch too: exchange the last two with K.transpose(-2, -1)."),
    ("view size is not compatible", "After permute or transpose use reshape: view cannot cut a tensor whose memory is out of order."),
    ("same dtype", OTHER_DTYPE),
    ("same datatype", OTHER_DTYPE),
    ("found dtype", OTHER_DTYPE),
    ("shapes cannot be multiplied", PRODUCT),
    ("must be a matrix", "torch.mm multiplies two matrices: with the batch in front use @ or torch.matmul."),
    ("must be Tensor, not float", OF_MATH),
    ("must be Tensor, not int", OF_MATH),
    ("converted to Python scalars", "A function of `math` takes one number: torch has its own for tensors, torch.erf, torch.sqrt."),
    ("expanded size of the tensor", "What is written into a place must have the shape of that place: was the tensor on the left made with the sizes of something else?"),
    ("match the broadcast shape", "+= writes into the tensor on its left, which cannot become larger: write x = x + y."),
    ("padding='same' is not supported", "Say how wide the border is, padding=kernel_size // 2."),
    ("first two dimensions of batch2 tensor", PRODUCT),
    ("Sizes of tensors must match", "torch.cat joins along one axis, and all other axes must agree. Compare the shapes, and remember to expand what lacks the batch."),
    ("same number of dimensions", "torch.cat needs tensors with equally many axes: expand what lacks the batch axis first."),
    ("type float", DECIMAL),
    ("'float' object cannot be", DECIMAL),
    ("slice indices must be", DECIMAL),
    ("inplace operation", "Something that the gradient needs is changed in place (+=, x[...] = ...): write out = out + ..., which makes a new tensor."),
    ("expected scalar type Long", "The labels have to be int64 there, whatever they came as: labels.long()."),
    ("expected scalar type", OTHER_DTYPE),
    ("ints, not float", DECIMAL),
    ("but got float", DECIMAL),
    ("no attribute 'interpolate'", "F is a tensor in this function, and hides torch.nn.functional: write torch.nn.functional.interpolate."),
    ("is out of bounds.", "A label is not one of the classes 0 ... N - 1: is ignore_index passed on?"),
    ("size mismatch (got input", "Scores and labels must have the same rows and columns: upsample the scores to labels.shape[-2:]."),
    ("too many values to unpack", "That tensor has more axes than there are names on the left: flatten those that belong together first."),
    ("not enough values to unpack", "That tensor has fewer axes than there are names on the left: is an axis lost, or kept apart where one is expected?"),
    ("return_types", "`max`, `min` and `sort` along an axis return two things, the numbers and their places: take .values, or amax and amin."),
    ("truth value", ONE_ANSWER),
    ("Boolean value of Tensor", ONE_ANSWER),
    ("number of spatial dimensions", "`size` is two numbers, rows and columns; a tuple times a number repeats the tuple and multiplies nothing: (rows * P, columns * P)."),
    ("Dimension out of range", "That tensor has fewer axes than the line expects: print its shape, and give it the missing axes with [None] or expand."),
    ("grad", "The function must also work on tensors that need gradients: no .numpy(), no in-place change of an input."),
)  # fmt: skip


def hint(said: str, there: str = "", code: str = "", given: Collection[str] = ()) -> str:
    """A sentence on what usually causes this exception or warning, or "".

    Args:
        said: its words.
        there: the shapes of what the line names, in words.
        code: the line.
        given: the names of the function's arguments.
    """
    if "values to unpack" in said and "," not in code.partition("=")[0]:
        return "A function that is called there finds a tensor with too many or too few axes: is each tensor given in its own place?"
    read = _sizes_asked_for(said) or _sizes_side_by_side(said, there, code, given) or _channels(said)
    return read or next((sentence for words, sentence in HINTS if words in said), "")


def _sizes_asked_for(said: str) -> str:
    """Of a reshape."""
    found = re.search(r"shape '\[([-\d, ]+)\]' is invalid for input of size (\d+)", said)
    if not found:
        return ""
    asked, has = math.prod(abs(int(size)) for size in found[1].split(",")), int(found[2])
    if "-1" in found[1].split(", "):
        return f"There are {has:,} numbers, and the other sizes make {asked:,}, which does not divide them."
    return f"The sizes make {asked:,} numbers, and there are {has:,}: print the shape of what is reshaped."


def _sizes_side_by_side(said: str, there: str, code: str, given: Collection[str]) -> str:
    """Of two tensors that are added or multiplied number by number."""
    found = re.search(
        r"tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)", said
    )
    if not found:
        return ""
    if "0" in found.groups()[:2]:
        return BEYOND
    axis = int(found[3])  # of the longer one, on which the shorter one lies further to the right
    outside = re.split(r"\W+", re.sub(r"\[[^\]]*\]", "", code))  # of brackets: what stands in them is an index
    tensors = [(name, shape) for name, shape in _tensors(there) if re.split(r"\W", name)[0] in outside]
    for (name, fewer), (_, more) in permutations(tensors, 2):
        place = axis - (len(more) - len(fewer))
        fit = 0 <= place < len(fewer) and axis < len(more)
        if fit and {str(more[axis]), str(fewer[place])} == {found[1], found[2]}:
            if told := _told_of(name, fewer, more, axis, name.partition("[")[0] in given):
                return told
    if re.search(r"\b(sum|mean|norm|amax|amin|std|var)\(", code) and "keepdim" not in code:
        return (
            "After sum, mean, norm or amax along an axis, keepdim=True keeps that axis, with length 1: is it missing?"
        )
    for name, shape in tensors:
        if name.partition("[")[0] in given and len(shape) == 1 and str(shape[0]) in found.groups()[:2]:
            other = next(size for size in found.groups()[:2] if size != str(shape[0]))
            return f"`{name}` has {shape[0]} numbers, and meets the last axis, which is {other} long there: is that the axis it is for, or is a transpose missing?"
    return f"Counted from the last axis, {found[1]} and {found[2]} stand side by side, and are not the same: print both shapes."


def _told_of(name: str, fewer: tuple[int, ...], more: tuple[int, ...], axis: int, is_given: bool) -> str:
    """Of two shapes that do not fit, if what was meant can be seen."""
    if len(fewer) == len(more):
        return f"Entry by entry, {fewer} and {more} do not fit: on axis {axis} they have {fewer[axis]} and {more[axis]} entries."
    if is_given and len(fewer) == 1 and fewer[0] in more[1:]:  # never one for each image
        behind = len(more) - 1 - more.index(fewer[0], 1)  # axes that come after the one it is for
        return (
            f"`{name}` meets the last axis, of {more[-1]}: to meet the axis of {fewer[0]} it needs the shape "
            f"{(*fewer, *[1] * behind)}, {name}[:{', None' * behind}]."
        )
    if not is_given and any(more[:k] + more[k + 1 :] == fewer for k in range(1, len(more))):
        return f"{fewer} is {more} without an axis: if it is a sum, mean, norm or amax, keepdim=True keeps that axis."
    return ""


def _channels(said: str) -> str:
    """Of a convolution."""
    found = re.search(r"groups=(\d+), .*weight of size \[+([\d, ]+)\]", said)
    if not found:
        return ""
    groups, weight = int(found[1]), [int(size) for size in found[2].split(",")]
    came = re.search(r"to have (\d+) channels, but got (\d+)", said)
    if came and groups == 1 and weight[1:2] == [1]:
        return "With groups=1 every kernel takes all features: a depthwise convolution has a kernel for each, groups=d."
    if came:
        return (
            f"F.conv2d takes the second axis for the features: there it finds {came[2]}, and the weight, {tuple(weight)}, is for "
            f"{came[1]}."
        )
    return f"With groups={groups} there are {groups} kernels or a multiple of that, and the weight, {tuple(weight)}, has {weight[0]}."


def _tensors(there: str) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors, "Q has the shape (2, 3, 5), d_k = 5"."""
    found = re.findall(r"(\S+) has the shape \(([\d, ]+)\)", there)
    return [(name, tuple(map(int, re.findall(r"\d+", shape)))) for name, shape in found]


def close(x: Tensor, y: Tensor, dtype: torch.dtype) -> bool:
    """Equal up to the tolerance of `dtype`, relative to the largest finite number in y. NaN equals NaN."""
    return x.shape == y.shape and not bool(differences(x, y, dtype).any())


def dtype_matters(y: Tensor) -> bool:
    """Whether a result must have the dtype of y: of integers larger than a byte one is as good as another."""
    return y.ndim > 0 and (y.is_floating_point() or y.dtype == torch.uint8)


def nearly(x: Tensor, y: Tensor) -> bool:
    """Equal in the first two or three digits."""
    return x.shape == y.shape and bool(torch.isclose(_double(x), _double(y), rtol=1e-2, atol=1e-4).all())


def differences(x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Where x differs from y by more than the tolerance of `dtype`: a boolean tensor of their shape.

    Integers and booleans of y are compared exactly. One number alone, without axes, is compared relative to itself.
    """
    if not (y.is_floating_point() or y.is_complex()):
        return x.double() != y.double() if x.is_floating_point() or x.is_complex() else x != y
    x, y = _double(x), _double(y)
    largest = y[y.isfinite()].abs().max().item() if y.isfinite().any() else 1.0
    tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.float64]) * (max(1.0, largest) if y.ndim else max(1e-3, largest))
    return ~torch.isclose(x, y, rtol=0, atol=tolerance, equal_nan=True)


def other_kind(x: Tensor, y: Tensor) -> bool:
    """Whether one is of integers and the other has decimals; whole numbers in a floating tensor are integers here."""
    decimal = x.is_floating_point() and bool((x != x.round()).any())
    return decimal if not y.is_floating_point() else not x.is_floating_point()


def wrong_shape(output: Tensor, expected: Tensor, symbols: str) -> str:
    """What is wrong with the shape of `output`; `symbols` is the contract's shape, such as "(B, n, d)"."""
    got, wanted = tuple(output.shape), tuple(expected.shape)
    sentence = f"The result has the shape {got}; expected was {symbols} = {wanted}"
    axes = _axes_to_exchange(output, expected)
    if axes:
        return f"{sentence}: the numbers are right, but the axes are in another order; permute{axes} puts them right."
    if sorted(got) == sorted(wanted):
        return f"{sentence}: the axes are in another order."
    if len(got) == len(wanted) - 1 and got == wanted[1:]:
        return f"{sentence}: the batch axis is missing."
    if tuple(side for side in got if side != 1) == tuple(side for side in wanted if side != 1):
        return f"{sentence}: an axis of size 1 is {'too many' if len(got) > len(wanted) else 'missing'}."
    if output.numel() == expected.numel():
        return f"{sentence}: there are as many numbers as there should be, but axes are merged or split."
    if len(got) == len(wanted):
        names = [name.strip() for name in symbols.strip("()").split(",")]
        wrong = [
            f"{name} is {g} instead of {w}" for name, g, w in zip(names, got, wanted, strict=True) if g != w
        ]  # fmt: skip
        return f"{sentence}: {' and '.join(dict.fromkeys(wrong))}."
    return sentence + "."


def _axes_to_exchange(output: Tensor, expected: Tensor) -> tuple[int, ...]:
    if output.ndim != expected.ndim or output.ndim > 4:
        return ()
    for axes in permutations(range(output.ndim)):
        if axes != tuple(range(output.ndim)) and close(output.permute(axes), expected, torch.float32):
            return axes
    return ()


def wrong_numbers(output: Tensor, expected: Tensor, dtype: torch.dtype, axes: tuple[str, ...]) -> str:
    """How the numbers of `output` relate to the expected ones of the same shape, or "" if no relation is found.

    axes: what an index means on each axis, such as ("image", "patch", "number").
    """
    wanted, output, expected = expected, _double(output), _double(expected)
    if output.isnan().any():
        return "The result contains NaN: somewhere 0/0, ∞/∞ or ∞ − ∞ is computed; does an exponential overflow?"
    if output.isinf().any():
        return "The result contains infinity: an exponential overflows, or something is divided by 0."
    inexact = wanted.is_floating_point()  # integers are right or wrong
    if inexact and close(output, expected, torch.float32) and dtype == torch.float64:
        return "The numbers are nearly right, but not exact: is an ε added somewhere, or float32 used on the way?"
    if inexact and nearly(output, expected):
        return "The numbers agree to two or three digits only: is something rounded, or computed in half precision?"
    if not output.any():
        return ZERO
    if output.numel() > 1 and bool((output == output.flatten()[0]).all()):
        return f"The result is the same number everywhere, {output.flatten()[0]:.4g}."
    factor = (output * expected).sum() / (expected * expected).sum()
    if close(output, factor * expected, dtype):
        return f"Every number is {factor:.4g} times the expected one."
    offset = (output - expected).mean()
    if close(output, expected + offset, dtype):
        return f"Every number is the expected one plus {offset:.4g}."
    if output.ndim > 1 and output.shape[-1] > 1:  # of one number alone any other is a multiple
        factors = (output * expected).sum(-1, keepdim=True) / (expected * expected).sum(-1, keepdim=True)
        if close(output, factors * expected, dtype):
            left_out = ~output.any(dim=-1, keepdim=True)
            if close(output, expected * ~left_out, dtype):
                return LEFT_OUT
            return OWN_FACTOR.format(axes[-2])
    for axis, name in enumerate(axes):
        if close(output.flip(axis), expected, dtype):
            return f"The numbers are right, but in the reverse order of the axis `{name}`."
        for shift in range(1, output.shape[axis]):
            if close(output.roll(shift, axis), expected, dtype):
                return f"The numbers are right, but shifted along the axis `{name}`."
    wrong = differences(output, expected, dtype)
    for axis, name in enumerate(axes):
        sides = wrong.movedim(axis, 0).flatten(1).any(dim=1)  # is anything wrong at this index?
        few = wrong.numel() < 4 * len(sides) and 4 * int((~sides).sum()) < len(sides)  # right by chance
        if sides.any() and not sides.all() and not few:
            right, wrong_ones = (side.nonzero().flatten().tolist() for side in (~sides, sides))
            return f"The result is right for {_list(name, right)} and wrong for {_list(name, wrong_ones)}."
    if close(output.sort(-1).values, expected.sort(-1).values, dtype):
        return f"Each {axes[-2]} holds the right numbers, but in another order."
    if _same_rows(output, expected, dtype):
        return f"Each {axes[-2]} is right in itself, but they come in another order."
    if close(output.flatten().sort().values, expected.flatten().sort().values, dtype):
        return "All the right numbers are there, but in other places."
    return ""


def _same_rows(output: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether every expected row (along the last axis) is found, within its image, at some other place."""
    nearest = torch.cdist(expected, output).argmin(dim=-1)  # (..., n)
    return close(output.take_along_dim(nearest.unsqueeze(-1), dim=-2), expected, dtype)


def first_difference(output: Tensor, expected: Tensor, dtype: torch.dtype) -> tuple[int, ...]:
    """The first position, in reading order, at which the two tensors of one shape differ."""
    return tuple(differences(output, expected, dtype).nonzero()[0].tolist())


def _double(x: Tensor) -> Tensor:
    return x.real.double() if x.is_complex() else x.double()


def _list(name: str, indices: list[int]) -> str:
    """ "image 0", "images 0, 1 and 3", "images 0 to 5"."""
    if len(indices) == 1:
        return f"{name} {indices[0]}"
    names = f"{name}es" if name.endswith("ch") else f"{name}s"
    if len(indices) > 3 and indices == list(range(indices[0], indices[-1] + 1)):
        return f"{names} {indices[0]} to {indices[-1]}"
    shown = [str(i) for i in indices[:6]] + (["more"] if len(indices) > 6 else [])
    return f"{names} {', '.join(shown[:-1])} and {shown[-1]}"


def sum_other_than_1(x: Tensor) -> str:
    """The sum of the row whose sum is farthest from 1, for a sentence on it; "" if every row sums to 1."""
    sums = x.sum(dim=-1).flatten()
    if bool(((sums - 1).abs() > 1e-3).any()):
        return f"{sums[(sums - 1).abs().argmax()]:.4g}"
    return ""
