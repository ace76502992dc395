"""Rollout by hand, by loops and in every right way; distances, probes and other looks inside on known cases."""

from functools import reduce

import pytest
import torch

from vitlab import ViT
from vitlab.bench import distillation
from vitlab.bench.probes import edges, explained
from vitlab.data import load
from vitlab.interpretation import (
    attention_rollout,
    block_outputs,
    heaviest,
    jaccard,
    linear_probe,
    logit_lens,
    mean_attention_distance,
)
from vitlab.vit import ViTConfig


def random_maps(B: int, L: int, h: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, L, h, n, n, generator=generator, dtype=torch.float64).softmax(dim=-1)


def test_two_blocks_by_hand():
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])  # two heads; their mean: 1/2 1/2, 1 0
    second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    # half the mean, half the identity: (3/4 1/4, 1/2 1/2) and (1/2 1/2, 0 1); their product, the second one leftmost
    expected = torch.tensor([[[0.625, 0.375], [0.5, 0.5]]])
    assert torch.equal(attention_rollout(torch.stack([first, second])[None]), expected)


@pytest.mark.parametrize("B, L, h, n", [(2, 3, 4, 5), (1, 1, 2, 3), (3, 4, 1, 2)])
def test_it_is_the_sum_over_all_ways_through_the_blocks(B, L, h, n):
    maps = random_maps(B, L, h, n)
    expected = torch.zeros(B, n, n, dtype=torch.float64)
    for b in range(B):
        for start in range(n):
            reached = torch.eye(n, dtype=torch.float64)[start]  # how much of the token `start` each token holds
            for block in range(L):
                mean = sum(maps[b, block, head] for head in range(h)) / h
                reached = torch.stack([0.5 * reached[i] + 0.5 * (mean[i] * reached).sum() for i in range(n)])
            expected[b, :, start] = reached
    torch.testing.assert_close(attention_rollout(maps), expected)


def test_rows_sum_to_one_and_the_maps_stay_as_they_were():
    maps = random_maps(2, 6, 3, 7)
    before = maps.clone()
    assert torch.allclose(attention_rollout(maps).sum(-1), torch.ones(2, 7, dtype=torch.float64))
    assert torch.equal(maps, before)


def test_the_maps_of_a_model_roll_out():
    model = ViT(ViTConfig(depth=3, d=12, num_heads=3, patch_size=4, image_size=8, num_classes=0))
    maps = torch.stack(model.attention_maps(torch.randn(2, 3, 8, 8)), dim=1)
    rollout = attention_rollout(maps)
    assert rollout.shape == (2, 5, 5)
    torch.testing.assert_close(rollout.sum(-1), torch.ones(2, 5))


def test_a_patch_that_looks_at_its_neighbours_looks_one_patch_far():
    n, grid = 6, (2, 3)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    beside = (torch.cdist(places.double(), places.double()) - 1).abs() < 1e-9
    maps = torch.zeros(2, 1, 3, n + 1, n + 1, dtype=torch.float64)
    maps[..., 1:, 1:] = beside / beside.sum(dim=1, keepdim=True)
    maps[:, :, 1, 1:, 1:] = torch.eye(n)  # a head that looks at itself
    maps[:, :, 2] = 1 / (n + 1)  # and one that looks everywhere: the mean distance of two patches
    expected = torch.tensor([[1, 0, torch.cdist(places.double(), places.double()).mean()]], dtype=torch.float64)
    torch.testing.assert_close(mean_attention_distance(maps, grid), expected)


def test_tensors_elsewhere_stay_there():
    maps, X = torch.empty(2, 3, 4, 7, 7, device="meta"), torch.empty(9, 5, device="meta")
    assert mean_attention_distance(maps, (2, 3)).device.type == "meta"
    assert linear_probe(X, X[:, :2], X).device.type == "meta"


