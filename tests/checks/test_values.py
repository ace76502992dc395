"""What a value is: copied, walked and compared with its paths."""

import pytest
import torch

from vitlab.checks.engine import values

ARGUMENTS = (
    torch.randn(2, 3),
    {"W_1": torch.randn(3), "n": torch.arange(4)},
    [{"gamma_1": torch.ones(2)}, {"gamma_1": torch.zeros(2)}],
    [torch.tensor([float("nan"), 1.0])],
    7,
    0.5,
)
NAMES = ("Z", "p", "blocks", "maps", "num_heads", "eps")


def _named(path):
    return None if path is None else values.name_of(path, NAMES)


def test_tensors_are_walked_in_order_with_their_names():
    found = [_named(path) for path, _ in values.tensors(ARGUMENTS)]
    assert found == ["Z", "p['W_1']", "p['n']", "blocks[0]['gamma_1']", "blocks[1]['gamma_1']", "maps[0]"]


def test_a_copy_shares_nothing_and_its_floats_can_be_differentiated():
    copy = values.copy(ARGUMENTS, requires_grad=True)
    assert values.difference(ARGUMENTS, copy) is None
    assert copy[2] is not ARGUMENTS[2] and copy[2][0] is not ARGUMENTS[2][0]
    assert [x.requires_grad for _, x in values.tensors(copy)] == [True, True, False, True, True, True]
    assert not any(x.requires_grad for _, x in values.tensors(ARGUMENTS))


def _change(action):
    copy = values.copy(ARGUMENTS)
    action(*copy)
    return _named(values.difference(ARGUMENTS, copy))


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (lambda Z, *_: Z.add_(1), "Z"),
        (lambda Z, *_: Z.resize_(1), "Z"),
        (lambda Z, p, *_: p["W_1"].mul_(2), "p['W_1']"),
        (lambda Z, p, *_: p.update(n=p["n"].int()), "p['n']"),
        (lambda Z, p, *_: p.update(n=None), "p['n']"),
        (lambda Z, p, *_: p.update(new=0), "p['new']"),
        (lambda Z, p, *_: p.pop("W_1"), "p['W_1']"),
        (lambda Z, p, blocks, *_: blocks[1]["gamma_1"].add_(1), "blocks[1]['gamma_1']"),
        (lambda Z, p, blocks, *_: blocks.append({}), "blocks"),
        (lambda Z, p, blocks, *_: blocks.append(blocks), "blocks"),
        (lambda Z, p, blocks, *_: blocks.pop(), "blocks"),
        (lambda Z, p, blocks, *_: blocks.reverse(), "blocks[0]['gamma_1']"),
        (lambda Z, p, blocks, maps, *_: maps[0].nan_to_num_(), "maps[0]"),
        (lambda Z, p, blocks, maps, *_: maps.__setitem__(0, (1, 2)), "maps[0]"),
        (lambda *_: None, None),
    ],
)
def test_what_changed_is_named(action, name):
    assert _change(action) == name


def test_numbers_are_tensors_without_axes():
    for number, dtype in (
        (3, torch.int64),
        (3.0, torch.float64),
        (True, torch.bool),
        (torch.ones(()).half(), torch.float16),
    ):
        x = values.as_tensor(number)
        assert (x.ndim, x.dtype, x.item()) == (0, dtype, number)