def test_the_last_of_the_block_outputs_is_what_the_model_answers_from():
    model = ViT(ViTConfig(depth=3, d=12, num_heads=3, patch_size=4, image_size=8, num_classes=5)).eval()
    images = torch.randn(2, 3, 8, 8)
    outputs = block_outputs(model, images)
    assert outputs.shape == (2, 4, 5, 12)
    torch.testing.assert_close(outputs[:, 0], model.embeddings(images))
    torch.testing.assert_close(model.encoder.norm(outputs[:, -1]), model.tokens(images))
    torch.testing.assert_close(logit_lens(model, outputs)[:, -1], model(images))


def test_a_probe_reads_what_is_linear_and_not_what_is_not():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(400, 6, generator=generator)
    linear, product = X @ torch.randn(6, 2, generator=generator) + 3, X[:, :1] * X[:, 1:2]
    read = linear_probe(X[:300], linear[:300], X[300:])
    torch.testing.assert_close(read.float(), linear[300:], atol=0.05, rtol=0)
    assert explained(read, linear[300:].double()) > 0.999
    assert explained(linear_probe(X[:300], product[:300], X[300:]), product[300:].double()) < 0.1


def test_the_heaviest_are_the_fewest_that_hold_the_mass():
    weights = torch.tensor([[1.0, 4.0, 3.0, 2.0], [10.0, 0.0, 0.0, 0.0]])
    assert heaviest(weights, 0.6).tolist() == [[False, True, True, False], [True, False, False, False]]
    assert heaviest(weights, 0.75).tolist()[0] == [False, True, True, True]


def test_jaccard_is_what_both_have_of_what_either_has():
    a, b = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool(), torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    torch.testing.assert_close(jaccard(a, b), torch.tensor([1 / 3, 0.0]))


def test_edges_know_their_direction_and_not_their_sign():
    upright = torch.zeros(1, 3, 8, 8)
    upright[..., 4:] = 1
    directions = edges(torch.cat([upright, 1 - upright, upright.mT]), patch_size=8)[:, 0]  # (3, 2)
    torch.testing.assert_close(directions[0], directions[1])
    assert directions[0, 0] > 0 > directions[2, 0]
    torch.testing.assert_close(directions[2], -directions[0])


def test_a_head_is_scored_by_the_objects_under_the_heaviest_patches():
    attention = torch.tensor([[[0.5, 0.3, 0.1, 0.1], [0.1, 0.1, 0.5, 0.3]]] * 2)  # two scenes, two heads, four patches
    objects = torch.tensor([[True, True, False, False], [True, False, False, False]])
    # head 1 keeps the first two patches: 2 of 2, then 1 of 2; head 2 keeps the others and hits nothing
    torch.testing.assert_close(distillation.score(attention, objects), torch.tensor([0.75, 0.0]))


def test_a_patch_is_an_object_s_if_more_than_half_of_it_is():
    data = load("shapes", images=3, test_images=1, size=32)
    images, objects, present = distillation.prepared(data.train)
    for i, mask in enumerate(data.train.labels):
        assert [k in mask for k in range(1, 6)] == present[i].bool().tolist()
        for patch, inside in enumerate(objects[i]):
            y, x = patch // 8 * 4, patch % 8 * 4
            assert inside == (int((mask[y : y + 4, x : x + 4] > 0).sum()) > 8)
    assert images.shape == (3, 3, 32, 32) and objects.any() and not objects.all()


def test_the_classes_are_ordered_wholly_not_at_all_or_by_half():
    read, true = torch.tensor([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert distillation.ordered(read, true) == 0.5  # all pairs right in the first column, none in the second


def test_beyond_a_mask_every_view_has_one_colour():
    scenes = torch.cat([torch.randn(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)], dim=1)
    plain = distillation.views(scenes, 3, 12, (0.2, 0.6))  # (3, 2, 3, 12, 12)
    torch.testing.assert_close(plain, plain[..., :1, :1].expand_as(plain))
    assert len(plain[..., 0, 0].flatten().unique()) == 18
    assert distillation.views(scenes[:, :3], 3, 12, (0.2, 0.6)).std(dim=(-2, -1)).min() > 0.1


def test_three_weights_of_one_seed_are_measured(monkeypatch):
    monkeypatch.setattr(
        distillation, "CONFIG", ViTConfig(depth=2, d=8, num_heads=2, patch_size=4, image_size=32, num_classes=0)
    )
    data = load("shapes", images=40, test_images=30, size=32)
    train, test = distillation.prepared(data.train), distillation.prepared(data.test)
    found = distillation.one_seed(train, test, seed=0, steps=2, batch_size=4, peak=1e-3)
    assert set(found["models"]) == {"random", "supervised", "self-supervised"}
    for row in found["models"].values():
        assert row["best"] in row["heads"] and row["mean"]["objects"] == pytest.approx(sum(row["heads"]) / 2)
        assert 1 <= row["even_over"] <= 64 and 0 <= row["probe"] <= 1
    maps = [row["maps"] for row in found["models"].values()]
    assert maps[0] != maps[1] != maps[2] and found["models"]["random"]["seconds"] == 0


@pytest.mark.parametrize("left_out", ["centring", "sharpening"])
def test_the_teacher_follows_the_student_and_says_what_it_is_told_to(left_out):
    scenes = torch.randn(8, 3, 32, 32)
    training = {"steps": 2, "batch_size": 4, "peak": 1e-3, "seed": 0}
    torch.manual_seed(0)
    begin = ViT(distillation.CONFIG).embeddings.position_embedding
    teacher, curves = distillation.distill(scenes, **training)
    moved = (teacher.embeddings.position_embedding - begin).abs().max()
    assert 0 < moved < 1e-4  # a hundredth of the student's way
    _, other = distillation.distill(scenes, **training, **{left_out: False})
    same = curves["entropy"][0] == other["entropy"][0]
    assert same == (left_out == "centring")  # the centre is 0 at first
    assert curves["entropy"][1] != other["entropy"][1] and min(curves["kl"]) > 0


# ---- Right answers, written in other ways: every one gets full marks.


def with_loops(maps):
    h, n = maps.shape[2], maps.shape[-1]
    results = []
    for image in maps:
        R = torch.eye(n, dtype=maps.dtype)
        for block in image:
            A = sum(block[j] for j in range(h)) / h
            R = (A + torch.eye(n, dtype=maps.dtype)) / 2 @ R
        results.append(R)
    return torch.stack(results)


def from_the_left(maps):
    mixed = 0.5 * maps.mean(2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    R = mixed[:, -1]
    for block in reversed(range(maps.shape[1] - 1)):
        R = R @ mixed[:, block]
    return R


def with_normalized_rows(maps):
    added = maps.mean(dim=2) + torch.eye(maps.shape[-1], dtype=maps.dtype)
    blocks = (added / added.sum(-1, keepdim=True)).unbind(1)
    return reduce(lambda R, A: A @ R, blocks)


def with_multi_dot(maps):
    mixed = 0.5 * maps.mean(2) + 0.5 * torch.eye(maps.shape[-1], dtype=maps.dtype)
    return torch.stack([torch.linalg.multi_dot([*image.flip(0)]) if len(image) > 1 else image[0] for image in mixed])


def with_einsum(maps):
    B, L, h, n, _ = maps.shape
    R = torch.eye(n, dtype=maps.dtype).expand(B, n, n)
    for block in range(L):
        R = 0.5 * R + 0.5 / h * torch.einsum("bhij,bjk->bik", maps[:, block], R)
    return R


def in_float64(maps):
    return attention_rollout(maps.double()).to(maps.dtype)


CORRECT = {
    "attention_rollout": (with_loops, from_the_left, with_normalized_rows, with_multi_dot, with_einsum, in_float64),
}
